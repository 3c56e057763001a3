"""What is wrong with a deployment's files, as a table."""

from collections import Counter
from typing import TYPE_CHECKING

from sim.report.grid import Cell, Column, Grid, grid
from sim.report.wording import listed

if TYPE_CHECKING:
    from sim.scaffold.lint.linting import Linted


def findings(found: "Linted") -> Grid:
    """Return a row for each finding, the worst first."""
    rows = [
        (str(one.severity), Cell(one.place), Cell(one.message, one.remedy), Cell(one.rule, mark=one.hazard))
        for one in found.findings
    ]
    columns = ("", Column("place", "path"), Column("what is wrong", below="what to do"), "rule")
    return grid("Findings", columns, rows=rows)


def summary(found: "Linted") -> str:
    """Say in a line what was found and what was looked at."""
    counted = Counter(str(one.severity) for one in found.findings)
    said = listed([_counted(count, name) for name, count in counted.items()]) or "nothing"
    looked = [_counted(count, name) for name, count in found.looked_at.items() if count]
    return f"found {said} in {listed(['the configuration', *looked])}"


def _counted(count: int, name: str) -> str:
    return f"{count:,} {name}{'' if count == 1 else 's'}"
