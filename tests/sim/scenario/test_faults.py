"""Goal: a fault does what its kind says, to whom it says and when, in any component, and leaves everything else alone.

Method: one fault is put into a scenario at a time; runs with and without it have the same draws, so they are compared
request by request. Both engines must give the same path.
"""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from sim import run
from sim.engines import compiled_engine, simpy_engine
from sim.flow import Delay, Pace, Renewal, Time, Windows, settled, walk
from sim.flow.windows import SPANS_MAX, drawn, paced_ms
from sim.foundation.errors import ModelError, ScenarioError
from sim.models.component import Tier
from sim.randomness.distributions import Constant
from sim.scenario.deployment import deployment
from sim.scenario.generation import schedule
from sim.scenario.scenario import Scenario, load_scenario
from tests.sim.engines.test_engines_agree import assert_equal
from tests.support.routes import KNOWN_TIMES
from tests.support.schedules import at

SHORT = load_scenario("launch").with_(**{"workload.duration_s": 40, "workload.warm_up_s": 0})

AT = {"at_s": 10, "duration_s": 5}

ONE_OF_EACH: tuple[dict[str, Any], ...] = (
    {"kind": "outage", **AT},
    {"kind": "hang", **AT},
    {"kind": "slow", "factor": 5, **AT},
    {"kind": "errors", "share": 0.5, **AT},
    {"kind": "stall", **AT},
    {"kind": "deploy", "at_s": 10},
    {"kind": "clock", "at_s": 10, "step_s": 35},
)


def faulty(*faults: dict[str, Any], base: Scenario = SHORT) -> Scenario:
    """The scenario with faults."""
    return base.vary("faults", list(faults))


def both(scenario: Scenario) -> pd.DataFrame:
    """The requests of a run, in which the engines agree."""
    planned, flow = schedule(scenario), deployment(scenario)
    one = simpy_engine.simulate(flow, planned, seed=3)
    assert_equal(one, compiled_engine.simulate(flow, planned, seed=3))
    return run(scenario, rng=None).frame


def arriving(frame: pd.DataFrame, start_s: float, end_s: float) -> Any:
    """Which requests arrive between two times."""
    return frame["arrival_ms"].between(start_s * 1000, end_s * 1000, inclusive="left").to_numpy()


# ------------------------------------------------------------ every component


@pytest.mark.parametrize("fault", ONE_OF_EACH, ids=lambda fault: str(fault["kind"]))
def test_every_component_can_have_every_fault_or_says_why_not(fault: dict[str, Any]) -> None:
    """No list of components: whatever the registry holds is taken from the largest scenario, one after the other."""
    base = load_scenario("social").with_(**{"workload.duration_s": 30, "workload.warm_up_s": 0})
    had, reasons = 0, []
    for name in sorted(base.reached):
        if base.system.instances[name].component.tier == Tier.CALLER:
            continue
        try:
            asked = base.vary("faults", [{"instance": name, **fault}])
        except ScenarioError as error:
            reasons.append(str(error))
            continue
        deployment(asked)
        had += 1
    assert had >= 1
    assert all(" cannot be: " in reason and "\n" not in reason for reason in reasons)
    assert not reasons or fault["kind"] in ("stall", "deploy", "slow", "clock")


@pytest.mark.parametrize("fault", ONE_OF_EACH, ids=lambda fault: str(fault["kind"]))
def test_a_fault_touches_nothing_before_it_and_no_route_without_its_instance(fault: dict[str, Any]) -> None:
    """Byte for byte: the draws of a run with a fault are those of the run without."""
    name = "ledger" if fault["kind"] == "clock" else "durable_objects"
    plain, hit = run(SHORT).frame, both(faulty({"instance": name, **fault}))
    before = (plain["arrival_ms"] + plain["latency_ms"] < 10_000).to_numpy()
    untouched = before | (plain["route"] == "download").to_numpy()
    assert (plain["latency_ms"] == hit["latency_ms"])[untouched].all()
    assert (plain["latency_ms"] != hit["latency_ms"])[~untouched].any()
    # A search meets other queues at the database, where the ledger writes; its own time there is drawn as before.
    search = (plain["route"] == "search").to_numpy()
    assert np.allclose(plain["d1_ms"][search], hit["d1_ms"][search], rtol=1e-12, atol=0)
    assert (plain[["request", "route", "key", "arrival_ms"]] == hit[["request", "route", "key", "arrival_ms"]]).all(
        axis=None
    )


