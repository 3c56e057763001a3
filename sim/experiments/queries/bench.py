"""Databases of several sizes, filled with the same rows for SQLite here and for what counts."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from sim.experiments.queries import schema
from sim.experiments.queries.filling import (
    FILLED_SHARE,
    Filler,
    Habits,
    Value,
    fill,
    insert_head,
    quoted,
    rebuilding,
    rows_in,
)
from sim.experiments.queries.growth import Point
from sim.experiments.queries.schema import TableSchema
from sim.experiments.queries.sizes import Sizes, parents_first
from sim.experiments.queries.tokens import tokens
from sim.foundation.errors import UsageError
from sim.runners.databases.counting import RowCounter
from sim.runners.databases.local import LocalDatabase
from sim.runners.databases.reference import CounterProcess, ReferenceCounter, counter_process
from sim.runners.databases.runtime import Runtime, RuntimeCounter, counting_runtime

STATEMENT_BYTES_MAX = 90_000
"""Of an insert of many rows; the platform takes 100,000."""
ON = ("reference", "workerd")
SEEN_SHARE = 0.5
"""Of the rows that a table should have, below which what reads it is not judged."""


@dataclass
class Bench:
    """One size: a filled database, and its counter."""

    local: LocalDatabase
    counter: RowCounter
    filler: Filler
    troubles: Mapping[str, str]
    """Why tables have fewer rows than they should."""
    held: Mapping[str, int]
    """Rows of each table that was filled."""

    def holds_little(self, table: str) -> bool:
        """Whether a table has less than half of its rows, so that its growth cannot be seen."""
        return table in self.held and self.held[table] < SEEN_SHARE * self.filler.sizes[table]

    def point(self, sql: str, params: Sequence[Value]) -> Point:
        """Return what a statement does here; the database stays as it was."""
        ran = self.local.run(sql, params)
        found = self.counter.count(sql, params, steps=ran.steps)
        if found is None:
            # What a virtual table stores is counted here, and not by the provider.
            written = ran.own_changes if self.local.writes_virtual(sql, params) else ran.changes
            return Point(ran.returned_rows, written, ran.returned_rows, ran.changes, ran.steps, "at least")
        is_exact = found.is_exact and (self.counter.name == "workerd" or not _combines(sql))
        basis = "counted" if is_exact else "estimated"
        return Point(found.rows_read, found.rows_written, ran.returned_rows, ran.changes, ran.steps, basis)

    def execute(self, sql: str) -> None:
        """Change the schema.

        Raises
        ------
        UsageError
            SQLite refuses it.
        """
        try:
            self.local.connection.execute(sql)
        except sqlite3.Error as error:
            raise UsageError(f"{sql}: {error}") from None
        self.counter.execute(sql)


@contextmanager
def empty_database(files: Mapping[str, str]) -> Iterator[sqlite3.Connection]:
    """Yield a database in memory that the migrations were applied to.

    Raises
    ------
    UsageError
        They cannot be applied.
    """
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        schema.apply(connection, files)
        yield connection
    finally:
        connection.close()


@contextmanager
def benches(
    files: Mapping[str, str],
    tables: Mapping[str, TableSchema],
    *,
    sizes: Sizes,
    habits: Habits,
    on: str,
    on_progress: Callable[[str], None],
) -> Iterator[list[Bench]]:
    """Fill a database of each size, and start what counts; all is gone when the context ends.

    Raises
    ------
    UsageError
        *on* is unknown, or the runtime is not set up.
    """
    if on not in ON:
        raise UsageError(f"on={on!r} must be {' or '.join(ON)}")
    with ExitStack() as stack:
        # Before anything is filled, also where the runtime counts: it removes the folder if this process is killed.
        process = stack.enter_context(counter_process())
        runtime = stack.enter_context(counting_runtime()) if on == "workerd" else None
        found = []
        for number, rows in enumerate(sizes.measured):
            on_progress(f"filling {sum(rows.values()):,} rows")
            filler = Filler(tables, rows, habits)
            found.append(_bench(stack, process, files, filler=filler, runtime=runtime, name=f"size-{number}.sqlite"))
        yield found


def _bench(
    stack: ExitStack,
    process: CounterProcess,
    files: Mapping[str, str],
    *,
    filler: Filler,
    runtime: Runtime | None,
    name: str,
) -> Bench:
    local = LocalDatabase(process.folder / name)
    stack.callback(local.close)
    schema.apply(local.connection, files)
    order = parents_first(filler.tables, filler.sizes)
    local.connection.execute("PRAGMA foreign_keys = OFF")
    troubles = fill(local.connection, filler, order=order)
    local.connection.execute("PRAGMA foreign_keys = ON")
    if runtime is None:
        counter: RowCounter = ReferenceCounter(process, name)
    else:
        counter = RuntimeCounter(runtime, name)
        found = counter.script([text for _, text in schema.migration_statements(files) if not _is_pragma(text)])
        if found:
            raise UsageError(f"workerd refuses the migrations: {found[0]} (docs/D1.md)")
        found = counter.script(_inserts(filler, order))
    held = {name: rows_in(local.connection, name) for name in order if not filler.tables[name].is_virtual}
    if runtime is not None:
        there = {name: _rows_at(counter, name) for name in held}
        why = found[0] if found else "no reason given"
        troubles |= {
            name: f"{there[name]:,} of {filler.sizes[name]:,} rows on workerd: {why}"
            for name in held
            if there[name] < min(held[name], filler.sizes[name] * FILLED_SHARE)
        }
        held = there
    return Bench(local, counter, filler, troubles, held)


def _rows_at(counter: RowCounter, table: str) -> int:
    """Return the rows of a table on the runtime, which counts each of them as read."""
    found = counter.count(f"SELECT count(*) FROM {quoted(table)}", (), steps=0)  # noqa: S608  # quoted
    return found.rows_read if found else 0


def _combines(sql: str) -> bool:
    """Whether answers are combined, which the runtime's SQLite does by merging what an index orders, and reads less."""
    found = tokens(sql)
    after = [*found[1:], found[-1]]
    return any(
        one.says("EXCEPT", "INTERSECT") or (one.says("UNION") and not following.says("ALL"))
        for one, following in zip(found, after, strict=True)
    )


def _is_pragma(text: str) -> bool:
    return tokens(text)[0].says("PRAGMA")


def _inserts(filler: Filler, order: Sequence[str]) -> list[str]:
    """Return the inserts of all rows as texts, since another process cannot be handed values."""
    statements: list[str] = []
    for table in order:
        if filler.tables[table].content:
            statements.append(rebuilding(filler.tables[table]))
            continue
        head = insert_head(filler.tables[table], is_bound=False)
        part: list[str] = []
        size_bytes = 0
        for row in filler.rows(table):
            text = f"({', '.join(map(literal_of, row))})"
            if size_bytes + len(text) > STATEMENT_BYTES_MAX:
                statements.append(f"{head} {', '.join(part)}")
                part, size_bytes = [], 0
            part.append(text)
            size_bytes += len(text.encode()) + 2
        if part:
            statements.append(f"{head} {', '.join(part)}")
    return statements


def literal_of(value: Value) -> str:
    """Return a value as SQL writes it."""
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)
