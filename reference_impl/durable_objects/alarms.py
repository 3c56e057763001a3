"""Alarms: each object has at most one, stored on disk and delivered at least once.

The scheduler's row is written before the object's own transaction commits: spurious wake-ups are possible (the
object then says that it has no such alarm), lost ones are not.

A handler that fails is retried after 2, 4, 8, 16, 32 and 64 s, each delay lengthened by up to 25 % of jitter; if the
last retry fails too, the alarm is dropped. Failures of the platform itself (the queue was full, the object was reset)
do not count towards the six retries; the delays after them grow up to 1,024 s.

Sources
-------
Durable Objects alarms: at least once, six retries, first after 2 s, factor 2. The runtime's alarm
scheduler: jitter of 25 %, exponent at most 9 for failures that do not count.
"""

import logging
from collections.abc import Awaitable, Callable

from reference_impl.durable_objects.gates import ResetError
from reference_impl.errors import ImplError, OverloadedError
from reference_impl.timing.clock import Clock
from reference_impl.volumes.disks import ObjectDatabase, StorageFailedError

RETRY_MS = 2_000.0
RETRIES_MAX = 6
RETRY_JITTER_SHARE = 0.25
EXPONENT_MAX = 9
UNCOUNTED = (OverloadedError, ResetError, StorageFailedError)
"""Failures of the platform, not of the handler; they do not count as retries."""

LOG = logging.getLogger(__name__)


def no_jitter() -> float:
    """Return 0: retries come exactly after 2, 4, 8 … s."""
    return 0.0


class AlarmScheduler:
    """Schedules and delivers the alarms of one namespace.

    Parameters
    ----------
    clock
        The deployment's clock.
    index
        The namespace's own database, with its table ``objects`` (id, alarm_unix_ms).
    ring
        Runs an object's alarm handler; called with the object's id and the alarm's date.
    drop
        Notifies an object that its alarm was dropped after the last retry; called likewise.
    jitter
        Returns the fraction of the maximal jitter that a retry is delayed by, 0 to 1.
    """

    def __init__(
        self,
        clock: Clock,
        index: ObjectDatabase,
        *,
        ring: Callable[[str, int], Awaitable[None]],
        drop: Callable[[str, int], Awaitable[None]],
        jitter: Callable[[], float] = no_jitter,
    ) -> None:
        self._clock = clock
        self._index = index
        self._ring = ring
        self._drop = drop
        self._jitter = jitter
        self.given_up = 0
        """Number of alarms that were dropped after the last retry."""

    def set(self, object_id: str, at_unix_ms: int) -> None:
        """Schedule the object's alarm; it replaces one that is scheduled already."""
        self._index.execute("UPDATE objects SET alarm_unix_ms = ? WHERE id = ?", (at_unix_ms, object_id))
        self._clock.spawn(self._keep_ringing(object_id, at_unix_ms))

    def ensure(self, object_id: str, at_unix_ms: int) -> None:
        """Schedule the object's alarm unless the index has it for this date already."""
        rows = self._index.execute("SELECT alarm_unix_ms FROM objects WHERE id = ?", (object_id,)).fetchall()
        if rows != [(at_unix_ms,)]:
            self.set(object_id, at_unix_ms)

    def clear(self, object_id: str, at_unix_ms: int) -> None:
        """Remove the alarm of this date from the index."""
        self._index.execute(
            "UPDATE objects SET alarm_unix_ms = NULL WHERE id = ? AND alarm_unix_ms = ?", (object_id, at_unix_ms)
        )

    def resume(self) -> None:
        """Schedule the alarms that were set before a restart."""
        rows = self._index.execute("SELECT id, alarm_unix_ms FROM objects WHERE alarm_unix_ms IS NOT NULL")
        for object_id, at_unix_ms in rows.fetchall():
            self._clock.spawn(self._keep_ringing(object_id, at_unix_ms))

    async def _keep_ringing(self, object_id: str, at_unix_ms: int) -> None:
        counted, uncounted = 0, 0
        delay_ms = max(0.0, float(at_unix_ms - self._clock.unix_ms()))
        while True:
            await self._clock.sleep_until_ms(self._clock.now_ms() + delay_ms)
            gives_up = counted > RETRIES_MAX
            try:
                await (self._drop if gives_up else self._ring)(object_id, at_unix_ms)
            except UNCOUNTED:
                uncounted += 1
                delay_ms = self._backoff_ms(uncounted)
            except Exception as error:  # a handler may raise anything; any failure is retried
                counted += 1
                is_last = counted == RETRIES_MAX + 1
                delay_ms = 0.0 if is_last else self._backoff_ms(counted)
                defect = None if isinstance(error, ImplError) else error
                level = logging.WARNING if defect is None else logging.ERROR
                LOG.log(
                    level, "the alarm of object %s failed (attempt %d): %s", object_id, counted, error, exc_info=defect
                )
            else:
                self.given_up += gives_up
                return

    def _backoff_ms(self, failures: int) -> float:
        return RETRY_MS * 2.0 ** min(failures - 1, EXPONENT_MAX) * (1 + RETRY_JITTER_SHARE * self._jitter())