# ------------------------------------------------------------ each kind


def test_an_outage_fails_at_once_while_it_lasts() -> None:
    """Without retries each request of the window fails before it has done anything."""
    frame = both(faulty({"instance": "network", "kind": "outage", **AT}).vary("system.client.retries", 0))
    inside = arriving(frame, 10, 15) & (frame["route"] != "device_log")
    assert (frame["outcome"][inside] == "error").all()
    assert (frame["latency_ms"][inside] == 0).all()
    assert (frame["outcome"][~inside] == "ok").all()


def test_a_hang_lasts_until_its_window_ends_or_the_caller_gives_up() -> None:
    """The timeout is the caller's; a request that is patient enough gets its answer after the window."""
    fault = {"instance": "r2", "kind": "hang", **AT}
    impatient = faulty(fault).with_(**{"system.client.retries": 0, "system.client.timeout_ms": 1000})
    frame = both(impatient)
    hung = arriving(frame, 10, 13.9) & frame["route"].isin(["upload", "download"]).to_numpy()
    assert hung.sum() >= 10
    assert (frame["outcome"][hung] == "timeout").all()
    patient = both(faulty(fault))
    ends_ms = patient["arrival_ms"] + patient["latency_ms"]
    assert (ends_ms[hung] >= 15_000).all()


def test_a_slow_instance_takes_its_factor_longer() -> None:
    """Constant times, well inside the window: the read itself takes five times as long, the queue is another column."""
    base = SHORT.with_(**{"system.d1.read_ms": 2.0, "system.d1.rtt_ms": 10.0, "system.d1.row_us": 0.0})
    frame = both(faulty({"instance": "d1", "kind": "slow", "factor": 5, **AT}, base=base))
    search = (frame["route"] == "search").to_numpy()
    assert np.allclose(frame["d1_ms"][search & arriving(frame, 10, 14.5)], 60.0)
    assert np.allclose(frame["d1_ms"][search & arriving(frame, 20, 40)], 12.0)


def test_a_hang_of_a_share_leaves_the_others_alone() -> None:
    """Of some hundred requests half get no answer before the window ends, give or take five standard deviations."""
    base = SHORT.with_(**{"system.client.retries": 0, "system.client.timeout_ms": 1e6})
    frame = both(faulty({"instance": "network", "kind": "hang", "share": 0.5, **AT}, base=base))
    plain = run(base).frame
    inside = arriving(frame, 10, 14) & (frame["route"] != "device_log").to_numpy()
    hung = (frame["arrival_ms"] + frame["latency_ms"])[inside] >= 15_000
    assert abs(hung.mean() - 0.5) < 5 * 0.5 / np.sqrt(inside.sum())
    alike = np.isclose(frame["network_ms"], plain["network_ms"], atol=1e-6)
    assert (alike[inside] == ~hung).all()


def test_errors_fail_their_share() -> None:
    """Of some hundred requests half fail, give or take five standard deviations; the others are as before."""
    frame = both(faulty({"instance": "network", "kind": "errors", "share": 0.5, **AT}).vary("system.client.retries", 0))
    inside = arriving(frame, 10, 15) & (frame["route"] != "device_log").to_numpy()
    share, n = (frame["outcome"][inside] == "error").mean(), inside.sum()
    assert abs(share - 0.5) < 5 * 0.5 / np.sqrt(n)
    assert (frame["outcome"][~inside] == "ok").all()


def test_a_stall_builds_up_the_queue_and_serves_it_in_order_afterwards() -> None:
    """What is served when the database stands still is answered after the stall, and waits in its queue until then."""
    frame = both(faulty({"instance": "d1", "kind": "stall", **AT}))
    search = (frame["route"] == "search").to_numpy() & arriving(frame, 10.2, 14.5)
    ends_ms = (frame["arrival_ms"] + frame["latency_ms"])[search]
    assert (ends_ms >= 15_000).all()
    assert (frame["d1_queue_ms"][search] > 0).sum() >= search.sum() - 1


