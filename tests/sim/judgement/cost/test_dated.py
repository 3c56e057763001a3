"""Prices that end on a day: logs, by the event until November 2026 and by the GB from December.

Goal: a bill has the price of its month, never both, and says which one it took and what the other says. Method: days on
both sides of the change, scenarios that state one amount, both or none, and the price lists by hand.
"""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.foundation.errors import ScenarioError, UsageError
from sim.judgement.cost import Cost, cost, price
from sim.judgement.cost.dated import in_force
from tests.support import frames
from tests.support.frames import PLATFORM

REQUESTS = 100_000_000
LAST, FIRST = dt.date(2026, 11, 30), dt.date(2026, 12, 1)
EVENTS, BYTES = "system.workers.log_events", "system.workers.log_bytes"


def billed(first_day: str | dt.date | None = None, *, month: int = 1, **workers: float) -> Cost:
    changes = {f"system.workers.{key}": value for key, value in workers.items()}
    scenario = frames.scenario(changes, shares={"download": 1.0})
    return cost(scenario, requests_per_month=REQUESTS, first_day=first_day, month=month)


def usd(bill: Cost) -> dict[str, float]:
    return {line.meter: line.usd for line in bill.lines if "log" in line.meter and line.used}


def said(bill: Cost) -> str:
    return " ".join(note for note in bill.notes if "log" in note)


EVENTS_USD = (REQUESTS * 0.25 - 20e6) / 1e6 * 0.60
"""A quarter of the requests, an event each: 25 M, of which 20 M are included."""

GB = REQUESTS * 2_000 / 1e9
GB_USD = {"logs_ingested": (GB - 50) * 0.25, "logs_stored": (GB * 7 / 30 - 12) * 0.10}
"""2,000 bytes a request: 200 GB, of which 50 are included; kept 7 days of 30, 46.7 GB-month, of which 12 are."""


@pytest.mark.parametrize(
    ("first_day", "lines"),
    [
        (None, {"log_events": EVENTS_USD}),  # The day of the platform file, 2026-11-23.
        ("2026-11-30", {"log_events": EVENTS_USD}),
        (FIRST, GB_USD),
        ("2027-01-01", GB_USD),
    ],
)
def test_logs_have_the_price_of_their_month(first_day: str | dt.date | None, lines: dict[str, float]) -> None:
    bill = billed(first_day, log_events=0.25, log_bytes=2_000)
    assert usd(bill) == pytest.approx(lines)
    assert "25,000,000 events of requests to Workers (what objects" in said(bill)
    assert f"Until 2026-11-30 they are {EVENTS_USD:.2f} USD" in said(bill)
    assert f"from 2026-12-01 they are billed by the GB, {sum(GB_USD.values()):.2f} USD" in said(bill)


def test_second_month_of_a_plan_has_the_prices_of_its_own_first_day() -> None:
    assert usd(billed("2026-11-23", month=2, log_events=0.25, log_bytes=2_000)) == pytest.approx(GB_USD)


@pytest.mark.parametrize("first_day", [LAST, FIRST])
def test_what_is_stated_for_one_price_alone_is_billed_by_it(first_day: dt.date) -> None:
    by_event, by_gb = billed(first_day, log_events=0.25), billed(first_day, log_bytes=2_000)
    assert usd(by_event) == pytest.approx({"log_events": EVENTS_USD})
    assert usd(by_gb) == pytest.approx(GB_USD)
    assert "say system.workers.log_bytes" in said(by_event)
    assert ("That price has ended" in said(by_event)) == (first_day == FIRST)
    assert "Until 2026-11-30 the price is by events: say system.workers.log_events" in said(by_gb)


def test_scenario_that_says_nothing_of_logs_has_no_line_and_no_note_of_them() -> None:
    assert not usd(billed())
    assert not said(billed())


@given(events=st.floats(0, 1e9), ingested=st.floats(0, 1e3), day=st.dates(dt.date(2026, 1, 1), dt.date(2027, 12, 31)))
def test_never_both_and_never_neither(events: float, ingested: float, day: dt.date) -> None:
    usage = {"workers.log_events": events, "workers.logs_ingested": ingested, "workers.logs_stored": ingested}
    kept = in_force(usage, replace(PLATFORM, first_day=day))
    old, new = kept.get("workers.log_events", 0.0), kept.get("workers.logs_ingested", 0.0)
    assert not (old and new)
    assert bool(old or new) == bool(events or ingested)
    if events and ingested:
        assert bool(new) == (day >= FIRST)
    assert kept.get("workers.logs_stored", 0.0) == new


def test_price_takes_the_day_of_the_platform_file() -> None:
    both = {"workers.log_events": 30e6, "workers.logs_ingested": 75.0, "workers.logs_stored": 20.0}
    assert sum(line.usd for line in price(both, PLATFORM)) == pytest.approx(6.00)
    assert sum(line.usd for line in price(both, replace(PLATFORM, first_day=FIRST))) == pytest.approx(7.05)


@pytest.mark.parametrize("wrong", ["1 December", "2026-13-01", 20261201])
def test_what_is_no_day_is_refused(wrong: Any) -> None:
    with pytest.raises(UsageError, match="must be a date, such as 2026-11-23"):
        billed(wrong)


def test_platform_file_without_a_day_is_refused() -> None:
    with pytest.raises(ScenarioError, match='compiled="lately" must be a date'):
        _ = replace(PLATFORM, compiled="lately").day
    fact = replace(PLATFORM.fact("observability.pricing.valid_from"), value="soon")
    wrong = replace(PLATFORM, facts={**PLATFORM.facts, fact.key: fact})
    with pytest.raises(ScenarioError, match="valid_from='soon' must be a date"):
        in_force({"workers.log_events": 1.0, "workers.logs_ingested": 1.0}, wrong)
