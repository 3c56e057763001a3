"""Approximate a scenario analytically, before anything is simulated: utilization, waits, bottleneck, largest rate.

Utilization is demand times rate, whatever the distributions and the order of service: exact where the demand is. Waits
are approximate: each station is treated independently, with arrivals that are random (Kingman; Allen and Cunneen).
This **screening** takes some thirty milliseconds of processor time (a recorded trace up to two seconds). It is shown
beside a simulation and gives a search its starting point; it is never a verdict.

>>> from sim.scenario.scenario import load_scenario
>>> screen(load_scenario("launch")).bottleneck
'durable_objects'

Sources
-------
Denning and Buzen, "The operational analysis of queueing network models", ACM Comput. Surv. 10, 1978.
Kingman, "The single server queue in heavy traffic", 1961; Allen, "Probability, Statistics and Queueing Theory", 1990
(Allen and Cunneen). Whitt, "The queueing network analyzer", Bell Syst. Tech. J. 62, 1983 (stations one by one).
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from math import exp, inf, isfinite, isnan, log, nan
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.optimize import brentq

from sim import flow as f
from sim.foundation.errors import UsageError
from sim.foundation.views import Shown
from sim.scenario.arrivals import Closed
from sim.scenario.deployment import deployment
from sim.screening.demand import Walker
from sim.screening.iteration import Iteration
from sim.screening.logbook import Notes
from sim.screening.passage import Array, Passage
from sim.screening.traffic import EVERY_ROUTE, Traffic, traffic
from sim.screening.waits import wait_ms

if TYPE_CHECKING:
    import pandas as pd

    from sim.scenario.scenario import Scenario

WALKS_MAX = 60
SETTLED = 1e-4
"""The iteration ends when no utilization changes by more than this share of a server."""

BOUND_STEPS, RATE_MAX_PER_S = 12, 1e9
"""Beyond these there is no bound: the work does not grow with the rate."""

SLOPE_MIN, SLOPE_MAX = 0.3, 3.0
"""Limits of d log(utilization) / d log(rate): 1 where demand is constant, 2 where it grows with the length of a log."""

LABEL = "approximation, not simulated"
UNSETTLED = f"its iteration had not settled after {WALKS_MAX} walks"

UNFAULTED = "the scenario's faults are left out: this is its traffic on a deployment without them"


@dataclass(frozen=True)
class StationScreening:
    """The analytical approximation of one station.

    Attributes
    ----------
    station : str
    servers, instances : int
    visits_mean : float
        Mean visits per request of the deployment, including those of flows that it spawns.
    service_ms_mean : float
        Mean time for which a visit holds a server.
    demand_ms : float
        Mean service demand of a request of the deployment on the busiest instance.
    utilization, busiest_utilization : float
        Utilization per server: mean over all instances, and busiest instance; 1 or more is overload.
        NaN for an elastic station, which bears any rate.
    wait_ms_mean : float
        Mean wait of a visit before service.
    queue_mean : float
        Mean number of waiting requests over all instances.
    rate_per_s_max : float
        Arrival rate of the deployment that saturates the busiest instance, if there were no waits elsewhere.
    """

    station: str
    servers: int
    instances: int
    visits_mean: float
    service_ms_mean: float
    demand_ms: float
    utilization: float
    busiest_utilization: float
    wait_ms_mean: float
    queue_mean: float
    rate_per_s_max: float


@dataclass(frozen=True)
class Screening(Shown):
    """The analytical approximation of a scenario.

    Attributes
    ----------
    rate_per_s : float
        Mean arrival rate.
    rows : tuple of StationScreening
        Stations, by name.
    bottleneck : str
        The station with the lowest `rate_per_s_max`.
    rate_per_s_max : float
        The rate that saturates the bottleneck: no higher rate can be sustained.
    latency_ms_mean : float
        Mean latency of all requests.
    routes : dict of str to float
        Mean latency of each route, ms.
    approximations : tuple of str
        Assumptions beyond the independence of stations.
    settled : bool
        Whether the iteration settled; if not, all numbers are those of its last step.
    """

    rate_per_s: float
    rows: tuple[StationScreening, ...]
    bottleneck: str
    rate_per_s_max: float
    latency_ms_mean: float
    routes: dict[str, float]
    approximations: tuple[str, ...]
    settled: bool = True

    @property
    def label(self) -> str:
        """The label that must stand beside these numbers."""
        return LABEL if self.settled else f"{LABEL}; {UNSETTLED}"

    @property
    def frame(self) -> "pd.DataFrame":
        """Return one row per station, with the columns of :class:`StationScreening`."""
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.rows])

    def __str__(self) -> str:
        busy = ((row.station, row.busiest_utilization) for row in self.rows)
        stations = ", ".join(f"{name} {'elastic' if isnan(share) else f'{share:.2f}'}" for name, share in busy)
        return (
            f"at {self.rate_per_s:.4g} requests/s: mean latency {self.latency_ms_mean:.4g} ms, busy {stations}; "
            f"{self.bottleneck} bears at most {self.rate_per_s_max:.4g}/s ({self.label})"
        )


def screen(scenario: "Scenario", rate_per_s: float | None = None) -> Screening:
    """Approximate *scenario* analytically, without simulating it.

    Parameters
    ----------
    scenario : Scenario
        In a closed loop the rate follows from the number of users.
    rate_per_s : float, optional
        Mean arrival rate in place of the scenario's.

    Raises
    ------
    UsageError
        The rate is not positive, or is given for a closed loop.
    """
    arrivals, flow = scenario.workload.arrivals, deployment(scenario, faults=False)
    coming = traffic(scenario, keyed(flow))
    if rate_per_s is not None:
        if isinstance(arrivals, Closed):
            raise UsageError("rate_per_s cannot be set for a closed loop: its users set it (workload.arrivals.users)")
        if not 0 < rate_per_s < float("inf"):
            raise UsageError(f"rate_per_s={rate_per_s:g} must be > 0 and finite")
        coming = coming.at_rate(rate_per_s)
    if isinstance(arrivals, Closed):
        coming = coming.at_rate(_closed_rate_per_s(Walker(flow), coming, arrivals=arrivals))
    found = screen_flow(flow, coming)
    said = (UNFAULTED,) if scenario.faults else ()
    return replace(found, approximations=(*said, *found.approximations))


def screen_flow(flow: f.Flow, coming: Traffic) -> Screening:
    """Approximate any Flow analytically under the traffic that it receives.

    Raises
    ------
    UsageError
        The Flow holds a :class:`~sim.flow.Custom` step.
    """
    walker = Walker(flow)
    seen = _settled(walker, coming, waiting=True)
    bound_per_s, free = _bound(walker, coming)
    rows = tuple(_row(station, seen, free=free, bound_per_s=bound_per_s) for station in walker.stations)
    requests, spent_ms = _latency(seen)
    least = min(rows, key=lambda row: row.rate_per_s_max, default=None)
    return Screening(
        rate_per_s=coming.rate_per_s,
        rows=rows,
        bottleneck=least.station if least else "none",
        rate_per_s_max=least.rate_per_s_max if least else inf,
        latency_ms_mean=float(spent_ms.sum() / requests.sum()),
        routes=dict(zip(coming.routes, (spent_ms / requests).tolist(), strict=True)),
        approximations=tuple(dict.fromkeys(sentence for level in seen for sentence in level.notes.approximations)),
        settled=all(level.settled for level in (*seen, *free)),
    )


def keyed(flow: f.Flow) -> dict[int, frozenset[str]]:
    """Return the instance counts of all parts of *flow* that have several, and the routes that meet such parts.

    A part outside of every :class:`~sim.flow.Match` is met by :data:`~sim.screening.traffic.EVERY_ROUTE`.
    """
    found: dict[int, frozenset[str]] = {}
    for count, routes in _keyed(flow, EVERY_ROUTE):
        found[count] = found.get(count, frozenset()) | routes
    return found


def _keyed(part: Any, routes: frozenset[str]) -> Iterator[tuple[int, frozenset[str]]]:
    if getattr(part, "instances", 1) > 1:
        yield part.instances, routes
    if isinstance(part, f.Match):
        for route, steps in part.routes:
            yield from _keyed(steps, frozenset({route}) if routes == EVERY_ROUTE else routes)
        return
    inside = part if isinstance(part, tuple) else [getattr(part, name) for name in part.__dataclass_fields__]
    for item in inside:
        if isinstance(item, tuple) or hasattr(item, "__dataclass_fields__"):
            yield from _keyed(item, routes)


class _Seen(NamedTuple):
    """One level of the rate in equilibrium: its share of the time, the traffic, and the result of the last walk."""

    time_share: float
    coming: Traffic
    passage: Passage
    notes: Notes
    settled: bool


def _settled(walker: Walker, coming: Traffic, *, waiting: bool) -> tuple[_Seen, ...]:
    """Find the equilibrium of each level of the rate; without *waiting*, as if no request ever waited."""
    found = ((share, _at_rest(walker, level, waiting=waiting)) for share, level in coming.at_rest())
    return tuple(seen._replace(time_share=share) for share, seen in found)


def _at_rest(walker: Walker, coming: Traffic, *, waiting: bool, guess: Notes | None = None) -> _Seen:
    """Repeat the walk until its notes no longer change, starting from *guess*."""
    iteration = Iteration(guess or Notes())
    for _ in range(WALKS_MAX):
        before = iteration.point
        passage, notes = walker.walk(coming, before)
        if waiting:
            notes.wait_ms = {
                station.name: wait_ms(station, notes, coming=coming)
                for station in walker.stations
                if station.name in notes.use
            }
        if _is_settled(walker.stations, before, notes=notes):
            return _Seen(1.0, coming, passage, notes, settled=True)
        iteration.advance(notes)
    return _Seen(1.0, coming, passage, notes, settled=False)


def _is_settled(stations: Sequence[f.Station], before: Notes, *, notes: Notes) -> bool:
    """Whether the last two walks agree on utilizations and on the use of all other state."""
    if before.use.keys() != notes.use.keys() or before.rates.keys() != notes.rates.keys():
        return False
    held = [
        float(np.max(np.abs(notes.use[s.name].work_ms - before.use[s.name].work_ms))) / s.servers
        for s in stations
        if s.name in notes.use
    ]
    touched = [
        float(np.max(np.abs(rate - before.rates[key]))) / max(float(np.max(rate)), 1e-300)
        for key, rate in notes.rates.items()
    ]
    return max(held, default=0.0) < SETTLED and max(touched, default=0.0) < 10 * SETTLED


def _work_ms(station: f.Station, seen: Sequence[_Seen]) -> Array:
    """Return the mean number of busy servers at each instance, over all levels; 0 without visits."""
    return np.asarray(
        sum(s.time_share * s.notes.use[station.name].work_ms for s in seen if station.name in s.notes.use)
    )


def _bound(walker: Walker, coming: Traffic) -> tuple[float, tuple[_Seen, ...]]:
    """Find the rate that saturates the busiest instance, and the equilibrium there, by the secant method on logs."""
    coming, rate_per_s, slope = coming.evenly, coming.rate_per_s, 1.0
    known: tuple[float, float] | None = None
    guess: Notes | None = None
    for _ in range(BOUND_STEPS):
        now = coming.at_rate(rate_per_s)
        seen = _at_rest(walker, now, waiting=False, guess=guess)
        limited = [station for station in walker.stations if station.servers < f.ELASTIC]
        busy = max((float(np.max(_work_ms(s, [seen]))) / s.servers for s in limited), default=0.0)
        if busy <= 0 or rate_per_s > RATE_MAX_PER_S:
            return inf, (seen,)
        here = (log(rate_per_s), log(busy))
        if abs(here[1]) < SETTLED:
            break
        if known and abs(here[0] - known[0]) > SETTLED:
            slope = min(max((here[1] - known[1]) / (here[0] - known[0]), SLOPE_MIN), SLOPE_MAX)
        # Limited to where the search gives up: an almost instant server would overflow the exponential.
        known, rate_per_s = here, exp(min(here[0] - here[1] / slope, log(RATE_MAX_PER_S) + 1))
        guess = seen.notes.at_rate(rate_per_s / now.rate_per_s)
    return exp(here[0]), (seen,)


def _row(station: f.Station, seen: Sequence[_Seen], *, free: Sequence[_Seen], bound_per_s: float) -> StationScreening:
    levels = [level for level in seen if station.name in level.notes.use]
    work_ms, unhindered = _work_ms(station, seen), float(np.max(_work_ms(station, free)))
    copies = seen[0].coming.copies if seen[0].coming.merged and station.instances > 1 else np.ones(work_ms.size)
    visits = sum(s.time_share * float(s.notes.use[station.name].visits @ copies) for s in levels)
    waiting = sum(
        s.time_share * float((s.notes.use[station.name].visits * s.notes.wait_ms[station.name]) @ copies)
        for s in levels
    )
    rate_per_ms = sum(s.time_share * s.coming.rate_per_s for s in seen) / 1000
    held = float(work_ms @ copies) if levels else 0.0
    elastic = station.servers >= f.ELASTIC
    return StationScreening(
        station=station.name,
        servers=station.servers,
        instances=station.instances,
        visits_mean=visits / rate_per_ms,
        service_ms_mean=held / visits if visits else 0.0,
        demand_ms=float(np.max(work_ms)) / rate_per_ms,
        utilization=nan if elastic else held / (station.servers * station.instances),
        busiest_utilization=nan if elastic else float(np.max(work_ms)) / station.servers,
        wait_ms_mean=waiting / visits if visits else 0.0,
        queue_mean=waiting,
        rate_per_s_max=bound_per_s * station.servers / unhindered if unhindered and not elastic else inf,
    )


def _latency(seen: Sequence[_Seen]) -> tuple[Array, Array]:
    """Return the requests per second of each route, and their total latency per second; shape (routes,)."""
    requests = spent_ms = np.zeros(len(seen[0].coming.routes))
    for level in seen:
        share = level.coming.share * (level.time_share * level.coming.rate_per_s)
        requests = requests + share @ level.coming.copies
        spent_ms = spent_ms + (np.broadcast_to(level.passage.time_ms, share.shape) * share) @ level.coming.copies
    return requests, spent_ms


def _closed_rate_per_s(walker: Walker, coming: Traffic, *, arrivals: Closed) -> float:
    """Find the rate at which requests in flight plus thinking users equal the number of users."""
    think_ms, bound_per_s = arrivals.think_ms.expected(), _bound(walker, coming)[0]

    def users(rate_per_s: float) -> float:
        requests, spent_ms = _latency(_settled(walker, coming.at_rate(rate_per_s), waiting=True))
        return rate_per_s * (float(spent_ms.sum() / requests.sum()) + think_ms) / 1000

    high = 0.999 * bound_per_s if isfinite(bound_per_s) else 1e9
    if users(high) <= arrivals.users:
        return high
    return float(brentq(lambda rate_per_s: users(rate_per_s) - arrivals.users, 1e-9, high, rtol=1e-3, xtol=1e-9))
