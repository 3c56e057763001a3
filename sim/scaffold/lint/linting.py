"""Look at a deployment's files, and say what is wrong with them."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from sim.foundation.errors import UsageError
from sim.foundation.schema import nearest
from sim.foundation.views import Shown
from sim.scaffold.lint import code, configuration, database, workflow
from sim.scaffold.lint.finding import Finding, Severity
from sim.scaffold.lint.sources import Sources, read_sources

Check = Callable[[Sources], Iterator[Finding]]
"""A check yields what it finds in the files."""

CHECKS: tuple[Check, ...] = (
    configuration.check_classes,
    configuration.check_identifiers,
    configuration.check_environments,
    configuration.check_queues,
    configuration.check_limits,
    configuration.check_observability,
    configuration.check_runbooks,
    code.check_main,
    code.check_exports,
    code.check_bindings,
    code.check_sockets,
    code.check_secrets,
    database.check_schema,
    workflow.check_workflows,
)

RULES = (
    "binding-not-inherited", "class-not-exported", "deploy-before-migration", "deploy-from-any-branch",
    "deploy-without-scan", "foreign-key-without-index", "index-on-a-flag", "key-value-class",
    "migration-fails", "migration-not-remote", "missing-class-migration", "missing-main",
    "money-in-floating-point", "no-cpu-limit", "no-dead-letter-queue", "no-migration-step",
    "no-observability", "no-runbook", "no-staging", "packages-not-installed", "placeholder-id",
    "secret-in-files", "socket-without-hibernation", "unknown-binding",
    "unpinned-action", "unpinned-wrangler", "yaml",
)  # fmt: skip
"""Names of all rules, for those who ignore one."""


@dataclass(frozen=True)
class Linted(Shown):
    """What was found.

    Attributes
    ----------
    path : str
        What was looked at.
    findings : tuple of Finding
        The worst first, then by file and line.
    looked_at : dict of str to int
        Number of modules, folders of migrations and workflows beside the configuration.
    """

    path: str
    findings: tuple[Finding, ...]
    looked_at: dict[str, int]

    @property
    def failed(self) -> bool:
        """Whether there is more than notes."""
        return any(found.severity < Severity.NOTE for found in self.findings)


def lint(path: str | Path, *, ignore: Collection[str] = ()) -> Linted:
    """Look at the files of a deployment, without running anything.

    Parameters
    ----------
    path : str or Path
        A Wrangler configuration, or a folder that holds one, at its top or in a folder of it; workflows are looked for
        in ``.github/workflows`` of it and of the folders above.
    ignore : collection of str
        Rules to leave out.

    Raises
    ------
    UsageError
        There is no configuration, it cannot be read, or no rule has a name of *ignore*.
    """
    for name in ignore:
        if name not in RULES:
            raise UsageError(f"ignore={name!r} is not a rule; {nearest(name, RULES)}")
    place = Path(path)
    if not place.exists():
        raise UsageError(f"path={str(path)!r} does not exist (a Wrangler configuration, or its folder)")
    sources = read_sources(place)
    found = [*sources.unread, *(one for check in CHECKS for one in check(sources))]
    kept = sorted({one for one in found if one.rule not in ignore})
    looked_at = {
        "module": len(sources.code),
        "folder of migrations": int(sources.migrations is not None),
        "workflow": len(sources.workflows),
    }
    return Linted(str(path), tuple(kept), looked_at)
