"""The tables that a database's migrations make, and how many rows of the bill an insert into each of them is.

Sources
-------
Cloudflare D1 pricing: an entry of an index is a row written, beside the row itself.
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

FILES_MAX = 1_000
BYTES_MAX = 10_000_000


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

    @property
    def rows_written(self) -> float:
        """Rows that an insert writes, on average over the tables."""
        return 1 + sum(self.indexes.values()) / len(self.indexes) if self.indexes else 1.0


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
        return Schema(files, indexes, problem)


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
