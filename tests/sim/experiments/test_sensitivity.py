"""Which low-confidence numbers matter.

Goal: a number that the latency is made of is found, one that it is not made of is not. Method: scenarios in which the
truth is plain.
"""

import pytest

from sim import load_scenario
from sim.experiments.sensitivity import FACTOR, low_confidence_numbers, multiplied, sensitivity
from sim.judgement.targets import targets_of
from sim.results.metrics import assumed_by
from sim.scenario.scenario import Scenario

NEAR = 1e-9


@pytest.fixture(scope="module")
def only_searches() -> Scenario:
    """A minute of searches, whose time is nearly all distance."""
    changes = {
        "workload.duration_s": 60,
        "workload.warm_up_s": 5,
        "system.d1.rtt_ms": 1_000.0,
    }
    reason = {"assumptions": {**load_scenario("launch").assumptions, "system.d1.rtt_ms": "far away"}}
    return load_scenario("launch").with_(**changes).with_(**reason).with_shares(search=1.0)


def test_the_number_that_latency_is_made_of_comes_first(only_searches: Scenario) -> None:
    first, *others = sorted(sensitivity(only_searches), key=lambda row: -row.swing_ratio)
    assert first.source.path == "system.d1.rtt_ms"
    assert 1.2 < first.p50_ratio_high < FACTOR
    assert 1 / FACTOR < first.p50_ratio_low < 0.85
    assert all(row.swing_ratio <= first.swing_ratio for row in others)


def test_a_number_that_no_request_meets_changes_nothing(only_searches: Scenario) -> None:
    rows = {row.source.path: row for row in sensitivity(only_searches)}
    for path in ("system.r2.put_ms", "system.d1.write_ms.p99", "system.tunnel.overhead_ms"):
        assert rows[path].p99_ratio_high == pytest.approx(1.0, rel=NEAR)
        assert rows[path].swing_ratio == pytest.approx(0.0, abs=NEAR)


def test_only_doubtful_numbers_are_varied() -> None:
    launch = load_scenario("launch")
    paths = {source.path for source in low_confidence_numbers(launch)}
    certain = {source.path for source in launch.provenance if not source.low_confidence}
    assert paths
    assert not paths & certain
    assert "system.ledger.policy" not in paths
    assert not any(path.startswith("routes.") and path.endswith(".share") for path in paths)


def test_a_number_that_the_schema_forbids_is_none_and_counts_for_nothing() -> None:
    crowded = load_scenario("launch").with_(**{"workload.duration_s": 30, "workload.warm_up_s": 0})
    assumptions = {**crowded.assumptions, "system.d1.write_ms.median": "nearly the p99"}
    crowded = crowded.with_(**{"system.d1.write_ms": {"distribution": "lognormal", "median": 19.0, "p99": 20.0}})
    crowded = crowded.with_(assumptions=assumptions)
    row = next(row for row in sensitivity(crowded) if row.source.path == "system.d1.write_ms.median")
    assert row.p99_ratio_high != row.p99_ratio_high  # NaN: a median above the P99.
    assert row.swing_ratio == abs(row.p99_ratio_low - 1)


def test_every_judged_target_is_covered() -> None:
    """A number that the P99 of latency hardly feels may move another target, and stands where that one puts it."""
    launch = load_scenario("launch").with_(**{"workload.duration_s": 200})
    rows = sensitivity(launch)
    names = {line.name for line in targets_of(launch)} - {"uptime_ratio ratio"}
    assert all(row.targets.keys() == names for row in rows)
    most = [max(row.swing_ratio, row.most[1]) for row in rows]
    assert most == sorted(most, reverse=True)
    by_path = {row.source.path: row for row in rows}
    bandwidth = by_path["system.r2.bandwidth_bytes_per_s"]
    assert bandwidth.most[0] == "r2_upload_mb_per_s p50"
    assert bandwidth.most[1] > 2 * bandwidth.swing_ratio


def test_target_that_only_restates_a_number_moves_with_it_exactly() -> None:
    """Which is why it is marked: CPU per request is the scenario's own number, through no queue."""
    launch = load_scenario("launch").with_(**{"workload.duration_s": 120})
    row = next(row for row in sensitivity(launch) if row.source.path == assumed_by("worker_cpu_ms", launch))
    assert row.targets["worker_cpu_ms p99"] == pytest.approx((1 / FACTOR, FACTOR), rel=1e-9)


@pytest.mark.parametrize("value", [0, 0.0, True, "per_key", None])
def test_what_no_factor_changes_is_not_varied(value: object) -> None:
    """A chance of 0 is not a chance of 1."""
    assert multiplied(value, 1.25) is None
