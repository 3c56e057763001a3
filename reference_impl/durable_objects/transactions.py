"""A transaction of an object's storage: everything inside it happens together or not at all.

It is undone if a failure leaves it, and also, without any failure, if the object wants it so.

Sources
-------
Durable Objects storage API: ``transaction``, its ``rollback``, and ``transactionSync``.
"""

from types import TracebackType
from typing import Protocol, Self


class Undoable(Protocol):
    """What has transactions that nest."""

    def enter_transaction(self) -> str:
        """Begin one; return its savepoint, or ``""`` if it is the outermost."""
        ...

    def leave_transaction(self, savepoint: str, *, failed: bool) -> None:
        """End the innermost: keep what happened in it, or undo it if it *failed*."""
        ...


class Transaction:
    """The context of one transaction; a failure inside is raised on."""

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
        """Let nothing of this transaction happen, neither what was nor what still comes in it."""
        self._is_undone = True
