"""A transaction of an object's storage: all writes inside it take effect together, or none does.

It is rolled back if an exception leaves it, or if the object calls :meth:`Transaction.rollback`.

Sources
-------
Durable Objects storage API: ``transaction``, its ``rollback``, and ``transactionSync``.
"""

from types import TracebackType
from typing import Protocol, Self


class Undoable(Protocol):
    """A store with nested transactions."""

    def enter_transaction(self) -> str:
        """Begin a transaction; return its savepoint, or ``""`` if it is the outermost."""
        ...

    def leave_transaction(self, savepoint: str, *, failed: bool) -> None:
        """End the innermost transaction: keep its writes, or roll them back if it *failed*."""
        ...


class Transaction:
    """The context manager of one transaction; an exception inside rolls it back and propagates."""

    __slots__ = ("_is_undone", "_savepoint", "_storage")

    def __init__(self, storage: Undoable) -> None:
        self._storage = storage
        self._savepoint = ""
        self._is_undone = False

    def __enter__(self) -> Self:
        self._savepoint = self._storage.enter_transaction()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._storage.leave_transaction(self._savepoint, failed=self._is_undone or error is not None)

    def rollback(self) -> None:
        """Roll this transaction back: neither earlier nor later writes in it take effect."""
        self._is_undone = True
