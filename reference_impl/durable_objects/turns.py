"""Turns: the writes of an object between two waits are one transaction; this module commits it and makes it durable.

::

    put, put, sql ──► one open transaction ──► commit (the turn ends) ──► sync ──► output gate opens
                      ▲ a turn is atomic

- *Coalescing.* The first write of a turn opens a transaction and the end of the turn commits it, so writes
  with no wait between them are atomic. A turn ends where the object's code waits for anything
  (:class:`reference_impl.durable_objects.gates.Event` ends it).
- *Transactions.* :meth:`Turns.transaction` makes the writes inside it atomic; transactions nest.
- *Fencing.* The storage of an object that was reset refuses every further use, so code of the old
  instance that is still running cannot write beside the new one. A failed disk fences its storage too: after a failed
  fsync a second one may succeed although the data of the first is lost.

Every statement calls the *step* hook first. In service it does nothing; a test raises from it to simulate a power cut
between any two storage steps.

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
    """Do nothing: the hook in service."""


class Turns:
    """One object's database, its open transaction, and how many of its commits are durable.

    Parameters
    ----------
    database
        The object's database.
    on_step
        Called with a short text before every statement and after every commit.
    coalesces
        Whether :meth:`end_turn` commits the writes of a turn together; otherwise each statement
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
        # Commits of an earlier instance may not be durable yet; the first reply waits for them.
        self._confirmed = -1
        self._fence: ImplError | None = None
        self._lost: StorageFailedError | None = None
        self.commits = 0
        """Number of committed transactions that wrote something."""
        self.rollbacks = 0
        """Number of rollbacks and of deletions of everything; each invalidates cached values."""

    # --- transactions ------------------------------------------------------------------------

    def transaction(self) -> Transaction:
        """Return a context in which writes are atomic.

        Nothing may be awaited inside; use :meth:`reference_impl.durable_objects.gates.Event.transaction` for that.
        """
        return Transaction(self)

    def enter_transaction(self) -> str:
        """Begin a transaction, nested if one is open; return its savepoint, or ``""`` if it is the outermost."""
        savepoint = ""
        if self._is_open:
            savepoint = f"depth_{self._depth}"
            self._run(f"SAVEPOINT {savepoint}", ())
        else:
            self._open()
        self._depth += 1
        return savepoint

    def leave_transaction(self, savepoint: str, *, failed: bool) -> None:
        """End the innermost transaction: keep its writes, or roll them back if it *failed*."""
        self._depth -= 1
        if failed:
            # A simulated crash comes here too; the database rolls back what was not committed.
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
        """Commit the writes of this turn; do nothing while a transaction is open."""
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
        """Roll back the writes of this turn."""
        if self._is_open:
            self._is_open = self._has_written = False
            self.rollbacks += 1
            self._database.rollback()

    @property
    def commits_awaited(self) -> int:
        """Number of commits that must be durable before a reply may leave, including that of the open turn."""
        return self.commits + self._has_written

    @property
    def confirmed(self) -> int:
        """Number of commits that are known to be durable."""
        return self._confirmed

    @property
    def is_confirmed(self) -> bool:
        """Whether every commit is known to be durable."""
        return self._confirmed == self.commits

    @property
    def failure(self) -> StorageFailedError | None:
        """The failure of the disk, or None; after one, nothing in memory can be trusted."""
        return self._fence if isinstance(self._fence, StorageFailedError) else None

    async def confirm(self) -> None:
        """Wait until every commit up to now is durable.

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
        """Roll back the writes of this turn, and refuse every further use with *error*."""
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
