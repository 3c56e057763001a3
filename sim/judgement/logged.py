"""Hold a simulation against the author's own log: each route's latency beside that of the real deployment.

A log's clock is at the server or at the client, and often nobody knows which. So the model is read at both places: as
the client sees it, and without the entry (the network, or the tunnel's way). Where the place is not known, only what
both readings say is said. The judgement is that of :mod:`sim.judgement.comparison`: equivalence within the tolerance.

A log's load is its own and not the played one, so this contradicts or supports the model's numbers, and changes no
verdict.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING

from sim.judgement.comparison import TOLERANCE, Agreement, equivalence, relative_error, settled_by
from sim.models.component import Tier
from sim.results.metrics import ended, estimate_of, probability
from sim.statistics.intervals import Estimate

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from sim.results.result import Result
    from sim.scenario.measured import Measured
    from sim.scenario.scenario import Scenario

STATISTICS = ("p50", "p99")

CLIENT, SERVER = "client", "server"

OF_LOG = "of the log"
ASSUMED = "of the log; interval assumed: independent requests of a lognormal law"

NORMAL = NormalDist()

SAY_WHERE = "it depends on where the clock was: say taken_at"


@dataclass(frozen=True)
class LogRow:
    """One statistic of a route's latency: the log's beside the model's.

    Attributes
    ----------
    route, statistic : str
    taken_at : {"server", "client", "unknown"}
        Where the log's clock was.
    source : str
    logged : Estimate
        In ms.
    modelled : dict of str to Estimate
        The model's answered requests, in ms, at the places where the log's clock may have been.
    errors : dict of str to Estimate
        modelled / logged - 1 with its joint 95 % interval.
    verdict : Agreement
        What all places say.
    reason : str
        What would settle it; empty for others.
    """

    route: str
    statistic: str
    taken_at: str
    source: str
    logged: Estimate
    modelled: dict[str, Estimate]
    errors: dict[str, Estimate]
    verdict: Agreement
    reason: str = ""


def beside_log(simulated: "Sequence[Result]") -> tuple[LogRow, ...]:
    """Return P50 and P99 of every route that has ``measured`` and was played; nothing without such routes.

    Parameters
    ----------
    simulated : sequence of Result
        Replications of one schedule.
    """
    if not simulated:
        return ()
    scenario = simulated[0].scenario
    logged = {name: route.measured for name, route in scenario.routes.items() if route.measured is not None}
    if not logged:
        return ()
    frames = [run.steady().frame for run in simulated]
    return tuple(row for name, measured in logged.items() for row in _rows(frames, name, measured, scenario=scenario))


def _rows(
    frames: "Sequence[pd.DataFrame]", route: str, measured: "Measured", *, scenario: "Scenario"
) -> Iterator[LogRow]:
    ours = [frame[(frame["route"] == route) & ended(frame, "ok")] for frame in frames]
    places = (CLIENT, SERVER) if measured.taken_at == "unknown" else (measured.taken_at,)
    for statistic in STATISTICS:
        logged = _logged(measured, statistic)
        found = {
            place: estimate_of([_latency_ms(frame, place, scenario=scenario) for frame in ours], statistic=statistic)
            for place in places
        }
        modelled = {place: one for place, one in found.items() if one is not None}
        if len(modelled) < len(places):
            continue  # No request of the route was answered.
        errors = {place: relative_error(one, logged) for place, one in modelled.items()}
        verdict, reason = _verdict(list(errors.values()), TOLERANCE[statistic])
        yield LogRow(
            route, statistic, measured.taken_at, measured.source, logged, modelled, errors, verdict, reason
        )  # fmt: skip


def _logged(measured: "Measured", statistic: str) -> Estimate:
    """The log's quantile, with the interval that is given or, where none is, an assumed one."""
    value = measured.p50_ms if statistic == "p50" else measured.p99_ms
    known = measured.interval_ms(statistic)
    low, high = known or _assumed(measured, statistic, value)
    return Estimate(value, low, high, measured.requests, OF_LOG if known else ASSUMED)


def _assumed(measured: "Measured", statistic: str, value: float) -> tuple[float, float]:
    """The 95 % interval of a quantile of as many independent requests of the lognormal law through P50 and P99.

    The standard error of the quantile q of n values is sqrt(q (1 - q) / n) over the density there (David and Nagaraja,
    "Order Statistics", 3rd ed., 2003, section 10.2); on the logarithm that is of the normal law. Requests of one busy
    hour depend on each other, so that the true interval is wider.
    """
    if not 0 < measured.p50_ms < measured.p99_ms:
        return value, value
    q = probability(statistic)
    sigma = log(measured.p99_ms / measured.p50_ms) / NORMAL.inv_cdf(0.99)
    density = NORMAL.pdf(NORMAL.inv_cdf(q)) / sigma
    half = NORMAL.inv_cdf(0.975) * sqrt(q * (1 - q) / measured.requests) / density
    return value * exp(-half), value * exp(half)


def _latency_ms(frame: "pd.DataFrame", place: str, *, scenario: "Scenario") -> "NDArray[np.float64]":
    """Latency at one place: whole, or without the time in the instances through which requests enter."""
    latency_ms = frame["latency_ms"].to_numpy(dtype=float)
    if place == CLIENT:
        return latency_ms
    way = [
        column
        for name, one in scenario.system.instances.items()
        if one.component.tier == Tier.ENTRY
        for column in (f"{name}_ms", f"{name}_queue_ms")
        if column in frame and column not in scenario.inner_columns
    ]
    return latency_ms - frame[way].to_numpy(dtype=float).sum(axis=1) if way else latency_ms


def _verdict(errors: Sequence[Estimate], tolerance_ratio: float) -> tuple[Agreement, str]:
    """What all readings say alike; else that it is not settled, and why."""
    found = {equivalence(error, tolerance_ratio) for error in errors}
    if len(found) == 1:
        verdict = found.pop()
        return verdict, settled_by(errors[0], tolerance_ratio) if verdict is Agreement.NOT_SETTLED else ""
    return Agreement.NOT_SETTLED, SAY_WHERE


def contradictions(rows: Sequence[LogRow]) -> tuple[LogRow, ...]:
    """Return the rows in which the model differs from the log, the greatest error first."""
    differ = (row for row in rows if row.verdict is Agreement.DIFFERS)
    return tuple(sorted(differ, key=lambda row: -min(abs(error.value) for error in row.errors.values())))
