"""What an engine returns: for every request its arrival, its outcome, and its time by category.

Both engines fill the same arrays, so that they can be compared element by element.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sim.flow import ELASTIC, OUTCOMES

UNFINISHED = -1
"""Outcome code of a request that had not ended when the run was interrupted."""


FULL_RATIO = 1.0 + 1e-9
"""Offered load beyond which a station is unstable. A closed loop offers 1 at most, but for rounding."""


@dataclass(frozen=True)
class StationUse:
    """The usage of one station, or shared link, over all its instances.

    ``busy_ms`` and ``queue_ms`` are the integrals over time of the number of busy servers and of waiting requests, up
    to the horizon, which is the last arrival. ``waited_ms`` is the sum of all waits of the run; ``queue_total_ms`` is
    the integral of the queue length over the whole run, equal to it by Little's law.
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
    """``busy_ms`` of the busiest instance alone; the same number for a station of one instance."""
    offered_ms: float
    """Largest offered load of an instance: its service time, extrapolated to the requests that it rejected."""

    @property
    def elastic(self) -> bool:
        """Whether the station scales out, so that no share of its servers says how busy it is."""
        return self.servers >= ELASTIC

    def offered_ratio(self, horizon_ms: float) -> float:
        """Return the busiest instance's offered load, as a share of its capacity while requests arrive."""
        return self.offered_ms / max(horizon_ms * self.servers, 1e-9)


@dataclass(frozen=True)
class FollowerUse:
    """How the background flows of a :class:`~sim.flow.Spawn` ended; those of one name together.

    ``ended`` is their number by outcome, without outcomes that none had.
    """

    name: str
    ended: dict[str, int]

    @property
    def count(self) -> int:
        """All that ended."""
        return sum(self.ended.values())

    @property
    def failures(self) -> dict[str, int]:
        """Those that failed, by outcome."""
        return {outcome: count for outcome, count in self.ended.items() if outcome != "ok"}


def follower_uses(counts: Mapping[str, Sequence[int]]) -> tuple[FollowerUse, ...]:
    """Return the uses, by name, of counts in the order of :data:`sim.flow.OUTCOMES`."""
    return tuple(
        FollowerUse(name, {outcome: ended for outcome, ended in zip(OUTCOMES, counts[name], strict=True) if ended})
        for name in sorted(counts)
        if any(counts[name])
    )


@dataclass(frozen=True)
class Recording:
    """One run of an engine: arrays of shape (n,), one element a request."""

    arrival_ms: NDArray[np.float64]
    latency_ms: NDArray[np.float64]
    outcome: NDArray[np.int8]
    attempts: NDArray[np.int16]
    categories: dict[str, NDArray[np.float64]]
    stations: tuple[StationUse, ...] = ()
    end_ms: float = 0.0
    horizon_ms: float = 0.0
    followers: tuple[FollowerUse, ...] = ()
    interrupted: bool = False
    notes: tuple[str, ...] = field(default=())

    @property
    def spawned_failures(self) -> int:
        """Background flows that failed."""
        return sum(sum(use.failures.values()) for use in self.followers)

    @property
    def unstable(self) -> tuple[StationUse, ...]:
        """Stations whose offered load exceeds their capacity.

        Their queues grow as long as the load lasts, so the results are transient; or they reject the excess.
        """
        full = (use for use in self.stations if use.offered_ratio(self.horizon_ms) > FULL_RATIO)
        return tuple(use for use in full if len(self.outcome) > use.servers)
