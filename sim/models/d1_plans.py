"""Estimate the rows that a statement reads, from SQLite's query plan and the sizes of the tables.

SQLite itself says which index it would use for each table (``EXPLAIN QUERY PLAN`` on an empty database with the schema,
that is, without the statistics of ``ANALYZE``). A scan reads all rows of its table, a search by a whole unique key one
row, any other search the rows that its condition leaves (``matching_rows``, by default all: the worst case); sorted
rows are read once more; a limit stops the reading only if nothing is sorted or filtered afterwards. Then the plan is
made again with an index of the statement's equality and ORDER BY columns: if it reads at least 2 times fewer rows, that
index is reported as missing.

This is an estimate, for tables that may not exist yet. On a real table the reference counts to the row
(``reference_impl/sqlite/row_count``), and the provider's runtime has the last word: correlated subqueries, window
functions and joins of unequal fan-out are beyond this arithmetic.

Sources
-------
Row rules: counted on the open-source runtime, ``tests/evidence/rows_of_runtime.json``. D1 pricing: rows read are rows
scanned, whatever is returned (hazard H21).
"""

import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from pathlib import Path

from sim.foundation.errors import ScenarioError
from sim.foundation.schema import PAGE

LEVEL = re.compile(r"^(SCAN|SEARCH) (?:TABLE )?(\w+)(?: AS \w+)?(?: USING (.*))?$")
INDEX = re.compile(r"INDEX (\w+) \((.*)\)")
STATEMENT = re.compile(
    r"\bFROM\s+(?P<table>\w+)(?:\s+WHERE\s+(?P<where>.*?))?(?:\s+GROUP\s+BY\s+(?P<group>.*?))?"
    r"(?:\s+ORDER\s+BY\s+(?P<order>.*?))?(?:\s+LIMIT\s+(?P<limit>\S+).*)?\s*;?\s*$",
    re.IGNORECASE | re.DOTALL,
)
GAIN_RATIO = 2.0
"""An index is reported as missing if it divides the rows read by at least this."""


@dataclass(frozen=True)
class QueryPlan:
    """What one execution of a statement reads.

    Attributes
    ----------
    rows_read : int
    steps : tuple of str
        SQLite's plan, a line each.
    missing_index : str
        The statement that would create the index that is missing; empty if none is.
    rows_read_with_index : int
        With that index.
    """

    rows_read: int
    steps: tuple[str, ...]
    missing_index: str = ""
    rows_read_with_index: int = 0


def plan_of(sql: str, sizes: Mapping[str, int], *, schema: str = "", matching: int = 0, limit: int = 0) -> QueryPlan:
    """Plan *sql* on tables of given *sizes*.

    Parameters
    ----------
    sql : str
        One statement that reads.
    sizes : mapping of str to int
        Rows of each of its tables.
    schema : str
        A folder of migrations or an SQL file; empty for the deployment's own migrations.
    matching : int
        Rows that the first table's condition leaves; 0 for all of them.
    limit : int
        Rows that it returns at most, where its LIMIT is a parameter; 0 for no limit.

    Raises
    ------
    ScenarioError
        The statement does not fit the schema, or a table's size is missing.
    """
    return _plan(sql, tuple(sorted(sizes.items())), schema, matching, limit)


@lru_cache(maxsize=256)
def _plan(sql: str, sizes: tuple[tuple[str, int], ...], schema: str, matching: int, limit: int) -> QueryPlan:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        try:
            database.executescript(_schema(schema))
            steps = _explained(database, sql)
            rows = _rows_read(database, sql, steps=steps, sizes=dict(sizes), matching=matching, limit=limit)
            index = _index_for(sql)
            if not index:
                return QueryPlan(rows, steps)
            database.execute(index)
            better = _explained(database, sql)
        except sqlite3.Error as error:
            raise ScenarioError(f"sql={sql[:100]!r} cannot be planned: {error}; see its schema ({PAGE})") from None
        fewer = _rows_read(database, sql, steps=better, sizes=dict(sizes), matching=matching, limit=limit)
    if fewer * GAIN_RATIO > rows:
        return QueryPlan(rows, steps)
    return QueryPlan(rows, steps, index, fewer)


