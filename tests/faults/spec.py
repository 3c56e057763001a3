"""What an account must do, one operation at a time: the yardstick, written without the code that it measures.

All sums are exact: a price is a whole number of nano-dollars, and of an account's exact total every whole micro-dollar
is charged, no more and no less. States are values; an operation gives the state after it and what it must answer.
"""

from functools import lru_cache
from typing import NamedTuple

from tests.faults.plan import Op, Terms

USD_PER_MILLION_TOKENS = {"sonnet": (3, 15), "opus": (15, 75), "gpt-4-turbo": (10, 30)}
REMEMBERED = 20_000
"""Outcomes that are worked out once; states are values, so that they can be."""
MARKUP_PERCENT = {"managed": 3, "byok": 30, "free": 0}


class AccountState(NamedTuple):
    """One organisation's account.

    Parameters
    ----------
    charged
        Event name to its content and its charge, for every event that counts.
    exact_nanousd
        The exact total of all charges.
    credits_microusd, pending_microusd, pending_events
        What is left, what is owed, and the number of events that make it up.
    free_used
        Micro-dollars used, by month.
    """

    charged: frozenset[tuple[str, int, str, int, int]]
    exact_nanousd: int
    credits_microusd: int
    pending_microusd: int
    pending_events: int
    free_used: frozenset[tuple[int, int]]


class Outcome(NamedTuple):
    """What an append must answer, and what it leaves owed."""

    status: int
    charge_microusd: int = 0
    owed_microusd: int = 0
    is_duplicate: bool = False


def opened(terms: Terms) -> AccountState:
    """Return the state of a new account."""
    return AccountState(frozenset(), 0, terms.credits_microusd, 0, 0, frozenset())


def exact_nanousd(model: str, tokens: int, tier: str) -> int:
    """Return the exact price of an event in nano-dollars."""
    usd_in, usd_out = USD_PER_MILLION_TOKENS[model]
    # Dollars a million tokens are micro-dollars a token; a per cent of a micro-dollar is ten nano-dollars.
    return tokens * (usd_in + usd_out) * (100 + MARKUP_PERCENT[tier]) * 10


def append(state: AccountState, op: Op, terms: Terms) -> tuple[AccountState, Outcome]:
    """Log *op*."""
    return appended(state, op.event, op.model, op.tokens, terms)


# The auditor and the checker ask the same of the same state, and most schedules begin alike.
@lru_cache(maxsize=REMEMBERED)
def appended(state: AccountState, event: str, model: str, tokens: int, terms: Terms) -> tuple[AccountState, Outcome]:
    """Log an event; when and by whom it is sent changes nothing."""
    for name, known_tokens, known_model, charge_microusd, _ in state.charged:
        if name == event:
            same = (known_tokens, known_model) == (tokens, model)
            return state, Outcome(200, charge_microusd, 0, is_duplicate=True) if same else Outcome(409)
    exact = state.exact_nanousd + exact_nanousd(model, tokens, terms.tier)
    charge = exact // 1_000 - state.exact_nanousd // 1_000
    used = dict(state.free_used)
    if terms.tier == "free":
        month = int(tokens % 3 == 0)
        used[month] = used.get(month, 0) + charge
        if used[month] > terms.free_limit_microusd:
            return state, Outcome(402)
    credit = min(state.credits_microusd, charge)
    owed = charge - credit
    if state.pending_microusd + owed > terms.ceiling_microusd:
        return state, Outcome(402)
    after = AccountState(
        state.charged | {(event, tokens, model, charge, owed)},
        exact,
        state.credits_microusd - credit,
        state.pending_microusd + owed,
        state.pending_events + 1,
        frozenset(used.items()),
    )
    return after, Outcome(200, charge, owed)


def settle(state: AccountState, microusd: int, events: int) -> AccountState:
    """Take a flushed sum off."""
    return state._replace(
        pending_microusd=state.pending_microusd - microusd, pending_events=state.pending_events - events
    )
