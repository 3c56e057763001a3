"""The distribution behind a sample: chosen by likelihood, tested for fit, with an interval for each parameter.

The family is the one of least information criterion (AIC); of those that are supported equally well, the simplest.
Whether it fits is asked of the Kolmogorov-Smirnov distance with the parameters estimated from the same sample, whose
distribution no table has: samples of the fitted distribution are drawn, fitted again and measured (parametric
bootstrap). The same fits give the parameters' intervals. A sample that no family fits keeps its own quantiles
(``empirical``), which also holds modes that no family has.

Sources
-------
Stute, Gonzáles Manteiga and Presedo Quindimil, "Bootstrap based goodness-of-fit tests", Metrika 40, 1993.
Burnham and Anderson, "Model Selection and Multimodel Inference", 2nd ed., 2002, section 2.6 (differences below 2).
Davison and Hinkley, "Bootstrap Methods and their Application", 1997, chapter 5 (basic intervals on a log scale).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import ceil, inf, isfinite, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.experiments.calibration.families import FAMILIES, Family, Parameters
from sim.foundation.errors import UsageError
from sim.randomness.distributions import AnyDistribution, Constant, Empirical

Array = NDArray[np.float64]

SAMPLE_MIN = 30
"""Below this no family is told from another, and an interval of its tail says nothing."""

RESAMPLES = 199
"""Bootstrap samples: p-values in steps of half a per cent, intervals from ranks 5 and 195."""

TESTED_MAX = 20_000
"""Values that the test looks at: evenly spaced ones of a larger sample. It then detects a distance of a per cent."""

FIT_P_MIN = 0.01
"""A family is refused below this p-value: one true family in a hundred is, and is then kept as quantiles."""

KNOTS_MAX = 401
"""Quantiles of an empirical distribution: a step of a quarter of a per cent, so that the P99 lies on a knot."""

SUPPORTED_AIC = 2.0
"""Families within this of the least AIC are supported equally well: of them, the one of fewest parameters is taken."""

LEVEL = 0.95

QQ_PROBABILITIES = np.array([*np.arange(0.01, 1.0, 0.01), 0.995, 0.999])
"""Of the quantiles that are drawn against those of the fitted distribution."""


@dataclass(frozen=True)
class Interval:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Law:
    """A distribution that was fitted to a sample.

    Attributes
    ----------
    distribution : Distribution
        As a scenario holds it.
    intervals : mapping of str to Interval
        By parameter; for an empirical distribution those of its mean, P50 and P99.
    n : int
        Size of the sample.
    fit_probability : float, optional
        The p-value of goodness of fit; None for a constant and for an empirical distribution, which is not tested.
    considered : mapping of str to float
        AIC above the least, by family; infinite where the family cannot hold the sample.
    rejected : str
        The family that was taken, if it does not fit; empty otherwise.
    rejected_probability : float, optional
        Its p-value; None if no family was rejected.
    observed : ndarray, shape (quantiles,)
        Quantiles of the sample at :data:`QQ_PROBABILITIES`; empty where no sample shows the distribution alone.
    """

    distribution: AnyDistribution
    intervals: dict[str, Interval]
    n: int
    fit_probability: float | None = None
    considered: dict[str, float] = field(default_factory=dict)
    rejected: str = ""
    rejected_probability: float | None = None
    observed: Array = field(default_factory=lambda: np.zeros(0), compare=False, repr=False)

    @property
    def name(self) -> str:
        """The family, as a scenario writes it."""
        return self.distribution.distribution

    @property
    def entry(self) -> dict[str, Any]:
        """The distribution as a scenario holds it."""
        return self.distribution.model_dump()

    def __str__(self) -> str:
        numbers = ", ".join(
            f"{key} {one.value:.4g} [{one.low:.4g}, {one.high:.4g}]" for key, one in self.intervals.items()
        )
        fit = f", fit p = {self.fit_probability:.2g}" if self.fit_probability is not None else ""
        lost = f"; {self.rejected} does not fit (p = {self.rejected_probability:.2g})" if self.rejected else ""
        return f"{self.name}: {numbers}; n = {self.n:,}{fit}{lost}"


def fit_law(sample: Array, *, rng: int, what: str = "sample", resamples: int = RESAMPLES) -> Law:
    """Fit the distribution behind a sample of independent times.

    Parameters
    ----------
    sample : ndarray, shape (n,)
        Times in ms, >= 0 and finite.
    rng : int
        Seed of the bootstrap.
    what : str
        Name of the sample, for errors.
    resamples : int
        Bootstrap samples.

    Raises
    ------
    UsageError
        The sample is too small, or not of times.
    """
    x = np.asarray(sample, dtype=np.float64)
    if len(x) < SAMPLE_MIN:
        raise UsageError(
            f"{what}: {len(x)} requests cannot identify a distribution, must be >= {SAMPLE_MIN} (play more)"
        )
    if not np.isfinite(x).all() or (x < 0).any():
        raise UsageError(f"{what}: times must be finite and >= 0, has {x[~np.isfinite(x) | (x < 0)][0]:g}")
    if np.ptp(x) <= 1e-9 * abs(float(x.max())):
        value = float(np.median(x))
        return Law(Constant(value=value), {"value": Interval(value, value, value)}, len(x))
    generator = np.random.default_rng(rng)
    fitted = _by_criterion(x) if (x > 0).all() else []
    considered = {family.name: inf for family in FAMILIES} | {family.name: aic for aic, family, _ in fitted}
    if fitted:
        _, family, parameters = fitted[0]
        least = min(considered.values())
        considered = {name: aic - least for name, aic in considered.items()}
        p_value, intervals = _bootstrap(x, family, parameters, rng=generator, resamples=resamples)
        if p_value >= FIT_P_MIN:
            return Law(family.build(parameters), intervals, len(x), p_value, considered, observed=observed(x))
        return empirical_law(x, generator, considered=considered, rejected=family.name, rejected_probability=p_value)
    return empirical_law(x, generator, considered=considered)


def _by_criterion(x: Array) -> list[tuple[float, Family, dict[str, float]]]:
    """Return AIC, family and parameters, the one to take first."""
    found = []
    for family in FAMILIES:
        parameters = family.fit(x)
        if parameters is None:
            continue
        likelihood = float(family.log_density(x, parameters).sum())
        if isfinite(likelihood):
            found.append((2 * family.free_parameters - 2 * likelihood, family, parameters))
    least = min((aic for aic, _, _ in found), default=0.0)
    return sorted(found, key=lambda one: (one[0] > least + SUPPORTED_AIC, one[1].free_parameters, one[0]))


def _bootstrap(
    x: Array, family: Family, parameters: dict[str, float], *, rng: np.random.Generator, resamples: int
) -> tuple[float, dict[str, Interval]]:
    """Return the p-value of the fit and the parameters' intervals."""
    ordered = np.sort(x)
    tested = ordered[np.linspace(0, len(x) - 1, min(len(x), TESTED_MAX)).round().astype(np.int64)]
    observed = _distance(tested, family, parameters)
    again: dict[str, list[float]] = {name: [] for name in parameters}
    further = 1
    for _ in range(resamples):
        sample = np.sort(family.draw(parameters, rng, len(tested)))
        refitted = family.fit(sample) or parameters
        further += _distance(sample, family, refitted) >= observed
        for name, value in refitted.items():
            again[name].append(value)
    shrink = sqrt(len(tested) / len(x)) if family.regular else len(tested) / len(x)
    intervals = {name: _basic(value, again[name], shrink=shrink) for name, value in parameters.items()}
    return further / (resamples + 1), intervals


