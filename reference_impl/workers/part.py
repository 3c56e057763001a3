"""The component ``workers``: the isolates, and the operation that routes may use."""

from reference_impl.parts import Call, Context, Operation, Part
from reference_impl.workers.isolates import Isolates, WorkersSettings


def build(settings: WorkersSettings, context: Context) -> Isolates:
    """Build an instance of the component."""
    return Isolates(context.clock, settings, name=context.name)


async def compute(isolates: Isolates, call: Call) -> None:
    """Use the CPU of an isolate for the sampled time."""
    async with isolates.compute(call.stopwatch):
        pass


PART = Part("workers", settings=WorkersSettings.read, build=build, operations={"compute": Operation(compute)})
