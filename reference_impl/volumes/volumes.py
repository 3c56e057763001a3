"""Volumes: the storage of the instances of a deployment, separate for each instance.

The deployment requests a database, a disk for a namespace of Durable Objects, or an object store, and does not know
whether it is a file. The creator of the volumes closes them.
"""

import sqlite3
from collections.abc import Callable
from contextlib import ExitStack
from typing import Protocol, TypeVar

from reference_impl.sqlite.engines import Engine, StdlibEngine
from reference_impl.volumes.disks import Disk, MemoryDisk
from reference_impl.volumes.stores import MemoryStore, ObjectStore

Opened = TypeVar("Opened")


class Volumes(Protocol):
    """The interface of volumes; the same request always returns the same storage."""

    def engine(self, instance: str, name: str) -> Engine:
        """Return the SQLite database *name* of *instance*."""
        ...

    def disk(self, instance: str) -> Disk:
        """Return the disk of *instance*: a SQLite database for each object."""
        ...

    def store(self, instance: str) -> ObjectStore:
        """Return the object store of *instance*."""
        ...


class MemoryVolumes:
    """Volumes that last until they are closed: for tests and simulations."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._engines: dict[tuple[str, str], StdlibEngine] = {}
        self._disks: dict[str, MemoryDisk] = {}
        self._stores: dict[str, MemoryStore] = {}

    def engine(self, instance: str, name: str) -> StdlibEngine:
        """Return a database in memory."""
        return _once(self._engines, (instance, name), self._new_engine)

    def disk(self, instance: str) -> MemoryDisk:
        """Return a disk in memory."""
        return _once(self._disks, instance, self._new_disk)

    def store(self, instance: str) -> MemoryStore:
        """Return a store in memory."""
        return _once(self._stores, instance, MemoryStore)

    def close(self) -> None:
        """Close everything; the content is lost."""
        self._stack.close()

    def _new_engine(self) -> StdlibEngine:
        engine = StdlibEngine(sqlite3.connect(":memory:", isolation_level=None))
        self._stack.callback(engine.close)
        return engine

    def _new_disk(self) -> MemoryDisk:
        disk = MemoryDisk()
        self._stack.callback(disk.unmount)
        return disk


Asked = TypeVar("Asked")


def _once(opened: dict[Asked, Opened], asked: Asked, make: Callable[[], Opened]) -> Opened:
    if asked not in opened:
        opened[asked] = make()
    return opened[asked]
