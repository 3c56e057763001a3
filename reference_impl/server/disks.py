"""Volumes on the file system: a folder for each instance, a SQLite file for each Durable Object, a file an R2 object.

The durability of writes depends on ``fsync``, one of three values of SQLite's ``synchronous``:

- ``full``: an acknowledged write survives a power cut;
- ``normal``: it survives a crash of the process; a power cut leaves a consistent, perhaps older state;
- ``off``: it survives a crash of the process only.
"""

import asyncio
import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal

from reference_impl.durable_objects.storage import KEY_VALUE_TABLE
from reference_impl.sqlite.engines import ApswEngine, Engine, StdlibEngine
from reference_impl.volumes.disks import SqliteDatabase, StorageFailedError, disk_fault
from reference_impl.volumes.stores import Stored, etag_of

Fsync = Literal["full", "normal", "off"]
ETAG_BYTES, KEY_LENGTH_BYTES = 32, 2
"""Sizes of the first two fields in an object's file: etag, length of the key, key, content."""
NS_PER_MS = 1_000_000
THREAD_BYTES_MIN = 65_536
"""Size from which a file is read or written in a thread; a smaller one costs less time than a thread switch."""


class GroupCommitDatabase(SqliteDatabase):
    """A database whose commits are made durable by a thread, many at a time (group commit).

    SQLite appends a commit to its write-ahead log and returns; an fsync of the log makes all of its
    commits durable. Commits that arrive during an fsync share the next one.

    Parameters
    ----------
    connection
        In WAL mode, with ``synchronous = normal``.
    log
        The write-ahead log.
    """

    def __init__(self, connection: sqlite3.Connection, log: Path) -> None:
        super().__init__(connection)
        self._descriptor = os.open(log, os.O_RDWR)
        self._is_syncing = False
        self._is_closed = False
        self._waiting: list[asyncio.Future[None]] = []

    def sync(self) -> "asyncio.Future[None]":
        """Start an fsync; the returned future completes when every commit up to now is durable."""
        # Each caller has its own future, so that cancelling one does not cancel the others.
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        if not self._is_syncing:
            self._sync_log()
        return waiting

    def close(self) -> None:
        """Close the database; pending futures of :meth:`sync` fail."""
        super().close()
        self._is_closed = True
        if not self._is_syncing:
            os.close(self._descriptor)

    def _sync_log(self) -> None:
        served, self._waiting = self._waiting, []
        self._is_syncing = True
        syncing = asyncio.get_running_loop().run_in_executor(None, os.fsync, self._descriptor)
        syncing.add_done_callback(lambda done: self._synced(done, served))

    def _synced(self, syncing: "asyncio.Future[None]", served: "list[asyncio.Future[None]]") -> None:
        self._is_syncing = False
        _end(served, None if syncing.cancelled() else syncing.exception())
        if self._is_closed:
            os.close(self._descriptor)
            _end(self._waiting, OSError("the database was closed"))
        elif self._waiting:
            self._sync_log()


def _end(served: "list[asyncio.Future[None]]", error: BaseException | None) -> None:
    for waiting in served:
        if waiting.done():
            continue
        if error is None:
            waiting.set_result(None)
        else:
            waiting.set_exception(StorageFailedError(f"the object's storage failed: {error}; ask again"))


