"""The component ``d1``: a database, and the operations that routes may use.

The queue, the round trip and the query itself: :class:`reference_impl.d1.database.Database`. A step that names its
statement executes it on the schema's own tables (:mod:`reference_impl.d1.named`), if the deployment file has a schema;
otherwise such a step only takes the statement's time, on up to 1,000 rows of a table made for it.
"""

import math
from dataclasses import dataclass

from reference_impl.d1 import route_rows
from reference_impl.d1.database import D1Result, Database, Query, Site
from reference_impl.d1.named import NamedStatements
from reference_impl.d1.replicas import AT_REPLICAS, BOOKMARK, FIRST_PRIMARY, SESSIONS, Note, Replica, Replicas
from reference_impl.d1.settings import D1Settings
from reference_impl.d1.statements import Named
from reference_impl.messages import Response, json_response
from reference_impl.parts import Call, Context, Operation, Part
from reference_impl.sqlite.engines import Engine
from reference_impl.tables import Table
from reference_impl.timing.clock import Clock
from reference_impl.timing.stopwatch import Stopwatch

ROWS_MAX = 1_000_000
"""Rows of one query: the platform's limit on time ends a larger one."""
ROWS_TIMED_MAX = 1_000_000_000
ROWS_KEPT_MAX = 1_000
"""Largest number of rows that exist for a statement that is only timed; the others only add their time."""


@dataclass(frozen=True)
class Rows:
    """How many rows a query visits and writes, and the session that it belongs to."""

    rows_read: int
    rows_written: int
    named: Named | None = None
    """The statement that the step names, with the rows whose time it takes."""
    session: str = ""
    """Of a read: its constraint. Of a write: ``bookmark`` if it belongs to one."""


class RouteDatabase(Database):
    """A database with the tables of its schema, one for the rows of routes that name no statement, and its replicas.

    Parameters
    ----------
    engine, clock, settings, name
        As for every database.
    replicas
        Its read replicas; None: it has none, and serves every session itself.
    """

    has_rows = False
    statements: NamedStatements | None = None
    """The statements that routes name; None: they are only timed."""

    def __init__(
        self, engine: Engine, *, clock: Clock, settings: D1Settings, name: str, replicas: Replicas | None = None
    ) -> None:
        super().__init__(engine, clock=clock, settings=settings, name=name)
        self.replicas = replicas

    def ensure_rows(self, key: int, *, rows: int, at: Engine | None = None) -> None:
        """Put in place the first *rows* rows of *key*, past queue and clock; *at* a replica, or the primary."""
        if not self.has_rows:
            route_rows.create(self.engine)
            self.has_rows = True
        route_rows.ensure(at or self.engine, key, rows=rows)

    def site_of(self, call: Call) -> Site | None:
        """Return the replica that serves a read; None for the primary."""
        if self.replicas is None or call.prepares or call.parameters.session not in AT_REPLICAS:
            return None
        return self.replicas.of(call.key)

    async def _arrived(self, query: Query, stopwatch: Stopwatch) -> None:
        """Let a query wait at a replica for what its session has seen."""
        if self.replicas is not None and isinstance(query.site, Replica):
            await self.replicas.admit(query.site, query.note, stopwatch=stopwatch)

    def _executed(self, query: Query, at_ms: float) -> None:
        """Tell the replicas of a commit, or of a read of the newest state."""
        if self.replicas is None:
            return
        if not query.is_read:
            self.replicas.committed(at_ms, query.note)
        elif query.note is not None and query.note.session == FIRST_PRIMARY:
            self.replicas.seen(query.note.key)

    def top_up(self, asked: Rows, results: list[D1Result]) -> None:
        """Bill the rows of a statement that was only timed."""
        if asked.named is not None:
            for meter, amount in (("rows_read", asked.named.rows_read), ("rows_written", asked.named.rows_written)):
                self.billed.add(meter, max(0, amount - sum(result.meta[meter] for result in results)))


def build(settings: D1Settings, context: Context) -> RouteDatabase:
    """Build an instance."""
    engine = _engine(context, "database")
    replicas = None
    if settings.replicas is not None:
        engines = _engines(context, settings.replicas.count)
        replicas = Replicas(engine, engines, clock=context.clock, settings=settings, name=context.name)
    database = RouteDatabase(engine, clock=context.clock, settings=settings, name=context.name, replicas=replicas)
    if settings.schema:
        # Beside the tables of the brief's API, whose schema is another.
        counts_rows = context.keeps_plan or context.counts_rows
        named = _engine(context, "statements")
        copies = [] if settings.replicas is None else _engines(context, settings.replicas.count, "_statements")
        if replicas is not None:
            replicas.keep_tables(copies)
        database.statements = NamedStatements(
            named, settings, name=context.name, counts_rows=counts_rows, copies=copies
        )
    return database


