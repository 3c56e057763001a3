"""The component ``r2``: a bucket, and the operations that routes may use."""

import hashlib

from reference_impl.messages import Response, json_response
from reference_impl.parts import Call, Context, Operation, Part
from reference_impl.r2.bucket import Bucket
from reference_impl.r2.settings import R2Settings


def build(settings: R2Settings, context: Context) -> Bucket:
    """Build an instance of the component."""
    store = context.volumes.store(context.name)
    return Bucket(store, clock=context.clock, settings=settings, name=context.name)


def object_key(call: Call) -> str:
    """Return the key of the object that *call* is about: ``ROUTE/OBJECT``, or ``ROUTE/OBJECT.N`` for repetition N."""
    key = f"{call.route}/{call.object_index}"
    return f"{key}.{call.repetition_index}" if call.repetition_index else key


def content(key: str, size_bytes: int) -> bytes:
    """Return generated content for an object that was never uploaded: text that depends only on the key and size."""
    block = hashlib.sha256(key.encode()).hexdigest().encode()
    return (block * (size_bytes // len(block) + 1))[:size_bytes]


async def put(bucket: Bucket, call: Call) -> Response:
    """Store the client's body; if it is empty, store generated content of the request's size."""
    key = object_key(call)
    await bucket.put(key, call.body or content(key, call.size_bytes), stopwatch=call.stopwatch)
    return json_response({"success": True})


async def get(bucket: Bucket, call: Call) -> Response:
    """Fetch an object; a missing one is created first, which takes no time."""
    key = object_key(call)
    found = await bucket.get_or_create(key, call.stopwatch, content=lambda: content(key, call.size_bytes))
    headers = {"content-type": "application/octet-stream", "etag": f'"{found[0].etag}"'}
    return Response(200, found[1], headers)


PART = Part(
    "r2",
    settings=R2Settings.read,
    build=build,
    operations={"put": Operation(put), "get": Operation(get)},
)
