"""What statements read and wrote on the reference, beside the rows that the bill counts for them.

The reference counts each call of a step that names its ``sql`` and shows the sums at ``/metrics``; the bill's rows
follow from SQLite's plan and the sizes of the tables (:mod:`sim.models.d1_plans`). The two share no code.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from sim.models.billing import Call
from sim.scenario.routes import Step

if TYPE_CHECKING:
    from sim.models.component import Instance
    from sim.scenario.scenario import Scenario

SQL_CHARACTERS_SHOWN = 60
EXECUTED_ROWS_MAX = 20_000
"""Rows of all tables of a database that the reference fills: counting what a statement reads there, row by row in
Python, must not take longer than the statement is modelled to."""

METRICS_S = 10.0
"""Time limit of the question; the reference answers at once."""


@dataclass(frozen=True)
class StatementRows:
    """The calls of one step.

    Attributes
    ----------
    instance, route, sql : str
    step_index : int
        Its place among all steps of the route, groups and what they hold included.
    calls : int
    rows_read, rows_written : int
        Rows that the reference counted.
    bill_rows_read, bill_rows_written : int
        Rows of so many calls by the bill.
    """

    instance: str
    route: str
    step_index: int
    sql: str
    calls: int
    rows_read: int
    rows_written: int
    bill_rows_read: int
    bill_rows_written: int

    @property
    def is_equal(self) -> bool:
        """Whether the bill has the rows that were counted."""
        return (self.rows_read, self.rows_written) == (self.bill_rows_read, self.bill_rows_written)

    def sentence(self) -> str:
        """Return both in words, for each call."""
        text = " ".join(self.sql.split())
        shown = text if len(text) <= SQL_CHARACTERS_SHOWN else f"{text[: SQL_CHARACTERS_SHOWN - 3]}..."
        counted = self._each(self.rows_read, self.rows_written)
        billed = self._each(self.bill_rows_read, self.bill_rows_written)
        bill = "as the bill has them" if self.is_equal else f"the bill has {billed}"
        return f"route {self.route}: {self.calls:,} calls of {self.instance} read {counted}, {bill} ({shown})"

    def _each(self, read: float, written: float) -> str:
        """Return the rows of one call in words: ``20 rows each``, ``1 row and wrote 2 each``."""
        rows = f"{read / self.calls:,.6g} row{'' if read == self.calls else 's'}"
        writes = bool(self.rows_written or self.bill_rows_written)
        return f"{rows} and wrote {written / self.calls:,.6g} each" if writes else f"{rows} each"


def statement_rows(scenario: "Scenario", url: str) -> tuple[StatementRows, ...]:
    """Ask a running reference what the statements of a scenario read and wrote.

    Parameters
    ----------
    scenario : Scenario
        That it plays.
    url : str
        Of the reference, on this machine.
    """
    asked = {(route, index): step for route in scenario.routes for index, step in _steps(scenario.routes[route].steps)}
    if not any("sql" in step.parameters for step in asked.values()):
        return ()
    with urlopen(f"{url}/metrics", timeout=METRICS_S) as answer:  # noqa: S310  # the reference's own address, http
        text = answer.read().decode()
    found: dict[tuple[str, int], dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples if family.name == "statements" else ():
            place = (sample.labels["route"], int(sample.labels["step"]))
            found.setdefault(place, {})[sample.labels["meter"]] = sample.value
    return tuple(
        _rows(scenario, route, index, step=asked[route, index], counted=one) for (route, index), one in found.items()
    )


def _rows(scenario: "Scenario", route: str, index: int, *, step: Step, counted: dict[str, float]) -> StatementRows:
    name, _, operation = str(step.use).partition(".")
    instance = scenario.system.instances[name]
    wanted = instance.component.operations[operation]
    usage = wanted.usage(instance, Call(wanted.parameters.model_validate(step.parameters)))
    calls = int(counted["calls"])
    return StatementRows(
        instance=name,
        route=route,
        step_index=index,
        sql=step.parameters["sql"],
        calls=calls,
        rows_read=int(counted["rows_read"]),
        rows_written=int(counted["rows_written"]),
        bill_rows_read=round(calls * usage.amounts.get(f"{instance.component.name}.rows_read", 0.0)),
        bill_rows_written=round(calls * usage.amounts.get(f"{instance.component.name}.rows_written", 0.0)),
    )


def not_executed(instance: "Instance", asked: Sequence[Any]) -> str:
    """Return why the reference times the statements of a database and does not execute them; empty if it does.

    Parameters
    ----------
    instance : Instance
    asked : sequence of Table
        Parameters of all steps that use it.
    """
    is_named = any(getattr(one, "sql", "") for one in asked)
    rows = sum(instance.table.rows.values()) if is_named else 0
    if rows <= EXECUTED_ROWS_MAX:
        return ""
    rule = f"its tables hold {rows:,} rows together, and the reference fills {EXECUTED_ROWS_MAX:,} at most"
    return f"{instance.name}: statements were timed and not executed: {rule}"


def _steps(steps: tuple[Step, ...], numbers: Iterator[int] | None = None) -> Iterator[tuple[int, Step]]:
    """Yield all steps with their numbers: each before those that it holds."""
    numbers = count() if numbers is None else numbers
    for step in steps:
        yield next(numbers), step
        yield from _steps(step.steps or (), numbers)


def as_dicts(rows: tuple[StatementRows, ...]) -> list[dict[str, Any]]:
    """Return the rows for a saved run."""
    return [asdict(row) for row in rows]
