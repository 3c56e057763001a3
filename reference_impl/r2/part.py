"""The component ``r2``: a bucket, and the operations that routes may use."""

import hashlib
from dataclasses import dataclass

from reference_impl.messages import Request, Response, json_response
from reference_impl.parts import Call, Context, Operation, Part
from reference_impl.r2 import conditions
from reference_impl.r2.bucket import Allows, Bucket, R2Object
from reference_impl.r2.settings import R2Settings
from reference_impl.tables import Table
from reference_impl.timing.tape import Tape


@dataclass(frozen=True)
class Put:
    """The parameters of an upload: *new_share* of the uploads create a new key."""

    new_share: float
    chance: Tape


def new_share(table: Table) -> Put:
    """Read the parameters of an upload."""
    return Put(table.number("new_fraction", 1, at_most=1), table.chance("new_fraction"))


def build(settings: R2Settings, context: Context) -> Bucket:
    """Build an instance of the component."""
    store = context.volumes.store(context.name)
    rate = settings.writes_per_s
    return Bucket(store, clock=context.clock, settings=settings, name=context.name, writes_per_s_same_key=rate)


def write_check(request: Request) -> Allows | None:
    """Return what checks the preconditions of a write; None if it has none."""
    if not any(name in request.headers for name in ("if-match", "if-none-match", "if-unmodified-since")):
        return None

    def check(stored: R2Object | None) -> None:
        conditions.check_write(request, None if stored is None else validators_of(stored))

    return check


def object_key(call: Call) -> str:
    """Return the key of the object that *call* is about: ``ROUTE/OBJECT``, or ``ROUTE/OBJECT.N`` for repetition N."""
    key = f"{call.route}/{call.object_index}"
    return f"{key}.{call.repetition_index}" if call.repetition_index else key


def content(key: str, size_bytes: int) -> bytes:
    """Return generated content for an object that was never uploaded: text that depends only on the key and size."""
    block = hashlib.sha256(key.encode()).hexdigest().encode()
    return (block * (size_bytes // len(block) + 1))[:size_bytes]


def validators_of(stored: R2Object) -> conditions.Validators:
    """Return what distinguishes a stored version of an object."""
    return conditions.Validators(stored.etag, stored.uploaded_unix_ms)


def bytes_sent(request: Request, stored: R2Object) -> int:
    """Return how many bytes of a stored object the response to *request* carries."""
    return conditions.sent_bytes(request, validators_of(stored), size_bytes=stored.size_bytes)


async def put(bucket: Bucket, call: Call) -> Response:
    """Store the client's body (if empty: generated content of the request's size) if its preconditions hold."""
    asked: Put = call.parameters
    is_new = asked.new_share == 1 or asked.chance.draw() < asked.new_share
    key = object_key(call) if is_new else f"{call.route}/key-{call.key}"
    stored = call.body or content(key, call.size_bytes)
    await bucket.put(key, stored, stopwatch=call.stopwatch, allows=write_check(call.request))
    return json_response({"success": True})


async def get(bucket: Bucket, call: Call) -> Response:
    """Fetch an object, or a range of it; a missing one is created first, which takes no time."""
    key, request = object_key(call), call.request
    stored, found = await bucket.get_or_create(
        key,
        call.stopwatch,
        content=lambda: content(key, call.size_bytes),
        sends=lambda stored: bytes_sent(request, stored),
    )
    return conditions.respond(request, validators_of(stored), content=found)


PART = Part(
    "r2",
    settings=R2Settings.read,
    build=build,
    operations={"put": Operation(put, new_share), "get": Operation(get)},
)
