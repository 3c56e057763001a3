"""The monthly bill.

Goal: the bill is the provider's own arithmetic. Method: the worked examples of its pricing pages, the unit economics
worked out by hand for the brief, and the schema that the rows are written to.
"""

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from sim.errors import UsageError
from sim.judgement.cost import METERS, ROWS_WRITTEN, SECONDS_PER_MONTH, alarms_per_month, cost, price, usage_per_month
from tests.project.tidy import ROOT
from tests.support import frames


def usd(usage: dict[str, float]) -> float:
    return sum(line.usd for line in price({"workers.plan": 1, **usage}, frames.PLATFORM))


@pytest.mark.parametrize(
    ("usage", "month_usd"),
    [
        ({}, 5.00),
        ({"workers.requests": 15e6, "workers.cpu": 15e6 * 7}, 8.00),
        ({"workers.requests": 100e6, "workers.cpu": 100e6 * 7}, 45.40),
        ({"r2.storage": 1_000, "r2.class_a": 1_000, "r2.class_b": 1e6}, 5 + 14.85),
        ({"r2.class_b": 300e6}, 5 + 104.40),
        ({"r2.class_a": 1_000_001}, 5 + 4.50),
        ({"durable_objects.duration": 100 * 8 * 3_600 * 30 * 0.128 + 400_000}, 5 + 138.24),
    ],
)
def test_bill_equals_the_providers_worked_examples(usage: dict[str, float], month_usd: float) -> None:
    """The last: 100 objects awake 8 hours a day; the page's own example rounds 11.06 M GB-s to 11 M first."""
    assert usd(usage) == pytest.approx(month_usd, abs=0.005)


def test_ten_million_log_requests_a_day_cost_what_the_brief_worked_out() -> None:
    """87 + 41 for Workers, 45 + 550 for objects, 1,150 for D1 rows (H22), 5 for the plan; alarms and storage on top."""
    bill = cost(frames.scenario(mix={"log": 1.0}), requests_per_month=300e6)
    by_meter = {(line.component, line.meter): line.usd for line in bill.lines}
    assert by_meter["workers", "requests"] == pytest.approx(87.0)
    assert by_meter["workers", "cpu"] == pytest.approx(41.4)
    assert by_meter["durable_objects", "requests"] == pytest.approx(44.85, rel=0.01)
    assert by_meter["durable_objects", "rows_written"] == pytest.approx(550, rel=0.01)
    assert by_meter["d1", "rows_written"] == pytest.approx(1_150)
    assert bill.month_usd == pytest.approx(1_878, rel=0.08)


def test_rows_written_are_those_of_the_schema() -> None:
    """A row, one more for every index of its table, the key's own index included."""
    with closing(sqlite3.connect(":memory:")) as database:
        for migration in sorted((ROOT / "deploy/migrations").glob("*.sql")):
            database.executescript(migration.read_text("utf-8"))
        for table, event in (("usage_events", "flush"), ("loras", "upload")):
            indexes = database.execute(f"PRAGMA index_list({table})").fetchall()
            assert 1 + len(indexes) == ROWS_WRITTEN[event]


def test_seed_policy_flushes_nothing_and_sets_no_alarm() -> None:
    seed, hardened = (usage_per_month(frames.scenario(policy=p, mix={"log": 1.0}), 1e6) for p in ("seed", "hardened"))
    assert seed["d1.rows_written"] == 0
    assert seed["durable_objects.requests"] == 1e6 < hardened["durable_objects.requests"]


def test_bill_never_falls_as_traffic_grows() -> None:
    bills = [cost(frames.scenario(), requests_per_month=n).month_usd for n in (0, 1e4, 1e6, 1e8, 1e10)]
    assert bills == sorted(bills)
    assert bills[0] == 5.0


def test_storage_grows_with_the_months() -> None:
    first, tenth = (cost(frames.scenario(), requests_per_month=1e8, month=m) for m in (1, 10))
    stored = [next(line.used for line in bill.lines if line.meter == "storage") for bill in (first, tenth)]
    assert stored[1] == pytest.approx(19 * stored[0])


def test_busy_object_sets_an_alarm_every_interval_and_a_quiet_one_with_every_event() -> None:
    scenario = frames.scenario()
    scenario.workload.keys.count = 1
    assert alarms_per_month(scenario, 1e9) == pytest.approx(SECONDS_PER_MONTH / 60, rel=0.01)
    assert alarms_per_month(scenario, 100) == pytest.approx(100, rel=0.01)


def test_shards_share_their_alarms() -> None:
    scenario: Any = frames.scenario()
    apart = alarms_per_month(scenario, 1e8)
    scenario.system.durable_objects.shards = 2
    assert alarms_per_month(scenario, 1e8) == pytest.approx(apart * 2 / 10, rel=0.05)


def test_each_line_names_the_fact_that_its_price_comes_from() -> None:
    lines = price({}, frames.PLATFORM)
    assert [line.fact for line in lines] == [meter.price for meter in METERS]
    assert all(line.confidence == "O" for line in lines)


@pytest.mark.parametrize(
    ("usage", "message"),
    [
        ({"workers.request": 1.0}, "is not a meter"),
        ({"workers.cpu": -1.0}, "must be >= 0"),
        ({"d1.storage": float("nan")}, "must"),
    ],
)
def test_impossible_usage_is_refused(usage: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        price(usage, frames.PLATFORM)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"requests_per_month": -1.0}, ">= 0"), ({"requests_per_month": 1.0, "month": 0}, ">= 1")],
)
def test_impossible_month_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        cost(frames.scenario(), **arguments)
