"""The private disk of one Durable Object: keys and values, SQL, an alarm, and transactions.

Each object has one SQLite database of its own. A transaction is all or nothing: whatever stops it
half-way, the database is as it was before. The limits are the platform's, with the platform's own
refusals, because a design that lives below a limit here must also live below it there.

Every statement passes the *step* hook first. It does nothing in service; a test raises from it, and
so pulls the plug between any two storage steps.

Sources
-------
Durable Objects limits: value 131,072 bytes and key 2,048 bytes on the key-value back end; key and
value together 2,000,000 bytes on the SQLite back end; 100 bound parameters; 100,000 bytes of SQL.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from reference_impl.errors import LimitError

KEY_VALUE_TABLE = """
CREATE TABLE IF NOT EXISTS _cf_kv (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID
"""
ALARM_KEY = "_cf_alarm_unix_ms"


@dataclass(frozen=True)
class StorageLimits:
    """What one stored value may weigh, on one of the platform's two back ends."""

    name: str
    key_bytes: int
    value_bytes: int
    key_plus_value_bytes: int


SQLITE_LIMITS = StorageLimits("sqlite", 2_000_000, 2_000_000, 2_000_000)
KV_LIMITS = StorageLimits("kv", 2_048, 131_072, 133_120)

SQL_BOUND_PARAMS = 100
SQL_STATEMENT_BYTES = 100_000


class Disk(Protocol):
    """Where the databases of one namespace are kept."""

    def open(self, object_id: str) -> sqlite3.Connection:
        """Open (or create) the database of *object_id*, in autocommit mode."""
        ...

    def close(self, object_id: str) -> None:
        """Close the database; its content stays."""
        ...

    def index(self) -> sqlite3.Connection:
        """Return the namespace's own database: which objects exist, which alarms are set."""
        ...


class MemoryDisk:
    """A disk that lasts as long as the process: for tests and simulations."""

    def __init__(self) -> None:
        self._connections: dict[str, sqlite3.Connection] = {}

    def open(self, object_id: str) -> sqlite3.Connection:
        """Open the database of *object_id*; a transaction that a crash left open is undone."""
        if object_id not in self._connections:
            self._connections[object_id] = sqlite3.connect(":memory:", isolation_level=None)
        connection = self._connections[object_id]
        connection.rollback()
        return connection

    def close(self, object_id: str) -> None:
        """Keep the database: its memory is the disk."""

    def index(self) -> sqlite3.Connection:
        """Return the namespace's own database."""
        return self.open("")

    def unmount(self) -> None:
        """Forget everything."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()


def no_step(step: str) -> None:
    """Let the storage step happen."""


class Storage:
    """What an object sees of its disk.

    Parameters
    ----------
    connection
        The object's database, in autocommit mode.
    limits
        The back end's limits.
    on_step
        Called with a short text before every statement and after every commit.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        limits: StorageLimits = SQLITE_LIMITS,
        on_step: Callable[[str], None] = no_step,
    ) -> None:
        self._connection = connection
        self._limits = limits
        self._on_step = on_step
        self._execute(KEY_VALUE_TABLE)

    def sql(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        """Run one SQL statement and return all its rows.

        Raises
        ------
        LimitError
            If the statement or its parameters are more than the platform takes.
        """
        if len(params) > SQL_BOUND_PARAMS:
            raise LimitError(f"{len(params)} bound parameters; at most {SQL_BOUND_PARAMS}")
        if len(statement) > SQL_STATEMENT_BYTES:
            raise LimitError(f"a statement of {len(statement)} bytes; at most {SQL_STATEMENT_BYTES}")
        return self._execute(statement, *params)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value stored at *key*, or *default*."""
        rows = self._execute("SELECT value FROM _cf_kv WHERE key = ?", key)
        return json.loads(rows[0][0]) if rows else default

    def put(self, key: str, value: Any) -> None:
        """Store *value*, anything that JSON can tell, at *key*.

        Raises
        ------
        LimitError
            If the key, the value or both together are too large for the back end.
        """
        text = json.dumps(value, separators=(",", ":"))
        key_bytes, value_bytes = len(key.encode()), len(text.encode())
        limits = self._limits
        _within(key_bytes, limits.key_bytes, "a key")
        _within(value_bytes, limits.value_bytes, f"the value of {key!r}")
        _within(key_bytes + value_bytes, limits.key_plus_value_bytes, f"{key!r} with its value")
        self._execute("INSERT OR REPLACE INTO _cf_kv VALUES (?, ?)", key, text)

    def delete(self, key: str) -> bool:
        """Delete *key* and tell whether it was there."""
        return bool(self._execute("DELETE FROM _cf_kv WHERE key = ? RETURNING 1", key))

    def items(self, *, prefix: str = "", limit: int = 1_000) -> dict[str, Any]:
        """Return keys and values in key order, at most *limit* of those that begin with *prefix*."""
        rows = self._execute(
            "SELECT key, value FROM _cf_kv WHERE substr(key, 1, ?) = ? AND key <> ? ORDER BY key LIMIT ?",
            len(prefix),
            prefix,
            ALARM_KEY,
            limit,
        )
        return {key: json.loads(text) for key, text in rows}

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything inside happen together or not at all."""
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            # A crash comes this way too; the database undoes what was not committed.
            if self._connection.in_transaction:
                self._connection.rollback()
            raise
        self._on_step("committed")

    def _execute(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        self._on_step(statement)
        return self._connection.execute(statement, params).fetchall()


def _within(found: int, allowed: int, what: str) -> None:
    if found > allowed:
        raise LimitError(f"{what} weighs {found} bytes; the platform stores at most {allowed}")
