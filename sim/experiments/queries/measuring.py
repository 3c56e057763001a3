"""One call that measures statements at growing sizes of their tables, and tries the index that mends them.

A query without an index reads in proportion to its table, whatever it returns (hazard H21), and that is billed.

>>> from sim import d1
>>> report = d1("deploy/migrations", query="SELECT id FROM users WHERE email = ?", rows={"users": 1_000})
>>> report.queries[0].measured.last.rows_read
1
"""

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path

from sim.experiments.queries import trial
from sim.experiments.queries.bench import Bench, benches, empty_database
from sim.experiments.queries.clauses import Clauses, read_clauses
from sim.experiments.queries.filling import Filler, Habits, Value, Weights, fill, literal
from sim.experiments.queries.growth import Point, extrapolated, growth
from sim.experiments.queries.parameters import Parameter, parameters
from sim.experiments.queries.price import Prices
from sim.experiments.queries.refusals import check_any, used_tables
from sim.experiments.queries.report import D1Report, Index, Measured, QueryReport
from sim.experiments.queries.schema import (
    TableSchema,
    apply,
    children,
    read_files,
    read_sql,
    read_tables,
    read_views,
)
from sim.experiments.queries.sizes import Sizes, parents_first, sizes_of
from sim.experiments.queries.tokens import Statement, statements, tokens
from sim.foundation.errors import UsageError
from sim.judgement.targets import Verdict
from sim.runners.databases.local import LocalDatabase
from sim.scenario.scenario import load_scenario

QUERIES_MAX = 200
FAILED_MAX = 3
"""Statements that fail, of which an error says why."""
HINT = "; give a value with --param"
PRICED_AS = "launch"
"""The scenario whose database and platform file give times and prices."""


def d1(
    migrations: str | Path,
    *,
    query: str | Path,
    rows: Mapping[str, int] | None = None,
    params: Mapping[str, Value] | None = None,
    values: Mapping[str, int | Weights] | None = None,
    rate_per_s: float = 1.0,
    on: str = "reference",
    on_progress: Callable[[str], None] = lambda _: None,
) -> D1Report:
    """Measure what statements read and write as their tables grow, and try the index that mends those that scan.

    Parameters
    ----------
    migrations : path
        A folder of ``*.sql``, or one file.
    query : path or str
        A file of statements, or their text: a text that ends in ``.sql``, or that is the name of a file, is one.
    rows : mapping of str to int, optional
        Rows of tables; the others that are used have 10,000.
    params : mapping of str to value, optional
        Values of parameters by ``NAME`` or ``QUERY.NAME``; the others are drawn from the tables.
    values : mapping of str to int or weights, optional
        Of ``TABLE.COLUMN``: how many distinct values, or values with their shares.
    rate_per_s : float
        Executions of each statement a second, for the price.
    on : {"reference", "workerd"}
        What counts rows.
    on_progress : callable
        Takes a line.

    Raises
    ------
    UsageError
        Something cannot be read, or D1 would not run it.
    """
    if not (isfinite(rate_per_s) and rate_per_s >= 0):
        raise UsageError(f"rate_per_s={rate_per_s} must be a number >= 0")
    files = read_files(Path(migrations))
    asked = statements(_script(query))
    check_any(asked, what=str(query)[:60])
    if len(asked) > QUERIES_MAX:
        raise UsageError(f"query={str(query)[:60]!r} holds {len(asked)} statements, must hold at most {QUERIES_MAX}")
    with empty_database(files) as database:
        tables, views = read_tables(database), read_views(database)
        used = {statement.name: used_tables(database, statement) for statement in asked}
    clauses = {one.name: _clauses(one, tables, used[one.name], views) for one in asked}
    used = {name: list(dict.fromkeys([*used[name], *clauses[name].children])) for name in used}
    sizes = sizes_of(rows or {}, tables=tables, used=[name for names in used.values() for name in names])
    habits = Habits(_chosen(values or {}, tables), _asked(clauses.values()), _joined(clauses.values(), tables))
    _check_params(params or {}, asked)
    _check_runs(files, tables, Filler(tables, sizes.measured[0], habits), asked, clauses, params or {})
    prices = Prices.of(load_scenario(PRICED_AS))
    with benches(files, tables, sizes=sizes, habits=habits, on=on, on_progress=on_progress) as found:
        task = _Task(tables, found, sizes, prices, rate_per_s, params or {})
        reports = []
        for statement in asked:
            on_progress(f"measuring {statement.name}")
            reports.append(task.report(statement, clauses[statement.name], used=used[statement.name]))
        notes = _notes(found[-1], sizes, rows or {}, clauses.values())
    return D1Report(
        tuple(reports),
        on,
        sqlite3.sqlite_version,
        sizes.asked,
        tuple(sizes.shares),
        rate_per_s,
        prices.included_rows_read,
        prices.included_rows_written,
        notes,
    )


