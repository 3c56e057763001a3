"""A Durable Object's database that counts what the provider bills of each statement.

The rows come from :mod:`reference_impl.sqlite.row_count`. Setting an alarm is one row written; what the runtime does
with the alarm besides (looking, clearing it when it has rung) is not on the bill.

Sources
-------
Durable Objects pricing: "each setAlarm() is billed as a single row written"; key-value methods of the SQLite back end
are billed as rows of a hidden table.
"""

from collections.abc import Awaitable, Sequence
from typing import Any

from reference_impl.errors import PlatformError
from reference_impl.sqlite.row_count.meter import RowMeter
from reference_impl.volumes.disks import Cursor, ObjectDatabase

ALARM_KEY = "_cf_alarm_unix_ms"
BILLED = ("SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH")
UNBILLED = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")


class Billed(dict[str, float]):
    """Amounts by meter, as ``rows_read``; what was never counted is 0."""

    def __missing__(self, meter: str) -> float:
        return 0.0

    def add(self, meter: str, amount: float = 1.0) -> None:
        """Move a meter."""
        self[meter] += amount


class MeteredDatabase:
    """A database with its meter.

    Parameters
    ----------
    database
        The database.
    billed
        What is counted: ``rows_read``, ``rows_written``, and ``statements_uncounted``, whose rows only the real
        runtime knows.
    """

    def __init__(self, database: ObjectDatabase, billed: Billed) -> None:
        self.errors = database.errors
        self._database = database
        self._billed = billed
        self._meter = RowMeter(lambda sql, *params: database.execute(sql, params).fetchall())

    def execute(self, statement: str, params: Sequence[Any] = (), /) -> Cursor:
        """Run one statement and count it."""
        word = statement.split(None, 1)[0].upper()
        if ALARM_KEY in params:
            self._billed.add("rows_written", 1.0 if word == "INSERT" else 0.0)
        elif word in BILLED:
            self._count(statement, params)
        elif word not in UNBILLED:
            self._billed.add("statements_uncounted")
        if word != "SELECT":
            self._meter.changed(schema=word not in (*BILLED, *UNBILLED))
        return self._database.execute(statement, params)

    def _count(self, statement: str, params: Sequence[Any]) -> None:
        try:
            counted = self._meter.count(statement, params)
        except self.errors:
            return  # The statement itself will fail.
        if counted is None:
            self._billed.add("statements_uncounted")
            return
        self._billed.add("rows_read", counted.rows_read)
        self._billed.add("rows_written", counted.rows_written)

    def fault(self, error: Exception) -> PlatformError:
        """Return one of *errors* as the error that the object is to see."""
        return self._database.fault(error)

    def begin(self) -> None:
        """Open a transaction."""
        self._database.begin()

    def commit(self) -> None:
        """Make the open transaction happen whole."""
        self._database.commit()

    def rollback(self) -> None:
        """Make the open transaction not have happened."""
        self._meter.changed(schema=True)
        self._database.rollback()

    def sync(self) -> Awaitable[None] | None:
        """Begin to make what is committed durable."""
        return self._database.sync()

    def close(self) -> None:
        """Close it."""
        self._database.close()
