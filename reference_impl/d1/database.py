"""D1: a SQLite database that runs one query at a time, a network round trip away from the Worker.

::

    binding ── rtt/2 ──► queue ──► engine (one server) ── rtt/2 ──► rows and meta

The interface is that of the binding: ``prepare(sql).bind(…).all()``, and ``batch([…])``, which is one
transaction. The documented limits are enforced with errors like the platform's, foreign keys are
always on, and a query's *meta* counts the rows read and written, which are billed. Only migrations change the
schema (:mod:`reference_impl.d1.migrations`).

Sources
-------
D1 limits: 100 bound parameters, 100,000 bytes a statement, 2,000,000 bytes a row or value, 100
columns, LIKE patterns of 50 bytes, one query at a time; client API: ``batch`` is a transaction.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from reference_impl.d1.settings import D1Settings
from reference_impl.errors import PlatformError
from reference_impl.sqlite.engines import Engine, Params
from reference_impl.sqlite.rules import BOUND_PARAMS_MAX, SqlRefusedError, bare_sql, check_params, check_statement
from reference_impl.timing.clock import Clock
from reference_impl.timing.stopwatch import Station, Stopwatch
from reference_impl.timing.tape import Tape
from reference_impl.volumes.metered import Billed

READS = ("SELECT", "EXPLAIN", "WITH")


class D1Error(PlatformError):
    """The database refused or failed a statement; its whole batch was rolled back."""

    status = 500
    code = "d1_error"


class D1LostError(D1Error):
    """A query failed for reasons of the platform, before anything of it happened."""

    code = "d1_lost"
    retryable = True


@dataclass(frozen=True)
class D1Result:
    """The result of one statement.

    Parameters
    ----------
    results
        One mapping from column to value for each row.
    meta
        ``duration`` (ms of SQL), ``changes``, ``last_row_id``, ``rows_read``, ``rows_written``.
    """

    results: list[dict[str, Any]]
    meta: dict[str, Any]


@dataclass(frozen=True)
class Statement:
    """A statement with its parameters, not yet run."""

    sql: str
    params: Params = ()

    @property
    def is_read(self) -> bool:
        """Whether the statement only reads."""
        return bare_sql(self.sql).upper().startswith(READS)

    def check(self) -> None:
        """Check the rules that the platform applies before it runs anything.

        Raises
        ------
        LimitError
            If there are too many parameters, or the text is too long.
        D1Error
            If the statement concerns transactions or other databases.
        """
        check_params(len(self.params))
        try:
            check_statement(self.sql)
        except SqlRefusedError as error:
            raise D1Error(f"D1_ERROR: {error}") from None


class Site:
    """Where queries are executed: SQLite, its one thread, and the way there.

    Parameters
    ----------
    engine
        Runs SQL.
    thread
        Its queue.
    rtt_ms
        Round trip between the Worker and it.
    """

    def __init__(self, engine: Engine, thread: Station, rtt_ms: Tape) -> None:
        self.engine = engine
        self.thread = thread
        self.rtt_ms = rtt_ms


@dataclass(frozen=True)
class Query:
    """Statements that run as one transaction: where, with how many rows that add their time, and the caller's note.

    They run on *engine*, by default the site's own.
    """

    statements: Sequence[Statement]
    site: Site
    timed_rows: int = 0
    note: Any = None
    engine: Engine | None = None

    @property
    def is_read(self) -> bool:
        """Whether nothing in it writes."""
        return all(statement.is_read for statement in self.statements)


class Database:
    """One D1 database: SQLite behind a queue with one server.

    Parameters
    ----------
    engine
        Runs SQL; used directly only to prepare data outside of requests.
    clock
        The deployment's clock.
    settings
        Round trip, service times and queue limit.
    name
        Name of the instance; also its time category.
    """

    def __init__(self, engine: Engine, *, clock: Clock, settings: D1Settings, name: str = "d1") -> None:
        self.engine = engine
        self._clock = clock
        self._settings = settings
        self._name = name
        self._primary = Site(engine, Station(clock, name, queue_limit=settings.queue_limit), settings.rtt_ms)
        self.billed = Billed()
        """What the provider would bill until now: rows of all statements that succeeded."""

    async def run(
        self,
        statements: Sequence[Statement],
        stopwatch: Stopwatch,
        *,
        timed_rows: int = 0,
        engine: Engine | None = None,
        site: Site | None = None,
        note: Any = None,
    ) -> list[D1Result]:
        """Wait in the queue, then run *statements* as one transaction, at *site* or the primary.

        The time of *timed_rows* rows is added to it. They run on *engine*, by default the site's own. A subclass hears
        of the caller's *note* when they were executed.

        Raises
        ------
        OverloadedError
            If the queue is full.
        LimitError, D1Error
            See :class:`Statement`; or a statement failed, and the transaction was rolled back.
        """
        for statement in statements:
            statement.check()
        query = Query(statements, site or self._primary, timed_rows, note, engine)
        first = stopwatch.draws
        try:
            for number in range(self._settings.read_retries if query.is_read else 0):
                with contextlib.suppress(D1LostError):
                    return await self._run(query, stopwatch)
                stopwatch.draws = first and first.repeated(f"{self._name}.platform_retry", number=number + 1)
            return await self._run(query, stopwatch)
        finally:
            stopwatch.draws = first

    async def _run(self, query: Query, stopwatch: Stopwatch) -> list[D1Result]:
        settings, site = self._settings, query.site
        service_ms = stopwatch.draw_ms(settings.read_ms if query.is_read else settings.write_ms)
        service_ms += query.timed_rows * settings.row_us / 1_000
        service_ms += settings.stall_ms if stopwatch.happens(settings.stall, settings.stall_chance) else 0.0
        is_lost = stopwatch.happens(settings.error, settings.error_chance)
        with stopwatch.round_trip(self._name, site.rtt_ms):
            await self._arrived(query, stopwatch)
            async with site.thread.hold(stopwatch, f"{self._name}_queue"), stopwatch.stage(self._name, service_ms):
                if is_lost:
                    raise D1LostError("D1_ERROR: Network connection lost; nothing happened, ask again")
                results = self._execute(query)
            self._executed(query, stopwatch.planned_ms)
        return results

    async def _arrived(self, query: Query, stopwatch: Stopwatch) -> None:
        """Let a query in that has reached its site: the primary takes all at once."""

    def _executed(self, query: Query, at_ms: float) -> None:
        """Hear of a query that was executed, and of the caller's note on it."""

    def _execute(self, query: Query) -> list[D1Result]:
        engine = query.engine or query.site.engine
        try:
            with engine.transaction():
                results = [self._execute_one(engine, statement) for statement in query.statements]
        except engine.errors as error:
            raise D1Error(f"D1_ERROR: {error}") from None
        for result in results:
            self.billed.add("rows_read", result.meta["rows_read"])
            self.billed.add("rows_written", result.meta["rows_written"])
        return results

    def _execute_one(self, engine: Engine, statement: Statement) -> D1Result:
        began_ms = self._clock.now_ms()
        rows = engine.execute(statement.sql, statement.params)
        meta = {
            "served_by": "reference",
            "duration": self._clock.now_ms() - began_ms,
            "changes": rows.changes,
            "last_row_id": rows.last_row_id,
            "changed_db": rows.changes > 0 or rows.is_resized,
            "rows_read": rows.rows_read,
            "rows_written": rows.rows_written,
        }
        return D1Result(rows.as_mappings(), meta)


