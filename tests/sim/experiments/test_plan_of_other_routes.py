"""The whole plan for a deployment that shares no route with the brief's: ``scenarios/feed.toml``.

Goal: nothing of the first deployment is built into the walls. Method: three other routes, two databases, a cache
that is hit by chance, a call that nobody waits for: simulated, played by the reference, compared, priced, reported.
"""

import pytest

from sim import load_scenario
from sim.experiments.plan import Plan
from sim.report.page import report_html
from sim.results.result import Result
from tests.support.plans import measured_plan


@pytest.fixture(scope="module")
def found() -> Plan:
    """A plan with all its parts."""
    scenario = load_scenario("feed").with_(**{"workload.duration_s": 60, "workload.warm_up_s": 5, "workload.live_s": 5})
    return measured_plan(scenario)


@pytest.fixture(scope="module")
def measured(found: Plan) -> Result:
    """What the reference answered."""
    assert found.measured is not None
    return found.measured


def test_no_route_is_the_briefs(found: Plan) -> None:
    routes = set(found.scenario.routes)
    assert routes == {"feed", "post", "picture"}
    assert not routes & set(load_scenario("launch").routes)


def test_every_request_is_answered_and_its_time_attributed(found: Plan, measured: Result) -> None:
    for result in (*found.simulated, *found.simulated_window, measured):
        frame = result.frame
        assert (frame["outcome"] == "ok").all()
        assert set(frame["route"].astype(str)) == {"feed", "post", "picture"}
        assert (frame.loc[frame["route"] == "post", "posts_ms"] > 0).all()
        assert (frame.loc[frame["route"] == "post", "users_ms"] == 0).all(), "nobody waits for what is spawned"
        assert not frame.loc[frame["route"] == "feed", ["users_ms", "r2_ms", "durable_objects_ms"]].to_numpy().any()


def test_one_read_in_five_misses_the_cache(found: Plan, measured: Result) -> None:
    for result in (*found.simulated, measured):
        missed = (result.frame.loc[result.frame["route"] == "feed", "posts_ms"] > 0).to_numpy()
        assert missed.mean() == pytest.approx(0.2, abs=4 * (0.16 / len(missed)) ** 0.5)


def test_a_picture_takes_the_longer_of_its_two_branches(found: Plan) -> None:
    frame = found.simulated[0].frame
    picture = frame[frame["route"] == "picture"]
    critical = (picture[["users_ms", "users_queue_ms", "r2_ms"]] > 0).any(axis=1)
    assert critical.all()
    assert not ((picture["users_ms"] > 0) & (picture["r2_ms"] > 0)).any()


def test_model_and_reference_agree(found: Plan, measured: Result) -> None:
    if not measured.valid:
        pytest.skip("the machine was too busy to measure anything")
    assert found.comparison is not None
    p50 = {row.route: row for row in found.comparison.rows if (row.metric, row.statistic) == ("api_latency_ms", "p50")}
    assert set(p50) == {"all", "feed", "post", "picture"}
    assert all(row.low <= row.tolerance_ratio and row.high >= -row.tolerance_ratio for row in p50.values())


def test_plan_prices_and_judges_what_there_is(found: Plan) -> None:
    assert found.cost is not None
    lines = {(line.component, line.meter): line for line in found.cost.lines}
    writes = lines["d1", "rows_written"].used / lines["workers", "requests"].used
    assert writes == pytest.approx(0.2 * (3 + 1)), "of both databases, also what is spawned"
    assert "r2_upload_mb_per_s" not in {row.metric for row in found.targets}
    assert any("r2_upload_mb_per_s" in note for note in found.notes)
    assert found.capacity is not None
    assert found.capacity.bottleneck in {"posts", "users", "durable_objects", "workers"}


def test_report_shows_its_routes(found: Plan) -> None:
    page = report_html(found)
    assert all(name in page for name in ("feed", "picture", "posts", "users"))
    assert "device_log" not in page
