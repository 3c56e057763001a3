"""Workers as a component: the isolates, and what a route may ask of them."""

from reference_impl.parts import Call, Context, Operation, Part
from reference_impl.workers.isolates import Isolates, WorkersSettings


def build(settings: WorkersSettings, context: Context) -> Isolates:
    """Build an instance."""
    return Isolates(context.clock, settings, name=context.name)


async def compute(isolates: Isolates, call: Call) -> None:
    """Use an isolate's CPU."""
    async with isolates.compute(call.stopwatch):
        pass


PART = Part("workers", settings=WorkersSettings.read, build=build, operations={"compute": Operation(compute)})
