"""What a ledger keeps, and what every way of keeping it must offer.

A policy is plain synchronous code over one object's storage. ``seed`` and ``hardened`` pass through
the same interface, so that one workload and one auditor can be put to both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from reference_impl.ledger.charge import Account, Usage


class UsageEvent(NamedTuple):
    """One inference that somebody has to pay for.

    Parameters
    ----------
    event_id
        The client's name for it; the same name again is the same event.
    organization_id, user_id
        Who pays, and who asked.
    usage
        Model, tokens and event time.
    """

    event_id: str
    organization_id: str
    user_id: str
    usage: Usage


class Receipt(NamedTuple):
    """What an append answers."""

    charge_microusd: int
    balance_microusd: int
    duplicate: bool = False


class Balance(NamedTuple):
    """What an organisation owes and how many events make it up."""

    balance_microusd: int
    events_pending: int


class UsageRow(NamedTuple):
    """One row of D1's ``usage_events`` on its way there; *seq* is its number in the ledger."""

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
        Its name, the same whenever the same rows are sent again; no other batch of any ledger has it.
    rows
        In the order of the ledger.
    """

    id: str
    rows: Sequence[UsageRow]

    @property
    def last_seq(self) -> int:
        """The number of its newest row."""
        return self.rows[-1].seq


class LedgerPolicy(Protocol):
    """How a ledger keeps its events. Every method is one storage transaction or only reads."""

    flushes_itself: bool
    """Whether an alarm flushes; otherwise only ``POST /flush`` does."""

    def append(self, event: UsageEvent, received_ms: int) -> Receipt:
        """Store *event* and charge it.

        Raises
        ------
        RequestError
            400 for a date too far from *received_ms*, 402 over a limit of the account, 409 for an event id used for
            something else.
        LimitError
            If the platform cannot store it; nothing was stored then.
        """
        ...

    def balance(self, organization_id: str) -> Balance:
        """Return what *organization_id* owes."""
        ...

    def events_held(self) -> int:
        """Return how many events every append has to rewrite (0: none)."""
        ...

    def last_seq(self) -> int:
        """Return the number of the newest event."""
        ...

    def seal(self, up_to_seq: int, limit: int) -> Batch | None:
        """Return the oldest unflushed rows, at most *limit*, none newer than *up_to_seq*.

        A batch that was sealed before and is not settled yet is returned again as it was.
        """
        ...

    def settle(self, batch: Batch) -> int:
        """Take *batch*, which every sink has stored, off what is owed; return how many events that was.

        A batch that was settled before changes nothing.
        """
        ...

    def account(self, organization_id: str) -> Account:
        """Return the account of *organization_id*, with defaults if it is new."""
        ...

    def set_account(self, organization_id: str, account: Account) -> None:
        """Replace the account's tier, credits, ceiling and free limit."""
        ...
