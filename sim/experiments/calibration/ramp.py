"""Load and throughput along a ramp, from runs: mean requests in flight, by Little's law, and completions a second."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from sim.foundation.errors import UsageError

if TYPE_CHECKING:
    from sim.results.result import Result

WINDOWS = 12
"""Of one run whose load rises; each gives one load."""
COMPLETIONS_MIN = 30


def ramp_of(results: "Sequence[Result]") -> tuple[list[float], list[float]]:
    """Return loads (mean requests in flight) and throughputs (completions a second).

    Parameters
    ----------
    results : sequence of Result
        One run is cut into windows of equal length; several are one load each.

    Raises
    ------
    UsageError
        A window has too few completions to have a throughput.
    """
    loads, rates_per_s = [], []
    for result in results:
        frame = result.steady().frame
        frame = frame[frame["outcome"] == "ok"]
        start = frame["arrival_ms"].to_numpy()
        end = start + frame["latency_ms"].to_numpy()
        if len(frame) < COMPLETIONS_MIN:
            raise UsageError(f"ramp: {len(frame)} completed requests have no throughput, must be >= {COMPLETIONS_MIN}")
        edges = np.linspace(start.min(), start.max(), (WINDOWS if len(results) == 1 else 1) + 1)
        for low, high in pairwise(edges):
            completed = int(((end > low) & (end <= high)).sum())
            if completed < COMPLETIONS_MIN:
                continue
            overlap = np.clip(np.minimum(end, high) - np.maximum(start, low), 0.0, None).sum()
            loads.append(float(overlap / (high - low)))
            rates_per_s.append(1000 * completed / float(high - low))
    return loads, rates_per_s
