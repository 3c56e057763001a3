"""The clock of the machine, and an event loop with microsecond timers.

asyncio passes its timeouts to ``epoll``, which counts whole milliseconds and rounds up, so a sleep ends
0.5 ms late on average. ``select`` counts microseconds and accepts an epoll descriptor; so :class:`PreciseSelector`
waits in ``select`` and collects the events from ``epoll``.
"""

import asyncio
import select
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any

from reference_impl.timing.faults import Faults

SELECT_DESCRIPTORS_MAX = 1024
"""``select`` accepts only smaller descriptors; that of the loop is one of the first."""


class AsyncioClock:
    """The clock interface on the running asyncio event loop."""

    def __init__(self) -> None:
        self.faults: Faults | None = None
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def now_ms(self) -> float:
        """Return the milliseconds on a monotonic scale."""
        return self._loop.time() * 1_000

    def unix_ms(self) -> int:
        """Return the milliseconds since 1970."""
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
        """Return a new waiter."""
        return self._loop.create_future()

    def call_at_ms(self, at_ms: float, action: Callable[[], None]) -> asyncio.TimerHandle:
        """Call *action* at *at_ms*."""
        return self._loop.call_at(at_ms / 1_000, action)

    def spawn(self, task: Coroutine[Any, Any, None]) -> None:
        """Run *task* in the background."""
        running = self._loop.create_task(task)
        # The loop itself holds only weak references to tasks.
        self._tasks.add(running)
        running.add_done_callback(self._tasks.discard)

    async def cancel_all(self) -> None:
        """Cancel all background tasks."""
        running = list(self._tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop whose timers have microsecond precision where the system supports it."""
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
