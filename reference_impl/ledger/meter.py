"""The meter: a stand-in for a payment provider's usage meter, which invoices are made from.

It accepts *meter events*, each with an identifier, a customer and a value, and ignores an identifier that it has seen.
One batch of the ledger becomes one meter event for each organisation, identified by batch and organisation, so a batch
that arrives twice counts once.

An invoice is the meter's sum, rounded once.

Sources
-------
The origin bills usage by meter events; its identifier held the time, so that a repeated flush was
counted twice (hazard H9). Rounding: hazard H7. Both: docs/HAZARDS.md.
"""

from typing import NamedTuple

from reference_impl.errors import PlatformError
from reference_impl.ledger.policy import Batch
from reference_impl.sqlite.engines import Engine
from reference_impl.timing.stopwatch import Stopwatch

MICROUSD_PER_CENT = 10_000
TABLE = """
CREATE TABLE IF NOT EXISTS meter_events (
    identifier TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    value_microusd INTEGER NOT NULL
) WITHOUT ROWID
"""


class MeterError(PlatformError):
    """The meter rejected or failed to store a batch; the ledger keeps it and sends it again."""

    code = "meter_error"


class MeterEvent(NamedTuple):
    """The usage of one organisation in one batch; *identifier* is the same whenever it is sent."""

    identifier: str
    organization_id: str
    value_microusd: int


def meter_events(batch: Batch) -> list[MeterEvent]:
    """Return one meter event for each organisation in *batch*."""
    sums: dict[str, int] = {}
    for row in batch.rows:
        sums[row.organization_id] = sums.get(row.organization_id, 0) + row.charge_microusd
    return [MeterEvent(f"{batch.id}/{name}", name, value_microusd) for name, value_microusd in sums.items()]


class Meter:
    """The meter, stored in a database of its own.

    Parameters
    ----------
    engine
        The database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        engine.execute(TABLE)

    async def store(self, batch: Batch, stopwatch: Stopwatch) -> None:
        """Count *batch*, unless it was counted before.

        Raises
        ------
        MeterError
            If the database fails; then no part of the batch is counted.
        """
        try:
            with self._engine.transaction():
                for event in meter_events(batch):
                    self._engine.execute(
                        "INSERT INTO meter_events VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                        (event.identifier, event.organization_id, event.value_microusd),
                    )
        except self._engine.errors as error:
            raise MeterError(f"the meter failed: {error}; flush again") from error

    def total_microusd(self, organization_id: str) -> int:
        """Return the total usage of *organization_id*."""
        query = "SELECT coalesce(sum(value_microusd), 0) FROM meter_events WHERE organization_id = ?"
        return int(self._engine.execute(query, (organization_id,)).values[0][0])


def invoice_cents(total_microusd: int) -> int:
    """Return the amount of an invoice in whole cents, rounded down: the only place where money is rounded."""
    return total_microusd // MICROUSD_PER_CENT
