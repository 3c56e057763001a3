"""The component ``workers``: the isolates, and the operation that routes may use."""

from dataclasses import dataclass

from reference_impl.errors import PlatformError
from reference_impl.parts import Call, Context, Operation, Part
from reference_impl.tables import Table
from reference_impl.workers.isolates import Isolates, WorkersSettings


def build(settings: WorkersSettings, context: Context) -> Isolates:
    """Build an instance of the component."""
    return Isolates(context.clock, settings, name=context.name)


BODIES = ("", "stream", "whole")


class BodyTooLargeError(PlatformError):
    """The body of a request exceeds the platform's limit."""

    status = 413
    code = "body_too_large"


class MemoryExceededError(PlatformError):
    """An isolate was ended because it exceeded its memory."""

    status = 500
    code = "exceeded_memory"


@dataclass(frozen=True)
class Body:
    """The parameters of a computation: how the Worker takes the body, and what it is sent as."""

    taken: str
    ratio: float


def read_body(table: Table) -> Body:
    """Read the parameters of a computation."""
    return Body(table.choice("body", "", choices=BODIES), table.number("body_ratio", 1))


def check_body(isolates: Isolates, call: Call) -> None:
    """Check the size of the request's body against the platform's limits, if the Worker takes it.

    Raises
    ------
    BodyTooLargeError
        413: the platform refuses it.
    MemoryExceededError
        500: it is read whole, and an isolate cannot hold it.
    """
    asked: Body = call.parameters
    settings, size_bytes = isolates.settings, call.size_bytes * asked.ratio
    if not asked.taken or call.prepares:
        return
    if settings.body_bytes_max is not None and size_bytes > settings.body_bytes_max:
        raise BodyTooLargeError(
            f"a body of {size_bytes:.0f} bytes; at most {settings.body_bytes_max}; send it in parts"
        )
    if asked.taken == "whole" and settings.memory_bytes is not None and size_bytes > settings.memory_bytes:
        rule = f"an isolate has {settings.memory_bytes}; pass it on as it comes"
        raise MemoryExceededError(f"a body of {size_bytes:.0f} bytes in memory; {rule}")


async def compute(isolates: Isolates, call: Call) -> None:
    """Use the CPU of an isolate for the sampled time, unless the request's body is too large for it."""
    check_body(isolates, call)
    async with isolates.compute(call.stopwatch):
        pass


PART = Part(
    "workers", settings=WorkersSettings.read, build=build, operations={"compute": Operation(compute, read_body)}
)
