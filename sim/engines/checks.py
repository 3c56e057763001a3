"""Checks that an engine makes before a run and after it."""

from math import isfinite
from typing import TYPE_CHECKING, get_args

import numpy as np
from numpy.typing import NDArray

from sim.engines.recording import UNFINISHED, StationUse
from sim.flow import Flow, walk
from sim.flow.state import Attribute
from sim.foundation.errors import ModelError, UsageError
from sim.foundation.free_memory import check_fits
from sim.randomness.distributions import LARGEST

if TYPE_CHECKING:
    from sim.scenario.schedule import Schedule


def check_schedule(flow: Flow, schedule: "Schedule") -> None:
    """Refuse a schedule with values that *flow* cannot use: a time or size out of range, a route without a name.

    Raises
    ------
    UsageError
        The column, the place and the value.
    """
    read = {getattr(part, name, None) for part in walk(flow) for name in ("of", "size")}
    columns = {name: getattr(schedule, name) for name in get_args(Attribute) if name in read}
    columns["route_code"] = schedule.route_code
    columns |= {"arrival_ms": schedule.arrival_ms} if schedule.user is None else {"think_ms": schedule.think_ms}
    for name, column in columns.items():
        high = len(schedule.routes) - 1 if name == "route_code" else LARGEST
        if not (column.min() >= 0 and column.max() <= high):
            place = int(np.argmin((column >= 0) & (column <= high)))
            raise UsageError(f"schedule.{name}[{place}]={column[place]:g} must be between 0 and {high:g}")


BYTES_PER_REQUEST = 120
"""Arrays of one request and its row in a result, without its categories (measured, rounded up)."""


def check_memory(requests: int, numbers: int, *, instances: int, bytes_per_instance: int) -> None:
    """Refuse a run whose record or state does not fit into memory, before it starts.

    Parameters
    ----------
    requests : int
    numbers : int
        Numbers of 8 bytes that each request needs besides its row in the result.
    instances : int
        Instances of all state; see :func:`sim.flow.instances`.
    bytes_per_instance : int
        Memory of one instance.

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
    """Check that every request of a complete run has ended, at a finite time.

    Only a :class:`~sim.flow.Custom` process can leave one waiting.

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
    """Check Little's law over the whole run: the integral of the queue length equals the sum of the waits.

    Raises
    ------
    AssertionError
        The engine lost or duplicated a waiting request: a defect of ours, never the user's.

    Sources
    -------
    Little, "A proof for the queuing formula L = lambda W", Oper. Res. 9, 1961.
    """
    for use in stations:
        gap = abs(use.waited_ms - use.queue_total_ms)
        assert gap <= 1e-6 * max(1.0, use.waited_ms), f"Little's law fails at {use.name}: {use}"
