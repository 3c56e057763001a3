"""Two runs of the same requests with the same random numbers, compared request by request.

The simulation and the paced reference look their random numbers up by seed, stream and request (docs/DRAWS.md). What
differs between them is then no sampling: it is the noise of the machine that the reference runs on, or a difference of
the two codes. So a quantile's error has an interval of per mille where independent runs have one of tens of per cent,
and each request that parts from its twin says in which component.

Sources
-------
Politis and Romano, "A circular block-resampling procedure for stationary data", in LePage and Billard (eds.),
Exploring the Limits of Bootstrap, 1992 (blocks, since requests that follow each other share queues; circular, since
moving blocks draw the first and last requests less often, and a cold start is there). Rousseeuw and Croux,
"Alternatives to the median absolute deviation", JASA 88, 1993 (1.4826 times the median absolute deviation estimates a
normal standard deviation).
"""

from dataclasses import dataclass, field
from math import ceil, sqrt
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.foundation.errors import UsageError
from sim.foundation.views import Shown
from sim.randomness.streams import stream_key, uniforms
from sim.statistics.intervals import Estimate
from sim.statistics.quantiles import quantiles

if TYPE_CHECKING:
    import pandas as pd

    from sim.results.result import Result

Array = NDArray[np.float64]

PROBABILITIES = (0.5, 0.9, 0.99)
RESAMPLES = 1_000
DEVIATIONS = 6.0
"""Differences beyond this many standard deviations of the middle of them are no noise."""
NOISE_MS_MIN = 1e-6
"""Rounding of two codes that add the same times in another order."""
PAIRS_MIN = 20
TO_DEVIATION = 1.4826
NOT_PARTS = frozenset({"arrival_ms", "latency_ms", "service_latency_ms", "send_lag_ms", "worker_cpu_ms"})
"""Columns in ms that are no part of a request's latency, or part of another column."""


@dataclass(frozen=True)
class Pairing(Shown):
    """How two runs of the same requests differ.

    Attributes
    ----------
    pairs : int
        Requests that succeeded on both sides.
    pairs_with_other_ends : int
        Requests that ended otherwise.
    errors : mapping of float to Estimate
        Relative error of each quantile of latency, simulated against measured, by probability; paired 95 % intervals.
    noise_ms : tuple of float
        Quantiles 5 %, 50 % and 95 % of measured minus simulated latency, in ms.
    limit_ms : float
        Pairs whose latency differs from the median difference by more than this have parted.
    parted : mapping of str to int
        Number of pairs that have, by the part of the request's time that differs most.
    difference_ms : ndarray, shape (pairs,)
        Measured minus simulated latency, in order of the requests.
    """

    pairs: int
    pairs_with_other_ends: int
    errors: dict[float, Estimate]
    noise_ms: tuple[float, float, float]
    limit_ms: float
    parted: dict[str, int]
    difference_ms: Array = field(default_factory=lambda: np.zeros(0), compare=False, repr=False)

    def __repr__(self) -> str:
        said = ", ".join(f"P{100 * p:g} {100 * one.value:+.2f} %" for p, one in self.errors.items())
        return f"<Pairing of {self.pairs}: {said}; {sum(self.parted.values())} parted>"


def pair(simulated: "Result", measured: "Result", *, noise_ms: float | None = None, seed: int = 0) -> Pairing:
    """Compare two runs that drew the same random numbers.

    Parameters
    ----------
    simulated, measured : Result
        Of the same schedule and seed, without their warm-up.
    noise_ms : float, optional
        Pairs that differ by more have parted. By default six standard deviations of the middle of the differences: a
        defect that more than half of the requests meet then looks like noise, and shows in the errors alone.
    seed : int
        Of the bootstrap.

    Raises
    ------
    UsageError
        They are not of the same requests, or fewer than 20 succeeded on both sides.
    """
    return pair_frames(simulated.frame, measured.frame, noise_ms=noise_ms, seed=seed)


