"""What runs D1's SQL: the standard library's SQLite, or apsw with its own SQLite, the same on every machine.

Both give the same rows and errors in the same shape, and count rows read and written by the provider's rules
(:mod:`reference_impl.sqlite.row_count`). A walk over many rows is cut short and its count extrapolated by the
instructions that the statement really took, which is right within a few per cent. What cannot be walked at all (window
functions, triggers, virtual tables, changes of the schema), only the real runtime can count: its rows are then those
returned and changed, a lower bound. :attr:`Rows.is_counted` says which it is.
"""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from reference_impl.sqlite.row_count.cursors import Query
from reference_impl.sqlite.row_count.meter import Counted, RowMeter
from reference_impl.sqlite.rules import SQL_LIMITS, bare_sql

if TYPE_CHECKING:
    import apsw

Params = tuple[Any, ...]

READS = ("SELECT", "EXPLAIN", "PRAGMA", "VALUES")
WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "WITH")
"""How statements begin that change rows, not the schema."""
STEPS_MAX = 50_000
"""Instructions of one walk: some 5,000 rows, or 0.1 s."""
KNOWN_MAX = 10_000
"""Statements with parameters whose count is remembered."""
CHANGING = re.compile(r"random|current_|now", re.IGNORECASE)
"""What lets a statement read other rows although nothing was changed."""
STEPS_PER_CALL = 1_000
"""Instructions between two progress callbacks of the standard library's SQLite."""


@dataclass(frozen=True)
class Rows:
    """What one statement gave."""

    columns: Sequence[str]
    values: Sequence[Sequence[Any]]
    changes: int
    last_row_id: int
    rows_read: int
    rows_written: int
    is_counted: bool = True
    """Whether rows read and written are the provider's count, to the row; if not, an estimate or a lower bound."""
    is_resized: bool = False
    """Whether the database has another number of pages than before: a table, a view or an index came or went."""

    def as_mappings(self) -> list[dict[str, Any]]:
        """Return each row as a mapping from column to value."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.values]


class Engine(Protocol):
    """Something that runs SQL on one database."""

    errors: tuple[type[Exception], ...]
    """What :meth:`execute` raises for bad SQL, broken constraints and wrong types."""

    def execute(self, sql: str, params: Params = ()) -> Rows:
        """Run one statement."""
        ...

    def count_rows(self, *, counts: bool) -> None:
        """Count rows by walking each statement, or do without: it takes longer than small statements themselves."""
        ...

    def script(self, sql: str) -> None:
        """Run several statements."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """Make everything inside happen together or not at all."""
        ...

    def close(self) -> None:
        """Close the database."""
        ...


class _Counter:
    """Rows of each statement of one engine: the walk before it, the instructions and changes after it.

    Parameters
    ----------
    query
        Runs SQL on the engine's database and returns its rows.
    """

    def __init__(self, query: Query) -> None:
        self._meter = RowMeter(query)
        self._query = query
        self._pages_before: int | None = None
        self._counted: Counted | None = None
        self._known: dict[tuple[str, Params], Counted | None] = {}
        """Counts of statements that read, while nothing is changed."""
        self.is_on = True

    def begin(self, sql: str, params: Params) -> bool:
        """Walk *sql* before it runs; return whether its instructions must be counted while it does."""
        word = first_word(sql)
        self._pages_before = None if word in (*READS, *WRITES) else self._pages()
        walks = self.is_on and word in ("SELECT", "VALUES", *WRITES)
        self._counted = self._count(sql, params, is_read=word in READS) if walks else None
        if word not in READS:
            self._known.clear()
            self._meter.changed(schema=word not in WRITES)
        return self._counted is not None and not self._counted.is_whole

    def _count(self, sql: str, params: Params, *, is_read: bool) -> Counted | None:
        if not is_read or CHANGING.search(sql):
            return self._meter.count(sql, params, steps_max=STEPS_MAX)
        if (sql, params) not in self._known:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known[sql, params] = self._meter.count(sql, params, steps_max=STEPS_MAX)
        return self._known[sql, params]

    def changed(self) -> None:
        """Forget what is known of the database."""
        self._known.clear()
        self._meter.changed(schema=True)

    def rows(self, *, returned: int, changes: int, steps: int) -> tuple[int, int, bool, bool]:
        """Return rows read and written, whether they are counted, and whether the database has another size."""
        return *self._rows(returned, changes, steps=steps), self._pages_before not in (None, self._pages())

    def _pages(self) -> int:
        """Return the pages that are in use, by which the runtime tells a database's size."""
        pages, free = (self._query(f"PRAGMA {name}")[0][0] for name in ("page_count", "freelist_count"))
        return int(pages - free)

    def _rows(self, returned: int, changes: int, *, steps: int) -> tuple[int, int, bool]:
        if self._counted is None:
            return returned, changes, False
        is_whole = self._counted.is_whole
        scale = 1.0 if is_whole else max(1.0, steps / self._counted.steps)
        return round(self._counted.rows_read * scale), round(self._counted.rows_written * scale), is_whole


