"""Vector search: the nearest neighbours of a query among stored vectors, by Vectorize or by a box of one's own.

A search takes longer the more it has to look at: its time is that of a corpus of known size, times the ratio of stored
dimensions (vectors times dimensions) to a power. The power is 1 where every vector is compared, and smaller where an
index leads to a few. Vectorize (``index = "vectorize"``) bills dimensions queried and stored and bounds the size of an
index, a batch and an answer; a box (``"local"``: SQLite with an extension, beside the application) has as many searches
at a time as it has processors, is on nobody's bill, and its file grows by so many bytes a document.

Simplifications: the corpus keeps its size during a run, so inserts move the bill and not the time; an insert is found
``visible_s`` later, which no route waits for; filters and namespaces change nothing.

Sources
-------
Vectorize limits (1,536 dimensions, 10,000,000 vectors an index, answers of 100 vectors or, with values or metadata, 20,
batches of 1,000 from a Worker), pricing (queried dimensions are those of the queries plus, in a month with queries,
those of all stored vectors). Times of a box: the brief's table of searches, whose means of 45, 85, 180 and 450 ms at
100 to 100,000 documents follow the power 1/3 within 16 %. Times of Vectorize are assumptions but for a median.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from sim.flow import ELASTIC, Delay, Finally, Flow, Hold, Serve, Station, Time
from sim.foundation.errors import ScenarioError
from sim.foundation.schema import PAGE, Count, NotNegative, Positive, Table, count_or
from sim.models.billing import GB, NOTHING, Call, Demand, StorageLimit, Usage, meter
from sim.models.component import Component, Instance, Metric, Operation, Tier, Uses
from sim.randomness.distributions import Constant, Distribution

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

Searches = Annotated[Count | Literal["elastic"], count_or("elastic")]
PER_100_MILLION = 100 * 1e6
"""Stored dimensions that the price buys."""


class VectorSearch(Table):
    """An index of vectors."""

    index: Literal["vectorize", "local"]
    """``vectorize``: the provider's, on its bill. ``local``: a box of one's own."""
    rtt_ms: Distribution
    """Round trip to the index; 0 for a box in the same process."""
    dimensions: Count
    """Numbers of a vector."""
    vectors: Count
    """Vectors that are stored before the run."""
    query_ms: Distribution
    """Time of a search in a corpus of ``query_at_dimensions``."""
    query_at_dimensions: Positive
    """Stored dimensions, vectors times dimensions, at which ``query_ms`` was measured."""
    query_exponent: Annotated[float, Field(ge=0, le=2)]
    """Power of the stored dimensions with which a search grows: 1 for a scan, less for an index, 0 for none."""
    insert_ms: Distribution
    """Until a batch is accepted, or in a box stored."""
    insert_vector_ms: NotNegative
    """Added to it for each vector of the batch."""
    visible_s: NotNegative
    """An accepted vector is found after so long."""
    searches: Searches
    """Searches and inserts worked on at a time; ``elastic``: as many as there are."""
    queue_limit: Count
    """Most that may wait; one more is refused as overloaded."""
    document_bytes: NotNegative
    """Bytes by which the file of a box grows for each vector, text and index included."""
    dimensions_max: Count | None = None
    """Most dimensions of a vector; no limit without it."""
    vectors_max: Count | None = None
    """Most vectors of the index; no limit without it."""
    answer_vectors_max: Count | None = None
    """Most vectors of an answer without values and metadata; no limit without it."""
    answer_vectors_max_with_values: Count | None = None
    """Most vectors of an answer with values or metadata; no limit without it."""
    batch_vectors_max: Count | None = None
    """Most vectors of an insert; no limit without it."""

    @model_validator(mode="after")
    def _accepted(self) -> Self:
        for key, what in (("dimensions", "a vector"), ("vectors", "the index")):
            value, most = getattr(self, key), getattr(self, f"{key}_max")
            if most is not None and value > most:
                raise ValueError(f"has {key}={value}, must be <= {key}_max={most}: {what} holds no more")
        return self


class Query(Table):
    """The parameters of a search."""

    neighbours: Count = 5
    """Vectors of the answer."""
    with_values: bool = False
    """Whether the answer holds values or metadata too."""


class Insert(Table):
    """The parameters of an insert."""

    vectors: Count = 1
    """Vectors of the batch: chunks of the documents."""


def station(index: Instance) -> Station:
    """Return the searches that the index works on at a time; nobody waits for an elastic one."""
    table: VectorSearch = index.table
    servers = ELASTIC if table.searches == "elastic" else table.searches
    return Station(index.name, servers=servers, queue_limit=table.queue_limit)


def stored_dimensions(table: VectorSearch) -> float:
    """Return the dimensions that are stored before the run."""
    return float(table.vectors * table.dimensions)


def slower(table: VectorSearch) -> float:
    """Return by which factor a search of this corpus takes longer than one of ``query_at_dimensions``."""
    return float((stored_dimensions(table) / table.query_at_dimensions) ** table.query_exponent)


def query(index: Instance, asked: Query) -> Flow:
    """Search the vectors nearest to the request's."""
    table: VectorSearch = index.table
    most = table.answer_vectors_max_with_values if asked.with_values else table.answer_vectors_max
    _refuse_over(index, "query", "neighbours", asked.neighbours, most=most)
    search = Serve(station(index), Time(table.query_ms, scale=slower(table)), index.stream("query"))
    return _around(index, (search,))


