"""The whole plan for a deployment that uses every component at the edge: ``scenarios/social.toml``.

Goal: cache, KV, queue, schedule, origin and rooms are simulated alike by both engines, played by the reference,
compared, priced and reported. Method: the shipped scenario over a shorter time, its schedule running more often, so
that it is seen.
"""

import numpy as np
import pandas as pd
import pytest

from sim import load_scenario, run
from sim.experiments.plan import Plan
from sim.models.billing import SECONDS_PER_MONTH
from sim.report.page import report_html
from sim.results.result import Result
from sim.scenario.scenario import Scenario
from tests.support.plans import measured_plan

ROUTES = {"feed", "post", "picture", "join", "say", "widget", "clean_up"}
EDGE = {"cache", "kv", "queues", "cron", "origin", "websocket"}
"""The components that no other shipped scenario uses."""

LENGTHS = {"workload.duration_s": 40, "workload.warm_up_s": 5, "workload.live_s": 8}


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    """The shipped one, shorter; its clean-up runs 60 times as often."""
    return load_scenario("social").with_(**LENGTHS, **{"routes.clean_up.share": 60})


@pytest.fixture(scope="module")
def found(scenario: Scenario) -> Plan:
    """A plan with all its parts."""
    return measured_plan(scenario)


@pytest.fixture(scope="module")
def measured(found: Plan) -> Result:
    """What the reference answered."""
    assert found.measured is not None
    return found.measured


def test_scenario_is_that_of_three_million_requests_a_day() -> None:
    shipped = load_scenario("social")
    assert shipped.workload.arrivals.model_dump()["rate_per_s"] == pytest.approx(3e6 / 86_400 * 4, rel=1e-3)
    assert set(shipped.routes) == ROUTES
    assert shipped.reached >= EDGE
    assert shipped.shares["clean_up"] * 3e6 / 86_400 * 4 == pytest.approx(1 / 60, rel=0.02), "once a minute"


def test_engines_give_every_request_the_same_latency(scenario: Scenario) -> None:
    simpy, compiled = (run(scenario, on=engine, rng=11, requests=4_000) for engine in ("simpy", "compiled"))
    for column in ("latency_ms", "outcome", "attempts", *scenario.time_columns):
        assert np.array_equal(simpy.frame[column], compiled.frame[column]), column
    assert set(compiled.frame["route"].astype(str)) == ROUTES
    pd.testing.assert_frame_equal(simpy.stations, compiled.stations, rtol=1e-9)


def test_every_request_is_answered_and_its_time_attributed(found: Plan, measured: Result) -> None:
    for result in (*found.simulated, *found.simulated_window, measured):
        frame = result.frame
        assert set(frame["outcome"]) <= {"ok", "error", "refused"}, "a key takes one write a second, an origin fails"
        assert (frame["outcome"] == "ok").mean() > 0.99
        route = frame["route"].astype(str)
        assert set(route) == ROUTES
        used = {"feed": "cache", "post": "queues", "picture": "r2", "say": "websocket", "widget": "origin"}
        for name, column in {**used, "join": "websocket", "clean_up": "cron"}.items():
            here = frame.loc[(route == name) & (frame["outcome"] == "ok"), f"{column}_ms"]
            assert (here > 0).all(), (result.on, name)
        assert (frame.loc[route == "say", "workers_ms"] == 0).all(), "a message goes past the Worker"
        assert (frame.loc[route == "clean_up", "network_ms"] == 0).all(), "nobody waits for a scheduled run"


def test_one_look_up_in_five_misses(found: Plan, measured: Result) -> None:
    for result in (*found.simulated, measured):
        missed = (result.frame.loc[result.frame["route"] == "feed", "d1_ms"] > 0).to_numpy()
        assert missed.mean() == pytest.approx(0.2, abs=4 * (0.16 / len(missed)) ** 0.5)


def test_model_and_reference_agree(found: Plan, measured: Result) -> None:
    if not measured.valid:
        pytest.skip("the machine was too busy to measure anything")
    assert found.comparison is not None
    p50 = {row.route: row for row in found.comparison.rows if (row.metric, row.statistic) == ("api_latency_ms", "p50")}
    assert {"all", *ROUTES} == set(p50)
    assert all(row.low <= row.tolerance_ratio and row.high >= -row.tolerance_ratio for row in p50.values())


def test_plan_prices_what_there_is(found: Plan) -> None:
    assert found.cost is not None
    lines = {(line.component, line.meter): line for line in found.cost.lines}
    month = found.cost.requests_per_month
    # The schedule runs as often whatever the volume; the routes share the rest.
    entry = found.scenario.system.instances["cron"]
    assert entry.component.runs_per_s is not None
    runs = entry.component.runs_per_s(entry) * found.scenario.routes["clean_up"].share * SECONDS_PER_MONTH
    at_peak = found.scenario.shares
    share = {name: part / (1 - at_peak["clean_up"]) * (1 - runs / month) for name, part in at_peak.items()}
    share["clean_up"] = runs / month
    assert lines["kv", "reads"].used == pytest.approx(month * share["post"])
    assert lines["kv", "lists"].used == pytest.approx(month * share["clean_up"])
    assert lines["queues", "operations"].used == pytest.approx(month * share["post"] * 3, rel=0.01)
    assert lines["r2", "class_b"].used == pytest.approx(month * share["picture"])
    objects = share["post"] + share["join"] + share["say"] / 20
    assert lines["durable_objects", "requests"].used == pytest.approx(month * objects)
    by_worker = sum(share[name] for name in ROUTES - {"say"})
    batches = lines["workers", "requests"].used - month * by_worker
    assert month * share["post"] / 10 <= batches <= month * share["post"] / 9, "nearly all batches are full"
    assert found.capacity is not None
    assert found.capacity.bottleneck in found.scenario.reached


def test_report_shows_its_routes_and_components(found: Plan) -> None:
    page = report_html(found)
    assert all(name in page for name in (*ROUTES, "KV", "Queues", "websocket", "origin"))