def _distance(ordered: Array, family: Family, parameters: Parameters) -> float:
    """Return the Kolmogorov-Smirnov distance of an ordered sample."""
    n, below = len(ordered), family.cdf(ordered, parameters)
    steps = np.arange(n + 1) / n
    return float(max((steps[1:] - below).max(), (below - steps[:-1]).max()))


def _basic(value: float, again: list[float], *, shrink: float) -> Interval:
    """Return the basic bootstrap interval on a log scale: never below 0, and skewed as the estimator is."""
    low, high = np.quantile(np.log(np.asarray(again) / value), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    # An edge of a range is always estimated inside it: the interval of the truth then begins at the estimate.
    return Interval(
        value, value * min(1.0, float(np.exp(-shrink * high))), value * max(1.0, float(np.exp(-shrink * low)))
    )


def empirical_law(
    x: Array,
    rng: np.random.Generator,
    *,
    considered: dict[str, float] | None = None,
    rejected: str = "",
    rejected_probability: float | None = None,
) -> Law:
    """Return a sample's own quantiles as its distribution, with intervals of its mean, P50 and P99."""
    statistics: dict[str, Callable[[Array], Any]] = {
        "mean": np.mean,
        "p50": np.median,
        "p99": partial(np.quantile, q=0.99),
    }
    size = min(len(x), TESTED_MAX)
    again = [x[rng.integers(0, len(x), size)] for _ in range(RESAMPLES)]
    intervals = {}
    for name, statistic in statistics.items():
        value = float(statistic(x))
        low, high = np.quantile([float(statistic(one)) for one in again], [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) - value
        scale = sqrt(size / len(x))
        intervals[name] = Interval(value, value + scale * float(low), value + scale * float(high))
    return Law(
        empirical(x),
        intervals,
        len(x),
        considered=considered or {},
        rejected=rejected,
        rejected_probability=rejected_probability,
        observed=observed(x),
    )


def observed(x: Array) -> Array:
    """Return the quantiles of a sample that a Q-Q plot shows."""
    return np.asarray(np.quantile(x, QQ_PROBABILITIES))


def empirical(x: Array) -> Empirical:
    """Return the quantiles of a sample as a distribution whose mean is the sample's.

    Between its last two knots lies the tail that no quantile describes; the last one is set so that the mean is kept.
    """
    knots = min(KNOTS_MAX, max(2, ceil(len(x) / 2)))
    values = np.quantile(x, np.linspace(0, 1, knots))
    middle = float((values[1:-1].sum() + values[0] / 2) / (knots - 1))
    last = 2 * (knots - 1) * (float(x.mean()) - middle)
    values[-1] = min(max(last, values[-2]), values[-1])
    return Empirical(values=tuple(values.tolist()))
