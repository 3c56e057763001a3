"""The ledger policy to deploy: one row an event, whole micro-dollars, every event charged exactly once.

- An event's id is unique within its organisation. The same event sent again gets the first receipt and changes
  nothing (clients, proxies and queues all retry).
- One transaction stores the event, its charge and its link in the audit chain, and updates the account.
- The amount that an account owes always equals the sum of its unflushed charges.
- The event table is its own outbox: rows up to ``settled_seq`` are flushed. A flush first *seals* the
  next rows as a batch: from then on the batch's content and id are fixed, so a sink can recognise a duplicate.
  Settling a batch again changes nothing.
- The cost of an append does not depend on the number of stored events.

Sources
-------
Hazards H1, H3, H5 to H9, H11, H17, H69 and H70 (docs/HAZARDS.md), which this policy removes.
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from reference_impl.durable_objects.storage import Storage
from reference_impl.errors import RequestError
from reference_impl.ledger import audit_chain
from reference_impl.ledger.charge import Account, charge, month_of
from reference_impl.ledger.policy import Balance, Batch, Receipt, UsageEvent, UsageRow

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
        chain TEXT NOT NULL,
        UNIQUE (organization_id, event_id)
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS accounts (
        organization_id TEXT PRIMARY KEY,
        tier TEXT NOT NULL,
        pending_microusd INTEGER NOT NULL,
        pending_events INTEGER NOT NULL,
        credits_microusd INTEGER NOT NULL,
        ceiling_microusd INTEGER NOT NULL,
        free_limit_microusd INTEGER NOT NULL,
        carry_nanousd INTEGER NOT NULL,
        carry_microusd INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS free_months (
        organization_id TEXT,
        month INTEGER,
        used_microusd INTEGER NOT NULL,
        PRIMARY KEY (organization_id, month)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS outbox (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        settled_seq INTEGER NOT NULL,
        sealed_seq INTEGER NOT NULL
    )
    """,
    "INSERT OR IGNORE INTO outbox VALUES (1, 0, 0)",
)
ACCOUNT_COLUMNS = (
    "tier pending_microusd pending_events credits_microusd ceiling_microusd free_limit_microusd "
    "carry_nanousd carry_microusd"
).split()
"""The first fields of :class:`Account`, in its order; free months have a table of their own."""
account_values = attrgetter(*ACCOUNT_COLUMNS)
usage_values = attrgetter("model", "tokens_in", "tokens_out", "event_time_ms")

