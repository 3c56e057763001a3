"""Confidence intervals of means and shares from autocorrelated data.

Latencies of one run are not independent: one long queue makes hundreds of neighbours slow together, so a million of
them may hold no more information than a few thousand independent ones. So the run is cut, in order, into a few long
*batches*, and the variance is estimated from the differences between the batches. Independent runs (*replications*)
serve as batches directly.

The residual correlation of neighbouring batches widens the interval, and their skewness shifts it. Too little data
gives an infinite bound, never a narrow one.

Sources
-------
Schmeiser, "Batch size effects in the analysis of simulation output", Oper. Res. 30, 1982 (10 to 30 batches).
Tafazzoli and Wilson, "Skart: a skewness- and autoregression-adjusted batch-means procedure", IIE Trans. 43, 2011.
Willink, "A confidence interval and test for the mean of an asymmetric distribution", Commun. Stat. 34, 2005.
Garwood, "Fiducial limits for the Poisson distribution", Biometrika 28, 1936.
Korn and Graubard, "Confidence intervals for proportions with small expected number of positive counts estimated
from survey data", Survey Methodology 24, 1998 (effective sample size in the exact binomial interval).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf, isfinite, sqrt
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, gammaincinv, ndtri, stdtrit

from sim.foundation.errors import UsageError

Array = NDArray[np.float64]
Method = Literal["batches", "independent"]

BATCHES = 20
"""Batches per run: Schmeiser's range is 10 to 30; docs/COVERAGE.md shows the coverage with 20."""

BATCH_LENGTH_MIN = 10
"""Shortest batch: shorter ones do not reduce correlation, so short runs get fewer batches."""

CORRELATION_MAX = 0.9
"""Upper limit on the lag-1 correlation of batches: beyond it the run is far too short for a meaningful factor."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A point estimate with its confidence interval.

    Parameters
    ----------
    value, low, high : float
        In the unit of the data; *low* is -inf and *high* is inf where the data give no bound.
    n : int
        Observations used.
    method : str
        How the interval was computed, for the reader of a table.
    level : float
        Nominal coverage.
    effective_trials : int
        Equivalent number of independent observations; 0 where the method gives none.
    """

    value: float
    low: float
    high: float
    n: int
    method: str
    level: float = 0.95
    effective_trials: int = 0

    @property
    def half_width(self) -> float:
        """Half the interval's length, in the unit of the data."""
        return (self.high - self.low) / 2

    @property
    def relative_half_width(self) -> float:
        """Half width as a share of the value; infinite at value 0."""
        return self.half_width / abs(self.value) if self.value else inf

    def holds(self, truth: float) -> bool:
        """Whether *truth* lies in the interval."""
        return self.low <= truth <= self.high

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}] (n={self.n:,}, {self.method})"


def mean_interval(
    values: ArrayLike, *, level: float = 0.95, method: Method = "batches", batches: int = BATCHES
) -> Estimate:
    """Estimate the mean of one run, with its interval.

    Parameters
    ----------
    values : array_like, shape (n,)
        In the order of arrival, finite.
    level : float
        Coverage asked for, in (0, 1).
    method : {"batches", "independent"}
        "independent" only when every value was drawn apart.
    batches : int
        At least 2.

    Raises
    ------
    UsageError
        No values, a value that is not finite, or an argument outside its rule.
    """
    data = clean(values, finite=True)
    _check(level=level, batches=batches)
    if method == "independent":
        return _skewed_t(data, np.ones(data.size), level=level, n=data.size, method="independent, t")
    starts = batch_starts(data.size, batches)
    sizes = np.diff(starts, append=data.size).astype(np.float64)
    sums = np.add.reduceat(data, starts)
    inflation = correlation_factor(sums / sizes)
    return _skewed_t(
        sums / sizes, sizes, level=level, n=data.size, method=f"{starts.size} batches, t", inflation=inflation
    )


def replicated_mean_interval(runs: Sequence[ArrayLike], *, level: float = 0.95) -> Estimate:
    """Estimate the mean over independent replications, one array each; arguments as :func:`mean_interval`."""
    data = clean_runs(runs, finite=True)
    _check(level=level)
    means = np.array([run.mean() for run in data])
    sizes = np.array([run.size for run in data], dtype=np.float64)
    return _skewed_t(means, sizes, level=level, n=int(sizes.sum()), method=f"{len(data)} replications, t")


