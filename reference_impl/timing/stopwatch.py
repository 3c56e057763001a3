"""The stopwatch of a request, and the stations in whose queues requests wait.

A request has a *planned time*: the time that it would have reached if every stage had lasted exactly its sampled
time, or its real work if that was longer. A stage adds to the planned time, then sleeps until the real clock has caught
up. A late wake-up of the machine therefore delays the next stage in real time but not in planned time: lateness does
not accumulate along a request, and a server that is released late counts as free from its planned release. Real
queueing remains: a waiting request starts at the planned departure of the request before it.

Concurrent work has a stopwatch for each branch (:meth:`Stopwatch.fork`). The branch that lets the request continue is
joined: the request takes over its planned time and its time categories. So the time categories of a request always add
up to its duration.
"""

import heapq
import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from reference_impl.errors import ImplError, OverloadedError
from reference_impl.timing.addressed import Draws
from reference_impl.timing.clock import Clock, Waiter
from reference_impl.timing.tape import Tape


class Stopwatch:
    """The planned time of one request, and the time attributed to each category.

    Parameters
    ----------
    clock
        The deployment's clock.
    keeps_plan
        False at full speed: the planned time then follows the real clock.
    started_ms
        Arrival time of the request, if it is in the past.

    Attributes
    ----------
    draws
        Where a numbered request looks its values up; None: it reads the tapes in order.
    key
        The key of the request; None for work that no request stands for.
    held
        Names of the stations of which a server is held.
    """

    def __init__(self, clock: Clock, *, keeps_plan: bool = True, started_ms: float | None = None) -> None:
        self.clock = clock
        self.started_ms = clock.now_ms() if started_ms is None else started_ms
        self.planned_ms = self.started_ms
        self.spent_ms: dict[str, float] = {}
        self.is_paced = True
        self.draws: Draws | None = None
        self.key: int | None = None
        self.held: list[str] = []
        self._keeps_plan = keeps_plan

    def run_unpaced(self) -> None:
        """Ignore sampled times and delays from now on; only real work takes time."""
        self.is_paced = self._keeps_plan = False
        self.planned_ms = max(self.planned_ms, self.clock.now_ms())

    def draw_ms(self, tape: Tape) -> float:
        """Return the request's value of *tape*, or the next one; 0 if the request is not paced."""
        return self._drawn(tape) if self.is_paced else 0.0

    def happens(self, tape: Tape, share: float) -> bool:
        """Decide whether something happens that happens to a *share* of requests; if this one is not paced, never."""
        return self.is_paced and share > 0 and self._drawn(tape) < share

    def _drawn(self, tape: Tape) -> float:
        return self.draws.value(tape) if self.draws is not None and tape.stream else tape.draw()

    def spend(self, category: str, duration_ms: float) -> None:
        """Attribute *duration_ms* to the time category without advancing the planned time."""
        self.spent_ms[category] = self.spent_ms.get(category, 0.0) + duration_ms

    def delay(self, category: str, duration_ms: float) -> None:
        """Advance the planned time by a pure delay, which needs no server."""
        if self.is_paced:
            self.advance(category, duration_ms)

    def advance(self, category: str, duration_ms: float) -> float:
        """Advance the planned time by *duration_ms*, whether the request is paced or not; return by how much.

        It is more where the scenario's faults make the work slow, or let it stand still.
        """
        faults = self.clock.faults
        if faults is not None:
            duration_ms = faults.paced_ms(category, duration_ms, watch=self, held=self.held)
        self.spend(category, duration_ms)
        self.planned_ms += duration_ms
        return duration_ms

    @contextmanager
    def round_trip(self, category: str, tape: Tape) -> Iterator[None]:
        """Spend half of a drawn round trip before the block and half after it; an error travels back like an answer."""
        half_ms = self.draw_ms(tape) / 2
        self.delay(category, half_ms)
        try:
            yield
        except ImplError:
            self.delay(category, half_ms)
            raise
        self.delay(category, half_ms)

    async def catch_up(self, *, early_ms: float = 0.0) -> None:
        """Wait until the real clock has reached the planned time, or *early_ms* before it."""
        if self.clock.now_ms() < self.planned_ms:
            await self.clock.sleep_until_ms(self.planned_ms - early_ms)
        elif not self._keeps_plan:
            self.planned_ms = self.clock.now_ms()

    def late_ms(self) -> float:
        """Return how far the real clock is past the planned time; 0 if the request is not paced."""
        return self.clock.now_ms() - self.planned_ms if self.is_paced else 0.0

    def stage(self, category: str, drawn_ms: float = 0.0) -> "Stage":
        """Return a context in which real work counts towards a sampled time."""
        return Stage(self, category, drawn_ms)

    def fork(self) -> "Stopwatch":
        """Return the stopwatch of a branch: it starts at this planned time with empty time categories."""
        branch = Stopwatch(self.clock, keeps_plan=self._keeps_plan, started_ms=self.planned_ms)
        branch.is_paced, branch.draws = self.is_paced, self.draws
        branch.key, branch.held = self.key, list(self.held)
        return branch

    def join(self, branch: "Stopwatch") -> None:
        """Take over the planned time of *branch*, a fork of this one, and add its time categories."""
        for category, duration_ms in branch.spent_ms.items():
            self.spend(category, duration_ms)
        self.planned_ms = branch.planned_ms

    def server_timing(self) -> str:
        """Return the time categories as the value of a ``Server-Timing`` header (ms)."""
        return ", ".join(f"{name};dur={ms:.3f}" for name, ms in self.spent_ms.items())


