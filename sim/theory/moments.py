"""How much a law scatters: its squared coefficient of variation, the only thing that a mean wait asks of it.

Sources
-------
Johnson, Kotz and Balakrishnan, "Continuous Univariate Distributions", 2nd ed., 1994.
"""

from math import exp, gamma, log

import numpy as np

from sim.randomness.distributions import (
    AnyLaw,
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


def squared_variation(law: AnyLaw) -> float:
    """Variance over squared mean; 0 for a law that is always 0."""
    match law:
        case Constant():
            return 0.0
        case Exponential():
            return 1.0
        case Erlang(stages=stages):
            return 1.0 / stages
        case Hyperexponential(cv2=cv2):
            return cv2
        case Uniform(low=low, high=high):
            return (high - low) ** 2 / 12 / law.expected() ** 2 if high else 0.0
        case Lognormal():
            return exp(law.sigma**2) - 1
        case Weibull(shape=shape):
            return gamma(1 + 2 / shape) / gamma(1 + 1 / shape) ** 2 - 1
        case Pareto():
            return _pareto_square(law) / law.expected() ** 2 - 1
        case Empirical(values=values):
            left, right = np.asarray(values[:-1]), np.asarray(values[1:])
            square = float((left**2 + left * right + right**2).mean() / 3)
            return square / law.expected() ** 2 - 1 if square else 0.0


def _pareto_square(law: Pareto) -> float:
    """Mean square of the bounded power tail."""
    a, low, high = law.shape, law.minimum, law.maximum
    if a == 2:
        return 2 * low**2 * log(high / low) / law.cut
    square: float = a / (a - 2) * low**a * (low ** (2 - a) - high ** (2 - a)) / law.cut
    return square
