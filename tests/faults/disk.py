"""The disk of a simulated process: SQLite in memory that forgets, at a power cut, what was not confirmed.

Every transaction of the object is a savepoint inside one outer transaction that is never committed. So a power cut is
``ROLLBACK TO`` the oldest transaction that is lost: a tail is lost and never one out of the middle, which is what
SQLite's log promises (``tests/reference_impl/durable_objects/test_power_cut.py`` shows that it does, torn sectors
included). When the schedule is over, the outer transaction is rolled back and the connection is as new: the next
schedule takes it.
"""

import sqlite3
from collections.abc import Callable

from reference_impl.durable_objects.namespace import INDEX_TABLE
from reference_impl.durable_objects.storage import Storage
from reference_impl.errors import PlatformError
from reference_impl.ledger.hardened import HardenedLedger
from reference_impl.volumes.disks import Cursor, SqliteDatabase
from tests.faults.world import Scheduler, SimWaiter

PAGE_BYTES = 512
"""SQLite's smallest: a schedule writes few rows, and every savepoint copies the pages that are written after it."""
STATEMENTS_KEPT = 1_000
"""More than there are: a statement is compiled once, and never for the next schedule again."""


class SimDatabase:
    """The object's database.

    Parameters
    ----------
    pooled
        Inside its outer transaction.
    scheduler
        Lets a sync take its time.
    sync_ms
        How long the next sync takes.
    """

    errors: tuple[type[Exception], ...] = SqliteDatabase.errors

    def __init__(self, pooled: SqliteDatabase, *, scheduler: Scheduler, sync_ms: Callable[[], float]) -> None:
        self._scheduler = scheduler
        self._sync_ms = sync_ms
        self._savepoints = 0
        self.execute: Callable[..., Cursor] = pooled.execute
        self.committed = 0
        self.durable = 0
        self._power_cuts = 0

    def fault(self, error: Exception) -> PlatformError:
        """No fault of this disk is the disk's own."""
        raise AssertionError("the object's own SQL failed") from error

    def begin(self) -> None:
        """Open a transaction."""
        # One that nothing came of still stands where this one begins.
        if self._savepoints == self.committed:
            self.execute(f"SAVEPOINT t{self.committed}")
            self._savepoints += 1

    def commit(self) -> None:
        """Make it happen; not yet durable."""
        self.committed += 1

    def rollback(self) -> None:
        """Make it not have happened."""
        if self._savepoints > self.committed:
            self._back_to(self.committed)

    def sync(self) -> SimWaiter:
        """Make what is committed now durable after a time."""
        reached, power_cuts = self.committed, self._power_cuts
        waiter = self._scheduler.waiter()

        def synced() -> None:
            # What was on its way when the power failed does not arrive later.
            if power_cuts == self._power_cuts:
                self.durable = max(self.durable, reached)
            waiter.set_result()

        self._scheduler.call_in(self._sync_ms(), synced)
        return waiter

    def close(self) -> None:
        """Leave it to the pool."""

    def power_cut(self, amount: int) -> int:
        """Lose the open transaction and some of those that are not durable; return how many survive."""
        self.rollback()
        survivors = self.durable + amount % (self.committed - self.durable + 1)
        if survivors < self.committed:
            self._back_to(survivors)
            self.committed = survivors
        # What survived is durable.
        self.durable = survivors
        self._power_cuts += 1
        return survivors

    def _back_to(self, transaction: int) -> None:
        # The savepoint itself stays.
        self.execute(f"ROLLBACK TO t{transaction}")
        self._savepoints = transaction + 1


class SimDisk:
    """The disk: one object's database and the namespace's index, whose every statement is durable."""

    def __init__(self, database: SimDatabase, index: SqliteDatabase) -> None:
        self._database = database
        self._index = index

    def open(self, object_id: str) -> SimDatabase:
        """Open the one object's database."""
        self._database.rollback()
        return self._database

    def close(self, object_id: str) -> None:
        """Keep it."""

    def index(self) -> SqliteDatabase:
        """Return the namespace's own database."""
        return self._index


class PooledDatabase(SqliteDatabase):
    """A database in memory that one schedule uses after the other, by one cursor."""

    def __init__(self) -> None:
        connection = sqlite3.connect(":memory:", isolation_level=None, cached_statements=STATEMENTS_KEPT)
        super().__init__(connection)
        # Every statement's rows are fetched before the next one begins, so that one cursor serves all.
        self.execute = connection.cursor().execute
        self.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        # What some builds of SQLite do, and takes time: overwriting with zeros what is deleted.
        self.execute("PRAGMA secure_delete = OFF")


class Pool:
    """Databases that are used by one schedule after the other.

    Opening one and making the schema takes as long as a whole schedule. The index has its table: the namespace makes it
    in a statement that is durable when it returns, with no step at which anything could fail.
    """

    def __init__(self) -> None:
        self._with_schema = PooledDatabase()
        HardenedLedger(Storage(self._with_schema))
        self._empty = PooledDatabase()
        self._index = PooledDatabase()
        self._index.execute(INDEX_TABLE)
        self._in_use: tuple[SqliteDatabase, ...] = ()

    def take(self, *, has_schema: bool) -> tuple[SqliteDatabase, SqliteDatabase]:
        """Return a database for the object and one for the index, both as new."""
        self.give_back()
        database = self._with_schema if has_schema else self._empty
        self._in_use = (database, self._index)
        for used in self._in_use:
            used.execute("BEGIN")
        return self._in_use

    def give_back(self) -> None:
        """Undo whatever the last schedule did."""
        for used in self._in_use:
            used.rollback()
        self._in_use = ()
