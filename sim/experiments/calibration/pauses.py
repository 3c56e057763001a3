"""Pauses of an object: long stalls that come again and again, and whether they come with requests or by the clock.

A collection of garbage comes after so many requests, a checkpoint after so much time. In runs at one rate the two look
much alike, since so many requests take about the same time. What tells them apart is which of the two is more regular:
the gaps between pauses are taken in requests and in ms, and the variances of their logarithms are compared, in pairs
(Pitman and Morgan's test). Runs at two rates make it plain.

Sources
-------
Morgan, "A test for the significance of the difference between two variances in a sample from a normal bivariate
population", Biometrika 31, 1939.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sim.experiments.calibration.laws import Interval
from sim.statistics.intervals import rate_interval

Array = NDArray[np.float64]

LEVEL = 0.95
PAUSES_MIN = 3
"""Gaps of which a median is taken."""
GAPS_MIN = 4
"""Gaps from which it is told what pauses come with."""
REGULAR_CV2 = 0.01
"""Gaps whose squared coefficient of variation is below this are regular."""
EVERY_CV2 = 0.1
"""Above this no number of requests says when the next pause comes."""
SIGNIFICANCE = 0.01
"""Of either answer to what pauses come with."""
LONG_SHARE = 0.5
"""A pause is at least this share of a typical one of the longest stalls, two of each run."""
DEVIATION, MEDIAN_LOSS = 1.4826, 1.2533
"""Standard deviations of a normal sample: over its median deviation, and of its median over that of its mean."""


@dataclass(frozen=True)
class Pauses:
    """Long stalls that come again and again.

    Attributes
    ----------
    length_ms : ndarray, shape (pauses,)
        How much later than a lone request the first victim was answered.
    every_requests : Interval or None
        Requests from one pause to the next: the median gap where gaps are regular, else requests over pauses; None
        where there was no pause.
    requests_cv2 : float
        Squared coefficient of variation of the gaps, by median deviations; NaN where there are too few.
    gap_requests, gap_ms : ndarray, shape (gaps,)
        From one pause of a run to the next.
    """

    length_ms: Array
    every_requests: Interval | None
    requests_cv2: float
    gap_requests: Array = field(default_factory=lambda: np.zeros(0))
    gap_ms: Array = field(default_factory=lambda: np.zeros(0))

    @property
    def is_regular(self) -> bool:
        """Whether the gaps, in requests, are all but equal."""
        return self.requests_cv2 < REGULAR_CV2

    @property
    def come_with(self) -> Literal["requests", "time", ""]:
        """What pauses come with; empty where the gaps do not tell."""
        if len(self.gap_requests) < GAPS_MIN or (self.gap_requests <= 0).any() or (self.gap_ms <= 0).any():
            return ""
        requests, time = np.log(self.gap_requests), np.log(self.gap_ms)
        difference, total = requests - time, requests + time
        if np.ptp(difference) == 0 or np.ptp(total) == 0:
            return ""
        # Their covariance is the variance of the one less that of the other.
        correlation = float(np.corrcoef(difference, total)[0, 1])
        freedom = len(requests) - 2
        t = correlation * sqrt(freedom / max(1 - correlation**2, 1e-12))
        limit = float(stats.t.ppf(1 - SIGNIFICANCE, freedom))
        if t < -limit and self.requests_cv2 < EVERY_CV2:
            return "requests"
        return "time" if t > limit else ""


def pauses_of(
    length_ms: Array, start_ms: Sequence[Array], *, place: Sequence[NDArray[np.int64]], requests: int
) -> Pauses:
    """Describe pauses, and how regularly they come.

    Parameters
    ----------
    length_ms : ndarray, shape (pauses,)
        Of all runs.
    start_ms, place : sequence of ndarray, shape (pauses of a run,)
        When each began, and the number of the request that met it first.
    requests : int
        Of all runs.
    """
    gaps = np.concatenate([np.diff(one).astype(np.float64) for one in place])
    gap_ms = np.concatenate([np.diff(one) for one in start_ms])
    cv2 = _cv2(gaps)
    if not len(length_ms):
        return Pauses(length_ms, None, cv2)
    if cv2 < REGULAR_CV2:
        return Pauses(length_ms, median_interval(gaps), cv2, gaps, gap_ms)
    often = rate_interval(len(length_ms), float(requests))
    return Pauses(length_ms, Interval(1 / often.value, 1 / often.high, 1 / often.low), cv2, gaps, gap_ms)


def long_ones(length_ms: Sequence[Array]) -> list[NDArray[np.bool_]]:
    """Return which stalls of each run are long enough for pauses.

    Parameters
    ----------
    length_ms : sequence of ndarray, shape (stalls of a run,)
    """
    longest_ms = np.sort(np.concatenate(list(length_ms)))[-2 * len(length_ms) :]
    long_ms = LONG_SHARE * float(np.median(longest_ms)) if len(longest_ms) else 0.0
    return [one >= long_ms for one in length_ms]


def median_interval(values: Array) -> Interval:
    """Return a median with its 95 % interval, as for a normal sample with a few outliers."""
    middle = float(np.median(values))
    deviation = DEVIATION * float(np.median(np.abs(values - middle)))
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * MEDIAN_LOSS * deviation / sqrt(len(values))
    return Interval(middle, middle - half, middle + half)


def _cv2(gaps: Array) -> float:
    """Return a squared coefficient of variation that one odd gap does not move; NaN of too few."""
    if len(gaps) < PAUSES_MIN:
        return float("nan")
    return (DEVIATION * float(np.median(np.abs(gaps - np.median(gaps)))) / float(np.median(gaps))) ** 2