READ_ACCOUNT = f"SELECT {', '.join(ACCOUNT_COLUMNS)} FROM accounts WHERE organization_id = ?"  # noqa: S608  # names are ours
WRITE_ACCOUNT = (
    f"INSERT OR REPLACE INTO accounts (organization_id, {', '.join(ACCOUNT_COLUMNS)}) "  # noqa: S608  # names are ours
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
READ_EARLIER = (
    "SELECT charge_microusd, user_id, model, tokens_in, tokens_out, event_time_ms "
    "FROM events WHERE organization_id = ? AND event_id = ?"
)
ENTRY_COLUMNS = (
    "seq, organization_id, event_id, user_id, model, tokens_in, tokens_out, event_time_ms, received_ms, "
    "charge_microusd, owed_microusd, cost_cents"
)
WRITE_EVENT = f"INSERT INTO events ({ENTRY_COLUMNS}, chain) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  # names are ours
READ_HEAD = "SELECT seq, chain FROM events ORDER BY seq DESC LIMIT 1"
# Names contain no slash, so different pairs of names give different ids.
READ_BATCH = (
    "SELECT seq, organization_id || '/' || event_id, user_id, organization_id, 'inference', "
    "tokens_in + tokens_out, cost_cents, model, event_time_ms, owed_microusd "
    "FROM events WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
)
SETTLE_ACCOUNT = (
    "UPDATE accounts SET pending_microusd = pending_microusd - ?, pending_events = pending_events - ? "
    "WHERE organization_id = ?"
)


class HardenedLedger:
    """The hardened policy: one row an event, charged exactly once.

    Parameters
    ----------
    storage
        The object's storage.
    ledger_id
        Prefix of the ids of its batches; unique to this ledger.
    """

    flushes_itself = True

    def __init__(self, storage: Storage, *, ledger_id: str = "ledger") -> None:
        self._storage = storage
        self._ledger_id = ledger_id
        if not storage.sql("SELECT 1 FROM sqlite_schema WHERE name = 'outbox'"):
            with storage.transaction():
                for statement in SCHEMA:
                    storage.sql(statement)

    def append(self, event: UsageEvent, received_ms: int) -> Receipt:
        """Store and charge *event*; return the first receipt if it is a duplicate."""
        organization_id, usage = event.organization_id, event.usage
        with self._storage.transaction():
            account = self.account(organization_id)
            earlier = self._earlier(event, account)
            if earlier:
                return earlier
            if account.tier == "free":
                account = self._with_month(organization_id, account, month_of(usage.event_time_ms))
            price, account = charge(usage, account)
            self._write_account(organization_id, account)
            head = self._storage.sql(READ_HEAD)
            last_seq, chain = head[0] if head else (0, audit_chain.GENESIS)
            entry = (
                last_seq + 1,
                organization_id,
                event.event_id,
                event.user_id,
                *usage_values(usage),
                received_ms,
                price.charge_microusd,
                price.owed_microusd,
                price.cost_cents,
            )
            self._storage.sql(WRITE_EVENT, *entry, audit_chain.link(chain, entry))
        return Receipt(price.charge_microusd, account.pending_microusd)

    def balance(self, organization_id: str) -> Balance:
        """Return the amount that *organization_id* owes."""
        account = self.account(organization_id)
        return Balance(account.pending_microusd, account.pending_events)

    def events_held(self) -> int:
        """Return 0: an append rewrites no earlier event."""
        return 0

    def last_seq(self) -> int:
        """Return the sequence number of the newest event (0: none)."""
        return int(self._storage.sql("SELECT coalesce(max(seq), 0) FROM events")[0][0])

    def seal(self, up_to_seq: int, limit: int) -> Batch | None:
        """Return the batch that is sealed and not settled, or seal the next one."""
        with self._storage.transaction():
            settled_seq, sealed_seq = self._outbox()
            is_new = sealed_seq == settled_seq
            if is_new and settled_seq >= up_to_seq:
                return None
            if is_new:
                rows = self._storage.sql(READ_BATCH, settled_seq, up_to_seq, limit)
            else:
                rows = self._storage.sql(READ_BATCH, settled_seq, sealed_seq, sealed_seq - settled_seq)
            if not rows:
                return None
            batch = Batch(f"{self._ledger_id}/{rows[0][0]}-{rows[-1][0]}", [UsageRow(*row) for row in rows])
            if is_new:
                self._storage.sql("UPDATE outbox SET sealed_seq = ?", batch.last_seq)
        return batch

    def settle(self, batch: Batch) -> int:
        """Subtract *batch* from the amounts owed; settling it again changes nothing."""
        with self._storage.transaction():
            settled_seq, sealed_seq = self._outbox()
            if sealed_seq == settled_seq or sealed_seq != batch.last_seq:
                return 0
            owed = self._storage.sql(
                "SELECT sum(owed_microusd), count(*), organization_id FROM events "
                "WHERE seq > ? AND seq <= ? GROUP BY organization_id",
                settled_seq,
                sealed_seq,
            )
            for organization_sum in owed:
                self._storage.sql(SETTLE_ACCOUNT, *organization_sum)
            self._storage.sql("UPDATE outbox SET settled_seq = sealed_seq")
        return int(sealed_seq - settled_seq)

    def account(self, organization_id: str) -> Account:
        """Return the account of *organization_id*."""
        rows = self._storage.sql(READ_ACCOUNT, organization_id)
        return Account(*rows[0]) if rows else Account()

    def set_account(self, organization_id: str, account: Account) -> None:
        """Replace tier, credits, ceiling and free limit; the amount owed stays."""
        with self._storage.transaction():
            kept = self.account(organization_id)
            account = kept._replace(
                tier=account.tier,
                credits_microusd=account.credits_microusd,
                ceiling_microusd=account.ceiling_microusd,
                free_limit_microusd=account.free_limit_microusd,
            )
            self._write_account(organization_id, account)

    def first_broken_seq(self) -> int | None:
        """Check the whole audit chain; return the sequence number of the first event with a wrong link, or None."""
        rows = self._storage.sql(f"SELECT {ENTRY_COLUMNS}, chain FROM events ORDER BY seq")  # noqa: S608  # names are ours
        position = audit_chain.first_broken((row[:-1], row[-1]) for row in rows)
        return None if position is None else int(rows[position][0])

    def _earlier(self, event: UsageEvent, account: Account) -> Receipt | None:
        rows = self._storage.sql(READ_EARLIER, event.organization_id, event.event_id)
        if not rows:
            return None
        charge_microusd, *content = rows[0]
        if content != [event.user_id, *usage_values(event.usage)]:
            raise RequestError(
                409,
                "event_id_reused",
                f"event_id={event.event_id} already names another event; give each event its own",
            )
        return Receipt(charge_microusd, account.pending_microusd, duplicate=True)

    def _with_month(self, organization_id: str, account: Account, month: int) -> Account:
        rows = self._storage.sql(
            "SELECT used_microusd FROM free_months WHERE organization_id = ? AND month = ?", organization_id, month
        )
        return account._replace(free_month=month, free_used_microusd=rows[0][0] if rows else 0)

    def _write_account(self, organization_id: str, account: Account) -> None:
        self._storage.sql(WRITE_ACCOUNT, organization_id, *account_values(account))
        if account.tier == "free" and account.free_month:
            used = (organization_id, account.free_month, account.free_used_microusd)
            self._storage.sql("INSERT OR REPLACE INTO free_months VALUES (?, ?, ?)", *used)

    def _outbox(self) -> Sequence[Any]:
        return self._storage.sql("SELECT settled_seq, sealed_seq FROM outbox")[0]