class FileDisk:
    """Databases of Durable Objects in a folder.

    Parameters
    ----------
    folder
        Created if it does not exist.
    fsync
        See the module.
    """

    def __init__(self, folder: Path, *, fsync: Fsync) -> None:
        self._folder = folder
        self._fsync = fsync
        self._databases: dict[str, SqliteDatabase] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def open(self, object_id: str) -> SqliteDatabase:
        """Open (or create) the database of *object_id*.

        Raises
        ------
        StorageFailedError
            If the file cannot be opened, or is not a database.
        """
        self.close(object_id)
        try:
            return self._keep(object_id, self._open(object_id))
        except sqlite3.Error as error:
            raise disk_fault(error) or error from error

    def _open(self, object_id: str) -> SqliteDatabase:
        path = self._folder / f"{object_id}.sqlite"
        if self._fsync != "full":
            return SqliteDatabase(open_sqlite(path, fsync=self._fsync))
        log = path.with_name(f"{path.name}-wal")
        with ExitStack() as opened:
            connection = opened.enter_context(closing(open_sqlite(path, fsync="normal")))
            # The log exists from the first write on; its directory entry must be durable like its content.
            connection.execute(KEY_VALUE_TABLE)
            sync_folder(self._folder)
            database = GroupCommitDatabase(connection, log)
            opened.pop_all()
        return database

    def close(self, object_id: str) -> None:
        """Close the database."""
        database = self._databases.pop(object_id, None)
        if database is not None:
            database.close()

    def index(self) -> SqliteDatabase:
        """Return the namespace's own database."""
        self.close("index")
        return self._keep("index", SqliteDatabase(open_sqlite(self._folder / "index.sqlite", fsync=self._fsync)))

    def unmount(self) -> None:
        """Close everything."""
        for object_id in list(self._databases):
            self.close(object_id)

    def _keep(self, object_id: str, database: SqliteDatabase) -> SqliteDatabase:
        self._databases[object_id] = database
        return database


def sync_folder(folder: Path) -> None:
    """Make the directory entries of *folder* durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FileStore:
    """R2 objects as files in a folder.

    An object is written to a temporary file, which then replaces the old one atomically, so a reader never sees a
    partial object. The file name is a hash of the key, since a key may be longer than a file name and may contain
    characters that are special in one. The file begins with the etag and the key; its modification time is the upload
    time.

    Parameters
    ----------
    folder
        Created if it does not exist.
    fsync
        With ``full``, :meth:`put` returns only when the object is durable.
    """

    def __init__(self, folder: Path, *, fsync: Fsync) -> None:
        self._folder = folder
        self._fsync = fsync
        self._uploads = 0
        folder.mkdir(parents=True, exist_ok=True)
        for left_over in folder.glob("*.part"):
            left_over.unlink()

    async def put(self, key: str, content: bytes, *, uploaded_unix_ms: int) -> str:
        """Store *content* atomically and return its etag."""
        self._uploads += 1
        part = self._folder / f"{self._uploads}.part"
        write = partial(self._write, part, key, content=content, uploaded_unix_ms=uploaded_unix_ms)
        return write() if len(content) < THREAD_BYTES_MIN else await asyncio.to_thread(write)

    async def get(self, key: str) -> Stored | None:
        """Return what is stored, or None."""
        path = self._path(key)
        try:
            size_bytes = path.stat().st_size
        except FileNotFoundError:
            return None
        if size_bytes < THREAD_BYTES_MIN:
            return _read(path)
        return await asyncio.to_thread(_read, path)

    async def delete(self, key: str) -> None:
        """Remove *key*, if it exists."""
        self._path(key).unlink(missing_ok=True)

    def has(self, key: str) -> bool:
        """Whether there is an object at *key*."""
        return self._path(key).exists()

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with *prefix*, sorted."""
        heads = [_head(path) for path in self._folder.glob("*.object")]
        return (key for key in sorted(key for _, key in heads) if key.startswith(prefix))

    def _path(self, key: str) -> Path:
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()}.object"

    def _write(self, part: Path, key: str, *, content: bytes, uploaded_unix_ms: int) -> str:
        etag, name = etag_of(content), key.encode()
        with part.open("wb") as file:
            file.write(etag.encode() + len(name).to_bytes(KEY_LENGTH_BYTES) + name)
            file.write(content)
            file.flush()
            os.utime(file.fileno(), ns=(uploaded_unix_ms * NS_PER_MS,) * 2)
            if self._fsync == "full":
                os.fsync(file.fileno())
        part.replace(self._path(key))
        return etag


