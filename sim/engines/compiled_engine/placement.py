"""The position of each instance of state in the tables of the compiled machine, and its initial contents.

All instances of all stations are in one table, those of all counters and stamps in another, and so on; a declaration
becomes the index of its first instance and the number of instances.
"""

from collections.abc import Iterable
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim import flow as f
from sim.engines.compiled_engine.kernel import layout as k

NO_LIMIT = np.iinfo(np.int64).max
"""Queue length of a station without a limit."""

SHARED = "ps"


class Placement:
    """Places and initial contents of all state of a Flow.

    Parameters
    ----------
    flow : Flow

    Attributes
    ----------
    levels : dict of str to list of int
        The priorities that occur at each station, lowest first: each has a waiting list of its own, after the list of
        what was gathered.
    """

    def __init__(self, flow: f.Flow) -> None:
        self.stations: tuple[f.Station, ...] = f.states(flow, f.Station)
        self.links: tuple[f.Link, ...] = tuple(link for link in f.states(flow, f.Link) if link.shared)
        self.counters: tuple[f.Counter, ...] = f.states(flow, f.Counter)
        self.stamps: tuple[f.Stamp, ...] = f.states(flow, f.Stamp)
        self.latches: tuple[f.Latch, ...] = f.states(flow, f.Latch)
        self.buckets: tuple[f.Bucket, ...] = f.states(flow, f.Bucket)
        self.budgets: tuple[f.RetryBudget, ...] = f.states(flow, f.RetryBudget)
        self.levels = _levels(flow, self.stations)
        self._places: dict[tuple[type, str], int] = {}
        numbers = (*self.counters, *self.stamps)
        for group in ((*self.stations, *self.links), numbers, self.latches, self.buckets, self.budgets):
            self._place(group)

    def _place(self, group: Iterable[Any]) -> None:
        place = 0
        for part in group:
            self._places[type(part), part.name] = place
            place += getattr(part, "instances", 1)

    def of(self, part: f.State) -> dict[str, int]:
        """Return the operands that find an instance of *part*."""
        return {"first": self._places[type(part), part.name], "instances": getattr(part, "instances", 1)}

    def server_rows(self) -> tuple[NDArray[np.void], NDArray[np.void]]:
        """Return one row for each instance of a station or shared link, and the waiting lists; shapes (n,) and (m,)."""
        declared = [(station, 1 + len(self.levels[station.name])) for station in self.stations]
        declared += [(f.Station(link.name, instances=link.instances), 1) for link in self.links]
        servers = np.zeros(sum(station.instances for station, _ in declared), k.SERVER)
        servers["index"] = np.arange(len(servers))
        servers["released_ms"], servers["idle_ms"] = -inf, inf
        servers["jobs"] = servers["alarm"] = k.NONE
        place = lists = 0
        for station, levels in declared:
            rows = servers[place : place + station.instances]
            rows["servers"] = rows["free"] = station.servers
            rows["limit"] = NO_LIMIT if station.queue_limit is None else station.queue_limit
            rows["lists"] = lists + levels * np.arange(station.instances)
            rows["levels"] = levels
            rows["newest_first"] = station.discipline == "lcfs"
            place, lists = place + station.instances, lists + levels * station.instances
        heads = np.full(2 * lists, k.NONE).view(k.LIST)
        return servers, heads

    def bucket_rows(self) -> NDArray[np.void]:
        """Return one row for each instance of a token bucket, full; shape (n,)."""
        rows = np.array([(b.burst, 0.0, b.burst, b.per_s / 1000.0) for b in self.buckets], dtype=k.BUCKET)
        return np.repeat(rows, [b.instances for b in self.buckets])

    def budget_rows(self) -> NDArray[np.void]:
        """Return one row for each retry budget, full; shape (n,)."""
        return np.array([(b.burst, b.ratio, b.burst) for b in self.budgets], dtype=k.BUDGET)

    def counts(self) -> NDArray[np.float64]:
        """Return a 0 for each instance of a counter, then minus infinity for each of a stamp; shape (n,)."""
        zeros = np.zeros(sum(counter.instances for counter in self.counters))
        return np.append(zeros, np.full(sum(stamp.instances for stamp in self.stamps), -inf))

    def flags(self) -> NDArray[np.int8]:
        """Return a 0 for each instance of a latch; shape (n,)."""
        return np.zeros(sum(latch.instances for latch in self.latches), dtype=np.int8)


def _levels(flow: f.Flow, stations: tuple[f.Station, ...]) -> dict[str, list[int]]:
    """Return the priorities that occur at each station; one level where priority has no effect."""
    found: dict[str, set[int]] = {station.name: set() for station in stations}
    for step in f.walk(flow):
        if isinstance(step, f.Serve | f.Hold):
            found[step.station.name].add(step.priority if step.station.discipline == "priority" else 0)
    return {name: sorted(levels or {0}) for name, levels in found.items()}
