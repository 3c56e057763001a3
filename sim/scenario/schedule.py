"""The schedule: the list of requests, with their arrival times, that every runner plays.

A Schedule is a table with one row per request, stored as arrays. It is generated once, from a scenario and a seed
(:func:`sim.scenario.generation.schedule`); it can then be cut and its time scaled, but its requests never change.
"""

from dataclasses import dataclass, fields, replace
from math import floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.foundation.errors import UsageError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

NEAR_RATE = 0.5
"""A live part is played at its own rate if that is at least this share of the highest permitted one."""


@dataclass(frozen=True)
class Schedule:
    """Requests in order of arrival.

    Attributes
    ----------
    routes : tuple of str
        Names of all routes of the scenario.
    route_code : ndarray of int16, shape (n,)
        Index into *routes*.
    arrival_ms : ndarray, shape (n,)
        Intended send time, from 0, non-decreasing; zeros in a closed loop.
    key : ndarray of int64, shape (n,)
        The organisation; 0 is the most popular.
    size_bytes : ndarray of int64, shape (n,)
        Bytes that the request uploads or downloads; 0 for a route without any.
    tokens_in, tokens_out : ndarray of int64, shape (n,)
        Tokens that the request reports.
    object_number : ndarray of int64, shape (n,)
        The stored object that the request addresses, or a new one, numbered after them; -1 for a route without bytes.
    duration_ms : float
        Length of the schedule, at least the last arrival. In a closed loop: as if every answer came at once.
    user : ndarray of int64 or None, shape (n,)
        Closed loop only: the user that sends request i.
    think_ms : ndarray or None, shape (n,)
        Closed loop only: think time between the end of the same user's previous request and request i.
    warm_up_ms : float
        Requests that arrive earlier are not judged.
    """

    routes: tuple[str, ...]
    route_code: NDArray[np.int16]
    arrival_ms: FloatArray
    key: IntArray
    size_bytes: IntArray
    tokens_in: IntArray
    tokens_out: IntArray
    object_number: IntArray
    duration_ms: float
    user: IntArray | None = None
    think_ms: FloatArray | None = None
    warm_up_ms: float = 0.0

    def __post_init__(self) -> None:
        """Check that the arrays form a list of requests in order of arrival, and make them read-only."""
        if (self.user is None) != (self.think_ms is None):
            raise UsageError("schedule: user and think_ms must both be given (a closed loop), or neither")
        if not len(self.arrival_ms):
            raise UsageError("schedule.arrival_ms=[] must hold at least one request")
        for name, array in self._arrays().items():
            if array.shape != self.arrival_ms.shape:
                raise UsageError(f"schedule.{name} has shape {array.shape}, must have that of arrival_ms")
            array.setflags(write=False)
        falls = np.flatnonzero(np.diff(self.arrival_ms) < 0)
        if falls.size:
            place = int(falls[0]) + 1
            raise UsageError(
                f"schedule.arrival_ms[{place}]={self.arrival_ms[place]:g} must not be before the one before"
            )
        if self.arrival_ms[0] < 0:
            raise UsageError(f"schedule.arrival_ms[0]={self.arrival_ms[0]:g} must be >= 0")
        if self.arrival_ms[-1] > self.duration_ms:
            last_ms = self.arrival_ms[-1]
            raise UsageError(f"schedule.duration_ms={self.duration_ms:g} must be >= {last_ms:g}, the last arrival")

    def __len__(self) -> int:
        """Return the number of requests."""
        return len(self.arrival_ms)

    def __repr__(self) -> str:
        """Return number, length and rate in one line."""
        loop = "" if self.user is None else f", closed loop of {len(np.unique(self.user))} users"
        return f"<Schedule of {len(self)} requests in {self.duration_ms / 1000:g} s{loop}>"

    def head(self, n: int) -> "Schedule":
        """Return the first *n* requests; the schedule then ends at the arrival of the next one.

        If all of them arrive within the warm-up, the warm-up is set to 0, so that they are judged.

        Raises
        ------
        UsageError
            *n* is below 1.
        """
        if n < 1:
            raise UsageError(f"requests={n} must be >= 1")
        if n >= len(self):
            return self
        end_ms = float(self.arrival_ms[n]) if self.user is None else self.duration_ms * n / len(self)
        part = self._rows(slice(0, n), start_ms=0.0, end_ms=end_ms)
        return replace(part, warm_up_ms=0.0) if part.warm_up_ms > part.arrival_ms[-1] and self.user is None else part

    def window(self, start_ms: float, end_ms: float) -> "Schedule":
        """Return the requests that arrive in [start_ms, end_ms), with start_ms as the new time 0.

        Raises
        ------
        UsageError
            No request does, or the schedule is a closed loop, whose arrivals are not planned.
        """
        if self.user is not None:
            raise UsageError("window() needs planned arrivals, a closed loop has none (use head())")
        first, last = np.searchsorted(self.arrival_ms, (start_ms, end_ms))
        if first >= last:
            raise UsageError(
                f"window({start_ms:g}, {end_ms:g}) holds no request; arrivals go from {self.arrival_ms[0]:g} ms "
                f"to {self.arrival_ms[-1]:g} ms"
            )
        return self._rows(slice(first, last), start_ms=start_ms, end_ms=min(end_ms, self.duration_ms))

    def only(self, kept: NDArray[np.bool_]) -> "Schedule":
        """Return the requests where *kept*, shape (n,), is true, at the same times.

        Raises
        ------
        UsageError
            No request is kept, or the schedule is a closed loop, in which one request waits for another.
        """
        if self.user is not None:
            raise UsageError("only() needs planned arrivals, a closed loop has none (use head())")
        return self._rows(kept, start_ms=0.0, end_ms=self.duration_ms)

    def scaled(self, factor: float) -> "Schedule":
        """Return all gaps (in a closed loop: all think times) multiplied by *factor*; 0.5 plays twice as fast.

        Raises
        ------
        UsageError
            *factor* is not a positive number.
        """
        if not 0 < factor < float("inf"):
            raise UsageError(f"factor={factor:g} must be > 0 and finite")
        return replace(
            self,
            arrival_ms=self.arrival_ms * factor,
            think_ms=None if self.think_ms is None else self.think_ms * factor,
            duration_ms=self.duration_ms * factor,
            warm_up_ms=self.warm_up_ms * factor,
        )

    def live(self, live_s: float, rate_max_per_s: float) -> "Schedule":
        """Return the part that is played in real time: at most *live_s* long, at most *rate_max_per_s* on average.

        It starts at the end of the warm-up, or earlier if too few requests come after it. It keeps its own rate when
        that is at least half of the highest permitted one; a slower part is compressed, and a faster part stretched,
        to *rate_max_per_s*, so that a short live part holds many requests and never too many.

        Parameters
        ----------
        live_s : float
            Longest duration, in s.
        rate_max_per_s : float
            Highest mean rate.

        Raises
        ------
        UsageError
            A bound is not positive, or they leave no request.
        """
        for name, bound in (("live_s", live_s), ("live_rate_max_per_s", rate_max_per_s)):
            if not 0 < bound < float("inf"):
                raise UsageError(f"{name}={bound:g} must be > 0 and finite")
        if live_s * rate_max_per_s < 1:
            raise UsageError(f"live_s={live_s:g} at {rate_max_per_s:g}/s holds no request; make one of them larger")
        open_loop = self.user is None
        part = self._live_open(live_s, rate_max_per_s) if open_loop else self._live_closed(live_s, rate_max_per_s)
        return replace(part, warm_up_ms=0.0)

    def opening(self, live_s: float, rate_max_per_s: float) -> "Schedule":
        """Return the first *live_s* seconds as they are, for a run in real time whose times must be the schedule's.

        Parameters
        ----------
        live_s : float
            Longest duration, in s.
        rate_max_per_s : float
            Highest mean rate.

        Raises
        ------
        UsageError
            A closed loop, whose times are not known before; a higher mean rate, or no request.
        """
        if self.user is not None:
            raise UsageError(
                "a closed loop has no times that a fault could be played at; simulate it (compiled, simpy)"
            )
        end_ms = min(live_s * 1_000, self.duration_ms)
        count = int(np.searchsorted(self.arrival_ms, end_ms))
        rate_per_s = count / end_ms * 1_000
        if not 0 < rate_per_s <= rate_max_per_s:
            rule = f"must be > 0 and <= workload.live_rate_max_per_s={rate_max_per_s:g} where faults have their times"
            raise UsageError(f"rate={rate_per_s:.3g}/s of the first {end_ms / 1_000:g} s {rule}")
        return replace(self._rows(slice(0, count), start_ms=0.0, end_ms=end_ms), warm_up_ms=0.0)

    def _live_open(self, live_s: float, rate_max_per_s: float) -> "Schedule":
        most = floor(live_s * rate_max_per_s)
        first = min(int(np.searchsorted(self.arrival_ms, self.warm_up_ms)), max(len(self) - most, 0))
        start_ms = min(self.warm_up_ms, float(self.arrival_ms[first]))
        end_ms = min(start_ms + live_s * 1000, self.duration_ms)
        count = int(np.searchsorted(self.arrival_ms, end_ms)) - first
        least, highest = (share * rate_max_per_s * (end_ms - start_ms) / 1000 for share in (NEAR_RATE, 1.0))
        if count and least <= count <= highest:
            return self._rows(slice(first, first + count), start_ms=start_ms, end_ms=end_ms)
        count = min(most, len(self) - first)
        end_ms = float(self.arrival_ms[first + count]) if first + count < len(self) else self.duration_ms
        part = self._rows(slice(first, first + count), start_ms=float(self.arrival_ms[first]), end_ms=end_ms)
        wanted_ms = count / rate_max_per_s * 1000
        # Divide first: the duration may be so short that its inverse overflows.
        share = part.arrival_ms / part.duration_ms if part.duration_ms > 0 else np.zeros(count)
        arrival_ms = np.minimum(share * wanted_ms, wanted_ms)
        return replace(part, arrival_ms=arrival_ms, duration_ms=wanted_ms)

    def _live_closed(self, live_s: float, rate_max_per_s: float) -> "Schedule":
        assert self.user is not None
        assert self.think_ms is not None
        users = int(self.user.max()) + 1
        mean_ms = float(self.think_ms.mean())
        rate_per_s = users / mean_ms * 1000 if mean_ms > 0 else np.inf
        think_ms = self.think_ms
        if not NEAR_RATE * rate_max_per_s <= rate_per_s <= rate_max_per_s:
            wanted_ms = users / rate_max_per_s * 1000
            think_ms = think_ms * (wanted_ms / mean_ms) if mean_ms > 0 else np.full(len(self), wanted_ms)
            rate_per_s = rate_max_per_s
        count = min(max(floor(live_s * rate_per_s), 1), len(self))
        part = replace(self, think_ms=think_ms).head(count)
        # A single request at a rate below one in live_s would take longer than that.
        return replace(part, duration_ms=min(count / rate_per_s, live_s) * 1000)

    def _rows(self, rows: slice | NDArray[np.bool_], *, start_ms: float, end_ms: float) -> "Schedule":
        kept: dict[str, Any] = {name: array[rows] for name, array in self._arrays().items()}
        kept["arrival_ms"] = kept["arrival_ms"] - start_ms
        length: dict[str, Any] = {"duration_ms": end_ms - start_ms, "warm_up_ms": max(self.warm_up_ms - start_ms, 0.0)}
        return replace(self, **kept, **length)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in values if isinstance(value, np.ndarray)}
