"""Load of every stateful part of a flow, as recorded by one walk: visits to stations, updates of counters.

Notes are rates per group or per instance (:mod:`sim.screening.traffic`). Each walk reads the notes of the previous one.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sim import flow as f
from sim.screening.passage import NONE, Array, Passage
from sim.screening.traffic import Traffic

COUNT_MAX = 1e12
"""Upper limit of a counter: one that feeds back into itself would diverge in the approximation."""


@dataclass
class Use:
    """The load of one station: arrays of shape (instances,).

    Attributes
    ----------
    visits : ndarray, shape (instances,)
        Visits per millisecond.
    work_ms, square : ndarray, shape (instances,)
        Time for which a server is held, and its square, summed over the visits of a millisecond.
    """

    visits: Array
    work_ms: Array
    square: Array

    def plus(self, other: "Use") -> "Use":
        """Return the sum of both loads."""
        return Use(self.visits + other.visits, self.work_ms + other.work_ms, self.square + other.square)


@dataclass
class Notes:
    """The record of one walk: load of stations, and how often any other stateful part is touched per millisecond.

    Attributes
    ----------
    use : dict of str to Use
    wait_ms : dict of str to ndarray, shape (instances,)
        Mean wait at each instance of each station, filled in between two walks; a station that is absent has no queue.
    rates : dict of (str, str) to ndarray, shape (instances,)
        By kind (``counted``, ``emptied``, ``latched``, ``taken``) and name.
    approximations : dict of str to None
        Sentences, in order of first use.
    """

    use: dict[str, Use] = field(default_factory=dict)
    wait_ms: dict[str, Array] = field(default_factory=dict)
    rates: dict[tuple[str, str], Array] = field(default_factory=dict)
    approximations: dict[str, None] = field(default_factory=dict)

    def at_rate(self, ratio: float) -> "Notes":
        """Scale all notes by *ratio*: the starting point for a walk at *ratio* times the rate."""
        use = {name: Use(one.visits * ratio, one.work_ms * ratio, one.square * ratio) for name, one in self.use.items()}
        return Notes(use, dict(self.wait_ms), {key: rate * ratio for key, rate in self.rates.items()})


class Logbook:
    """The notes of the current walk, and those of the previous one.

    Parameters
    ----------
    traffic : Traffic
        At one level of its rate.
    past : Notes
        Of the previous walk; empty for the first.

    Attributes
    ----------
    now : Notes
        Of this walk.
    evened : float
        Factor from the current level of the rate to its time average, for a stream delayed so long that it sees the
        average; 1 for a stream that still sees the current level.
    """

    def __init__(self, traffic: Traffic, past: Notes) -> None:
        self.traffic, self.past, self.now = traffic, past, Notes()
        self.evened = 1.0

    def say(self, sentence: str) -> None:
        """Record an approximation."""
        self.now.approximations[sentence] = None

    def lasting(self, time_ms: float) -> float:
        """Return the ratio of the mean rate over the last *time_ms* to the current rate."""
        level = self.traffic.levels[0]
        return 1 / level.rate_ratio if level.stay_ms < time_ms else 1.0

    # ------------------------------------------------------------ stations

    def use(self, station: f.Station, weight: Array, *, held: Passage) -> None:
        """Record that *weight* times the traffic visits *station*, where each visit holds a server for *held*."""
        use = Use(
            self._sum(station, weight),
            self._sum(station, weight * held.time_ms),
            self._sum(station, weight * (held.time_ms**2 + held.variance)),
        )
        self.now.use[station.name] = self.now.use[station.name].plus(use) if station.name in self.now.use else use

    def entry(self, station: f.Station) -> Passage:
        """Return the wait for a server, from the previous walk's notes; a bounded queue rejects the excess load."""
        if station.name not in self.past.wait_ms:
            return Passage()
        wait_ms = self._each(station, self.past.wait_ms[station.name])
        if station.queue_limit is None:
            return Passage(wait_ms, wait_ms**2)
        return Passage(wait_ms, wait_ms**2, {station.error: 1 - 1 / np.maximum(self.busy(station), 1)})

    def busy(self, station: f.Station) -> Array:
        """Return the utilization per server in the previous walk; shape (1, groups)."""
        use = self.past.use.get(station.name)
        return NONE if use is None else self._each(station, use.work_ms) / station.servers

    def square(self, station: f.Station) -> Array:
        """Return the squares of the times for which a server is held, summed a millisecond; shape (1, groups)."""
        use = self.past.use.get(station.name)
        return NONE if use is None else self._each(station, use.square)

    def visits(self, station: f.Station) -> Array:
        """Return the visits per millisecond in the previous walk; shape (1, groups)."""
        use = self.past.use.get(station.name)
        return NONE if use is None else self._each(station, use.visits)

    # ------------------------------------------------------------ all other state

    def touch(self, kind: str, part: Any, *, weight: Array) -> None:
        """Record that *weight* times the traffic touches *part*."""
        known = self.now.rates.get((kind, part.name), 0.0)
        self.now.rates[kind, part.name] = known + self._sum(part, weight)

    def touched(self, kind: str, part: Any) -> Array:
        """Return how often *part* was touched per millisecond in the previous walk; shape (1, groups)."""
        known = self.past.rates.get((kind, part.name))
        return NONE if known is None else self._each(part, known)

    def count(self, counter: f.Counter, weight: Array) -> None:
        """Record an addition to *counter*, at the time-averaged rate: a counter accumulates over all levels of it."""
        self.touch("counted", counter, weight=weight * self._evenly)

    def empty(self, counter: f.Counter, weight: Array) -> None:
        """Record that *weight* times the traffic empties *counter*."""
        self.touch("emptied", counter, weight=weight * self._evenly)

    def top(self, counter: f.Counter) -> Array:
        """Return a counter's mean value when it is emptied, or at the end of the run if it never is; (1, groups)."""
        counted = self.touched("counted", counter)
        if ("emptied", counter.name) not in self.past.rates:
            self.say(f"counter {counter.name!r} is never emptied: its mean over the run is taken, and it goes on")
            return np.minimum(counted * self.traffic.duration_ms, COUNT_MAX)
        return np.minimum(counted / np.maximum(self.touched("emptied", counter), 1e-12), COUNT_MAX)

    @property
    def _evenly(self) -> float:
        return 1 / self.traffic.levels[0].rate_ratio / self.evened

    def _sum(self, part: Any, weight: Array) -> Array:
        """Sum *weight* times the traffic per millisecond over each instance of *part*; shape (instances,)."""
        rate = (self.traffic.rate_per_ms * weight).sum(axis=0)
        instances = getattr(part, "instances", 1)
        if instances == 1:
            return np.array([rate @ self.traffic.copies])
        if self.traffic.merged:
            return np.asarray(rate)
        return np.asarray(np.bincount(self.traffic.key % instances, weights=rate, minlength=instances), np.float64)

    def _each(self, part: Any, known: Array) -> Array:
        """Expand values per instance of *part* to values per group; shape (1, groups)."""
        instances = getattr(part, "instances", 1)
        one_each = self.traffic.merged or instances == 1
        return np.asarray(known[np.newaxis] if one_each else known[np.newaxis, self.traffic.key % instances])
