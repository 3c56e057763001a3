"""The sinks outside: D1's ``usage_events`` and the meter, each with the one promise that it makes.

D1 keeps the first row of an id, the meter the first event of an identifier. Neither knows anything else, so whatever is
doubled or lost in them is the ledger's doing.
"""

from collections.abc import Callable, Sized
from dataclasses import dataclass, field
from typing import Protocol

from reference_impl.errors import PlatformError
from reference_impl.ledger.meter import meter_events
from reference_impl.ledger.policy import Batch
from reference_impl.timing.stopwatch import Stopwatch
from tests.faults.world import Process, Scheduler, SimWaiter

CALL_MS = 4.0
TIMEOUT_MS = 60.0


class AnyBooks(Protocol):
    """What the auditor asks the sinks."""

    @property
    def rows(self) -> Sized:
        """The rows of D1."""
        ...

    def row_sums(self) -> dict[str, int]:
        """Return D1's sum of every organisation (microusd)."""
        ...

    def meter_sums(self) -> dict[str, int]:
        """Return the meter's sum of every organisation (microusd)."""
        ...


@dataclass
class Books:
    """What the two sinks have stored.

    Parameters
    ----------
    rows
        D1: id to organisation and micro-dollars.
    meter
        The meter: identifier to organisation and micro-dollars.
    """

    rows: dict[str, tuple[str, int]] = field(default_factory=dict)
    meter: dict[str, tuple[str, int]] = field(default_factory=dict)

    def store_rows(self, batch: Batch) -> None:
        """Store what D1 is sent."""
        for row in batch.rows:
            self.rows.setdefault(row.id, (row.organization_id, row.charge_microusd))

    def store_meter_events(self, batch: Batch) -> None:
        """Count what the meter is sent."""
        for event in meter_events(batch):
            self.meter.setdefault(event.identifier, (event.organization_id, event.value_microusd))

    def row_sums(self) -> dict[str, int]:
        """Return D1's sum of every organisation (microusd)."""
        return _sums(self.rows)

    def meter_sums(self) -> dict[str, int]:
        """Return the meter's sum of every organisation (microusd)."""
        return _sums(self.meter)


def _sums(entries: dict[str, tuple[str, int]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for organization, microusd in entries.values():
        sums[organization] = sums.get(organization, 0) + microusd
    return sums


class SimSink:
    """One sink as the ledger's process sees it: a call that takes time and may go wrong.

    Parameters
    ----------
    scheduler, process
        The world, and who calls.
    apply
        Stores a batch in the books.
    next_fault
        Takes the fault that strikes this call, if one does, and how hard.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        process: Process,
        *,
        apply: Callable[[Batch], None],
        next_fault: Callable[[], tuple[str, int]],
    ) -> None:
        self._scheduler = scheduler
        self._process = process
        self._apply = apply
        self._next_fault = next_fault

    async def store(self, batch: Batch, stopwatch: Stopwatch) -> None:
        """Send *batch*; what arrives does not depend on whether the caller still lives."""
        self._process.step("sink")
        fault, amount = self._next_fault()
        answered = SimWaiter(self._scheduler)
        arrives_ms = CALL_MS + (amount if fault == "sink_late" else 0)
        if fault != "sink_fails":
            self._scheduler.call_in(arrives_ms, lambda: self._apply(batch))
        self._scheduler.call_in(TIMEOUT_MS if fault else 2 * CALL_MS, answered.set_once)
        await answered
        if fault:
            raise PlatformError("the sink did not answer in time")
