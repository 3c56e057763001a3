"""Warm-up detection: find the end of the initial transient by MSER-5.

The first requests of a simulation meet idle servers, later ones meet queues; the transient must not be averaged with
the rest. MSER-5 finds the truncation point that minimises the standard error of the mean: truncating more lowers it as
long as transient values are removed, and raises it once steady-state data are.

Near its minimum that curve is flat, and the position of the minimum is random: a run that happened to begin with a lull
would lose it. So the earliest point within 3 % of the minimum is taken. It leaves a bias of at most a sixth of the
standard error, whose square is the 3 %.

Sources
-------
White, "An effective truncation heuristic for bias reduction in simulation output", Simulation 69, 1997.
White, Cobb and Spratt, "A comparison of five steady-state truncation heuristics for simulation", WSC 2000 (MSER-5).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim.statistics.intervals import clean

BATCH = 5
"""Observations averaged before the search: the 5 of MSER-5."""

AS_GOOD = 1.03
"""Accept any truncation point whose MSER is within 3 % of the minimum."""


@dataclass(frozen=True)
class WarmUp:
    """The truncation point of a run.

    Parameters
    ----------
    requests : int
        Observations to cut from the beginning.
    settled : bool
        False when the minimum lies in the third quarter: the run ended within its transient, and must be longer.
    """

    requests: int
    settled: bool


def warm_up(values: ArrayLike) -> WarmUp:
    """Find the truncation point of one run, by MSER-5.

    Parameters
    ----------
    values : array_like, shape (n,)
        In the order of arrival, finite.

    Returns
    -------
    WarmUp
        Truncates nothing, and is not settled, for a run of fewer than two batches.

    Raises
    ------
    UsageError
        No values, or one that is not finite.
    """
    data = clean(values, finite=True)
    count = data.size // BATCH
    if count < 2:
        return WarmUp(0, settled=False)
    means = data[: count * BATCH].reshape(count, BATCH).mean(axis=1)
    score = _marginal_error(means)
    half = count // 2
    best = int(np.argmin(score[: count - count // 4]))  # The last few means are alike by chance.
    if best <= half:
        earliest = int(np.argmax(score <= AS_GOOD * score[best]))
        return WarmUp(earliest * BATCH, settled=True)
    return WarmUp(int(np.argmin(score[: half + 1])) * BATCH, settled=False)


def replicated_warm_up(runs: Sequence[ArrayLike]) -> WarmUp:
    """Find one truncation point for all replications: MSER-5 on their average, as far as the shortest reaches.

    Noise averages out while the initial transient does not, and a common point cannot be biased by any single run.
    """
    data = [clean(run, finite=True) for run in runs]
    shortest = min(run.size for run in data)
    return warm_up(np.mean([run[:shortest] for run in data], axis=0))


def forgotten_after(runs: Sequence[ArrayLike], *, begins_max: float = 1.5, halves_max: float = 1.0) -> int | None:
    """Find after how many sections of equally long runs their start no longer shows.

    MSER-5 asks for the most precise mean, and is misled where a run is only some ten times as long as its own
    correlation. Independent runs can say more. What follows a cut shows no start when two differences are within so
    many of their standard errors over the runs: that of its first section from the runs' second halves, which shows a
    start that is short, and that of its own two halves, which shows one that fades slowly.

    Half of the second difference has the standard error of the mean of what follows the cut. So it sees a drift that
    would move that mean out of its own interval, however precise the mean is; a single section, which is several times
    less precise, does not. Noise still hides the last of what fades, so as much again is cut as was found.

    Parameters
    ----------
    runs : sequence of array_like, shape (sections,)
        At least two, of at least four sections; a statistic of each section.
    begins_max, halves_max : float
        Most standard errors of the first difference, and of the second.

    Returns
    -------
    int or None
        Sections to cut, at least 1 and at most half of them; None when a start shows in the whole first half.

    >>> forgotten_after([[9, 5, 1, 2, 1, 2, 1, 2], [8, 6, 2, 1, 2, 1, 2, 1]])
    4
    """
    data = np.array([clean(run, finite=True) for run in runs])
    half = int(data.shape[1]) // 2
    for cut in range(1, half):
        left = data[:, cut:]
        middle = left.shape[1] // 2
        begins_apart = left[:, 0] - data[:, half:].mean(axis=1)
        halves_apart = left[:, :middle].mean(axis=1) - left[:, -middle:].mean(axis=1)
        if _is_noise(begins_apart, begins_max) and _is_noise(halves_apart, halves_max):
            return min(2 * cut, half)
    return None


def _is_noise(apart: NDArray[np.float64], error_max: float) -> bool:
    """Whether the mean of *apart*, shape (runs,), is 0 within *error_max* of its standard errors."""
    error = apart.std(ddof=1) / np.sqrt(apart.size)
    return bool(abs(apart.mean()) <= error_max * error)


def _marginal_error(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return MSER for truncation before each batch: the remaining sum of squares over the squared remaining number."""
    centred = means - means.mean()
    left = np.arange(means.size, 0, -1)
    total = np.cumsum(centred[::-1])[::-1]
    square = np.cumsum((centred**2)[::-1])[::-1]
    return np.asarray((square - total**2 / left) / left.astype(np.float64) ** 2)