class D1Binding:
    """The D1 binding of one request: the database, and the stopwatch that times the request.

    Parameters
    ----------
    database
        The database.
    stopwatch
        The request's stopwatch.
    """

    def __init__(self, database: Database, stopwatch: Stopwatch) -> None:
        self._database = database
        self._stopwatch = stopwatch

    def prepare(self, sql: str) -> "PreparedStatement":
        """Return a statement that can be bound and run."""
        return PreparedStatement(self, Statement(sql))

    async def batch(self, statements: Sequence["PreparedStatement"]) -> list[D1Result]:
        """Run *statements* as one transaction."""
        return await self._database.run([s.statement for s in statements], self._stopwatch)


class PreparedStatement:
    """A statement of a binding, with the methods of the platform's ``D1PreparedStatement``."""

    def __init__(self, binding: D1Binding, statement: Statement) -> None:
        self._binding = binding
        self.statement = statement

    def bind(self, *params: Any) -> "PreparedStatement":
        """Return the statement with *params* bound to its placeholders."""
        return PreparedStatement(self._binding, Statement(self.statement.sql, params))

    async def all(self) -> D1Result:
        """Run the statement and return all rows."""
        return (await self._binding.batch([self]))[0]

    async def first(self) -> dict[str, Any] | None:
        """Run the statement and return the first row, or None."""
        results = (await self.all()).results
        return results[0] if results else None

    async def run(self) -> D1Result:
        """Run the statement for its effect."""
        return await self.all()


def insert_rows(head: str, rows: Sequence[Sequence[Any]], *, tail: str = "") -> Iterator[tuple[str, Params]]:
    """Split one insert of many rows into statements within the platform's limit on parameters.

    Parameters
    ----------
    head
        ``INSERT INTO table (columns)``.
    rows
        Rows of equal length; each value is a bound parameter.
    tail
        SQL after the values, for example an ``ON CONFLICT`` clause.

    Yields
    ------
    tuple
        SQL and at most 100 parameters: for example 12 rows of 8 columns, or 11 rows of 9.
    """
    if not rows:
        return
    width = len(rows[0])
    rows_max = BOUND_PARAMS_MAX // width
    for start in range(0, len(rows), rows_max):
        part = rows[start : start + rows_max]
        marks = ", ".join(["(" + ", ".join("?" * width) + ")"] * len(part))
        yield f"{head} VALUES {marks} {tail}".rstrip(), tuple(v for row in part for v in row)
