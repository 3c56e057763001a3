"""The records of a ledger, and the interface of its policies.

A policy is synchronous code over one object's storage. ``seed`` and ``hardened`` implement the same interface, so one
workload and one auditor can test both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from reference_impl.ledger.charge import Account, Usage


class UsageEvent(NamedTuple):
    """One billable inference.

    Parameters
    ----------
    event_id
        Chosen by the client; the same id again is the same event.
    organization_id, user_id
        The organisation that pays, and the user who made the request.
    usage
        Model, tokens and event time.
    """

    event_id: str
    organization_id: str
    user_id: str
    usage: Usage


class Receipt(NamedTuple):
    """The result of an append."""

    charge_microusd: int
    balance_microusd: int
    duplicate: bool = False


class Balance(NamedTuple):
    """The amount that an organisation owes, and the number of events in it."""

    balance_microusd: int
    events_pending: int


class UsageRow(NamedTuple):
    """One row to be flushed to D1's ``usage_events``; *seq* is its sequence number in the ledger."""

    seq: int
    id: str
    user_id: str
    organization_id: str
    event_type: str
    tokens: int
    cost_cents: int
    model: str
    created_at_ms: int
    charge_microusd: int


@dataclass(frozen=True)
class Batch:
    """Rows that are flushed together.

    Parameters
    ----------
    id
        Unique to this batch among all ledgers, and the same whenever the batch is sent again.
    rows
        In the order of the ledger.
    """

    id: str
    rows: Sequence[UsageRow]

    @property
    def last_seq(self) -> int:
        """The sequence number of its newest row."""
        return self.rows[-1].seq


class LedgerPolicy(Protocol):
    """Stores and charges the events of a ledger. Every method is one storage transaction, or only reads."""

    flushes_itself: bool
    """Whether an alarm flushes the ledger; otherwise only ``POST /flush`` does."""

    def append(self, event: UsageEvent, received_ms: int) -> Receipt:
        """Store and charge *event*.

        Raises
        ------
        RequestError
            402 if a limit of the account would be exceeded, 409 if the event id belongs to another event.
        LimitError
            If the event exceeds a storage limit of the platform; then nothing is stored.
        """
        ...

    def balance(self, organization_id: str) -> Balance:
        """Return the amount that *organization_id* owes."""
        ...

    def events_held(self) -> int:
        """Return the number of earlier events that every append rewrites (0: none)."""
        ...

    def last_seq(self) -> int:
        """Return the sequence number of the newest event."""
        ...

    def seal(self, up_to_seq: int, limit: int) -> Batch | None:
        """Return the oldest unflushed rows as a batch: at most *limit*, none newer than *up_to_seq*.

        A batch that is sealed and not settled is returned again unchanged.
        """
        ...

    def settle(self, batch: Batch) -> int:
        """Subtract *batch*, which every sink has stored, from the amounts owed; return its number of events.

        Settling a batch again changes nothing.
        """
        ...

    def account(self, organization_id: str) -> Account:
        """Return the account of *organization_id*, with defaults if it is new."""
        ...

    def set_account(self, organization_id: str, account: Account) -> None:
        """Replace the account's tier, credits, ceiling and free limit."""
        ...
