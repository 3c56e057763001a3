"""The component ``d1``: a database, and the operations that routes may use.

The queue, the round trip and the query itself: :class:`reference_impl.d1.database.Database`.
"""

import math
from dataclasses import dataclass

from reference_impl.d1 import route_rows
from reference_impl.d1.database import Database
from reference_impl.d1.settings import D1Settings
from reference_impl.parts import Call, Context, Operation, Part
from reference_impl.tables import Table

ROWS_MAX = 1_000_000
"""Rows of one query: the platform's limit on time ends a larger one."""
ROWS_TIMED_MAX = 1_000_000_000
ROWS_KEPT_MAX = 1_000
"""Largest number of rows that exist for a read that names its statement; the others only add their time."""


@dataclass(frozen=True)
class Rows:
    """How many rows a query visits and writes."""

    rows_read: int
    rows_written: int
    timed_rows: int = 0
    """Rows whose time is added to the read's own."""


class RouteDatabase(Database):
    """A database with a table for the rows of routes, made when the first of them is asked for."""

    has_rows = False

    def ensure_rows(self, key: int, *, rows: int) -> None:
        """Put in place the first *rows* rows of *key*, past queue and clock."""
        if not self.has_rows:
            route_rows.create(self.engine)
            self.has_rows = True
        route_rows.ensure(self.engine, key, rows=rows)


def build(settings: D1Settings, context: Context) -> RouteDatabase:
    """Build an instance."""
    engine = context.engine()
    engine.count_rows(counts=context.keeps_plan or context.counts_rows)
    return RouteDatabase(engine, clock=context.clock, settings=settings, name=context.name)


def rows_of_read(table: Table) -> Rows:
    """Read the parameters of a read."""
    for key in ("returned_rows", "matching_rows"):
        table.whole(key, 0)
    if not table.text("sql", ""):
        return Rows(rows(table, "rows_read", default=1), 0)
    found = math.ceil(table.number("rows_read", 1, at_most=ROWS_TIMED_MAX))
    return Rows(min(found, ROWS_KEPT_MAX), 0, found)


def rows_of_write(table: Table) -> Rows:
    """Read the parameters of a write."""
    table.number("stored_bytes", 0)  # Only the bill uses it; it does not change the rows written here.
    return Rows(rows(table, "rows_read", default=0), rows(table, "rows_written", default=1))


def rows(table: Table, key: str, *, default: int) -> int:
    """Read a number of rows; a mean that is no whole number is rounded up."""
    return math.ceil(table.number(key, default, at_most=ROWS_MAX))


async def read(database: RouteDatabase, call: Call) -> None:
    """Visit rows of the request's key."""
    asked: Rows = call.parameters
    database.ensure_rows(call.key, rows=asked.rows_read)
    await database.run(route_rows.reading(call.key, rows=asked.rows_read), call.stopwatch, timed_rows=asked.timed_rows)


async def write(database: RouteDatabase, call: Call) -> None:
    """Write rows of the request's key in one transaction."""
    asked: Rows = call.parameters
    database.ensure_rows(call.key, rows=asked.rows_read)
    statements = route_rows.writing(call.key, rows_read=asked.rows_read, rows_written=asked.rows_written)
    await database.run(statements, call.stopwatch)


PART = Part(
    "d1",
    settings=D1Settings.read,
    build=build,
    operations={"read": Operation(read, rows_of_read), "write": Operation(write, rows_of_write)},
)