STDLIB_ERRORS: tuple[type[Exception], ...] = (sqlite3.Error, sqlite3.Warning, OverflowError, ValueError)
"""What the standard library's SQLite raises for bad SQL, broken constraints and wrong types."""


class StdlibEngine:
    """The standard library's SQLite.

    Parameters
    ----------
    connection
        In autocommit mode.
    """

    errors = STDLIB_ERRORS

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._counter = _Counter(lambda sql, *params: connection.execute(sql, params).fetchall())
        self._steps = 0
        connection.execute("PRAGMA foreign_keys = ON")
        for name, limit in SQL_LIMITS.items():
            connection.setlimit(getattr(sqlite3, f"SQLITE_LIMIT_{name}"), limit)

    def execute(self, sql: str, params: Params = ()) -> Rows:
        """Run one statement."""
        self._steps = 0
        counts_steps = self._counter.begin(sql, params)
        if counts_steps:
            self._connection.set_progress_handler(self._progress, STEPS_PER_CALL)
        before = self._connection.total_changes
        try:
            cursor = self._connection.execute(sql, params)
            values = cursor.fetchall()
        finally:
            if counts_steps:
                self._connection.set_progress_handler(None, STEPS_PER_CALL)
        columns = [entry[0] for entry in cursor.description or ()]
        changes = self._connection.total_changes - before
        counted = self._counter.rows(returned=len(values), changes=changes, steps=self._steps)
        return Rows(columns, values, changes, cursor.lastrowid or 0, *counted)

    def count_rows(self, *, counts: bool) -> None:
        """Count rows by walking each statement, or do without."""
        self._counter.is_on = counts

    def script(self, sql: str) -> None:
        """Run several statements."""
        self._counter.changed()
        self._connection.executescript(sql)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything inside happen together or not at all."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            self._counter.changed()
            if self._connection.in_transaction:
                self._connection.rollback()
            raise

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def _progress(self) -> int:
        self._steps += STEPS_PER_CALL
        return 0


class ApswEngine:
    """apsw: its SQLite reports the instructions of each statement."""

    def __init__(self, connection: "apsw.Connection") -> None:
        import apsw

        self.errors: tuple[type[Exception], ...] = (apsw.Error, OverflowError, ValueError, TypeError)
        self._without_rows = apsw.ExecutionCompleteError
        self._connection = connection
        self._counter = _Counter(lambda sql, *params: connection.execute(sql, params).fetchall())
        self._steps = 0
        connection.execute("PRAGMA foreign_keys = ON")
        for name, limit in SQL_LIMITS.items():
            connection.limit(getattr(apsw, f"SQLITE_LIMIT_{name}"), limit)
        connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, self._profile)

    def execute(self, sql: str, params: Params = ()) -> Rows:
        """Run one statement."""
        self._counter.begin(sql, params)
        before = self._connection.total_changes()
        self._steps = 0
        cursor = self._connection.execute(sql, params)
        try:
            columns = [entry[0] for entry in cursor.get_description()]
        except self._without_rows:
            columns = []
        values = cursor.fetchall()
        changes = self._connection.total_changes() - before
        counted = self._counter.rows(returned=len(values), changes=changes, steps=self._steps)
        return Rows(columns, values, changes, self._connection.last_insert_rowid(), *counted)

    def count_rows(self, *, counts: bool) -> None:
        """Count rows by walking each statement, or do without."""
        self._counter.is_on = counts

    def script(self, sql: str) -> None:
        """Run several statements."""
        self._counter.changed()
        self._connection.execute(sql)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything inside happen together or not at all."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            self._counter.changed()
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def _profile(self, event: dict[str, Any]) -> None:
        self._steps += event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]


def first_word(sql: str) -> str:
    """Return the word that *sql* begins with, in capitals."""
    return bare_sql(sql[:2_000]).partition(" ")[0].upper()
