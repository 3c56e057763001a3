"""Stalls of a server, found in its latencies: episodes in which nobody was served, whoever came.

A stall is no service time. It comes by the clock (a flush, a checkpoint, another process on the core), not with a
request, so that it is not more frequent at a higher load; taken for a service it would be. It shows as several
requests in a row that wait for the same end.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DEVIATIONS = 12.0
"""A request may be one of a stall when it is so many median deviations later than its wait explains."""
REQUESTS_MIN = 3
"""In a row: a slow answer of a quick server is one request, or two."""
GAP_MAX = 2
"""Requests between two victims of one stall that were quick by chance."""


@dataclass(frozen=True)
class Stalls:
    """Stalls of one run.

    Attributes
    ----------
    hit : ndarray of bool, shape (n,)
        Which requests, in order of sending, waited for one.
    start_ms, length_ms : ndarray, shape (stalls,)
        Sending of the first victim, and how much later it was answered than its wait explains.
    duration_s : float
        Of the run.
    """

    hit: NDArray[np.bool_]
    start_ms: Array
    length_ms: Array
    duration_s: float

    @property
    def per_s(self) -> float:
        """Stalls a second."""
        return len(self.start_ms) / self.duration_s


def find_stalls(sent_ms: Array, residual_ms: Array) -> Stalls:
    """Find the stalls of a run.

    Parameters
    ----------
    sent_ms : ndarray, shape (n,)
        Times of sending, in order.
    residual_ms : ndarray, shape (n,)
        Latency that waits for other requests do not explain, around its median.
    """
    deviation = float(np.median(np.abs(residual_ms)))
    late = np.flatnonzero(residual_ms > DEVIATIONS * deviation)
    hit = np.zeros(len(sent_ms), dtype=np.bool_)
    starts, lengths = [], []
    for episode in np.split(late, np.flatnonzero(np.diff(late) > GAP_MAX + 1) + 1):
        if len(episode) < REQUESTS_MIN:
            continue
        hit[episode[0] : episode[-1] + 1] = True
        starts.append(float(sent_ms[episode[0]]))
        lengths.append(float(residual_ms[episode].max()))
    span_s = float(sent_ms[-1] - sent_ms[0]) / 1000
    return Stalls(hit, np.array(starts), np.array(lengths), span_s)
