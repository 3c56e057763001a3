"""The component ``vector_search``: an index with its service times, and the operations that routes may use.

The index holds the first vectors of the corpus; the others only take their time in a search.
"""

from dataclasses import dataclass
from functools import cached_property

from reference_impl.errors import RequestError
from reference_impl.messages import Response, json_response
from reference_impl.parts import Call, Context, Operation, Part
from reference_impl.tables import Table
from reference_impl.timing.stopwatch import Station
from reference_impl.vector_search.index import Index, vectors_of
from reference_impl.vector_search.settings import IndexSettings
from reference_impl.volumes.metered import Billed

KEPT_MAX = 2_000
"""Vectors of the corpus that exist before the run."""
KEPT_BYTES_MAX = 20_000_000
"""Size of the file that they may have."""
CORPUS, INSERTED, QUERIES = range(3)
"""What vectors are for: those of different purposes differ."""


@dataclass(frozen=True)
class Query:
    """The parameters of a search."""

    neighbours: int
    with_values: bool

    @classmethod
    def read(cls, table: Table) -> "Query":
        """Read them from the step's table."""
        return cls(table.whole("neighbours", 5, at_least=1), table.flag("with_values"))


def batch(table: Table) -> int:
    """Read the number of vectors of an insert."""
    return table.whole("vectors", 1, at_least=1)


class RouteIndex:
    """An index that routes use; its vectors exist from the first use on."""

    def __init__(self, settings: IndexSettings, context: Context) -> None:
        self.name = context.name
        self.settings = settings
        self.searches = Station(
            context.clock, context.name, servers=settings.searches, queue_limit=settings.queue_limit
        )
        self.billed = Billed()
        """What the provider would bill until now: ``queried_dimensions`` of the queries, ``stored_dimensions`` of the
        inserts; the corpus itself is billed by the month. Nothing for a box."""
        self._context = context

    @cached_property
    def index(self) -> Index:
        """The vectors."""
        settings = self.settings
        found = Index(self._context.engine(), dimensions=settings.dimensions, document_bytes=settings.document_bytes)
        kept = min(settings.vectors, KEPT_MAX, max(1, int(KEPT_BYTES_MAX // max(1.0, settings.document_bytes))))
        if not len(found):
            found.insert(vectors_of((CORPUS, 0), count=kept, dimensions=settings.dimensions), visible_at_ms=0.0)
        return found

    def bill(self, meter: str, dimensions: float) -> None:
        """Count what the provider bills."""
        if not self.settings.is_local:
            self.billed.add(meter, dimensions)


async def query(index: RouteIndex, call: Call) -> Response:
    """Return the ids of the vectors nearest to the one of the request's key."""
    settings, watch, asked = index.settings, call.stopwatch, call.parameters
    most = settings.answer_vectors_max_with_values if asked.with_values else settings.answer_vectors_max
    _check("neighbours", asked.neighbours, most=most)
    found = index.index
    with watch.round_trip(index.name, settings.rtt_ms):
        asked_ms = watch.draw_ms(settings.query_ms) * settings.time_ratio
        async with index.searches.hold(watch, f"{index.name}_queue"), watch.stage(index.name, asked_ms):
            wanted = vectors_of((QUERIES, call.key), count=1, dimensions=settings.dimensions)[0]
            matches = found.nearest(wanted, neighbours=asked.neighbours, now_ms=watch.clock.now_ms())
        index.bill("queried_dimensions", settings.dimensions)
    told = [
        {
            "id": str(match.document_id),
            "score": match.cosine_ratio,
            **({"values": found.vector(match.document_id).tolist()} if asked.with_values else {}),
        }
        for match in matches
    ]
    return json_response({"success": True, "count": len(told), "matches": told})


async def insert(index: RouteIndex, call: Call) -> Response:
    """Store the vectors of the request's documents."""
    settings, watch, count = index.settings, call.stopwatch, call.parameters
    _check("vectors", count, most=settings.batch_vectors_max)
    found = index.index
    with watch.round_trip(index.name, settings.rtt_ms):
        async with index.searches.hold(watch, f"{index.name}_queue"), watch.stage(index.name) as stage:
            stage.drawn_ms = watch.draw_ms(settings.insert_ms)
            stage.drawn_ms += count * settings.insert_vector_ms if watch.is_paced else 0.0
            vectors = vectors_of((INSERTED, len(found)), count=count, dimensions=settings.dimensions)
            found.insert(vectors, visible_at_ms=watch.planned_ms + stage.drawn_ms + settings.visible_ms)
        index.bill("stored_dimensions", count * settings.dimensions)
    return json_response({"success": True, "count": count})


def _check(key: str, value: int, *, most: int | None) -> None:
    if most is not None and value > most:
        raise RequestError(400, "over_limit", f"{key}={value} must be <= {most}; ask for less")


PART = Part(
    "vector_search",
    settings=IndexSettings.read,
    build=RouteIndex,
    operations={"query": Operation(query, Query.read), "insert": Operation(insert, batch)},
)
