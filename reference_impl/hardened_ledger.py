"""The ledger to deploy: one row an event, whole micro-dollars, and every event counted once.

- An event's name is unique within its organisation; the same event again answers the first
  receipt and changes nothing (clients, proxies and queues all repeat).
- The event, its charge and the account change in one transaction, or none does.
- What an account owes always equals the sum of its unflushed charges.
- The event table is its own outbox: a row is *pending* until D1 is known to have it. D1 ignores a
  row that it has, so a flush that was cut anywhere is simply done again.
- The work of an append does not depend on how many events there are.

Sources
-------
Hazards H1, H3, H5 to H9, H11 and H70 of the shared hazard list, which this policy removes.
"""

from collections.abc import Sequence
from dataclasses import astuple, fields, replace

from reference_impl.charge import Account, charge
from reference_impl.errors import RequestError
from reference_impl.ledger_policy import Balance, Receipt, UsageEvent, UsageRow
from reference_impl.object_storage import Storage

SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS events (
        seq INTEGER PRIMARY KEY,
        organization_id TEXT NOT NULL,
        event_id TEXT NOT NULL,
        user_id TEXT NOT NULL,
        model TEXT NOT NULL,
        tokens_in INTEGER NOT NULL,
        tokens_out INTEGER NOT NULL,
        event_time_ms INTEGER NOT NULL,
        received_ms INTEGER NOT NULL,
        charge_microusd INTEGER NOT NULL,
        owed_microusd INTEGER NOT NULL,
        cost_cents INTEGER NOT NULL,
        is_pending INTEGER NOT NULL DEFAULT 1,
        UNIQUE (organization_id, event_id)
    )
    """,
    "CREATE INDEX IF NOT EXISTS pending ON events (seq) WHERE is_pending = 1",
    """
    CREATE TABLE IF NOT EXISTS accounts (
        organization_id TEXT PRIMARY KEY,
        tier TEXT NOT NULL,
        pending_microusd INTEGER NOT NULL,
        pending_events INTEGER NOT NULL,
        credits_microusd INTEGER NOT NULL,
        ceiling_microusd INTEGER NOT NULL,
        free_limit_microusd INTEGER NOT NULL,
        free_month INTEGER NOT NULL,
        free_used_microusd INTEGER NOT NULL,
        carry_nanousd INTEGER NOT NULL,
        carry_microusd INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
)
ACCOUNT_COLUMNS = ", ".join(field.name for field in fields(Account))
SETTLE_ROWS_MAX = 90
"""Rows settled by one statement: it binds each, and 100 is the platform's most."""


