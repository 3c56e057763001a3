"""The private storage of one Durable Object: SQL and a key-value store, within the platform's limits.

The limits and their errors are the platform's, so a design that works here also works there. Atomicity and durability
are in :mod:`reference_impl.durable_objects.turns`.

Sources
-------
Durable Objects storage API: ``get``, ``put`` and ``delete`` of one key or of a list of up to 128, ``list``,
``deleteAll``, ``sql.exec``, ``transactionSync``. Limits: :mod:`reference_impl.durable_objects.limits`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, overload

from reference_impl.durable_objects.limits import KEYS_PER_CALL_MAX, SQLITE_LIMITS, StorageLimits, within
from reference_impl.durable_objects.turns import Rows, Turns, no_step
from reference_impl.errors import PlatformError
from reference_impl.sqlite.rules import check_params, check_statement
from reference_impl.volumes.disks import ObjectDatabase

Returned = TypeVar("Returned")

KEY_VALUE_TABLE = """
CREATE TABLE IF NOT EXISTS _cf_kv (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID
"""
ALARM_KEY = "_cf_alarm_unix_ms"
ENCODER = json.JSONEncoder(separators=(",", ":"))
OWN_TABLES = r"""
SELECT type, name FROM pragma_table_list
WHERE schema = 'main' AND type <> 'shadow' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' AND name <> '_cf_kv'
ORDER BY type DESC
"""
"""The object's tables and views, views first; a virtual table's shadow tables are dropped with it."""
Params = list[Any]


class Storage(Turns):
    """The storage API of one object.

    Parameters
    ----------
    database
        The object's database.
    limits
        The back end's limits.
    on_step, coalesces
        See :class:`reference_impl.durable_objects.turns.Turns`.
    """

    def __init__(
        self,
        database: ObjectDatabase,
        *,
        limits: StorageLimits = SQLITE_LIMITS,
        on_step: Callable[[str], None] = no_step,
        coalesces: bool = False,
    ) -> None:
        super().__init__(database, on_step=on_step, coalesces=coalesces)
        self._limits = limits
        try:
            database.execute(KEY_VALUE_TABLE)
        except database.errors as error:
            raise database.fault(error) from error

    # --- SQL ---------------------------------------------------------------------------------

    def sql(self, statement: str, *params: Any) -> Rows:
        """Run one SQL statement and return all its rows.

        Raises
        ------
        LimitError
            If the statement is too long or has too many parameters.
        SqlRefusedError
            If the platform forbids the statement.
        PlatformError
            If the back end has no SQL.
        """
        if not self._limits.has_sql:
            raise PlatformError(f"SQL is not enabled on the {self._limits.name} back end; use get and put")
        check_params(len(params))
        only_reads = check_statement(statement)
        return self._run(statement, params) if only_reads else self._write(statement, params)

    def transaction_sync(self, closure: Callable[[], Returned]) -> Returned:
        """Run *closure*, which is synchronous, as one transaction; return its result.

        Raises
        ------
        PlatformError
            If the back end is not SQLite.
        """
        if not self._limits.has_sql:
            raise PlatformError(f"the {self._limits.name} back end has no transaction_sync; use transaction")
        with self.transaction():
            return closure()

    # --- keys and values ---------------------------------------------------------------------

    @overload
    def get(self, keys: str, default: Any = None) -> Any: ...
    @overload
    def get(self, keys: Sequence[str]) -> dict[str, Any]: ...
    def get(self, keys: str | Sequence[str], default: Any = None) -> Any:
        """Return the value of one key, or *default*; for a list of at most 128 keys, a mapping of those that exist.

        Raises
        ------
        LimitError
            If there are more than 128 keys.
        """
        if isinstance(keys, str):
            rows = self._run("SELECT value FROM _cf_kv WHERE key = ?", (keys,))
            return json.loads(rows[0][0]) if rows else default
        within(len(keys), KEYS_PER_CALL_MAX, what="keys in one get")
        marks = ", ".join("?" * len(keys))
        statement = f"SELECT key, value FROM _cf_kv WHERE key IN ({marks}) ORDER BY key"  # noqa: S608  # marks are ?
        return {key: json.loads(text) for key, text in self._run(statement, tuple(keys))}

    @overload
    def put(self, entries: str, value: Any) -> None: ...
    @overload
    def put(self, entries: Mapping[str, Any]) -> None: ...
    def put(self, entries: str | Mapping[str, Any], value: Any = None) -> None:
        """Store a JSON value at one key, or a mapping of at most 128 entries atomically.

        Raises
        ------
        LimitError
            If there are too many entries, or a key, a value or both together are too large for the back end.
        """
        if isinstance(entries, str):
            self._put(entries, self._checked(entries, value))
            return
        within(len(entries), KEYS_PER_CALL_MAX, what="keys in one put")
        texts = {key: self._checked(key, value) for key, value in entries.items()}
        with self.transaction():
            for key, text in texts.items():
                self._put(key, text)

    @overload
    def delete(self, keys: str) -> bool: ...
    @overload
    def delete(self, keys: Sequence[str]) -> int: ...
    def delete(self, keys: str | Sequence[str]) -> bool | int:
        """Delete one key and return whether it existed; or a list of keys, and return how many existed.

        Raises
        ------
        LimitError
            If there are more than 128 keys.
        """
        if not isinstance(keys, str):
            within(len(keys), KEYS_PER_CALL_MAX, what="keys in one delete")
            with self.transaction():
                return sum(self.delete(key) for key in keys)
        # A SELECT first is ten times faster than DELETE ... RETURNING.
        was_there = bool(self._run("SELECT 1 FROM _cf_kv WHERE key = ?", (keys,)))
        if was_there:
            self._write("DELETE FROM _cf_kv WHERE key = ?", (keys,))
        return was_there

    def delete_all(self) -> None:
        """Delete everything, including the alarm, atomically."""
        with self.transaction():
            self._write("DELETE FROM _cf_kv", ())
            for kind, name in self._run(OWN_TABLES, ()):
                quoted = name.replace('"', '""')
                self._write(f'DROP {"VIEW" if kind == "view" else "TABLE"} "{quoted}"', ())
        # A cached alarm is gone as well.
        self.rollbacks += 1

    def list(
        self,
        *,
        prefix: str = "",
        start: str | None = None,
        start_after: str | None = None,
        end: str | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> dict[str, Any]:
        """Return keys and values, ordered by the UTF-8 bytes of the key.

        Parameters
        ----------
        prefix
            Only keys that begin with this text.
        start, start_after, end
            Only keys at or after *start*, after *start_after*, and before *end*.
        reverse
            Descending order; *limit* then counts from the last key.
        limit
            Largest number of entries to return; None: all.

        Raises
        ------
        PlatformError
            If *limit* is less than 1, or *start* and *start_after* are both given.
        """
        if limit is not None and limit < 1:
            raise PlatformError(f"limit={limit} must be at least 1")
        if start is not None and start_after is not None:
            raise PlatformError("list() cannot be called with both start and start_after")
        conditions = ["key <> ?"]
        params: Params = [ALARM_KEY]
        if prefix:
            # The first condition uses the index, the second ends the range. Bytes, because SQLite's text functions
            # stop at a NUL; without a prefix none of it, because of an empty key they make NULL.
            conditions += ["key >= ?", "substr(CAST(key AS BLOB), 1, ?) = CAST(? AS BLOB)"]
            params += [prefix, len(prefix.encode()), prefix]
        for condition, bound in (("key >= ?", start), ("key > ?", start_after), ("key < ?", end)):
            if bound is not None:
                conditions.append(condition)
                params.append(bound)
        order = "DESC" if reverse else "ASC"
        rows = self._run(
            f"SELECT key, value FROM _cf_kv WHERE {' AND '.join(conditions)} ORDER BY key {order} LIMIT ?",  # noqa: S608  # the conditions above, and ASC or DESC
            (*params, -1 if limit is None else limit),
        )
        return {key: json.loads(text) for key, text in rows}

    def _checked(self, key: str, value: Any) -> str:
        text = ENCODER.encode(value)
        key_bytes, value_bytes = len(key.encode()), len(text.encode())
        limits = self._limits
        within(key_bytes, limits.key_bytes, what="bytes of a key")
        within(value_bytes, limits.value_bytes, what=f"bytes in the value of {key[:80]!r}")
        within(key_bytes + value_bytes, limits.key_plus_value_bytes, what=f"bytes in {key[:80]!r} with its value")
        return text

    def _put(self, key: str, text: str) -> None:
        self._write("INSERT OR REPLACE INTO _cf_kv VALUES (?, ?)", (key, text))
