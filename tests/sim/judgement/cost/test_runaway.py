"""What an hour costs when a deployment runs away, and what a spending limit stops of it.

Goal: the three ways are priced from what is really used, and the limit stops only what it counts. Method: hours worked
out by hand from the scenario of round numbers.
"""

from math import inf, isfinite
from pathlib import Path

import pytest

from sim.judgement.cost import cost
from sim.judgement.cost.runaway import RunawayCost
from sim.scenario.scenario import Scenario
from tests.support import frames


def of(scenario: Scenario, name: str, *, limit_usd: float = 100.0) -> RunawayCost:
    bill = cost(scenario, spending_limit_usd=limit_usd)
    (found,) = [one for one in bill.runaways if one.name == name]
    return found


def test_alarm_loop_costs_a_request_a_row_and_all_the_time() -> None:
    """Ten objects, an alarm each 12.44 ms of writing and gate: 804 a second, 1.15 USD a million; and 10 x 0.128 GB."""
    loop = of(frames.scenario(), "durable_objects: alarm loop")
    alarms = 10 * 3_600 / 0.01244
    assert loop.hour_usd == pytest.approx(alarms * 1.15e-6 + 10 * 3_600 * 0.128 * 12.5e-6, rel=1e-6)


def test_alarm_loop_of_a_trace_is_of_the_objects_that_its_rows_use(tmp_path: Path) -> None:
    """A trace numbers the keys of all routes together: 50 pages are no objects of the 5 tenants."""
    routes = {
        "hook": {"share": 1.0, "request": {"method": "POST", "path": "/h/{key}"}, "steps": ["durable_objects.read"]},
        "page": {"share": 1.0, "request": {"method": "GET", "path": "/p/{key}"}, "steps": ["workers.compute"]},
    }
    rows = [f"{100 * at},{f'POST,/h/t{at % 5}' if at % 2 else f'GET,/p/q{at % 100}'}" for at in range(200)]
    (tmp_path / "log.csv").write_text("\n".join(["arrival_ms,method,path", *rows]))
    traced = frames.scenario().with_(
        **{
            "routes": routes,
            "system.durable_objects.shards": "per_key",
            "workload.arrivals": {"kind": "trace", "file": str(tmp_path / "log.csv")},
        }
    )
    drawn = frames.scenario().with_(
        **{"routes": routes, "system.durable_objects.shards": "per_key", "workload.keys": {"count": 5, "zipf": 0.0}}
    )
    name = "durable_objects: alarm loop"
    assert of(traced, name).hour_usd == pytest.approx(of(drawn, name).hour_usd)


def test_nothing_stops_an_alarm_loop_or_a_full_scan() -> None:
    for name in ("durable_objects: alarm loop", "d1: full scan"):
        found = of(frames.scenario(), name)
        assert found.counted_hour_usd == 0
        assert (found.stopped_after_s, found.spent_usd) == (inf, inf)
        assert found.unstopped.startswith("all of it")


def test_full_scan_reads_what_one_thread_can() -> None:
    """6,250 rows a millisecond, a dollar a thousand million: 22.50 USD an hour and database."""
    assert of(frames.scenario(), "d1: full scan").hour_usd == pytest.approx(22.5)
    none = frames.scenario().with_(routes={"only": {"share": 1.0, "steps": ["workers.compute"]}})
    assert not [one for one in cost(none).runaways if one.name == "d1: full scan"]


def test_retry_storm_is_stopped_when_workers_have_spent_the_limit_and_bills_the_rest_beside_it() -> None:
    """57.9 searches a second, two more attempts each: 416,880 requests an hour of 0.30 and 7 ms of 0.02 a million."""
    search = frames.scenario(shares={"search": 1.0})
    storm = of(search, "callers: retry storm")
    extra = 57.9 * 3_600 * 2
    assert storm.counted_hour_usd == pytest.approx(extra * (0.3e-6 + 7 * 0.02e-6))
    assert storm.hour_usd == pytest.approx(storm.counted_hour_usd + extra * 20 * 0.001e-6)
    assert storm.stopped_after_s == pytest.approx(100 / storm.counted_hour_usd * 3_600)
    assert storm.spent_usd > 100
    half = of(search, "callers: retry storm", limit_usd=50)
    assert half.stopped_after_s == pytest.approx(storm.stopped_after_s / 2)
    assert "d1" in storm.unstopped


def test_policies_of_steps_multiply_those_of_their_callers() -> None:
    """Three attempts of a client, four of the group, two of the query: 24 queries where one was asked for."""
    query = {"use": "d1.read", "rows_read": 10, "retries": 1}
    routes = {"only": {"share": 1.0, "steps": [{"steps": [query], "retries": 3}]}}
    storm = of(frames.scenario().with_(routes=routes), "callers: retry storm")
    assert storm.lines["d1.rows_read"] == pytest.approx(57.9 * 3_600 * 10 * (24 - 1) * 0.001e-6)
    assert not isfinite(storm.stopped_after_s)


def test_dearest_comes_first() -> None:
    found = [one.hour_usd for one in cost(frames.scenario()).runaways]
    assert found == sorted(found, reverse=True)
    assert len(found) == 3
