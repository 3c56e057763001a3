"""The tables that a database's migrations make, and how many rows of the bill an insert into each of them is.

Sources
-------
Cloudflare D1 pricing: an entry of an index is a row written, beside the row itself. SQLite, "Datatypes" (affinity by
the declared type) and "Database File Format" (cells and pages).
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

FILES_MAX = 1_000
BYTES_MAX = 10_000_000

NUMBER_BYTES, WORD_BYTES, PROSE_BYTES, BLOB_BYTES = 6, 30, 300, 200
"""Assumed bytes of a value, by the type and the name of its column."""

PROSE = frozenset(
    "body content text message description html markdown bio summary data json payload note notes".split()
)
"""Names of columns whose texts are long."""

CELL_BYTES = 8
"""Assumed bytes that a row or an entry of an index takes beside its values: header, key and pointer."""

FILL = 0.8
"""Assumed share of a page that is used: pages split in halves as they fill."""


@dataclass(frozen=True)
class Schema:
    """What migrations make.

    Attributes
    ----------
    files : int
    indexes : dict of str to int
        Indexes of each table, those of its keys included.
    problem : str
        What could not be applied; empty if all could.
    """

    files: int
    indexes: dict[str, int]
    problem: str = ""
    values_bytes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Assumed bytes of the values of a row of each table, then of an entry of each index that is stored apart."""

    def rows_written(self, table: str = "") -> float:
        """Rows that an insert writes: into *table*, or on average over the tables."""
        if table:
            return 1.0 + self.indexes[table]
        return 1 + sum(self.indexes.values()) / len(self.indexes) if self.indexes else 1.0

    def stored_bytes(self, table: str = "") -> float:
        """Bytes by which an insert is assumed to make the database grow: into *table*, or on average over all."""
        tables = [table] if table else list(self.values_bytes)
        each = [sum(values + CELL_BYTES for values in self.values_bytes[name]) / FILL for name in tables]
        return sum(each) / len(each) if each else 0.0

    def arithmetic(self, table: str) -> str:
        """How :meth:`stored_bytes` comes about, in words."""
        row, *entries = self.values_bytes[table]
        indexes = "".join(f" + index {entry} + {CELL_BYTES}" for entry in entries)
        return f"{table}: (row {row} + {CELL_BYTES}{indexes}) bytes / {FILL:g} of a page"

    def table_of(self, path: str) -> str:
        """Return the table that the last word of a path names, in singular or plural; empty for none."""
        words = [word.lower() for word in re.findall(r"[A-Za-z]+", path)]
        named = {name.lower().rstrip("s"): name for name in self.values_bytes}
        return next((named[word.rstrip("s")] for word in reversed(words) if word.rstrip("s") in named), "")


def read_migrations(folder: Path) -> Schema | None:
    """Apply the migrations in *folder* to an empty database in memory; None if there are none."""
    with applied(folder) as (database, files, problem):
        if not files:
            return None
        names = database.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        indexes = {
            name: len(database.execute("SELECT 1 FROM pragma_index_list(?)", (name,)).fetchall())
            for (name,) in names.fetchall()
        }
        return Schema(files, indexes, problem, {name: tuple(_values_bytes(database, name)) for name in indexes})


def _values_bytes(database: sqlite3.Connection, table: str) -> Iterator[int]:
    """Assumed bytes of the values of a row, then of an entry of each index that is not the table itself."""
    columns = {
        name: _bytes(name, kind)
        for _, name, kind, *_ in database.execute("SELECT * FROM pragma_table_info(?)", (table,))
    }
    yield sum(columns.values())
    with_rowid = database.execute("SELECT wr FROM pragma_table_list(?)", (table,)).fetchone()[0] == 0
    for _, index, _, origin, _ in database.execute("SELECT * FROM pragma_index_list(?)", (table,)).fetchall():
        if with_rowid or origin != "pk":
            entries = database.execute("SELECT name FROM pragma_index_info(?)", (index,)).fetchall()
            # The entry of an expression has no name.
            yield sum(columns.get(name, WORD_BYTES) for (name,) in entries)


def _bytes(name: str, kind: str) -> int:
    """Assumed bytes of a column's value, by the rules of affinity."""
    kind = kind.upper()
    if "INT" in kind:
        return NUMBER_BYTES
    if any(word in kind for word in ("CHAR", "CLOB", "TEXT")):
        return PROSE_BYTES if name.lower().split("_")[-1] in PROSE else WORD_BYTES
    return BLOB_BYTES if "BLOB" in kind or not kind else NUMBER_BYTES


@contextmanager
def applied(folder: Path) -> Iterator[tuple[sqlite3.Connection, int, str]]:
    """Yield a database in memory to which the migrations in *folder* are applied, their number, and the first problem.

    What comes after a migration that cannot be applied is not applied either.
    """
    files = sorted(folder.glob("*.sql"))[:FILES_MAX] if folder.is_dir() else []
    problem = ""
    with closing(sqlite3.connect(":memory:")) as database:
        for file in files:
            try:
                text = file.read_bytes()[:BYTES_MAX].decode("utf-8-sig")
                database.executescript(re.sub(r"(?im)^\s*(begin( transaction)?|commit)\s*;\s*$", "", text))
            except (OSError, UnicodeDecodeError, sqlite3.Error) as error:
                problem = f"{file.name}: {error}"
                break
        yield database, len(files), problem
