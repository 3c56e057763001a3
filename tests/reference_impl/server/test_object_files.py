"""The files under Durable Objects: what they keep, how it becomes durable, and what a broken one does.

Goal: what was committed outlives the process, many commits share one fsync, and a disk that fails is
reported as the disk's fault. Method: real files; an fsync that is counted, or fails. Power cuts: ``test_power_cut.py``.
"""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from reference_impl.durable_objects.storage import Storage
from reference_impl.server.disks import FileDisk
from reference_impl.volumes.disks import SqlError, StorageFailedError, memory_database


@pytest.mark.parametrize("fsync", ["full", "normal", "off"])
def test_files_outlive_their_disk(tmp_path: Path, fsync: Any) -> None:
    for n in range(3):
        disk = FileDisk(tmp_path, fsync=fsync)
        s = Storage(disk.open("one"), coalesces=True)
        assert s.get("n", 0) == n
        s.put("n", n + 1)
        s.end_turn()
        disk.unmount()


def test_full_confirms_many_commits_with_few_fsyncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    fsync = __import__("os").fsync

    def counted(descriptor: int) -> None:
        synced.append(descriptor)
        fsync(descriptor)

    async def append(s: Storage, n: int) -> None:
        s.put(f"k{n}", n)
        s.end_turn()
        assert not s.is_confirmed
        await s.confirm()
        assert s.confirmed >= n

    async def together() -> None:
        disk = FileDisk(tmp_path, fsync="full")
        s = Storage(disk.open("one"), coalesces=True)
        monkeypatch.setattr("reference_impl.server.disks.os.fsync", counted)
        await asyncio.gather(*(append(s, n) for n in range(1, 51)))
        assert s.is_confirmed
        disk.unmount()

    asyncio.run(together())
    # The first syncs what was there when it began, the second all that came meanwhile.
    assert 1 <= len(synced) <= 4


def test_an_fsync_that_fails_fails_for_everybody_who_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    async def write() -> list[Any]:
        disk = FileDisk(tmp_path, fsync="full")
        s = Storage(disk.open("one"), coalesces=True)
        monkeypatch.setattr("reference_impl.server.disks.os.fsync", broken)
        s.put("a", 1)
        s.end_turn()
        errors = await asyncio.gather(s.confirm(), s.confirm(), s.confirm(), return_exceptions=True)
        disk.unmount()
        return list(errors)

    errors = asyncio.run(write())
    assert len(errors) == 3
    for error in errors:
        assert isinstance(error, StorageFailedError)
        assert error.retryable


def test_a_file_that_is_no_database_is_the_disk_s_fault(tmp_path: Path) -> None:
    database = memory_database()
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
    assert isinstance(database.fault(error), StorageFailedError)
    assert isinstance(database.fault(sqlite3.IntegrityError("unique")), SqlError)
    database.close()
    for content in (b"no database" * 1_000, b"SQLite format 3\0" + b"torn" * 1_000):
        (tmp_path / "one.sqlite").write_bytes(content)
        for fsync in ("full", "normal", "off"):
            with pytest.raises(StorageFailedError, match="ask again"):
                FileDisk(tmp_path, fsync=fsync).open("one")
