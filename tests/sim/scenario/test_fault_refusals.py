"""Goal: a fault that cannot be is refused in one line, and what cannot have faults says so instead of leaving them out.

Method: each wrong fault is put into a scenario; each target is asked to have faults; one stall is played in real time.
"""

import re
from typing import Any

import pytest

from sim import capacity, plan, run
from sim.experiments.plan import NOT_MEASURED, WITHOUT_FAULTS
from sim.foundation.errors import ScenarioError, UsageError
from sim.report.json_document import plan_document
from sim.report.page import report_html
from sim.scenario.scenario import load_scenario
from sim.screening import screen
from tests.sim.scenario.test_faults import AT, SHORT, arriving, both, faulty

FAST = {"workload.live_rate_max_per_s": 1_000}

# ------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"instance": "d1", "kind": "outage", "at_s": 40, "duration_s": 1}, "faults[0].at_s=40 must be < 40"),
        ({"instance": "d1", "kind": "outage", "at_s": 39, "duration_s": 5}, "at_s + duration_s = 44 must be <= 40"),
        ({"instance": "d1", "kind": "outage", "at_s": -1, "duration_s": 5}, "faults[0].at_s=-1 must be >= 0"),
        ({"instance": "d1", "kind": "outage", "at_s": 1, "duration_s": -5}, "faults[0].duration_s=-5 must be > 0"),
        ({"instance": "dd1", "kind": "outage", **AT}, 'faults[0].instance="dd1" is not in the system; did you mean d1'),
        ({"instance": "kv", "kind": "outage", **AT}, "faults[0].instance=\"kv\" is used by no route"),
        ({"instance": "client", "kind": "outage", **AT}, "is the caller"),
        ({"instance": "d1", "kind": "errors", "share": 1.5, **AT}, "faults[0].share=1.5 must be <= 1"),
        ({"instance": "d1", "kind": "errors", "share": 0, **AT}, "faults[0].share=0 must be > 0"),
        ({"instance": "d1", "kind": "errors", **AT}, "kind=errors needs share"),
        ({"instance": "d1", "kind": "outage", "factor": 2, **AT}, "kind=outage must not hold factor"),
        ({"instance": "d1", "kind": "slow", "factor": 0.5, **AT}, "faults[0].factor=0.5 must be >= 1"),
        ({"instance": "d1", "kind": "flood", **AT}, "faults[0].kind"),
        ({"instance": "d1", "kind": "outage"}, "needs either at_s or mean_between_s"),
        ({"instance": "d1", "kind": "outage", "at_s": 3}, "needs duration_s beside at_s"),
        ({"instance": "d1", "kind": "outage", "mean_between_s": 3}, "needs mean_between_s and mean_length_s together"),
        ({"instance": "d1", "kind": "outage", "every_s": 5, **AT}, "every_s=5 must be > duration_s=5"),
        ({"instance": "d1", "kind": "outage", "share_of_instances": 0.5, **AT}, "needs several objects; d1 is one"),
        ({"instance": "d1", "kind": "deploy", "at_s": 3}, "d1 keeps no objects in memory"),
        ({"instance": "d1", "kind": "deploy", **AT}, "it takes no time"),
        ({"instance": "ledger", "kind": "deploy", "at_s": 3}, "ledger keeps no objects in memory"),
        ({"instance": "durable_objects", "kind": "deploy", "at_s": 0, "every_s": 0.5}, "makes more than 50 windows"),
        ({"instance": "workers", "kind": "stall", **AT}, "workers has no servers that could stand still"),
        ({"instance": "d1", "kind": "hang", "share": 0, **AT}, "faults[0].share=0 must be > 0"),
        ({"instance": "d1", "kind": "outage", "together_with": ["r3"], **AT}, 'together_with="r3" is not in the syst'),
        ({"instance": "d1", "kind": "outage", "together_with": ["kv"], **AT}, 'together_with="kv" is used by no route'),
        ({"instance": "d1", "kind": "outage", "together_with": ["d1"], **AT}, '"d1" is the instance itself'),
        ({"instance": "d1", "kind": "outage", "keys": [3, 200], **AT}, "faults[0].keys=200 must be < 200"),
        ({"instance": "d1", "kind": "outage", "step_s": 5, **AT}, "kind=outage must not hold step_s"),
        ({"instance": "ledger", "kind": "clock", "at_s": 5}, "with kind=clock needs step_s, not 0"),
        ({"instance": "ledger", "kind": "clock", "at_s": 5, "step_s": 0}, "with kind=clock needs step_s, not 0"),
        ({"instance": "ledger", "kind": "clock", "step_s": 5, **AT}, "with kind=clock needs at_s and no duration_s"),
        ({"instance": "ledger", "kind": "clock", "step_s": 5, "at_s": 50}, "faults[0].at_s=50 must be < 40"),
        ({"instance": "d1", "kind": "clock", "step_s": 5, "at_s": 5}, "d1 sets no alarm by a clock"),
    ],
)  # fmt: skip
def test_a_wrong_fault_is_one_line(fault: dict[str, Any], message: str) -> None:
    """The place, the value, the rule."""
    with pytest.raises(ScenarioError, match=re.escape(message)) as refused:
        faulty(fault)
    assert "\n" not in str(refused.value)