def _script(query: str | Path) -> str:
    if isinstance(query, str) and not query.endswith(".sql") and not _is_there(query):
        return query
    return read_sql(Path(query), what="query")


def _is_there(place: str) -> bool:
    try:
        return Path(place).exists()
    except (OSError, ValueError):  # too long for a name, or with a zero byte
        return False


def _clauses(
    statement: Statement, tables: Mapping[str, TableSchema], used: Sequence[str], views: Mapping[str, str]
) -> Clauses:
    columns = {name: tables[name].column_names for name in used if name in tables}
    found = read_clauses(statement.sql, columns)
    for view in (name for name in used if name in views):
        found = found.with_view(read_clauses(views[view], columns))
    is_delete = any(token.says("DELETE") for token in tokens(statement.sql))
    return replace(found, children=children(tables, columns)) if is_delete else found


def _check_runs(
    files: Mapping[str, str],
    tables: Mapping[str, TableSchema],
    filler: Filler,
    asked: Sequence[Statement],
    clauses: Mapping[str, Clauses],
    given: Mapping[str, Value],
) -> None:
    """Run every statement at the smallest size, so that all that fail are said before anything takes long.

    Raises
    ------
    UsageError
        Some do.
    """
    failed: list[str] = []
    database = LocalDatabase(Path(":memory:"))
    with closing(database):
        apply(database.connection, files)
        database.connection.execute("PRAGMA foreign_keys = OFF")
        fill(database.connection, filler, order=parents_first(tables, filler.sizes))
        for one in asked:
            found = parameters(one, clauses[one.name], connection=database.connection, filler=filler, given=given)
            try:
                database.run(one.sql, [parameter.value for parameter in found])
            except UsageError as error:
                failed.append(f"{one.name}: {error}{HINT if one.params else ''}")
    if failed:
        more = f"; {len(failed) - FAILED_MAX} more" if len(failed) > FAILED_MAX else ""
        raise UsageError(f"{'; '.join(failed[:FAILED_MAX])}{more}")


def _chosen(
    values: Mapping[str, int | Weights], tables: Mapping[str, TableSchema]
) -> dict[tuple[str, str], int | Weights]:
    found = {}
    for place, value in values.items():
        table, _, column = place.partition(".")
        if table not in tables or column not in {one.name for one in tables[table].columns}:
            raise UsageError(f"values: {place} must be TABLE.COLUMN of the migrations")
        if isinstance(value, int) and value < 1:
            raise UsageError(f"values: {place}={value} must be >= 1 distinct values")
        if isinstance(value, tuple) and not all(share >= 0 for _, share in value):
            raise UsageError(f"values: {place}: a share must be >= 0")
        if isinstance(value, tuple) and not sum(share for _, share in value) > 0:
            raise UsageError(f"values: {place}: the shares must add up to more than 0")
        found[table, column] = value
    return found


def _asked(clauses: Iterable[Clauses]) -> dict[tuple[str, str], list[Value]]:
    """Return the literals that statements compare columns with, first those of equality."""
    found: dict[tuple[str, str], list[Value]] = {}
    for one in clauses:
        for term in one.terms:
            if term.operator == "=" and term.is_plain and term.literals:
                found.setdefault((term.table, term.column), []).extend(literal(text) for text in term.literals)
    return found


def _joined(clauses: Iterable[Clauses], tables: Mapping[str, TableSchema]) -> dict[tuple[str, str], str]:
    """Return the columns that statements join and no reference ties, each with the name of the first of its kind."""
    found: dict[tuple[str, str], str] = {}
    for term in (term for one in clauses for term in one.terms if term.operator == "=" and term.other):
        places = [place for place in ((term.table, term.column), term.other) if place]
        if any(column in tables[table].parents or column == tables[table].rowid for table, column in places):
            continue
        name = next((found[place] for place in places if place in found), places[0][1])
        found |= dict.fromkeys(places, name)
    return found


def _check_params(params: Mapping[str, Value], asked: Sequence[Statement]) -> None:
    known = {name for one in asked for name in one.params}
    known |= {f"{one.name}.{name}" for one in asked for name in one.params}
    for name in params:
        if name not in known:
            raise UsageError(
                f"params: {name} is no parameter of the queries; they have {', '.join(sorted(known)[:8]) or 'none'}"
            )


