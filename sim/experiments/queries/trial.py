"""Indexes tried on a filled database: which one is best, and what it costs to keep."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from sim.experiments.queries.bench import Bench
from sim.experiments.queries.clauses import Clauses
from sim.experiments.queries.filling import Value, quoted
from sim.experiments.queries.indexes import Candidate, candidates, index_name, table_of
from sim.experiments.queries.schema import TableSchema
from sim.experiments.queries.tokens import tokens
from sim.foundation.errors import RunnerError, UsageError

GAIN_RATIO = 2.0
"""An index is worth it if it divides the work by this at least."""
ROUNDS_MAX = 3
"""Indexes on several tables are found one after the other."""


def best(
    bench: Bench,
    sql: str,
    *,
    params: Sequence[Value],
    clauses: Clauses,
    tables: Mapping[str, TableSchema],
) -> tuple[Candidate, int]:
    """Return the indexes that divide a statement's work most, none if none does, and how many were tried."""
    chosen: Candidate = ()
    tried = 0
    work = bench.point(sql, params).work
    rows = bench.local.connection.execute("SELECT name FROM sqlite_schema").fetchall()
    open_candidates = candidates(clauses, tables, taken=[name for (name,) in rows])
    for _ in range(ROUNDS_MAX):
        found: list[tuple[int, int, Candidate]] = []
        with created([bench], chosen):
            for candidate in open_candidates:
                tried += 1
                with suppress(UsageError), created([bench], candidate):
                    found.append((bench.point(sql, params).work, len(candidate), candidate))
        if not found:
            break
        less, _, candidate = min(found, key=lambda one: one[:2])
        if less * GAIN_RATIO > work:
            break
        chosen, work = (*chosen, *candidate), less
        open_candidates = [one for one in open_candidates if not set(one) & set(chosen)]
    return chosen, tried


@contextmanager
def created(benches: Sequence[Bench], sql: Candidate) -> Iterator[int]:
    """Create indexes for the length of the context; yield the bytes that they take in the largest database."""
    made: list[tuple[Bench, str]] = []
    before = benches[-1].local.used_bytes()
    try:
        for bench in benches:
            for create in sql:
                bench.execute(create)
                made.append((bench, index_name(create)))
        yield benches[-1].local.used_bytes() - before
    finally:
        for bench, name in reversed(made):
            bench.execute(f"DROP INDEX {name}")


def write_prices(bench: Bench, sql: Candidate, *, tables: Mapping[str, TableSchema]) -> tuple[int | None, int | None]:
    """Return the rows that an insert into the first index's table writes, and an update of the index's columns."""
    table = tables[table_of(sql[0], tables)]
    size = bench.filler.sizes.get(table.name, 0)
    row = bench.filler.row(table.name, size)
    names = ", ".join(quoted(column.name) for column in table.columns)
    marks = ", ".join(f"?{number}" for number in range(1, len(row) + 1))
    insert = f"INSERT INTO {quoted(table.name)} ({names}) VALUES ({marks})"  # noqa: S608  # quoted
    inserted = _written(bench, insert, row)
    if not table.keys:
        return inserted, None
    said = {token.text.lower() for token in tokens(sql[0].partition("(")[2])}
    changed = [
        column for column in table.columns
        if column.name.lower() in said and not any(column.name in key for key in table.keys)
    ]  # fmt: skip
    if not changed:
        return inserted, None
    key = table.keys[0]
    sets = ", ".join(f"{quoted(column.name)} = ?{number}" for number, column in enumerate(changed, 1))
    where = " AND ".join(f"{quoted(name)} = ?{number}" for number, name in enumerate(key, len(changed) + 1))
    values = [bench.filler.value(table.name, column.name, number=size) for column in changed]
    values += [bench.filler.value(table.name, name, number=size // 2) for name in key]
    return inserted, _written(bench, f"UPDATE {quoted(table.name)} SET {sets} WHERE {where}", values)  # noqa: S608  # quoted


def _written(bench: Bench, sql: str, params: Sequence[Value]) -> int | None:
    """Return the rows that a statement writes; None if it cannot be run or counted."""
    try:
        point = bench.point(sql, params)
    except (UsageError, RunnerError):
        return None
    return None if point.basis == "at least" else point.rows_written
