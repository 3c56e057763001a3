"""What runs D1's SQL: the standard library's SQLite, or apsw with its own SQLite and row counters.

Both give the same rows and errors in the same shape. Only apsw knows how many rows a query
looked at; with the standard library ``rows_read`` is the number of rows returned, a lower bound.
``rows_written`` counts, as the platform's bill does, one for each row changed and one more for each
index of its table that the row is in.

Sources
-------
D1 pricing: "each touched index adds a written row". SQLite: sqlite3_stmt_status (FULLSCAN_STEP).
"""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from reference_impl.sqlite.rules import SQL_LIMITS

if TYPE_CHECKING:
    import apsw

Params = tuple[Any, ...]

WRITTEN_TABLE = re.compile(
    r"\s*(?:INSERT(?:\s+OR\s+\w+)?\s+INTO|UPDATE(?:\s+OR\s+\w+)?|DELETE\s+FROM|REPLACE\s+INTO)"
    r"\s+[\"`\[]?(\w+)",
    re.IGNORECASE,
)


INDEXES = """
SELECT count(*) FROM pragma_index_list(?)
WHERE origin <> 'pk' OR NOT (SELECT wr FROM pragma_table_list WHERE schema = 'main' AND lower(name) = ?)
"""
"""How many indexes a table has beside itself: one WITHOUT ROWID is the index of its primary key."""


@dataclass(frozen=True)
class Rows:
    """What one statement gave."""

    columns: Sequence[str]
    values: Sequence[Sequence[Any]]
    changes: int
    last_row_id: int
    rows_read: int
    rows_written: int

    def as_mappings(self) -> list[dict[str, Any]]:
        """Return each row as a mapping from column to value."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.values]


class Engine(Protocol):
    """Something that runs SQL on one database."""

    errors: tuple[type[Exception], ...]
    """What :meth:`execute` raises for bad SQL, broken constraints and wrong types."""

    def execute(self, sql: str, params: Params = ()) -> Rows:
        """Run one statement."""
        ...

    def script(self, sql: str) -> None:
        """Run several statements."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """Make everything inside happen together or not at all."""
        ...

    def close(self) -> None:
        """Close the database."""
        ...


class _Costs:
    """How many rows a write touches: the row and its entries in the table's indexes."""

    def __init__(self) -> None:
        self._rows_per_change: dict[str, int] = {}

    def table_of(self, sql: str) -> str | None:
        """Return the table that *sql* writes to, if it writes."""
        match = WRITTEN_TABLE.match(sql)
        return match.group(1).lower() if match else None

    def rows_written(self, engine: Engine, *, table: str | None, changes: int) -> int:
        """Return the rows that *changes* changed rows of *table* cost."""
        if table is None or not changes:
            return changes
        if table not in self._rows_per_change:
            found = engine.execute(INDEXES, (table, table))
            self._rows_per_change[table] = 1 + int(found.values[0][0])
        return changes * self._rows_per_change[table]


class StdlibEngine:
    """The standard library's SQLite.

    Parameters
    ----------
    connection
        In autocommit mode.
    """

    errors: tuple[type[Exception], ...] = (sqlite3.Error, sqlite3.Warning, OverflowError, ValueError)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._costs = _Costs()
        connection.execute("PRAGMA foreign_keys = ON")
        for name, limit in SQL_LIMITS.items():
            connection.setlimit(getattr(sqlite3, f"SQLITE_LIMIT_{name}"), limit)

    def execute(self, sql: str, params: Params = ()) -> Rows:
        """Run one statement."""
        before = self._connection.total_changes
        cursor = self._connection.execute(sql, params)
        values = cursor.fetchall()
        columns = [entry[0] for entry in cursor.description or ()]
        table = self._costs.table_of(sql)
        changes = self._connection.total_changes - before if table else 0
        written = self._costs.rows_written(self, table=table, changes=changes)
        return Rows(columns, values, changes, cursor.lastrowid or 0, len(values), written)

    def script(self, sql: str) -> None:
        """Run several statements."""
        self._connection.executescript(sql)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything inside happen together or not at all."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.rollback()
            raise

    def close(self) -> None:
        """Close the database."""
        self._connection.close()


class ApswEngine:
    """apsw, with counters of the rows that a query looked at."""

    def __init__(self, connection: "apsw.Connection") -> None:
        import apsw

        self.errors: tuple[type[Exception], ...] = (apsw.Error, OverflowError, ValueError, TypeError)
        self._without_rows = apsw.ExecutionCompleteError
        self._connection = connection
        self._costs = _Costs()
        self._scanned = 0
        connection.execute("PRAGMA foreign_keys = ON")
        for name, limit in SQL_LIMITS.items():
            connection.limit(getattr(apsw, f"SQLITE_LIMIT_{name}"), limit)
        connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, self._profile)

    def execute(self, sql: str, params: Params = ()) -> Rows:
        """Run one statement."""
        before = self._connection.total_changes()
        self._scanned = 0
        cursor = self._connection.execute(sql, params)
        try:
            columns = [entry[0] for entry in cursor.get_description()]
        except self._without_rows:
            columns = []
        values = cursor.fetchall()
        table = self._costs.table_of(sql)
        changes = self._connection.total_changes() - before if table else 0
        rows_read = max(len(values), self._scanned)
        written = self._costs.rows_written(self, table=table, changes=changes)
        last_row_id = self._connection.last_insert_rowid()
        return Rows(columns, values, changes, last_row_id, rows_read, written)

    def script(self, sql: str) -> None:
        """Run several statements."""
        self._connection.execute(sql)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything inside happen together or not at all."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def _profile(self, event: dict[str, Any]) -> None:
        # The counter leaves out the step that finds the first row.
        steps = event["stmt_status"]["SQLITE_STMTSTATUS_FULLSCAN_STEP"]
        self._scanned += steps + 1 if steps else 0