def _head(path: Path) -> tuple[str, str]:
    """Return etag and key of an object's file."""
    with path.open("rb") as file:
        return _read_head(file)


def _read_head(file: BinaryIO) -> tuple[str, str]:
    etag = file.read(ETAG_BYTES).decode()
    return etag, file.read(int.from_bytes(file.read(KEY_LENGTH_BYTES))).decode()


def _read(path: Path) -> Stored | None:
    try:
        with path.open("rb") as file:
            uploaded_unix_ms = os.fstat(file.fileno()).st_mtime_ns // NS_PER_MS
            etag, _ = _read_head(file)
            return Stored(etag, file.read(), uploaded_unix_ms)
    except FileNotFoundError:
        return None


def open_sqlite(path: Path, *, fsync: Fsync) -> sqlite3.Connection:
    """Open or create a SQLite file in autocommit mode, for this process exclusively."""
    with ExitStack() as opened:
        connection = opened.enter_context(closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)))
        for pragma in pragmas(is_new=not path.stat().st_size, fsync=fsync):
            connection.execute(pragma)
        opened.pop_all()  # Only a file that is no database is closed here.
    return connection


def open_engine(path: Path, *, fsync: Fsync) -> Engine:
    """Open D1's database with the best engine that is installed."""
    is_new = not path.exists()
    try:
        import apsw
    except ImportError:
        return StdlibEngine(open_sqlite(path, fsync=fsync))
    with ExitStack() as opened:
        connection = opened.enter_context(closing(apsw.Connection(str(path))))
        for pragma in pragmas(is_new=is_new, fsync=fsync):
            connection.execute(pragma)
        engine = ApswEngine(connection)
        opened.pop_all()
    return engine


def pragmas(*, is_new: bool, fsync: Fsync) -> list[str]:
    """Return the pragmas with which a database is opened."""
    # Creating the files costs several fsyncs of 1 ms each, which only ``full`` needs.
    first = "off" if is_new and fsync != "full" else fsync
    return [
        # Set before the first access: with one user the index of the log needs no shared memory.
        "PRAGMA locking_mode = exclusive",
        f"PRAGMA synchronous = {first}",
        "PRAGMA journal_mode = wal",
        f"PRAGMA synchronous = {fsync}",
    ]


class FileVolumes:
    """Volumes in a folder, with a subfolder for each instance.

    Parameters
    ----------
    folder
        Created at the first use.
    fsync
        See the module.
    """

    def __init__(self, folder: Path, *, fsync: Fsync) -> None:
        self._folder = folder
        self._fsync = fsync
        self._stack = ExitStack()
        self._engines: dict[tuple[str, str], Engine] = {}
        self._disks: dict[str, FileDisk] = {}
        self._stores: dict[str, FileStore] = {}

    def engine(self, instance: str, name: str) -> Engine:
        """Return the database in the file ``INSTANCE/NAME.sqlite``."""
        if (instance, name) not in self._engines:
            engine = open_engine(self._place(instance) / f"{name}.sqlite", fsync=self._fsync)
            self._stack.callback(engine.close)
            self._engines[instance, name] = engine
        return self._engines[instance, name]

    def disk(self, instance: str) -> FileDisk:
        """Return the databases in the folder ``INSTANCE``."""
        if instance not in self._disks:
            self._disks[instance] = FileDisk(self._place(instance), fsync=self._fsync)
            self._stack.callback(self._disks[instance].unmount)
        return self._disks[instance]

    def store(self, instance: str) -> FileStore:
        """Return the objects in the folder ``INSTANCE``."""
        if instance not in self._stores:
            self._stores[instance] = FileStore(self._place(instance), fsync=self._fsync)
        return self._stores[instance]

    def close(self) -> None:
        """Close all files."""
        self._stack.close()

    def _place(self, instance: str) -> Path:
        place = self._folder / instance
        place.mkdir(parents=True, exist_ok=True)
        return place
