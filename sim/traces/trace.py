"""Recorded requests, ready to be played: cut, drawn anew, stretched.

Sources
-------
Künsch, "The jackknife and the bootstrap for general stationary observations", Ann. Statist. 17, 1989 (blocks).
"""

from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.foundation.errors import ScenarioError, UsageError
from sim.foundation.schema import PAGE
from sim.randomness.streams import stream_key, uniforms

IntArray = NDArray[np.int64]

ROW_COLUMNS = ("route_code", "key", "size_bytes", "tokens_in", "tokens_out", "latency_ms", "status", "session_ms")

RATE_SPAN_S_MIN = 10.0
"""A shorter trace has no rate: not for a bill, not for a capacity.

Logs are often stamped to the second, so that a span is known to within a second: of ten, a tenth. And traffic comes in
bursts of seconds: what arrives in fewer is the rate of one burst, of which a month is no month.
"""


@dataclass(frozen=True)
class Trace:
    """Recorded arrivals; the first row is time 0.

    Attributes
    ----------
    name : str
        Of the file, for messages.
    arrival_ms : ndarray, shape (n,)
        Not falling.
    duration_ms : float
        From the first row to one mean gap after the last.
    route_code : ndarray or None, shape (n,)
        Position among the scenario's routes; -1 where the file does not say.
    key : ndarray or None, shape (n,)
        Distinct keys numbered from 0 in order of appearance; -1 where the file does not say.
    size_bytes, tokens_in, tokens_out : ndarray or None, shape (n,)
        None where the file has no such column, -1 where its cell is blank.
    latency_ms : ndarray or None, shape (n,)
        As measured; nan where it is blank. It is not played.
    status : ndarray or None, shape (n,)
        HTTP status; -1 where it is blank. It is not played.
    session_ms : ndarray or None, shape (n,)
        How long the WebSocket was open that a row opened; nan of other rows. None where *latency_ms* says it, or
        nothing does.
    keys : int
        Distinct keys in the whole file.
    resolution_ms : float
        Width of the stamps when they are coarser than the traffic, else 0.
    start_ns : int or None
        Time of the first row since 1970; None when the file has a start of its own.
    notes : tuple of str
        What was taken for what, a sentence each.
    """

    name: str
    arrival_ms: NDArray[np.float64]
    duration_ms: float
    route_code: NDArray[np.int16] | None = None
    key: IntArray | None = None
    size_bytes: IntArray | None = None
    tokens_in: IntArray | None = None
    tokens_out: IntArray | None = None
    latency_ms: NDArray[np.float64] | None = None
    status: IntArray | None = None
    session_ms: NDArray[np.float64] | None = None
    keys: int = 0
    resolution_ms: float = 0.0
    start_ns: int | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of requests."""
        return len(self.arrival_ms)

    def __repr__(self) -> str:
        return f"<Trace {self.name}: {len(self):,} requests in {self.duration_ms / 1000:g} s>"

    @property
    def rate_per_s(self) -> float:
        """Mean rate.

        Raises
        ------
        UsageError
            The trace spans less than :data:`RATE_SPAN_S_MIN`.
        """
        span_s = float(self.arrival_ms[-1] - self.arrival_ms[0]) / 1000
        if span_s < RATE_SPAN_S_MIN:
            counted = f"{len(self):,} request{'' if len(self) == 1 else 's'}"
            raise UsageError(
                f"trace {self.name} holds {counted} within {span_s:g} s, must span >= {RATE_SPAN_S_MIN:g} s to have a "
                f"rate ({PAGE})"
            )
        return len(self) / (self.duration_ms / 1000)

    def clipped(self, start_s: float, end_s: float | None) -> "Trace":
        """Return what arrived in [start_s, end_s), with start_s as the new time 0.

        Raises
        ------
        ScenarioError
            Nothing did.
        """
        start_ms, end_ms = start_s * 1000, np.inf if end_s is None else end_s * 1000
        inside = (self.arrival_ms >= start_ms) & (self.arrival_ms < end_ms)
        if not inside.any():
            raise ScenarioError(
                f"workload.arrivals clips {self.name} to [{start_s:g}, {end_ms / 1000:g}) s, where no row is: "
                f"it is {self.duration_ms / 1000:g} s long ({PAGE})"
            )
        if inside.all() and start_ms == 0 and end_ms >= self.duration_ms:
            return self
        kept = self._rows(np.flatnonzero(inside))
        length_ms = min(end_ms, self.duration_ms) - start_ms
        return replace(kept, arrival_ms=kept.arrival_ms - start_ms, duration_ms=length_ms)

    def spread(self, seed: int) -> "Trace":
        """Return the requests of each stamp spread uniformly over its width, in the order of the file.

        Stamps of whole seconds would otherwise bring hundreds of requests at once, and then none.
        """
        if not self.resolution_ms:
            return self
        draws = uniforms(stream_key(seed, "workload.arrivals.spread"), np.arange(len(self)))
        # Stamps lie at least their width apart, so sorting moves requests within a stamp only.
        arrival_ms = np.sort(self.arrival_ms + draws * self.resolution_ms)
        return replace(self, arrival_ms=np.minimum(arrival_ms, self.duration_ms), resolution_ms=0.0)

    def resampled(self, seed: int) -> "Trace":
        """Return as many rows, in blocks drawn with replacement: gaps and tokens keep their company.

        A block is n**(1/3) rows long, the rate of growth that suits block bootstraps.
        """
        count = len(self)
        block = ceil(count ** (1 / 3))
        draws = uniforms(stream_key(seed, "workload.arrivals.resample"), np.arange(ceil(count / block)))
        start = (draws * (count - block + 1)).astype(np.int64)
        rows = (start[:, None] + np.arange(block)).reshape(-1)[:count]
        gap_ms = np.diff(self.arrival_ms, append=self.duration_ms)[rows]
        end_ms = np.cumsum(gap_ms)
        return replace(self._rows(rows), arrival_ms=end_ms - gap_ms, duration_ms=float(end_ms[-1]))

    def scaled(self, factor: float) -> "Trace":
        """Return all gaps multiplied by *factor*."""
        return replace(
            self,
            arrival_ms=self.arrival_ms * factor,
            duration_ms=self.duration_ms * factor,
            resolution_ms=self.resolution_ms * factor,
        )

    def _rows(self, rows: IntArray) -> "Trace":
        columns = {name: getattr(self, name) for name in ROW_COLUMNS}
        kept: dict[str, Any] = {name: None if column is None else column[rows] for name, column in columns.items()}
        return replace(self, arrival_ms=self.arrival_ms[rows], **kept)