class HardenedLedger:
    """One row an event.

    Parameters
    ----------
    storage
        The object's disk.
    """

    flushes_itself = True

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        if not storage.sql("SELECT 1 FROM sqlite_schema WHERE name = 'accounts'"):
            with storage.transaction():
                for statement in SCHEMA:
                    storage.sql(statement)

    def append(self, event: UsageEvent, received_ms: int) -> Receipt:
        """Store *event* and charge it, once."""
        with self._storage.transaction():
            account = self.account(event.organization_id)
            earlier = self._earlier(event, account)
            if earlier:
                return earlier
            price, account = charge(event.usage, account)
            self._write_account(event.organization_id, account)
            self._storage.sql(
                "INSERT INTO events (organization_id, event_id, user_id, model, tokens_in, "
                "tokens_out, event_time_ms, received_ms, charge_microusd, owed_microusd, "
                "cost_cents) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                event.organization_id,
                event.event_id,
                event.user_id,
                *astuple(event.usage),
                received_ms,
                *astuple(price),
            )
        return Receipt(price.charge_microusd, account.pending_microusd)

    def balance(self, organization_id: str) -> Balance:
        """Return what *organization_id* owes."""
        account = self.account(organization_id)
        return Balance(account.pending_microusd, account.pending_events)

    def events_held(self) -> int:
        """Return 0: an append rewrites no other event."""
        return 0

    def last_seq(self) -> int:
        """Return the number of the newest event (0: none)."""
        return int(self._storage.sql("SELECT coalesce(max(seq), 0) FROM events")[0][0])

    def pending(self, up_to_seq: int, limit: int) -> Sequence[UsageRow]:
        """Return the oldest unflushed rows."""
        rows = self._storage.sql(
            "SELECT seq, organization_id || ':' || event_id, user_id, organization_id, "
            "'inference', tokens_in + tokens_out, cost_cents, model, event_time_ms, "
            "owed_microusd FROM events WHERE is_pending = 1 AND seq <= ? ORDER BY seq LIMIT ?",
            up_to_seq,
            limit,
        )
        return [UsageRow(*row) for row in rows]

    def settle(self, rows: Sequence[UsageRow]) -> None:
        """Take *rows* off what is owed; a row settled before changes nothing."""
        with self._storage.transaction():
            for start in range(0, len(rows), SETTLE_ROWS_MAX):
                self._settle_some([row.seq for row in rows[start : start + SETTLE_ROWS_MAX]])

    def account(self, organization_id: str) -> Account:
        """Return the account of *organization_id*."""
        rows = self._storage.sql(
            f"SELECT {ACCOUNT_COLUMNS} FROM accounts WHERE organization_id = ?",  # noqa: S608
            organization_id,
        )
        return Account(*rows[0]) if rows else Account()

    def set_account(self, organization_id: str, account: Account) -> None:
        """Replace tier, credits, ceiling and free limit; what is owed stays."""
        with self._storage.transaction():
            kept = self.account(organization_id)
            account = replace(
                kept,
                tier=account.tier,
                credits_microusd=account.credits_microusd,
                ceiling_microusd=account.ceiling_microusd,
                free_limit_microusd=account.free_limit_microusd,
            )
            self._write_account(organization_id, account)

    def _earlier(self, event: UsageEvent, account: Account) -> Receipt | None:
        rows = self._storage.sql(
            "SELECT charge_microusd, user_id, model, tokens_in, tokens_out, event_time_ms "
            "FROM events WHERE organization_id = ? AND event_id = ?",
            event.organization_id,
            event.event_id,
        )
        if not rows:
            return None
        charge_microusd, *content = rows[0]
        if content != [event.user_id, *astuple(event.usage)]:
            raise RequestError(
                409,
                "event_id_reused",
                f"event_id={event.event_id} already names another event; give each event its own",
            )
        return Receipt(charge_microusd, account.pending_microusd, duplicate=True)

    def _write_account(self, organization_id: str, account: Account) -> None:
        marks = ", ".join("?" * (1 + len(fields(Account))))
        self._storage.sql(
            f"INSERT OR REPLACE INTO accounts (organization_id, {ACCOUNT_COLUMNS}) "  # noqa: S608
            f"VALUES ({marks})",
            organization_id,
            *astuple(account),
        )

    def _settle_some(self, seqs: Sequence[int]) -> None:
        marks = ", ".join("?" * len(seqs))
        settled = self._storage.sql(
            f"UPDATE events SET is_pending = 0 WHERE is_pending = 1 AND seq IN ({marks}) "  # noqa: S608
            "RETURNING organization_id, owed_microusd",
            *seqs,
        )
        owed: dict[str, tuple[int, int]] = {}
        for organization_id, owed_microusd in settled:
            sum_microusd, events = owed.get(organization_id, (0, 0))
            owed[organization_id] = sum_microusd + owed_microusd, events + 1
        for organization_id, (sum_microusd, events) in owed.items():
            self._storage.sql(
                "UPDATE accounts SET pending_microusd = pending_microusd - ?, "
                "pending_events = pending_events - ? WHERE organization_id = ?",
                sum_microusd,
                events,
                organization_id,
            )
