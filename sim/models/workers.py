"""Workers: an isolate, sometimes after a cold start, runs the Worker's code for some milliseconds of CPU time.

CPU time holds one of the deployment's isolates; waiting for a Durable Object, D1 or R2 does not, since an isolate
serves other requests meanwhile. A cold start delays its own request and no other. The platform starts isolates with the
load and publishes no limit of their number, so they are elastic by default; a number is its author's assumption.

Sources
-------
Workers limits page (mean CPU over all Workers); the share of cold requests is Cloudflare's own figure for
enterprise traffic; cold start time and a number of isolates are assumptions (``[system.workers]``).
"""

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from sim.flow import ELASTIC, AttributeOver, Branch, Chance, Delay, Flow, Guard, Serve, Station
from sim.foundation.schema import Count, Fraction, NotNegative, Positive, Table, count_or
from sim.models.billing import GB, Call, Demand, Meter, Usage, meter, per_million
from sim.models.component import Component, Instance, Metric, Operation, Tier, Uses, cpu_category
from sim.randomness.distributions import Distribution

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


Isolates = Annotated[Count | Literal["elastic"], count_or("elastic")]

LOGS = "observability.pricing"
"""Group of the facts that price logs and traces: ingested once, stored for the days that they are kept."""


class Workers(Table):
    """The code at the edge, run by isolates."""

    isolates: Isolates
    """Number of isolates that can compute at the same time; ``elastic``: as many as the load needs."""
    cpu_ms: Distribution
    """CPU time of one request; it holds an isolate."""
    cold_start_ms: Distribution
    """Time to start an isolate, added to the request that needs it."""
    cold_fraction: Fraction
    """Share of requests that need a cold start."""
    log_bytes: NotNegative = 0.0
    """What one request adds to logs and traces: only the bill counts it."""
    body_bytes_max: Count | None = None
    """Largest body of a request, ``platform:workers.limits.body_bytes_pro``; a larger one is refused (413)."""
    memory_bytes: Count | None = None
    """Memory of an isolate, ``platform:workers.limits.memory_bytes_isolate``; a larger body ends the request."""


class Compute(Table):
    """The parameters of a computation."""

    body: Literal["", "stream", "whole"] = ""
    """How the Worker takes the request's bytes: not at all, passing them on as they come, or whole in memory."""
    body_ratio: Positive = 1.0
    """Bytes of the body as it is sent for each of the request's bytes: 4/3 for base64."""


def station(workers: Instance) -> Station:
    """Return the isolates, as servers of one queue; nobody waits for elastic ones."""
    isolates = workers.table.isolates
    return Station(workers.name, servers=ELASTIC if isolates == "elastic" else isolates)


def compute(workers: Instance, asked: Compute) -> Flow:
    """Start an isolate if the request is cold, read the request's body if it asks for it, then use its CPU."""
    table: Workers = workers.table
    start = Delay(table.cold_start_ms, workers.stream("cold_start"))
    refused: Flow = ()
    killed: Flow = ()
    if asked.body and table.body_bytes_max is not None:
        refused = (Guard(AttributeOver("size_bytes", table.body_bytes_max / asked.body_ratio), "too_large"),)
    if asked.body == "whole" and table.memory_bytes is not None:
        killed = (Guard(AttributeOver("size_bytes", table.memory_bytes / asked.body_ratio), "error"),)
    return (
        *refused,
        Branch(Chance(table.cold_fraction, workers.stream("is_cold")), (start,)),
        *killed,
        Serve(station(workers), table.cpu_ms, workers.stream("cpu"), category=cpu_category(workers.name)),
    )


def usage(workers: Instance, call: Call) -> Usage:  # noqa: ARG001  # one signature for all
    """Return the usage of a request: itself, its CPU time in ms, and what it logs."""
    logged_gb = workers.table.log_bytes / GB
    logged = {"workers.logs_ingested": logged_gb, "workers.logs_stored": logged_gb}
    return Usage(
        {
            "workers.requests": 1.0,
            "workers.cpu": workers.table.cpu_ms.expected(),
            **(logged if logged_gb else {}),
        }
    )


def plan_fee(workers: Instance, demand: Demand) -> Usage:  # noqa: ARG001  # one signature for all
    """Return the plan's monthly fee."""
    return Usage({"workers.plan": 1.0})


def cpu_ms(frame: "pd.DataFrame", uses: Uses) -> "NDArray[np.float64]":
    """Return the CPU time of every request that reached a Worker, in ms."""
    spent: NDArray[np.float64] = frame[[f"{cpu_category(name)}_ms" for name in uses.instances]].to_numpy().sum(axis=1)
    return spent[spent > 0]


def busy_ms(frame: "pd.DataFrame", workers: Instance) -> "NDArray[np.float64]":
    """Return the sum of the CPU time that the answers report."""
    return np.array([frame[f"{cpu_category(workers.name)}_ms"].sum()])


COMPONENT = Component(
    name="workers",
    label="Workers",
    colour="#e69f00",
    tier=Tier.COMPUTE,
    table=Workers,
    operations={"compute": Operation(compute, parameters=Compute, usage=usage, reads=True)},
    station=station,
    cpu=True,
    meters=(
        meter("workers.plan", "month", price="plan_month", per=1.0, once=True),
        per_million("workers.requests", "requests", fact="requests", spending_limit=True),
        per_million(
            "workers.cpu",
            "ms",
            fact="cpu_ms",
            free="",
            spending_limit=True,
            call_limit="workers.limits.cpu_ms_http_paid_max",
        ),
        Meter(
            "workers.logs_ingested",
            "GB",
            per=1.0,
            price=f"{LOGS}.ingested_overage_per_gb",
            included=f"{LOGS}.ingested_gb_included",
            free=f"{LOGS}.ingested_gb_free_per_day",
        ),
        Meter(
            "workers.logs_stored",
            "GB-month",
            per=1.0,
            scale=f"{LOGS}.retention_months",
            price=f"{LOGS}.stored_overage_per_gb_month",
            included=f"{LOGS}.stored_gb_month_included",
        ),
    ),
    background=plan_fee,
    metrics=(Metric("worker_cpu_ms", "Worker CPU", "ms", cpu_ms, compared=("p99",), restates="cpu_ms"),),
    busy_ms=busy_ms,
)
