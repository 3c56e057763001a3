"""Memoryless queues: Poisson arrivals, exponential service, first come first served.

Requests that find all servers busy wait in one queue, without bound (M/M/c) or with at most *places* requests inside
(M/M/c/K; without waiting room this is Erlang's loss system).

Sources
-------
Erlang, "Solution of some problems in the theory of probabilities of significance in automatic telephone exchanges",
1917 (B and C formulas). Gross, Shortle, Thompson and Harris, "Fundamentals of Queueing Theory", 4th ed., 2008, sections
2.2-2.5 (waiting and sojourn distributions, finite room).
"""

from dataclasses import dataclass
from functools import cached_property
from math import exp, expm1, log

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincc

from sim.foundation.errors import UsageError
from sim.theory.parameters import MS_PER_S, invert_tail, positive, share, stable, whole

Array = NDArray[np.float64]


def erlang_b(offered_load: float, servers: int) -> float:
    """Share of requests lost by *servers* without waiting room.

    Parameters
    ----------
    offered_load : float
        Arrival rate times mean service time, in erlangs (dimensionless), > 0.
    servers : int
        At least 1. The recursion over servers has only positive terms, so it is stable for any number.
    """
    positive(offered_load=offered_load)
    whole(servers=servers)
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = offered_load * blocked / (n + offered_load * blocked)
    return blocked


def erlang_c(offered_load: float, servers: int) -> float:
    """Share of requests that must wait for one of *servers*, with room for all; needs offered_load < servers."""
    blocked = erlang_b(offered_load, servers)
    stable(offered_load / servers)
    return servers * blocked / (servers - offered_load * (1 - blocked))


@dataclass(frozen=True)
class MMc:
    """M/M/c: the queue has no bound.

    Parameters
    ----------
    rate_per_s : float
        Poisson arrivals a second.
    service_ms : float
        Mean of the exponential service time.
    servers : int
        1 makes it M/M/1.

    Raises
    ------
    UsageError
        A number outside its rule, or utilization >= 1.
    """

    rate_per_s: float
    service_ms: float
    servers: int = 1

    def __post_init__(self) -> None:
        positive(rate_per_s=self.rate_per_s, service_ms=self.service_ms)
        whole(servers=self.servers)
        stable(self.utilization)

    @property
    def utilization(self) -> float:
        """Share of the time that a server is busy."""
        return self.rate_per_s * self.service_ms / MS_PER_S / self.servers

    @cached_property
    def wait_probability(self) -> float:
        """Share of the requests that wait at all (Erlang C)."""
        return erlang_c(self.utilization * self.servers, self.servers)

    @property
    def _drain_per_ms(self) -> float:
        """Rate of the exponential wait of those who wait: c mu - lambda."""
        return self.servers * (1 - self.utilization) / self.service_ms

    @property
    def wait_mean_ms(self) -> float:
        """Mean wait before service, over all requests."""
        return self.wait_probability / self._drain_per_ms

    @property
    def sojourn_mean_ms(self) -> float:
        """Mean wait plus service."""
        return self.wait_mean_ms + self.service_ms

    @property
    def queue_mean(self) -> float:
        """Mean number waiting, by Little's law."""
        return self.rate_per_s / MS_PER_S * self.wait_mean_ms

    def wait_tail(self, wait_ms: float) -> float:
        """Share of the requests that wait longer than *wait_ms*."""
        return self.wait_probability * exp(-self._drain_per_ms * wait_ms)

    def wait_quantile_ms(self, probability: float) -> float:
        """Wait that a share *probability* of the requests does not exceed; 0 while fewer wait at all."""
        share(probability)
        return max(0.0, log(self.wait_probability / (1 - probability)) / self._drain_per_ms)

    def sojourn_tail(self, sojourn_ms: float) -> float:
        """Share of the requests that take longer than *sojourn_ms* from arrival to departure."""
        serve = 1 / self.service_ms
        slow, fast = min(serve, self._drain_per_ms), max(serve, self._drain_per_ms)
        gap = fast - slow
        stretch = -expm1(-gap * sojourn_ms) / gap if gap else sojourn_ms
        both = exp(-slow * sojourn_ms) * (1 + slow * stretch)
        return (1 - self.wait_probability) * exp(-serve * sojourn_ms) + self.wait_probability * both

    def sojourn_quantile_ms(self, probability: float) -> float:
        """Sojourn that a share *probability* of the requests does not exceed."""
        return invert_tail(self.sojourn_tail, probability, scale=self.sojourn_mean_ms)


@dataclass(frozen=True)
class MMcK:
    """M/M/c/K: at most *places* requests inside, in service or waiting; others are lost.

    Parameters
    ----------
    rate_per_s, service_ms, servers
        As :class:`MMc`; any utilization will do.
    places : int
        At least *servers*; equal makes it Erlang's loss system.
    """

    rate_per_s: float
    service_ms: float
    servers: int
    places: int

    def __post_init__(self) -> None:
        positive(rate_per_s=self.rate_per_s, service_ms=self.service_ms)
        whole(servers=self.servers, places=self.places)
        if self.places < self.servers:
            raise UsageError(f"places={self.places} must be >= servers={self.servers} (who is served is inside)")

    @cached_property
    def state_probability(self) -> Array:
        """Share of the time with n requests inside, shape (places + 1,).

        Built from logarithms of the ratios between neighbours, so neither powers nor factorials overflow.
        """
        busy = np.minimum(np.arange(1, self.places + 1), self.servers)
        steps = np.log(self.rate_per_s * self.service_ms / MS_PER_S / busy)
        weight = np.concatenate([[0.0], np.cumsum(steps)])
        weight = np.exp(weight - weight.max())
        return np.asarray(weight / weight.sum())

    @property
    def blocking_probability(self) -> float:
        """Share of the requests that are lost (arrivals see time averages)."""
        return float(self.state_probability[-1])

    @property
    def throughput_per_s(self) -> float:
        """Requests served a second."""
        return self.rate_per_s * (1 - self.blocking_probability)

    @property
    def utilization(self) -> float:
        """Share of the time that a server is busy."""
        return self.throughput_per_s * self.service_ms / MS_PER_S / self.servers

    @property
    def queue_mean(self) -> float:
        """Mean number waiting."""
        waiting = np.maximum(np.arange(self.places + 1) - self.servers, 0)
        return float(waiting @ self.state_probability)

    @property
    def wait_mean_ms(self) -> float:
        """Mean wait of the accepted requests, by Little's law."""
        return self.queue_mean / self.throughput_per_s * MS_PER_S

    @property
    def sojourn_mean_ms(self) -> float:
        """Mean wait plus service of the accepted requests."""
        return self.wait_mean_ms + self.service_ms

    def wait_tail(self, wait_ms: float) -> float:
        """Share of the accepted requests that wait longer than *wait_ms*: finding n inside means n-c+1 departures."""
        found = self.state_probability[self.servers : -1] / (1 - self.blocking_probability)
        departures = np.arange(1, found.size + 1)
        return float(found @ gammaincc(departures, self.servers / self.service_ms * wait_ms)) if found.size else 0.0

    def wait_quantile_ms(self, probability: float) -> float:
        """Wait that a share *probability* of the accepted requests does not exceed."""
        return invert_tail(self.wait_tail, probability, scale=self.service_ms)
