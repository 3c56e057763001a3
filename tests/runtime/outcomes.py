"""What came of a call, and what both sides of a comparison can do. Nothing here loads the reference."""

from collections.abc import Sequence
from typing import Any, Protocol

Outcome = dict[str, Any]
META = ("changes", "last_row_id", "changed_db", "rows_read", "rows_written")
"""What is compared of a statement's ``meta``; the last two are of statements that are counted."""


class Side(Protocol):
    """Something that makes calls and says what came of each."""

    def d1(self, calls: Sequence[Any]) -> list[Outcome]:
        """Make calls of a database binding."""
        ...

    def r2(self, calls: Sequence[Any]) -> list[Outcome]:
        """Make calls of a bucket binding."""
        ...

    def kv(self, calls: Sequence[Any]) -> list[Outcome]:
        """Make calls of a KV binding."""
        ...

    def object(self, name: str, events: Sequence[Sequence[Any]]) -> list[list[Outcome]]:
        """Send events to an object, all at once; return the outcomes of the calls of each."""
        ...
