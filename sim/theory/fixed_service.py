"""M/D/1: one server, Poisson arrivals, every service takes the same time.

The classical form of the waiting-time distribution (Erlang, Crommelin) alternates in sign and loses all digits
near saturation. Franx's form adds only positive terms: how many waited one service time ago, and
how many came since.

Sources
-------
Crommelin, "Delay probability formulae when the holding times are constant", P.O. Elec. Engrs. J. 25, 1932.
Franx, "A simple solution for the M/D/c waiting time distribution", Oper. Res. Letters 29, 2001.
Ramaswami, "A stable recursion for the steady state vector in Markov chains of M/G/1 type", Stoch. Models 4, 1988.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc, pdtr

from sim.theory.parameters import MS_PER_S, invert_tail, positive, stable

Array = NDArray[np.float64]

ARRIVALS_MAX = 64
"""More Poisson arrivals than this in one service time (at utilization < 1) have a probability below 1e-89."""


@lru_cache(maxsize=256)
def state_probability(utilization: float, count: int) -> Array:
    """Share of the time with 0, 1, ..., count - 1 requests inside, shape (count,).

    As often as the number inside rises above j it falls back below, which gives each probability from those before
    it in positive terms only.
    """
    more_than = gammainc(np.arange(1, ARRIVALS_MAX + 2), utilization)
    none = np.exp(-utilization)
    states = np.zeros(count)
    states[0] = 1 - utilization
    for j in range(count - 1):
        reach = min(j, ARRIVALS_MAX)
        rises = states[j - reach + 1 : j + 1] @ more_than[reach:0:-1]
        from_empty = states[0] * more_than[j] if j <= ARRIVALS_MAX else 0.0
        states[j + 1] = (from_empty + rises) / none
    states.flags.writeable = False
    return states


@dataclass(frozen=True)
class MD1:
    """M/D/1, first come first served.

    Parameters
    ----------
    rate_per_s : float
        Poisson arrivals a second.
    service_ms : float
        Length of every service.

    Raises
    ------
    UsageError
        A number outside its rule, or utilization >= 1.
    """

    rate_per_s: float
    service_ms: float

    def __post_init__(self) -> None:
        positive(rate_per_s=self.rate_per_s, service_ms=self.service_ms)
        stable(self.utilization)

    @property
    def utilization(self) -> float:
        """Share of the time that the server is busy."""
        return self.rate_per_s * self.service_ms / MS_PER_S

    @property
    def wait_mean_ms(self) -> float:
        """Mean wait: half of that of M/M/1."""
        return self.service_ms * self.utilization / (2 * (1 - self.utilization))

    @property
    def sojourn_mean_ms(self) -> float:
        """Mean wait plus service."""
        return self.wait_mean_ms + self.service_ms

    def wait_cdf(self, wait_ms: float) -> float:
        """Share of the requests that wait at most *wait_ms*."""
        if wait_ms < 0:
            return 0.0
        periods = int(wait_ms // self.service_ms) + 1
        arrivals_mean = self.rate_per_s * max(0.0, periods * self.service_ms - wait_ms) / MS_PER_S
        at_most_inside = np.cumsum(state_probability(self.utilization, 1 << periods.bit_length()))
        arrived = np.arange(min(periods, ARRIVALS_MAX))
        poisson = np.diff(pdtr(arrived, arrivals_mean), prepend=0.0)
        return min(1.0, float(poisson @ at_most_inside[periods - arrived]))

    def wait_tail(self, wait_ms: float) -> float:
        """Share of the requests that wait longer than *wait_ms*."""
        return 1 - self.wait_cdf(wait_ms)

    def wait_quantile_ms(self, probability: float) -> float:
        """Wait that a share *probability* of the requests does not exceed."""
        return invert_tail(self.wait_tail, probability, scale=self.service_ms)

    def sojourn_quantile_ms(self, probability: float) -> float:
        """Sojourn that a share *probability* of the requests does not exceed."""
        return self.wait_quantile_ms(probability) + self.service_ms
