"""What a walk notes about everything that remembers: how much each station is used, how often each counter is touched.

Notes are rates, one a group or one an instance (:mod:`sim.screening.traffic`). A walk reads those of the walk before.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sim import flow as f
from sim.screening.passage import NONE, Array, Passage
from sim.screening.traffic import Traffic

COUNT_MOST = 1e12
"""No counter comes to more in any run; one that feeds itself would, on paper."""


@dataclass
class Use:
    """How much one station is used: arrays of shape (instances,), of one copy of each.

    Attributes
    ----------
    visits : ndarray, shape (instances,)
        A millisecond.
    work_ms, square : ndarray, shape (instances,)
        Sums over these visits of the time that a server is held, and of its square.
    """

    visits: Array
    work_ms: Array
    square: Array

    def plus(self, other: "Use") -> "Use":
        """Both together."""
        return Use(self.visits + other.visits, self.work_ms + other.work_ms, self.square + other.square)


@dataclass
class Notes:
    """What one walk found: the use of stations, and how often anything else that remembers was touched, a millisecond.

    Attributes
    ----------
    use : dict of str to Use
    wait_ms : dict of str to ndarray, shape (instances,)
        Mean wait at each instance of each station, filled in between two walks; nothing in it: nobody waits.
    rates : dict of (str, str) to ndarray, shape (instances,)
        By kind (``counted``, ``emptied``, ``latched``, ``taken``) and name.
    approximations : dict of str to None
        Sentences, in the order in which they came up.
    """

    use: dict[str, Use] = field(default_factory=dict)
    wait_ms: dict[str, Array] = field(default_factory=dict)
    rates: dict[tuple[str, str], Array] = field(default_factory=dict)
    approximations: dict[str, None] = field(default_factory=dict)

    def at_rate(self, ratio: float) -> "Notes":
        """A guess at the notes of a walk at so many times the rate: all of them in proportion."""
        use = {name: Use(one.visits * ratio, one.work_ms * ratio, one.square * ratio) for name, one in self.use.items()}
        return Notes(use, dict(self.wait_ms), {key: rate * ratio for key, rate in self.rates.items()})


class Logbook:
    """The notes of one walk, and those of the walk before.

    Parameters
    ----------
    traffic : Traffic
        At one level of its rate.
    past : Notes
        Of the walk before; empty for the first.

    Attributes
    ----------
    now : Notes
        Of this walk.
    evened : float
        What the rate is multiplied by where the stream that is being walked no longer knows its level: 1 where it does.
    """

    def __init__(self, traffic: Traffic, past: Notes) -> None:
        self.traffic, self.past, self.now = traffic, past, Notes()
        self.evened = 1.0

    def say(self, sentence: str) -> None:
        """Something was taken for granted."""
        self.now.approximations[sentence] = None

    def lasting(self, time_ms: float) -> float:
        """What turns the present rate into that of the last *time_ms*, which may have seen all levels of the rate."""
        level = self.traffic.levels[0]
        return 1 / level.rate_ratio if level.stay_ms < time_ms else 1.0

    # ------------------------------------------------------------ stations

    def use(self, station: f.Station, weight: Array, *, held: Passage) -> None:
        """A stream of *weight* times the traffic comes by *station*, and holds a server so long."""
        use = Use(
            self._sum(station, weight),
            self._sum(station, weight * held.time_ms),
            self._sum(station, weight * (held.time_ms**2 + held.spread)),
        )
        self.now.use[station.name] = self.now.use[station.name].plus(use) if station.name in self.now.use else use

    def entry(self, station: f.Station) -> Passage:
        """Waiting for a server, by the notes of the walk before: a full queue refuses what is too much."""
        if station.name not in self.past.wait_ms:
            return Passage()
        wait_ms = self._each(station, self.past.wait_ms[station.name])
        if station.queue_limit is None:
            return Passage(wait_ms, wait_ms**2)
        return Passage(wait_ms, wait_ms**2, {station.error: 1 - 1 / np.maximum(self.busy(station), 1)})

    def busy(self, station: f.Station) -> Array:
        """Share of a server that is held, in the walk before; shape (1, groups)."""
        use = self.past.use.get(station.name)
        return NONE if use is None else self._each(station, use.work_ms) / station.servers

    def visits(self, station: f.Station) -> Array:
        """Visits a millisecond in the walk before; shape (1, groups)."""
        use = self.past.use.get(station.name)
        return NONE if use is None else self._each(station, use.visits)

    # ------------------------------------------------------------ all else that remembers

    def touch(self, kind: str, part: Any, *, weight: Array) -> None:
        """A stream of *weight* times the traffic touches *part*."""
        known = self.now.rates.get((kind, part.name), 0.0)
        self.now.rates[kind, part.name] = known + self._sum(part, weight)

    def touched(self, kind: str, part: Any) -> Array:
        """How often *part* was touched in the walk before, a millisecond; shape (1, groups)."""
        known = self.past.rates.get((kind, part.name))
        return NONE if known is None else self._each(part, known)

    def count(self, counter: f.Counter, weight: Array) -> None:
        """So much is added to *counter*; it does not forget, so the mean of all levels of the rate is what counts."""
        self.touch("counted", counter, weight=weight * self._evenly)

    def empty(self, counter: f.Counter, weight: Array) -> None:
        """A stream empties *counter*."""
        self.touch("emptied", counter, weight=weight * self._evenly)

    def top(self, counter: f.Counter) -> Array:
        """What a counter holds before it is emptied, or at the end of the run if it never is; shape (1, groups)."""
        counted = self.touched("counted", counter)
        if ("emptied", counter.name) not in self.past.rates:
            self.say(f"counter {counter.name!r} is never emptied: its mean over the run is taken, and it goes on")
            return np.minimum(counted * self.traffic.duration_ms, COUNT_MOST)
        return np.minimum(counted / np.maximum(self.touched("emptied", counter), 1e-12), COUNT_MOST)

    @property
    def _evenly(self) -> float:
        return 1 / self.traffic.levels[0].rate_ratio / self.evened

    def _sum(self, part: Any, weight: Array) -> Array:
        """*weight* of the traffic, a millisecond, added up for each instance of *part*; shape (instances,)."""
        rate = (self.traffic.rate_per_ms * weight).sum(axis=0)
        instances = getattr(part, "instances", 1)
        if instances == 1:
            return np.array([rate @ self.traffic.copies])
        if self.traffic.merged:
            return np.asarray(rate)
        return np.asarray(np.bincount(self.traffic.key % instances, weights=rate, minlength=instances), np.float64)

    def _each(self, part: Any, known: Array) -> Array:
        """What is known of the instances of *part*, told to each group; shape (1, groups)."""
        instances = getattr(part, "instances", 1)
        one_each = self.traffic.merged or instances == 1
        return np.asarray(known[np.newaxis] if one_each else known[np.newaxis, self.traffic.key % instances])
