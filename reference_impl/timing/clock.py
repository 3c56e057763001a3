"""The clock on the wall of the deployment, and a second clock that only moves when everybody waits.

Rules of this package:

1. A core never asks the machine what time it is, never sleeps and never starts a task by itself:
   it asks a :class:`Clock`.
2. Two times exist. ``now_ms`` is monotonic and measures durations; ``unix_ms`` dates things that
   users see.
3. Whatever runs on :class:`VirtualClock` runs the same way every time: one task at a time, first
   come first served.
"""

import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, Protocol


class Waiter(Protocol):
    """Something to wait for: it is set once, and everyone who awaits it goes on."""

    def done(self) -> bool:
        """Whether it was set."""
        ...

    def set_result(self, result: None, /) -> None:
        """Let everyone who waits go on."""
        ...

    def __await__(self) -> Generator[Any, None, None]:
        """Wait until it is set."""
        ...


class Timer(Protocol):
    """An action that is due at a moment."""

    def cancel(self) -> None:
        """Let it not happen, unless it has."""
        ...


class Clock(Protocol):
    """Time, waiting and background tasks, as a parameter."""

    def now_ms(self) -> float:
        """Milliseconds on a monotonic scale of unknown origin."""
        ...

    def unix_ms(self) -> int:
        """Milliseconds since 1970, for dates that users see."""
        ...

    async def sleep_until_ms(self, at_ms: float) -> None:
        """Wait until ``now_ms`` has reached *at_ms*; return at once if it has."""
        ...

    def waiter(self) -> Waiter:
        """Return a new thing to wait for."""
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
        """Whether it was set."""
        return self._is_set

    def set_result(self, result: None, /) -> None:
        """Let everyone who waits go on, in the order in which they came."""
        assert not self._is_set, "a waiter is set once"
        self._is_set = True
        self._clock.wake(self._tasks)

    def park(self, task: Coroutine[Any, Any, None]) -> None:
        """Add *task* to those who wait."""
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
        """Let it not happen."""
        self.is_cancelled = True


class VirtualClock:
    """A clock that jumps to the next deadline as soon as no task can run.

    Parameters
    ----------
    unix_ms_start
        Date at which the virtual world begins, in ms since 1970.
    """

    def __init__(self, *, unix_ms_start: int = 1_795_000_000_000) -> None:
        self._now_ms = 0.0
        self._unix_ms_start = unix_ms_start
        self._ready: deque[Coroutine[Any, Any, None]] = deque()
        self._timers: list[tuple[float, int, VirtualTimer]] = []
        self._timer_count = 0
        # A dictionary keeps the order of birth, so that an end is the same every time too.
        self._alive: dict[Coroutine[Any, Any, None], None] = {}

    def now_ms(self) -> float:
        """Milliseconds since the virtual world began."""
        return self._now_ms

    def unix_ms(self) -> int:
        """Milliseconds since 1970."""
        return self._unix_ms_start + int(self._now_ms)

    async def sleep_until_ms(self, at_ms: float) -> None:
        """Wait until *at_ms*."""
        if at_ms > self._now_ms:
            waiter = VirtualWaiter(self)
            self.call_at_ms(at_ms, partial(waiter.set_result, None))
            await waiter

    def waiter(self) -> VirtualWaiter:
        """Return a new thing to wait for."""
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
        """Put *tasks* at the end of the queue of those that can run."""
        self._ready.extend(tasks)

    def advance(self, duration_ms: float) -> None:
        """Let *duration_ms* pass at once, as real work does."""
        self._now_ms += duration_ms

    def run(self, *tasks: Coroutine[Any, Any, Any]) -> list[Any]:
        """Run *tasks* together until all have ended; return their results in the order given.

        Background tasks go on at the next call. An exception of any task ends the run and is
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
        """Run whatever is due up to and including *at_ms*."""
        while self._ready or (self._timers and self._timers[0][0] <= at_ms):
            self._turn()
        self._now_ms = max(self._now_ms, at_ms)

    def close(self) -> None:
        """End all tasks at the place where they wait, the newest first."""
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
