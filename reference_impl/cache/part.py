"""The component ``cache``: its settings, and the operations that routes may use."""

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
    """Settings of a cache, read from its table in the deployment file."""

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
    """A cache that routes use, with its service times."""

    def __init__(self, settings: CacheSettings, context: Context) -> None:
        super().__init__(context.clock, entry_bytes_max=settings.entry_bytes_max)
        self.name = context.name
        self.settings = settings


def url_of(call: Call) -> str:
    """Return the URL of a request's entry: that of its object, or of its key if the request has no bytes."""
    about = f"object-{call.object_index}" if call.size_bytes else f"key-{call.key}"
    return f"https://edge/{call.route}/{about}"


async def get(cache: RouteCache, call: Call) -> Response | None:
    """Look the request's entry up; an entry that is found is the route's answer unless a later step returns one.

    Whether the request counts as a hit is decided by the ``chance`` of the route's later steps, not by what is stored
    here. So a request with bytes is answered with that many bytes even when nothing is stored.
    """
    async with call.stopwatch.stage(cache.name, call.stopwatch.draw_ms(cache.settings.get_ms)):
        found = cache.match(url_of(call))
    if found is None and call.size_bytes:
        return Response(200, bytes(call.size_bytes), {"content-type": "application/octet-stream"})
    return found


async def put(cache: RouteCache, call: Call) -> None:
    """Store as many bytes as the request has, for a minute."""
    answer = Response(200, call.body or bytes(call.size_bytes), {"cache-control": f"public, max-age={TTL_S}"})
    # Sampled after the store: an entry that is refused takes no time, as in the model.
    async with call.stopwatch.stage(cache.name) as stage:
        cache.put(url_of(call), answer)
        stage.drawn_ms = call.stopwatch.draw_ms(cache.settings.put_ms)


async def delete(cache: RouteCache, call: Call) -> None:
    """Delete the request's entry; a missing one is not an error."""
    async with call.stopwatch.stage(cache.name, call.stopwatch.draw_ms(cache.settings.put_ms)):
        cache.delete(url_of(call))


PART = Part(
    "cache",
    settings=CacheSettings.read,
    build=RouteCache,
    operations={"get": Operation(get), "put": Operation(put), "delete": Operation(delete)},
)
