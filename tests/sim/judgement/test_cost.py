"""The monthly bill.

Goal: the bill is the provider's own arithmetic. Method: the worked examples of its pricing pages, the unit economics
worked out by hand for the brief, and the schema that the rows are written to.
"""

import sqlite3
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.foundation.errors import UsageError
from sim.judgement.cost import cost, price, usage_per_month
from sim.models import ledger
from sim.models.billing import SECONDS_PER_MONTH, Demand
from sim.models.metered import rows_of
from sim.models.registry import meters
from sim.scenario.generation import popularity
from sim.scenario.scenario import Scenario, load_scenario
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
        ({"durable_objects.requests": 1.5e6, "durable_objects.duration": 128_000}, 5.15),
        ({"durable_objects.requests": 3.75e6, "durable_objects.duration": 100 * 8 * 3_600 * 30 * 0.128}, 142.95),
        ({"durable_objects.requests": 12_960_100, "durable_objects.duration": 33_177_600}, 419.30),
        ({"durable_objects.requests": 21_610_000, "durable_objects.duration": 552_960}, 20.65),
        (
            {
                "durable_objects.requests": 10_000,
                "durable_objects.websocket_messages": 21.6e6 * 20,
                "durable_objects.duration": 552_960,
            },
            20.65,
        ),
    ],
)
def test_bill_equals_the_providers_worked_examples(usage: dict[str, float], month_usd: float) -> None:
    """Objects beyond their inclusion are rounded up to whole millions, as in the examples of August 2026."""
    assert usd(usage) == pytest.approx(month_usd, abs=0.005)


def test_ten_million_log_requests_a_day_cost_what_the_brief_worked_out() -> None:
    """87 + 41 for Workers, 45 + 850 for objects, 1,150 for D1 rows, 5 for the plan; alarms and storage come on top.

    An append writes three rows: 900 million a month, of which 50 million are included.
    """
    bill = cost(frames.scenario(shares={"log": 1.0}), requests_per_month=300e6)
    by_meter = {(line.component, line.meter): line.usd for line in bill.lines}
    assert by_meter["workers", "requests"] == pytest.approx(87.0)
    assert by_meter["workers", "cpu"] == pytest.approx(41.4)
    assert by_meter["durable_objects", "requests"] == pytest.approx(44.85, rel=0.01)
    assert by_meter["durable_objects", "rows_written"] == pytest.approx(850, rel=0.03)
    assert by_meter["d1", "rows_written"] == pytest.approx(1_150)
    assert bill.month_usd == pytest.approx(1_878 + 300, rel=0.03)


def test_rows_written_are_those_of_the_schema() -> None:
    """A row, one more for every index of its table, the key's own index included."""
    with closing(sqlite3.connect(":memory:")) as database:
        for migration in sorted((ROOT / "deploy/migrations").glob("*.sql")):
            database.executescript(migration.read_text("utf-8"))
        tables = ("usage_events", "loras")
        indexes = [len(database.execute(f"PRAGMA index_list({table})").fetchall()) for table in tables]
    (stored,) = (step for step in load_scenario("launch").routes["upload"].steps if step.use == "d1.write")
    assert [1 + count for count in indexes] == [
        rows_of("ledger.hardened.flush_d1")["rows_written_per_event"],
        stored.parameters["rows_written"],
    ]


def test_seed_policy_flushes_nothing_and_sets_no_alarm() -> None:
    logs = {"log": 1.0}
    seed, hardened = (
        usage_per_month(frames.scenario({"system.ledger.policy": policy}, shares=logs), 1e6)
        for policy in ("seed", "hardened")
    )
    assert seed["d1.rows_written"] == 0
    assert seed["durable_objects.requests"] == 1e6 < hardened["durable_objects.requests"]


def test_bill_never_falls_as_traffic_grows() -> None:
    bills = [cost(frames.scenario(), requests_per_month=n).month_usd for n in (0, 1e4, 1e6, 1e8, 1e10)]
    assert bills == sorted(bills)
    assert bills[0] == 5.0


def test_storage_grows_with_the_months() -> None:
    first, tenth = (cost(frames.scenario(), requests_per_month=1e7, month=m) for m in (1, 10))
    stored = [next(line.used for line in bill.lines if line.meter == "storage") for bill in (first, tenth)]
    assert stored[1] == pytest.approx(19 * stored[0])


def alarms_per_month(scenario: Scenario, events_per_month: float) -> float:
    """Each alarm is one request to its object."""
    demand = Demand({"append": events_per_month, "balance": 1e9}, _shares(scenario))
    usage = ledger.alarms(scenario.system.instances["ledger"], demand)
    return usage.amounts["durable_objects.requests"]


def _shares(scenario: Scenario) -> Any:
    weight = popularity(scenario.workload.keys)
    return weight / weight.sum()


def test_busy_object_sets_an_alarm_every_interval_and_a_quiet_one_with_every_event() -> None:
    scenario = frames.scenario({"workload.keys.count": 1})
    assert alarms_per_month(scenario, 1e9) == pytest.approx(SECONDS_PER_MONTH / 60, rel=0.01)
    assert alarms_per_month(scenario, 100) == pytest.approx(100, rel=0.01)


