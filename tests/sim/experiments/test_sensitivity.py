"""Which doubtful numbers matter.

Goal: a number that the latency is made of is found, one that it is not made of is not. Method: scenarios in which the
truth is plain.
"""

import pytest

from sim import load_scenario
from sim.experiments.sensitivity import FACTOR, low_confidence_numbers, sensitivity
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
    first, *others = sensitivity(only_searches)
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