def test_a_deploy_makes_each_object_cold_exactly_once() -> None:
    """With constant times: every object that is used afterwards pays one cold start, however many requests it has."""
    base = SHORT.with_(
        **{
            "system.durable_objects.evict_idle_ms": 1e9,
            "system.durable_objects.cold_start_ms": 777.0,
            "system.durable_objects.shards": 16,
        }
    )
    plain, frame = (
        run(base).frame,
        both(faulty({"instance": "durable_objects", "kind": "deploy", "at_s": 20}, base=base)),
    )
    later = frame["route"].isin(["log", "balance", "device_log"]).to_numpy() & arriving(frame, 21, 40)
    started = frame["durable_objects_ms"] - plain["durable_objects_ms"]
    place = frame["key"] % 16
    first_use = ~place[arriving(frame, 20.5, 40) & frame["route"].isin(["log", "balance", "device_log"])].duplicated()
    cold = np.isclose(started, 777.0)
    assert 0 < cold[later].sum() <= first_use.sum()
    assert not cold[arriving(frame, 0, 19)].any()
    whole = cold[arriving(frame, 19.5, 40)].sum()
    assert whole == place[cold].nunique(), "no object starts twice"


def test_a_share_of_instances_and_keys_narrow_it() -> None:
    """Others are as if nothing had happened."""
    base = SHORT.with_(**{"system.durable_objects.shards": 10, "system.client.retries": 0})
    fault = {"instance": "durable_objects", "kind": "outage", **AT}
    for narrowed, keys in (({"share_of_instances": 0.2}, (0, 1)), ({"share_of_instances": 0.01}, (0,))):
        frame = both(faulty({**fault, **narrowed}, base=base))
        failed = frame["outcome"] == "error"
        assert set(frame["key"][failed] % 10) == set(keys)
    frame = both(faulty({**fault, "keys": [3, 1]}, base=base))
    assert set(frame["key"][frame["outcome"] == "error"]) <= {1, 3}
    assert (frame["outcome"] == "error").any()


def test_a_component_names_all_its_instances() -> None:
    """Two databases of the component d1: a fault of d1 is one of d1 if there is such an instance, else of all."""
    base = load_scenario("launch").with_(
        **{
            "workload.duration_s": 40,
            "workload.warm_up_s": 0,
            "system.left": {"like": "d1"},
            "system.right": {"like": "d1"},
            "routes.search.steps": ["left.read", "right.read"],
        }
    )
    assert [one.name for one in faulty({"instance": "d1", "kind": "outage", **AT}, base=base).injected] == ["d1"]


def test_a_region_fails_as_one() -> None:
    """What fails together has the same windows, scheduled or random; the first one's are those that it has alone."""
    alone = {"instance": "d1", "kind": "outage", "mean_between_s": 5, "mean_length_s": 2}
    region = {**alone, "together_with": ["r2", "durable_objects"]}
    base = SHORT.vary("system.client.retries", 0)
    windows = [settled(one.windows, 7) for one in faulty(region, base=base).injected]
    assert len(windows) == 3
    assert windows[0] == windows[1] == windows[2] == settled(faulty(alone, base=base).injected[0].windows, 7)
    frame = both(faulty({**region, "mean_between_s": None, "mean_length_s": None, **AT}, base=base))
    inside = arriving(frame, 10.1, 14.9) & (frame["route"] != "page").to_numpy()
    assert (frame["outcome"][inside] == "error").all()
    assert inside.sum() > 100
    apart = [{**alone, "instance": name} for name in ("d1", "r2")]
    assert len({settled(one.windows, 7) for one in faulty(*apart, base=base).injected}) == 2


