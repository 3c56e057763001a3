"""What counts the rows of a statement, wherever it runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

Value = int | float | str | bytes | None


@dataclass(frozen=True)
class Count:
    """What a statement reads and writes.

    Attributes
    ----------
    rows_read, rows_written : int
    is_exact : bool
        Whether it is the provider's count, to the row; if not, an estimate from a part of the statement's run.
    """

    rows_read: int
    rows_written: int
    is_exact: bool = True


class RowCounter(Protocol):
    """Counts rows as the provider does."""

    name: str
    """What it is, for the report."""

    def count(self, sql: str, params: Sequence[Value], *, steps: int) -> Count | None:
        """Return what one statement reads and writes, and leave the database as it was; None if it cannot be known.

        Parameters
        ----------
        sql, params
            The statement, with numbered parameters.
        steps
            Instructions that it took on this machine's SQLite, from which a long walk is extrapolated.
        """
        ...

    def execute(self, sql: str) -> None:
        """Follow a change of the schema."""
        ...


def shown(value: Value) -> object:
    """Return a value as JSON carries it."""
    return {"blob": value.hex()} if isinstance(value, bytes) else value
