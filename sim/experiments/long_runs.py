"""What one long run is asked for, and what it says: its length, and a part of it that all seeds are judged by.

A run of millions of requests is looked at where it was played, and only what a statistic of all seeds together needs of
it goes on: of a P99 the slowest twentieth.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.results.metrics import NOT_JUDGED, probability
from sim.statistics.quantiles import UpperPart, pooled_quantile, upper_part

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Stretch:
    """How much of a run is cut, and how much is judged, in simulated seconds."""

    cut_s: float
    judged_s: float

    @property
    def length_s(self) -> float:
        """Both together."""
        return self.cut_s + self.judged_s

    def within(self, requests: int, rate_per_s: float) -> "Stretch":
        """Return the stretch, shortened to hold at most *requests* at *rate_per_s*."""
        shorter = min(1.0, requests / (rate_per_s * self.length_s))
        return Stretch(self.cut_s * shorter, self.judged_s * shorter)


@dataclass(frozen=True)
class LongRun:
    """What one long run says of the targets.

    Attributes
    ----------
    samples : tuple of UpperPart or None
        Of each target, after the cut; None of one that is not kept, or that no request has.
    offered_ratio : float
        Of the most loaded station.
    start_log_ratio : float or None
        Of the first seconds of a cold start; None where the run did not begin with one.
    """

    samples: tuple[UpperPart | None, ...]
    offered_ratio: float
    start_log_ratio: float | None


@dataclass(frozen=True)
class Pilot:
    """What a pilot run says of how long the start lasts, and of the targets.

    Attributes
    ----------
    slow_share : ndarray of float, shape (sections,)
        Share of slow requests in each section.
    second_half : LongRun
        The start is over by then, or the run is too short.
    """

    slow_share: NDArray[np.float64]
    second_half: LongRun


def part_of(sample: NDArray[np.float64], statistic: str) -> UpperPart:
    """Return what the statistic of several samples together needs of one."""
    return UpperPart(sample) if statistic == "mean" else upper_part(sample, probability(statistic))


def pooled(parts: Sequence[UpperPart], statistic: str) -> float:
    """Return the statistic of all samples together."""
    if statistic == "mean":
        return float(np.concatenate([part.largest for part in parts]).mean())
    return pooled_quantile(parts, probability(statistic))


def slow_share(frame: "pd.DataFrame", length_ms: float, *, bins: int) -> NDArray[np.float64]:
    """Share of slow requests by time of arrival, shape (bins,); slow is what 1 % of the second half exceed."""
    arrival_ms, latency_ms = frame["arrival_ms"].to_numpy(), frame["latency_ms"].to_numpy()
    answered = frame["outcome"].isin((*NOT_JUDGED, "ok", "timeout")).to_numpy()
    latency_ms = np.where(answered, latency_ms, np.inf)
    later = latency_ms[arrival_ms >= length_ms / 2]
    line = np.partition(later, int(0.99 * len(later)))[int(0.99 * len(later))] if len(later) else 0.0
    at = np.minimum((arrival_ms / length_ms * bins).astype(np.int64), bins - 1)
    count = np.bincount(at, minlength=bins)
    slow = np.bincount(at, weights=latency_ms > line, minlength=bins)
    return np.asarray(slow / np.maximum(count, 1))