def pair_frames(
    simulated: "pd.DataFrame", measured: "pd.DataFrame", *, noise_ms: float | None = None, seed: int = 0
) -> Pairing:
    """Compare the frames of two runs; see :func:`pair`."""
    _check_same(simulated, measured)
    ended = [frame["outcome"].astype(str).to_numpy() for frame in (simulated, measured)]
    both = (ended[0] == "ok") & (ended[1] == "ok")
    if both.sum() < PAIRS_MIN:
        raise UsageError(f"{int(both.sum())} requests succeeded in both runs; a paired comparison takes {PAIRS_MIN}")
    latency_ms = [frame["latency_ms"].to_numpy(dtype=np.float64)[both] for frame in (simulated, measured)]
    difference_ms = latency_ms[1] - latency_ms[0]
    middle_ms = float(np.median(difference_ms))
    deviation_ms = TO_DEVIATION * float(np.median(np.abs(difference_ms - middle_ms)))
    limit_ms = max(NOISE_MS_MIN, DEVIATIONS * deviation_ms) if noise_ms is None else noise_ms
    low, median, high = (float(one) for one in np.quantile(difference_ms, [0.05, 0.5, 0.95]))
    return Pairing(
        pairs=int(both.sum()),
        pairs_with_other_ends=int((ended[0] != ended[1]).sum()),
        errors=_errors(latency_ms[0], latency_ms[1], seed=seed),
        noise_ms=(low, median, high),
        limit_ms=limit_ms,
        parted=_parted(simulated[both], measured[both], np.abs(difference_ms - middle_ms) > limit_ms),
        difference_ms=difference_ms,
    )


def _check_same(simulated: "pd.DataFrame", measured: "pd.DataFrame") -> None:
    if len(simulated) != len(measured):
        raise UsageError(f"{len(simulated)} and {len(measured)} requests are not the same; play one schedule on both")
    for column in ("route", "key", "size_bytes"):
        if column in simulated and column in measured:
            sides = [frame[column].astype(str).to_numpy() for frame in (simulated, measured)]
            if (sides[0] != sides[1]).any():
                raise UsageError(f"the requests differ in {column}: play one schedule, with one seed, on both sides")


def _errors(simulated_ms: Array, measured_ms: Array, *, seed: int) -> dict[float, Estimate]:
    """Return the errors of the quantiles, with intervals by resampling blocks of pairs."""
    n = len(simulated_ms)
    length = ceil(sqrt(n))
    blocks = ceil(n / length)
    unit = uniforms(stream_key(seed, "pairing"), np.arange(RESAMPLES * blocks, dtype=np.int64))
    starts = (unit * n).astype(np.int64).reshape(RESAMPLES, blocks)
    within = np.arange(length)
    resampled = np.empty((RESAMPLES, len(PROBABILITIES)))
    for row, first in enumerate(starts):
        chosen = (first[:, None] + within).ravel()[:n] % n
        resampled[row] = _ratio(simulated_ms[chosen], measured_ms[chosen])
    value = _ratio(simulated_ms, measured_ms)
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    return {
        probability: Estimate(
            float(value[n]), float(low[n]), float(high[n]), n=len(simulated_ms), method="paired blocks"
        )
        for n, probability in enumerate(PROBABILITIES)
    }


def _ratio(simulated_ms: Array, measured_ms: Array) -> Array:
    ratio: Array = (
        np.asarray(quantiles(simulated_ms, PROBABILITIES)) / np.asarray(quantiles(measured_ms, PROBABILITIES)) - 1
    )
    return ratio


def _parted(simulated: "pd.DataFrame", measured: "pd.DataFrame", which: NDArray[np.bool_]) -> dict[str, int]:
    """Return how many of the pairs *which* (shape (n,)) differ most in each part of their time, most first."""
    if not which.any():
        return {}
    parts = [
        column for column in simulated if str(column).endswith("_ms") and column in measured and column not in NOT_PARTS
    ]
    apart_ms = np.abs(measured[parts].to_numpy(dtype=np.float64) - simulated[parts].to_numpy(dtype=np.float64))[which]
    names, counts = np.unique(
        np.asarray([str(part).removesuffix("_ms") for part in parts])[apart_ms.argmax(axis=1)], return_counts=True
    )
    order = np.argsort(-counts, kind="stable")
    return {str(names[place]): int(counts[place]) for place in order}
