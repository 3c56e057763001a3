"""Servers that each station needs, by Erlang C, with the share of requests that wait simulated beside.

A station is wide enough when few requests wait for it at all. Erlang C says how many that are for random arrivals and
exponential services; the simulation says it for the scenario's own. A station of one server, such as a Durable Object
or a D1 database, cannot be given more: there the table says how many instances must share its keys.

Sources
-------
Erlang, 1917 (:func:`sim.theory.erlang_c`). A waiting share of at most 0.3 is the rule of headroom of Netflix's
service-capacity-modeling (open source); for one server it is a utilization of 30 %.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from math import ceil, inf, isfinite, isnan, nan, sqrt
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from sim.experiments.capacity import check_lasting
from sim.experiments.sizing.runs import SEEDS, long_enough, over_seeds, requests_by_part, run_once
from sim.foundation.errors import UsageError
from sim.foundation.views import Shown
from sim.scenario.arrivals import Closed
from sim.screening import StationScreening, screen
from sim.statistics.intervals import Estimate, mean_interval
from sim.theory import erlang_c

if TYPE_CHECKING:
    import pandas as pd

    from sim.results.result import Result
    from sim.scenario.scenario import Scenario

WAITING_SHARE = 0.3
"""Of a station's requests that may wait for it."""

SERVERS_MAX = 100_000

DOUBLINGS_MAX = 20
"""A rate is searched between a millionth of the scenario's and a million times it."""

RATE_TOLERANCE = 1.02
"""Ratio of two rates between which a load is taken for a straight line."""

Array = NDArray[np.float64]
BusyAt = Callable[[float], dict[str, float]]


@dataclass(frozen=True)
class StationServers:
    """One station.

    Attributes
    ----------
    station : str
    servers, instances : int
        Servers of each instance.
    busy_servers_mean : float
        Servers that the busiest instance keeps busy: its offered load, in erlangs.
    waiting_share : float
        Of all its requests, by Erlang C for each instance; 1 where one is overloaded.
    simulated_share : Estimate
    needed_servers : int
        For the busiest instance.
    needed_instances : int
        With the servers that each has, if the load were shared evenly.
    kept_per_s : float
        Highest rate of the deployment at which the busiest instance still meets the limit. Work that does not grow
        with the requests, such as flushes, is there at every rate; of a closed loop, whose rate follows from its users,
        all work is taken to grow with it.
    """

    station: str
    servers: int
    instances: int
    busy_servers_mean: float
    waiting_share: float
    simulated_share: Estimate
    needed_servers: int
    needed_instances: int
    kept_per_s: float


@dataclass(frozen=True)
class Servers(Shown):
    """Every station that can be waited for.

    Attributes
    ----------
    scenario : Scenario
    rate_per_s : float
    limit_share : float
        Of the requests that may wait.
    rows : tuple of StationServers
        That with the least room first.
    """

    scenario: "Scenario"
    rate_per_s: float
    limit_share: float
    rows: tuple[StationServers, ...]

    @property
    def frame(self) -> "pd.DataFrame":
        """One row a station."""
        import pandas as pd

        return pd.DataFrame(
            {
                "station": row.station,
                "servers": row.servers,
                "instances": row.instances,
                "busy": row.busy_servers_mean,
                "waits_erlang_c": row.waiting_share,
                "waits_simulated": row.simulated_share.value,
                "low": row.simulated_share.low,
                "high": row.simulated_share.high,
                "needed_servers": row.needed_servers,
                "needed_instances": row.needed_instances,
                "kept_per_s": row.kept_per_s,
            }
            for row in self.rows
        )

    def __repr__(self) -> str:
        first = f"{self.rows[0].station} up to {self.rows[0].kept_per_s:.4g}/s" if self.rows else "nothing to wait for"
        return f"<Servers of {self.scenario.name} at {self.rate_per_s:.4g}/s: {first}>"


def servers(
    scenario: "Scenario",
    *,
    waiting_share: float = WAITING_SHARE,
    seeds: int = SEEDS,
    on_progress: Callable[[str], None] | None = None,
) -> Servers:
    """Return how many servers each station of *scenario* needs so that at most a share of its requests waits.

    Parameters
    ----------
    scenario : Scenario
    waiting_share : float
        In (0, 1).
    seeds : int
        Replications behind the simulated shares; at least 2.
    on_progress : callable, optional

    Raises
    ------
    UsageError
        *waiting_share* is outside of its range, fewer than two seeds; or the scenario has faults.
    """
    if not 0 < waiting_share < 1:
        raise UsageError(f"waiting_share={waiting_share:g} must be in (0, 1)")
    check_lasting(scenario, what="a sizing")
    found = screen(scenario)
    own = scenario.system.instances
    rows = [row for row in found.rows if not isnan(row.busiest_utilization) and row.station in own]
    observe = partial(_waiting, names=tuple(row.station for row in rows))
    play = partial(run_once, long_enough(scenario, warm_up_s=0.0), observe=observe)
    (seen,) = over_seeds([play], seed=scenario.seed, seeds=seeds, on_progress=on_progress)
    busy_at = cache(partial(_busy_at, scenario))
    made = [
        _row(scenario, row, busy_at, near_per_s=found.rate_per_s, limit=waiting_share, seen=seen[row.station])
        for row in rows
    ]
    return Servers(
        scenario, found.rate_per_s, waiting_share, tuple(sorted(made, key=lambda one: (one.kept_per_s, one.station)))
    )


