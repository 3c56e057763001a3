"""The price of an event, held against exact fractions.

Goal: no micro-dollar is made or lost, whatever the order, the tier or the size of events. Method:
Hypothesis draws histories; :class:`fractions.Fraction` says what they cost exactly.
"""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.errors import RequestError
from reference_impl.ledger.charge import (
    MARKUP_PERCENT,
    PRICE_MICROUSD_PER_TOKEN,
    Account,
    Charge,
    Usage,
    charge,
    month_of,
)
from tests.support.world import EVENT_TIME_MS

BOUNDLESS = Account(ceiling_microusd=10**18, free_limit_microusd=10**18)

tokens = st.integers(0, 10_000_000)
usages = st.builds(Usage, st.sampled_from(sorted(PRICE_MICROUSD_PER_TOKEN)), tokens, tokens, st.just(EVENT_TIME_MS))
tiers = st.sampled_from(sorted(MARKUP_PERCENT))


def exact_microusd(usage: Usage, tier: str) -> Fraction:
    """The charge by its definition, dollars a million tokens and all."""
    usd_in, usd_out = {"sonnet": (3, 15), "opus": (15, 75), "gpt-4-turbo": (10, 30)}[usage.model]
    usd = Fraction(usage.tokens_in * usd_in + usage.tokens_out * usd_out, 1_000_000)
    markup = {"free": Fraction(0), "managed": Fraction(3, 100), "byok": Fraction(30, 100)}[tier]
    return usd * (1 + markup) * 1_000_000


def play(history: list[Usage], account: Account) -> tuple[list[Charge], Account]:
    """Charge a whole history."""
    charges = []
    for usage in history:
        price, account = charge(usage, account)
        charges.append(price)
    return charges, account


@given(history=st.lists(usages, max_size=30), tier=tiers)
def test_charges_sum_to_the_exact_total_rounded_down_once(history: list[Usage], tier: str) -> None:
    charges, account = play(history, BOUNDLESS._replace(tier=tier))
    exact = sum((exact_microusd(usage, tier) for usage in history), Fraction(0))
    assert sum(price.charge_microusd for price in charges) == exact // 1
    assert account.pending_microusd + Fraction(account.carry_nanousd, 1_000) == exact


@given(history=st.lists(usages, max_size=30), tier=tiers)
def test_cents_sum_to_the_invoice_rounded_down_once(history: list[Usage], tier: str) -> None:
    charges, account = play(history, BOUNDLESS._replace(tier=tier))
    assert sum(price.cost_cents for price in charges) == account.pending_microusd // 10_000


@given(history=st.lists(usages, max_size=12), data=st.data())
def test_the_order_of_events_does_not_change_the_sum(history: list[Usage], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(history))
    assert play(history, BOUNDLESS)[1] == play(shuffled, BOUNDLESS)[1]


@given(usage=usages, split_in=tokens, split_out=tokens)
def test_splitting_an_event_does_not_change_the_sum(usage: Usage, split_in: int, split_out: int) -> None:
    first_in, first_out = min(split_in, usage.tokens_in), min(split_out, usage.tokens_out)
    first = usage._replace(tokens_in=first_in, tokens_out=first_out)
    rest = usage._replace(tokens_in=usage.tokens_in - first_in, tokens_out=usage.tokens_out - first_out)
    split = play([first, rest], BOUNDLESS)[1]
    assert split == play([usage], BOUNDLESS)[1]._replace(pending_events=2)


@given(usage=usages, more=st.integers(1, 1_000), tier=tiers)
def test_more_tokens_never_cost_less(usage: Usage, more: int, tier: str) -> None:
    account = BOUNDLESS._replace(tier=tier)
    larger = usage._replace(tokens_out=usage.tokens_out + more)
    assert charge(larger, account)[0].charge_microusd > charge(usage, account)[0].charge_microusd


@given(history=st.lists(usages, max_size=20), credits_microusd=st.integers(0, 10**9))
def test_credits_are_spent_before_anything_is_owed(history: list[Usage], credits_microusd: int) -> None:
    charges, account = play(history, BOUNDLESS._replace(credits_microusd=credits_microusd))
    total = sum(price.charge_microusd for price in charges)
    assert account.pending_microusd == max(0, total - credits_microusd)
    assert account.credits_microusd == max(0, credits_microusd - total)
    assert sum(price.owed_microusd for price in charges) == account.pending_microusd


@given(history=st.lists(usages, max_size=20), ceiling=st.integers(0, 10**9))
def test_nobody_ever_owes_more_than_the_ceiling(history: list[Usage], ceiling: int) -> None:
    account = Account(ceiling_microusd=ceiling)
    for usage in history:
        try:
            _, account = charge(usage, account)
        except RequestError:
            assert account.pending_microusd + exact_microusd(usage, "managed") + 1 > ceiling
        assert account.pending_microusd <= ceiling


def test_the_ceiling_itself_may_be_owed() -> None:
    usage = Usage("sonnet", 0, 100_000, EVENT_TIME_MS)
    exact = int(exact_microusd(usage, "managed"))
    assert charge(usage, Account(ceiling_microusd=exact))[1].pending_microusd == exact
    with pytest.raises(RequestError, match="over the ceiling"):
        charge(usage, Account(ceiling_microusd=exact - 1))


def test_the_free_limit_holds_within_a_month_and_begins_anew_with_the_next() -> None:
    usage = Usage("sonnet", 0, 40_000, EVENT_TIME_MS)
    account = Account(tier="free", free_limit_microusd=1_000_000)
    _, account = charge(usage, account)
    with pytest.raises(RequestError) as refusal:
        charge(usage, account)
    assert (refusal.value.status, refusal.value.code) == (402, "free_limit_exceeded")
    next_month = usage._replace(event_time_ms=EVENT_TIME_MS + 31 * 86_400_000)
    price, account = charge(next_month, account)
    assert price.charge_microusd == account.free_used_microusd == 600_000


def test_the_common_request_costs_less_than_half_a_cent() -> None:
    price, _ = charge(Usage("sonnet", 278, 218, EVENT_TIME_MS), Account())
    assert price == Charge(charge_microusd=4_227, owed_microusd=4_227, cost_cents=0)


def test_months_are_calendar_months_in_utc() -> None:
    new_year_ms = 1_798_761_600_000
    assert month_of(new_year_ms) - month_of(new_year_ms - 1) == 1
    assert month_of(new_year_ms) == 2027 * 12 + 1
