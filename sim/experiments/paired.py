"""Paired comparison of two systems under common random numbers.

Two runs with the same seed have the same arrivals and the same service times; what differs between them is the change.
The variance of their difference is far smaller than that of either run.

Sources
-------
Law, "Simulation Modeling and Analysis", 5th ed., 2015, section 11.2.
"""

from dataclasses import dataclass
from math import inf

from numpy.typing import ArrayLike

from sim.foundation.errors import UsageError
from sim.statistics.intervals import Estimate, clean, mean_interval


@dataclass(frozen=True)
class PairedDifference:
    """The change of a statistic, estimated from pairs of runs.

    Attributes
    ----------
    estimate : Estimate
        Mean of the differences, with its interval; n counts pairs.
    variance_ratio : float
        Variance of the difference without pairing, over that with it: the factor by which pairing saves runs.
    """

    estimate: Estimate
    variance_ratio: float


def paired_difference(before: ArrayLike, after: ArrayLike, *, level: float = 0.95) -> PairedDifference:
    """Estimate how much a statistic changes from one system to another.

    Parameters
    ----------
    before, after : array_like, shape (runs,)
        The statistic of each run, at least two; run k of both sides has the same seed.
    level : float
        Confidence level of the interval.

    Raises
    ------
    UsageError
        Fewer than two pairs, or sides of different length.
    """
    old, new = clean(before, finite=True), clean(after, finite=True)
    if old.shape != new.shape or old.size < 2:
        raise UsageError(f"{old.size} and {new.size} runs must be equally many on both sides, and at least 2")
    found = mean_interval(new - old, level=level, method="independent")
    estimate = Estimate(found.value, found.low, found.high, found.n, f"{found.n} pairs, t", level)
    apart, together = float(old.var(ddof=1) + new.var(ddof=1)), float((new - old).var(ddof=1))
    return PairedDifference(estimate, apart / together if together else inf)
