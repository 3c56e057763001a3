"""Branches: the concurrent work of one request, reported in the order of its planned ends.

A branch is a task with a stopwatch of its own. It has *ended* when its work is done and the real clock has reached its
planned end; ended branches are reported in the order of their planned ends. So late wake-ups of the machine can change
an outcome only if two planned ends, or a planned end and a timeout, are closer together than the lateness.
An abandoned branch is not cancelled: it keeps its place in every queue.
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
        Its position among the branches that were started, from 0.
    stopwatch
        Its planned end, and the time attributed to each category.
    returned
        The return value of its work.
    error
        The exception that its work raised.
    """

    number: int
    stopwatch: Stopwatch
    returned: Returned | None = None
    error: Exception | None = None


class Branches(Generic[Returned]):
    """The concurrent branches of one request or branch.

    Parameters
    ----------
    parent
        The stopwatch of the request or branch that waits for them.
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
        """Return the branch with the next planned end; None if that is not before *before_ms*."""
        if not self._has_one(before_ms):
            self._waiter = self._clock.waiter()
            # The waiting task may itself be late; the branches get the same allowance.
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
        except Exception as error:  # raised again where the branch is joined
            branch = ended(error=error)
            if not isinstance(error, ImplError):
                LOG.exception("a branch of a request failed by a defect")
        await stopwatch.catch_up()
        heapq.heappush(self._ended, (stopwatch.planned_ms, number, branch))
        self._wake()
