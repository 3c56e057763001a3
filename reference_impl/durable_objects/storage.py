"""The private disk of one Durable Object: keys and values, SQL, transactions, and when they are safe.

::

    put, put, sql ──► one open transaction ──► commit (the turn ends) ──► sync ──► output gate opens
                      ▲ all of a turn happens together or not at all

- *Coalescing.* The first write of a turn opens a transaction, the end of the turn commits it: writes
  with no wait between them happen together. A turn ends where the object's code waits for anything
  (:class:`reference_impl.durable_objects.gates.Event` ends it).
- *Transactions.* Inside :meth:`Storage.transaction` everything happens or nothing does; they nest.
- *Limits* are the platform's, with the platform's own refusals, because a design that lives below a
  limit here must also live below it there.
- *Fencing.* The storage of an object that was reset refuses every further use: code of the old
  instance that still runs somewhere cannot write beside the new one. A disk that failed fences its
  storage too: a sync that is repeated may succeed and yet have lost what the first one failed to keep.

Every statement passes the *step* hook first. It does nothing in service; a test raises from it, and
so pulls the plug between any two storage steps.

Sources
-------
Durable Objects storage API: write coalescing, ``transaction``, ``transactionSync``, ``list``. Limits:
:mod:`reference_impl.durable_objects.limits`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from reference_impl.durable_objects.disks import ObjectDatabase, StorageFailedError
from reference_impl.durable_objects.limits import KEYS_PER_CALL_MAX, SQLITE_LIMITS, StorageLimits, within
from reference_impl.durable_objects.transactions import Transaction
from reference_impl.errors import ImplError, PlatformError
from reference_impl.sqlite.rules import check_params, check_statement

Returned = TypeVar("Returned")

KEY_VALUE_TABLE = """
CREATE TABLE IF NOT EXISTS _cf_kv (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID
"""
ALARM_KEY = "_cf_alarm_unix_ms"
ENCODER = json.JSONEncoder(separators=(",", ":"))
OWN_TABLES = r"""
SELECT type, name FROM pragma_table_list
WHERE schema = 'main' AND type <> 'shadow' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' AND name <> '_cf_kv'
ORDER BY type DESC
"""
"""The object's tables and views, views first; those that a virtual table keeps for itself go with it."""
LIST_LIMIT = 1_000
"""How many keys one :meth:`Storage.items` returns unless told: a bound on what an object reads at once."""


def no_step(step: str) -> None:
    """Let the storage step happen."""


class Storage:
    """What an object sees of its disk.

    Parameters
    ----------
    database
        The object's database.
    limits
        The back end's limits.
    on_step
        Called with a short text before every statement and after every commit.
    coalesces
        Whether writes wait for :meth:`end_turn` to be committed together; otherwise each statement
        and each outermost transaction is committed by itself.
    """

    def __init__(
        self,
        database: ObjectDatabase,
        *,
        limits: StorageLimits = SQLITE_LIMITS,
        on_step: Callable[[str], None] = no_step,
        coalesces: bool = False,
    ) -> None:
        self._database = database
        self._faults: tuple[type[Exception], ...] = (StorageFailedError, *database.errors)
        self._limits = limits
        self._on_step = on_step
        self._coalesces = coalesces
        self._depth = 0
        self._is_open = False
        self._has_written = False
        # What an earlier instance committed may not be durable yet: the first reply finds out.
        self._confirmed = -1
        self._fence: ImplError | None = None
        self._lost: StorageFailedError | None = None
        self.commits = 0
        """How many transactions that wrote something were committed."""
        self.rollbacks = 0
        """How often something was undone or deleted as a whole; what was read before may be wrong then."""
        try:
            database.execute(KEY_VALUE_TABLE)
        except database.errors as error:
            raise database.fault(error) from error

    # --- SQL ---------------------------------------------------------------------------------

    def sql(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        """Run one SQL statement and return all its rows.

        Raises
        ------
        LimitError
            If the statement or its parameters are more than the platform takes.
        SqlRefusedError
            If the statement is none of the object's business.
        PlatformError
            If the back end has no SQL.
        """
        if not self._limits.has_sql:
            raise PlatformError(f"SQL is not enabled on the {self._limits.name} back end; use get and put")
        check_params(len(params))
        only_reads = check_statement(statement)
        return self._run(statement, params) if only_reads else self._write(statement, params)

    # --- keys and values ---------------------------------------------------------------------

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value stored at *key*, or *default*."""
        rows = self._run("SELECT value FROM _cf_kv WHERE key = ?", (key,))
        return json.loads(rows[0][0]) if rows else default

    def get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        """Return the values of those of *keys*, at most 128, that are stored, in key order."""
        within(len(keys), KEYS_PER_CALL_MAX, what="keys in one get")
        marks = ", ".join("?" * len(keys))
        statement = f"SELECT key, value FROM _cf_kv WHERE key IN ({marks}) ORDER BY key"  # noqa: S608  # marks are ?
        return {key: json.loads(text) for key, text in self._run(statement, tuple(keys))}

    def put(self, key: str, value: Any) -> None:
        """Store *value*, anything that JSON can tell, at *key*.

        Raises
        ------
        LimitError
            If the key, the value or both together are too large for the back end.
        """
        self._put(key, self._checked(key, value))

    def put_many(self, entries: Mapping[str, Any]) -> None:
        """Store all of *entries*, at most 128, or none."""
        within(len(entries), KEYS_PER_CALL_MAX, what="keys in one put")
        texts = {key: self._checked(key, value) for key, value in entries.items()}
        with self.transaction():
            for key, text in texts.items():
                self._put(key, text)

    def delete(self, key: str) -> bool:
        """Delete *key* and tell whether it was there."""
        # To look first is ten times faster than to ask the deletion what it returned.
        was_there = bool(self._run("SELECT 1 FROM _cf_kv WHERE key = ?", (key,)))
        if was_there:
            self._write("DELETE FROM _cf_kv WHERE key = ?", (key,))
        return was_there

    def delete_many(self, keys: Sequence[str]) -> int:
        """Delete *keys*, at most 128, and return how many were there."""
        within(len(keys), KEYS_PER_CALL_MAX, what="keys in one delete")
        with self.transaction():
            return sum(self.delete(key) for key in keys)

    def delete_all(self) -> None:
        """Delete everything, the alarm too, at once."""
        with self.transaction():
            self._write("DELETE FROM _cf_kv", ())
            for kind, name in self._run(OWN_TABLES, ()):
                quoted = name.replace('"', '""')
                self._write(f'DROP {"VIEW" if kind == "view" else "TABLE"} "{quoted}"', ())
        # The alarm that somebody remembers is gone as well.
        self.rollbacks += 1

    def items(
        self,
        *,
        prefix: str = "",
        start: str | None = None,
        start_after: str | None = None,
        end: str | None = None,
        reverse: bool = False,
        limit: int = LIST_LIMIT,
    ) -> dict[str, Any]:
        """Return keys and values in key order (UTF-8).

        Parameters
        ----------
        prefix
            Only keys that begin with it.
        start, start_after, end
            Only keys at or after *start*, after *start_after*, and before *end*.
        reverse
            From the last key to the first; the limit counts from there.
        limit
            At most so many.

        Raises
        ------
        PlatformError
            If *limit* is less than 1.
        """
        if limit < 1:
            raise PlatformError(f"limit={limit} must be at least 1")
        # The first bound lets the index find the prefix, the second knows where it ends. Bytes, because in a text
        # SQLite's functions see nothing after a NUL.
        conditions = ["key >= ?", "substr(CAST(key AS BLOB), 1, ?) = CAST(? AS BLOB)", "key <> ?"]
        params: list[Any] = [prefix, len(prefix.encode()), prefix, ALARM_KEY]
        for condition, bound in (("key >= ?", start), ("key > ?", start_after), ("key < ?", end)):
            if bound is not None:
                conditions.append(condition)
                params.append(bound)
        order = "DESC" if reverse else "ASC"
        rows = self._run(
            f"SELECT key, value FROM _cf_kv WHERE {' AND '.join(conditions)} ORDER BY key {order} LIMIT ?",  # noqa: S608  # the conditions above, and ASC or DESC
            (*params, limit),
        )
        return {key: json.loads(text) for key, text in rows}

    # --- transactions ------------------------------------------------------------------------

    def transaction(self) -> Transaction:
        """Return the context in which everything happens together or not at all.

        Nothing is awaited inside; :meth:`reference_impl.durable_objects.gates.Event.transaction` is for what waits.
        """
        return Transaction(self)

    def transaction_sync(self, closure: Callable[[], Returned]) -> Returned:
        """Run *closure*, which waits for nothing, as one transaction; return what it returns.

        Raises
        ------
        PlatformError
            If the back end is not the SQLite one.
        """
        if not self._limits.has_sql:
            raise PlatformError(f"the {self._limits.name} back end has no transaction_sync; use transaction")
        with self.transaction():
            return closure()

    def enter_transaction(self) -> str:
        """Begin a transaction inside the one that is open, if one is; return its savepoint, or ``""``."""
        savepoint = ""
        if self._is_open:
            savepoint = f"depth_{self._depth}"
            self._run(f"SAVEPOINT {savepoint}", ())
        else:
            self._open()
        self._depth += 1
        return savepoint

    def leave_transaction(self, savepoint: str, *, failed: bool) -> None:
        """End the innermost transaction: keep what happened in it, or undo it if it *failed*."""
        self._depth -= 1
        if failed:
            # A crash comes this way too; the database undoes what was not committed.
            if not savepoint:
                self.abandon_turn()
            elif self._is_open:
                self.rollbacks += 1
                self._database.execute(f"ROLLBACK TO {savepoint}")
                self._database.execute(f"RELEASE {savepoint}")
        elif savepoint:
            self._run(f"RELEASE {savepoint}", ())
        elif not self._coalesces:
            self.end_turn()

    def end_turn(self) -> None:
        """Commit what this turn wrote; inside a transaction, nothing yet."""
        if self._fence is not None:
            raise self._fence
        if not self._is_open or self._depth:
            return
        if not self._has_written:
            self.abandon_turn()
            return
        try:
            self._on_step("COMMIT")
            self._database.commit()
        except self._faults as error:
            raise self._failed(error) from error
        self._is_open = self._has_written = False
        self.commits += 1
        self._on_step("committed")

    def abandon_turn(self) -> None:
        """Undo what this turn wrote."""
        if self._is_open:
            self._is_open = self._has_written = False
            self.rollbacks += 1
            self._database.rollback()

    @property
    def commits_awaited(self) -> int:
        """How many commits what is told now depends on: those that were, and that of the open turn."""
        return self.commits + self._has_written

    @property
    def confirmed(self) -> int:
        """How many commits are known to be durable."""
        return self._confirmed

    @property
    def is_confirmed(self) -> bool:
        """Whether all that was committed is known to be durable."""
        return self._confirmed == self.commits

    @property
    def failure(self) -> StorageFailedError | None:
        """How the disk failed, if it did; nothing that is in memory can be trusted then."""
        return self._fence if isinstance(self._fence, StorageFailedError) else None

    async def confirm(self) -> None:
        """Wait until all that was committed up to now is durable.

        Raises
        ------
        StorageFailedError
            If the disk could not press this commit or an earlier one.
        """
        awaited = self.commits
        while self._confirmed < awaited:
            begun = self.commits
            try:
                syncing = self._database.sync()
                if syncing is not None:
                    await syncing
            except StorageFailedError as error:
                self._lost = error
                self.fence(error)
            if self._lost is not None:
                raise self._lost
            self._confirmed = max(self._confirmed, begun)

    def fence(self, error: ImplError) -> None:
        """Undo what this turn wrote, and refuse every further use with *error*."""
        if self._fence is None:
            self.abandon_turn()
            self._fence = error

    # --- one statement -----------------------------------------------------------------------

    def _checked(self, key: str, value: Any) -> str:
        text = ENCODER.encode(value)
        key_bytes, value_bytes = len(key.encode()), len(text.encode())
        limits = self._limits
        within(key_bytes, limits.key_bytes, what="bytes of a key")
        within(value_bytes, limits.value_bytes, what=f"bytes in the value of {key[:80]!r}")
        within(key_bytes + value_bytes, limits.key_plus_value_bytes, what=f"bytes in {key[:80]!r} with its value")
        return text

    def _put(self, key: str, text: str) -> None:
        self._write("INSERT OR REPLACE INTO _cf_kv VALUES (?, ?)", (key, text))

    def _open(self) -> None:
        if self._fence is not None:
            raise self._fence
        try:
            self._on_step("BEGIN")
            self._database.begin()
        except self._faults as error:
            raise self._failed(error) from error
        self._is_open = True

    def _write(self, statement: str, params: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        if self._is_open:
            self._has_written = True
            return self._run(statement, params)
        if self._coalesces:
            self._open()
            self._has_written = True
            return self._run(statement, params)
        rows = self._run(statement, params)
        self.commits += 1
        self._on_step("committed")
        return rows

    def _run(self, statement: str, params: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        if self._fence is not None:
            raise self._fence
        try:
            self._on_step(statement)
            return self._database.execute(statement, params).fetchall()
        except self._faults as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> PlatformError:
        fault = error if isinstance(error, StorageFailedError) else self._database.fault(error)
        if isinstance(fault, StorageFailedError):
            self.fence(fault)
        return fault