def needed(busy: float, *, limit: float) -> int:
    """Return the least number of servers at which at most a share *limit* of the requests waits.

    >>> needed(0.3, limit=0.3), needed(10.0, limit=0.3)
    (1, 13)
    """
    if not busy > 0:
        return 1
    for count in range(int(busy) + 1, SERVERS_MAX):
        if count > busy and erlang_c(busy, count) <= limit + 1e-12:
            return count
    raise UsageError(f"busy={busy:g} servers need more than {SERVERS_MAX:,}: lower the load")


def most_busy(servers: int, *, limit: float) -> float:
    """Return the offered load, in erlangs, at which a share *limit* of the requests waits for one of *servers*."""
    return float(brentq(lambda busy: erlang_c(busy, servers) - limit, 1e-9 * servers, servers * (1 - 1e-9)))


def _row(
    scenario: "Scenario", row: StationScreening, busy_at: BusyAt, *, near_per_s: float, limit: float, seen: Array
) -> StationServers:
    busiest = row.busiest_utilization * row.servers
    share = _shares(scenario, row)
    loads = busiest * share / share.max()
    kept = most_busy(row.servers, limit=limit)
    return StationServers(
        station=row.station,
        servers=row.servers,
        instances=row.instances,
        busy_servers_mean=busiest,
        waiting_share=_by_formula(share, loads, row.servers),
        simulated_share=mean_interval(seen, method="independent") if np.isfinite(seen).all() else _nothing(seen),
        needed_servers=needed(busiest, limit=limit),
        needed_instances=max(1, ceil(float(loads.sum()) / kept - 1e-9)),
        kept_per_s=rate_at(lambda rate_per_s: busy_at(rate_per_s)[row.station], limit=kept, near=near_per_s),
    )


def _busy_at(scenario: "Scenario", rate_per_s: float) -> dict[str, float]:
    """Return the servers that the busiest instance of each station keeps busy at a rate, by arithmetic."""
    own_rate = isinstance(scenario.workload.arrivals, Closed)
    found = screen(scenario) if own_rate else screen(scenario, rate_per_s)
    # The rate of a closed loop follows from its users: all of its work is taken to grow with the rate.
    times = rate_per_s / found.rate_per_s if own_rate else 1.0
    return {row.station: times * row.busiest_utilization * row.servers for row in found.rows}


def rate_at(load: Callable[[float], float], *, limit: float, near: float) -> float:
    """Return the rate at which a growing *load* reaches *limit*: 0 if it is never below, infinite if never above.

    >>> round(rate_at(lambda rate: 0.1 + rate / 50, limit=0.5, near=3.0), 6)
    20.0
    """
    low = high = near
    for _ in range(DOUBLINGS_MAX):
        if load(low) <= limit:
            break
        low /= 2
    else:
        return 0.0
    for _ in range(DOUBLINGS_MAX):
        if load(high) > limit:
            break
        low, high = high, high * 2
    else:
        return inf
    while high > low * RATE_TOLERANCE:
        middle = sqrt(low * high)
        low, high = (middle, high) if load(middle) <= limit else (low, middle)
    below, above = load(low), load(high)
    return low + (high - low) * (limit - below) / (above - below) if isfinite(above) else low


def _nothing(seen: Array) -> Estimate:
    return Estimate(nan, 0.0, 1.0, len(seen), "a seed had no request there")


def _shares(scenario: "Scenario", row: StationScreening) -> Array:
    """Return the share of a station's requests that each of its instances gets, shape (instances,)."""
    by_instance = requests_by_part(scenario, row.station, parts=row.instances)
    return by_instance / by_instance.sum() if by_instance.sum() else np.full(row.instances, 1 / row.instances)


def _by_formula(share: Array, loads: Array, servers: int) -> float:
    """Return Erlang C over the instances, weighted by the requests that each gets."""
    waits = [erlang_c(load, servers) if 0 < load < servers else float(load > 0) for load in loads.tolist()]
    return float(share @ np.array(waits))


def _waiting(result: "Result", *, names: tuple[str, ...]) -> dict[str, float]:
    """Return the share of requests that waited, of those that came to each station."""
    frame, found = result.steady().frame, {}
    for name in names:
        waited_ms = frame[f"{name}_queue_ms"].to_numpy()
        came = (frame[f"{name}_ms"].to_numpy() > 0) | (waited_ms > 0)
        found[name] = float((waited_ms[came] > 0).mean()) if came.any() else nan
    return found
