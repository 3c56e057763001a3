"""Stores: whole objects under keys, as a bucket needs them."""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple, Protocol


class Stored(NamedTuple):
    """What a store keeps of an object."""

    etag: str
    content: bytes
    uploaded_unix_ms: int


class ObjectStore(Protocol):
    """Where the bytes are kept."""

    async def put(self, key: str, content: bytes, *, uploaded_unix_ms: int) -> str:
        """Store *content* whole, with the time, and return its etag (MD5, hexadecimal)."""
        ...

    async def get(self, key: str) -> Stored | None:
        """Return what is stored, or None."""
        ...

    def has(self, key: str) -> bool:
        """Whether there is an object at *key*."""
        ...

    async def delete(self, key: str) -> None:
        """Remove *key*, if it is there."""
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with *prefix*, sorted."""
        ...


class MemoryStore:
    """A store that lasts as long as the process: for tests and simulations."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, int]] = {}

    async def put(self, key: str, content: bytes, *, uploaded_unix_ms: int) -> str:
        """Store *content*."""
        self._objects[key] = content, uploaded_unix_ms
        return etag_of(content)

    async def get(self, key: str) -> Stored | None:
        """Return what is stored."""
        if key not in self._objects:
            return None
        content, uploaded_unix_ms = self._objects[key]
        return Stored(etag_of(content), content, uploaded_unix_ms)

    def has(self, key: str) -> bool:
        """Whether there is an object at *key*."""
        return key in self._objects

    async def delete(self, key: str) -> None:
        """Remove *key*."""
        self._objects.pop(key, None)

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with *prefix*, sorted."""
        return (key for key in sorted(self._objects) if key.startswith(prefix))


def etag_of(content: bytes) -> str:
    """Return the MD5 of *content*, which names its version and protects nothing."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
