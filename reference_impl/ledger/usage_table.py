"""The sink that stores flushed events in D1's table ``usage_events``."""

from datetime import UTC, datetime

from reference_impl.d1.database import Database, Statement, insert_rows
from reference_impl.ledger.policy import Batch, UsageRow
from reference_impl.timing.stopwatch import Stopwatch

USAGE_INSERT = (
    "INSERT INTO usage_events (id, user_id, organization_id, event_type, tokens, cost_cents, model, "
    "created_at, charge_microusd)"
)


class UsageTable:
    """The table ``usage_events`` as the sink of a flush.

    Parameters
    ----------
    database
        The database that has the table.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def store(self, batch: Batch, stopwatch: Stopwatch) -> None:
        """Store the batch's rows in one transaction; D1 ignores rows that exist already."""
        rows = batch.rows
        users = sorted({row.user_id for row in rows})
        organizations = sorted({row.organization_id for row in rows})
        ignore = "ON CONFLICT DO NOTHING"
        statements = [
            *insert_rows("INSERT INTO users (id, email)", [(u, f"{u}@invalid") for u in users], tail=ignore),
            *insert_rows(
                "INSERT INTO organizations (id, name, slug)",
                [(o, o, o) for o in organizations],
                tail=ignore,
            ),
            *insert_rows(USAGE_INSERT, [_usage_values(row) for row in rows], tail=ignore),
        ]
        await self._database.run([Statement(sql, params) for sql, params in statements], stopwatch)


def _usage_values(row: UsageRow) -> tuple[object, ...]:
    return (
        row.id,
        row.user_id,
        row.organization_id,
        row.event_type,
        row.tokens,
        row.cost_cents,
        row.model,
        date_text(row.created_at_ms),
        row.charge_microusd,
    )


def date_text(unix_ms: int) -> str:
    """Return a date in the format of SQLite's ``CURRENT_TIMESTAMP``, with milliseconds added."""
    date = datetime.fromtimestamp(unix_ms / 1_000, tz=UTC)
    return f"{date:%Y-%m-%d %H:%M:%S}.{unix_ms % 1_000:03d}"
