"""What CI does, read from the files that tell it to.

Goal: the triggers, jobs and pins that the project promises. Method: parse the workflow and the locks as data.
"""

import json
import re
import tomllib
from typing import Any

import pytest
import yaml

from tests.project.tidy import ROOT

LOCKS = ["requirements.lock", "requirements-dev.lock", "requirements-lab.lock", "requirements-runtime.lock"]


def workflow() -> dict[Any, Any]:
    """The CI workflow; YAML 1.1 reads its key ``on`` as True."""
    parsed: dict[Any, Any] = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    return parsed


def steps(job: str) -> list[dict[str, Any]]:
    """The steps of one job."""
    listed: list[dict[str, Any]] = workflow()["jobs"][job]["steps"]
    return listed


def pins(name: str) -> dict[str, str]:
    """Package and version of every line of a lock."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / name).read_text("utf-8"), flags=re.MULTILINE))


def test_triggers() -> None:
    triggers = workflow()[True]
    assert triggers["push"]["branches"] == ["main", "develop"]
    assert triggers["pull_request"]["branches"] == ["main"]
    assert "workflow_dispatch" in triggers


def test_jobs() -> None:
    assert set(workflow()["jobs"]) == {"check", "security-scan", "deploy"}


def test_check_runs_what_a_developer_runs() -> None:
    assert "bash .ci/run" in [step.get("run") for step in steps("check")]
    assert "\nmake test\n" in (ROOT / ".ci/run").read_text("utf-8")
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def test_the_check_runs_on_every_version_that_is_promised() -> None:
    check = workflow()["jobs"]["check"]
    tested = check["strategy"]["matrix"]["python"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    promised = [
        c.rsplit(" ", 1)[1] for c in project["classifiers"] if c.startswith("Programming Language :: Python :: 3.")
    ]
    assert tested == promised
    assert project["requires-python"] == f">={promised[0]}"
    assert f"Python {', '.join(promised[:-1])} and {promised[-1]}" in (ROOT / "README.md").read_text("utf-8")
    (setup,) = [step["with"] for step in check["steps"] if "setup-python@" in step.get("uses", "")]
    assert setup == {"python-version": "${{ matrix.python }}"}
    assert check["env"]["PYTHON"] == "python"  # `make` would else take python3.11 wherever there is one.
    assert check["strategy"]["fail-fast"] is False


def test_deploy_waits_for_both_and_runs_on_main_only() -> None:
    deploy = workflow()["jobs"]["deploy"]
    assert set(deploy["needs"]) == {"check", "security-scan"}
    assert "github.ref == 'refs/heads/main'" in deploy["if"]
    assert "github.event_name != 'pull_request'" in deploy["if"]


def test_remote_migrations_come_before_the_deployment() -> None:
    commands = [step["run"] for step in steps("deploy") if "run" in step]
    migrate = next(i for i, command in enumerate(commands) if "d1 migrations apply" in command)
    deploy = next(i for i, command in enumerate(commands) if "wrangler deploy" in command)
    assert commands[migrate].endswith("--remote")
    assert migrate < deploy


def test_staging_comes_before_production_which_waits_for_it() -> None:
    strategy = workflow()["jobs"]["deploy"]["strategy"]
    assert strategy == {"max-parallel": 1, "fail-fast": True, "matrix": {"stage": ["staging", "production"]}}
    wrangler = tomllib.loads((ROOT / "deploy/wrangler.toml").read_text("utf-8"))
    assert list(wrangler["env"]) == strategy["matrix"]["stage"]
    for step in steps("deploy"):
        if "wrangler" in step.get("run", ""):
            assert "--env ${{ matrix.stage }}" in step["run"]


def test_the_deployment_tool_is_pinned_by_the_lock() -> None:
    assert "npm ci --ignore-scripts" in [step.get("run") for step in steps("deploy")]
    package = json.loads((ROOT / "deploy/package.json").read_text("utf-8"))
    assert all(re.fullmatch(r"\d+\.\d+\.\d+(-beta)?", version) for version in package["devDependencies"].values())


def test_the_lock_of_the_workers_names_no_address_to_fetch_from() -> None:
    lock = json.loads((ROOT / "deploy/package-lock.json").read_text("utf-8"))
    locked = {name: package for name, package in lock["packages"].items() if name}
    assert locked
    assert [name for name, package in locked.items() if "resolved" in package] == []
    assert all("integrity" in package for package in locked.values())


def test_actions_are_pinned_by_commit_with_their_version_beside() -> None:
    text = (ROOT / ".github/workflows/ci.yml").read_text("utf-8")
    used = re.findall(r"uses: (.*)$", text, flags=re.MULTILINE)
    assert used
    assert [use for use in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use)] == []


def test_least_permissions_and_no_credentials_left_behind() -> None:
    assert workflow()["permissions"] == {"contents": "read"}
    for job in workflow()["jobs"].values():
        assert job.get("permissions", {"contents": "read"}) == {"contents": "read"}
        checkouts = [step for step in job["steps"] if "checkout@" in step.get("uses", "")]
        assert checkouts
        assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_a_newer_push_cancels_the_checks_but_never_a_deployment() -> None:
    assert workflow()["concurrency"]["cancel-in-progress"] == "${{ github.ref != 'refs/heads/main' }}"
    assert workflow()["jobs"]["deploy"]["concurrency"]["cancel-in-progress"] is False


def test_dependency_updates_are_grouped() -> None:
    dependabot = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text("utf-8"))
    assert {update["package-ecosystem"] for update in dependabot["updates"]} == {"github-actions", "pip", "npm"}
    assert all(update["groups"] for update in dependabot["updates"])


@pytest.mark.parametrize("name", LOCKS)
def test_lock_is_pins_and_hashes_and_nothing_else(name: str) -> None:
    pin = r"[\w.-]+==[\w.+!]+( ; [^\\]+)? \\"
    hashed = r"    --hash=sha256:[0-9a-f]{64}( \\)?"
    lines = (ROOT / name).read_text("utf-8").splitlines()
    assert pins(name)
    assert [line for line in lines if not re.fullmatch(f"{pin}|{hashed}", line)] == []


def test_locks_agree() -> None:
    core = pins("requirements.lock")
    for name in LOCKS[1:]:
        assert {package: pins(name).get(package) for package in core} == core, name
