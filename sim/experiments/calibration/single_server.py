"""Service time and delay, told apart in the latencies of one server that works in order of arrival.

A latency is wait + service + delay: the service holds the server, the delay (network, driver, a durable write) holds
nobody. Their sum says nothing of capacity, for only the service limits it. What tells them apart is that a request
which comes while another is served waits for the rest of *its* service: given the times of sending, Lindley's recursion
predicts every wait from the service time alone, and the service time is the one that explains the latencies best (least
absolute deviations, cut at a median latency, which stalls do not move). The variance of the service shows in the
covariance of two neighbours, the second of which had to wait for the first.

Both statistics are biased when services vary, so they are matched, not believed: the model is played with candidates on
the same times of sending until it shows what was observed (indirect inference). Intervals come from blocks of requests.

Sources
-------
Lindley, "The theory of queues with a single server", Proc. Camb. Phil. Soc. 48, 1952.
Gouriéroux, Monfort and Renault, "Indirect inference", J. Appl. Econometrics 8, 1993.
Künsch, "The jackknife and the bootstrap for general stationary observations", Ann. Statist. 17, 1989 (blocks).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log1p, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from sim.experiments.calibration.laws import Interval, Law, empirical, empirical_law
from sim.experiments.calibration.stalls import Stalls, find_stalls
from sim.foundation.errors import UsageError
from sim.randomness.distributions import (
    NORMAL_P99,
    AnyDistribution,
    Constant,
    Erlang,
    Hyperexponential,
    Lognormal,
)

Array = NDArray[np.float64]
ServiceLaw = Callable[[float, float], AnyDistribution]

REQUESTS_MIN = 500
UTILIZATION_MAX = 0.4
"""Above it a queue hardly ever empties, and slow drifts of the machine look like a longer service."""
MEETINGS_MIN = 50
"""Requests that waited for another: with fewer, resampled blocks hardly hold any, and their interval is too narrow."""
RELATIVE_HALF_WIDTH_MAX = 0.5
"""An interval wider than half of its value does not tell service from delay."""
GRID = 60
BLOCKS = 40
RESAMPLES = 400
ITERATIONS = 4
COPIES = 4
"""Simulated runs of an iteration; the last one has four times as many."""
OVERLAP = 2 / 3
"""A neighbour counts as waiting if it was sent within this part of the service time."""
CONSTANT_CV2 = 0.02
"""A squared coefficient of variation below this is none: it changes a mean wait by a per cent."""
CV2_MAX = 25.0
CUT_DEVIATIONS = 8.0
"""Residuals are cut at so many median deviations, in what was seen and in what is simulated alike."""
WINSOR = 0.99


@dataclass(frozen=True)
class SingleServer:
    """Service and delay of one server.

    Attributes
    ----------
    service : Distribution
        Holds the server.
    delay : Law
        Everything else of a latency without a wait.
    service_mean_ms, service_cv2 : Interval
    utilization : float
        Of the run.
    stalls : Stalls
        Which are in neither of the two.
    n : int
        Requests.
    """

    service: AnyDistribution
    delay: Law
    service_mean_ms: Interval
    service_cv2: Interval
    utilization: float
    stalls: Stalls
    n: int


def waits(gap_ms: Array, service_ms: Array) -> Array:
    """Return the waits of n requests behind one server, shape (n,), by Lindley's recursion.

    Parameters
    ----------
    gap_ms : ndarray, shape (n - 1,)
        Between arrivals.
    service_ms : ndarray, shape (n,)
    """
    ahead = np.concatenate([[0.0], np.cumsum(service_ms[:-1] - gap_ms)])
    return np.asarray(ahead - np.minimum.accumulate(ahead))


def tell_apart(sent_ms: Array, latency_ms: Array, *, rng: int, what: str = "run") -> SingleServer:
    """Tell service from delay.

    Parameters
    ----------
    sent_ms : ndarray, shape (n,)
        Times of sending, not those intended.
    latency_ms : ndarray, shape (n,)
        From there to the answer.
    rng : int
        Seed.
    what : str
        Name of the run, for errors.

    Raises
    ------
    UsageError
        There are too few requests, too many for the server, or too few that met each other.
    """
    if len(sent_ms) < REQUESTS_MIN:
        raise UsageError(
            f"{what}: {len(sent_ms)} requests cannot tell service from delay, must be >= {REQUESTS_MIN} (play more)"
        )
    order = np.argsort(sent_ms, kind="stable")
    run = _Run(sent_ms[order], latency_ms[order])
    seen = run.seen
    if seen.mean_ms * run.rate_per_ms > UTILIZATION_MAX:
        raise UsageError(
            f"{what}: service time and queueing are confounded at utilization {seen.mean_ms * run.rate_per_ms:.1f} "
            f"(play it at {0.25 / seen.mean_ms * 1000:.0f}/s, a quarter of capacity)"
        )
    low, high = run.interval(np.random.default_rng(rng))
    meetings = int((waits(run.gap_ms, np.full(len(sent_ms), seen.mean_ms)) > 0).sum())
    if meetings < MEETINGS_MIN or high - low > 2 * RELATIVE_HALF_WIDTH_MAX * seen.mean_ms:
        raise UsageError(
            f"{what}: service time and delay are confounded at {1000 * run.rate_per_ms:.0f} requests/s "
            f"({meetings} requests met another, service {low:.2g} to {high:.2g} ms; play more, or at a quarter of "
            "capacity)"
        )
    found = [run.match(seen, family, rng=np.random.default_rng(rng)) for family in SERVICE_LAWS]
    best = min(found, key=lambda one: one.log_error)
    half = run.covariance_half_width(seen.mean_ms) / best.mean_ms**2
    means, cv2s = [one.mean_ms for one in found], [one.cv2 for one in found]
    return SingleServer(
        service=best.law,
        delay=empirical_law(run.delay(best.mean_ms, best.cv2 * best.mean_ms**2), np.random.default_rng(rng)),
        # What the family is, the data hardly say, so the interval holds what either says.
        service_mean_ms=Interval(
            best.mean_ms,
            min(means) * (low / seen.mean_ms) - best.noise_ms,
            max(means) * (high / seen.mean_ms) + best.noise_ms,
        ),
        service_cv2=Interval(best.cv2, max(0.0, min(cv2s) - half), max(cv2s) + half),
        utilization=best.mean_ms * run.rate_per_ms,
        stalls=run.stalls,
        n=len(sent_ms),
    )


def lognormal_service(mean_ms: float, cv2: float) -> AnyDistribution:
    """Return a lognormal service with this mean and squared coefficient of variation."""
    if cv2 < CONSTANT_CV2:
        return Constant(value=mean_ms)
    sigma = sqrt(log1p(cv2))
    median = mean_ms * exp(-(sigma**2) / 2)
    return Lognormal(median=median, p99=median * exp(NORMAL_P99 * sigma))


def phased_service(mean_ms: float, cv2: float) -> AnyDistribution:
    """Return a service of exponential phases: in series below a coefficient of variation of 1, in parallel above."""
    if cv2 < CONSTANT_CV2:
        return Constant(value=mean_ms)
    if cv2 > 1:
        return Hyperexponential(mean=mean_ms, cv2=cv2)
    return Erlang(mean=mean_ms, stages=max(1, round(1 / cv2)))


SERVICE_LAWS = (lognormal_service, phased_service)


class _Statistics(NamedTuple):
    """What is matched: the service time that explains the latencies best, and the covariance of neighbours.

    The covariance is in units of the squared service time.
    """

    mean_ms: float
    covariance_ratio: float

    @property
    def covariance(self) -> float:
        """The covariance, in ms squared."""
        return self.covariance_ratio * self.mean_ms**2


class _Match(NamedTuple):
    """A service with which the model shows what was seen.

    ``noise_ms`` is the simulation's own part in the interval of the mean; ``log_error`` is that of the latencies.
    """

    law: AnyDistribution
    mean_ms: float
    cv2: float
    noise_ms: float
    log_error: float


class _Run:
    """Times of sending, and latencies in that order."""

    def __init__(self, sent_ms: Array, latency_ms: Array) -> None:
        self.gap_ms, self.latency_ms = np.diff(sent_ms), latency_ms
        gap_ms = self.gap_ms
        self.rate_per_ms = len(gap_ms) / float(gap_ms.sum())
        # Beyond the mean gap the queue would grow for ever; beyond the median latency there is no room for it.
        self.typical_ms = float(np.median(latency_ms))
        self.most_ms = min(self.typical_ms, 0.98 / self.rate_per_ms)
        self.seen = self.statistics(latency_ms)
        self.stalls = find_stalls(sent_ms, self.residuals(latency_ms, self.seen.mean_ms))

    def residuals(self, latency_ms: Array, mean_ms: float) -> Array:
        """Return what a service time leaves unexplained, shape (n,), around its median."""
        left = latency_ms - waits(self.gap_ms, np.full(len(latency_ms), mean_ms))
        return np.asarray(left - np.median(left))

    def misfit(self, latency_ms: Array, mean_ms: float) -> Array:
        """Return the absolute residuals, shape (n,), none larger than a median latency: a stall must not move a fit."""
        return np.minimum(np.abs(self.residuals(latency_ms, mean_ms)), self.typical_ms)

    def statistics(self, latency_ms: Array) -> _Statistics:
        def loss(mean_ms: float) -> float:
            return float(self.misfit(latency_ms, mean_ms).mean())

        grid = np.linspace(0, self.most_ms, GRID // 2)
        least = int(np.argmin([loss(one) for one in grid]))
        bounds = (float(grid[max(0, least - 1)]), float(grid[min(len(grid) - 1, least + 1)]))
        mean_ms = float(optimize.minimize_scalar(loss, bounds=bounds, method="bounded").x)
        left = self._neighbours(latency_ms, mean_ms)
        covariance = float(np.cov(left)[0, 1]) if left.shape[1] > 2 else 0.0
        return _Statistics(mean_ms, covariance / mean_ms**2 if mean_ms > 0 else 0.0)

    def _neighbours(self, latency_ms: Array, mean_ms: float) -> Array:
        """Return the residuals of firsts and seconds of busy periods, shape (2, pairs), their extremes cut."""
        wait_ms = waits(self.gap_ms, np.full(len(latency_ms), mean_ms))
        left = self.residuals(latency_ms, mean_ms)
        most = CUT_DEVIATIONS * float(np.median(np.abs(left)))
        left = np.clip(left, -most, most)
        first = np.flatnonzero((wait_ms[:-1] == 0) & (self.gap_ms < OVERLAP * mean_ms))
        return np.stack([left[first], left[first + 1]])

    def covariance_half_width(self, mean_ms: float) -> float:
        """Return the half-width of the 95 % interval of the neighbours' covariance."""
        first, second = self._neighbours(self.latency_ms, mean_ms)
        products = (first - first.mean()) * (second - second.mean())
        return 1.96 * float(products.std()) / sqrt(max(len(products), 1))

    def interval(self, rng: np.random.Generator) -> tuple[float, float]:
        """Return the 95 % interval of the service time that explains best, from resampled blocks of requests."""
        grid = np.linspace(0, self.most_ms, GRID * 2)
        starts = np.linspace(0, len(self.latency_ms), BLOCKS + 1).astype(np.int64)[:-1]
        losses = np.stack([np.add.reduceat(self.misfit(self.latency_ms, one), starts) for one in grid])
        drawn = rng.multinomial(BLOCKS, np.full(BLOCKS, 1 / BLOCKS), RESAMPLES)
        total = losses @ drawn.T.astype(np.float64)
        best = [_parabola(grid, total[:, one]) for one in range(RESAMPLES)]
        low, high = np.quantile(best, [0.025, 0.975])
        return float(low), float(high)

    def match(self, seen: _Statistics, family: ServiceLaw, *, rng: np.random.Generator) -> _Match:
        """Return the service of a family with which the model shows the statistics that were seen."""
        mean_ms, variance, noise_ms = seen.mean_ms, max(seen.covariance, 0.0), 0.0
        for iteration in range(ITERATIONS):
            copies = COPIES * 4 if iteration == ITERATIONS - 1 else COPIES
            shown = [self.statistics(self.played(mean_ms, variance, family=family, rng=rng)) for _ in range(copies)]
            means = np.array([one.mean_ms for one in shown])
            noise_ms = 1.96 * float(means.std(ddof=1)) / sqrt(copies)
            mean_ms *= float(np.clip(seen.mean_ms / means.mean(), 0.5, 2.0))
            variance += seen.covariance - float(np.mean([one.covariance for one in shown]))
            variance = float(np.clip(variance, 0.0, CV2_MAX * mean_ms**2))
        probabilities = np.linspace(0.005, 0.995, 100)
        played = np.quantile(self.played(mean_ms, variance, family=family, rng=rng), probabilities)
        distance = float(np.abs(np.log(played / np.quantile(self.latency_ms, probabilities))).mean())
        cv2 = variance / mean_ms**2
        return _Match(family(mean_ms, cv2), mean_ms, cv2, noise_ms, distance)

    def played(self, mean_ms: float, variance: float, *, family: ServiceLaw, rng: np.random.Generator) -> Array:
        """Return latencies of the model with a candidate, on the times of sending of the run."""
        count, law = len(self.latency_ms), family(mean_ms, variance / mean_ms**2)
        service_ms = law.sample(rng.random((law.draws, count)))
        delay_ms = empirical(self.delay(mean_ms, variance)).quantile(rng.random(count))
        return np.asarray(waits(self.gap_ms, service_ms) + service_ms + delay_ms)

    def delay(self, mean_ms: float, variance: float) -> Array:
        """Return delays: the latencies of requests that met nobody, less the service in mean and in variance."""
        idle = waits(self.gap_ms, np.full(len(self.latency_ms), 2 * mean_ms)) == 0
        alone = self.latency_ms[idle & ~self.stalls.hit]
        low, high = np.quantile(alone, [1 - WINSOR, WINSOR])
        core = float(np.clip(alone, low, high).var())
        shrink = sqrt(max(0.0, 1 - variance / core)) if core > 0 else 0.0
        return np.asarray(np.maximum(alone.mean() - mean_ms + (alone - alone.mean()) * shrink, 0.0))


def _parabola(grid: Array, loss: Array) -> float:
    """Return the minimum of a loss between the points of its grid."""
    at = int(np.clip(loss.argmin(), 1, len(grid) - 2))
    left, middle, right = loss[at - 1 : at + 2]
    bend = left - 2 * middle + right
    step = 0.5 * (left - right) / bend if bend > 0 else 0.0
    return float(grid[at] + np.clip(step, -1, 1) * (grid[1] - grid[0]))
