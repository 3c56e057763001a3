"""The interface of a clock, and a virtual clock that advances only when every task waits.

Rules of this package:

1. The cores never read the machine's clock, sleep or start tasks themselves; they use a :class:`Clock`.
2. There are two times: ``now_ms`` is monotonic and measures durations; ``unix_ms`` dates what users see.
3. A run on :class:`VirtualClock` is deterministic: one task at a time, in first-come-first-served order.
"""

import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, Protocol

from reference_impl.timing.faults import Faults


class Waiter(Protocol):
    """A one-shot event: setting it resumes every task that awaits it."""

    def done(self) -> bool:
        """Return whether it is set."""
        ...

    def set_result(self, result: None, /) -> None:
        """Set it: resume every waiting task."""
        ...

    def __await__(self) -> Generator[Any, None, None]:
        """Wait until it is set."""
        ...


class Timer(Protocol):
    """A scheduled action that can be cancelled."""

    def cancel(self) -> None:
        """Cancel the action, unless it has run."""
        ...


class Clock(Protocol):
    """The interface of a clock: time, waiting and background tasks."""

    faults: Faults | None
    """What befalls the deployment, and when; None: nothing."""

    def now_ms(self) -> float:
        """Return the milliseconds on a monotonic scale of unspecified origin."""
        ...

    def unix_ms(self) -> int:
        """Return the milliseconds since 1970, for dates that users see."""
        ...

    async def sleep_until_ms(self, at_ms: float) -> None:
        """Wait until ``now_ms`` has reached *at_ms*; return at once if it has."""
        ...

    def waiter(self) -> Waiter:
        """Return a new waiter."""
        ...

    def call_at_ms(self, at_ms: float, action: Callable[[], None]) -> Timer:
        """Call *action* when ``now_ms`` has reached *at_ms*."""
        ...

    def spawn(self, task: Coroutine[Any, Any, None]) -> None:
        """Run *task* in the background; nobody waits for it."""
        ...


class VirtualWaiter:
    """A waiter of the virtual clock."""

    def __init__(self, clock: "VirtualClock") -> None:
        self._clock = clock
        self._is_set = False
        self._tasks: list[Coroutine[Any, Any, None]] = []

    def done(self) -> bool:
        """Return whether it is set."""
        return self._is_set

    def set_result(self, result: None, /) -> None:
        """Resume every waiting task, in the order in which they began to wait."""
        assert not self._is_set, "a waiter is set once"
        self._is_set = True
        self._clock.wake(self._tasks)

    def park(self, task: Coroutine[Any, Any, None]) -> None:
        """Add *task* to the waiting tasks."""
        self._tasks.append(task)

    def __await__(self) -> Generator[Any, None, None]:
        if not self._is_set:
            yield self


class VirtualTimer:
    """An action of the virtual clock."""

    def __init__(self, action: Callable[[], None]) -> None:
        self.action = action
        self.is_cancelled = False

    def cancel(self) -> None:
        """Cancel the action."""
        self.is_cancelled = True


class VirtualClock:
    """A clock that jumps to the next deadline as soon as no task can run.

    Parameters
    ----------
    unix_ms_start
        Date at which virtual time begins, in ms since 1970.
    """

    def __init__(self, *, unix_ms_start: int = 1_795_000_000_000) -> None:
        self.faults: Faults | None = None
        self._now_ms = 0.0
        self._unix_ms_start = unix_ms_start
        self._ready: deque[Coroutine[Any, Any, None]] = deque()
        self._timers: list[tuple[float, int, VirtualTimer]] = []
        self._timer_count = 0
        # A dictionary keeps the order of creation, so that closing is deterministic too.
        self._alive: dict[Coroutine[Any, Any, None], None] = {}

    def now_ms(self) -> float:
        """Return the milliseconds since virtual time began."""
        return self._now_ms

    def unix_ms(self) -> int:
        """Return the milliseconds since 1970."""
        return self._unix_ms_start + int(self._now_ms)

    async def sleep_until_ms(self, at_ms: float) -> None:
        """Wait until *at_ms*."""
        if at_ms > self._now_ms:
            waiter = VirtualWaiter(self)
            self.call_at_ms(at_ms, partial(waiter.set_result, None))
            await waiter

    def waiter(self) -> VirtualWaiter:
        """Return a new waiter."""
        return VirtualWaiter(self)

    def call_at_ms(self, at_ms: float, action: Callable[[], None]) -> VirtualTimer:
        """Call *action* at *at_ms*."""
        self._timer_count += 1
        timer = VirtualTimer(action)
        heapq.heappush(self._timers, (at_ms, self._timer_count, timer))
        return timer

    def spawn(self, task: Coroutine[Any, Any, None]) -> None:
        """Run *task* in the background."""
        self._alive[task] = None
        self._ready.append(task)

    def wake(self, tasks: list[Coroutine[Any, Any, None]]) -> None:
        """Append *tasks* to the run queue."""
        self._ready.extend(tasks)

    def advance(self, duration_ms: float) -> None:
        """Advance the clock by *duration_ms* without running anything, as real work does."""
        self._now_ms += duration_ms

    def run(self, *tasks: Coroutine[Any, Any, Any]) -> list[Any]:
        """Run *tasks* concurrently until all have ended; return their results in the order given.

        Background tasks continue at the next call. An exception of any task ends the run and is
        raised here.
        """
        results: dict[int, Any] = {}

        async def collect(position: int, task: Coroutine[Any, Any, Any]) -> None:
            results[position] = await task

        for position, task in enumerate(tasks):
            self.spawn(collect(position, task))
        while len(results) < len(tasks):
            self._turn()
        return [results[position] for position in range(len(tasks))]

    def run_until(self, at_ms: float) -> None:
        """Run everything that is due up to and including *at_ms*."""
        while self._ready or (self._timers and self._timers[0][0] <= at_ms):
            self._turn()
        self._now_ms = max(self._now_ms, at_ms)

    def close(self) -> None:
        """Close all tasks where they wait, the newest first."""
        for task in reversed(self._alive):
            task.close()
        self._alive.clear()
        self._ready.clear()
        self._timers.clear()

    def _turn(self) -> None:
        if not self._ready:
            assert self._timers, "every task waits and nothing can wake any of them"
            at_ms, _, timer = heapq.heappop(self._timers)
            if not timer.is_cancelled:
                self._now_ms = max(self._now_ms, at_ms)
                timer.action()
            return
        task = self._ready.popleft()
        try:
            waiter = task.send(None)
        except StopIteration:
            del self._alive[task]
            return
        except BaseException:
            del self._alive[task]
            raise
        waiter.park(task)