def _schema(place: str) -> str:
    path = Path(place) if place else _own_migrations()
    if path.is_dir():
        return "".join(file.read_text("utf-8") for file in sorted(path.glob("*.sql")))
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ScenarioError(
            f'schema="{place}" cannot be read: {error.strerror}; name a folder or a file ({PAGE})'
        ) from None


def _own_migrations() -> Path:
    root = Path(__file__).resolve().parents[2]
    repository = root / "deploy" / "migrations"
    return repository if repository.is_dir() else root / "reference_impl" / "_migrations"


def _explained(database: sqlite3.Connection, sql: str) -> tuple[str, ...]:
    statement = f"EXPLAIN QUERY PLAN {sql}"
    try:
        rows = database.execute(statement).fetchall()
    except sqlite3.ProgrammingError as error:
        found = re.search(r"uses (\d+)", str(error))
        if found is None:
            raise
        rows = database.execute(statement, (None,) * int(found.group(1))).fetchall()
    return tuple(str(row[3]) for row in rows)


def _rows_read(
    database: sqlite3.Connection, sql: str, *, steps: Sequence[str], sizes: Mapping[str, int], matching: int, limit: int
) -> int:
    levels = [found for found in (LEVEL.match(step) for step in steps) if found]
    sorts = sum(step.startswith("USE TEMP B-TREE") for step in steps)
    limit = _limit(sql) or limit
    read, reached = 0, 1
    for depth, level in enumerate(levels):
        how, table, using = level.groups()
        if table not in sizes:
            raise ScenarioError(f"rows={dict(sizes)} must say how many rows the table {table} has ({PAGE})")
        found = 1 if _is_one(database, table, using or "") else sizes[table]
        if found > 1 and depth == 0 and how == "SEARCH":
            found = min(matching or found, found)
        elif found > 1 and depth and how == "SEARCH":
            found = max(1, ceil(found / max(sizes[levels[0].group(2)], 1)))
        if depth == 0 and limit and not sorts and _is_all(sql, using or ""):
            found = min(found, limit)
        read += reached * found
        reached *= found
    return read + sorts * reached


def _is_one(database: sqlite3.Connection, table: str, using: str) -> bool:
    """Whether a search finds one row at most: by the number of the row, or by every column of a unique index."""
    if using.startswith("INTEGER PRIMARY KEY (rowid=?)"):
        return True
    found = INDEX.search(using)
    if found is None:
        return using.startswith("PRIMARY KEY") and ">" not in using and "<" not in using
    name, terms = found.groups()
    unique = {row[1] for row in database.execute(f"PRAGMA index_list({table})") if row[2]}
    columns = database.execute(f"PRAGMA index_info({name})").fetchall()
    return name in unique and terms.count("=?") == len(columns)


def _is_all(sql: str, using: str) -> bool:
    """Whether the index answers every condition, so that each entry that is read is a row that is returned."""
    found = STATEMENT.search(sql)
    where = found.group("where") if found else None
    asked = len(re.split(r"\bAND\b", where, flags=re.IGNORECASE)) if where else 0
    index = INDEX.search(using)
    return asked <= (len(index.group(2).split(" AND ")) if index else 0)


def _limit(sql: str) -> int:
    found = STATEMENT.search(sql)
    text = (found.group("limit") or "") if found else ""
    return int(text) if text.isdigit() else 0


def _index_for(sql: str) -> str:
    """Return the index of a statement on one table: its equalities, then its order; empty if it has none."""
    found = STATEMENT.search(sql)
    if found is None or re.search(r"\b(JOIN|OR|UNION)\b|\(\s*SELECT", sql, re.IGNORECASE):
        return ""
    equal = re.findall(r"(\w+)\s*=\s*(?:\?\d*|'[^']*'|[-\d.]+|:\w+)", found.group("where") or "")
    ordered = [part.strip() for part in (found.group("order") or "").split(",") if part.strip()]
    columns = [*equal, *(part for part in ordered if part.split()[0] not in equal)]
    if not columns or not all(re.fullmatch(r"\w+(\s+(ASC|DESC))?", part, re.IGNORECASE) for part in columns):
        return ""
    name = "_".join(("idx", found.group("table"), *(part.split()[0] for part in columns)))
    return f"CREATE INDEX {name} ON {found.group('table')} ({', '.join(columns)})"
