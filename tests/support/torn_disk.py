"""A disk below SQLite that forgets at a power cut: unconfirmed sectors are lost, torn or kept, in any combination.

SQLite writes its files through this virtual file system, all of it in memory. What was written since a file's last sync
is only *pending*: at a power cut every sector of it survives or not by itself, and one that is just being written may
survive in part. What SQLite makes of that, with the deployment's own pragmas, is the ground on which the ledger's
promises stand (``tests/reference_impl/durable_objects/test_power_cut.py``).
"""

# ruff: noqa: N802 - apsw fixes the names of its methods.

from dataclasses import dataclass, field
from random import Random
from typing import Any

import apsw

from reference_impl.errors import PlatformError
from reference_impl.volumes.disks import SqlError

SECTOR_BYTES = 512
WAL_SUFFIX = "-wal"


class PowerCutError(Exception):
    """The power is gone in the middle of a write or a sync."""


@dataclass
class File:
    """One file.

    Parameters
    ----------
    durable
        What is durable.
    content
        What the operating system shows.
    pending
        Offset and bytes of each write since the last sync; a negative offset truncates to its complement.
    """

    durable: bytes = b""
    content: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes]] = field(default_factory=list)

    def write(self, offset: int, data: bytes) -> None:
        """Write; not yet durable."""
        apply(self.content, offset, data)
        self.pending.append((offset, data))

    def truncate(self, size_bytes: int) -> None:
        """Cut off or fill up; not yet durable."""
        self.write(~size_bytes, b"")

    def sync(self) -> None:
        """Make everything durable."""
        self.durable = bytes(self.content)
        self.pending.clear()

    def lose_power(self, rng: Random) -> None:
        """Keep some sectors of what is pending."""
        survivor = bytearray(self.durable)
        # Half of the cuts keep a prefix of the writes, the others any of them.
        kept_to = rng.randrange(len(self.pending) + 1) if rng.random() < 0.5 else None
        for number, (offset, data) in enumerate(self.pending):
            if offset < 0:
                if kept_to is None or number < kept_to:
                    apply(survivor, offset, data)
                continue
            for start in range(0, len(data), SECTOR_BYTES):
                sector = data[start : start + SECTOR_BYTES]
                if kept_to is not None:
                    keeps = len(sector) if number < kept_to else 0
                else:
                    keeps = rng.choice((0, len(sector), rng.randrange(len(sector) + 1)))
                if keeps:
                    apply(survivor, offset + start, sector[:keeps])
        self.durable = bytes(survivor)
        self.content = survivor
        self.pending.clear()


def apply(content: bytearray, offset: int, data: bytes) -> None:
    """Change *content* as a write does; a negative offset truncates."""
    if offset < 0:
        size_bytes = ~offset
        del content[size_bytes:]
        content.extend(bytes(size_bytes - len(content)))
        return
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


class TornDisk(apsw.VFS):
    """The virtual file system.

    Parameters
    ----------
    rng
        Chooses what survives.
    """

    def __init__(self, rng: Random) -> None:
        self.name = f"torn-{id(self)}"
        self.files: dict[str, File] = {}
        self.operations_left: int | None = None
        self._rng = rng
        super().__init__(self.name, "")

    def step(self) -> None:
        """Let one write or sync happen, or lose power before it."""
        if self.operations_left is not None:
            self.operations_left -= 1
            if self.operations_left < 0:
                raise PowerCutError

    def lose_power(self) -> None:
        """Forget what was not synced; files are as they are found at the next start."""
        self.operations_left = None
        for file in self.files.values():
            file.lose_power(self._rng)

    def xOpen(self, name: Any, flags: list[int]) -> "OpenFile":  # type: ignore[override]  # any file will do for SQLite
        """Open or create."""
        filename = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        flags[1] = flags[0]
        return OpenFile(self, self.files.setdefault(filename, File()))

    def xDelete(self, filename: str, syncdir: bool) -> None:
        """Delete."""
        self.step()
        self.files.pop(filename, None)

    def xAccess(self, pathname: str, flags: int) -> bool:
        """Tell whether it is there."""
        return pathname in self.files

    def xFullPathname(self, name: str) -> str:
        """Return the name: there are no folders."""
        return name


class OpenFile:
    """An open file, as SQLite wants it; only one connection ever has it."""

    def __init__(self, disk: TornDisk, file: File) -> None:
        self._disk = disk
        self._file = file

    def xRead(self, amount: int, offset: int) -> bytes:
        return bytes(self._file.content[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.step()
        self._file.write(offset, bytes(data))

    def xTruncate(self, newsize: int) -> None:
        self._disk.step()
        self._file.truncate(newsize)

    def xSync(self, flags: int) -> None:
        self._disk.step()
        self._file.sync()

    def xFileSize(self) -> int:
        return len(self._file.content)

    def xLock(self, level: int) -> None:
        """Nobody else is there."""

    def xUnlock(self, level: int) -> None:
        """Nobody else is there."""

    def xCheckReservedLock(self) -> bool:
        return False

    def xFileControl(self, op: int, ptr: int) -> bool:
        return False

    def xSectorSize(self) -> int:
        return SECTOR_BYTES

    def xDeviceCharacteristics(self) -> int:
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE

    def xClose(self) -> None:
        """Nothing is left to do."""


class TornDatabase:
    """A database on a torn disk, as :class:`reference_impl.volumes.disks.ObjectDatabase`.

    Parameters
    ----------
    disk
        The disk.
    pragmas
        Run first.
    syncs_log
        Whether :meth:`sync` syncs the log, as the deployment's ``fsync = full`` does.
    """

    errors: tuple[type[Exception], ...] = (apsw.Error,)

    def __init__(self, disk: TornDisk, pragmas: list[str], *, syncs_log: bool) -> None:
        self._disk = disk
        self._syncs_log = syncs_log
        self._connection = apsw.Connection("ledger", vfs=disk.name)
        for pragma in pragmas:
            self._connection.execute(pragma).fetchall()

    def execute(self, statement: str, params: Any = (), /) -> Any:
        """Run one statement."""
        return self._connection.execute(statement, tuple(params))

    def fault(self, error: Exception) -> PlatformError:
        """Whatever it is."""
        return SqlError(str(error))

    def begin(self) -> None:
        """Open a transaction."""
        self._connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make it happen."""
        self._connection.execute("COMMIT")

    def rollback(self) -> None:
        """Make it not have happened."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def sync(self) -> None:
        """Press the log, as the deployment's thread does."""
        if self._syncs_log:
            self._disk.step()
            log = self._disk.files.get(f"ledger{WAL_SUFFIX}")
            if log is not None:
                log.sync()

    def close(self) -> None:
        """Close it."""
        self._connection.close(True)
