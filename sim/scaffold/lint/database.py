"""Checks of a database's schema: what its migrations make, without a query.

Sources
-------
SQLite, "Foreign Key Support", section 3: a child key without an index makes every change of its parent scan the child.
Cloudflare D1 pricing: an entry of an index is a row written. Hazards H6, H21 and H22 (docs/HAZARDS.md).
"""

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sim.scaffold.lint.finding import Finding, Severity
from sim.scaffold.lint.sources import Sources
from sim.scaffold.migrations import applied

MONEY = re.compile(r"(?:^|_)(?:price|cost|amount|balance|total|charge|fee|usd|cents)(?:_|$)", re.IGNORECASE)
FLAG = re.compile(r"^(?:is|has|can)_|_(?:flag|enabled|public|active|deleted)$", re.IGNORECASE)


def check_schema(sources: Sources) -> Iterator[Finding]:
    """The schema that the migrations make: keys that scan, indexes that do not select, money in floating point."""
    if sources.migrations is None:
        return
    folder = _shown(sources, sources.migrations)
    with applied(sources.migrations) as (database, _, problem):
        if problem:
            name, _, said = problem.partition(": ")
            yield Finding(
                Severity.ERROR, folder / name, 0, "migration-fails", f"it cannot be applied: {said}",
                "mend the statement; the migrations after it were not looked at",
            )  # fmt: skip
        for table in _tables(database):
            yield from _keys_without_index(database, table, folder=folder)
            yield from _weak_indexes(database, table, folder=folder)
            yield from _money(database, table, folder=folder)


def _keys_without_index(database: sqlite3.Connection, table: str, *, folder: Path) -> Iterator[Finding]:
    """Yield foreign keys that no index begins with."""
    led = _first_columns(database, table)
    for row in database.execute('SELECT "from", "table" FROM pragma_foreign_key_list(?)', (table,)).fetchall():
        column, parent = str(row[0]), str(row[1])
        if column not in led:
            yield Finding(
                Severity.WARNING, folder, 0, "foreign-key-without-index",
                f"{table}.{column} refers to {parent} and has no index: each look-up by it, and each delete in "
                f"{parent}, reads every row of {table}",
                f"CREATE INDEX idx_{table}_{column} ON {table}({column})", "H21",
            )  # fmt: skip


def _weak_indexes(database: sqlite3.Connection, table: str, *, folder: Path) -> Iterator[Finding]:
    """Yield indexes on one column that has two values or so: they cost a row a write, and select next to nothing."""
    for name, columns in _indexes(database, table).items():
        if len(columns) == 1 and FLAG.search(columns[0]) and not name.startswith("sqlite_autoindex"):
            yield Finding(
                Severity.NOTE, folder, 0, "index-on-a-flag",
                f"{name} is on {table}.{columns[0]} alone, which has few values: it selects next to nothing and "
                "costs a row with every write",
                "lead with the column that selects, or make the index partial (WHERE ...)", "H22",
            )  # fmt: skip


def _money(database: sqlite3.Connection, table: str, *, folder: Path) -> Iterator[Finding]:
    for _, column, declared, *_ in database.execute("SELECT * FROM pragma_table_info(?)", (table,)).fetchall():
        if MONEY.search(str(column)) and re.search(r"REAL|FLOA|DOUB", str(declared), re.IGNORECASE):
            yield Finding(
                Severity.WARNING, folder, 0, "money-in-floating-point",
                f"{table}.{column} is {declared}: sums of money drift, and comparisons go either way",
                "an INTEGER of the smallest unit that you charge, such as micro-dollars", "H6",
            )  # fmt: skip


def _tables(database: sqlite3.Connection) -> list[str]:
    found = database.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    return sorted(str(name) for (name,) in found.fetchall())


def _indexes(database: sqlite3.Connection, table: str) -> dict[str, list[str]]:
    """Return the columns of each index of *table*; an expression is an empty text."""
    columns = "SELECT name FROM pragma_index_info(?) ORDER BY seqno"
    return {
        str(name): [str(column or "") for (column,) in database.execute(columns, (name,)).fetchall()]
        for (name,) in database.execute("SELECT name FROM pragma_index_list(?)", (table,)).fetchall()
    }


def _first_columns(database: sqlite3.Connection, table: str) -> set[str]:
    """Return the columns that an index, or the table itself, is ordered by first."""
    key = database.execute("SELECT name FROM pragma_table_info(?) WHERE pk = 1", (table,)).fetchall()
    return {columns[0] for columns in _indexes(database, table).values() if columns} | {str(name) for (name,) in key}


def _shown(sources: Sources, path: Path) -> Path:
    """Return *path* as findings show it: beside the configuration."""
    return sources.config_file.path.parent / path.relative_to(sources.folder)
