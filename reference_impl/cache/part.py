"""The edge cache as a component: what a route may ask of it, and how long that takes."""

from dataclasses import dataclass

from reference_impl.cache.edge_cache import ENTRY_BYTES_MAX, EdgeCache
from reference_impl.messages import Response
from reference_impl.parts import Call, Context, Operation, Part
from reference_impl.tables import Table
from reference_impl.timing.tape import Tape

TTL_S = 60
"""For how long a route's entry is fresh."""


@dataclass(frozen=True)
class CacheSettings:
    """What a scenario says of a cache."""

    get_ms: Tape
    put_ms: Tape
    entry_bytes_max: int

    @classmethod
    def read(cls, table: Table) -> "CacheSettings":
        """Read the table of a cache."""
        return cls(
            get_ms=table.tape("get_ms"),
            put_ms=table.tape("put_ms"),
            entry_bytes_max=table.whole("entry_bytes_max", ENTRY_BYTES_MAX, at_least=1),
        )


class RouteCache(EdgeCache):
    """A cache that routes use, with the time that it takes."""

    def __init__(self, settings: CacheSettings, context: Context) -> None:
        super().__init__(context.clock, entry_bytes_max=settings.entry_bytes_max)
        self.name = context.name
        self.settings = settings


def url_of(call: Call) -> str:
    """Return what the entry of a request is stored under: its object, or its key where it has no bytes."""
    about = f"object-{call.object_index}" if call.size_bytes else f"key-{call.key}"
    return f"https://edge/{call.route}/{about}"


async def get(cache: RouteCache, call: Call) -> Response | None:
    """Look the request's entry up; a stored answer is the route's, unless a later step has one.

    A hit that the route counts on, since it passes over the steps that a miss takes, is not played by what is stored:
    the route's ``chance`` decides. So a request with bytes is answered with as many, stored or not.
    """
    async with call.stopwatch.stage(cache.name, call.stopwatch.draw_ms(cache.settings.get_ms)):
        found = cache.match(url_of(call))
    if found is None and call.size_bytes:
        return Response(200, bytes(call.size_bytes), {"content-type": "application/octet-stream"})
    return found


async def put(cache: RouteCache, call: Call) -> None:
    """Store as many bytes as the request has, for a minute."""
    answer = Response(200, call.body or bytes(call.size_bytes), {"cache-control": f"public, max-age={TTL_S}"})
    async with call.stopwatch.stage(cache.name, call.stopwatch.draw_ms(cache.settings.put_ms)):
        cache.put(url_of(call), answer)


async def delete(cache: RouteCache, call: Call) -> None:
    """Throw the request's entry away; that there is none is no error."""
    async with call.stopwatch.stage(cache.name, call.stopwatch.draw_ms(cache.settings.put_ms)):
        cache.delete(url_of(call))


PART = Part(
    "cache",
    settings=CacheSettings.read,
    build=RouteCache,
    operations={"get": Operation(get), "put": Operation(put), "delete": Operation(delete)},
)