def _engines(context: Context, count: int, what: str = "") -> list[Engine]:
    return [_engine(context, f"replica_{number}{what}") for number in range(count)]


def _engine(context: Context, name: str) -> Engine:
    engine = context.engine(name)
    engine.count_rows(counts=context.keeps_plan or context.counts_rows)
    return engine


def prepare(database: RouteDatabase, asked: Rows, *, where: str) -> None:
    """Note a statement that a step names."""
    if asked.named is not None and database.statements is not None:
        database.statements.add(asked.named, where)


def start(database: RouteDatabase) -> None:
    """Apply the schema, fill its tables, and try every statement, before anything is asked."""
    if database.statements is not None:
        database.statements.start()


def rows_of_read(table: Table) -> Rows:
    """Read the parameters of a read."""
    named = _named(table, returned_rows=table.whole("returned_rows", 0))
    session = table.choice("session", "", choices=SESSIONS)
    if named is None:
        return Rows(rows(table, "rows_read", default=1), 0, session=session)
    return Rows(min(named.rows_read, ROWS_KEPT_MAX), 0, named, session)


def rows_of_write(table: Table) -> Rows:
    """Read the parameters of a write."""
    table.number("stored_bytes", 0)  # Only the bill uses it; it does not change the rows written here.
    session = BOOKMARK if table.flag("session") else ""
    named = _named(table)
    if named is None:
        return Rows(rows(table, "rows_read", default=0), rows(table, "rows_written", default=1), session=session)
    return Rows(min(named.rows_read, ROWS_KEPT_MAX), min(named.rows_written, ROWS_KEPT_MAX), named, session)


def _named(table: Table, *, returned_rows: int = 0) -> Named | None:
    """Read the statement of a step; None if it names none."""
    matching_rows, sql = table.whole("matching_rows", 0), table.text("sql", "")
    if not sql:
        return None
    read, written = (math.ceil(table.number(key, 0, at_most=ROWS_TIMED_MAX)) for key in ("rows_read", "rows_written"))
    return Named(sql, returned_rows, matching_rows, rows_read=read, rows_written=written)


def rows(table: Table, key: str, *, default: int) -> int:
    """Read a number of rows; a mean that is no whole number is rounded up."""
    return math.ceil(table.number(key, default, at_most=ROWS_MAX))


async def read(database: RouteDatabase, call: Call) -> Response | None:
    """Visit rows of the request's key, or execute the step's statement, where its session lets it."""
    asked: Rows = call.parameters
    site, note = database.site_of(call), Note(call.key, asked.session)
    if asked.named is not None and database.statements is not None:
        return await _execute(database, database.statements, call, site=site)
    database.ensure_rows(call.key, rows=asked.rows_read, at=None if site is None else site.engine)
    statements = route_rows.reading(call.key, rows=asked.rows_read)
    timed_rows = 0 if asked.named is None else asked.named.rows_read
    results = await database.run(statements, call.stopwatch, timed_rows=timed_rows, site=site, note=note)
    database.top_up(asked, results)
    return None


async def write(database: RouteDatabase, call: Call) -> Response | None:
    """Write rows of the request's key in one transaction, or execute the step's statement."""
    asked: Rows = call.parameters
    if asked.named is not None and database.statements is not None:
        return await _execute(database, database.statements, call, site=None)
    database.ensure_rows(call.key, rows=asked.rows_read)
    statements = route_rows.writing(call.key, rows_read=asked.rows_read, rows_written=asked.rows_written)
    repeated = [statement for statement in statements if not statement.is_read]
    note = Note(call.key, asked.session, repeated, prepares=call.prepares)
    timed_rows = 0 if asked.named is None else asked.named.rows_read
    database.top_up(asked, await database.run(statements, call.stopwatch, timed_rows=timed_rows, note=note))
    return None


async def _execute(
    database: RouteDatabase, statements: NamedStatements, call: Call, *, site: Site | None
) -> Response | None:
    """Execute a step's statement on the schema's tables, or a replica's copy; the answer has what the bill counts."""
    if call.prepares:
        return None  # Its rows are there already.
    named: Named = call.parameters.named
    statement = statements.bound(named, key=call.key)
    engine = site.tables if isinstance(site, Replica) else statements.engine
    repeated = [] if statement.is_read else [statement]
    note = Note(call.key, call.parameters.session, repeated, is_named=True)
    (result,) = await database.run(
        [statement], call.stopwatch, timed_rows=named.rows_read, engine=engine, site=site, note=note
    )
    statements.count(call, result)
    # A route that moves bytes is answered with them.
    return None if call.size_bytes else json_response({"success": True, "meta": result.meta})


PART = Part(
    "d1",
    settings=D1Settings.read,
    build=build,
    operations={"read": Operation(read, rows_of_read, prepare), "write": Operation(write, rows_of_write, prepare)},
    start=start,
)
