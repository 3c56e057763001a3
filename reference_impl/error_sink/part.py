"""The component ``error_sink``: a collector of errors, and the operation that routes may use."""

from reference_impl.error_sink.sink import ErrorEvent, Sink, SinkSettings
from reference_impl.parts import Call, Context, Operation, Part


def build(settings: SinkSettings, context: Context) -> Sink:
    """Build an instance."""
    return Sink(settings, name=context.name)


async def report(sink: Sink, call: Call) -> None:
    """Report that the request met an error; its answer is that of the route."""
    await sink.report(ErrorEvent(call.route, "reported", call.stopwatch.planned_ms), call.stopwatch)


PART = Part("error_sink", settings=SinkSettings.read, build=build, operations={"report": Operation(report)})
