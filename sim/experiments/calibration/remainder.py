"""The distribution of one part of a sum whose other parts are known: of a distance, when the query is known.

The part may be drawn several times (two queries of one kind): its draws are independent, so that mean and variance of
one are those of all over their number.

Mean and variance of the part are those of the sum less those of the others, which are drawn independently of it. The
family is the one with which the simulated sum lies nearest to what was measured, and it must fit: the distance of the
sum is compared with those of sums simulated with the fitted part, fitted again each time.

Sources
-------
Stute, Gonzáles Manteiga and Presedo Quindimil, "Bootstrap based goodness-of-fit tests", Metrika 40, 1993.
"""

from collections.abc import Callable, Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sim.experiments.calibration.laws import FIT_P_MIN, SAMPLE_MIN, Interval, Law
from sim.experiments.calibration.single_server import lognormal_service, phased_service
from sim.foundation.errors import UsageError
from sim.randomness.distributions import AnyDistribution, Constant, Uniform

Array = NDArray[np.float64]
Part = tuple[AnyDistribution, float]
"""A distribution and what it is multiplied by."""

SIMULATED = 20_000
TESTED_MAX = 5_000
RESAMPLES = 99
SHARE_MIN = 0.02
"""Below this share of the sum's mean a part drowns in the others; of its variance, only the part's mean shows."""


def constant_part(mean: float, _: float) -> AnyDistribution:
    """Return the constant distribution: what is kept of a part whose variance does not show."""
    return Constant(value=mean)


def uniform_part(mean: float, cv2: float) -> AnyDistribution:
    """Return a uniform distribution of this mean and squared coefficient of variation."""
    half = min(mean, mean * sqrt(3 * cv2))
    return Uniform(low=mean - half, high=mean + half)


FAMILIES: tuple[Callable[[float, float], AnyDistribution], ...] = (lognormal_service, phased_service, uniform_part)


def fit_remainder(total: Array, others: Sequence[Part], *, rng: int, what: str, copies: int = 1) -> Law:
    """Fit the part of a sum that is not known.

    Parameters
    ----------
    total : ndarray, shape (n,)
        The sum, measured.
    others : sequence of (distribution, scale)
        Its other parts.
    rng : int
        Seed.
    what : str
        Name of the part, for errors.
    copies : int
        Number of its draws in the sum.

    Raises
    ------
    UsageError
        The sample is too small, the part drowns in the others, or no family reproduces the sum.
    """
    if len(total) < SAMPLE_MIN:
        raise UsageError(
            f"{what}: {len(total)} requests cannot identify a distribution, must be >= {SAMPLE_MIN} (play more)"
        )
    generator = np.random.default_rng(rng)
    if not others and np.ptp(total) <= 1e-9 * float(total.max()):
        value = float(np.median(total)) / copies
        return Law(Constant(value=value), {"value": Interval(value, value, value)}, len(total))
    fitting = _Fitting(others, copies, generator)
    sample = generator.choice(total, TESTED_MAX, replace=False) if len(total) > TESTED_MAX else np.asarray(total)
    mean, variance = fitting.moments(total)
    if copies * mean < SHARE_MIN * float(total.mean()):
        raise UsageError(
            f"{what}: the parts that are known take {fitting.mean:.3g} of the {float(total.mean()):.3g} ms, so the "
            "rest is not seen (record its own time)"
        )
    varies = copies * variance > SHARE_MIN * float(total.var())
    families = FAMILIES if varies else (constant_part,)
    found = [(fitting.distance(sample, family(mean, variance / mean**2)), family) for family in families]
    distance, family = min(found, key=lambda one: one[0])
    law = family(mean, variance / mean**2)
    further, again = 1, []
    for _ in range(RESAMPLES):
        simulated = fitting.sums(law, len(sample))
        refitted_mean, refitted_variance = fitting.moments(simulated)
        refitted = family(max(refitted_mean, 1e-9), max(refitted_variance, 0.0) / max(refitted_mean, 1e-9) ** 2)
        further += fitting.distance(simulated, refitted) >= distance
        again.append((refitted_mean, _p99(refitted)))
    p_value = further / (RESAMPLES + 1)
    if p_value < FIT_P_MIN + 1 / (RESAMPLES + 1):
        raise UsageError(
            f"{what}: no distribution beside the known parts gives what was measured (record its own time)"
        )
    shrink = sqrt(len(sample) / len(total))
    pairs = np.array(again)
    return Law(
        law,
        {
            "mean": _interval(mean, pairs[:, 0], shrink),
            "p99": _interval(_p99(law), pairs[:, 1], shrink),
        },
        len(total),
        p_value,
    )


class _Fitting:
    """What the other parts of a sum are known to take."""

    def __init__(self, others: Sequence[Part], copies: int, rng: np.random.Generator) -> None:
        self._others, self._copies, self._rng = others, copies, rng
        known = self._known(10 * SIMULATED)
        self.mean, self.variance = float(known.mean()), float(known.var())

    def _known(self, n: int) -> Array:
        drawn = np.zeros(n)
        for law, scale in self._others:
            drawn += scale * law.sample(self._rng.random((law.draws, n)))
        return drawn

    def sums(self, law: AnyDistribution, n: int) -> Array:
        drawn = self._known(n)
        for _ in range(self._copies):
            drawn += law.sample(self._rng.random((law.draws, n)))
        return drawn

    def moments(self, total: Array) -> tuple[float, float]:
        """Return mean and variance of one draw of the part."""
        return (float(total.mean()) - self.mean) / self._copies, (float(total.var()) - self.variance) / self._copies

    def distance(self, sample: Array, law: AnyDistribution) -> float:
        return float(stats.ks_2samp(sample, self.sums(law, SIMULATED), method="asymp").statistic)


def _p99(law: AnyDistribution) -> float:
    return float(law.quantile(np.array([0.99]))[0])


def _interval(value: float, again: Array, shrink: float) -> Interval:
    low, high = np.quantile(again, [0.025, 0.975]) - value
    return Interval(value, value - shrink * float(high), value - shrink * float(low))
