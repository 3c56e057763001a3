"""Whether requests share the turns of an object, or have turns of their own: which of the two predicts better.

Both say, from the times of sending alone, how long each request is at the object: with turns of its own it waits until
all before it are served (one service time); with shared turns (a lone and a further time) those that wait are served
together. One time more always fits better the data that it was fitted to, so both are fitted to some runs (or to one
half of a single run) and asked for the others: the *gain* is the mean absolute deviation that turns of their own leave
in data that they have not seen, less that of shared turns. Residuals are cut at a median latency, so that a stall does
not decide. Blocks of requests give the interval of the gain; if it holds 0, the data do not tell.

At low load the two differ only where two or more requests wait at the same time, which is rare: too few requests, or
too low a rate, do not tell.

Sources
-------
Stone, "Cross-validatory choice and assessment of statistical predictions", J. R. Statist. Soc. B 36, 1974.
Künsch, "The jackknife and the bootstrap for general stationary observations", Ann. Statist. 17, 1989 (blocks).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from sim.experiments.calibration.laws import Interval
from sim.experiments.calibration.shared_turns import fit_turns
from sim.experiments.calibration.single_server import waits
from sim.experiments.calibration.turns import turns

Array = NDArray[np.float64]
Run = tuple[Array, Array]
"""Times of sending, in order, and latencies from there; both of shape (n,)."""

LEVEL = 0.99
"""Of the interval of the gain: one run in two hundred without shared turns is taken for one with them, or fewer."""
BLOCKS_MIN, BLOCKS_MAX = 10, 40
"""Blocks of all runs together; none is shorter than :data:`BLOCK_MIN` requests."""
BLOCK_MIN = 100
GRID = 60
DIFFER_MS = 1e-9


@dataclass(frozen=True)
class Sharing:
    """How much better shared turns predict latencies than turns of their own.

    Attributes
    ----------
    gain_ms : Interval
        Mean absolute deviation, out of sample, of turns of their own less that of shared turns; 99 % interval.
    differing_requests : int
        Requests of which the two say something else.
    n : int
        Requests.
    folds : str
        What was held out: ``runs``, or ``halves`` of one.
    """

    gain_ms: Interval
    differing_requests: int
    n: int
    folds: str

    @property
    def is_shared(self) -> bool:
        """Whether turns are shared."""
        return self.gain_ms.low > 0

    @property
    def is_own(self) -> bool:
        """Whether each request has a turn of its own."""
        return self.gain_ms.high < 0

    def __str__(self) -> str:
        gain = self.gain_ms
        return (
            f"{1000 * gain.value:.3g} us [{1000 * gain.low:.3g}, {1000 * gain.high:.3g}] less absolute deviation a "
            f"request, cross-validated between {self.folds}"
        )


def compare_turns(runs: Sequence[Run]) -> Sharing:
    """Compare shared turns with turns of their own, out of sample.

    Parameters
    ----------
    runs : sequence of (sent_ms, latency_ms)
        In order of sending; a single one is cut in two halves.
    """
    pieces = list(runs) if len(runs) > 1 else halves(runs[0])
    folds = "runs" if len(runs) > 1 else "halves"
    n = sum(len(sent_ms) for sent_ms, _ in pieces)
    blocks = int(np.clip(n // BLOCK_MIN, BLOCKS_MIN, BLOCKS_MAX)) // len(pieces)
    gains, weights, differ = [], [], 0
    for number, (sent_ms, latency_ms) in enumerate(pieces):
        seen = [piece for other, piece in enumerate(pieces) if other != number]
        lone_ms, further_ms = fit_turns(seen)
        shared_ms = turns(sent_ms, lone_ms=lone_ms, further_ms=further_ms)
        own_ms = own_turns(sent_ms, fit_own(seen))
        gain_ms = _deviation(latency_ms, own_ms) - _deviation(latency_ms, shared_ms)
        differ += int((np.abs(_centred(own_ms) - _centred(shared_ms)) > DIFFER_MS).sum())
        starts = np.linspace(0, len(gain_ms), max(blocks, 2) + 1).astype(np.int64)
        gains += [float(block.mean()) for block in np.split(gain_ms, starts[1:-1])]
        weights += np.diff(starts).tolist()
    return Sharing(_mean_interval(np.array(gains), np.array(weights, dtype=np.float64)), differ, n, folds)


def halves(run: Run) -> list[Run]:
    """Cut a run in two at its middle request."""
    sent_ms, latency_ms = run
    middle = len(sent_ms) // 2
    return [(sent_ms[:middle], latency_ms[:middle]), (sent_ms[middle:], latency_ms[middle:])]


def own_turns(sent_ms: Array, service_ms: float) -> Array:
    """Return the time of each request at an object that serves one after another, wait included, shape (n,)."""
    return waits(np.diff(sent_ms), np.full(len(sent_ms), service_ms)) + service_ms


def fit_own(runs: Sequence[Run]) -> float:
    """Return the one service time that explains the latencies best (least absolute deviations)."""
    most = min(min(float(np.median(latency_ms)), 0.98 * float(np.diff(sent_ms).mean())) for sent_ms, latency_ms in runs)

    def loss(service_ms: float) -> float:
        return float(
            np.mean([_deviation(latency_ms, own_turns(sent_ms, service_ms)).mean() for sent_ms, latency_ms in runs])
        )

    grid = np.linspace(0, most, GRID)
    least = int(np.argmin([loss(one) for one in grid]))
    bounds = (float(grid[max(0, least - 1)]), float(grid[min(GRID - 1, least + 1)]))
    return float(optimize.minimize_scalar(loss, bounds=bounds, method="bounded").x)


def _centred(spent_ms: Array) -> Array:
    return np.asarray(spent_ms - np.median(spent_ms))


def _deviation(latency_ms: Array, spent_ms: Array) -> Array:
    """Return absolute residuals around their median, none larger than a median latency."""
    return np.minimum(np.abs(_centred(latency_ms - spent_ms)), float(np.median(latency_ms)))


def _mean_interval(values: Array, weights: Array) -> Interval:
    """Return the weighted mean of blocks with its interval by Student's t."""
    mean = float(np.average(values, weights=weights))
    deviation = sqrt(float(np.average((values - mean) ** 2, weights=weights)) / (len(values) - 1))
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * deviation
    return Interval(mean, mean - half, mean + half)
