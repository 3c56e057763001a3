"""When a failed call may be made again, and when it must not.

The platform marks its errors: *retryable* ones may go better the next time, *overloaded* ones get worse
with every repetition. A caller that repeats everything multiplies the load just when there is too much
of it: with r repetitions and a failure share q, what is offered is λ (1 + q + … + q^r), and once that is
more than the server can do it stays so after its cause is gone. So: repeat only what is retryable and
not overloaded, after a growing and random pause, and never more than a small share of all calls.

Repeating is safe only where the call is idempotent: a ledger event is, by its name.

Sources
-------
Durable Objects error handling: ``.retryable``, ``.overloaded``. Hazard H15 (docs/HAZARDS.md).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from reference_impl.errors import PlatformError
from reference_impl.timing.clock import Clock

Returned = TypeVar("Returned")


@dataclass(frozen=True)
class RetryPolicy:
    """How often, and after which pauses.

    Parameters
    ----------
    retries
        Repetitions of one call at most.
    pause_ms, pause_ms_max
        Longest pause before the first repetition, doubled with each, and its bound.
    budget_share
        Repetitions, as a share of first calls, that all calls together may make.
    """

    retries: int = 3
    pause_ms: float = 50.0
    pause_ms_max: float = 1_000.0
    budget_share: float = 0.1


def half() -> float:
    """Return the middle of 0..1: pauses without chance."""
    return 0.5


class Retrier:
    """Repeats calls by a policy.

    Parameters
    ----------
    clock
        Lets pauses pass.
    policy
        How often.
    chance
        Draws a number in 0..1: which part of the longest pause is waited.
    """

    def __init__(self, clock: Clock, policy: RetryPolicy, *, chance: Callable[[], float] = half) -> None:
        self._clock = clock
        self._policy = policy
        self._chance = chance
        self._credit = 1.0
        self.calls = 0
        self.repetitions = 0

    async def call(self, attempt: Callable[[], Awaitable[Returned]]) -> Returned:
        """Return what *attempt* returns, perhaps after some failures.

        Raises
        ------
        PlatformError
            The last failure, if it may not be repeated or was often enough.
        """
        self.calls += 1
        # A burst of failures finds the credit of ten quiet calls at most.
        self._credit = min(self._credit + self._policy.budget_share, 10 * self._policy.budget_share + 1)
        failures = 0
        while True:
            try:
                return await attempt()
            except PlatformError as error:
                failures += 1
                if not self._may_repeat(error, failures):
                    raise
            longest_ms = min(self._policy.pause_ms * 2 ** (failures - 1), self._policy.pause_ms_max)
            await self._clock.sleep_until_ms(self._clock.now_ms() + longest_ms * self._chance())

    def _may_repeat(self, error: PlatformError, failures: int) -> bool:
        if error.overloaded or not error.retryable or failures > self._policy.retries or self._credit < 1:
            return False
        self._credit -= 1
        self.repetitions += 1
        return True
