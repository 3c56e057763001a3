"""Checks of the workflows that deploy: what is run, in which order, and what must have passed before.

Sources
-------
Wrangler, ``d1 migrations apply``: without ``--remote`` it changes the database of the machine that it runs on. Hazard
H27 (docs/HAZARDS.md). GitHub, "Security hardening for GitHub Actions": a branch or a tag of an action can be moved.
"""

import re
from collections.abc import Iterator
from typing import Any

from sim.scaffold.lint.finding import Finding, Severity
from sim.scaffold.lint.sources import Sources, Workflow

MIGRATE = re.compile(r"\bd1\s+migrations\s+apply\b[^\n&|;]*")
DEPLOY = re.compile(r"\bwrangler(?:@\S+)?\s+(?:deploy|publish)\b(?![^\n]*--dry-run)[^\n&|;]*")
UNPINNED = re.compile(
    r"\bwrangler@latest\b"
    r"|\bnpm\s+(?:i|install)\s+(?:-g|--global)\s+wrangler(?!@\d)\b"
    r"|\bnpx\s+(?:--yes|-y)\s+wrangler(?!@\d)\b"
)
SCANS = re.compile(r"audit|security|\bcargo\s+deny\b|\bosv-scanner\b|\btrivy\b|\bsnyk\b", re.IGNORECASE)
INSTALLS = re.compile(r"\b(?:npm\s+(?:ci|i|install)|pnpm\s+(?:i|install)|yarn(?:\s+install)?|bun\s+install)\b")
PINNED = re.compile(r"@[0-9a-f]{40}$")


def check_workflows(sources: Sources) -> Iterator[Finding]:
    """The jobs that deploy."""
    for workflow in sources.workflows:
        for name, job in workflow.jobs.items():
            commands = _commands(job)
            text = "\n".join(commands)
            yield from _migrations(workflow, text)
            yield from _tools(workflow, text)
            if DEPLOY.search(text) or _uses(job, "cloudflare/wrangler-action"):
                yield from _deploys(workflow, name, job=job, text=text, with_database=_has_database(sources))
                yield from _actions(workflow, job)


def _migrations(workflow: Workflow, text: str) -> Iterator[Finding]:
    for found in MIGRATE.finditer(text):
        if "--remote" not in found.group():
            yield Finding(
                Severity.ERROR, workflow.file.path, _line(workflow, r"migrations\s+apply"), "migration-not-remote",
                "`d1 migrations apply` without --remote changes the runner's own database: the real one never migrates",
                "add --remote", "H27",
            )  # fmt: skip


def _tools(workflow: Workflow, text: str) -> Iterator[Finding]:
    if UNPINNED.search(text):
        yield Finding(
            Severity.WARNING, workflow.file.path, _line(workflow, UNPINNED.pattern), "unpinned-wrangler",
            "wrangler is taken in whichever version is newest: the same commit deploys otherwise tomorrow",
            "put wrangler into package.json with its version, and run `npm ci`",
        )  # fmt: skip