def test_as_many_deploys_as_are_allowed_can_be_played() -> None:
    """Fifty branches inside one another, in both engines."""
    many = faulty({"instance": "durable_objects", "kind": "deploy", "at_s": 0.5, "every_s": 0.79})
    assert len(many.injected[0].windows.spans) == 50
    both(many)


def test_faults_of_one_kind_must_not_overlap() -> None:
    """Of one instance; another kind, another instance or another time may."""
    first = {"instance": "d1", "kind": "outage", **AT}
    with pytest.raises(ScenarioError, match=re.escape('faults[1].kind="outage" overlaps faults[0]')):
        faulty(first, {**first, "at_s": 14})
    with pytest.raises(ScenarioError, match=re.escape("overlaps faults[0]")):
        faulty(first, {"instance": "d1", "kind": "outage", "mean_between_s": 10, "mean_length_s": 1})
    faulty(first, {**first, "at_s": 15}, {**first, "kind": "hang"}, {**first, "instance": "r2"})


def test_a_closed_loop_has_no_end_to_check() -> None:
    """Scheduled windows are allowed; random or repeated ones need an end."""
    base = load_scenario("shapes/closed")
    name = next(iter(base.reached - {"client"}))
    assert faulty({"instance": name, "kind": "outage", **AT}, base=base).injected
    with pytest.raises(ScenarioError, match="needs a run of known length"):
        faulty({"instance": name, "kind": "outage", "mean_between_s": 10, "mean_length_s": 1}, base=base)


def test_a_deployment_refuses_faults_and_screening_says_that_it_leaves_them_out() -> None:
    """Never silently; only the embedded reference can have them, and not all."""
    asked = faulty({"instance": "d1", "kind": "outage", **AT})
    for on in ("workerd", "http://127.0.0.1:1"):
        with pytest.raises(UsageError, match="cannot have the 1 faults of 'launch'; simulate it"):
            run(asked, on=on)
    with pytest.raises(UsageError, match="faults=1 must be 0"):
        capacity(asked)
    found = screen(asked)
    assert "faults are left out" in found.approximations[0]
    assert found.rate_per_s_max == screen(SHORT).rate_per_s_max


@pytest.mark.parametrize(
    ("fault", "changes", "message"),
    [
        ({"instance": "ledger", "kind": "clock", "at_s": 10, "step_s": 5}, {}, "runs on this machine's clock"),
        ({"instance": "d1", "kind": "outage", **AT}, {}, "are code that meets no fault of kind outage"),
        ({"instance": "d1", "kind": "stall", **AT}, {"workload.live_s": 8, **FAST}, "workload.live_s=8 must be > 10"),
        (
            {"instance": "d1", "kind": "stall", **AT},
            {"workload.live_rate_max_per_s": 10},
            "live_rate_max_per_s=10 where",
        ),
    ],
)
def test_what_the_reference_cannot_have_is_one_line(
    fault: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    """The reason, and the way out; before anything is started."""
    with pytest.raises(UsageError, match=re.escape(message)) as refused:
        run(faulty(fault).with_(**changes), on="reference")
    assert "\n" not in str(refused.value)


def test_a_closed_loop_cannot_be_played_with_faults_on_the_reference() -> None:
    base = load_scenario("shapes/closed")
    asked = faulty({"instance": "network", "kind": "slow", "factor": 2, "at_s": 0, "duration_s": 1}, base=base)
    with pytest.raises(UsageError, match="a closed loop has no times"):
        run(asked, on="reference")


@pytest.mark.slow
def test_a_stall_of_the_reference_lasts_as_long_as_that_of_the_model() -> None:
    """In real time: who comes in the stall is not answered before its end, in the model and on the reference."""
    short = {"workload.duration_s": 8, "workload.warm_up_s": 0, "workload.live_s": 8}
    drill = load_scenario("drills/d1_stall").vary("faults", []).with_(**short)
    drill = drill.vary("faults", [{"instance": "d1", "kind": "stall", "at_s": 3, "duration_s": 2}])
    measured, simulated = (run(drill, on=on, rng=1).frame for on in ("reference", "compiled"))
    assert len(measured) == len(simulated)
    for frame in (measured, simulated):
        came = arriving(frame, 3.2, 4.8)
        ends_ms = (frame["arrival_ms"] + frame["latency_ms"])[came & (frame["outcome"] == "ok").to_numpy()]
        assert came.sum() > 100
        assert (ends_ms >= 4_990).all()


def test_a_plan_says_what_it_does_without_the_faults() -> None:
    """Nothing is measured where the live part ends before them; the capacity is that of the system without them."""
    drill = load_scenario("drills/d1_stall").vary("workload.live_s", 10)
    made = plan(drill, replications=2)
    assert made.measured is None
    reason = "workload.live_s=10 must be > 20, when the first fault begins, to play it on a deployment"
    assert {f"{NOT_MEASURED}: {reason}", WITHOUT_FAULTS} <= set(made.notes)
    assert made.capacity is not None
    assert made.capacity.estimate == capacity(drill.vary("faults", [])).estimate
    assert [row["phase"] for row in plan_document(made)["phases"]] == ["before", "during", "after"]
    assert "<h2>Faults</h2>" in report_html(made)
