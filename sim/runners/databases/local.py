"""SQLite on this machine: whether a statement runs, what it returns, how many instructions it takes and how long.

Its times are this machine's, without network, neighbours and commits: they order statements, they do not foretell D1.
Whatever a statement changes is undone.
"""

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sim.foundation.errors import UsageError
from sim.runners.databases.counting import Value
from sim.statistics.quantiles import quantile_interval

LIMIT_S = 20.0
"""Time after which a statement is stopped."""
TIMED_RUNS_MAX = 25
TIMED_RUNS_MIN = 5
TIMED_S = 0.5
"""Repetitions end after this time, when there were enough."""
STEPS_PER_CALL = 10
"""Instructions between two callbacks; the count is right to this many."""
LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 2_000_000,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 100_000,
    sqlite3.SQLITE_LIMIT_COLUMN: 100,
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: 100,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 32,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 50,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
}
"""The platform's limits, set on SQLite itself."""


@dataclass(frozen=True)
class Ran:
    """One execution.

    Attributes
    ----------
    returned_rows, changes, steps : int
        Rows returned, rows changed (also by triggers), instructions.
    own_changes : int
        Rows that the statement changed itself.
    """

    returned_rows: int
    changes: int
    steps: int
    own_changes: int


@dataclass(frozen=True)
class Times:
    """Repeated executions: median and its 95 % interval."""

    ms_median: float
    ms_low: float
    ms_high: float
    runs: int


class LocalDatabase:
    """A SQLite file.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA synchronous = OFF")
        for limit, value in LIMITS.items():
            self.connection.setlimit(limit, value)

    def close(self) -> None:
        """Close it."""
        self.connection.close()

    def run(self, sql: str, params: Sequence[Value] = ()) -> Ran:
        """Run a statement once, and undo it.

        References are not checked, as in a batch that defers them: what a delete costs is asked here while its children
        are there.

        Raises
        ------
        UsageError
            SQLite refuses it, or it takes too long.
        """
        watch = _Watch()
        self.connection.set_progress_handler(watch.tick, STEPS_PER_CALL)
        before = self.connection.total_changes
        try:
            self._begin()
            with closing(self.connection.execute(sql, tuple(params))) as cursor:
                returned = sum(1 for _ in cursor)
            changes, steps = self.connection.total_changes - before, watch.calls * STEPS_PER_CALL
            own = int(self.connection.execute("SELECT changes()").fetchone()[0]) if changes else 0
            return Ran(returned, changes, steps, own)
        except (sqlite3.Error, sqlite3.Warning, OverflowError) as error:
            if watch.is_late:
                raise UsageError(f"it takes more than {LIMIT_S:g} s; give fewer rows (docs/D1.md)") from None
            if "interrupted" in str(error):
                raise KeyboardInterrupt from None  # The callback was interrupted, and SQLite with it.
            raise UsageError(str(error)) from None
        finally:
            self.connection.set_progress_handler(None, STEPS_PER_CALL)
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")

    def times(self, sql: str, params: Sequence[Value] = ()) -> Times:
        """Run a statement that is known to end some more times; return how long one takes."""
        taken_ms: list[float] = []
        end_s = time.perf_counter() + TIMED_S
        while len(taken_ms) < TIMED_RUNS_MAX and (len(taken_ms) < TIMED_RUNS_MIN or time.perf_counter() < end_s):
            self._begin()
            begin_ns = time.perf_counter_ns()
            with closing(self.connection.execute(sql, tuple(params))) as cursor:
                cursor.fetchall()
            taken_ms.append((time.perf_counter_ns() - begin_ns) / 1e6)
            self.connection.execute("ROLLBACK")
        found = quantile_interval(taken_ms, 0.5, method="independent")
        low, high = max(found.low, min(taken_ms)), min(found.high, max(taken_ms))
        return Times(found.value, low, high, len(taken_ms))

    def _begin(self) -> None:
        self.connection.execute("BEGIN")
        self.connection.execute("PRAGMA defer_foreign_keys = ON")

    def plan(self, sql: str, params: Sequence[Value] = ()) -> tuple[str, ...]:
        """Return SQLite's plan, a line a step."""
        rows = self.connection.execute(f"EXPLAIN QUERY PLAN {sql}", tuple(params)).fetchall()
        return tuple(str(row[3]) for row in rows)

    def writes_virtual(self, sql: str, params: Sequence[Value] = ()) -> bool:
        """Whether a statement, or one of its triggers, writes to a virtual table."""
        rows = self.connection.execute(f"EXPLAIN {sql}", tuple(params)).fetchall()
        return any(row[1] == "VUpdate" for row in rows)

    def used_bytes(self) -> int:
        """Return the bytes of all pages in use."""
        pages, free, size = (
            int(self.connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size


class _Watch:
    """Counts instructions, and stops what takes too long."""

    def __init__(self) -> None:
        self.calls = 0
        self.is_late = False
        self._end_s = time.perf_counter() + LIMIT_S

    def tick(self) -> int:
        """One callback; SQLite stops if it returns 1."""
        self.calls += 1
        if not self.calls % 1_000 and time.perf_counter() > self._end_s:
            self.is_late = True
        return int(self.is_late)