class HeadStart:
    """Estimates how long before its planned time a response must be started to leave on time.

    Waking up, serialising the response and writing it to the socket take real time, which is estimated from earlier
    responses: each late departure raises the head start by a small step, each early one lowers it, so it converges to
    the median.
    """

    STEP_MS = 0.02
    MS_MAX = 3.0

    def __init__(self) -> None:
        self.ms = 0.0

    def departed(self, late_ms: float) -> None:
        """Update the estimate after one departure; a lateness of exactly 0 changes nothing."""
        if late_ms:
            self.ms = min(max(0.0, self.ms + math.copysign(self.STEP_MS, late_ms)), self.MS_MAX)


class Stage:
    """A context whose duration is its sampled time, or that of its real work if longer.

    Parameters
    ----------
    stopwatch
        The request's stopwatch.
    category
        The time category that the duration is attributed to.
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
        # The work must not begin before its planned time.
        await self._stopwatch.catch_up()
        self._began_ms = self._stopwatch.clock.now_ms()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An error response takes as long as a success; a crash takes no time, because nothing waits for it.
        if error is None or isinstance(error, ImplError):
            real_ms = self._stopwatch.clock.now_ms() - self._began_ms
            work_ms = max(self.drawn_ms, real_ms) if self._stopwatch.is_paced else real_ms
            self.took_ms = self._stopwatch.advance(self._category, work_ms)
            await self._stopwatch.catch_up()


class Station:
    """A queueing station: one queue and a number of servers.

    Parameters
    ----------
    clock
        The deployment's clock.
    name
        Used in the error message when the queue is full.
    servers
        Number of servers; None: unlimited, so no request waits.
    queue_limit
        Number of requests that may wait; one more is refused at once. None: unlimited.
    newest_first
        Whether the request that came last is served next, or that which came first.
    """

    def __init__(
        self,
        clock: Clock,
        name: str,
        *,
        servers: int | None = 1,
        queue_limit: int | None = None,
        newest_first: bool = False,
    ) -> None:
        self._clock = clock
        self._name = name
        self._servers = servers
        self._queue_limit = queue_limit
        self._held = 0
        self._free_since_ms: list[float] = []
        self._newest_first = newest_first
        self._queue: deque[tuple[Stopwatch, Waiter]] = deque()
        self._gathered: deque[tuple[Stopwatch, Waiter]] = deque()

    @property
    def waiting(self) -> int:
        """Number of waiting requests."""
        return len(self._queue) + len(self._gathered)

    def gather(self, at_most: int | None) -> int:
        """Serve what waits, at most *at_most* requests, before what arrives later; return their number."""
        count = len(self._queue) if at_most is None else min(at_most, len(self._queue))
        self._gathered.extend(self._next() for _ in range(count))
        return count

    def _next(self) -> tuple[Stopwatch, Waiter]:
        return self._queue.pop() if self._newest_first else self._queue.popleft()

    def hold(self, stopwatch: Stopwatch, queue: str) -> "Turn":
        """Return a context in which one server is held; the wait is attributed to the category *queue*."""
        return Turn(self, stopwatch, queue)

    async def acquire(self, stopwatch: Stopwatch, *, bounded: bool = True) -> float:
        """Wait for a server and return the planned waiting time (ms).

        With *bounded* False a full queue accepts the caller too: for an event that rejoins the queue.

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
        else:
            self._held += 1
            if len(self._free_since_ms) > self._servers - self._held:
                stopwatch.planned_ms = max(arrived_ms, heapq.heappop(self._free_since_ms))
        waited_ms = stopwatch.planned_ms - arrived_ms
        if self._clock.faults is not None:
            stopwatch.held.append(self._name)
            self._clock.faults.stand_still(self._name, stopwatch)
        return waited_ms

    def release(self, stopwatch: Stopwatch) -> None:
        """Release the server at the planned time of *stopwatch*."""
        if self._servers is None:
            return
        at_ms = stopwatch.planned_ms
        if self._name in stopwatch.held:
            stopwatch.held.remove(self._name)
        while self._gathered or self._queue:
            following, waiter = self._gathered.popleft() if self._gathered else self._next()
            if not waiter.done():  # A shutdown may have ended the wait.
                following.planned_ms = max(following.planned_ms, at_ms)
                waiter.set_result(None)
                return
        self._held -= 1
        heapq.heappush(self._free_since_ms, at_ms)

    async def _wait(self, stopwatch: Stopwatch, *, bounded: bool) -> None:
        limit = self._queue_limit if bounded else None
        if limit is not None and self.waiting >= limit:
            raise OverloadedError(
                f"{self._name} is overloaded: {self.waiting} requests wait already; the queue holds {limit}"
            )
        waiter = self._clock.waiter()
        self._queue.append((stopwatch, waiter))
        await waiter


class Turn:
    """A context manager that holds one server of a station."""

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
