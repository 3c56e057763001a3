"""What a change does, under common random numbers: two systems that meet the same requests and the same draws.

Two runs of the same seed meet the same arrivals and draw the same service times; what differs between them is the
change. Their difference varies far less than either run.

Sources
-------
Law, "Simulation Modeling and Analysis", 5th ed., 2015, section 11.2.
"""

from dataclasses import dataclass
from math import inf

from numpy.typing import ArrayLike

from sim.errors import UsageError
from sim.statistics.intervals import Estimate, clean, mean_interval


@dataclass(frozen=True)
class PairedDifference:
    """How much a statistic changes.

    Attributes
    ----------
    estimate : Estimate
        Mean of the differences, with its interval; n counts pairs.
    variance_ratio : float
        Variance without pairing over variance with it: the factor by which pairing saves runs.
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
        Coverage asked for.

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
