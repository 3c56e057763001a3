"""The tables of one run: allocated before the machine starts, enlarged when it stops for lack of room."""

from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sim.engines.compiled_engine.kernel import layout as k
from sim.engines.compiled_engine.kernel.loop import NO_ROOM, ROOM, machine
from sim.engines.compiled_engine.lowering import Program
from sim.engines.recording import UNFINISHED
from sim.flow import OUTCOMES

if TYPE_CHECKING:
    from sim.scenario.schedule import Schedule

FIRST_ROOM = 256
"""Flows of control that the tables hold at first; doubled when needed."""


class World:
    """The machine's memory; it keeps the tables alive while the machine holds their addresses.

    Parameters
    ----------
    program : Program
    schedule : Schedule
        n requests.
    categories : int
        Rows of the record's breakdown.

    Attributes
    ----------
    tables : dict of str to ndarray, shape (rows,)
        By the names of :data:`sim.engines.compiled_engine.kernel.layout.TABLES`.
    record : ndarray of WORLD, shape (1,)
        The clock, and the addresses of the tables.
    """

    def __init__(self, program: Program, schedule: "Schedule", *, categories: int) -> None:
        requests, closed = len(schedule), schedule.user is not None
        events, following = _first_thoughts(schedule)
        self.tables = {
            **_program_tables(program),
            **_request_tables(schedule, following),
            "latency_ms": np.empty(requests),
            "outcome": np.full(requests, UNFINISHED, dtype=np.int8),
            "attempts": np.ones(requests, dtype=np.int16),
            "attributed_ms": np.zeros((categories, requests)),
            "followers": np.zeros(max(1, len(program.followers)) * len(OUTCOMES), dtype=np.int64),
            "events": events,
            "timers": np.zeros(0, k.TIMER),
            "soon": np.zeros(0, k.EVENT),
            "urgent": np.zeros(0, k.INTEGER),
            "tokens": np.zeros(0, k.TOKEN),
            "frames": np.zeros((0, program.slots), k.FRAME),
            "accumulators": np.zeros((0, categories)),
        }
        self.record = np.zeros(1, k.WORLD)
        self.set(requests=requests, closed=closed, categories=categories)
        self.set(slots=program.slots, starts_max=program.starts_max)
        self.set(running=k.NONE, free_token=k.NONE, free_timer=k.NONE)
        self.set(events_count=len(events), sequence_last=len(events) + 1, arrival_sequence=len(events) + 1)
        self.set(arrival_ms_next=inf if closed else schedule.arrival_ms[0])
        self.set(horizon_ms=inf if closed else schedule.arrival_ms[-1])
        room = _power_of_two(max(FIRST_ROOM, 2 * program.starts_max))
        self._make_room_for_events(len(events) + room)
        self._make_room_for_tokens(room)
        self._make_room_for_timers(room)

    def go_on(self, turns: int) -> int:
        """Run the machine for *turns*; return why it stopped."""
        self.set(**{name: table.__array_interface__["data"][0] for name, table in self.tables.items()})
        stopped = int(machine(self.record, turns))
        if stopped == NO_ROOM:
            self._grow()
        return stopped

    def get(self, name: str) -> Any:
        """Return one value of the world record."""
        return self.record[name][0]

    def set(self, **values: Any) -> None:
        """Write values of the world record."""
        for name, value in values.items():
            self.record[name] = value

    # ------------------------------------------------------------ room

    def _grow(self) -> None:
        """Enlarge the tables that are nearly full."""
        if self.get("events_count") + ROOM > self.get("events_room"):
            self._make_room_for_events(2 * len(self.tables["events"]))
        if self.get("free_tokens") <= self.get("starts_max"):
            self._make_room_for_tokens(2 * len(self.tables["tokens"]))
        if self.get("free_timer") == k.NONE:
            self._make_room_for_timers(2 * len(self.tables["timers"]))

    def _make_room_for_events(self, room: int) -> None:
        self._lengthen("events", room)
        self.set(events_room=room)

    def _make_room_for_timers(self, room: int) -> None:
        before = self._lengthen("timers", room)
        self.set(free_timer=_chain(self.tables["timers"], before, int(self.get("free_timer"))))

    def _make_room_for_tokens(self, room: int) -> None:
        """Enlarge the token table, and the rings that must hold all tokens and all users of a closed loop."""
        before = self._lengthen("tokens", room)
        tokens = self.tables["tokens"]
        tokens["index"] = np.arange(room)
        self.set(free_token=_chain(tokens, before, int(self.get("free_token"))))
        self.set(free_tokens=self.get("free_tokens") + room - before)
        self._lengthen("frames", room)
        self._lengthen("accumulators", room)
        self._unroll("urgent", room)
        self._unroll("soon", _power_of_two(room + len(self.tables["next_request"])))

    def _lengthen(self, name: str, room: int) -> int:
        """Add rows of zeros to a table, up to *room*; return how many it had."""
        table = self.tables[name]
        longer = np.zeros((room, *table.shape[1:]), table.dtype)
        longer[: len(table)] = table
        self.tables[name] = longer
        return len(table)

    def _unroll(self, name: str, room: int) -> None:
        """Enlarge a ring to *room* places, and move its head to place 0."""
        ring, count, head = self.tables[name], int(self.get(f"{name}_count")), int(self.get(f"{name}_head"))
        larger = np.zeros(room, ring.dtype)
        if count:
            larger[:count] = ring[(head + np.arange(count)) % len(ring)]
        self.tables[name] = larger
        self.set(**{f"{name}_head": 0, f"{name}_room": room})


