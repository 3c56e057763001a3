"""A clock that wakes a load generator on time.

Picture a runner who must leave the blocks at given instants, each counted from the start and none from the one
before, so that lateness never adds up. The pacer sleeps until shortly before the instant, then stays awake for the
last stretch while the event loop goes on reading answers.

The event loop's own wait is the trap: ``epoll`` counts in whole milliseconds and rounds up, which alone makes
every second request a millisecond late (measured: median 0.8 ms, with this selector and the stretch 0.1 ms).
"""

import asyncio
import select
import selectors
from math import inf

AWAKE_S = 0.0003
"""Last stretch before an instant that is spent awake: three times the usual 0.1 ms by which Linux wakes a sleeper late.
Longer stretches (1 ms) bring nothing more and cost a third of a core at 500 requests/s."""

FD_SELECT_MAX = 1024
"""``select`` cannot watch a descriptor at or above this number (FD_SETSIZE)."""


class PreciseSelector(selectors.DefaultSelector):
    """The platform's selector, waiting with the microseconds of ``select`` where its own wait is coarser.

    An ``epoll`` descriptor is itself something to wait on: it is readable when any of its own descriptors is.
    """

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait up to *timeout* seconds (None: for ever) until something is ready."""
        coarse = hasattr(selectors, "EpollSelector") and self.fileno() < FD_SELECT_MAX
        if coarse and timeout is not None and 0 < timeout < inf:
            select.select([self.fileno()], [], [], timeout)
            timeout = 0
        return super().select(timeout)


def precise_loop() -> asyncio.AbstractEventLoop:
    """A new event loop whose timers are not rounded to milliseconds."""
    return asyncio.SelectorEventLoop(PreciseSelector())


async def wait_until(instant_s: float) -> None:
    """Return at *instant_s* on the running loop's clock, or at once when that has passed."""
    loop = asyncio.get_running_loop()
    sleep_s = instant_s - AWAKE_S - loop.time()
    if sleep_s > 0:
        await asyncio.sleep(sleep_s)
    while loop.time() < instant_s:  # noqa: ASYNC110 - nothing happens at the instant but its own arrival
        await asyncio.sleep(0)
