"""The price of one usage event, in whole micro-dollars, without cumulative rounding error.

A price of $3 a million tokens is 3 micro-dollars a token, and a markup is a whole percentage of that,
so a charge is exact in whole *nano*-dollars. The fraction of a micro-dollar is carried to the
account's next event instead of being rounded away: over any number of events, in any order, the sum
of the charges is the exact sum rounded down once.

An event is priced in this order: the tokens at the model's list price; the tier's markup; the free tier's monthly limit
(402 before anything is stored); knowledge credits; the ceiling on the account's debt (402 before anything is stored).
The rest is owed.

Sources
-------
Tiers, credits, ceiling and list prices are the origin's (docs/GLOSSARY.md), in its documents "Data
models" and "Cloud mesh": managed 3 %, bring-your-own-key 30 %, free 0 % up to a monthly limit, default
ceiling 10,000 cents.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from reference_impl.errors import RequestError

NANOUSD_PER_MICROUSD = 1_000
MICROUSD_PER_CENT = 10_000

PRICE_MICROUSD_PER_TOKEN: Mapping[str, tuple[int, int]] = {
    "sonnet": (3, 15),
    "opus": (15, 75),
    "gpt-4-turbo": (10, 30),
}
"""List price of an input token and of an output token, by model."""

MARKUP_PERCENT: Mapping[str, int] = {"free": 0, "managed": 3, "byok": 30}
"""Markup on the list price, by tier."""


class Usage(NamedTuple):
    """Tokens that a model used: *tokens_in* read and *tokens_out* written."""

    model: str
    tokens_in: int
    tokens_out: int
    event_time_ms: int


class Account(NamedTuple):
    """The account of an organisation: debt, limits and credits.

    Parameters
    ----------
    tier
        A key of :data:`MARKUP_PERCENT`.
    pending_microusd, pending_events
        Amount owed and not yet flushed, and the number of events in it.
    credits_microusd
        Knowledge credits left; they are spent before anything is owed.
    ceiling_microusd
        Largest amount that may be owed at a time.
    free_limit_microusd
        Amount that a free account may use in one calendar month (UTC, by event time).
    carry_nanousd
        Carried fraction of a micro-dollar, 0 to 999.
    carry_microusd
        Carried fraction of a cent, 0 to 9,999.
    free_month, free_used_microusd
        A month, as ``year * 12 + month``, and the amount that a free account used in it. A ledger that stores
        several months puts the event's month here.
    """

    tier: str = "managed"
    pending_microusd: int = 0
    pending_events: int = 0
    credits_microusd: int = 0
    ceiling_microusd: int = 10_000 * MICROUSD_PER_CENT
    free_limit_microusd: int = 500 * MICROUSD_PER_CENT
    carry_nanousd: int = 0
    carry_microusd: int = 0
    free_month: int = 0
    free_used_microusd: int = 0


class Charge(NamedTuple):
    """The price of one event.

    Parameters
    ----------
    charge_microusd
        The whole charge, whether paid by credits or owed.
    owed_microusd
        The part that is owed after credits.
    cost_cents
        The owed part in whole cents; fractions are carried, so sums agree to the cent.
    """

    charge_microusd: int
    owed_microusd: int
    cost_cents: int


def exact_nanousd(usage: Usage, tier: str) -> int:
    """Return the exact charge of *usage* for *tier* in nano-dollars."""
    price_in, price_out = PRICE_MICROUSD_PER_TOKEN[usage.model]
    cost_microusd = usage.tokens_in * price_in + usage.tokens_out * price_out
    return cost_microusd * (100 + MARKUP_PERCENT[tier]) * (NANOUSD_PER_MICROUSD // 100)


def charge(usage: Usage, account: Account) -> tuple[Charge, Account]:
    """Return the charge of *usage* and the account after it.

    Raises
    ------
    RequestError
        402, if the free limit or the ceiling would be exceeded; the account does not change.
    """
    whole, carry = divmod(exact_nanousd(usage, account.tier) + account.carry_nanousd, 1_000)
    month, free_used = _free_month(usage, account, whole)
    credit = min(account.credits_microusd, whole)
    owed = whole - credit
    pending = account.pending_microusd + owed
    if pending > account.ceiling_microusd:
        raise RequestError(
            402,
            "credit_ceiling_exceeded",
            f"a balance of {pending} microusd is over the ceiling of {account.ceiling_microusd}; "
            "wait for the next flush or raise the ceiling",
        )
    cents, cents_carry = divmod(owed + account.carry_microusd, MICROUSD_PER_CENT)
    after = Account(
        tier=account.tier,
        pending_microusd=pending,
        pending_events=account.pending_events + 1,
        credits_microusd=account.credits_microusd - credit,
        ceiling_microusd=account.ceiling_microusd,
        free_limit_microusd=account.free_limit_microusd,
        carry_nanousd=carry,
        carry_microusd=cents_carry,
        free_month=month,
        free_used_microusd=free_used,
    )
    return Charge(whole, owed, cents), after


def _free_month(usage: Usage, account: Account, whole_microusd: int) -> tuple[int, int]:
    """Return the month of *usage* and the amount used in it, *usage* included; only the free tier counts."""
    if account.tier != "free":
        return account.free_month, account.free_used_microusd
    month = month_of(usage.event_time_ms)
    used = whole_microusd + (account.free_used_microusd if month == account.free_month else 0)
    if used > account.free_limit_microusd:
        raise RequestError(
            402,
            "free_limit_exceeded",
            f"{used} microusd in one month is over the free limit of "
            f"{account.free_limit_microusd}; choose the managed tier",
        )
    return month, used


def month_of(unix_ms: int) -> int:
    """Return the calendar month (UTC) of a date as ``year * 12 + month``."""
    date = datetime.fromtimestamp(unix_ms / 1_000, tz=UTC)
    return date.year * 12 + date.month
