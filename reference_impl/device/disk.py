"""Disks of devices: how many bytes of files each holds, and a file that no longer fits.

A file is reserved before it is written, so that two that are written at a time cannot both take the last room. The
files themselves would fill this machine: only their sizes are kept.
"""

import math
from collections import Counter
from dataclasses import dataclass

from reference_impl.errors import RequestError
from reference_impl.tables import Table
from reference_impl.timing.stopwatch import Stopwatch
from reference_impl.timing.tape import Tape


class DiskFullError(RequestError):
    """The file does not fit on the disk."""

    def __init__(self, message: str) -> None:
        super().__init__(413, "disk_full", message)


@dataclass(frozen=True)
class DiskSettings:
    """Settings of a device, read from its table in the deployment file."""

    disk_bytes: int
    file_ms: Tape
    write_bytes_per_s: float

    @classmethod
    def read(cls, table: Table) -> "DiskSettings":
        """Read the table of a device."""
        return cls(
            disk_bytes=table.whole("disk_bytes", 2**62, at_least=1),
            file_ms=table.tape("file_ms"),
            write_bytes_per_s=table.number("write_bytes_per_s", math.inf) or math.inf,
        )


class Disks:
    """The disks of all devices, by key.

    Parameters
    ----------
    settings
        Size and speed, the same for each.
    name
        Name of the instance: its time category.
    """

    def __init__(self, settings: DiskSettings, *, name: str = "device") -> None:
        self._settings = settings
        self._name = name
        self.used_bytes: Counter[int] = Counter()

    async def store(self, key: int, stopwatch: Stopwatch, *, file_bytes: int) -> None:
        """Store a file.

        Raises
        ------
        DiskFullError
            It does not fit; nothing is written.
        """
        await stopwatch.catch_up()
        left = self._settings.disk_bytes - self.used_bytes[key]
        if file_bytes > left:
            raise DiskFullError(f"a file of {file_bytes} bytes; the disk of device {key} has {left} left: remove one")
        self.used_bytes[key] += file_bytes
        stopwatch.delay(self._name, stopwatch.draw_ms(self._settings.file_ms))
        stopwatch.delay(self._name, file_bytes / self._settings.write_bytes_per_s * 1_000)

    async def remove(self, key: int, stopwatch: Stopwatch, *, file_bytes: int) -> None:
        """Remove a file of this size; without one nothing happens below zero."""
        await stopwatch.catch_up()
        self.used_bytes[key] = max(0, self.used_bytes[key] - file_bytes)
        stopwatch.delay(self._name, stopwatch.draw_ms(self._settings.file_ms))
