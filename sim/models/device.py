"""A user's device: the part of its disk that model files may take.

A file that no longer fits is refused before a byte of it is written; a file that is being written already takes its
place. A route fetches the file from elsewhere (``r2.get``, with its own time) and stores it here; one that makes room
first removes what is there. Each key is a device, empty when a run begins. Nothing of it is on the provider's bill.

Simplifications: every file of an operation has the same size; writing is as fast however many files are written at a
time; which file is removed is the route's business, the model only knows the bytes.

Sources
-------
The brief: three model files in ``models/`` of R2, 2 to 5 GB each, kept on the device. Disk and speed are the
scenario's.
"""

from typing import Any

from sim.flow import Count, CountAtLeast, Counter, Delay, Flow, Guard
from sim.foundation.schema import Count as Number
from sim.foundation.schema import NotNegative, Positive, Table
from sim.models.billing import GB
from sim.models.component import Component, Instance, Operation, Tier
from sim.randomness.distributions import Constant, Distribution

MS_PER_S = 1_000.0


class Device(Table):
    """A device's disk."""

    disk_bytes: Number
    """Bytes that stored files may take."""
    file_ms: Distribution
    """Making or removing a file, whatever its size."""
    write_bytes_per_s: Positive
    """Speed at which a file reaches the disk."""


class File(Table):
    """The parameters of a file."""

    file_bytes: NotNegative = 0.0
    """Its size."""


def _used(device: Instance) -> Counter:
    return Counter(f"{device.name}_used", instances=device.keys)


def store(device: Instance, asked: File) -> Flow:
    """Store a file on the device of the request's key, if it still fits."""
    table: Device = device.table
    full = CountAtLeast(_used(device), table.disk_bytes - asked.file_bytes + 1)
    write = Delay(Constant(value=asked.file_bytes / table.write_bytes_per_s * MS_PER_S), device.stream("write"))
    make = Delay(table.file_ms, device.stream("file"))
    return (Guard(full, "too_large"), Count(_used(device), by=asked.file_bytes), make, write)


def remove(device: Instance, asked: File) -> Flow:
    """Remove a file of a size from the device of the request's key."""
    return (Count(_used(device), by=-asked.file_bytes), Delay(device.table.file_ms, device.stream("file")))


def room(device: Instance, asked: Any) -> str:
    """Return a sentence about how many files of this size fit; empty if the size is not known."""
    if not isinstance(asked, File) or not asked.file_bytes:
        return ""
    files = int(device.table.disk_bytes // asked.file_bytes)
    return (
        f"{device.name} has room for {files:,} files of {asked.file_bytes / GB:,.3g} GB "
        f"in {device.table.disk_bytes / GB:,.3g} GB"
    )


COMPONENT = Component(
    name="device",
    label="device",
    colour="#3f6e8c",
    tier=Tier.STORE,
    table=Device,
    operations={
        "store": Operation(store, parameters=File, finding=room),
        "remove": Operation(remove, parameters=File),
    },
)
