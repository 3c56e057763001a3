"""A cron trigger: an entry by which the platform calls the Worker; no client waits for the answer.

The reference does not start runs by itself: the load driver calls the handler, as a developer calls it at the path that
the local runtime offers. :meth:`Schedule.next_after` returns when the platform would.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from reference_impl.cron.schedule import Schedule
from reference_impl.messages import Response
from reference_impl.tables import Table
from reference_impl.timing.stopwatch import HeadStart, Stopwatch
from reference_impl.timing.tape import Tape

EVERY_MINUTE = "* * * * *"


@dataclass(frozen=True)
class CronSettings:
    """Settings of a trigger, read from its table in the deployment file."""

    schedule: Schedule
    dispatch_ms: Tape

    @classmethod
    def read(cls, table: Table) -> "CronSettings":
        """Read the table of a trigger."""
        return cls(Schedule(table.text("schedule", EVERY_MINUTE)), table.tape("dispatch_ms"))


class Trigger:
    """The entry of scheduled runs.

    Parameters
    ----------
    name
        Its time category.
    settings
        Its schedule, and how long the platform takes to call the handler.
    """

    response_limit_bytes: int | None = None

    def __init__(self, name: str, settings: CronSettings) -> None:
        self._name = name
        self._settings = settings
        self.schedule = settings.schedule

    async def carry(
        self, serve: Callable[[], Awaitable[Response]], stopwatch: Stopwatch, *, head_start: HeadStart
    ) -> Response:
        """Call the handler; its response goes to a manual caller."""
        stopwatch.delay(self._name, stopwatch.draw_ms(self._settings.dispatch_ms))
        response = await serve()
        await stopwatch.catch_up(early_ms=head_start.ms)
        return response
