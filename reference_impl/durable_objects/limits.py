"""Limits of an object's storage on the platform's two back ends, SQLite and key-value.

Sources
-------
Durable Objects limits: value 131,072 bytes and key 2,048 bytes on the key-value back end; key and
value together 2,000,000 bytes on the SQLite back end; 128 keys a call. Only the SQLite back end has SQL.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from reference_impl.errors import LimitError

KEYS_PER_CALL_MAX = 128


@dataclass(frozen=True)
class StorageLimits:
    """Size limits of a stored key and value on one back end, and whether it has SQL."""

    name: str
    key_bytes: int
    value_bytes: int
    key_plus_value_bytes: int
    has_sql: bool = True


SQLITE_LIMITS = StorageLimits("sqlite", 2_000_000, 2_000_000, 2_000_000)
KV_LIMITS = StorageLimits("kv", 2_048, 131_072, 133_120, has_sql=False)
BACK_ENDS: Mapping[str, StorageLimits] = {limits.name: limits for limits in (SQLITE_LIMITS, KV_LIMITS)}


def limits_with(back_end: str, *, sqlite_value_bytes: int, kv_value_bytes: int) -> StorageLimits:
    """Return the limits of a back end whose largest value (on SQLite, with its key) is another one."""
    limits = BACK_ENDS[back_end]
    if limits.has_sql:
        return replace(limits, value_bytes=sqlite_value_bytes, key_plus_value_bytes=sqlite_value_bytes)
    return replace(limits, value_bytes=kv_value_bytes, key_plus_value_bytes=kv_value_bytes + limits.key_bytes)


def within(found: int, allowed: int, *, what: str) -> None:
    """Check that *found* of *what* is within *allowed*.

    Raises
    ------
    LimitError
        If it is more.
    """
    if found > allowed:
        raise LimitError(f"{found} {what}; the platform takes at most {allowed}")
