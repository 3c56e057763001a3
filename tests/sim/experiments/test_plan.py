"""The main job, small: every part is there, the same seed gives the same bytes, and doubt is not called PASS.

Goal: a plan says no more than it knows. Method: one short plan with a real live part, one without, and plans put
together by hand for the verdicts.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim import load_scenario
from sim.experiments import plan as plan_module
from sim.experiments.plan import Plan, plan
from sim.foundation.errors import UsageError
from sim.judgement.comparison import Comparison
from sim.judgement.judge import TargetRow
from sim.judgement.targets import Verdict
from sim.report.json_document import plan_document, text_of
from sim.report.terminal import summary
from sim.report.wording import target_name
from sim.results.result import Result
from sim.runners import play as play_module
from sim.scenario.scenario import Scenario


def short(**changes: Any) -> Scenario:
    """The default scenario for half a minute, with a live part of two seconds."""
    length = {"workload.duration_s": 30, "workload.warm_up_s": 5, "workload.live_s": 2}
    return load_scenario("launch").with_(**length, **changes)


@pytest.fixture(scope="module")
def whole() -> Plan:
    """A plan with all its parts."""
    return plan(short(), replications=2)


@pytest.fixture(scope="module")
def simulated() -> Plan:
    """A plan without a measurement."""
    return plan(short(), live=False, replications=2)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the two searches, which have tests of their own."""

    def none(*_: object, **__: object) -> Any:
        raise UsageError("not searched")

    monkeypatch.setattr(plan_module, "capacity", none)
    monkeypatch.setattr(plan_module, "sensitivity", lambda *_: ())


def test_a_plan_has_all_its_parts(whole: Plan) -> None:
    assert len(whole.simulated) == 2
    assert len(whole.targets) == len(whole.measured_targets) == 6
    assert whole.measured is not None
    assert whole.measured.on == "reference"
    assert whole.comparison is not None
    assert whole.capacity is not None
    assert whole.cost is not None
    assert whole.sensitivity
    assert not whole.interrupted


def test_model_and_reference_play_the_same_requests(whole: Plan) -> None:
    assert whole.measured is not None
    for run in whole.simulated_window:
        for column in ("arrival_ms", "key", "size_bytes"):
            assert np.array_equal(run.frame[column], whole.measured.frame[column])
        assert run.frame["route"].astype(str).tolist() == whole.measured.frame["route"].astype(str).tolist()


def test_the_live_part_is_judged_without_a_warm_up(whole: Plan) -> None:
    assert whole.measured is not None
    latency = whole.measured_targets[0]
    assert (latency.metric, latency.n) == ("api_latency_ms", len(whole.measured.frame))


def test_the_simulation_is_judged_without_its_warm_up(simulated: Plan) -> None:
    after = sum(int((run.frame["arrival_ms"] >= 5_000).sum()) for run in simulated.simulated)
    assert simulated.targets[0].n == after < sum(len(run.frame) for run in simulated.simulated)


def test_arithmetic_stands_beside_the_simulation(whole: Plan) -> None:
    """Of the same stations; how close it comes is asked in ``test_screening``. Its bound lies above the capacity."""
    assert whole.screening is not None
    assert whole.capacity is not None
    assert {row.station for row in whole.screening.rows} == set(whole.simulated[0].stations["station"])
    assert whole.screening.rate_per_s_max > whole.capacity.estimate.value
    document = plan_document(whole)
    assert document["screening"]["label"] == "approximation, not simulated"
    assert document["screening"]["bottleneck"] == whole.screening.bottleneck


def test_the_same_seed_gives_the_same_bytes(simulated: Plan) -> None:
    again = plan(short(), live=False, replications=2)
    assert text_of(plan_document(again)) == text_of(plan_document(simulated))
    for one, other in zip(simulated.simulated, again.simulated, strict=True):
        assert one.frame.equals(other.frame)


@pytest.mark.usefixtures("quick")
def test_another_seed_gives_other_numbers(simulated: Plan) -> None:
    other = plan(short(), rng=7, live=False, replications=1)
    assert other.seed == 7
    assert other.targets[0].value != simulated.targets[0].value


