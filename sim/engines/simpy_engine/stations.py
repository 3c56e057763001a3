"""Servers behind a queue, as SimPy events: in order of arrival, newest first, by priority, or processor sharing.

One object here is one *instance* of a station. It accumulates two integrals over time, of busy servers and of waiting
requests, and the sum of the waits, so that every run can be checked by Little's law.
"""

from collections import deque
from collections.abc import Generator
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Any

from simpy import Environment, Event

from sim.flow import Station


class Meter:
    """Integrals over time of busy servers and waiting requests, both up to the horizon and over the whole run."""

    __slots__ = (
        "busy",
        "busy_ms",
        "busy_total_ms",
        "horizon_ms",
        "last_ms",
        "queue_ms",
        "queue_total_ms",
        "refused",
        "served",
        "waited_ms",
        "waiting",
    )

    def __init__(self, horizon_ms: float) -> None:
        self.horizon_ms = horizon_ms
        self.last_ms = 0.0
        self.busy = 0.0
        self.waiting = 0
        self.busy_ms = self.busy_total_ms = 0.0
        self.queue_ms = self.queue_total_ms = 0.0
        self.waited_ms = 0.0
        self.served = self.refused = 0

    def advance(self, now: float) -> None:
        """Add the time since the last change to the integrals."""
        span = now - self.last_ms
        if span <= 0.0:
            return
        self.busy_total_ms += self.busy * span
        self.queue_total_ms += self.waiting * span
        if self.last_ms < self.horizon_ms:
            clipped = min(now, self.horizon_ms) - self.last_ms
            self.busy_ms += self.busy * clipped
            self.queue_ms += self.waiting * clipped
        self.last_ms = now


class Instance:
    """Servers with one queue, first come first served; and what was gathered from it, which is served before."""

    __slots__ = ("env", "free", "gathered", "idle_ms", "limit", "meter", "queue", "released_ms", "servers")

    def __init__(self, env: Environment, station: Station, horizon_ms: float) -> None:
        self.env = env
        self.servers = self.free = station.servers
        self.limit = inf if station.queue_limit is None else station.queue_limit
        self.queue: Any = deque()
        self.gathered: deque[Event] = deque()
        self.meter = Meter(horizon_ms)
        self.released_ms = -inf
        self.idle_ms = inf

    def take(self) -> None:
        """Occupy a free server."""
        now = self.env.now
        self.meter.advance(now)
        self.meter.busy += 1
        self.free -= 1
        self.idle_ms = now - self.released_ms

    def join(self, priority: int) -> Event:
        """Join the end of the queue; the event happens when a server is passed to this request."""
        self.meter.advance(self.env.now)
        self.meter.waiting += 1
        place = Event(self.env)
        self._enqueue(place, priority)
        return place

    def gather(self, at_most: float) -> int:
        """Serve what waits, at most *at_most* requests, before anything that arrives later; return their number."""
        count = int(min(len(self.queue), at_most))
        self.gathered.extend(self._dequeue() for _ in range(count))
        return count

    def release(self) -> None:
        """Pass the server to the request whose turn it is, or leave it idle."""
        now = self.env.now
        meter = self.meter
        meter.advance(now)
        meter.served += 1
        self.released_ms = now
        if meter.waiting:
            meter.waiting -= 1
            self.idle_ms = 0.0
            place = self.gathered.popleft() if self.gathered else self._dequeue()
            place.succeed()
        else:
            meter.busy -= 1
            self.free += 1

    def _enqueue(self, place: Event, priority: int) -> None:
        self.queue.append(place)

    def _dequeue(self) -> Event:
        place: Event = self.queue.popleft()
        return place


class NewestInstance(Instance):
    """Servers with one queue, last come first served."""

    __slots__ = ()

    def _dequeue(self) -> Event:
        place: Event = self.queue.pop()
        return place


class PriorityInstance(Instance):
    """Servers with one queue: lowest priority number first, then in order of arrival."""

    __slots__ = ("order",)

    def __init__(self, env: Environment, station: Station, horizon_ms: float) -> None:
        super().__init__(env, station, horizon_ms)
        self.queue = []
        self.order = count()

    def _enqueue(self, place: Event, priority: int) -> None:
        heappush(self.queue, (priority, next(self.order), place))

    def _dequeue(self) -> Event:
        place: Event = heappop(self.queue)[2]
        return place


class SharingInstance:
    """Processor sharing: each of the jobs present is served at speed ``min(1, servers / present)``.

    A *virtual clock* runs at that speed: a job that needs w ms ends when the virtual clock has advanced by w, so the
    order of completions does not change when jobs arrive or leave.

    Sources
    -------
    Zhang, "VirtualClock", SIGCOMM 1990, and the attained-service view of processor sharing in
    Kleinrock, "Queueing Systems" II, 1976.
    """

    __slots__ = ("clock_ms", "env", "jobs", "meter", "order", "servers", "version")

    def __init__(self, env: Environment, station: Station, horizon_ms: float) -> None:
        self.env = env
        self.servers = station.servers
        self.meter = Meter(horizon_ms)
        self.clock_ms = 0.0
        self.jobs: list[tuple[float, int, Event]] = []
        self.order = count()
        self.version = 0

    def work(self, work_ms: float) -> Generator[Event, Any, None]:
        """Receive *work_ms* of service, however long that takes with the other jobs present."""
        self._advance()
        end = Event(self.env)
        heappush(self.jobs, (self.clock_ms + work_ms, next(self.order), end))
        self._plan()
        yield end

    def _speed(self) -> float:
        return min(1.0, self.servers / len(self.jobs))

    def _advance(self) -> None:
        now = self.env.now
        if self.jobs:
            self.clock_ms += (now - self.meter.last_ms) * self._speed()
        self.meter.busy = min(self.servers, len(self.jobs))
        self.meter.advance(now)
        self.meter.last_ms = now

    def _plan(self) -> None:
        """Schedule the next completion; an earlier schedule is ignored when its time comes."""
        self.version += 1
        if not self.jobs:
            return
        left_ms = max(0.0, self.jobs[0][0] - self.clock_ms) / self._speed()
        alarm = self.env.timeout(left_ms, value=self.version)
        alarm.callbacks.append(self._ring)

    def _ring(self, alarm: Event) -> None:
        if alarm.value != self.version:
            return
        self._advance()
        self.clock_ms, _, end = heappop(self.jobs)
        self.meter.served += 1
        end.succeed()
        self._plan()
