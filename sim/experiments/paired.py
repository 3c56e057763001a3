"""What a change does, told from luck: two systems under the same draws, and a measure steered by a known one.

Two runs of the same seed meet the same arrivals and the same service luck; what differs between them is the
change. Their difference scatters far less than either: *common random numbers*. In the same way a measure whose
companion has a known mean (the average service time of the run, the wait in a plain queue) can be corrected by how
far the companion came out off: a *control variate*.

Sources
-------
Law, "Simulation Modeling and Analysis", 5th ed., 2015, sections 11.2 and 11.5.
Lavenberg and Welch, "A perspective on the use of control variables to increase the efficiency of Monte Carlo
simulations", Management Science 27, 1981.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from sim.errors import UsageError
from sim.results.metrics import probability
from sim.statistics.intervals import Estimate, clean, mean_interval
from sim.statistics.quantiles import quantile

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sharpened:
    """An estimate with less luck in it.

    Parameters
    ----------
    estimate : Estimate
        The difference, or the corrected mean, with its interval.
    variance_ratio : float
        Variance without the method over variance with it: as many times fewer requests for the same interval.
    """

    estimate: Estimate
    variance_ratio: float


def paired_difference(
    before: Sequence[ArrayLike], after: Sequence[ArrayLike], *, statistic: str = "mean", level: float = 0.95
) -> Sharpened:
    """How much a statistic changes from one system to another, run by run under common random numbers.

    Parameters
    ----------
    before, after : sequence of array_like
        At least two replications each, as many on both sides; run k of both with the same seed, warm-up cut.
    statistic : str
        ``mean``, or ``p`` and digits: ``p99``.
    level : float
        Coverage asked for.

    Returns
    -------
    Sharpened
        Mean of *after* - *before* over the pairs; n counts pairs.

    Raises
    ------
    UsageError
        Fewer than two pairs, sides of different length, or an unknown statistic.
    """
    if len(before) != len(after) or len(before) < 2:
        raise UsageError(f"{len(before)} and {len(after)} runs must be as many on both sides, and at least 2")
    return paired_values(_statistic(before, statistic), _statistic(after, statistic), level=level)


def paired_values(before: ArrayLike, after: ArrayLike, *, level: float = 0.95) -> Sharpened:
    """As :func:`paired_difference`, from the statistic of each run; shapes (runs,)."""
    old, new = clean(before, finite=True), clean(after, finite=True)
    if old.shape != new.shape or old.size < 2:
        raise UsageError(f"{old.size} and {new.size} runs must be as many on both sides, and at least 2")
    found = mean_interval(new - old, level=level, method="independent")
    estimate = Estimate(found.value, found.low, found.high, found.n, f"{found.n} pairs, t", level)
    return Sharpened(estimate, _ratio(float(old.var(ddof=1) + new.var(ddof=1)), float((new - old).var(ddof=1))))


def controlled_mean(values: ArrayLike, controls: ArrayLike, *, known: ArrayLike, level: float = 0.95) -> Sharpened:
    """Mean of a measure over runs, corrected by companions whose true means are known.

    Parameters
    ----------
    values : array_like, shape (runs,)
        The measure, one number a replication.
    controls : array_like, shape (runs,) or (runs, companions)
        The companions in the same replications.
    known : array_like, shape () or (companions,)
        Their true means.
    level : float
        Coverage asked for.

    Raises
    ------
    UsageError
        Shapes differ, or there are too few runs to fit as many companions.
    """
    y = clean(values, finite=True)
    companions = np.asarray(controls, dtype=np.float64)
    if companions.shape[:1] != y.shape or companions.ndim > 2:
        raise UsageError(f"controls {companions.shape} must have one row for each of the {y.size} values")
    x = companions.reshape(y.size, -1) - np.atleast_1d(np.asarray(known, dtype=np.float64))
    runs, count = x.shape
    freedom = runs - count - 1
    if freedom < 1:
        raise UsageError(f"{runs} runs must be at least {count + 2} for {count} companions (run more, or drop some)")
    design = np.column_stack([np.ones(runs), x])
    fit, *_ = np.linalg.lstsq(design, y, rcond=None)
    residual = y - design @ fit
    error = sqrt(float(residual @ residual) / freedom * float(np.linalg.pinv(design.T @ design)[0, 0]))
    reach = float(stdtrit(freedom, (1 + level) / 2)) * error
    centre = float(fit[0])
    estimate = Estimate(centre, centre - reach, centre + reach, runs, f"{runs} runs, {count} controls, t", level)
    return Sharpened(estimate, _ratio(float(y.var(ddof=1)) / runs, error**2))


def _statistic(runs: Sequence[ArrayLike], statistic: str) -> Array:
    if statistic == "mean":
        return np.array([clean(run, finite=True).mean() for run in runs])
    share = probability(statistic)
    return np.array([quantile(run, share) for run in runs])


def _ratio(without: float, with_it: float) -> float:
    return without / with_it if with_it else inf
