"""Closed networks: a fixed number of users who think, send a request, wait, and think again.

There are no arrivals from outside, so no queue grows without bound: the slowest station limits the throughput. The
machine-repair model is the oldest case: machines run, break down, and queue for the repairers.

Two exact methods: *mean value analysis* is a recursion over the number of users, and *convolution* sums the weights of
all states, in logarithms so that nothing overflows. They share no formula, so each checks the other.

Sources
-------
Reiser and Lavenberg, "Mean-value analysis of closed multichain queueing networks", J. ACM 27, 1980.
Buzen, "Computational algorithms for closed queueing networks with exponential servers", Comm. ACM 16, 1973.
Gross et al., "Fundamentals of Queueing Theory", 4th ed., section 2.7 (machine repair).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp

from sim.foundation.errors import UsageError
from sim.theory.parameters import MS_PER_S, not_negative, positive, whole

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ClosedSolution:
    """Throughput and response times of *users* users.

    Parameters
    ----------
    users : int
    throughput_per_s : float
        Requests completed a second, by all users.
    response_ms : float
        Mean time from asking to the answer, thinking left out.
    station_response_ms : tuple of float, length stations
        Its parts; they add up to *response_ms*.
    inside_mean : tuple of float, length stations
        Mean number waiting or in service.
    """

    users: int
    throughput_per_s: float
    response_ms: float
    station_response_ms: tuple[float, ...]
    inside_mean: tuple[float, ...]


def mean_value_analysis(users: int, demand_ms: Sequence[float], *, think_ms: float = 0.0) -> ClosedSolution:
    """Exact solution for stations of one server each, by recursion from 1 to *users*.

    Parameters
    ----------
    users : int
        At least 1.
    demand_ms : sequence of float, length stations
        Mean service a request asks of each station, over all its visits.
    think_ms : float
        Mean time between an answer and the next request; any distribution.
    """
    _check(users, demand_ms, think_ms)
    demand = np.asarray(demand_ms, dtype=np.float64)
    inside = np.zeros(demand.size)
    response, pace = demand, 0.0
    for n in range(1, users + 1):
        response = demand * (1 + inside)
        pace = n / (think_ms + response.sum())
        inside = pace * response
    return _solution(users, pace, inside)


def convolution(
    users: int, demand_ms: Sequence[float], *, servers: Sequence[int] | None = None, think_ms: float = 0.0
) -> ClosedSolution:
    """Exact solution for stations of several servers; arguments as :func:`mean_value_analysis`.

    Parameters
    ----------
    users, demand_ms, think_ms
        As :func:`mean_value_analysis`.
    servers : sequence of int, length stations, optional
        One each when left out.
    """
    _check(users, demand_ms, think_ms)
    counts = list(servers or [1] * len(demand_ms))
    if len(counts) != len(demand_ms):
        raise UsageError(f"servers has {len(counts)} entries, demand_ms {len(demand_ms)}: one each a station")
    whole(**{f"servers[{k}]": count for k, count in enumerate(counts)})
    weights = [_station(users, demand, count) for demand, count in zip(demand_ms, counts, strict=True)]
    thinking = _thinking(users, think_ms)
    everything = _fold([thinking, *weights])
    pace = float(np.exp(everything[users - 1] - everything[users]))
    inside = []
    for k, own in enumerate(weights):
        others = _fold([thinking, *weights[:k], *weights[k + 1 :]])
        share = np.exp(own + others[::-1] - everything[users])
        inside.append(float(np.arange(users + 1) @ share))
    return _solution(users, pace, np.asarray(inside))


@dataclass(frozen=True)
class MachineRepair:
    """*machines* that run for *up_ms* on the average, break, and queue for *repairers* who need *repair_ms* each.

    Also a pool of connections, each idle for a while and then served. Exponential repair; running times of any
    distribution.
    """

    machines: int
    up_ms: float
    repair_ms: float
    repairers: int = 1

    def __post_init__(self) -> None:
        whole(machines=self.machines, repairers=self.repairers)
        positive(up_ms=self.up_ms, repair_ms=self.repair_ms)

    @property
    def down_probability(self) -> Array:
        """Share of the time with 0, 1, ... machines down, shape (machines + 1,): a birth-and-death chain."""
        down = np.arange(self.machines)
        breaks = (self.machines - down) / self.up_ms
        repairs = np.minimum(down + 1, self.repairers) / self.repair_ms
        weight = np.concatenate([[0.0], np.cumsum(np.log(breaks / repairs))])
        weight = np.exp(weight - weight.max())
        return np.asarray(weight / weight.sum())

    @property
    def running_mean(self) -> float:
        """Mean number of machines running."""
        return self.machines - float(np.arange(self.machines + 1) @ self.down_probability)

    @property
    def throughput_per_s(self) -> float:
        """Repairs finished a second."""
        return self.running_mean / self.up_ms * MS_PER_S

    @property
    def response_ms(self) -> float:
        """Mean time from breaking to running again, by Little's law."""
        return (self.machines - self.running_mean) / self.throughput_per_s * MS_PER_S


def _check(users: int, demand_ms: Sequence[float], think_ms: float) -> None:
    whole(users=users)
    not_negative(think_ms=think_ms)
    if not len(demand_ms):
        raise UsageError("demand_ms=[] must name at least one station")
    positive(**{f"demand_ms[{k}]": demand for k, demand in enumerate(demand_ms)})


def _solution(users: int, pace_per_ms: float, inside: Array) -> ClosedSolution:
    response = inside / pace_per_ms
    return ClosedSolution(
        users,
        float(pace_per_ms) * MS_PER_S,
        float(response.sum()),
        tuple(response.tolist()),
        tuple(inside.tolist()),
    )


def _station(users: int, demand_ms: float, servers: int) -> Array:
    """Logarithm of the weight of n requests at one station, n = 0..users, shape (users + 1,)."""
    busy = np.minimum(np.arange(1, users + 1), servers)
    return np.concatenate([[0.0], np.cumsum(np.log(demand_ms / busy))])


def _thinking(users: int, think_ms: float) -> Array:
    """The same for users who think, all at once."""
    n = np.arange(users + 1)
    if think_ms == 0:
        return np.where(n == 0, 0.0, -np.inf)
    return np.asarray(n * np.log(think_ms) - gammaln(n + 1))


def _fold(weights: list[Array]) -> Array:
    """Logarithm of the convolution of weights given as logarithms."""
    total = weights[0]
    for weight in weights[1:]:
        total = np.array([logsumexp(total[: n + 1] + weight[n::-1]) for n in range(total.size)])
    return total