def proportion_interval(successes: int, n: int, *, level: float = 0.95, n_effective: float | None = None) -> Estimate:
    """Estimate a proportion by Clopper and Pearson: coverage of at least *level* for independent trials.

    Parameters
    ----------
    successes, n : int
        0 <= successes <= n, n >= 1.
    level : float
        Coverage asked for, in (0, 1).
    n_effective : float, optional
        Equivalent number of independent trials where trials are clustered; see :func:`share_interval`.

    Raises
    ------
    UsageError
        Counts outside their rule.
    """
    if n < 1 or not 0 <= successes <= n:
        raise UsageError(f"successes={successes}, n={n} must satisfy 0 <= successes <= n and n >= 1 (count trials)")
    _check(level=level)
    share, trials = successes / n, float(n) if n_effective is None else min(n_effective, float(n))
    hits, tail = share * trials, (1 - level) / 2
    low = float(betaincinv(hits, trials - hits + 1, tail)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, trials - hits, 1 - tail)) if hits < trials else 1.0
    method = "Clopper-Pearson" if n_effective is None else "Clopper-Pearson, effective n"
    return Estimate(share, low, high, n, method, level, int(trials))


def rate_interval(events: int, exposure: float, *, level: float = 0.95) -> Estimate:
    """Estimate a rate of independent events by Garwood: coverage of at least *level*.

    Parameters
    ----------
    events : int
        Number of events, >= 0.
    exposure : float
        Time in which they were counted, > 0; the rate is per unit of it.
    level : float
        Coverage asked for, in (0, 1).

    Raises
    ------
    UsageError
        Arguments outside their rule.
    """
    if events < 0 or not 0 < exposure < inf:
        raise UsageError(f"events={events}, exposure={exposure} must satisfy events >= 0 and exposure > 0")
    _check(level=level)
    tail = (1 - level) / 2
    low = float(gammaincinv(events, tail)) if events else 0.0
    high = float(gammaincinv(events + 1, 1 - tail))
    return Estimate(events / exposure, low / exposure, high / exposure, events, "Garwood", level, events)


def share_interval(flags: ArrayLike, *, level: float = 0.95, batches: int = BATCHES) -> Estimate:
    """Estimate the share of true flags in one run, where failures come in clusters (an outage, a full queue).

    Parameters
    ----------
    flags : array_like of bool, shape (n,)
        In the order of arrival.
    level, batches
        As :func:`mean_interval`.
    """
    data = np.asarray(flags, dtype=np.bool_).ravel()
    if not data.size:
        raise UsageError("flags=[] must hold at least one trial (run more requests)")
    _check(level=level, batches=batches)
    starts = batch_starts(data.size, batches)
    trials = effective_trials(data, starts, level=level, ordered=True)
    return proportion_interval(int(data.sum()), data.size, level=level, n_effective=max(trials, 1.0))


def requests_to_settle(estimate: Estimate, line: float) -> int | None:
    """Estimate how many requests are needed until the interval no longer contains *line*, by the square-root rule.

    The present *n* when the interval does not contain it now; None when the value equals the line, which no number
    settles. Where the bound towards the line is infinite, the answer is a lower limit: run that many and ask again.
    """
    if not estimate.low <= line <= estimate.high:
        return estimate.n
    gap = abs(estimate.value - line)
    reach = estimate.value - estimate.low if line < estimate.value else estimate.high - estimate.value
    if gap == 0:
        return None
    if not isfinite(reach):
        return 2 * estimate.n
    return max(estimate.n + 1, ceil(estimate.n * (reach / gap) ** 2))


