"""The mean traffic of a scenario: its rate, and the share of each route and organisation, without sampling requests.

What a schedule samples is here a table of shares: the mean rate, and the share of each route and each group of
organisations. Organisations whose requests use the same instance of every station form one group; the many small ones
of a long tail are merged, as *copies* of their average.

Sources
-------
Whitt, "The queueing network analyzer", Bell Syst. Tech. J. 62, 1983 (variability of a stream that is split by chance).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim.randomness.distributions import AnyDistribution
from sim.scenario.arrivals import Bursty, Closed, Steady, TraceReplay
from sim.scenario.generation import key_weights, schedule, stored_bytes
from sim.theory import squared_variation

if TYPE_CHECKING:
    from sim.scenario.routes import Route
    from sim.scenario.scenario import Scenario
    from sim.scenario.schedule import Schedule

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

GRID = 4096
"""Number of quantiles that represent a distribution."""

LEVELS_MAX = 6
"""Most levels by which a varying rate is approximated."""

GROUPS_SINGLE, GROUPS_TAIL = 256, 128
"""Number of the busiest groups that stay single, and number of groups into which all others are merged."""


EVERY_ROUTE = frozenset({"*"})
"""Stands for all routes of a scenario."""

Keyed = Mapping[int, Collection[str]]
"""The instance counts of the keyed parts of a flow, and the routes that meet them."""


@dataclass(frozen=True)
class Numbers:
    """A number that requests of one route carry: mean, squared variation, and values in rising order, shape (n,)."""

    mean: float
    cv2: float
    values: Array

    @property
    def variance(self) -> float:
        """The variance, in the square of the number's unit."""
        return self.cv2 * self.mean**2

    @classmethod
    def of(cls, observed: ArrayLike) -> "Numbers":
        """Build from observed values, shape (n,); no values at all count as 0."""
        values = np.sort(np.asarray(observed, dtype=np.float64))
        values = values if values.size else np.zeros(1)
        mean = float(values.mean())
        return cls(mean, float(values.var()) / mean**2 if mean else 0.0, values)

    @classmethod
    def drawn(cls, distribution: AnyDistribution) -> "Numbers":
        """Build from a distribution."""
        return cls(
            distribution.expected(),
            squared_variation(distribution),
            distribution.quantile((np.arange(GRID) + 0.5) / GRID),
        )

    def over(self, limit: float) -> float:
        """Return the share of values greater than *limit*."""
        return 1 - float(np.searchsorted(self.values, limit, side="right")) / self.values.size

    def at_most(self, limit: float) -> float:
        """Return the mean of min(value, *limit*)."""
        return float(np.minimum(self.values, limit).mean())


@dataclass(frozen=True)
class Level:
    """A level of a varying rate: its ratio to the mean, its share of the time, and the mean length of a stay."""

    rate_ratio: float
    time_share: float
    stay_ms: float


