"""The stopwatch that every request carries, and the stations in whose queues it waits.

A request has a *planned time*: the moment that it has reached if every stage had lasted exactly as long as
was sampled for it, or as its real work if that was longer. Stages add to the planned time; sleeping only
catches the real clock up with it. A late wake-up of the machine therefore delays the next step in
the real world but not in the plan: lateness does not add up along a request, and a server that was
released late counts as free from its planned release. Genuine queueing stays: who waits in a queue
starts when the one before has, by plan, left.

Work that runs at once has a stopwatch for each branch (:meth:`Stopwatch.fork`). The branch that decides when
the request goes on, by plan, is joined again: the request's time, and what it was spent on, is that branch's.
So the time categories of a request always add up to its duration.
"""

import heapq
import math
from collections import deque
from types import TracebackType
from typing import Self

from reference_impl.errors import ImplError, OverloadedError
from reference_impl.timing.clock import Clock, Waiter
from reference_impl.timing.tape import Tape


class Stopwatch:
    """The time that one request has reached, and what it was spent on.

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
        self.is_paced = True
        self._keeps_plan = keeps_plan

    def run_unpaced(self) -> None:
        """Take nothing but real work from now on: no sampled time, no delay."""
        self.is_paced = self._keeps_plan = False
        self.planned_ms = max(self.planned_ms, self.clock.now_ms())

    def draw_ms(self, tape: Tape) -> float:
        """Return the next value of *tape*; 0, and leave the tape alone, if the request is not paced."""
        return tape.draw() if self.is_paced else 0.0

    def spend(self, category: str, duration_ms: float) -> None:
        """Attribute *duration_ms* to the time category without moving the plan."""
        self.spent_ms[category] = self.spent_ms.get(category, 0.0) + duration_ms

    def delay(self, category: str, duration_ms: float) -> None:
        """Move the plan by a pure delay; nobody else is in the way of it."""
        if self.is_paced:
            self.advance(category, duration_ms)

    def advance(self, category: str, duration_ms: float) -> None:
        """Move the plan by *duration_ms*, whether the request is paced or not."""
        self.spend(category, duration_ms)
        self.planned_ms += duration_ms

    async def catch_up(self, *, early_ms: float = 0.0) -> None:
        """Wait until the real clock has reached the plan, or *early_ms* before."""
        if self.clock.now_ms() < self.planned_ms:
            await self.clock.sleep_until_ms(self.planned_ms - early_ms)
        elif not self._keeps_plan:
            self.planned_ms = self.clock.now_ms()

    def late_ms(self) -> float:
        """How far the real clock is behind the plan; 0 if the request is not paced and so has none."""
        return self.clock.now_ms() - self.planned_ms if self.is_paced else 0.0

    def stage(self, category: str, drawn_ms: float = 0.0) -> "Stage":
        """Return the context in which real work counts towards a sampled time."""
        return Stage(self, category, drawn_ms)

    def fork(self) -> "Stopwatch":
        """Return the stopwatch of a branch that begins where this one is; it has spent nothing yet."""
        branch = Stopwatch(self.clock, keeps_plan=self._keeps_plan, started_ms=self.planned_ms)
        branch.is_paced = self.is_paced
        return branch

    def join(self, branch: "Stopwatch") -> None:
        """Go on where *branch*, a fork of this one, has come to; what it spent was spent here."""
        for category, duration_ms in branch.spent_ms.items():
            self.spend(category, duration_ms)
        self.planned_ms = branch.planned_ms

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
    MS_MAX = 3.0

    def __init__(self) -> None:
        self.ms = 0.0

    def departed(self, late_ms: float) -> None:
        """Learn from one departure; one that is neither late nor early teaches nothing."""
        if late_ms:
            self.ms = min(max(0.0, self.ms + math.copysign(self.STEP_MS, late_ms)), self.MS_MAX)


class Stage:
    """Work that lasts as long as was sampled for it, or as it really takes if that is longer.

    Parameters
    ----------
    stopwatch
        The request's stopwatch.
    category
        The time category that it is attributed to.
    drawn_ms
        The sampled time; may be set while the stage runs.
    """

    def __init__(self, stopwatch: Stopwatch, category: str, drawn_ms: float) -> None:
        self._stopwatch = stopwatch
        self._category = category
        self._began_ms = 0.0
        self.drawn_ms = drawn_ms
        self.took_ms = 0.0

    async def __aenter__(self) -> Self:
        # Whatever the work does, it must not do it before its time.
        await self._stopwatch.catch_up()
        self._began_ms = self._stopwatch.clock.now_ms()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A refusal costs its stage as success does; a crash costs nothing, because nobody is left.
        if error is None or isinstance(error, ImplError):
            real_ms = self._stopwatch.clock.now_ms() - self._began_ms
            self.took_ms = max(self.drawn_ms, real_ms) if self._stopwatch.is_paced else real_ms
            self._stopwatch.advance(self._category, self.took_ms)
            await self._stopwatch.catch_up()


class Station:
    """A number of servers behind one queue, first come first served.

    Parameters
    ----------
    clock
        The deployment's clock.
    name
        What stands in the error when the queue is full.
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
        self._queue: deque[tuple[Stopwatch, Waiter]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait in the queue."""
        return len(self._queue)

    def hold(self, stopwatch: Stopwatch, queue: str) -> "Turn":
        """Return the context in which one server is held; the wait is attributed to the category *queue*."""
        return Turn(self, stopwatch, queue)

    @property
    def is_idle(self) -> bool:
        """Whether no server is held."""
        return self._held == 0

    async def acquire(self, stopwatch: Stopwatch, *, bounded: bool = True) -> float:
        """Wait for a server and return the wait by plan (ms).

        A caller that was inside before and only comes back is let into a full queue: *bounded* False.

        Raises
        ------
        OverloadedError
            If the queue is full.
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
        while self._queue:
            following, waiter = self._queue.popleft()
            if not waiter.done():  # A shutdown may have ended the wait.
                following.planned_ms = max(following.planned_ms, at_ms)
                waiter.set_result(None)
                return
        self._held -= 1
        heapq.heappush(self._free_since_ms, at_ms)

    async def _wait(self, stopwatch: Stopwatch, *, bounded: bool) -> None:
        limit = self._queue_limit if bounded else None
        if limit is not None and len(self._queue) >= limit:
            raise OverloadedError(
                f"{self._name} is overloaded: {len(self._queue)} requests wait already; the queue holds {limit}"
            )
        waiter = self._clock.waiter()
        self._queue.append((stopwatch, waiter))
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
