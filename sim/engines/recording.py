"""What an engine hands back: for every request when it came, how it ended and where its time went.

Both engines fill the same arrays, so that they can be compared element by element.
"""

import os
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sim.errors import ModelError

UNFINISHED = -1
"""Outcome code of a request that had not ended when the run was interrupted."""

BYTES_PER_REQUEST = 120
"""Arrays and schedule columns of one request, without its accounts (measured with tracemalloc, rounded up)."""


@dataclass(frozen=True)
class StationUse:
    """How one station was used, all instances together.

    ``busy_ms`` and ``queue_ms`` are the integrals over time of the busy servers and of the waiting requests, up to
    *horizon*, the last arrival; ``waited_ms`` is the sum of the single waits of the whole run and ``queue_total_ms``
    the same thing as an integral over all of it: Little's law says that they are equal.
    """

    name: str
    servers: int
    instances: int
    served: int
    busy_ms: float
    queue_ms: float
    waited_ms: float
    queue_total_ms: float
    busiest_ms: float
    """Service time given by the busiest instance in the whole run."""


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


def check_memory(requests: int, accounts: int) -> None:
    """Refuse a run whose record cannot fit the machine, before it starts.

    Raises
    ------
    ModelError
        The record needs more than the memory that is free now.
    """
    needed = requests * (BYTES_PER_REQUEST + 8 * accounts)
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > free:
        raise ModelError(
            f"requests={requests} need about {needed / 1e9:.1f} GB for their record, {free / 1e9:.1f} GB are free; "
            "run fewer requests, or several replications"
        )


def check_ended(outcome: NDArray[np.int8]) -> None:
    """Every request of a whole run has ended; only a user's own process can have left one waiting.

    Parameters
    ----------
    outcome : ndarray of int8, shape (n,)

    Raises
    ------
    ModelError
        Requests wait for something that will never happen.
    """
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
