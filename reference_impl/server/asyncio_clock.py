"""The machine's own clock, and an event loop that wakes up on time.

asyncio hands its time-outs to ``epoll``, which counts whole milliseconds and rounds up: a sleep ends
0.5 ms late on average before anything else goes wrong. ``select`` counts microseconds, and an epoll
descriptor can itself be selected on; so :class:`PreciseSelector` waits in ``select`` and collects
from ``epoll``.
"""

import asyncio
import select
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any

SELECT_DESCRIPTORS_MAX = 1024
"""``select`` takes no descriptor from here on; the loop's own is one of the first."""


class AsyncioClock:
    """Time, waiting and tasks of the running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def now_ms(self) -> float:
        """Milliseconds on a monotonic scale."""
        return self._loop.time() * 1_000

    def unix_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    async def sleep_until_ms(self, at_ms: float) -> None:
        """Wait until *at_ms*."""
        waiter = self._loop.create_future()
        timer = self._loop.call_at(at_ms / 1_000, _wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()

    def waiter(self) -> "asyncio.Future[None]":
        """Return a new thing to wait for."""
        return self._loop.create_future()

    def call_at_ms(self, at_ms: float, action: Callable[[], None]) -> asyncio.TimerHandle:
        """Call *action* at *at_ms*."""
        return self._loop.call_at(at_ms / 1_000, action)

    def spawn(self, task: Coroutine[Any, Any, None]) -> None:
        """Run *task* in the background."""
        running = self._loop.create_task(task)
        # The loop itself keeps only weak references to tasks.
        self._tasks.add(running)
        running.add_done_callback(self._tasks.discard)

    async def cancel_all(self) -> None:
        """End all background tasks."""
        running = list(self._tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop whose timers are precise to microseconds where the system can."""
    if hasattr(selectors, "EpollSelector"):
        selector = PreciseSelector()
        if selector.fileno() < SELECT_DESCRIPTORS_MAX:
            return asyncio.SelectorEventLoop(selector)
        selector.close()
    return asyncio.new_event_loop()


class PreciseSelector(selectors.EpollSelector):
    """An epoll selector that waits with microsecond precision."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait up to *timeout* seconds for events and return them."""
        if timeout is None or timeout > 0:
            select.select([self.fileno()], [], [], timeout)
        return super().select(0)
