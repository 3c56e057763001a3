"""Retries of failed calls: exponential backoff with jitter, and a retry budget.

The platform marks its errors: a call that failed with a *retryable* error may succeed the next time; retrying an
*overloaded* one makes the overload worse. A caller that retries every failure multiplies the load just when it is too
high: with r retries and a failure probability q the offered load is λ (1 + q + … + q^r), and once that exceeds the
capacity, the overload persists after its cause is gone. So only errors that are retryable and not overloaded are
retried, after a growing random pause, and retries are limited to a small share of all calls.

Retrying is safe only if the call is idempotent: a usage event is, by its id.

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
    """Number of retries, pauses, and the retry budget.

    Parameters
    ----------
    retries
        Largest number of retries of one call.
    pause_ms, pause_ms_max
        Longest pause before the first retry, doubled with each further one, and its upper bound.
    budget_share
        Retry budget of all calls together, as a share of first attempts.
    """

    retries: int = 3
    pause_ms: float = 50.0
    pause_ms_max: float = 1_000.0
    budget_share: float = 0.1


def half() -> float:
    """Return 0.5, the mean of the uniform distribution: pauses are then deterministic."""
    return 0.5


class Retrier:
    """Retries calls under a policy.

    Parameters
    ----------
    clock
        The deployment's clock.
    policy
        Number of retries, pauses and budget.
    chance
        Returns a uniform random number in 0..1, the fraction of the longest pause that is waited.
    """

    def __init__(self, clock: Clock, policy: RetryPolicy, *, chance: Callable[[], float] = half) -> None:
        self._clock = clock
        self._policy = policy
        self._chance = chance
        self._credit = 1.0
        self.calls = 0
        self.repetitions = 0

    async def call(self, attempt: Callable[[], Awaitable[Returned]]) -> Returned:
        """Call *attempt*, with retries, and return its result.

        Raises
        ------
        PlatformError
            The last failure, if it may not be retried or the retries are used up.
        """
        self.calls += 1
        # The budget does not accumulate beyond that of ten calls and one retry.
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
