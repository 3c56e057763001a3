"""A start in which the timers of a deployment's objects are out of step, as they are in a deployment at work.

After an empty start every busy object sets its first timer at once, so all timers of one length end together, over and
over: 200 ledgers flush to one database within two seconds of every ten. The start of a timer's next period is put off
only until the object's next request, ``1 / rate`` on average, so after n periods an object is late by ``n / rate`` and
by a random walk of that step. Objects of different rates drift apart, the busiest by milliseconds a period: it takes a
hundred periods until most of a storm is gone, and it never quite ends within a run.

In the long run a timer is at any point of its period with equal probability, whatever the others are at. So a probe of
the steady state begins there: each instance of a timer is woken at a random moment of the timer's first period, by
leaving out the requests that could set it earlier. Where a route sets several timers, it begins for a key when the
last of them is awake, and the moments are drawn from as many periods.

Sources
-------
Law, "Simulation Modeling and Analysis", 5th ed., 2015, section 9.5.1 (initial conditions that are those of the steady
state); Kelton, "Random initialization methods in simulation", IIE Transactions 21, 1989.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.flow import Flow, Hold, Latch, Serve, Spawn, Time, walk
from sim.randomness.streams import stream_key, uniforms
from sim.scenario.deployment import paths

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario
    from sim.scenario.schedule import Schedule


@dataclass(frozen=True)
class Timers:
    """The timers of which every object, or key, has its own.

    Attributes
    ----------
    by_route : dict of str to dict of Latch to float
        Mean length, in ms, of those that each route sets.
    stations : dict of str to frozenset of str
        Routes that use each station.
    """

    by_route: Mapping[str, Mapping[Latch, float]]
    stations: Mapping[str, frozenset[str]]

    @property
    def window_ms(self) -> float:
        """Time within which all instances are woken: of each route the longest timer, times their number."""
        return max((len(own) * max(own.values()) for own in self.by_route.values()), default=0.0)

    def woken_in_turn(self, planned: "Schedule", *, seed: int, stretched: float = 1.0) -> "Schedule":
        """Return *planned*, an open loop, without the requests that come before the timers that they set are awake.

        The same seed wakes the same object at the same moment; all moments are multiplied by *stretched*. Where no
        request would be left, all are.
        """
        early = int(np.searchsorted(planned.arrival_ms, stretched * self.window_ms))
        key, code = planned.key[:early], planned.route_code[:early]
        kept = np.ones(len(planned), dtype=np.bool_)
        for route, own in self.by_route.items():
            awake_ms = stretched * _awake_ms(own, key, seed=seed)
            kept[:early] &= (code != planned.routes.index(route)) | (planned.arrival_ms[:early] >= awake_ms)
        return planned if kept.all() or not kept.any() else planned.only(kept)

    def left_out(self, planned: "Schedule", played: "Schedule") -> dict[str, float]:
        """Return the requests of *planned* over those *played*, by station: of the routes that use it."""
        before, after = (np.bincount(one.route_code, minlength=len(one.routes)) for one in (planned, played))
        found = {}
        for station, routes in self.stations.items():
            codes = [planned.routes.index(route) for route in routes]
            found[station] = float(before[codes].sum() / max(after[codes].sum(), 1))
        return found


def timers_of(scenario: "Scenario") -> Timers:
    """Return the timers that the routes of *scenario* set, without the routes that nobody takes."""
    flows = {route: flow for route, flow in paths(scenario).items() if scenario.shares[route] > 0}
    by_route = {route: dict(_timers_ms(flow)) for route, flow in flows.items()}
    stations: dict[str, set[str]] = {}
    for route, flow in flows.items():
        for part in walk(flow):
            if isinstance(part, Serve | Hold):
                stations.setdefault(part.station.name, set()).add(route)
    return Timers(
        {route: own for route, own in by_route.items() if own},
        {station: frozenset(routes) for station, routes in stations.items()},
    )


def _timers_ms(flow: Flow) -> Iterator[tuple[Latch, float]]:
    for part in walk(flow):
        if isinstance(part, Spawn) and part.once is not None and part.once.instances > 1:
            after = part.after if isinstance(part.after, Time) else Time(part.after)
            length_ms = after.scale * after.distribution.expected()
            if length_ms > 0:
                yield part.once, length_ms


def _awake_ms(timers: Mapping[Latch, float], key: NDArray[np.int64], *, seed: int) -> NDArray[np.float64]:
    """Return when the last of a key's *timers* is awake, for each of *key*, shape (n,)."""
    awake_ms = np.zeros(len(key))
    for latch, length_ms in timers.items():
        moment = uniforms(stream_key(seed, f"capacity.wake.{latch.name}"), np.arange(latch.instances))
        awake_ms = np.maximum(awake_ms, len(timers) * length_ms * moment[key % latch.instances])
    return awake_ms
