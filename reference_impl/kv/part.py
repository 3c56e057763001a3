"""The component ``kv``: a namespace, and the operations that routes may use."""

import math
from dataclasses import dataclass
from functools import cached_property

from reference_impl.kv.namespace import CACHE_TTL_S, CACHE_TTL_S_MIN, VALUE_BYTES_MAX, Namespace
from reference_impl.messages import Response, json_response
from reference_impl.parts import Call, Context, Operation, Part
from reference_impl.tables import Table
from reference_impl.timing.tape import Tape

LOCATION = "here"
"""The one location that all requests of a deployment come to."""


@dataclass(frozen=True)
class KVSettings:
    """Settings of a namespace, read from its table in the deployment file."""

    hot_ms: Tape
    cold_ms: Tape
    cache_ttl_s: float
    write_ms: Tape
    list_ms: Tape
    value_bytes_max: int
    writes_per_s: float

    @classmethod
    def read(cls, table: Table) -> "KVSettings":
        """Read the table of a namespace."""
        return cls(
            hot_ms=table.tape("hot_ms"),
            cold_ms=table.tape("cold_ms"),
            cache_ttl_s=table.number("cache_ttl_s", CACHE_TTL_S, at_least=CACHE_TTL_S_MIN),
            write_ms=table.tape("write_ms"),
            list_ms=table.tape("list_ms"),
            value_bytes_max=table.whole("value_bytes_max", VALUE_BYTES_MAX, at_least=1),
            writes_per_s=table.number("writes_per_s", math.inf) or math.inf,
        )


@dataclass(frozen=True)
class Put:
    """The parameters of a write: *new_share* of the writes create a new key."""

    new_share: float
    chance: Tape


class RouteKV:
    """A namespace that routes use, with its service times; its database is opened at the first use."""

    def __init__(self, settings: KVSettings, context: Context) -> None:
        self.name = context.name
        self.settings = settings
        self._context = context

    @cached_property
    def namespace(self) -> Namespace:
        """The namespace."""
        settings = self.settings
        return Namespace(
            self._context.engine(),
            clock=self._context.clock,
            value_bytes_max=settings.value_bytes_max,
            writes_per_s=settings.writes_per_s,
        )


def new_share(table: Table) -> Put:
    """Read the parameters of a write."""
    return Put(table.number("new_fraction", 1, at_most=1), table.chance("new_fraction"))


def key_of(call: Call) -> str:
    """Return the key that a request is about."""
    return f"key-{call.key}"


async def get(kv: RouteKV, call: Call) -> Response:
    """Read the value of the request's key: from the location's copy if it has one, else from the central store."""
    settings, key, watch = kv.settings, key_of(call), call.stopwatch
    await watch.catch_up()
    found = kv.namespace.copy(key, location=LOCATION)
    async with watch.stage(kv.name, watch.draw_ms(settings.cold_ms if found is None else settings.hot_ms)):
        pair = kv.namespace.fetch(key) if found is None else found.pair
    if found is None and not call.prepares:
        kv.namespace.keep(key, pair, location=LOCATION, cache_ttl_s=settings.cache_ttl_s)
    if pair is None:
        return json_response({"success": True, "value": None})
    return Response(200, pair.value, {"content-type": "application/octet-stream"})


async def put(kv: RouteKV, call: Call) -> None:
    """Write the request's body, or as many zero bytes as it has if there is none, under a new key or the request's."""
    asked: Put = call.parameters
    is_new = asked.chance.draw() < asked.new_share
    key = f"new-{call.request_id}-{call.step_index}-{call.repetition_index}" if is_new else key_of(call)
    value = call.body or bytes(call.size_bytes)
    await call.stopwatch.catch_up()
    async with call.stopwatch.stage(kv.name) as stage:
        kv.namespace.put(key, value, location=LOCATION)
        stage.drawn_ms = call.stopwatch.draw_ms(kv.settings.write_ms)


async def delete(kv: RouteKV, call: Call) -> None:
    """Delete the request's key; a missing key is not an error."""
    async with call.stopwatch.stage(kv.name, call.stopwatch.draw_ms(kv.settings.write_ms)):
        kv.namespace.delete(key_of(call), location=LOCATION)


async def list_keys(kv: RouteKV, call: Call) -> Response:
    """List up to 1,000 keys."""
    async with call.stopwatch.stage(kv.name, call.stopwatch.draw_ms(kv.settings.list_ms)):
        page = kv.namespace.list()
    return json_response({"success": True, "keys": page.keys, "list_complete": not page.cursor})


PART = Part(
    "kv",
    settings=KVSettings.read,
    build=RouteKV,
    operations={
        "get": Operation(get),
        "put": Operation(put, new_share),
        "delete": Operation(delete),
        "list": Operation(list_keys),
    },
)