def _deploys(
    workflow: Workflow, name: str, *, job: dict[str, Any], text: str, with_database: bool
) -> Iterator[Finding]:
    line_number = _line(workflow, rf"^\s+{re.escape(name)}\s*:")
    deploy, migrate = DEPLOY.search(text), MIGRATE.search(text)
    if deploy and migrate and deploy.start() < migrate.start():
        yield Finding(
            Severity.ERROR, workflow.file.path, _line(workflow, DEPLOY.pattern), "deploy-before-migration",
            f"job {name} deploys before it migrates: until then every query of the new schema fails",
            "migrate first, with migrations that the old code survives", "H27",
        )  # fmt: skip
    if with_database and not any(MIGRATE.search(_all(other)) for other in workflow.jobs.values()):
        yield Finding(
            Severity.WARNING, workflow.file.path, line_number, "no-migration-step",
            f"job {name} deploys, and nothing applies the database's migrations",
            "`wrangler d1 migrations apply NAME --remote` before the deploy", "H27",
        )  # fmt: skip
    if not _after_a_scan(workflow, job):
        yield Finding(
            Severity.WARNING, workflow.file.path, line_number, "deploy-without-scan",
            f"job {name} does not wait for a job that looks for known vulnerabilities",
            "needs: [..., security-scan]",
        )  # fmt: skip
    if not INSTALLS.search(text) and deploy:
        yield Finding(
            Severity.WARNING, workflow.file.path, line_number, "packages-not-installed",
            f"job {name} deploys without installing the locked packages",
            "`npm ci` before it",
        )  # fmt: skip
    if "if" not in job and not _only_main(workflow):
        yield Finding(
            Severity.WARNING, workflow.file.path, line_number, "deploy-from-any-branch",
            f"job {name} runs on every event of the workflow",
            "if: github.ref == 'refs/heads/main' && github.event_name == 'push'",
        )  # fmt: skip


def _actions(workflow: Workflow, job: dict[str, Any]) -> Iterator[Finding]:
    """Actions that a deploying job, which has the account's token, takes by a name that can be moved."""
    for step in _steps(job):
        used = str(step.get("uses", ""))
        if used and not used.startswith("./") and not PINNED.search(used):
            yield Finding(
                Severity.NOTE, workflow.file.path, _line(workflow, re.escape(used)), "unpinned-action",
                f"{used} is a name that can be moved, in a job that has the account's token",
                "name the commit: uses: owner/action@<40 hexadecimal digits>",
            )  # fmt: skip


def _after_a_scan(workflow: Workflow, job: dict[str, Any]) -> bool:
    """Whether *job*, or one that it waits for, scans."""
    waiting, seen = [job], set[str]()
    while waiting:
        one = waiting.pop()
        if SCANS.search(_all(one)):
            return True
        needs = one.get("needs") or []
        for name in [needs] if isinstance(needs, str) else needs:
            if name in workflow.jobs and name not in seen:
                seen.add(name)
                if SCANS.search(str(name)):
                    return True
                waiting.append(workflow.jobs[name])
    return False


def _only_main(workflow: Workflow) -> bool:
    """Whether the workflow itself runs on pushes to the main branch only."""
    text = workflow.file.text
    on_push = re.search(r"^on:\s*\n\s+push:\s*\n\s+branches:\s*\[?\s*\"?(main|master)", text, re.MULTILINE)
    return on_push is not None and "pull_request" not in text


def _has_database(sources: Sources) -> bool:
    return any(binding.table == "d1_databases" for config in sources.configs for binding in config.bindings)


def _steps(job: dict[str, Any]) -> list[dict[str, Any]]:
    steps = job.get("steps")
    return [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []


def _commands(job: dict[str, Any]) -> list[str]:
    """What a job runs, in order; the commands of Cloudflare's own action are Wrangler's."""
    found = []
    for step in _steps(job):
        if "run" in step:
            found.append(str(step["run"]))
        elif "cloudflare/wrangler-action" in str(step.get("uses", "")):
            given = step.get("with") if isinstance(step.get("with"), dict) else {}
            asked = str((given or {}).get("command") or "deploy")
            found += [f"npm ci\nwrangler {line.strip()}" for line in asked.splitlines() if line.strip()]
    return found


def _all(job: dict[str, Any]) -> str:
    return "\n".join([*_commands(job), *(str(step.get("uses", "")) for step in _steps(job)), str(job.get("name", ""))])


def _uses(job: dict[str, Any], action: str) -> bool:
    return any(action in str(step.get("uses", "")) for step in _steps(job))


def _line(workflow: Workflow, pattern: str) -> int:
    found = re.search(pattern, workflow.file.text, re.MULTILINE)
    return 0 if found is None else workflow.file.text.count("\n", 0, found.start()) + 1