def round_up(count: int) -> int:
    """Round up to two significant digits, the precision of the square-root rule."""
    unit: int = 10 ** max(0, len(str(count)) - 2)
    return -(-count // unit) * unit


def batch_starts(n: int, batches: int = BATCHES) -> NDArray[np.int64]:
    """Return the first index of each batch: *batches* of nearly equal length, fewer for small *n*, at least one."""
    count = max(1, min(batches, n // BATCH_LENGTH_MIN))
    return np.arange(count, dtype=np.int64) * n // count


def correlation_factor(batch_values: Array) -> float:
    """Return the variance inflation by correlated batches: (1 + r)/(1 - r), with r the lag-1 correlation.

    Only the excess of *r* over its standard error counts, so that independent batches are not inflated by chance.
    """
    gap = batch_values - batch_values.mean()
    square = float(gap @ gap)
    if gap.size < 3 or square == 0:
        return 1.0
    r = min(max(0.0, float(gap[1:] @ gap[:-1]) / square - 1 / sqrt(gap.size)), CORRELATION_MAX)
    return (1 + r) / (1 - r)


def effective_trials(flags: NDArray[np.bool_], starts: NDArray[np.int64], *, level: float, ordered: bool) -> float:
    """Return the effective number of independent trials for the share of true *flags*, given in groups.

    The variance of the share between groups replaces the binomial one; its few degrees of freedom are accounted for by
    the squared ratio of the normal to Student's quantile (Korn and Graubard).

    Parameters
    ----------
    flags : ndarray of bool, shape (n,)
        Flags of all groups, concatenated.
    starts : ndarray of int64, shape (groups,)
        First index of each group.
    level : float
        Confidence level of the interval that will use it.
    ordered : bool
        Whether groups are consecutive in time, so that their correlation counts.

    Returns
    -------
    float
        Between 0 (a single group: unknown) and n.
    """
    n, groups = flags.size, starts.size
    if groups < 2:
        return 0.0
    sizes = np.diff(starts, append=n)
    hits = np.add.reduceat(flags, starts, dtype=np.int64)
    share = float(hits.sum()) / n
    residual = hits - share * sizes
    variance = groups / (groups - 1) * float(residual @ residual) / n**2
    if ordered:
        variance *= correlation_factor(hits / sizes)
    if variance == 0:
        return float(n)
    tail = (1 + level) / 2
    paid = float(ndtri(tail) / stdtrit(groups - 1, tail)) ** 2
    return min(float(n), share * (1 - share) / variance * paid)


def clean(values: ArrayLike, *, finite: bool) -> Array:
    """Return values as a flat float array; refuse an empty one, NaN, and (with *finite*) infinities."""
    data = np.asarray(values, dtype=np.float64).ravel()
    if not data.size:
        raise UsageError("values=[] must hold at least one number (did the warm-up cut everything?)")
    bad = ~np.isfinite(data) if finite else np.isnan(data)
    if bad.any():
        rule = "finite" if finite else "numbers, not NaN"
        raise UsageError(f"values: {int(bad.sum())} of {data.size} are not {rule} (leave unanswered requests out)")
    return data


def clean_runs(runs: Sequence[ArrayLike], *, finite: bool) -> list[Array]:
    """Return each replication as an array; refuse fewer than two."""
    if len(runs) < 2:
        raise UsageError(f"{len(runs)} replications must be >= 2 (use the interval by batches for one run)")
    return [clean(run, finite=finite) for run in runs]


def _check(*, level: float, batches: int = BATCHES) -> None:
    if not 0 < level < 1:
        raise UsageError(f"level={level:g} must be in (0, 1) (0.95 is usual)")
    if batches < 2:
        raise UsageError(f"batches={batches} must be >= 2 ({BATCHES} is the default)")


def _skewed_t(means: Array, sizes: Array, *, level: float, n: int, method: str, inflation: float = 1.0) -> Estimate:
    """Return Student's t interval from group means, corrected for skewness (Willink); exact for normal means."""
    groups, weights = means.size, sizes / sizes.sum()
    centre = float(weights @ means)
    if groups < 2:
        return Estimate(centre, -inf, inf, n, method, level)
    residual = (means - centre) * weights * groups
    variance = float(residual @ residual) / (groups - 1)
    if variance == 0:
        return Estimate(centre, centre, centre, n, method, level)
    error = sqrt(variance * inflation / groups)
    third = groups / ((groups - 1) * max(groups - 2, 1)) * float((residual**3).sum())
    skew = third / (6 * sqrt(groups) * variance**1.5)
    t = float(stdtrit(groups - 1, (1 + level) / 2))
    return Estimate(centre, centre - _bend(t, skew) * error, centre - _bend(-t, skew) * error, n, method, level)


def _bend(t: float, skew: float) -> float:
    """Apply Willink's skewness transform to a Student quantile; the identity without skewness."""
    if abs(skew) < 1e-6:
        return t
    return float((np.cbrt(1 + 6 * skew * (t - skew)) - 1) / (2 * skew))