def insert(index: Instance, asked: Insert) -> Flow:
    """Store vectors of the request's documents."""
    table: VectorSearch = index.table
    _refuse_over(index, "insert", "vectors", asked.vectors, most=table.batch_vectors_max)
    each = Delay(Constant(value=asked.vectors * table.insert_vector_ms), index.stream("insert_vector"))
    return _around(index, (Hold(station(index), (Delay(table.insert_ms, index.stream("insert")), each)),))


def _around(index: Instance, inner: Flow) -> Flow:
    half = Delay(Time(index.table.rtt_ms, scale=0.5), index.stream("rtt"), shared=True)
    return (half, Finally(inner, (half,)))


def _refuse_over(index: Instance, operation: str, key: str, value: int, *, most: int | None) -> None:
    if most is not None and value > most:
        raise ScenarioError(
            f"{index.name}.{operation} with {key}={value} must be <= {most}: the index refuses it ({PAGE})"
        )


def query_usage(index: Instance, call: Call) -> Usage:  # noqa: ARG001  # one signature for all
    """Return the usage of a search: the dimensions of the query; those of the corpus are counted by the month."""
    if index.table.index == "local":
        return NOTHING
    return Usage({"vector_search.queried_dimensions": float(index.table.dimensions)})


def insert_usage(index: Instance, call: Call) -> Usage:
    """Return the usage of an insert: the dimensions that it adds."""
    if index.table.index == "local":
        return NOTHING
    added = float(call.parameters.vectors * index.table.dimensions)
    return Usage(stored_gb={"vector_search.stored_dimensions": added / GB})


def corpus(index: Instance, demand: Demand) -> Usage:
    """Return a month's usage of the corpus: its dimensions are stored and, if there is any query, queried once.

    What inserts add to it in the month is queried too: the meter says so (``read_as``).
    """
    if index.table.index == "local":
        return NOTHING
    held = stored_dimensions(index.table)
    queried = held if demand.calls_per_month.get("query") else 0.0
    return Usage({"vector_search.stored_dimensions": held, "vector_search.queried_dimensions": queried})


def box(index: Instance, asked: Any) -> str:
    """Return a sentence about the file of a box; empty for Vectorize."""
    table: VectorSearch = index.table
    if table.index != "local" or not isinstance(asked, Query):
        return ""
    size_gb = table.vectors * table.document_bytes / GB
    return (
        f"{index.name} searches {table.vectors:,} vectors in a file of {size_gb:,.3g} GB, "
        f"{table.document_bytes:,.0f} bytes more for each"
    )


def search_ms(frame: "pd.DataFrame", uses: Uses) -> "NDArray[np.float64]":
    """Return round trip, wait and search in ms: one value per request and index, the mean of its searches."""
    return uses.mean_ms(frame, columns=("ms", "queue_ms"), operation="query")


def is_billed(table: VectorSearch) -> bool:
    """Whether the provider holds the index."""
    return table.index == "vectorize"


def room(table: VectorSearch, vectors_max: float) -> float:
    """Return the dimensions that an index of at most *vectors_max* vectors may yet take."""
    return max(0.0, vectors_max - table.vectors) * table.dimensions


COMPONENT = Component(
    name="vector_search",
    label="vector search",
    colour="#7fbc41",
    tier=Tier.STORE,
    table=VectorSearch,
    operations={
        "query": Operation(query, parameters=Query, usage=query_usage, reads=True, finding=box),
        "insert": Operation(insert, parameters=Insert, usage=insert_usage),
    },
    station=station,
    meters=(
        meter(
            "vector_search.queried_dimensions", "dimensions",
            price="queried_dimensions_overage_per_million", included="queried_dimensions_included_month",
            free="queried_dimensions_free_month", free_period="month",
        ),
        meter(
            "vector_search.stored_dimensions", "dimensions",
            price="stored_dimensions_overage_per_100_million", per=PER_100_MILLION,
            included="stored_dimensions_included",
            free="stored_dimensions_free", free_period="total", stored_unit=float(GB),
            read_as="vector_search.queried_dimensions",
        ),
    ),
    limits=(
        StorageLimit(
            "vector_search.stored_dimensions", "vector_search.limits.vectors_per_index", "an index",
            applies=is_billed, room=room, unit="vectors",
        ),
    ),
    background=corpus,
    metrics=(
        Metric(
            "vector_query_ms", "vector search", "ms", search_ms, compared=("p50", "p99"), operations=("query",)
        ),
    ),
)  # fmt: skip
