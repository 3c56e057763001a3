"""Smart placement: a Worker that runs near what it calls, and not where its requests come in.

Goal: the network's times move from the calls to the way there, and nothing else does; so with enough calls in a row it
wins, from the number on that the closed form says. Method: constant times, drawn by Hypothesis; random ones beside
their means; both engines.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sim.judgement.cost import usage_per_month
from sim.scenario.scenario import Scenario, load_scenario
from sim.screening.approximation import screen
from tests.support.routes import KNOWN_TIMES, of_steps, refusal
from tests.support.shown import at_rate, played

CLIENT_MS, FAR_MS, NEAR_MS = 20.0, 80.0, 2.0
BASE = KNOWN_TIMES.with_(**{"system.network.client_rtt_ms": CLIENT_MS, "system.d1.rtt_ms": FAR_MS})
WORK_MS, READ_MS = 2.0, 5.0
"""As in ``KNOWN_TIMES``."""


def smart(scenario: Scenario, *, way: Any = FAR_MS, near: Any = NEAR_MS, **others: Any) -> Scenario:
    """The scenario with its Worker near the database *d1*, to which requests travel on for *way*."""
    table = {"placement": "smart", "placement_rtt_ms": way, "calls_rtt_ms": {"d1": near, **others}}
    return scenario.with_(**{f"system.workers.{key}": value for key, value in table.items()})


def calling(times: int, scenario: Scenario = BASE) -> Scenario:
    """A Worker that asks the database so often, one query after the other."""
    return of_steps("workers.compute", {"use": "d1.read", "times": times}, scenario=scenario)


def median_ms(scenario: Scenario, requests: int = 20) -> float:
    """The median latency; nobody waits."""
    frame = played(scenario.with_(**at_rate(0.1, requests, kind="constant")), requests).frame
    return float(frame["latency_ms"].median())


@pytest.mark.parametrize("times", [1, 2, 5])
def test_the_way_is_paid_once_and_each_call_is_near(times: int) -> None:
    alone_ms = CLIENT_MS + WORK_MS + times * READ_MS
    assert median_ms(calling(times)) == pytest.approx(alone_ms + times * FAR_MS)
    assert median_ms(smart(calling(times))) == pytest.approx(alone_ms + FAR_MS + times * NEAR_MS)


@given(times=st.integers(1, 12), far_ms=st.floats(1, 200), near_ms=st.floats(0, 20), way_ms=st.floats(1, 300))
def test_it_wins_from_the_number_of_calls_on_that_the_closed_form_says(
    times: int, far_ms: float, near_ms: float, way_ms: float
) -> None:
    """From more than F / (D - d) calls on: a call takes D before and d after, and the way F."""
    gain_ms = times * (far_ms - near_ms) - way_ms
    assume(abs(gain_ms) > 1e-6)
    scenario = calling(times).with_(**{"system.d1.rtt_ms": far_ms})
    found_ms = median_ms(scenario) - median_ms(smart(scenario, way=way_ms, near=near_ms))
    assert found_ms == pytest.approx(gain_ms, abs=1e-6)
    assert (found_ms > 0) == (times > way_ms / (far_ms - near_ms) if far_ms > near_ms else False)


def test_calls_at_once_win_nothing() -> None:
    """Five queries at once take one round trip anyway; the way is one more, though shorter queries wait less."""
    at_once = of_steps("workers.compute", {"use": "d1.read", "times": 5, "parallel": True}, scenario=BASE)
    assert median_ms(smart(at_once)) - median_ms(at_once) == pytest.approx(NEAR_MS)


def test_what_is_not_named_keeps_its_distance_and_what_is_may_become_farther() -> None:
    scenario = of_steps("workers.compute", "d1.read", "durable_objects.read", scenario=BASE)
    here = scenario.with_(**{"system.durable_objects.rtt_ms": 6.0})
    objects_far = smart(here, durable_objects=90.0)
    assert median_ms(objects_far) - median_ms(smart(here)) == pytest.approx(84.0)
    assert here.system.durable_objects.rtt_ms == smart(here).system.durable_objects.rtt_ms


def test_only_the_network_s_times_change() -> None:
    """The way is the entry's time; queues, queries and draws are those of before, request by request."""
    random = {
        "system.d1.read_ms": {"distribution": "exponential", "mean": 3.0},
        "system.network.client_rtt_ms": {"distribution": "lognormal", "median": 18.0, "p99": 76.0},
        **at_rate(0.5, 3_000, kind="constant"),
    }
    scenario = calling(2).with_(**random)
    near, far = (played(one, 3_000).frame for one in (smart(scenario), scenario))
    assert (near["network_ms"] - far["network_ms"]).to_numpy() == pytest.approx(FAR_MS)
    assert (far["d1_ms"] - near["d1_ms"]).to_numpy() == pytest.approx(2 * (FAR_MS - NEAR_MS))
    for column in ("workers_ms", "worker_cpu_ms"):
        np.testing.assert_allclose(near[column], far[column], rtol=0, atol=1e-9)