@dataclass(frozen=True)
class Traffic:
    """The mean traffic by route and group of organisations.

    Attributes
    ----------
    rate_per_s : float
        Requests a second.
    duration_ms : float
        Length of the run.
    routes : tuple of str
        Routes with traffic.
    share : ndarray, shape (routes, groups)
        Share of all requests, for one copy of each group; times the copies, the shares add up to 1.
    key : ndarray of int64, shape (groups,)
        An organisation of each group.
    copies : ndarray, shape (groups,)
        Number of groups that each column stands for.
    merged : bool
        Whether a group stands for an instance of every keyed part, not for one organisation.
    numbers : dict of str to tuple of Numbers
        Attributes of the requests by name, one entry per route.
    arrival_cv2 : float
        Squared coefficient of variation of the gaps between arrivals, or its asymptotic equivalent; 1 is Poisson.
    levels : tuple of Level
        Levels of the rate, from low to high; the system is taken to be in equilibrium at each.
    counted : bool
        Whether the run ends after a number of requests rather than a time.
    """

    rate_per_s: float
    duration_ms: float
    routes: tuple[str, ...]
    share: Array
    key: IntArray
    copies: Array
    merged: bool
    numbers: dict[str, tuple[Numbers, ...]]
    arrival_cv2: float
    levels: tuple[Level, ...]
    counted: bool = False

    @property
    def rate_per_ms(self) -> Array:
        """Requests per millisecond of each route and one copy of each group, shape (routes, groups)."""
        return self.share * (self.rate_per_s / 1000)

    @property
    def route_share(self) -> Array:
        """Share of each route, shape (routes,)."""
        return np.asarray(self.share @ self.copies)

    def at_rate(self, rate_per_s: float) -> "Traffic":
        """Return the same traffic at another mean rate."""
        stretch = self.rate_per_s / rate_per_s if self.counted else 1.0
        levels = tuple(replace(level, stay_ms=level.stay_ms * stretch) for level in self.levels)
        return replace(self, rate_per_s=rate_per_s, duration_ms=self.duration_ms * stretch, levels=levels)

    @property
    def evenly(self) -> "Traffic":
        """Return the same traffic at a constant rate."""
        return replace(self, levels=(Level(1.0, 1.0, self.duration_ms),))

    def at_rest(self) -> Iterator[tuple[float, "Traffic"]]:
        """Yield each level of the rate as traffic of its own, with its share of the time."""
        for level in self.levels:
            yield level.time_share, replace(self, rate_per_s=self.rate_per_s * level.rate_ratio, levels=(level,))


def traffic(scenario: "Scenario", instances: Keyed) -> Traffic:
    """Return the mean traffic of *scenario*, in groups that suit the *instances* counts of its keyed parts.

    A closed loop has no rate of its own: it is given one request per second.
    """
    workload, arrivals = scenario.workload, scenario.arrivals
    recorded = schedule(scenario) if isinstance(arrivals, TraceReplay) else None
    joint = _joint(scenario, recorded)
    used = np.flatnonzero(joint.sum(axis=1) > 0)
    names = [tuple(scenario.routes)[place] for place in used]
    share, key, copies, merged = _grouped(joint[used], names, instances=instances)
    if recorded is not None:
        duration_s = recorded.duration_ms / 1000
        profile_per_s = np.array([len(recorded) / duration_s])
    elif isinstance(arrivals, Closed | TraceReplay):
        profile_per_s = np.ones(1)
        duration_s = float(workload.requests or 1)
    else:
        profile_per_s = arrivals.profile_per_s(workload.duration_s)
        duration_s = workload.duration_s or (workload.requests or 1) / float(profile_per_s.mean())
    stay_s = arrivals.mean_calm_s + arrivals.mean_burst_s if isinstance(arrivals, Bursty) else duration_s
    return Traffic(
        rate_per_s=float(profile_per_s.mean()),
        duration_ms=duration_s * 1000,
        routes=tuple(names),
        share=share,
        key=key,
        copies=copies,
        merged=merged,
        numbers=_recorded(recorded, used) if recorded is not None else _drawn(scenario, used),
        arrival_cv2=_variability(scenario, recorded),
        levels=tuple(_levels(profile_per_s, stay_s * 1000)),
        counted=workload.duration_s is None,
    )


def _joint(scenario: "Scenario", recorded: "Schedule | None") -> Array:
    """Return the share of each route and key, shape (routes, keys)."""
    if recorded is not None:
        counts = np.zeros((len(recorded.routes), int(recorded.key.max()) + 1))
        np.add.at(counts, (recorded.route_code, recorded.key), 1.0)
        return np.asarray(counts / counts.sum())
    weights = [key_weights(scenario, name) for name in scenario.routes]
    joint = np.zeros((len(weights), max(weight.size for weight in weights)))
    for row, weight, share in zip(joint, weights, scenario.shares.values(), strict=True):
        row[: weight.size] = share * weight / weight.sum()
    return joint


