"""Jackson networks: open networks of M/M/c stations.

Requests enter at some stations, are served, and move on by chance to another station or leave. Each station then
behaves as an M/M/c queue of its own, even when requests come back.

Sources
-------
Jackson, "Networks of waiting lines", Oper. Res. 5, 1957. Reich, "Waiting times when queues are in tandem", Ann. Math.
Stat. 28, 1957 (sojourns along a tandem of M/M/1 queues are independent).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from sim.foundation.errors import UsageError
from sim.theory.memoryless_queues import MMc
from sim.theory.parameters import MS_PER_S, invert_tail

Array = NDArray[np.float64]


@dataclass(frozen=True)
class JacksonNetwork:
    """An open network of M/M/c stations.

    Parameters
    ----------
    entry_per_s : tuple of float, length stations
        Poisson arrivals from outside, a second; at least one > 0.
    routing_share : tuple of tuples of float, stations x stations
        Row i: share of the requests leaving station i that go to each station; what is missing to 1 leaves the network.
    service_ms : tuple of float, length stations
        Mean exponential service times.
    servers : tuple of int, length stations

    Raises
    ------
    UsageError
        Lengths differ, shares are no shares, requests can never leave, or a station has utilization >= 1.
    """

    entry_per_s: tuple[float, ...]
    routing_share: tuple[tuple[float, ...], ...]
    service_ms: tuple[float, ...]
    servers: tuple[int, ...]

    @classmethod
    def tandem(cls, rate_per_s: float, service_ms: Sequence[float], *, servers: Sequence[int] | None = None) -> Self:
        """Stations one after the other."""
        count = len(service_ms)
        routing = tuple(tuple(float(j == i + 1) for j in range(count)) for i in range(count))
        entry = (rate_per_s, *[0.0] * (count - 1))
        return cls(entry, routing, tuple(service_ms), tuple(servers or [1] * count))

    def __post_init__(self) -> None:
        count = len(self.entry_per_s)
        sizes = {count, len(self.routing_share), len(self.service_ms), len(self.servers)}
        sizes |= {len(row) for row in self.routing_share}
        if sizes != {count} or count == 0:
            raise UsageError(f"lengths {sorted(sizes)} must all be the number of stations (one entry a station)")
        routing = np.asarray(self.routing_share)
        if not (np.all(routing >= 0) and np.all(routing.sum(axis=1) <= 1 + 1e-12)):
            raise UsageError("routing_share rows must be >= 0 and add up to at most 1 (the rest leaves the network)")
        if np.abs(np.linalg.eigvals(routing)).max() >= 1 - 1e-12:
            raise UsageError("routing_share must let every request leave (some row on each circle must add up to < 1)")
        if min(self.entry_per_s) < 0 or max(self.entry_per_s) <= 0:
            raise UsageError(f"entry_per_s={self.entry_per_s} must be >= 0 with at least one > 0")

    @cached_property
    def flow_per_s(self) -> Array:
        """Requests through each station a second, shape (stations,): the traffic equations' solution."""
        routing = np.asarray(self.routing_share)
        return np.linalg.solve(np.eye(len(routing)) - routing.T, np.asarray(self.entry_per_s))

    @cached_property
    def stations(self) -> tuple[MMc, ...]:
        """Each station as a queue of its own; a station that no request reaches is refused."""
        return tuple(
            MMc(float(rate), service, servers)
            for rate, service, servers in zip(self.flow_per_s, self.service_ms, self.servers, strict=True)
        )

    @property
    def sojourn_mean_ms(self) -> float:
        """Mean time in the network, over all visits."""
        inside = sum(station.rate_per_s * station.sojourn_mean_ms for station in self.stations)
        return inside / sum(self.entry_per_s)


def tandem_tail(rate_per_s: float, service_ms: Sequence[float], *, sojourn_ms: float) -> float:
    """Share of the requests that need longer than *sojourn_ms* through M/M/1 stations one after the other.

    Each sojourn is exponential and they are independent: the sum passes through phases, its tail a matrix exponential.
    """
    means = [MMc(rate_per_s, service).sojourn_mean_ms for service in service_ms]
    leave = 1 / np.asarray(means)
    phases = np.diag(-leave) + np.diag(leave[:-1], 1)
    return float(expm(phases * sojourn_ms)[0].sum())


def tandem_quantile_ms(rate_per_s: float, service_ms: Sequence[float], *, probability: float) -> float:
    """Sojourn through M/M/1 stations in tandem that a share *probability* of the requests does not exceed."""
    if not service_ms:
        raise UsageError("service_ms=[] must name at least one station")
    scale = sum(service_ms) / (1 - max(service_ms) * rate_per_s / MS_PER_S)
    return invert_tail(
        lambda t: tandem_tail(rate_per_s, service_ms, sojourn_ms=t), probability, scale=max(scale, sum(service_ms))
    )
