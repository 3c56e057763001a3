"""An event loop that does not wait for timers: while nothing else happens its clock jumps to the next one.

Limits of 20 s or 75 s are thus tested as they are, in milliseconds, and a busy machine changes nothing.
"""

import asyncio
import selectors

GRACE_S = 0.001
"""How long it really waits before it jumps, so that data in the kernel arrives first."""


class SkippingSelector(selectors.DefaultSelector):
    """A selector that skips the time in which nothing is ready."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= GRACE_S:
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
