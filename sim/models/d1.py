"""One database, one query at a time: a distance to travel, a queue, and the SQL itself.

The Worker runs near its user, the database stands where it was created; so every query pays a round trip before it
waits for the single thread that executes it. All queries of one request travel the same distance: they share one draw.

Sources
-------
D1 limits page: "each database processes queries one at a time"; a query of 1 ms allows about 1,000 a
second (hazard H18). Times of reads and writes come from the platform file, partly as assumptions; the distance is the
scenario's.
"""

from typing import TYPE_CHECKING

import numpy as np

from sim.flow import Delay, Flow, Serve, Station, Time
from sim.models.billing import Call, Usage, meter, per_million
from sim.models.component import Component, Instance, Metric, Operation, Tier, Uses
from sim.schema import Count, Distribution, NotNegative, Table

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


class D1(Table):
    """A database: one query at a time."""

    rtt_ms: Distribution
    """Round trip between the Worker and the database."""
    read_ms: Distribution
    """Execution of a read."""
    write_ms: Distribution
    """Execution of a write."""
    queue_limit: Count
    """Most queries that may wait; one more is refused as overloaded."""


class Read(Table):
    """What a step may say of a read."""

    rows_read: NotNegative = 1.0
    """Rows that the query visits, in tables and indexes."""


class Write(Table):
    """What a step may say of a write."""

    rows_written: NotNegative = 1.0
    """Rows that it writes; an entry of an index is a row."""
    rows_read: NotNegative = 0.0
    """Rows that it visits first."""


def station(d1: Instance) -> Station:
    """Return the database's one thread."""
    return Station(d1.name, servers=1, queue_limit=d1.table.queue_limit)


def read(d1: Instance, _: Read) -> Flow:
    """Travel to the database, execute one query that reads, travel back."""
    return _query(d1, Serve(station(d1), d1.table.read_ms, d1.stream("read")))


def write(d1: Instance, _: Write) -> Flow:
    """Travel to the database, execute one transaction that writes, travel back."""
    return _query(d1, Serve(station(d1), d1.table.write_ms, d1.stream("write")))


def _query(d1: Instance, execute: Serve) -> Flow:
    half = Delay(Time(d1.table.rtt_ms, scale=0.5), d1.stream("rtt"), shared=True)
    return (half, execute, half)


def read_usage(d1: Instance, call: Call) -> Usage:  # noqa: ARG001  # one signature for all
    """Rows that a read visits."""
    return Usage({"d1.rows_read": call.parameters.rows_read})


def write_usage(d1: Instance, call: Call) -> Usage:  # noqa: ARG001  # one signature for all
    """Rows that a write visits and writes."""
    return Usage({"d1.rows_read": call.parameters.rows_read, "d1.rows_written": call.parameters.rows_written})


def query_ms(frame: "pd.DataFrame", uses: Uses) -> "NDArray[np.float64]":
    """Distance, queue and SQL of a query, in ms: a value for every request and database that it queried.

    A run keeps the time of a request, so several queries of one request to one database count with their mean.
    """
    found, order = [np.zeros(0)], [np.zeros(0, dtype=np.int64)]
    for name in uses.instances:
        place = np.flatnonzero(frame[f"{name}_ms"] > 0)
        met = frame[["route", f"{name}_ms", f"{name}_queue_ms"]].iloc[place]
        often = met["route"].map(uses.often(name)).to_numpy(dtype=np.float64)
        found.append((met[f"{name}_ms"] + met[f"{name}_queue_ms"]).to_numpy() / np.maximum(often, 1.0))
        order.append(place)
    return np.concatenate(found)[np.argsort(np.concatenate(order), kind="stable")]


COMPONENT = Component(
    name="d1",
    label="D1",
    colour="#d55e00",
    tier=Tier.STORE,
    table=D1,
    operations={
        "read": Operation(read, parameters=Read, usage=read_usage, services=("d1",), reads=True),
        "write": Operation(write, parameters=Write, usage=write_usage, services=("d1",)),
    },
    station=station,
    meters=(
        per_million("d1.rows_read", "rows", fact="rows_read"),
        per_million("d1.rows_written", "rows", fact="rows_written"),
        meter("d1.storage", "GB-month", price="storage_overage_per_gb_month", included="storage_gb_included", per=1.0),
    ),
    metrics=(Metric("d1_query_ms", "D1 query", "ms", query_ms, compared=("p50", "p99")),),
)
