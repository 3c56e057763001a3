"""Checks of what a formula is given: rates and times above zero, utilization below 1, probabilities in (0, 1)."""

from collections.abc import Callable
from math import inf, isfinite

from scipy.optimize import brentq

from sim.foundation.errors import UsageError

MS_PER_S = 1000.0
"""Rates come per second, times in milliseconds; formulas work in milliseconds."""

DOUBLINGS = 200
"""Bracket doublings before a quantile is called infinite."""


def positive(**numbers: float) -> None:
    """Each named number must be finite and > 0; booleans and NaN are refused too."""
    for name, number in numbers.items():
        if not (isfinite(number) and number > 0):
            raise UsageError(f"{name}={number:g} must be > 0 and finite (docs/THEORY.md lists the formulas)")


def not_negative(**numbers: float) -> None:
    """Each named number must be finite and >= 0."""
    for name, number in numbers.items():
        if not (isfinite(number) and number >= 0):
            raise UsageError(f"{name}={number:g} must be >= 0 and finite (docs/THEORY.md lists the formulas)")


def whole(**numbers: int) -> None:
    """Each named number must be an integer >= 1."""
    for name, number in numbers.items():
        if int(number) != number or number < 1:
            raise UsageError(f"{name}={number!r} must be a whole number >= 1 (docs/THEORY.md)")


def stable(utilization: float) -> None:
    """A queue without bound needs utilization < 1."""
    if not utilization < 1:
        raise UsageError(
            f"utilization={utilization:.4g} must be < 1 (lower the rate, shorten the service or add servers)"
        )


def share(probability: float) -> None:
    """A quantile's probability must lie inside (0, 1)."""
    if not 0 < probability < 1:
        raise UsageError(f"probability={probability:g} must be in (0, 1) (0.99 for P99)")


def invert_tail(tail: Callable[[float], float], probability: float, *, scale: float) -> float:
    """Smallest t >= 0 with tail(t) <= 1 - probability, for a continuous falling *tail*; *scale* is a typical t."""
    share(probability)
    target = 1 - probability
    if tail(0.0) <= target:
        return 0.0
    high = scale
    for _ in range(DOUBLINGS):
        if tail(high) <= target:
            return float(brentq(lambda t: tail(t) - target, 0.0, high, xtol=1e-12 * high, rtol=1e-12))
        high *= 2
    return inf