@pytest.mark.usefixtures("quick")
def test_both_engines_give_the_same_plan(simulated: Plan) -> None:
    other = plan(short(), live=False, replications=2, engine="simpy")
    assert [row.value for row in other.targets] == pytest.approx([row.value for row in simulated.targets], rel=1e-9)


@pytest.mark.usefixtures("quick")
def test_a_trace_is_simulated_whole_and_scaled_for_the_live_part(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("arrival_ms,route\n" + "".join(f"{at},log\n" for at in range(0, 600_000, 300)))
    found = plan(load_scenario("launch").vary("workload.live_s", 1), trace=trace, replications=1)
    assert found.measured is not None
    assert len(found.simulated[0].frame) == 2_000
    assert len(found.measured.frame) == len(found.simulated_window[0].frame) == 60


def test_a_closed_loop_has_no_capacity_and_says_so() -> None:
    found = plan(load_scenario("shapes/closed"), live=False, replications=1)
    assert found.capacity is None
    assert any("no capacity" in note for note in found.notes)


def test_ctrl_c_keeps_what_was_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(plan_module, "capacity", stop)
    found = plan(short(), live=False, replications=1)
    assert found.interrupted
    assert found.exit_status == 2
    assert found.targets
    assert found.capacity is None
    assert "interrupted" in found.notes[0]
    assert '"interrupted": true' in text_of(plan_document(found))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"replications": 0}, "replications=0 must be >= 1"), ({"engine": "simp"}, "engine='simp' must be simpy")],
)
def test_arguments_outside_their_rule_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan(short(), **wrong)


def by_hand(verdicts: str, *, agrees: bool | None, interrupted: bool = False) -> Plan:
    """A plan of which only the verdicts matter."""
    row = TargetRow(
        metric="m", statistic="p50", value=1.0, unit="ms", low=1.0, high=1.0, n=9, target=2.0, alert=3.0,
        direction="below", verdict=Verdict.PASS,
    )  # fmt: skip
    rows = tuple(replace(row, verdict=Verdict(verdict)) for verdict in verdicts.split())
    comparison = None if agrees is None else Comparison((), np.empty((2, 0)), valid=agrees)
    return Plan(short(), 1, targets=rows, comparison=comparison, interrupted=interrupted)


@pytest.mark.parametrize(
    ("made", "verdict", "status"),
    [
        (by_hand("PASS PASS", agrees=None), "PASS", 0),
        (by_hand("PASS PASS", agrees=True), "PASS", 0),
        (by_hand("PASS PASS", agrees=False), "INCONCLUSIVE", 3),
        (by_hand("PASS WARN", agrees=False), "WARN", 1),
        (by_hand("PASS PASS", agrees=None, interrupted=True), "INCONCLUSIVE", 2),
        (by_hand("", agrees=None), "INCONCLUSIVE", 3),
    ],
)
def test_a_pass_that_is_contradicted_or_cut_short_is_none(made: Plan, verdict: str, status: int) -> None:
    assert (made.verdict, made.exit_status) == (verdict, status)


def test_the_summary_says_what_is_missed_and_how_far_the_load_may_grow(simulated: Plan) -> None:
    said = summary(simulated)
    assert simulated.capacity is not None
    assert simulated.scenario.question in said
    assert f"{simulated.capacity.estimate.value:,.0f} requests/s" in said
    assert all(target_name(row.metric).lower() in said.lower() for row in simulated.targets if row.verdict != "PASS")
    assert "Nothing was measured" in said


@pytest.mark.usefixtures("quick")
def test_an_interrupted_measurement_ends_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    played = play_module.play

    def play(*arguments: Any, on: str, **options: Any) -> Result:
        run = played(*arguments, on="simpy" if on == "reference" else on, **options)
        return replace(run, interrupted=True) if on == "reference" else run

    monkeypatch.setattr(plan_module, "play", play)
    found = plan(short(), replications=1)
    assert found.interrupted
    assert found.measured is not None
    assert found.comparison is None