def test_shards_share_their_alarms() -> None:
    apart, together = (frames.scenario({"system.durable_objects.shards": shards}) for shards in ("per_key", 2))
    assert alarms_per_month(together, 1e8) == pytest.approx(alarms_per_month(apart, 1e8) * 2 / 10, rel=0.05)


def test_each_line_names_the_fact_that_its_price_comes_from() -> None:
    lines = price({}, frames.PLATFORM)
    assert [line.fact for line in lines] == [meter.price for meter in meters() if not meter.counts_as]
    # The error sink is another company's, whose price list was transcribed by a third party.
    assert {line.component for line in lines if line.confidence != "O"} <= {"error_sink"}
    assert {line.confidence for line in lines} <= {"O", "S"}


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


# ---------------------------------------------------------------- the bill follows the operations of the routes

STEPS: list[Any] = [
    "workers.compute",
    {"use": "d1.read", "rows_read": 20, "times": 3},
    {"chance": 0.25, "times": 2, "steps": [{"use": "archive.write", "rows_written": 4, "rows_read": 7}, "r2.get"]},
    {"use": "durable_objects.write", "rows_written": 3, "spawn": True},
    {"use": "durable_objects.read", "rows_read": 5, "parallel": True, "times": 2},
    {"use": "r2.put", "retries": 3, "timeout_ms": 1_000, "hedge_ms": 50},
]


def of_one_route(*steps: Any, **changes: Any) -> Scenario:
    """The scenario by hand with a second database, a second Worker, and one route of a megabyte."""
    system = {"system.archive": {"like": "d1"}, "system.auth": {"like": "workers"}}
    route = {"share": 3.0, "size_bytes": 1e6, "steps": steps}
    return frames.scenario().with_(**system, routes={"only": route}, **changes)


def test_usage_is_the_sum_of_what_the_operations_move() -> None:
    """By hand, for 1,000 requests: repetitions and chances count, retries and hedges that nobody expects do not."""
    usage = usage_per_month(of_one_route(*STEPS), 1_000)
    per_gb_s = 0.128
    assert {name: amount / 1_000 for name, amount in usage.items() if name != "workers.plan"} == pytest.approx(
        {
            "workers.requests": 1,
            "workers.cpu": 7,
            "d1.rows_read": 3 * 20 + 0.5 * 7,
            "d1.rows_written": 0.5 * 4,
            "r2.class_a": 1,
            "r2.class_b": 0.5,
            "r2.egress": 0.5 * 1e6 / 1e9,
            "r2.storage": 1e6 / 1e9 / 2,
            "durable_objects.requests": 1 + 2,
            "durable_objects.rows_written": 3,
            "durable_objects.rows_read": 2 * 5,
            "durable_objects.duration": (2.44 + 10 + 2 * 0.3) / 1_000 * per_gb_s,
        }
    )


def test_fee_of_the_plan_is_paid_once_however_many_workers_there_are() -> None:
    for steps in (["workers.compute"], ["workers.compute", "auth.compute"]):
        usage = usage_per_month(of_one_route(*steps), 1e6)
        assert usage["workers.plan"] == 1
        assert usage["workers.requests"] == len(steps) * 1e6


def test_what_no_route_does_is_not_billed() -> None:
    usage = usage_per_month(of_one_route("d1.read"), 1e6)
    assert usage == {"d1.rows_read": 1e6}
    silent = of_one_route("d1.read").vary("routes.never", {"share": 0.0, "steps": ["r2.put"]})
    assert not usage_per_month(silent, 1e6).get("r2.class_a")


def test_flush_that_a_route_asks_for_is_a_request_to_its_object() -> None:
    """Active for the distance to D1 and its write, 15 ms; the rows were counted when they were appended."""
    usage = usage_per_month(of_one_route("ledger.flush"), 1e6)
    assert usage["durable_objects.requests"] == 1e6
    assert usage["durable_objects.duration"] == pytest.approx(1e6 * 0.015 * 0.128, rel=1e-3)
    assert "d1.rows_written" not in usage


def test_ledgers_of_two_namespaces_ring_apart() -> None:
    """Two objects that are always busy ring twice as often as one: one alarm an interval each."""
    two = {
        "system.rooms": {"like": "durable_objects"},
        "system.rooms_ledger": {"like": "ledger", "objects": "rooms", "database": "archive"},
        "workload.keys.count": 1,
    }
    busy = 1e10
    one_usage, two_usage = (
        usage_per_month(of_one_route(*steps, **two), busy)
        for steps in (["ledger.append"], ["ledger.append", "rooms_ledger.append"])
    )
    alarms = [usage["durable_objects.requests"] - n * busy for n, usage in ((1, one_usage), (2, two_usage))]
    assert alarms == pytest.approx([SECONDS_PER_MONTH / 60, 2 * SECONDS_PER_MONTH / 60], rel=1e-2)


READS = st.tuples(st.sampled_from(["d1", "archive"]), st.integers(1, 5), st.floats(0, 1))


@given(st.lists(READS, min_size=1, max_size=4))
def test_rows_add_up_over_any_steps(steps: list[tuple[str, int, float]]) -> None:
    asked = [{"use": f"{name}.read", "rows_read": 10, "times": n, "chance": chance} for name, n, chance in steps]
    usage = usage_per_month(of_one_route(*asked), 1e6)
    assert usage["d1.rows_read"] == pytest.approx(1e7 * sum(times * chance for _, times, chance in steps))
