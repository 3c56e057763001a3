"""What an engine hands back: for every request when it came, how it ended and where its time went.

Both engines fill the same arrays, so that they can be compared element by element.
"""

from dataclasses import dataclass, field
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from sim.errors import ModelError
from sim.free_memory import check_fits

UNFINISHED = -1
"""Outcome code of a request that had not ended when the run was interrupted."""

BYTES_PER_REQUEST = 120
"""Arrays of one request and its row in a result, without its accounts (measured, rounded up)."""

FULL_RATIO = 1.0 + 1e-9
"""Offered load beyond which a station can no longer keep up. A closed loop offers 1 at most, but for rounding."""


@dataclass(frozen=True)
class StationUse:
    """How one station, or shared link, was used, all instances together.

    ``busy_ms`` and ``queue_ms`` are the integrals over time of the busy servers and of the waiting requests, up to
    *horizon*, the last arrival; ``waited_ms`` is the sum of the single waits of the whole run and ``queue_total_ms``
    the same thing as an integral over all of it: Little's law says that they are equal.
    """

    name: str
    servers: int
    instances: int
    served: int
    refused: int
    busy_ms: float
    queue_ms: float
    waited_ms: float
    queue_total_ms: float
    busiest_ms: float
    """Service time given by the busiest instance in the whole run."""
    offered_ms: float
    """The most that one instance was asked for: what it gave, and as much for each request that it refused."""

    def offered_ratio(self, horizon_ms: float) -> float:
        """Work that one instance was asked for, over what it can do while requests arrive."""
        return self.offered_ms / max(horizon_ms * self.servers, 1e-9)


@dataclass(frozen=True)
class Recording:
    """One run of an engine: arrays of shape (n,), one element a request."""

    arrival_ms: NDArray[np.float64]
    latency_ms: NDArray[np.float64]
    outcome: NDArray[np.int8]
    attempts: NDArray[np.int16]
    accounts: dict[str, NDArray[np.float64]]
    stations: tuple[StationUse, ...] = ()
    end_ms: float = 0.0
    horizon_ms: float = 0.0
    spawned_failures: int = 0
    interrupted: bool = False
    notes: tuple[str, ...] = field(default=())

    @property
    def unstable(self) -> tuple[StationUse, ...]:
        """Stations that were offered more work than they can do.

        Their queues grow as long as the load lasts, so what was recorded is transient; or they refuse the rest.
        """
        full = (use for use in self.stations if use.offered_ratio(self.horizon_ms) > FULL_RATIO)
        return tuple(use for use in full if len(self.outcome) > use.servers)


def check_memory(requests: int, numbers: int, *, instances: int, bytes_per_instance: int) -> None:
    """Refuse a run whose record, or whose state, cannot fit the machine, before it starts.

    Parameters
    ----------
    requests : int
    numbers : int
        Numbers of 8 bytes that each request needs besides its row in the result.
    instances : int
        Of all stations, links, counters, and what else is keyed; see :func:`sim.flow.instances`.
    bytes_per_instance : int
        Memory of one.

    Raises
    ------
    UsageError
        More is needed than the memory that is free now.
    """
    check_fits(requests * (BYTES_PER_REQUEST + 8 * numbers), f"requests={requests} need")
    check_fits(
        instances * bytes_per_instance,
        f"{instances:,} instances of stations and other state need",
        way_out="ask for fewer instances (shards)",
    )


def check_ended(outcome: NDArray[np.int8], end_ms: float) -> None:
    """Every request of a whole run has ended, at a time that is a number.

    Only a user's own process can have left one waiting.

    Parameters
    ----------
    outcome : ndarray of int8, shape (n,)
    end_ms : float

    Raises
    ------
    ModelError
        Requests wait for something that will never happen, or times add up to infinity.
    """
    if not isfinite(end_ms):
        raise ModelError(
            "times add up to infinity; a Time must not be scaled, or grow with a counter, beyond all bounds"
        )
    waiting = int((outcome == UNFINISHED).sum())
    if waiting:
        raise ModelError(f"{waiting} of {len(outcome)} requests never ended; a Custom process must not wait for ever")


def check_little(stations: tuple[StationUse, ...]) -> None:
    """Little's law on the whole path: the integral of the queue equals the sum of the waits.

    Raises
    ------
    AssertionError
        The engine lost or doubled a waiting request: a defect of ours, never the user's.

    Sources
    -------
    Little, "A proof for the queuing formula L = lambda W", Oper. Res. 9, 1961.
    """
    for use in stations:
        gap = abs(use.waited_ms - use.queue_total_ms)
        assert gap <= 1e-6 * max(1.0, use.waited_ms), f"Little's law fails at {use.name}: {use}"
