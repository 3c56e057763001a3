"""A KV namespace: one central store, and a cache of past reads at each location.

::

    get ──► cache of the location ──(missing or expired)──► central store
    put ──► central store; the writer's own location sees it at once, others when their copy has expired

- *Eventually consistent*: a location answers from its copy for ``cache_ttl_s``; that a key is missing is cached too.
- One write a second to one key, else status 429; the last write wins.
- A key is 1 to 512 bytes and neither ``.`` nor ``..``; a value at most 25 MiB; metadata at most 1,024 bytes as JSON.
- A pair may expire, at the earliest 60 s after it was written.

Sources
-------
KV limits and "how KV works"; the KV API (``get``, ``put``, ``delete``, ``list`` with prefix, limit and cursor).
"""

import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from reference_impl.errors import PlatformError
from reference_impl.sqlite.engines import Engine
from reference_impl.timing.clock import Clock

KEY_BYTES_MAX = 512
VALUE_BYTES_MAX = 25 * 1_024 * 1_024
METADATA_BYTES_MAX = 1_024
WRITES_PER_S = 1.0
CACHE_TTL_S = 60.0
CACHE_TTL_S_MIN = 30.0
EXPIRATION_TTL_S_MIN = 60
LIST_KEYS_MAX = 1_000
KEYS_REMEMBERED_MAX = 100_000
"""Keys whose last write is remembered, and copies that a location holds; the oldest are evicted first."""

ROW_BYTES = 1_000_000
"""A value is stored in rows of this size: the engine's row limit is below the largest value allowed."""

TABLES = (
    "CREATE TABLE IF NOT EXISTS pairs (key TEXT PRIMARY KEY, metadata TEXT NOT NULL, expires_unix_ms INTEGER)",
    "CREATE TABLE IF NOT EXISTS parts (key TEXT, number INTEGER, bytes BLOB NOT NULL, PRIMARY KEY (key, number))",
)


class KVError(PlatformError):
    """The namespace refuses a call; *status* is the platform's."""

    code = "kv_error"

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Pair:
    """A value and its metadata."""

    value: bytes
    metadata: Any = None


@dataclass(frozen=True)
class Page:
    """A page of a list: keys in order, and the cursor of the next page, empty on the last one."""

    keys: list[str]
    cursor: str


@dataclass(frozen=True)
class Copy:
    """A location's copy of a key until *expires_ms*; *pair* None: the key does not exist."""

    pair: Pair | None
    expires_ms: float


