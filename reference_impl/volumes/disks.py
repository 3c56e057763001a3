"""Disks of Durable Objects: the interface of a database with separate commit and sync, and a disk in memory.

A transaction passes three stages; confusing them loses money:

- *committed*: it has taken effect as a whole; every later statement sees it;
- *durable*: it also survives a power cut. Commits become durable in order, so a
  power cut loses a suffix of the transactions, never one out of the middle;
- *confirmed*: the object knows that it is durable (:meth:`ObjectDatabase.sync`).

Commit and sync are separate calls, so that the object continues to work while the disk syncs, and
one sync serves every transaction that was committed before it.
"""

import sqlite3
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, Protocol

from reference_impl.errors import PlatformError
from reference_impl.sqlite import rules as sql_rules
from reference_impl.sqlite.engines import STDLIB_ERRORS

Row = tuple[Any, ...]


class Cursor(Protocol):
    """The rows of one statement."""

    def fetchall(self) -> list[Row]:
        """Return all rows."""
        ...


class ObjectDatabase(Protocol):
    """One SQLite database, used by one owner at a time."""

    errors: tuple[type[Exception], ...]
    """Exceptions that :meth:`execute` and :meth:`commit` raise."""

    def fault(self, error: Exception) -> PlatformError:
        """Translate one of *errors* into the error that the object sees."""
        ...

    def execute(self, statement: str, params: Sequence[Any] = (), /) -> Cursor:
        """Run one statement."""
        ...

    def begin(self) -> None:
        """Open a transaction."""
        ...

    def commit(self) -> None:
        """Commit the open transaction."""
        ...

    def rollback(self) -> None:
        """Roll back the open transaction."""
        ...

    def sync(self) -> Awaitable[None] | None:
        """Start to make every commit durable; return None if there is nothing to wait for."""
        ...

    def close(self) -> None:
        """Close the database; committed transactions stay."""
        ...


class Disk(Protocol):
    """The databases of one namespace."""

    def open(self, object_id: str) -> ObjectDatabase:
        """Open or create the database of *object_id*; an unfinished transaction is rolled back."""
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
    """An error of the object's own code: invalid SQL, a violated constraint, a value that SQLite cannot store."""

    status = 500
    code = "sql_error"


class StorageFailedError(PlatformError):
    """A failure of the disk: unconfirmed writes may be lost, and the object restarts from what the disk holds."""

    code = "storage_failed"
    retryable = True


ROW_HEAD_BYTES = 100
"""Overhead of SQLite's row format, so that key and value together can reach the platform's limit exactly."""
SQL_LIMITS = {
    **sql_rules.SQL_LIMITS,
    "LENGTH": sql_rules.SQL_LIMITS["LENGTH"] + ROW_HEAD_BYTES,
    # The parameters of the object's own statements are limited earlier; a read of 128 keys needs more.
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
"""SQLite's primary result codes for failures of the disk rather than of the statement."""


def disk_fault(error: Exception) -> StorageFailedError | None:
    """Return *error* as a failure of the disk; None if it is not one."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF not in DISK_FAULTS:
        return None
    return StorageFailedError(f"the object's storage failed: {error}; ask again")


class SqliteDatabase:
    """A database of the standard library's SQLite; its pragmas decide its durability.

    Parameters
    ----------
    connection
        In autocommit mode.
    """

    errors = STDLIB_ERRORS

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.execute = connection.execute
        for name, limit in SQL_LIMITS.items():
            connection.setlimit(getattr(sqlite3, f"SQLITE_LIMIT_{name}"), limit)

    def fault(self, error: Exception) -> PlatformError:
        """Translate *error* into an error of the statement or a failure of the disk."""
        return disk_fault(error) or SqlError(str(error))

    def begin(self) -> None:
        """Open a transaction."""
        self.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Commit the open transaction."""
        self.execute("COMMIT")

    def rollback(self) -> None:
        """Roll back the open transaction; without one, do nothing."""
        self._connection.rollback()

    def sync(self) -> Awaitable[None] | None:
        """Return None: a commit is already as durable as it will be."""
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
        """Do nothing: the database in memory is the disk."""

    def index(self) -> SqliteDatabase:
        """Return the namespace's own database."""
        return self.open("")

    def ids(self) -> Iterable[str]:
        """Return the ids of all objects that have a database here."""
        return [object_id for object_id in self._databases if object_id]

    def unmount(self) -> None:
        """Close all databases; their content is lost."""
        for database in self._databases.values():
            database.close()
        self._databases.clear()
