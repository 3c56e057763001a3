"""The component ``device``: disks of devices, and the operations that routes may use."""

from reference_impl.device.disk import Disks, DiskSettings
from reference_impl.parts import Call, Context, Operation, Part
from reference_impl.tables import Table


def build(settings: DiskSettings, context: Context) -> Disks:
    """Build an instance."""
    return Disks(settings, name=context.name)


def file_of(table: Table) -> int:
    """Read the size of a file."""
    return round(table.number("file_bytes", 0))


async def store(disks: Disks, call: Call) -> None:
    """Store a file on the device of the request's key."""
    await disks.store(call.key, call.stopwatch, file_bytes=call.parameters)


async def remove(disks: Disks, call: Call) -> None:
    """Remove a file from the device of the request's key."""
    await disks.remove(call.key, call.stopwatch, file_bytes=call.parameters)


PART = Part(
    "device",
    settings=DiskSettings.read,
    build=build,
    operations={"store": Operation(store, file_of), "remove": Operation(remove, file_of)},
)