def _program_tables(program: Program) -> dict[str, NDArray[Any]]:
    placement, tables = program.placement, program.tables
    servers, lists = placement.server_rows()
    return {
        "code": program.code,
        "jumps": program.jumps,
        "conditions": tables.conditions,
        "times": tables.times,
        "knots": tables.knots,
        "windows": tables.windows,
        "window_keys": tables.window_keys,
        "servers": servers,
        "lists": lists,
        "counters": placement.counts(),
        "latches": placement.flags(),
        "buckets": placement.bucket_rows(),
        "budgets": placement.budget_rows(),
        "timer_queues": np.full(2 * program.timer_queues, k.NONE).view(k.LIST),
    }


def _request_tables(schedule: "Schedule", following: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    closed = schedule.user is not None
    return {
        "route": _column(schedule.route_code, np.int16),
        "key": _column(schedule.key, np.int64),
        "size_bytes": _column(schedule.size_bytes, np.int64),
        "tokens_in": _column(schedule.tokens_in, np.int64),
        "tokens_out": _column(schedule.tokens_out, np.int64),
        "arrival_ms": np.full(len(schedule), np.nan) if closed else _column(schedule.arrival_ms, np.float64),
        "think_ms": _column(schedule.think_ms if closed else np.zeros(0), np.float64),
        "next_request": following,
    }


def _first_thoughts(schedule: "Schedule") -> tuple[NDArray[np.void], NDArray[np.int64]]:
    """Return, for a closed loop, the users' first events and each request's successor; shapes (users,) and (n,)."""
    if schedule.user is None or schedule.think_ms is None:
        return np.zeros(0, k.EVENT), np.zeros(0, dtype=np.int64)
    order = np.argsort(schedule.user, kind="stable")
    same = schedule.user[order[1:]] == schedule.user[order[:-1]]
    following = np.full(len(schedule), k.NONE, dtype=np.int64)
    following[order[:-1][same]] = order[1:][same]
    first = order[np.concatenate([[True], ~same])]
    events = np.zeros(len(first), k.EVENT)
    events["time_ms"], events["sequence"] = schedule.think_ms[first], np.arange(1, len(first) + 1)
    events["kind"], events["index"] = k.ARRIVE, first
    # Sorted, they are a heap.
    return events[np.lexsort((events["sequence"], events["time_ms"]))], following


def _chain(table: NDArray[np.void], start: int, head: int) -> int:
    """Put the rows from *start* on in front of a list of free rows; return the new head."""
    table["next"][start:-1] = np.arange(start + 1, len(table))
    table["next"][-1] = head
    return start


def _column(values: Any, kind: Any) -> NDArray[Any]:
    """Return a column as a contiguous array of one type; copied only if it is not one."""
    return np.ascontiguousarray(values, kind)


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()
