"""Percentiles of latency and their confidence intervals, by order statistics.

A percentile here is always an observed latency, found by rank: P99 of 1,000 requests is the 990th order statistic. It
is never interpolated and never averaged over runs or time windows.

The bounds of the interval are two other observed latencies. For independent requests their ranks follow from the
binomial distribution, without any assumption about the shape of the tail. Neighbours in a queue are not independent: so
the variance between batches of the share of requests below the percentile gives the equivalent number of independent
requests (*effective n*), and the binomial ranks are computed for that number. Where a run is too short to bound a
percentile, the bound is infinite. The usual alternative, sectioning, has far lower coverage on short runs:
docs/COVERAGE.md.

Sources
-------
Hyndman and Fan, "Sample quantiles in statistical packages", Am. Stat. 50, 1996 (definition 1, the inverse of the
empirical distribution function).
Conover, "Practical Nonparametric Statistics", 3rd ed., 1999, section 3.2 (order-statistic interval).
Woodruff, "Confidence intervals for medians and other position measures", JASA 47, 1952 (inverting a share's interval).
Korn and Graubard, Survey Methodology 24, 1998 (effective sample size in a binomial interval).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, bdtrik

from sim.foundation.errors import UsageError
from sim.statistics.intervals import (
    BATCHES,
    Array,
    Estimate,
    Method,
    batch_starts,
    clean,
    clean_runs,
    effective_trials,
    mean_interval,
    proportion_interval,
    requests_to_settle,
)

__all__ = [
    "QuantileEstimate",
    "mean_interval",
    "proportion_interval",
    "quantile",
    "quantile_interval",
    "quantiles",
    "replicated_quantile_interval",
    "requests_to_settle",
]

QuantileEstimate = Estimate
"""An estimate whose value and finite bounds are observed values."""

PART = 5.0
"""Times the share beyond a percentile: so much of each sample is kept for the percentile of several together."""

ROUNDING = 4 * np.finfo(np.float64).eps
"""Relative error of n x probability: 0.07 x 100 is 7.000000000000001, and must be rank 7."""


def quantile(values: ArrayLike, probability: float) -> float:
    """Return the smallest observed value that at least a share *probability* of the values does not exceed.

    Parameters
    ----------
    values : array_like, shape (n,)
        In any order; infinity stands for a request without an answer.
    probability : float
        In (0, 1]; 0.99 for P99.

    Raises
    ------
    UsageError
        No values, NaN among them, or *probability* outside (0, 1].
    """
    return float(quantiles(values, [probability])[0])


def quantiles(values: ArrayLike, probabilities: Sequence[float]) -> Array:
    """Return several percentiles in one pass: as :func:`quantile`, shape (len(probabilities),)."""
    data = clean(values, finite=False)
    ranks = [_rank(data.size, probability) for probability in probabilities]
    return _at_ranks(data, ranks)


@dataclass(frozen=True)
class UpperPart:
    """The largest values of a sample: what a percentile of several samples together needs of each.

    Attributes
    ----------
    largest : ndarray, shape (m,)
    smaller_values : int
        Values of the sample that are at most as large as all of these.
    """

    largest: Array
    smaller_values: int = 0


def upper_part(values: Array, probability: float) -> UpperPart:
    """Return what a percentile may need: :data:`PART` times as many of the largest values as lie beyond it here."""
    kept = ceil(PART * (1 - probability) * len(values))
    if kept >= len(values):
        return UpperPart(values)
    return UpperPart(np.partition(values, len(values) - kept)[len(values) - kept :], len(values) - kept)


def pooled_quantile(parts: Sequence[UpperPart], probability: float) -> float:
    """Return the percentile of all samples together, as :func:`quantile`; a part that does not reach it bounds it."""
    values, smaller_values = (
        np.concatenate([part.largest for part in parts]),
        sum(part.smaller_values for part in parts),
    )
    rank = _rank(values.size + smaller_values, probability) - smaller_values
    return float(_at_ranks(values, [max(rank, 1)])[0])


def quantile_interval(
    values: ArrayLike, probability: float, *, level: float = 0.95, method: Method = "batches", batches: int = BATCHES
) -> QuantileEstimate:
    """Estimate a percentile of one run, with its interval.

    Parameters
    ----------
    values : array_like, shape (n,)
        In the order of arrival.
    probability : float
        In (0, 1); 0.99 for P99.
    level : float
        Coverage asked for, in (0, 1).
    method : {"batches", "independent"}
        "independent" only when every value was drawn apart.
    batches : int
        At least 2.

    Returns
    -------
    QuantileEstimate
        A bound is infinite when the run is too short for it.

    Raises
    ------
    UsageError
        No values, NaN among them, or an argument outside its rule.
    """
    data = clean(values, finite=False)
    _check(probability, level, batches)
    if method == "independent":
        return _ranked(data, probability, level=level, trials=float(data.size), method="independent, ranks")
    starts = batch_starts(data.size, batches)
    trials = _trials(data, starts, probability, level=level, ordered=True)
    return _ranked(data, probability, level=level, trials=trials, method=f"{starts.size} batches, ranks")


def replicated_quantile_interval(
    runs: Sequence[ArrayLike], probability: float, *, level: float = 0.95
) -> QuantileEstimate:
    """Estimate a percentile over independent replications, one array each; arguments as :func:`quantile_interval`."""
    parts = clean_runs(runs, finite=False)
    _check(probability, level, BATCHES)
    starts = np.cumsum([0, *(part.size for part in parts[:-1])], dtype=np.int64)
    data = np.concatenate(parts)
    trials = _trials(data, starts, probability, level=level, ordered=False)
    return _ranked(data, probability, level=level, trials=trials, method=f"{len(parts)} replications, ranks")


def _check(probability: float, level: float, batches: int) -> None:
    if not 0 < probability < 1:
        raise UsageError(f"probability={probability:g} must be in (0, 1) (0.99 for P99)")
    if not 0 < level < 1:
        raise UsageError(f"level={level:g} must be in (0, 1) (0.95 is usual)")
    if batches < 2:
        raise UsageError(f"batches={batches} must be >= 2 ({BATCHES} is the default)")


def _rank(n: int, probability: float) -> int:
    """Return the rank, from 1, of the percentile among *n* sorted values."""
    if not 0 < probability <= 1:
        raise UsageError(f"probability={probability:g} must be in (0, 1] (0.99 for P99)")
    return min(n, max(1, ceil(n * probability * (1 - ROUNDING))))


def _at_ranks(data: Array, ranks: Sequence[int]) -> Array:
    places = np.asarray(ranks, dtype=np.int64) - 1
    return np.asarray(np.partition(data, np.unique(places))[places])


def _trials(data: Array, starts: NDArray[np.int64], probability: float, *, level: float, ordered: bool) -> float:
    """Return the effective number of independent requests; the smaller of those for <= and < where values tie."""
    value = quantile(data, probability)
    at_most = effective_trials(data <= value, starts, level=level, ordered=ordered)
    below = effective_trials(data < value, starts, level=level, ordered=ordered)
    return min(at_most, below)


def _ranked(data: Array, probability: float, *, level: float, trials: float, method: str) -> QuantileEstimate:
    """Return the order-statistic interval for *trials* independent draws, with ranks scaled to the whole sample."""
    n, draws = data.size, int(trials)
    tail = (1 - level) / 2
    low = _binomial_quantile(tail, draws, probability)
    high = _binomial_quantile(1 - tail, draws, probability) + 1
    low_rank, high_rank = low * n // max(draws, 1), -(-high * n // max(draws, 1))
    ranks = [_rank(n, probability), min(max(low_rank, 1), n), min(max(high_rank, 1), n)]
    value, low_value, high_value = (float(x) for x in _at_ranks(data, ranks))
    return QuantileEstimate(
        value,
        low_value if low >= 1 else -inf,
        high_value if high <= draws else inf,
        n,
        method,
        level,
        draws,
    )


def _binomial_quantile(share: float, trials: int, probability: float) -> int:
    """Return the smallest k with P(Binomial(trials, probability) <= k) >= share."""
    if trials < 1:
        return 0
    k = max(0, ceil(float(bdtrik(share, trials, probability))) - 1)
    while bdtr(k, trials, probability) < share:
        k += 1
    return k
