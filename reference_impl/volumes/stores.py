"""Object stores: the storage under an R2 bucket."""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple, Protocol


class Stored(NamedTuple):
    """An object in a store."""

    etag: str
    content: bytes
    uploaded_unix_ms: int


class ObjectStore(Protocol):
    """The interface of an object store."""

    async def put(self, key: str, content: bytes, *, uploaded_unix_ms: int) -> str:
        """Store *content* and its upload time atomically; return the etag (MD5, hexadecimal)."""
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
    """Return the MD5 of *content*: it identifies a version and has no security purpose."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
