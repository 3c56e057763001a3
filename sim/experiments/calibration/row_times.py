"""The time that each row adds to a statement, from a log of statements that read different numbers of rows.

Without it a distribution of times is that of the log's own mixture of statements, and a scenario whose steps name their
``sql`` would count rows twice: once in ``read_ms``, once in ``row_us``.

Sources
-------
Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 9.5 (pairs are resampled, since long statements
vary more than short ones).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.experiments.calibration.laws import SAMPLE_MIN, Interval
from sim.foundation.figures import figure

Array = NDArray[np.float64]

RESAMPLES = 400
GROWTH_MIN = 0.1
"""Of the median time, which the rows must add between few and many for it to matter."""
GROUPS = 4
"""Groups of equal size, by rows: a straight line fits the mean of each."""
ERRORS_MAX = 3.5
MISFIT_MAX = 0.1
"""A group's mean may differ from the line by so many standard errors, or by this share of its time."""
NEGATIVE_MAX = 0.01
"""Share of times that rows alone may exceed, by chance."""


@dataclass(frozen=True)
class RowTimes:
    """What rows add.

    Attributes
    ----------
    row_us : Interval
        Of each row, with its 95 % interval.
    remainder_ms : ndarray, shape (n,)
        The times without it.
    rows_low, rows_high : int
        That the statements read.
    is_linear : bool
        Whether times grow in proportion; if not, *row_us* is only the direction.
    """

    row_us: Interval
    remainder_ms: Array
    rows_low: int
    rows_high: int
    is_linear: bool

    def __str__(self) -> str:
        value, low, high = (figure(one) for one in (self.row_us.value, self.row_us.low, self.row_us.high))
        return f"{value} us a row [{low}, {high}], of {self.rows_low:,} to {self.rows_high:,} rows"


def row_times(times_ms: Array, rows: Array, *, rng: int) -> RowTimes | None:
    """Return what each row adds to a time; None if nothing that matters.

    Parameters
    ----------
    times_ms, rows : ndarray, shape (n,)
        Of each statement.
    rng : int
        Seed of the bootstrap.
    """
    n = len(times_ms)
    if n < SAMPLE_MIN or np.ptp(rows) == 0:
        return None
    slope_ms, generator = _slope(times_ms, rows), np.random.default_rng(rng)
    # One at a time: all of a log of a million lines would take gigabytes.
    picks = (generator.integers(0, n, n) for _ in range(RESAMPLES))
    resampled = [_slope(times_ms[picked], rows[picked]) for picked in picks]
    low_ms, high_ms = np.nanquantile(resampled, [0.025, 0.975])
    few, many = np.quantile(rows, [0.05, 0.95])
    if not low_ms > 0 or slope_ms * (many - few) < GROWTH_MIN * float(np.median(times_ms)):
        return None
    remainder_ms = times_ms - slope_ms * rows
    is_linear = float((remainder_ms < 0).mean()) <= NEGATIVE_MAX and _fits(times_ms, remainder_ms, rows)
    interval = Interval(slope_ms * 1_000, float(low_ms) * 1_000, float(high_ms) * 1_000)
    return RowTimes(interval, np.maximum(remainder_ms, 0.0), int(rows.min()), int(rows.max()), is_linear)


def _slope(times_ms: Array, rows: Array) -> float:
    centred = rows - rows.mean()
    spread = float(centred @ centred)
    return float(centred @ times_ms) / spread if spread else float("nan")


def _fits(times_ms: Array, remainder_ms: Array, rows: Array) -> bool:
    """Whether what is left does not depend on the rows."""
    groups = np.array_split(np.argsort(rows, kind="stable"), GROUPS)
    whole_ms = remainder_ms.mean()
    for group in groups:
        left_ms = remainder_ms[group]
        error_ms = float(left_ms.std(ddof=1)) / np.sqrt(len(group))
        if abs(left_ms.mean() - whole_ms) > max(ERRORS_MAX * error_ms, MISFIT_MAX * float(times_ms[group].mean())):
            return False
    return True
