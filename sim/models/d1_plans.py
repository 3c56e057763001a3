"""Estimate the rows that a statement reads and writes, from SQLite's query plan and the sizes of the tables.

SQLite itself says which index it would use for each table (``EXPLAIN QUERY PLAN`` on an empty database with the schema,
that is, without the statistics of ``ANALYZE``). A scan reads all rows of its table, a search by a whole unique key one
row, any other search the rows that its condition leaves (``matching_rows``, by default all: the worst case) and the
entry that ends it; sorted rows are read once more; a limit stops the reading only if nothing is sorted or filtered
afterwards. What a write changes follows from its bytecode (``EXPLAIN``, :mod:`sim.models.d1_programs`). Then the plan
of a read is made again with an index of the statement's equality and ORDER BY columns: if it reads at least 2 times
fewer rows, that index is reported as missing.

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
from sim.models.d1_programs import Program, program_of, rows_given

LEVEL = re.compile(r"^(SCAN|SEARCH) (?:TABLE )?(\w+)(?: AS \w+)?(?: USING (.*))?$")
INDEX = re.compile(r"INDEX (\w+) \((.*)\)")
QUOTED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)
ALIAS = re.compile(r"(?:\b(?:FROM|JOIN|UPDATE|INTO)\s+|,\s*)(\w+)\s+(?:AS\s+)?(\w+)", re.IGNORECASE)
STATEMENT = re.compile(
    r"\bFROM\s+(?P<table>\w+)(?:\s+WHERE\s+(?P<where>.*?))?(?:\s+GROUP\s+BY\s+(?P<group>.*?))?"
    r"(?:\s+ORDER\s+BY\s+(?P<order>.*?))?(?:\s+LIMIT\s+(?P<limit>\S+).*)?\s*;?\s*$",
    re.IGNORECASE | re.DOTALL,
)
GAIN_RATIO = 2.0
"""An index is reported as missing if it divides the rows read by at least this."""


@dataclass(frozen=True)
class QueryPlan:
    """What one execution of a statement reads and writes.

    Attributes
    ----------
    rows_read : int
    steps : tuple of str
        SQLite's plan, a line each.
    rows_written : int
        Rows of tables and entries of indexes.
    missing_index : str
        The statement that would create the index that is missing; empty if none is.
    rows_read_with_index : int
        With that index.
    """

    rows_read: int
    steps: tuple[str, ...]
    rows_written: int = 0
    missing_index: str = ""
    rows_read_with_index: int = 0


@dataclass(frozen=True)
class _Asked:
    """A statement, and what is told about it."""

    sql: str
    sizes: tuple[tuple[str, int], ...]
    matching_rows: int
    limit: int

    def size(self, database: sqlite3.Connection, name: str) -> tuple[str, int]:
        """Return the table that the plan calls *name*, which may be an alias, and its rows."""
        tables = {row[0].lower(): row[0] for row in database.execute("SELECT name FROM sqlite_schema")}
        table = name
        if name.lower() not in tables:
            aliases = {alias.lower(): table for table, alias in ALIAS.findall(QUOTED.sub(" ", self.sql))}
            table = aliases.get(name.lower(), name)
        known = {one.lower(): rows for one, rows in self.sizes}
        if table.lower() not in known:
            raise ScenarioError(f"rows={dict(self.sizes)} must say how many rows the table {table} has ({PAGE})")
        return table, known[table.lower()]


def plan_of(
    sql: str, sizes: Mapping[str, int], *, schema: str = "", matching: int = 0, limit: int = 0, writes: bool = False
) -> QueryPlan:
    """Plan *sql* on tables of given *sizes*.

    Parameters
    ----------
    sql : str
        One statement.
    sizes : mapping of str to int
        Rows of each of its tables.
    schema : str
        A folder of migrations or an SQL file; empty for the deployment's own migrations.
    matching : int
        Rows that the first table's condition leaves; 0 for all of them.
    limit : int
        Rows that it returns at most, where its LIMIT is a parameter; 0 for no limit.
    writes : bool
        Whether it must be one that writes; else it must be one that reads.

    Raises
    ------
    ScenarioError
        The statement does not fit the schema, a table's size is missing, or it is of the other kind.
    """
    # The texts, not their place: a migration that was edited in between is another schema.
    files = tuple(schema_files(schema).values())
    asked = _Asked(sql, tuple(sorted(sizes.items())), matching, _limit(sql) or limit)
    return _plan(asked, files, writes=writes)


@lru_cache(maxsize=256)
def _plan(asked: _Asked, files: tuple[str, ...], *, writes: bool) -> QueryPlan:
    sql = asked.sql
    _check_parameters(sql)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        try:
            database.execute("PRAGMA foreign_keys = ON")
            database.executescript("\n;\n".join(files))
            program = program_of(database, sql)
            _check_kind(sql, program, writes=writes)
            steps = _explained(database, sql)
            if writes and not re.search(r"\bSELECT\b", QUOTED.sub(" ", sql), re.IGNORECASE):
                # What comes after its own search looks for rows that refer to it, and finds none where all is well.
                steps = steps[:1] if program.verb in ("UPDATE", "DELETE") else ()
            read, reached = _rows(database, asked, steps)
            if writes:
                return _written(database, asked, program, steps=steps, read=read, reached=reached)
            index = _index_for(sql)
            if not index:
                return QueryPlan(read, steps)
            database.execute(index)
            better = _explained(database, sql)
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise ScenarioError(f"sql={_said(sql)} cannot be planned: {error}; see its schema ({PAGE})") from None
        fewer, _ = _rows(database, asked, better)
    if fewer * GAIN_RATIO > read:
        return QueryPlan(read, steps)
    return QueryPlan(read, steps, missing_index=index, rows_read_with_index=fewer)


def _check_parameters(sql: str) -> None:
    """Refuse names, before SQLite is asked: from Python 3.13 on it warns of a sequence that is bound to them."""
    if re.search(r"[:@$][A-Za-z_]", QUOTED.sub(" ", sql)):
        raise ScenarioError(f"sql={_said(sql)} must have ? or ?1 for its parameters, as D1 does, and no names ({PAGE})")


def _check_kind(sql: str, program: Program, *, writes: bool) -> None:
    """Refuse a write where rows are read, and the other way round."""
    if program.writes and not writes:
        raise ScenarioError(f"sql={_said(sql)} changes rows: it belongs in a step that writes, d1.write ({PAGE})")
    if writes and not program.writes:
        raise ScenarioError(f"sql={_said(sql)} changes no row: it belongs in a step that reads, d1.read ({PAGE})")


def _said(sql: str) -> str:
    return repr(" ".join(sql.split())[:100])


def schema_files(place: str) -> dict[str, str]:
    """Return the SQL of a schema by file name, in order.

    Parameters
    ----------
    place : str
        A folder of migrations or an SQL file; empty for the deployment's own migrations.

    Raises
    ------
    ScenarioError
        It cannot be read, or holds no SQL file.
    """
    path = Path(place) if place else _own_migrations()
    files = sorted(path.glob("*.sql")) if path.is_dir() else [path]
    if not files:
        raise ScenarioError(f'migrations="{place}" must hold at least one *.sql file ({PAGE})')
    try:
        return {file.name: file.read_text("utf-8") for file in files}
    except OSError as error:
        rule = f"cannot be read: {error.strerror}; name a folder or a file"
        raise ScenarioError(f'migrations="{place}" {rule} ({PAGE})') from None
    except UnicodeDecodeError as error:
        raise ScenarioError(f'migrations="{place}" must be UTF-8 text: {error.reason} ({PAGE})') from None


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


def _rows(database: sqlite3.Connection, asked: _Asked, steps: Sequence[str]) -> tuple[int, int]:
    """Return the rows that a plan reads, and those that its conditions leave."""
    levels = [found.groups() for found in (LEVEL.match(step) for step in steps) if found]
    sorts = sum(step.startswith("USE TEMP B-TREE") and not step.endswith("FOR DISTINCT") for step in steps)
    read, reached, outer = 0, 1, 1
    for depth, (how, name, by) in enumerate(levels):
        table, size = asked.size(database, name)
        using = by or ""
        if how == "SEARCH" and _is_one(database, table, using):
            left = found = 1
        elif depth == 0:
            left = min(asked.matching_rows or size, size)
            found = size if how == "SCAN" else left + (left < size and _ends_inside(using))
            if asked.limit and not sorts and _is_all(asked.sql, using):
                found, left = min(found, asked.limit), min(left, asked.limit)
        else:
            left = found = size
            if how == "SEARCH":
                left = max(1, ceil(size / max(outer, 1)))
                found = left + (left < size and _ends_inside(using))
        outer = size if depth == 0 else outer
        read += reached * found
        reached *= left
    return read + sorts * reached, reached


def _written(
    database: sqlite3.Connection, asked: _Asked, program: Program, *, steps: tuple[str, ...], read: int, reached: int
) -> QueryPlan:
    """Return the plan of a write: every row that it reaches, or that it gives."""
    verb, is_searched = program.verb, any(LEVEL.match(step) for step in steps)
    if verb == "DELETE" and not is_searched:  # All rows at once, which reads none.
        return QueryPlan(0, steps, rows_written=asked.size(database, program.table)[1])
    if verb in ("INSERT", "REPLACE"):
        affected = reached if is_searched else rows_given(asked.sql)
        return QueryPlan(read + affected * program.seeks, steps, rows_written=affected * program.entries)
    is_by_number = any("USING INTEGER PRIMARY KEY" in step for step in steps)
    seeks = max(0, program.seeks - (is_by_number or program.passes > 1)) if verb == "UPDATE" else 0
    # A second pass goes through the rows that the first one noted, and finds each of them again.
    again = (program.passes - 1) * reached
    return QueryPlan(
        read + again + reached * seeks, steps, rows_written=reached * (program.entries if verb == "UPDATE" else 1)
    )


def _ends_inside(using: str) -> bool:
    """Whether a search ends at an entry that it reads, not at the end of the index."""
    terms = using.rpartition("(")[2]
    return "=" in terms or "<" in terms or ">" not in terms


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
