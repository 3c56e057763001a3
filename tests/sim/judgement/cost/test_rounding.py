"""What the bill rounds up, and what it says of it.

Goal: rounding is a fact of the platform file with its source, for every line; what the provider does not say is an
assumption whose price is told. Method: every meter of the registry, amounts beside whole units, platform files without
the facts, and the provider's own arithmetic.
"""

from dataclasses import replace
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.judgement.cost import cost
from sim.judgement.cost.bill import CostLine, line_of, price, rounded_up, rounding_notes
from sim.models.billing import Meter
from sim.models.registry import meters
from tests.support.frames import PLATFORM, scenario

BILLED = [one for one in meters() if not one.counts_as and not one.once]
MILLION = 1_000_000


def by_name(name: str) -> Meter:
    return next(one for one in meters() if one.name == name)


def line(name: str, used: float) -> CostLine:
    return line_of(by_name(name), used, platform=PLATFORM)


@pytest.mark.parametrize("one", BILLED, ids=lambda one: one.name)
def test_every_line_has_a_fact_of_its_rounding_with_a_source(one: Meter) -> None:
    fact = PLATFORM.fact(one.rounding)
    assert fact.source
    assert fact.unit == one.unit
    assert fact.confidence in {"O", "A"}
    assert fact.value in {0, 1, MILLION}
    # What is said of nothing is an assumption, and pro rata; only the provider's own word rounds.
    assert fact.confidence == "O" or not fact.value
    assert ("not published" in fact.source) == (fact.confidence == "A")


def test_no_fact_of_rounding_is_left_over() -> None:
    assert {key for key in PLATFORM.facts if ".rounding." in key} == {one.rounding for one in BILLED}


@pytest.mark.parametrize(
    ("name", "used", "usd"),
    [
        ("durable_objects.requests", 7_695_226, 7 * 0.15),  # 6.695 M beyond the million: seven, as example 1 has one.
        ("durable_objects.requests", 1.5e6, 1 * 0.15),  # Example 1: half a million is one.
        ("durable_objects.requests", 1e6, 0.0),
        ("durable_objects.requests", 1e6 + 1, 0.15),
        ("durable_objects.duration", 552_960, 1 * 12.50),  # Example 4: 152,960 GB-s are a million.
        ("workers.requests", 10.5e6, 0.5 * 0.30),
        ("workers.cpu", 129.6e6, 99.6 * 0.02),  # Example 3: 1.99, where 100 M would be 2.00.
        ("queues.operations", 1.25e6, 0.25 * 0.40),
        ("vector_search.queried_dimensions", 80.72e6, 30.72 * 0.01),
        ("kv.writes", 1.5e6, 0.5 * 5.00),
        ("d1.rows_written", 50.5e6, 0.5 * 1.00),
        ("durable_objects.rows_written", 50.5e6, 0.5 * 1.00),
        ("r2.class_a", 2e6 + 1, 2 * 4.50),
        ("r2.class_b", 12_571_563, 3 * 0.36),
        ("r2.storage", 32.8, 23 * 0.015),
        ("r2.infrequent_class_b", 1.0, 0.90),
    ],
)
def test_part_of_a_unit_is_billed_as_the_platform_file_says(name: str, used: float, usd: float) -> None:
    assert line(name, used).usd == pytest.approx(usd, abs=1e-9)


@given(used=st.floats(0, 1e12), one=st.sampled_from(BILLED))
def test_rounding_adds_less_than_one_unit_and_never_takes_away(used: float, one: Meter) -> None:
    found = line_of(one, used, platform=PLATFORM)
    over = max(0.0, used - found.included)
    assert over * (1 - 1e-9) <= found.billed <= over + found.rounded_to
    assert found.usd <= found.if_rounded_usd * (1 + 1e-9) + 1e-9 or found.rounded_to > one.per
    if found.rounded_to:
        assert found.billed / found.rounded_to == pytest.approx(round(found.billed / found.rounded_to))


@given(st.integers(0, 10**9), st.integers(1, 10**6))
def test_rounded_up_is_the_ceiling_of_whole_numbers(amount: int, unit: int) -> None:
    assert rounded_up(amount, unit) == ceil(amount / unit) * unit


def test_what_no_fact_says_is_pro_rata_and_an_assumption() -> None:
    bare = replace(PLATFORM, facts={key: fact for key, fact in PLATFORM.facts.items() if ".rounding." not in key})
    found = line_of(by_name("durable_objects.requests"), 7_695_226, platform=bare)
    assert found.usd == pytest.approx(6.695226 * 0.15)
    assert found.rounding_confidence == "A"
    assert found.if_rounded_usd == pytest.approx(7 * 0.15)


def test_bill_says_what_was_rounded_up_and_what_silence_may_cost() -> None:
    amounts = {
        "durable_objects.requests": 7_695_226,
        "kv.writes": 14_391_282,
        "kv.reads": 71_956_410,
        "r2.storage": 32.8,
    }
    rounded, silent = rounding_notes(price(amounts, PLATFORM))
    assert "durable_objects.requests 6,695,226 to 7,000,000 requests" in rounded
    assert "r2.storage 22.8 to 23 GB-month" in rounded
    assert "kv" not in rounded
    # 13.391 M writes would be 14 M, and 61.956 M reads 62 M: 0.608718 x 5.00 + 0.04359 x 0.50.
    assert "Of kv.reads, kv.writes the provider does not say" in silent
    assert f"{0.608718 * 5 + 0.04359 * 0.5:.2f} USD higher" in silent


def test_whole_units_need_no_word() -> None:
    amounts = {"workers.plan": 1.0, "durable_objects.requests": 3e6, "kv.writes": 2e6, "workers.requests": 12.5e6}
    assert not list(rounding_notes(price(amounts, PLATFORM)))


def test_notes_of_a_month_hold_the_rounding() -> None:
    bill = cost(scenario(), requests_per_month=2.5e6)
    assert any("rounds up what is beyond the inclusion: durable_objects.requests" in note for note in bill.notes)


def test_a_bill_is_the_same_in_whatever_order_its_lines_are_added() -> None:
    """Python 3.12 adds floats otherwise than 3.11 does: a bill of 5.645 USD was 5.65 on one and 5.64 on the other."""
    bill = cost(scenario(), requests_per_month=3e6)
    line = max(bill.lines, key=lambda one: one.usd)
    assert replace(bill, lines=(replace(line, usd=0.1),) * 10).month_usd == 1.0
    for requests in (3e6, 9e8, 9e9):
        whole = cost(scenario(), requests_per_month=requests)
        assert whole.month_usd == replace(whole, lines=whole.lines[::-1]).month_usd
