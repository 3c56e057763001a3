"""The databases under Durable Objects: what a disk promises, and a disk in memory that promises it.

Three words are kept apart, because money is lost between them:

- *committed*: the transaction happened whole; every later statement sees it;
- *durable*: it survives a power cut as well. What is committed becomes durable in its order, so a
  power cut takes a tail of the transactions, never one out of the middle;
- *confirmed*: the object knows that it is durable (:meth:`ObjectDatabase.sync`).

Commit and sync are two calls, so that the object goes on working while the disk syncs, and
one sync serves every transaction that was committed before it.
"""

import sqlite3
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, Protocol

from reference_impl.errors import PlatformError
from reference_impl.sqlite import rules as sql_rules

Row = tuple[Any, ...]


class Cursor(Protocol):
    """The rows of one statement."""

    def fetchall(self) -> list[Row]:
        """Return all rows."""
        ...


class ObjectDatabase(Protocol):
    """One SQLite database, used by one owner at a time."""

    errors: tuple[type[Exception], ...]
    """What :meth:`execute` and :meth:`commit` raise."""

    def fault(self, error: Exception) -> PlatformError:
        """Return one of *errors* as the error that the object is to see."""
        ...

    def execute(self, statement: str, params: Sequence[Any] = (), /) -> Cursor:
        """Run one statement."""
        ...

    def begin(self) -> None:
        """Open a transaction."""
        ...

    def commit(self) -> None:
        """Make the open transaction happen whole."""
        ...

    def rollback(self) -> None:
        """Make the open transaction not have happened."""
        ...

    def sync(self) -> Awaitable[None] | None:
        """Begin to make what is committed durable; None if there is nothing to wait for."""
        ...

    def close(self) -> None:
        """Close it; what is committed stays."""
        ...


class Disk(Protocol):
    """Where the databases of one namespace are kept."""

    def open(self, object_id: str) -> ObjectDatabase:
        """Open (or create) the database of *object_id*; an unfinished transaction is undone."""
        ...

    def close(self, object_id: str) -> None:
        """Close the database; its content stays."""
        ...

    def index(self) -> ObjectDatabase:
        """Return the namespace's own database: which objects exist, which alarms are set.

        Each of its statements is durable when it returns.
        """
        ...


class SqlError(PlatformError):
    """The object's own fault: bad SQL, a broken constraint, a value that SQLite cannot hold."""

    status = 500
    code = "sql_error"


class StorageFailedError(PlatformError):
    """The disk's fault: what was not confirmed is lost, and the object begins anew from what is there."""

    code = "storage_failed"
    retryable = True


ROW_HEAD_BYTES = 100
"""What SQLite adds to a row: key and value together may fill the platform's limit to the last byte."""
SQL_LIMITS = {
    **sql_rules.SQL_LIMITS,
    "LENGTH": sql_rules.SQL_LIMITS["LENGTH"] + ROW_HEAD_BYTES,
    # The object's own statements are counted before they come here; reading 128 keys is the platform's.
    "VARIABLE_NUMBER": 128,
}
DISK_FAULTS = frozenset(
    {
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
    }
)
"""SQLite's primary result codes that are about the disk and not the statement."""


def disk_fault(error: Exception) -> StorageFailedError | None:
    """Return *error* as the disk's fault; None if it is not."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF not in DISK_FAULTS:
        return None
    return StorageFailedError(f"the object's storage failed: {error}; ask again")


class SqliteDatabase:
    """A database of the standard library's SQLite, durable as far as its pragmas say.

    Parameters
    ----------
    connection
        In autocommit mode.
    """

    errors: tuple[type[Exception], ...] = (sqlite3.Error, sqlite3.Warning, OverflowError, ValueError)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.execute = connection.execute
        for name, limit in SQL_LIMITS.items():
            connection.setlimit(getattr(sqlite3, f"SQLITE_LIMIT_{name}"), limit)

    def fault(self, error: Exception) -> PlatformError:
        """Tell the statement's faults from the disk's."""
        return disk_fault(error) or SqlError(str(error))

    def begin(self) -> None:
        """Open a transaction."""
        self.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make the open transaction happen whole."""
        self.execute("COMMIT")

    def rollback(self) -> None:
        """Make the open transaction not have happened; without one, do nothing."""
        self._connection.rollback()

    def sync(self) -> Awaitable[None] | None:
        """Wait for nothing: a commit is as durable as it will ever be."""
        return None

    def close(self) -> None:
        """Close it."""
        self._connection.close()


def memory_database() -> SqliteDatabase:
    """Return an empty database in memory."""
    return SqliteDatabase(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False))


class MemoryDisk:
    """A disk that lasts as long as the process: for tests and simulations."""

    def __init__(self) -> None:
        self._databases: dict[str, SqliteDatabase] = {}

    def open(self, object_id: str) -> SqliteDatabase:
        """Open the database of *object_id*."""
        if object_id not in self._databases:
            self._databases[object_id] = memory_database()
        database = self._databases[object_id]
        database.rollback()
        return database

    def close(self, object_id: str) -> None:
        """Keep the database: its memory is the disk."""

    def index(self) -> SqliteDatabase:
        """Return the namespace's own database."""
        return self.open("")

    def ids(self) -> Iterable[str]:
        """Return the ids of all objects that ever had a database here."""
        return [object_id for object_id in self._databases if object_id]

    def unmount(self) -> None:
        """Forget everything."""
        for database in self._databases.values():
            database.close()
        self._databases.clear()