def test_random_ways_have_their_mean_and_the_approximation_knows_it() -> None:
    way = {"distribution": "exponential", "mean": FAR_MS}
    scenario = smart(calling(3), way=way).with_(**at_rate(20.0, 20_000))
    found = played(scenario, 20_000).frame["network_ms"]
    assert abs(found.mean() - CLIENT_MS - FAR_MS) < 4 * FAR_MS / len(found) ** 0.5
    constant = smart(calling(3)).with_(**at_rate(20.0, 20_000))
    assert screen(scenario).latency_ms_mean == pytest.approx(screen(constant).latency_ms_mean)


def test_the_bill_is_the_same() -> None:
    assert usage_per_month(smart(calling(3)), 1e6) == usage_per_month(calling(3), 1e6)


def test_a_slow_network_slows_the_way_too() -> None:
    fault = {"instance": "network", "kind": "slow", "at_s": 0.0, "duration_s": 1e4, "factor": 2.0}
    slow = smart(calling(1)).with_(**at_rate(0.1, 20, kind="constant")).with_(faults=[{**fault, "duration_s": 150.0}])
    frame = played(slow, 20).frame
    assert frame["network_ms"].iloc[0] == pytest.approx(2 * (CLIENT_MS + FAR_MS))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"placement": "smart"}, "needs placement_rtt_ms and calls_rtt_ms"),
        ({"placement": "smart", "placement_rtt_ms": 80}, "needs placement_rtt_ms and calls_rtt_ms"),
        ({"placement_rtt_ms": 80}, 'has placement_rtt_ms, needs placement="smart"'),
        ({"calls_rtt_ms": {"d1": 2}}, 'has calls_rtt_ms, needs placement="smart"'),
        ({"placement": "clever"}, 'placement="clever"'),
        (
            {"placement": "smart", "placement_rtt_ms": 80, "calls_rtt_ms": {"d2": 2}},
            "system.workers.calls_rtt_ms.d2 must name an instance that has rtt_ms; did you mean d1?",
        ),
        (
            {"placement": "smart", "placement_rtt_ms": 80, "calls_rtt_ms": {"r2": 2}},
            "system.workers.calls_rtt_ms.r2 must name an instance that has rtt_ms",
        ),
        ({"placement": "smart", "placement_rtt_ms": 80, "calls_rtt_ms": {"d1": -2}}, "calls_rtt_ms.d1"),
    ],
)
def test_wrong_placements_are_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    launch = load_scenario("launch")
    found = refusal({f"system.workers.{key}": value for key, value in changes.items()}, scenario=launch)
    assert len(found) == 1
    assert message in found[0]
    assert "scenarios/README.md" in found[0]


def test_an_instance_has_one_distance() -> None:
    """Two Workers may both be near the database, but not at different distances."""
    table = {"placement": "smart", "placement_rtt_ms": 80.0, "calls_rtt_ms": {"d1": NEAR_MS}}
    assert refusal({f"system.auth.{key}": value for key, value in table.items()}, scenario=smart(BASE)) == []
    table["calls_rtt_ms"] = {"d1": 3.0}
    found = refusal({f"system.auth.{key}": value for key, value in table.items()}, scenario=smart(BASE))
    assert len(found) == 1
    assert "d1 has one distance" in found[0]
