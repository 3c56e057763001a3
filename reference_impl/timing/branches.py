"""Branches: what one request does at once, and in which order, by plan, it ends.

A branch is a task with a stopwatch of its own. It has *ended* when its work has, and the real clock has caught
up with its plan; those that have ended are reported in the order of their planned ends. So a machine that wakes up
late changes an outcome only between branches, or a branch and a moment, that are no further apart than it is late.
A branch that nobody waits for any more goes on: it keeps its place in every queue.
"""

import heapq
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from reference_impl.errors import ImplError
from reference_impl.timing.clock import Waiter
from reference_impl.timing.stopwatch import Stopwatch

Returned = TypeVar("Returned")
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Branch(Generic[Returned]):
    """A branch that has ended.

    Parameters
    ----------
    number
        Its place among the branches that were started, from 0.
    stopwatch
        When it ended, and what that time was spent on.
    returned
        What its work returned.
    error
        What its work raised.
    """

    number: int
    stopwatch: Stopwatch
    returned: Returned | None = None
    error: Exception | None = None


class Branches(Generic[Returned]):
    """Branches of one request.

    Parameters
    ----------
    parent
        The stopwatch of what waits for them.
    """

    def __init__(self, parent: Stopwatch) -> None:
        self._parent = parent
        self._clock = parent.clock
        self._started = 0
        self._ended: list[tuple[float, int, Branch[Returned]]] = []
        self._waiter: Waiter | None = None

    def start(self, work: Callable[[Stopwatch], Awaitable[Returned]], stopwatch: Stopwatch) -> None:
        """Run *work* on *stopwatch*, a fork of the request's."""
        self._clock.spawn(self._run(work, stopwatch, number=self._started))
        self._started += 1

    async def next_ended(self, *, before_ms: float = math.inf) -> Branch[Returned] | None:
        """Return the branch that ends next, by plan; None if the moment *before_ms* comes first."""
        if not self._has_one(before_ms):
            self._waiter = self._clock.waiter()
            # What waits may be late itself; then so are the branches, and they get that time.
            wake_ms = before_ms + max(0.0, self._parent.late_ms())
            timer = None if math.isinf(wake_ms) else self._clock.call_at_ms(wake_ms, self._wake)
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        return heapq.heappop(self._ended)[-1] if self._has_one(before_ms) else None

    def _has_one(self, before_ms: float) -> bool:
        return bool(self._ended) and self._ended[0][0] < before_ms

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _run(
        self, work: Callable[[Stopwatch], Awaitable[Returned]], stopwatch: Stopwatch, *, number: int
    ) -> None:
        ended = partial(Branch[Returned], number, stopwatch)
        try:
            branch = ended(returned=await work(stopwatch))
        except Exception as error:  # whatever it is, it is raised where the branch is waited for
            branch = ended(error=error)
            if not isinstance(error, ImplError):
                LOG.exception("a branch of a request failed by a defect")
        await stopwatch.catch_up()
        heapq.heappush(self._ended, (stopwatch.planned_ms, number, branch))
        self._wake()
