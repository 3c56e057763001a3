"""The stopwatch that every request carries, and the lines in which it waits.

A request has a *planned time*: the moment it has reached if every stage had lasted exactly what
was drawn for it, or its real work if that was longer. Stages add to the planned time; sleeping only
catches the real clock up with it. A late wake-up of the machine therefore delays the next step in
the real world but not in the plan: lateness does not add up along a request, and a server that was
released late counts as free from its planned release. Genuine queueing stays: who waits in line
starts when the one before has, by plan, left.
"""

import heapq
import math
from collections import deque
from types import TracebackType
from typing import Self

from reference_impl.errors import ImplError, OverloadedError
from reference_impl.timing.clock import Clock, Waiter


class Stopwatch:
    """The time one request has reached, and what each component took of it.

    Parameters
    ----------
    clock
        The deployment's clock.
    keeps_plan
        False at full speed: the plan is then moved up to the real clock whenever it is read.
    started_ms
        When the request arrived, if that was before now.
    """

    def __init__(self, clock: Clock, *, keeps_plan: bool = True, started_ms: float | None = None) -> None:
        self.clock = clock
        self.started_ms = clock.now_ms() if started_ms is None else started_ms
        self.planned_ms = self.started_ms
        self.spent_ms: dict[str, float] = {}
        self._keeps_plan = keeps_plan

    def spend(self, component: str, duration_ms: float) -> None:
        """Book *duration_ms* on *component* without moving the plan."""
        self.spent_ms[component] = self.spent_ms.get(component, 0.0) + duration_ms

    def delay(self, component: str, duration_ms: float) -> None:
        """Move the plan by a pure delay; nobody else is in the way of it."""
        self.spend(component, duration_ms)
        self.planned_ms += duration_ms

    async def catch_up(self, *, early_ms: float = 0.0) -> None:
        """Wait until the real clock has reached the plan, or *early_ms* before."""
        if self.clock.now_ms() < self.planned_ms:
            await self.clock.sleep_until_ms(self.planned_ms - early_ms)
        elif not self._keeps_plan:
            self.planned_ms = self.clock.now_ms()

    def late_ms(self) -> float:
        """How far the real clock is behind the plan's expectation."""
        return self.clock.now_ms() - self.planned_ms

    def stage(self, component: str, drawn_ms: float = 0.0) -> "Stage":
        """Return the context in which real work counts towards a drawn time."""
        return Stage(self, component, drawn_ms)

    def server_timing(self) -> str:
        """Return what was spent as the value of a ``Server-Timing`` header (ms)."""
        return ", ".join(f"{name};dur={ms:.3f}" for name, ms in self.spent_ms.items())


class HeadStart:
    """How much before its planned time an answer must be taken up to leave on time.

    Waking up, writing the answer out and handing it to the system is real work of the answer's last
    stage; it can only be known from the answers before. Each late departure moves the head start up
    by a small step, each early one down, so that it settles where half of the answers are late.
    """

    STEP_MS = 0.02
    MOST_MS = 3.0

    def __init__(self) -> None:
        self.ms = 0.0

    def departed(self, late_ms: float) -> None:
        """Learn from one departure."""
        self.ms = min(max(0.0, self.ms + math.copysign(self.STEP_MS, late_ms)), self.MOST_MS)


class Stage:
    """Work that lasts as long as was drawn for it, or as it really takes if that is longer.

    Parameters
    ----------
    stopwatch
        The request's stopwatch.
    component
        The name that the time is booked on.
    drawn_ms
        The drawn time; may be set while the stage runs.
    """

    def __init__(self, stopwatch: Stopwatch, component: str, drawn_ms: float) -> None:
        self._stopwatch = stopwatch
        self._component = component
        self._began_ms = 0.0
        self.drawn_ms = drawn_ms
        self.took_ms = 0.0

    async def __aenter__(self) -> Self:
        self._began_ms = self._stopwatch.clock.now_ms()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A refusal costs its stage as success does; a crash costs nothing, because nobody is left.
        if error is None or isinstance(error, ImplError):
            real_ms = self._stopwatch.clock.now_ms() - self._began_ms
            self.took_ms = max(self.drawn_ms, real_ms)
            self._stopwatch.delay(self._component, self.took_ms)
            await self._stopwatch.catch_up()


class Station:
    """A counter with a number of servers and one line, first come first served.

    Parameters
    ----------
    clock
        The deployment's clock.
    name
        What stands in the error when the line is full.
    servers
        How many are served at once; None means that nobody ever waits.
    queue_limit
        How many may wait; one more is refused at once. None means no bound.
    """

    def __init__(self, clock: Clock, name: str, *, servers: int | None = 1, queue_limit: int | None = None) -> None:
        self._clock = clock
        self._name = name
        self._servers = servers
        self._queue_limit = queue_limit
        self._held = 0
        self._free_since_ms: list[float] = []
        self._line: deque[tuple[Stopwatch, Waiter]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait in line."""
        return len(self._line)

    def hold(self, stopwatch: Stopwatch, queue: str) -> "Turn":
        """Return the context in which one server is held; the wait is booked on *queue*."""
        return Turn(self, stopwatch, queue)

    @property
    def is_idle(self) -> bool:
        """Whether no server is held."""
        return self._held == 0

    async def acquire(self, stopwatch: Stopwatch, *, bounded: bool = True) -> float:
        """Wait for a server and return the wait by plan (ms).

        Who was inside before and only comes back is let into a full line: *bounded* False.

        Raises
        ------
        OverloadedError
            If the line is full.
        """
        await stopwatch.catch_up()
        arrived_ms = stopwatch.planned_ms
        if self._servers is None:
            return 0.0
        if self._held == self._servers:
            await self._wait(stopwatch, bounded=bounded)
            return stopwatch.planned_ms - arrived_ms
        self._held += 1
        if len(self._free_since_ms) > self._servers - self._held:
            stopwatch.planned_ms = max(arrived_ms, heapq.heappop(self._free_since_ms))
        return stopwatch.planned_ms - arrived_ms

    def release(self, stopwatch: Stopwatch) -> None:
        """Give the server back at the planned time of *stopwatch*."""
        if self._servers is None:
            return
        at_ms = stopwatch.planned_ms
        while self._line:
            following, waiter = self._line.popleft()
            if not waiter.done():  # A shutdown may have ended the wait.
                following.planned_ms = max(following.planned_ms, at_ms)
                waiter.set_result(None)
                return
        self._held -= 1
        heapq.heappush(self._free_since_ms, at_ms)

    async def _wait(self, stopwatch: Stopwatch, *, bounded: bool) -> None:
        limit = self._queue_limit if bounded else None
        if limit is not None and len(self._line) >= limit:
            raise OverloadedError(
                f"{self._name} is overloaded: {len(self._line)} requests wait already; the line holds {limit}"
            )
        waiter = self._clock.waiter()
        self._line.append((stopwatch, waiter))
        await waiter


class Turn:
    """One server of a station, held from entry to exit."""

    def __init__(self, station: Station, stopwatch: Stopwatch, queue: str) -> None:
        self._station = station
        self._stopwatch = stopwatch
        self._queue = queue

    async def __aenter__(self) -> None:
        self._stopwatch.spend(self._queue, await self._station.acquire(self._stopwatch))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._station.release(self._stopwatch)