def _grouped(joint: Array, routes: Sequence[str], *, instances: Keyed) -> tuple[Array, IntArray, Array, bool]:
    """Group keys that share every instance; then merge the tail of small groups into copies of their average."""
    keys = joint.shape[1]
    sizes = {_size(joint, [met == EVERY_ROUTE or name in met for name in routes], count)
             for count, met in instances.items()}  # fmt: skip
    if len(sizes) > 1:  # Keys share an instance of one part and not of another: each stays single.
        return joint, np.arange(keys), np.ones(keys), False
    count = next(iter(sizes), 1)
    place = np.arange(keys) % count
    share = np.stack([np.bincount(place, weights=row, minlength=count) for row in joint])
    order = np.argsort(-share.sum(axis=0), kind="stable")
    share, edges = share[:, order], _edges(count)
    copies = np.diff(edges).astype(np.float64)
    return np.add.reduceat(share, edges[:-1], axis=1) / copies, order[edges[:-1]], copies, True


def _size(joint: Array, meets: Sequence[bool], count: int) -> int:
    """Return how many groups a part of *count* instances tells apart: all keys, where each has its own instance."""
    return joint.shape[1] if not joint[np.array(meets), count:].any() else count


def _edges(count: int) -> IntArray:
    """Return the edges of groups of neighbours: single at first, then ever wider."""
    if count <= GROUPS_SINGLE + GROUPS_TAIL:
        return np.arange(count + 1)
    tail = np.geomspace(GROUPS_SINGLE, count, GROUPS_TAIL + 1).round().astype(np.int64)
    return np.concatenate([np.arange(GROUPS_SINGLE), np.unique(tail)])


def _levels(profile_per_s: Array, stay_ms: float) -> Iterator[Level]:
    """Approximate a rate over time by a few levels with about equal numbers of requests."""
    rates, mean = np.sort(profile_per_s), profile_per_s.mean()
    heights, times = np.unique(rates, return_counts=True)
    if heights.size > LEVELS_MAX:
        come = np.cumsum(rates) / rates.sum()
        edges = np.searchsorted(come, np.arange(1, LEVELS_MAX) / LEVELS_MAX)
        parts = [part for part in np.split(rates, edges) if part.size]
        heights, times = np.array([part.mean() for part in parts]), np.array([part.size for part in parts])
    for height, share in zip(heights / mean, times / rates.size, strict=True):
        if height > 0:
            yield Level(float(height), float(share), float(share) * stay_ms)


def _drawn(scenario: "Scenario", used: IntArray) -> dict[str, tuple[Numbers, ...]]:
    """Return the attributes of requests on the *used* routes, from the scenario's distributions."""
    routes, tokens = list(scenario.routes.values()), scenario.workload.tokens
    none = (Numbers.of(np.zeros(1)),) * len(used)
    return {
        "size_bytes": tuple(_sizes(routes[place]) for place in used),
        "tokens_in": (Numbers.drawn(tokens.tokens_in),) * len(used) if tokens else none,
        "tokens_out": (Numbers.drawn(tokens.tokens_out),) * len(used) if tokens else none,
    }


def _sizes(route: "Route") -> Numbers:
    """Return the bytes that requests of one route upload or download."""
    if route.size_bytes is None:
        return Numbers.of(np.zeros(1))
    return Numbers.drawn(route.size_bytes) if route.objects is None else Numbers.of(stored_bytes(route))


def _recorded(planned: "Schedule", used: IntArray) -> dict[str, tuple[Numbers, ...]]:
    """Return the attributes of the requests of a trace."""
    names = ("size_bytes", "tokens_in", "tokens_out")
    return {
        name: tuple(Numbers.of(getattr(planned, name)[planned.route_code == place]) for place in used) for name in names
    }


def _variability(scenario: "Scenario", recorded: "Schedule | None") -> float:
    arrivals = scenario.workload.arrivals
    if recorded is not None and len(recorded) > 2:
        gaps = np.diff(recorded.arrival_ms)
        return float(gaps.var() / gaps.mean() ** 2) if gaps.mean() > 0 else 1.0
    return 0.0 if isinstance(arrivals, Steady) else 1.0
