"""An event loop that does not wait for timers: while nothing else happens its clock jumps to the next one.

Limits of 20 s or 75 s are thus tested as they are, in milliseconds, and a busy machine changes nothing.
"""

import asyncio
import selectors
from typing import Any

GRACE_S = 0.001
"""How long it really waits before it jumps, so that data in the kernel arrives first."""


class SkippingSelector(selectors.DefaultSelector):
    """A selector that skips the time in which nothing is ready."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped_s = 0.0
        self.working_threads = 0
        """While a thread works for the loop, real time is waited for."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= GRACE_S or self.working_threads:
            return super().select(timeout)
        ready = super().select(GRACE_S)
        if not ready:
            self.skipped_s += timeout - GRACE_S
        return ready


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop on such a selector."""

    def __init__(self) -> None:
        self._skipping = SkippingSelector()
        super().__init__(self._skipping)

    def time(self) -> float:
        return super().time() + self._skipping.skipped_s

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]  # any function
        future = super().run_in_executor(executor, func, *args)
        self._skipping.working_threads += 1
        future.add_done_callback(self._thread_is_done)
        return future

    async def shutdown_default_executor(self, *arguments: Any) -> None:
        self._skipping.working_threads += 1
        await super().shutdown_default_executor(*arguments)

    def _thread_is_done(self, future: Any) -> None:
        self._skipping.working_threads -= 1
