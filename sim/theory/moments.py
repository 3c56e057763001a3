"""The squared coefficient of variation of a distribution: all that a mean wait depends on besides the mean.

Sources
-------
Johnson, Kotz and Balakrishnan, "Continuous Univariate Distributions", 2nd ed., 1994.
"""

from math import exp, gamma, log

import numpy as np

from sim.randomness.distributions import (
    AnyDistribution,
    Constant,
    Empirical,
    Erlang,
    Exponential,
    Hyperexponential,
    Lognormal,
    Pareto,
    Uniform,
    Weibull,
)


def squared_variation(distribution: AnyDistribution) -> float:
    """Variance over squared mean; 0 for a distribution that is always 0."""
    match distribution:
        case Constant():
            return 0.0
        case Exponential():
            return 1.0
        case Erlang(stages=stages):
            return 1.0 / stages
        case Hyperexponential(cv2=cv2):
            return cv2
        case Uniform(low=low, high=high):
            return (high - low) ** 2 / 12 / distribution.expected() ** 2 if high else 0.0
        case Lognormal():
            return exp(distribution.sigma**2) - 1
        case Weibull(shape=shape):
            return gamma(1 + 2 / shape) / gamma(1 + 1 / shape) ** 2 - 1
        case Pareto():
            return _pareto_square(distribution) / distribution.expected() ** 2 - 1
        case Empirical(values=values):
            left, right = np.asarray(values[:-1]), np.asarray(values[1:])
            square = float((left**2 + left * right + right**2).mean() / 3)
            return square / distribution.expected() ** 2 - 1 if square else 0.0


def _pareto_square(distribution: Pareto) -> float:
    """Mean square of the bounded power tail."""
    a, low, high = distribution.shape, distribution.minimum, distribution.maximum
    if a == 2:
        return 2 * low**2 * log(high / low) / distribution.cut
    square: float = a / (a - 2) * low**a * (low ** (2 - a) - high ** (2 - a)) / distribution.cut
    return square
