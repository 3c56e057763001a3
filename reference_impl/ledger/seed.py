"""The ledger policy of the brief's code: the log is one growing value, and money is dollars in floating point.

It shows what that design costs and must not be deployed:

- every append reads the whole ``usageLog``, adds one event and writes the whole value again, until
  the value reaches the platform's limit; from then on the organisation's usage is not billed (H1 to H4);
- an event that arrives twice is charged twice (H5), and dollars are floats (H6);
- a flush sends the balance, then sets it to zero: charges added in between are lost (H8); the row's
  id contains the time, so a repeated flush adds a second row (H9); the log is never truncated;
- nothing limits what an account may owe (H11); the arrival time replaces the event time (H69).

Sources
-------
Hazards H1 to H11 and H69 (docs/HAZARDS.md).
"""

import json
import math
from typing import Any

from reference_impl.durable_objects.storage import Storage
from reference_impl.ledger.charge import Account, exact_nanousd
from reference_impl.ledger.events import check_date
from reference_impl.ledger.policy import Balance, Batch, Receipt, UsageEvent, UsageRow
from reference_impl.timing.clock import Clock

MICROUSD_PER_USD = 1_000_000
NANOUSD_PER_USD = 1_000_000_000
BALANCE_KEY = "unbilledBalance"
LOG_KEY = "usageLog"


class SeedLedger:
    """The seed policy: the whole log in one value.

    Parameters
    ----------
    storage
        The object's storage.
    clock
        Gives the time in the id of a flush, as in the brief's code.
    event_bytes
        Size to which an event is padded in the log, separator included; None: no padding.
    """

    flushes_itself = False

    def __init__(self, storage: Storage, *, clock: Clock, event_bytes: int | None = None) -> None:
        self._storage = storage
        self._clock = clock
        self._event_bytes = event_bytes
        self._events = len(storage.get(LOG_KEY, []))

    def append(self, event: UsageEvent, received_ms: int) -> Receipt:
        """Charge *event* and add it to the log."""
        check_date(event.usage.event_time_ms, received_ms)
        usd = exact_nanousd(event.usage, "managed") / NANOUSD_PER_USD
        with self._storage.transaction():
            balance_usd = self._storage.get(BALANCE_KEY, 0) + usd
            self._storage.put(BALANCE_KEY, balance_usd)
            log = self._storage.get(LOG_KEY, [])
            log.append(self._record(event, received_ms))
            self._storage.put(LOG_KEY, log)
        self._events = len(log)
        return Receipt(rounded(usd * MICROUSD_PER_USD), rounded(balance_usd * MICROUSD_PER_USD))

    def balance(self, organization_id: str) -> Balance:
        """Return the amount that the object's organisation owes."""
        balance_usd = self._storage.get(BALANCE_KEY, 0)
        return Balance(rounded(balance_usd * MICROUSD_PER_USD), self._events)

    def events_held(self) -> int:
        """Return the length of the log, which every append rewrites."""
        return self._events

    def last_seq(self) -> int:
        """Return the length of the log."""
        return self._events

    def seal(self, up_to_seq: int, limit: int) -> Batch | None:
        """Return one row for the whole balance, with the time of the flush in its id."""
        balance_usd = self._storage.get(BALANCE_KEY, 0)
        if not balance_usd:
            return None
        log = self._storage.get(LOG_KEY, [])
        now_ms = self._clock.unix_ms()
        organization_id, user_id = log[-1]["organizationId"], log[-1]["userId"]
        invoice = UsageRow(
            seq=len(log),
            id=f"{user_id}-{now_ms}",
            user_id=user_id,
            organization_id=organization_id,
            event_type="invoice",
            tokens=sum(entry["tokensIn"] + entry["tokensOut"] for entry in log),
            cost_cents=rounded(balance_usd * 100),
            model=log[-1]["model"],
            created_at_ms=now_ms,
            charge_microusd=rounded(balance_usd * MICROUSD_PER_USD),
        )
        return Batch(invoice.id, [invoice])

    def settle(self, batch: Batch) -> int:
        """Set the balance to zero."""
        self._storage.put(BALANCE_KEY, 0)
        return self._events

    def account(self, organization_id: str) -> Account:
        """Return the default account: the brief has only one kind."""
        return Account(pending_microusd=self.balance("").balance_microusd)

    def set_account(self, organization_id: str, account: Account) -> None:
        """Do nothing: the brief's accounts have no settings."""

    def _record(self, event: UsageEvent, received_ms: int) -> dict[str, Any]:
        record: dict[str, Any] = {
            "eventId": event.event_id,
            "organizationId": event.organization_id,
            "userId": event.user_id,
            "model": event.usage.model,
            "tokensIn": event.usage.tokens_in,
            "tokensOut": event.usage.tokens_out,
            "timestamp": received_ms,
        }
        if self._event_bytes is not None:
            record["pad"] = ""
            weight = len(json.dumps(record, separators=(",", ":"))) + 1
            record["pad"] = " " * max(0, self._event_bytes - weight)
        return record


def rounded(number: float) -> int:
    """Round as the brief's language does: a half goes up, where Python goes to the even neighbour."""
    return math.floor(number + 0.5)
