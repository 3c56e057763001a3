"""The component ``origin``: an origin, and the operation that routes may use."""

from reference_impl.messages import Response
from reference_impl.origin.origin import Origin, OriginSettings
from reference_impl.parts import Call, Context, Operation, Part


def build(settings: OriginSettings, context: Context) -> Origin:
    """Build an instance."""
    return Origin(context.clock, settings, name=context.name)


async def fetch(origin: Origin, call: Call) -> Response:
    """Fetch the request's object, or its key if the request has no bytes."""
    about = f"objects/{call.object_index}" if call.size_bytes else f"keys/{call.key}"
    body = await origin.fetch(f"/{call.route}/{about}", call.stopwatch, size_bytes=call.size_bytes)
    return Response(200, body, {"content-type": "application/octet-stream"})


PART = Part("origin", settings=OriginSettings.read, build=build, operations={"fetch": Operation(fetch)})
