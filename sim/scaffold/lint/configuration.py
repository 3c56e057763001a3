"""Checks of a Wrangler configuration.

Sources
-------
Cloudflare, "Durable Objects migrations": a class needs a migration before it can be bound (API error 10061), and its
storage cannot be changed afterwards. "Configuration" and "Environments" of the Wrangler documentation.
"""

import re
from collections.abc import Iterator

from sim.scaffold.lint.finding import Finding, Severity
from sim.scaffold.lint.sources import Sources
from sim.scaffold.wrangler import Config

PLACEHOLDER = re.compile(r"^(|0{8}-[0-9-]*|(?![0-9a-f-]+$).*)$", re.IGNORECASE)
"""What stands in a new project where an identifier of hexadecimal digits belongs: a word, or zeros."""


def check_classes(sources: Sources) -> Iterator[Finding]:
    """Every Durable Object class of this Worker is made by a migration, with SQLite storage."""
    missing: set[str] = set()
    for config in sources.configs:
        for name, line_number in _bound_classes(sources, config):
            where = _environment(config)
            if name in missing:  # Environments inherit [[migrations]]: it is one mistake.
                continue
            if name not in config.classes:
                missing.add(name)
                yield Finding(
                    Severity.ERROR, sources.config_file.path, line_number, "missing-class-migration",
                    f"{name} is bound{where} and no [[migrations]] makes it: the first deploy fails (10061)",
                    f'add [[migrations]] with tag = "v1" and new_sqlite_classes = ["{name}"]',
                )  # fmt: skip
            elif config.classes[name] == "kv" and not config.environment:
                yield Finding(
                    Severity.WARNING, sources.config_file.path, line_number, "key-value-class",
                    f"{name} keeps its state in key-value storage: values up to 128 KiB, writes billed by 4 KiB",
                    "a new class in new_sqlite_classes; an existing one cannot be changed", "H4",
                )  # fmt: skip


def check_limits(sources: Sources) -> Iterator[Finding]:
    """The configuration bounds the CPU time of a request, which a loop by mistake would bill."""
    limits = sources.top.settings.get("limits")
    if not (isinstance(limits, dict) and limits.get("cpu_ms")):
        yield Finding(
            Severity.NOTE, sources.config_file.path, 0, "no-cpu-limit",
            "no [limits] cpu_ms: a request that loops is billed until the platform's own limit",
            "add [limits] with cpu_ms = a few times your P99",
        )  # fmt: skip


def check_observability(sources: Sources) -> Iterator[Finding]:
    """Logs are kept: otherwise nobody sees after the fact what failed."""
    if "observability" not in sources.top.settings:
        yield Finding(
            Severity.NOTE, sources.config_file.path, 0, "no-observability",
            "no [observability]: logs and errors of past requests are nowhere",
            "add [observability] with enabled = true and a head_sampling_rate that you can pay for",
        )  # fmt: skip


def check_identifiers(sources: Sources) -> Iterator[Finding]:
    """Databases and namespaces have identifiers, not placeholders."""
    keys = {"d1_databases": "database_id", "kv_namespaces": "id", "hyperdrive": "id"}
    for config in sources.configs:
        for binding in config.bindings:
            key = keys.get(binding.table)
            if key is None:
                continue
            found = str(binding.keys.get(key, ""))
            if PLACEHOLDER.match(found):
                line_number = sources.config_file.line_of(re.escape(found)) if found else 0
                yield Finding(
                    Severity.WARNING, sources.config_file.path, line_number, "placeholder-id",
                    f"{binding.name}{_environment(config)}: {key}={found!r} is a placeholder",
                    "put in the identifier that `wrangler d1 create` or `wrangler kv namespace create` prints",
                )  # fmt: skip


def check_environments(sources: Sources) -> Iterator[Finding]:
    """An environment names its own bindings: those of the top level are not inherited."""
    for config in sources.configs[1:]:
        if config.unnamed:
            yield Finding(
                Severity.ERROR, sources.config_file.path,
                sources.config_file.line_of(rf"env\.{re.escape(config.environment)}\b"), "binding-not-inherited",
                f"environment {config.environment} names no {', '.join(config.unnamed)}: they are undefined there",
                "repeat the tables under the environment; bindings and vars are not inherited",
            )  # fmt: skip
    if len(sources.configs) == 1 and any(binding.table == "d1_databases" for binding in sources.top.bindings):
        yield Finding(
            Severity.WARNING, sources.config_file.path, 0, "no-staging",
            "no environment beside production: a migration is tried on production first",
            "add [env.staging] with its own database, and deploy there first", "H27",
        )  # fmt: skip


def check_queues(sources: Sources) -> Iterator[Finding]:
    """A queue's consumer says where messages go that it cannot handle: else they are dropped after the last retry."""
    for config in sources.configs:
        for binding in config.bindings:
            if binding.table == "queues.consumers" and not binding.keys.get("dead_letter_queue"):
                yield Finding(
                    Severity.WARNING, sources.config_file.path, sources.config_file.line_of(r"\bconsumers\b"),
                    "no-dead-letter-queue",
                    f"queue {binding.name}{_environment(config)}: a message that fails its last retry is deleted",
                    "name a dead_letter_queue, and look into it",
                )  # fmt: skip


def check_runbooks(sources: Sources) -> Iterator[Finding]:
    """Every Durable Object class of this Worker is named in a runbook."""
    for name, line_number in dict(_bound_classes(sources, sources.top)).items():
        if any(page.line_of(rf"\b{re.escape(name)}\b") for page in sources.runbooks or ()):
            continue
        where = "no runbook names it" if sources.runbooks is not None else "there are no runbooks"
        yield Finding(
            Severity.NOTE if sources.runbooks is None else Severity.WARNING,
            sources.config_file.path, line_number, "no-runbook",
            f"{name} is bound and {where}: whoever is paged has nothing to go by",
            f"write what to do when {name} is slow or refuses, in a page of runbooks/ or docs/runbooks/",
        )  # fmt: skip


def _bound_classes(sources: Sources, config: Config) -> Iterator[tuple[str, int]]:
    """The classes that *config* binds and that are this Worker's own, with the line where each is first named."""
    for binding in config.bindings:
        if binding.table == "durable_objects.bindings" and not binding.keys.get("script_name"):
            yield binding.target, sources.config_file.line_of(rf"\b{re.escape(binding.target)}\b")


def _environment(config: Config) -> str:
    return f" in environment {config.environment}" if config.environment else ""
