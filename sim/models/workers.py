"""Workers: an isolate, sometimes after a cold start, runs the Worker's code for some milliseconds of CPU time.

CPU time holds one of the deployment's isolates; waiting for a Durable Object, D1 or R2 does not, since an isolate
serves other requests meanwhile. A cold start delays its own request and no other. The platform starts isolates with the
load and publishes no limit of their number, so they are elastic by default; a number is its author's assumption.

By default a Worker runs where its requests come in. A *smart placement* runs it near what it calls: its requests travel
there and its answers back, and its calls travel less. With n calls in a row it wins when n (D - d) > F, where a call
takes D before and d after, and the way F. All requests are moved: the platform moves most, and measures first.

Sources
-------
Workers limits page (mean CPU over all Workers); the share of cold requests is Cloudflare's own figure for
enterprise traffic; cold start time and a number of isolates are assumptions (``[system.workers]``). Placement page: a
Worker runs in the nearest location, or with ``mode = "smart"`` nearest to the back end with the most requests; the
distances are the scenario's.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from sim.flow import ELASTIC, AttributeOver, Branch, Chance, Delay, Finally, Flow, Guard, Serve, Station, Time
from sim.foundation.schema import Count, Fraction, NotNegative, Positive, Table, count_or
from sim.models.billing import GB, Call, Demand, Meter, Usage, meter, per_million
from sim.models.component import Component, Instance, Metric, Operation, Tier, Uses, cpu_category
from sim.randomness.distributions import AnyDistribution, Distribution

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


Isolates = Annotated[Count | Literal["elastic"], count_or("elastic")]

LOGS = "observability.pricing"
"""Group of the facts that price logs and traces: ingested once, stored for the days that they are kept."""

LOG_EVENTS = "logs.pricing"
"""Group of the facts that price logs until :data:`LOGS` does."""


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
    """What one request adds to logs and traces, sampling included: for the bill alone, where logs cost by the GB."""
    log_events: NotNegative | None = None
    """Events that it adds, sampling included: one for the invocation and one for each line that it logs, times
    ``head_sampling_rate``. For the bill alone, where logs cost by the event; without it none is billed."""
    body_bytes_max: Count | None = None
    """Largest body of a request, ``platform:workers.limits.body_bytes_pro``; a larger one is refused (413)."""
    memory_bytes: Count | None = None
    """Memory of an isolate, ``platform:workers.limits.memory_bytes_isolate``; a larger body ends the request."""
    placement: Literal["default", "smart"] | None = None
    """Where it runs: where its requests come in, as without it, or near what it calls."""
    placement_rtt_ms: Distribution | None = None
    """Round trip between where its requests come in and where a smart placement runs it."""
    calls_rtt_ms: Annotated[dict[str, Distribution], Field(default_factory=dict)]
    """Round trips of its calls from there, in place of their own: ``{ d1 = 2 }``. Instances left out keep theirs."""

    @model_validator(mode="after")
    def _placed(self) -> Self:
        given = [key for key in ("placement_rtt_ms", "calls_rtt_ms") if getattr(self, key)]
        if self.placement == "smart" and len(given) < 2:
            raise ValueError(
                'has placement="smart", needs placement_rtt_ms and calls_rtt_ms: the way there, and from there'
            )
        if self.placement != "smart" and given:
            raise ValueError(f'has {given[0]}, needs placement="smart", of which it says something')
        return self


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


def forwarded(workers: Instance, inner: Flow, *, entry: str) -> Flow:
    """Travel from where requests come in to a Worker that runs elsewhere, *inner*, travel back, in *entry*'s time."""
    table: Workers = workers.table
    if table.placement_rtt_ms is None:
        return inner
    half = Delay(Time(table.placement_rtt_ms, scale=0.5), workers.stream("placement_rtt"), entry, shared=True)
    return (half, Finally(inner, (half,)))


def calls(workers: Instance) -> Mapping[str, AnyDistribution]:
    """Return the round trips of the Worker's calls that its placement changes, by instance."""
    found: Mapping[str, AnyDistribution] = workers.table.calls_rtt_ms
    return found


def usage(workers: Instance, call: Call) -> Usage:  # noqa: ARG001  # one signature for all
    """Return the usage of a request: itself, its CPU time in ms, and what it logs."""
    logged_gb = workers.table.log_bytes / GB
    logged = {
        "workers.logs_ingested": logged_gb,
        "workers.logs_stored": logged_gb,
        "workers.log_events": workers.table.log_events or 0.0,
    }
    return Usage(
        {
            "workers.requests": 1.0,
            "workers.cpu": workers.table.cpu_ms.expected(),
            **{name: amount for name, amount in logged.items() if amount},
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
            free_call_limit="workers.limits.cpu_ms_http_free",
        ),
        Meter(
            "workers.log_events",
            "events",
            price=f"{LOG_EVENTS}.events_overage_per_million",
            included=f"{LOG_EVENTS}.events_included_month",
            free=f"{LOG_EVENTS}.events_free_per_day",
            said="system.workers.log_events",
            assumed="of requests to Workers (what objects and consumers of queues log is not counted)",
        ),
        Meter(
            "workers.logs_ingested",
            "GB",
            per=1.0,
            replaces="workers.log_events",
            since=f"{LOGS}.valid_from",
            said="system.workers.log_bytes",
            price=f"{LOGS}.ingested_overage_per_gb",
            included=f"{LOGS}.ingested_gb_included",
            free=f"{LOGS}.ingested_gb_free_per_day",
        ),
        Meter(
            "workers.logs_stored",
            "GB-month",
            per=1.0,
            replaces="workers.log_events",
            since=f"{LOGS}.valid_from",
            scale=f"{LOGS}.retention_months",
            price=f"{LOGS}.stored_overage_per_gb_month",
            included=f"{LOGS}.stored_gb_month_included",
        ),
    ),
    background=plan_fee,
    forward=forwarded,
    round_trips=calls,
    metrics=(Metric("worker_cpu_ms", "Worker CPU", "ms", cpu_ms, compared=("p99",), restates="cpu_ms"),),
    busy_ms=busy_ms,
)
