"""Distributions as they may as well be: drawn from the intervals of a fit, so that a prediction carries its doubt.

Each parameter is drawn by itself, normal on the log scale with the width of its 95 % interval. Where the interval is of
a statistic that the family has no parameter for, the whole distribution is scaled by that of its mean; only a lognormal
part of a sum, whose mean and P99 are known, also changes its shape. Parameters that were estimated from one sample
depend on each other, and that is left out: it makes a prediction's interval a little too wide.

Sources
-------
Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 4.2 (draws from fitted parameters).
"""

from math import exp, isfinite, log, sqrt
from typing import Any

import numpy as np

from sim.experiments.calibration.found import Number
from sim.experiments.calibration.laws import Interval, Law
from sim.foundation.errors import SimError, UsageError
from sim.randomness.distributions import NORMAL_P99, AnyDistribution, Lognormal

DEVIATIONS = 3.92
"""Standard deviations between the ends of a normal 95 % interval."""

ATTEMPTS = 100
"""Draws that give no distribution (a P99 below the median) are drawn again; after these the fit itself is taken."""


def drawn(law: Law, rng: np.random.Generator) -> AnyDistribution:
    """Return a distribution drawn from what *law* leaves open.

    Parameters
    ----------
    law : Law
    rng : Generator
    """
    for _ in range(ATTEMPTS):
        numbers = {name: drawn_number(one, rng) for name, one in law.intervals.items()}
        try:
            return _with(law, numbers)
        except SimError:
            continue
    return law.distribution


def drawn_entry(law: Law | Number, rng: np.random.Generator, *, speed: float = 1.0) -> Any:
    """Return what a scenario holds of a distribution or number that is drawn from what *law* leaves open.

    Parameters
    ----------
    law : Law or Number
    rng : Generator
    speed : float
        How many times as long it takes, in a run whose machine is slower or faster.
    """
    if isinstance(law, Number):
        return law.as_entry(speed * drawn_number(law.interval, rng))
    found = drawn(law, rng)
    return (found if speed == 1.0 else scaled(found, speed)).model_dump()


def drawn_number(number: Interval, rng: np.random.Generator) -> float:
    """Return a number drawn from its interval, in its own unit."""
    return number.value * exp(_deviation(number) * rng.standard_normal())


def _deviation(interval: Interval) -> float:
    """Return the standard deviation of a number's logarithm."""
    if interval.low > 0:
        return log(interval.high / interval.low) / DEVIATIONS
    wide = (interval.high - interval.low) / DEVIATIONS
    return wide / abs(interval.value) if interval.value and isfinite(wide) else 0.0


def _with(law: Law, numbers: dict[str, float]) -> AnyDistribution:
    """Return the distribution with other parameters, or as a whole longer or shorter."""
    own = law.distribution
    if set(numbers) <= set(type(own).model_fields):
        if "stages" in numbers:
            numbers = numbers | {"stages": max(1, round(numbers["stages"]))}
        return type(own)(**{**own.model_dump(), **numbers})
    if isinstance(own, Lognormal) and set(numbers) == {"mean", "p99"}:
        return _lognormal(law, numbers["mean"], numbers["p99"])
    return scaled(own, numbers["mean"] / law.intervals["mean"].value)


def _lognormal(law: Law, mean: float, p99: float) -> Lognormal:
    """Return the lognormal distribution of this mean and P99; its ratio of the two has a largest value."""
    # The P99's interval holds the mean's doubt: what is left is the shape's.
    own_mean, own_p99 = (law.intervals[name] for name in ("mean", "p99"))
    both, alone = _deviation(own_p99), _deviation(own_mean)
    left = sqrt(max(0.0, both**2 - alone**2)) / both if both > 0 else 0.0
    ratio = own_p99.value / own_mean.value * (p99 / own_p99.value) ** left
    under_root = NORMAL_P99**2 - 2 * log(ratio)
    if under_root < 0 or ratio <= 1:
        raise UsageError(f"no lognormal distribution has a P99 of {ratio:.3g} times its mean")
    sigma = NORMAL_P99 - sqrt(under_root)
    median = mean * exp(-(sigma**2) / 2)
    return Lognormal(median=median, p99=median * exp(NORMAL_P99 * sigma))


TIMES = frozenset({"value", "low", "high", "mean", "median", "p99", "minimum", "maximum"})
"""Parameters that are times; the others are shapes."""


def scaled(law: AnyDistribution, factor: float) -> AnyDistribution:
    """Return the distribution of *factor* times the value."""
    tables: dict[str, Any] = law.model_dump()
    longer = {name: value * factor for name, value in tables.items() if name in TIMES}
    if "values" in tables:
        longer["values"] = tuple(value * factor for value in tables["values"])
    return type(law)(**{**tables, **longer})
