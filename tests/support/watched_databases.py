"""SQLite connections that complain when nobody closed them.

Python says so itself from 3.13 on, without the place that opened the connection; before, it stays silent. Pytest turns
the complaint into a failure (``filterwarnings = ["error"]``) of the test during which the connection was collected,
which need not be the test that opened it: hence the place in the message.
"""

import sqlite3
import sys
import warnings
from functools import partial
from typing import Any

import pytest

STANDARD_CONNECT = sqlite3.connect


class WatchedConnection(sqlite3.Connection):
    """A connection that knows where it was opened, and warns if it is collected open."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        opener = sys._getframe(1)
        self._opened_at = f"{opener.f_code.co_filename}:{opener.f_lineno}"
        self._is_open = True

    def close(self) -> None:
        """Close the connection."""
        self._is_open = False
        super().close()

    def __del__(self) -> None:
        # A connection whose file could not be opened at all has no attributes.
        if getattr(self, "_is_open", False):
            self.close()
            warnings.warn(f"the connection opened at {self._opened_at} was never closed", ResourceWarning, stacklevel=1)


def watch(patch: pytest.MonkeyPatch) -> None:
    """Let ``sqlite3.connect`` return watched connections."""
    patch.setattr(sqlite3, "connect", partial(STANDARD_CONNECT, factory=WatchedConnection))
