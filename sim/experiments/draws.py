"""What a run was dealt: the times that each request drew on its way, and what it could expect.

Draws are looked up by seed, stream and request (:mod:`sim.randomness.streams`), so they can be had without playing the
run; the sizes of bodies stand in the schedule. Only steps count that do not depend on state: what a cold start or a
retry drew is left out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim import flow as f
from sim.flow.numbering import numbered
from sim.randomness.streams import stream_key, uniforms
from sim.theory import squared_variation

if TYPE_CHECKING:
    from sim.scenario.schedule import Schedule
    from sim.screening.traffic import Numbers

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Dealt(NamedTuple):
    """Times of some requests on some steps: drawn, and their means and variances before they were; shape (n,)."""

    drawn_ms: Array
    mean_ms: Array
    spread: Array

    def then(self, after: "Dealt") -> "Dealt":
        """Both, one after the other."""
        return Dealt(self.drawn_ms + after.drawn_ms, self.mean_ms + after.mean_ms, self.spread + after.spread)


@dataclass(frozen=True)
class Served:
    """Visits of one station that are certain, given the route: who comes, and what they were dealt there."""

    station: f.Station
    who: IntArray
    dealt: Dealt


class Hand:
    """What a run was dealt, request by request, on the steps that do not depend on state.

    Parameters
    ----------
    flow : Flow
    planned : Schedule
        n requests.
    seed : int
        Of the run.
    sizes : dict of str to Numbers
        What the size of each route's bodies is drawn from; a route that is not there carries nothing.

    Attributes
    ----------
    times : Dealt
        Of each request, all steps together; shape (n,).
    served : tuple of Served
        Visits of stations.
    """

    def __init__(
        self, flow: f.Flow, planned: "Schedule", *, seed: int, sizes: "Mapping[str, Numbers] | None" = None
    ) -> None:
        self.planned, self.seed, self.sizes = planned, seed, sizes or {}
        self.routes = np.array(planned.routes)[planned.route_code]
        self.certain, self._served = True, list[Served]()
        self.steps: dict[type, Callable[[Any, IntArray], Dealt]] = {
            f.Delay: self._delay,
            f.Serve: self._serve,
            f.Hold: self._hold,
            f.Transfer: self._transfer,
            f.Branch: self._branch,
            f.Match: self._match,
            f.Attempt: lambda step, who: self._go(step.steps, who),  # The first try.
            f.Hedge: lambda step, who: self._go(step.steps, who),  # The first copy.
        }
        self.times = self._go(numbered(flow), np.arange(len(planned)))
        self.served = tuple(self._served)

    def _go(self, steps: f.Flow, who: IntArray) -> Dealt:
        dealt = _nothing(who)
        for step in steps:
            if type(step) in self.steps:
                dealt = dealt.then(self.steps[type(step)](step, who))
        return dealt

    def _delay(self, step: f.Delay | f.Serve, who: IntArray) -> Dealt:
        time, key = f.as_time(step.time), stream_key(self.seed, step.stream)
        unit = np.stack([uniforms(key, who, draw=draw) for draw in range(time.law.draws)])
        mean_ms = np.full(who.size, time.scale * time.law.expected())
        return Dealt(time.scale * time.law.sample(unit), mean_ms, squared_variation(time.law) * mean_ms**2)

    def _serve(self, step: f.Serve, who: IntArray) -> Dealt:
        return self._noted(step.station, who, dealt=self._delay(step, who))

    def _hold(self, step: f.Hold, who: IntArray) -> Dealt:
        return self._noted(step.station, who, dealt=self._go(step.steps, who))

    def _noted(self, station: f.Station, who: IntArray, *, dealt: Dealt) -> Dealt:
        if self.certain:
            self._served.append(Served(station, who, dealt))
        return dealt

    def _transfer(self, step: f.Transfer, who: IntArray) -> Dealt:
        dealt, each_ms = _nothing(who), 1000 / step.link.bytes_per_s
        if step.size != "size_bytes" or step.link.shared:
            return dealt
        for route, numbers in self.sizes.items():
            here = self.routes[who] == route
            dealt.drawn_ms[here] = self.planned.size_bytes[who[here]] * each_ms
            dealt.mean_ms[here], dealt.spread[here] = numbers.mean * each_ms, numbers.variance * each_ms**2
        return dealt

    def _branch(self, step: f.Branch, who: IntArray) -> Dealt:
        if not isinstance(step.condition, f.Chance):
            return _nothing(who)
        outside, self.certain = self.certain, False
        then, rest = self._go(step.then, who), self._go(step.otherwise, who)
        self.certain = outside
        share = step.condition.probability
        chosen = uniforms(stream_key(self.seed, step.condition.stream), who) < share
        return Dealt(
            np.where(chosen, then.drawn_ms, rest.drawn_ms),
            share * then.mean_ms + (1 - share) * rest.mean_ms,
            share * then.spread + (1 - share) * rest.spread + share * (1 - share) * (then.mean_ms - rest.mean_ms) ** 2,
        )

    def _match(self, step: f.Match, who: IntArray) -> Dealt:
        dealt = _nothing(who)
        codes = self.planned.route_code[who]
        for route, way in step.routes:  # Of two ways for one route the last counts.
            here = (
                codes == self.planned.routes.index(route) if route in self.planned.routes else np.zeros(who.size, bool)
            )
            found = self._go(way, who[here])
            for whole, part in zip(dealt, found, strict=True):
                whole[here] = part
        return dealt


def _nothing(who: IntArray) -> Dealt:
    return Dealt(np.zeros(who.size), np.zeros(who.size), np.zeros(who.size))