def _notes(bench: Bench, sizes: Sizes, rows: Mapping[str, int], clauses: Iterable[Clauses]) -> tuple[str, ...]:
    given = {name.lower() for name in rows}
    unnamed = [name for name in sizes.asked if name.lower() not in given]
    notes = []
    if unnamed:
        notes.append(f"by default: {', '.join(f'{name} {sizes.asked[name]:,}' for name in unnamed)} rows")
    if not sizes.is_whole:
        made = sum(sizes.measured[-1].values())
        notes.append(
            f"measured up to {made:,} rows in all; the size asked for is extrapolated by the exponent of growth"
        )
    places = {(term.table, term.column) for one in clauses for term in one.terms}
    notes += [
        f"{table}.{column}: assumed {said}"
        for (table, column), said in bench.filler.assumed.items()
        if (table, column) in places
    ]
    equal = {(term.table, term.column) for one in clauses for term in one.terms if term.operator == "=" and term.params}
    notes += [
        f"{table}.{column}: assumed as many distinct values as rows; if fewer: --values {table}.{column}=N"
        for table, column in sorted(bench.filler.unlike & equal)
    ]
    return (*notes, *(f"{table} could not be filled: {said}" for table, said in bench.troubles.items()))


@dataclass
class _Task:
    tables: Mapping[str, TableSchema]
    benches: list[Bench]
    sizes: Sizes
    prices: Prices
    rate_per_s: float
    given: Mapping[str, Value]

    def report(self, statement: Statement, clauses: Clauses, *, used: Sequence[str]) -> QueryReport:
        """Measure one statement, and try what would mend it."""
        chosen = [
            parameters(statement, clauses, connection=bench.local.connection, filler=bench.filler, given=self.given)
            for bench in self.benches
        ]
        measured = self._judged(self.measured(statement, chosen), used)
        index, tried = None, 0
        if measured.growth.verdict is Verdict.ALERT:
            index, tried = self._mended(statement, clauses, chosen=chosen, before=measured)
        return QueryReport(
            statement.name, statement.sql, tuple(chosen[-1]), measured, index, tried, clauses.has_expression
        )

    def _judged(self, measured: Measured, used: Sequence[str]) -> Measured:
        """Return the measurement, not judged if a table has too few rows and no scan shows all the same."""
        lacking = [table for table in used if self.benches[-1].holds_little(table)]
        if not lacking or measured.growth.verdict is Verdict.ALERT:
            return measured
        why = f"{' and '.join(lacking)} could not be filled (see the notes), so growth was not seen: --values"
        return replace(measured, growth=replace(measured.growth, verdict=Verdict.INCONCLUSIVE, reason=why))

    def measured(self, statement: Statement, chosen: Sequence[Sequence[Parameter]]) -> Measured:
        """Measure a statement at every size, on the indexes that are there."""
        points: list[Point] = []
        for bench, params in zip(self.benches, chosen, strict=True):
            try:
                points.append(bench.point(statement.sql, [one.value for one in params]))
            except UsageError as error:
                raise UsageError(f"{statement.name}: {error}{HINT if statement.params else ''}") from None
        largest, values = self.benches[-1].local, [one.value for one in chosen[-1]]
        plan = largest.plan(statement.sql, values)
        judged = growth(points, self.sizes.shares, plan=plan)
        if not self.sizes.is_whole:
            points.append(extrapolated(points, self.sizes.shares))
        read, written = points[-1].rows_read, points[-1].rows_written
        return Measured(
            tuple(points),
            plan,
            judged,
            largest.times(statement.sql, values),
            self.prices.queries_per_s(read, written),
            self.prices.usd_per_month(read, written, rate_per_s=self.rate_per_s),
        )

    def _mended(
        self, statement: Statement, clauses: Clauses, *, chosen: Sequence[Sequence[Parameter]], before: Measured
    ) -> tuple[Index | None, int]:
        """Return the best indexes, measured at every size, and how many were tried."""
        largest = self.benches[-1]
        values = [one.value for one in chosen[-1]]
        sql, tried = trial.best(largest, statement.sql, params=values, clauses=clauses, tables=self.tables)
        if not sql:
            return None, tried
        prices = trial.write_prices(largest, sql, tables=self.tables)
        with trial.created(self.benches, sql) as added_bytes:
            after = self.measured(statement, chosen)
            with_them = trial.write_prices(largest, sql, tables=self.tables)
        return Index(sql, after, with_them[0], prices[0], with_them[1], prices[1], added_bytes), tried
