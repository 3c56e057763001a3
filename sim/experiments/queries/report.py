"""What was found of each statement, with what it costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sim.experiments.queries.growth import Growth, Point
from sim.experiments.queries.parameters import Parameter
from sim.foundation.views import Shown
from sim.judgement.judge import worst
from sim.judgement.targets import Verdict
from sim.runners.databases.local import Times


@dataclass(frozen=True)
class Measured:
    """A statement at every size.

    Attributes
    ----------
    points : tuple of Point
        From the smallest size to the largest that was made; one more for the size asked for, if that is larger.
    plan : tuple of str
        SQLite's, at the largest that was made.
    growth : Growth
    times : Times
        At the largest that was made, on this machine's SQLite.
    queries_per_s : float
        Of one database that does nothing else.
    usd_per_month : float
        At the rate asked for.
    """

    points: tuple[Point, ...]
    plan: tuple[str, ...]
    growth: Growth
    times: Times
    queries_per_s: float
    usd_per_month: float

    @property
    def last(self) -> Point:
        """At the size asked for."""
        return self.points[-1]


@dataclass(frozen=True)
class Index:
    """Indexes that mend a statement, tried.

    Attributes
    ----------
    sql : tuple of str
        The statements that create them.
    after : Measured
    insert_rows_written, insert_before_rows_written : int or None
        Rows that an insert of one row writes, with them and without; None where it could not be counted.
    update_rows_written, update_before_rows_written : int or None
        The same of an update of their columns.
    added_bytes : int
        By which they make the largest database that was made larger.
    """

    sql: tuple[str, ...]
    after: Measured
    insert_rows_written: int | None
    insert_before_rows_written: int | None
    update_rows_written: int | None
    update_before_rows_written: int | None
    added_bytes: int


@dataclass(frozen=True)
class QueryReport:
    """A statement.

    Attributes
    ----------
    name, sql : str
    parameters : tuple of Parameter
        At the largest size.
    measured : Measured
    index : Index, optional
        None if none was needed, or none helps.
    candidates : int
        Indexes that were tried.
    has_expression : bool
        Whether it compares an expression of a column; an index on one is not tried.
    """

    name: str
    sql: str
    parameters: tuple[Parameter, ...]
    measured: Measured
    index: Index | None
    candidates: int
    has_expression: bool = False

    @property
    def verdict(self) -> Verdict:
        """ALERT for a scan that grows; INCONCLUSIVE where a table could not be filled."""
        return self.measured.growth.verdict


@dataclass(frozen=True)
class D1Report(Shown):
    """What :func:`sim.d1` returns.

    Attributes
    ----------
    queries : tuple of QueryReport
    on : str
        What counted the rows: ``reference`` or ``workerd``.
    sqlite_version : str
        Of this machine, for plans and times.
    rows : mapping of str to int
        Rows of each table that was filled, as asked for or by default.
    shares : tuple of float
        Sizes that were made, as shares of it.
    rate_per_s : float
    included_rows_read, included_rows_written : int
        Rows of a month that the Paid plan includes, for the whole account; no price here takes them off.
    notes : tuple of str
        What was assumed of values, and what could not be filled.
    """

    queries: tuple[QueryReport, ...]
    on: str
    sqlite_version: str
    rows: Mapping[str, int]
    shares: tuple[float, ...]
    rate_per_s: float
    included_rows_read: int
    included_rows_written: int
    notes: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of all statements."""
        return worst([query.verdict for query in self.queries])

    @property
    def exit_status(self) -> int:
        """1 if there is a scan that grows; else 3 if some statement could not be judged."""
        if self.verdict is Verdict.ALERT:
            return 1
        return 3 if any(query.verdict is Verdict.INCONCLUSIVE for query in self.queries) else 0

    def __getitem__(self, name: str) -> QueryReport:
        """Return the statement of a name."""
        return next(query for query in self.queries if query.name == name)

    def __repr__(self) -> str:
        growing = sum(query.verdict is Verdict.ALERT for query in self.queries)
        return f"<D1Report {len(self.queries)} queries on {self.on}: {growing} with a scan that grows>"


def sizes_shown(rows: Mapping[str, int], shares: Sequence[float]) -> list[str]:
    """Return the sizes in words, a text each: ``1 %``, or the rows of the one table that there is."""
    if len(rows) == 1:
        (number,) = rows.values()
        return [f"{max(1, round(number * share)):,}" for share in shares]
    return [f"{100 * share:.3g} %" for share in shares]
