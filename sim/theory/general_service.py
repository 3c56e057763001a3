"""M/G/1: one server, Poisson arrivals, service times of any distribution.

Means need only the mean and the squared variation of the service time (Pollaczek and Khinchine); processor sharing
(all are served at once, each more slowly) needs the mean alone. The whole waiting-time distribution needs the
Laplace transform of the service time, and is found by inverting its own transform numerically.

Sources
-------
Pollaczek, "Über eine Aufgabe der Wahrscheinlichkeitstheorie", 1930; Khinchine, 1932; in Gross et al., "Fundamentals of
Queueing Theory", 4th ed., section 5.1. Kleinrock, "Time-shared systems: a theoretical treatment", J. ACM 14, 1967
(processor sharing is insensitive). Abate and Whitt, "Numerical inversion of Laplace transforms of probability
distributions", ORSA J. Comput. 7, 1995 (the Euler method).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import comb, exp, pi

import numpy as np
from numpy.typing import NDArray

from sim.foundation.errors import UsageError
from sim.randomness.distributions import AnyDistribution, Constant, Erlang, Exponential, Hyperexponential, Uniform
from sim.theory.moments import squared_variation
from sim.theory.parameters import MS_PER_S, invert_tail, not_negative, positive, stable

Complex = NDArray[np.complex128]
Transform = Callable[[Complex], Complex]

DISCRETIZATION = 18.4
"""Abate and Whitt's A: the error of the Fourier series is about exp(-A) = 1e-8."""

PLAIN_TERMS, AVERAGED_TERMS = 38, 12
"""Terms of the alternating series summed as they are, and then averaged with binomial weights."""


@dataclass(frozen=True)
class MG1:
    """M/G/1 by its first two moments.

    Parameters
    ----------
    rate_per_s : float
        Poisson arrivals a second.
    service_ms : float
        Mean service time.
    cv2 : float
        Squared coefficient of variation of the service time: 0 fixed, 1 exponential.

    Raises
    ------
    UsageError
        A number outside its rule, or utilization >= 1.
    """

    rate_per_s: float
    service_ms: float
    cv2: float

    def __post_init__(self) -> None:
        positive(rate_per_s=self.rate_per_s, service_ms=self.service_ms)
        not_negative(cv2=self.cv2)
        stable(self.utilization)

    @classmethod
    def of(cls, rate_per_s: float, distribution: AnyDistribution) -> "MG1":
        """The queue whose service times, in ms, follow *distribution*."""
        return cls(rate_per_s, distribution.expected(), squared_variation(distribution))

    @property
    def utilization(self) -> float:
        """Share of the time that the server is busy."""
        return self.rate_per_s * self.service_ms / MS_PER_S

    @property
    def wait_mean_ms(self) -> float:
        """Mean wait, first come first served (Pollaczek and Khinchine)."""
        return self.service_ms * self.utilization * (1 + self.cv2) / (2 * (1 - self.utilization))

    @property
    def sojourn_mean_ms(self) -> float:
        """Mean wait plus service, first come first served."""
        return self.wait_mean_ms + self.service_ms

    @property
    def shared_sojourn_mean_ms(self) -> float:
        """Mean sojourn under processor sharing: the same for every distribution of the same mean."""
        return self.service_ms / (1 - self.utilization)


def service_transform(distribution: AnyDistribution) -> Transform:
    """E[exp(-s S)] of a service distribution in ms, for complex s in 1/ms.

    Raises
    ------
    UsageError
        The distribution has no closed transform.
    """
    match distribution:
        case Constant(value=value):
            return lambda s: np.exp(-s * value)
        case Exponential(mean=mean):
            return lambda s: 1 / (1 + s * mean)
        case Erlang(mean=mean, stages=stages):
            return lambda s: (1 + s * mean / stages) ** -stages
        case Hyperexponential():
            short, long = distribution.branch_means
            return lambda s: distribution.share / (1 + s * short) + (1 - distribution.share) / (1 + s * long)
        case Uniform(low=low, high=high) if high > low:
            return lambda s: (np.exp(-s * low) - np.exp(-s * high)) / (s * (high - low))
    raise UsageError(
        f"distribution={distribution.distribution!r} has no closed transform; "
        "constant, uniform, exponential, erlang and hyperexponential have one"
    )


def wait_tail(rate_per_s: float, distribution: AnyDistribution, *, wait_ms: float) -> float:
    """Share of M/G/1 requests, first come first served, that wait longer than *wait_ms* > 0; good to about 1e-7."""
    queue, service = MG1.of(rate_per_s, distribution), service_transform(distribution)
    positive(wait_ms=wait_ms)
    rate = rate_per_s / MS_PER_S

    def tail(s: Complex) -> Complex:
        return np.asarray((1 - (1 - queue.utilization) * s / (s - rate * (1 - service(s)))) / s)

    return min(max(_euler(tail, wait_ms), 0.0), 1.0)


def wait_quantile_ms(rate_per_s: float, distribution: AnyDistribution, *, probability: float) -> float:
    """Wait that a share *probability* of M/G/1 requests, first come first served, does not exceed."""
    queue = MG1.of(rate_per_s, distribution)

    def tail(wait_ms: float) -> float:
        return wait_tail(rate_per_s, distribution, wait_ms=wait_ms) if wait_ms > 0 else queue.utilization

    return invert_tail(tail, probability, scale=queue.sojourn_mean_ms)


def _euler(transform: Transform, t: float) -> float:
    """Value at *t* of the function whose Laplace transform is given: a Fourier series, its tail averaged."""
    orders = np.arange(PLAIN_TERMS + AVERAGED_TERMS + 1)
    terms = (
        np.real(transform(np.asarray((DISCRETIZATION + 2j * pi * orders) / (2 * t), np.complex128))) * (-1.0) ** orders
    )
    terms[0] /= 2
    sums = np.cumsum(terms)[PLAIN_TERMS:]
    weights = np.array([comb(AVERAGED_TERMS, k) for k in range(AVERAGED_TERMS + 1)]) / 2.0**AVERAGED_TERMS
    return float(exp(DISCRETIZATION / 2) / t * (weights @ sums))
