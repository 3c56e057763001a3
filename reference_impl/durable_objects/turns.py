"""Turns: what an object writes between two waits happens together, and when it is durable.

::

    put, put, sql ──► one open transaction ──► commit (the turn ends) ──► sync ──► output gate opens
                      ▲ all of a turn happens together or not at all

- *Coalescing.* The first write of a turn opens a transaction, the end of the turn commits it: writes
  with no wait between them happen together. A turn ends where the object's code waits for anything
  (:class:`reference_impl.durable_objects.gates.Event` ends it).
- *Transactions.* Inside :meth:`Turns.transaction` everything happens or nothing does; they nest.
- *Fencing.* The storage of an object that was reset refuses every further use: code of the old
  instance that still runs somewhere cannot write beside the new one. A disk that failed fences its
  storage too: a sync that is repeated may succeed and yet have lost what the first one failed to keep.

Every statement passes the *step* hook first. It does nothing in service; a test raises from it, and
so cuts the power between any two storage steps.

Sources
-------
Durable Objects storage API: write coalescing, ``transaction``.
"""

from collections.abc import Callable
from typing import Any

from reference_impl.durable_objects.transactions import Transaction
from reference_impl.errors import ImplError, PlatformError
from reference_impl.volumes.disks import ObjectDatabase, StorageFailedError

Rows = list[tuple[Any, ...]]
"""All rows of a statement."""


def no_step(step: str) -> None:
    """Let the storage step happen."""


class Turns:
    """One object's database, its open transaction, and what of it is durable.

    Parameters
    ----------
    database
        The object's database.
    on_step
        Called with a short text before every statement and after every commit.
    coalesces
        Whether writes wait for :meth:`end_turn` to be committed together; otherwise each statement
        and each outermost transaction is committed by itself.
    """

    def __init__(self, database: ObjectDatabase, *, on_step: Callable[[str], None], coalesces: bool) -> None:
        self._database = database
        self._faults: tuple[type[Exception], ...] = (StorageFailedError, *database.errors)
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

    # --- transactions ------------------------------------------------------------------------

    def transaction(self) -> Transaction:
        """Return the context in which everything happens together or not at all.

        Nothing is awaited inside; :meth:`reference_impl.durable_objects.gates.Event.transaction` is for what waits.
        """
        return Transaction(self)

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
        """Commits that must be durable before this reply may leave: those that were, and that of the open turn."""
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
            If the disk could not make this commit or an earlier one durable.
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

    def _open(self) -> None:
        if self._fence is not None:
            raise self._fence
        try:
            self._on_step("BEGIN")
            self._database.begin()
        except self._faults as error:
            raise self._failed(error) from error
        self._is_open = True

    def _write(self, statement: str, params: tuple[Any, ...]) -> Rows:
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

    def _run(self, statement: str, params: tuple[Any, ...]) -> Rows:
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