@pytest.mark.parametrize(
    ("step_s", "rings_s"), [(20.0, 50.0), (-20.0, 90.0), (500.0, 40.0), (-500.0, 570.0), (35.0, 40.0)]
)
def test_a_clock_that_is_put_on_or_back_moves_the_alarm(step_s: float, rings_s: float) -> None:
    """Set at 10 s for 70 s; at 40 s the clock moves. The flush holds the object for 1 s, which reads a second meet."""
    changes: dict[str, Any] = {
        "system.ledger.flush_interval_s": 60.0, "system.ledger.flush_row_us": 1e6, "system.ledger.policy": "hardened",
        "workload.duration_s": 1_000,
    }  # fmt: skip
    base = KNOWN_TIMES.with_(**changes)
    clock = {"instance": "ledger", "kind": "clock", "at_s": 40, "step_s": step_s}
    routes = {"log": {"share": 0.5, "steps": ["ledger.append"]}, "read": {"share": 0.5, "steps": ["ledger.balance"]}}
    scenario = base.with_(routes=routes).vary("faults", [clock])
    arrival_ms = np.sort([10_000.0, *(np.arange(700) * 1_000.0 + 500.0)])
    code = (arrival_ms != 10_000.0).astype(np.int16)
    planned = at(arrival_ms, routes=("log", "read"), route_code=code)
    one, other = (engine.simulate(deployment(scenario), planned, seed=1) for engine in (simpy_engine, compiled_engine))
    assert_equal(one, other)
    met = np.flatnonzero(one.latency_ms > 50)
    assert met.size == 1
    # The read that comes half a second after the flush began waits for the rest of it.
    assert one.arrival_ms[met[0]] / 1_000 == pytest.approx(rings_s + 0.5, abs=0.2)


def test_repeated_and_random_windows() -> None:
    """Each seed has random windows of its own, the same in both engines; repeated ones come until the run ends."""
    repeated = faulty({"instance": "d1", "kind": "outage", "at_s": 5, "duration_s": 2, "every_s": 10})
    starts_ms = [start_ms for start_ms, _ in repeated.injected[0].windows.spans]
    assert starts_ms == [5000, 15000, 25000, 35000]
    random = faulty({"instance": "network", "kind": "outage", "mean_between_s": 5, "mean_length_s": 2})
    both(random)
    spans = {
        part.spans for seed in (1, 2) for part in walk(settled(deployment(random), seed)) if isinstance(part, Windows)
    }
    assert len(spans) == 2
    assert all(0 < start < end <= 40_000 for some in spans for start, end in some)


def test_random_windows_have_their_means() -> None:
    """Long enough a process: exponential with the means asked for, within five standard errors."""
    spans = np.array(drawn(Renewal("x.y", 10.0, 2.0, until_ms=60_000.0), seed=5))
    gaps = spans[1:, 0] - spans[:-1, 1]
    lengths = (spans[:, 1] - spans[:, 0])[:-1]
    for values, mean in ((gaps, 10.0), (lengths, 2.0)):
        assert abs(values.mean() - mean) < 5 * mean / np.sqrt(len(values))
        assert abs(values.std() / mean - 1) < 0.15
    with pytest.raises(ModelError, match=f"more than {SPANS_MAX} windows"):
        drawn(Renewal("x.y", 1e-3, 1e-3, until_ms=1e9), seed=5)


# ------------------------------------------------------------ the pace of a time


@pytest.mark.parametrize(
    ("start", "work", "expected"),
    [(0.0, 5.0, 5.0), (8.0, 4.0, 16.0), (12.0, 0.0, 8.0), (20.0, 5.0, 7.0), (9.0, 10.0, 22.0), (40.0, 3.0, 3.0)],
)
def test_a_stall_and_a_slow_window_overlap(start: float, work: float, expected: float) -> None:
    """Still from 10 to 20, at half speed from 15 to 24: each value by hand, and both engines take it."""
    paces = [(10.0, 20.0, 0.0), (15.0, 24.0, 0.5)]
    # From 9: 1 until 10, stands until 20, 2 until 24, 7 more: ends at 31, hence 22.
    assert paced_ms(start, work, paces=paces) == expected
    parts = tuple(Pace(Windows(((a, b),)), speed) for a, b, speed in paces)
    flow = (Delay(Time(Constant(value=work), paces=parts), "a.b"),)
    for engine in (simpy_engine, compiled_engine):
        assert engine.simulate(flow, at([start]), seed=1).latency_ms[0] == expected