class Namespace:
    """One namespace.

    Parameters
    ----------
    engine
        The central store's database.
    clock
        The deployment's clock.
    value_bytes_max
        A larger value is refused.
    writes_per_s
        Limit on writes of one key per second; infinite turns it off.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Clock,
        value_bytes_max: int = VALUE_BYTES_MAX,
        writes_per_s: float = WRITES_PER_S,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._value_bytes_max = value_bytes_max
        self._write_gap_ms = 1_000 / writes_per_s
        self._written_ms: OrderedDict[str, float] = OrderedDict()
        self._copies: dict[str, OrderedDict[str, Copy]] = {}
        for table in TABLES:
            engine.execute(table)

    # --- reading -----------------------------------------------------------------------------

    def copy(self, key: str, *, location: str) -> Copy | None:
        """Return the copy of *key* that *location* holds; None: it has none, so the central store must be asked."""
        check_key(key)
        copies = self._copies.get(location)
        found = None if copies is None else copies.get(key)
        return found if found is not None and self._clock.now_ms() < found.expires_ms else None

    def fetch(self, key: str) -> Pair | None:
        """Return what the central store has under *key*; None: nothing, or it has expired."""
        check_key(key)
        rows = self._engine.execute(
            "SELECT metadata FROM pairs WHERE key = ? AND coalesce(expires_unix_ms, ?) > ?",
            (key, self._clock.unix_ms() + 1, self._clock.unix_ms()),
        ).values
        if not rows:
            return None
        parts = self._engine.execute("SELECT bytes FROM parts WHERE key = ? ORDER BY number", (key,)).values
        return Pair(b"".join(bytes(part[0]) for part in parts), json.loads(rows[0][0]))

    def keep(self, key: str, pair: Pair | None, *, location: str, cache_ttl_s: float = CACHE_TTL_S) -> None:
        """Cache *pair* at *location* for *cache_ttl_s*.

        Raises
        ------
        KVError
            400: *cache_ttl_s* is less than 30 s.
        """
        if cache_ttl_s < CACHE_TTL_S_MIN:
            raise KVError(400, f"cacheTtl={cache_ttl_s:g} must be >= {CACHE_TTL_S_MIN:g} s")
        copies = self._copies.setdefault(location, OrderedDict())
        copies.pop(key, None)
        copies[key] = Copy(pair, self._clock.now_ms() + cache_ttl_s * 1_000)
        if len(copies) > KEYS_REMEMBERED_MAX:
            copies.popitem(last=False)

    def get(self, key: str, *, location: str = "", cache_ttl_s: float = CACHE_TTL_S) -> Pair | None:
        """Return what a reader at *location* sees under *key*; takes no simulated time."""
        found = self.copy(key, location=location)
        if found is not None:
            return found.pair
        pair = self.fetch(key)
        self.keep(key, pair, location=location, cache_ttl_s=cache_ttl_s)
        return pair

    def list(self, prefix: str = "", *, limit: int = LIST_KEYS_MAX, cursor: str = "") -> Page:
        """Return the keys that begin with *prefix*, in the order of their bytes; never from a cache.

        Raises
        ------
        KVError
            400: the limit is not 1 to 1,000, or a lone surrogate in prefix or cursor.
        """
        prefix_bytes = size_of(prefix, "prefix")
        size_of(cursor, "cursor")
        if not 1 <= limit <= LIST_KEYS_MAX:
            raise KVError(400, f"limit={limit} must be 1 to {LIST_KEYS_MAX}")
        rows = self._engine.execute(
            # As bytes: the text of a key ends for SQLite's functions at its first NUL.
            "SELECT key FROM pairs WHERE substr(CAST(key AS BLOB), 1, ?) = CAST(? AS BLOB) AND key > ?"
            " AND coalesce(expires_unix_ms, ?) > ? ORDER BY key LIMIT ?",
            (prefix_bytes, prefix, cursor, self._clock.unix_ms() + 1, self._clock.unix_ms(), limit + 1),
        ).values
        keys = [str(row[0]) for row in rows[:limit]]
        return Page(keys, keys[-1] if len(rows) > limit else "")

    # --- writing -----------------------------------------------------------------------------

    def put(
        self, key: str, value: bytes, *, location: str = "", metadata: Any = None, expiration_ttl_s: int | None = None
    ) -> None:
        """Store *value* under *key*.

        Raises
        ------
        KVError
            400: a bad key, metadata or expiration. 413: the value is too large. 429: a second write within a second.
        """
        self.check_put(key, len(value))
        described = json.dumps(metadata, separators=(",", ":"))
        if len(described.encode()) > METADATA_BYTES_MAX:
            raise KVError(400, f"metadata of {len(described.encode())} bytes; at most {METADATA_BYTES_MAX}")
        if expiration_ttl_s is not None and expiration_ttl_s < EXPIRATION_TTL_S_MIN:
            raise KVError(400, f"expirationTtl={expiration_ttl_s} must be >= {EXPIRATION_TTL_S_MIN} s")
        self.count_write(key)
        expires_unix_ms = None if expiration_ttl_s is None else self._clock.unix_ms() + expiration_ttl_s * 1_000
        with self._engine.transaction():
            self._engine.execute("DELETE FROM parts WHERE key = ?", (key,))
            self._engine.execute("INSERT OR REPLACE INTO pairs VALUES (?, ?, ?)", (key, described, expires_unix_ms))
            for number, start in enumerate(range(0, len(value), ROW_BYTES)):
                part = value[start : start + ROW_BYTES]
                self._engine.execute("INSERT INTO parts VALUES (?, ?, ?)", (key, number, part))
        self._renew(key, Pair(value, metadata), location=location)

    def delete(self, key: str, *, location: str = "") -> None:
        """Delete *key*; a missing key is not an error."""
        check_key(key)
        with self._engine.transaction():
            for statement in ("DELETE FROM parts WHERE key = ?", "DELETE FROM pairs WHERE key = ?"):
                self._engine.execute(statement, (key,))
        self._renew(key, None, location=location)

    def check_put(self, key: str, value_bytes: int) -> None:
        """Check the key and the size of a value before a write.

        Raises
        ------
        KVError
            400: a bad key. 413: the value is too large.
        """
        check_key(key)
        if value_bytes > self._value_bytes_max:
            raise KVError(413, f"a value of {value_bytes} bytes; KV takes at most {self._value_bytes_max}")

    def count_write(self, key: str) -> None:
        """Count a write against the limit of its key.

        Raises
        ------
        KVError
            429: it comes too soon after the last accepted write.
        """
        now_ms = self._clock.now_ms()
        last_ms = self._written_ms.get(key)
        if last_ms is not None and now_ms - last_ms < self._write_gap_ms:
            rule = f"at most {1_000 / self._write_gap_ms:g} a second to one key; wait and retry"
            raise KVError(429, f"429 Too Many Requests: writes to {key[:80]!r}: {rule}")
        self._written_ms.pop(key, None)
        self._written_ms[key] = now_ms
        if len(self._written_ms) > KEYS_REMEMBERED_MAX:
            self._written_ms.popitem(last=False)

    def _renew(self, key: str, pair: Pair | None, *, location: str) -> None:
        """Replace the copy at the writer's location, if it has one; its expiry does not change."""
        copies = self._copies.get(location, OrderedDict())
        if key in copies:
            copies[key] = Copy(pair, copies[key].expires_ms)


def check_key(key: str) -> None:
    """Check that KV accepts a key.

    Raises
    ------
    KVError
        400, unless it is 1 to 512 bytes of UTF-8, and neither ``.`` nor ``..``.
    """
    if not 1 <= size_of(key, "key") <= KEY_BYTES_MAX or key in (".", ".."):
        raise KVError(400, f'key={key[:80]!a} must be 1 to {KEY_BYTES_MAX} bytes, and not "." or ".."')


def size_of(text: str, name: str) -> int:
    """Return the bytes of *text* in UTF-8; *name* is for the message.

    Raises
    ------
    KVError
        400: a lone surrogate.
    """
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise KVError(400, f"{name}={text[:80]!a} must be Unicode without lone surrogates") from None
