"""Precise timing for the load generator.

Send times are absolute, so lateness does not accumulate. The pacer sleeps until shortly before the instant, then polls
for the rest while the event loop continues to read answers.

The event loop's own timers are too coarse: ``epoll`` waits in whole milliseconds and rounds up, which alone makes
requests late (measured: median 0.8 ms; with this selector and polling 0.1 ms).
"""

import asyncio
import select
import selectors
from math import inf

AWAKE_S = 0.0003
"""Time before an instant that is spent polling: three times the usual 0.1 ms by which Linux wakes a sleeper late.
More (1 ms) brings no gain and costs a third of a core at 500 requests/s."""

FD_SELECT_MAX = 1024
"""``select`` cannot watch a descriptor at or above this number (FD_SETSIZE)."""


class PreciseSelector(selectors.DefaultSelector):
    """The platform's selector with the microsecond timeouts of ``select`` where its own are coarser.

    An ``epoll`` descriptor can itself be waited on: it is readable when any of its own descriptors is.
    """

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait up to *timeout* seconds (None: for ever) until something is ready."""
        coarse = hasattr(selectors, "EpollSelector") and self.fileno() < FD_SELECT_MAX
        if coarse and timeout is not None and 0 < timeout < inf:
            select.select([self.fileno()], [], [], timeout)
            timeout = 0
        return super().select(timeout)


def precise_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop whose timers are not rounded to milliseconds."""
    return asyncio.SelectorEventLoop(PreciseSelector())


async def wait_until(instant_s: float) -> None:
    """Return at *instant_s* on the running loop's clock, or at once when that has passed."""
    loop = asyncio.get_running_loop()
    sleep_s = instant_s - AWAKE_S - loop.time()
    if sleep_s > 0:
        await asyncio.sleep(sleep_s)
    while loop.time() < instant_s:  # noqa: ASYNC110 - nothing happens at the instant but its own arrival
        await asyncio.sleep(0)
