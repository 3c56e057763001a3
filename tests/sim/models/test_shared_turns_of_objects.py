"""Goal: an object's shared turns and collections take the times that arithmetic says, on both engines.

Method: one object with constant times beside the recursion of turns, and requests so far apart that none waits.
"""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sim import capacity, load_scenario, play
from sim.experiments.calibration.turns import Order, turns
from sim.experiments.long_runs import Stretch
from sim.experiments.search import Search
from sim.foundation.errors import ScenarioError
from sim.scenario.scenario import Scenario
from tests.evidence.runtime_runs import SCENARIO
from tests.support import schedules

ENGINES = ("simpy", "compiled")


def one_object(**times: Any) -> Scenario:
    """One object, and nothing else that takes time."""
    changes = {f"system.durable_objects.{name}": value for name, value in times.items()}
    alone = {"system.ledger.write_ms": 0.5, "system.network.client_rtt_ms": 0.0, "system.ledger.flush_interval_s": 1e6}
    return load_scenario(SCENARIO).with_(**alone, **changes)


def without_ledger(**times: float) -> Scenario:
    """One object that is written to directly, so that nothing is ever flushed."""
    return one_object(**times).vary("routes.append.steps", ["durable_objects.write"])


def latencies_ms(scenario: Scenario, sent_ms: list[float], engine: str) -> NDArray[np.float64]:
    """Play appends at these times."""
    planned = schedules.at(sent_ms, routes=("append",))
    return np.asarray(play(scenario, planned, on=engine, seed=1).frame["latency_ms"], dtype=np.float64)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0.001, 3.0), min_size=1, max_size=40), st.floats(0, 1))
def test_an_object_serves_in_turns(gaps_ms: list[float], share: float) -> None:
    sent_ms = np.cumsum(gaps_ms).tolist()
    scenario = one_object(coalesced_ms=0.5 * share)
    expected = turns(np.array(sent_ms), lone_ms=0.5, further_ms=0.5 * share)
    for engine in ENGINES:
        assert latencies_ms(scenario, sent_ms, engine) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.floats(0.001, 0.9), min_size=1, max_size=40),
    st.sampled_from([None, 1, 2, 3, 7]),
    st.booleans(),
    st.sampled_from([0.0, 0.3, 1.0]),
)
def test_a_turn_takes_some_and_leaves_others(
    gaps_ms: list[float], most: int | None, newest_first: bool, intake_ratio: float
) -> None:
    """A turn with a largest size, in either order, after an intake; engines beside the recursion."""
    sent_ms = np.cumsum(gaps_ms).tolist()
    order: dict[str, Any] = {"turn_order": "newest" if newest_first else "oldest", "intake_ms": 0.31 * intake_ratio}
    if most is not None:
        order["turn_requests_max"] = most
    scenario = one_object(coalesced_ms=0.31, **order)
    chosen = Order(newest_first, most, intake_ratio)
    expected = turns(np.array(sent_ms), lone_ms=0.5, further_ms=0.31, order=chosen)
    for engine in ENGINES:
        assert latencies_ms(scenario, sent_ms, engine) == pytest.approx(expected, abs=1e-9)


def test_the_newest_share_a_turn_by_hand() -> None:
    """Four wait when the first is done at 0.5; taking in three takes 0.3, in which a fifth comes, and that 0.1."""
    scenario = one_object(coalesced_ms=0.2, turn_requests_max=2, turn_order="newest", intake_ms=0.1)
    sent_ms = [0.0, 0.1, 0.2, 0.3, 0.4, 0.6]
    for engine in ENGINES:
        answered_ms = latencies_ms(scenario, sent_ms, engine) + np.array(sent_ms)
        assert answered_ms == pytest.approx([0.5, 2.6, 2.1, 2.1, 1.5, 1.5])


@pytest.mark.parametrize(
    ("given_alone", "rule"),
    [
        ({"turn_requests_max": 5}, "turn_requests_max must be given with system.durable_objects.coalesced_ms"),
        ({"turn_order": "newest"}, "turn_order must be given with system.durable_objects.coalesced_ms"),
        ({"coalesced_ms": 0.1, "intake_ms": 0.2}, "intake_ms=0.2 must be <= coalesced_ms=0.1, of which it is a part"),
    ],
)
def test_an_order_without_turns_is_refused(given_alone: dict[str, Any], rule: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(rule)):
        latencies_ms(one_object(**given_alone), [0.0], "simpy")


@pytest.mark.parametrize("engine", ENGINES)
def test_garbage_is_collected_after_so_many_requests(engine: str) -> None:
    scenario = one_object(collection_every_requests=3, collection_ms=20.0)
    found = latencies_ms(scenario, [100.0 * number for number in range(7)], engine)
    assert found == pytest.approx([0.5, 0.5, 20.5, 0.5, 0.5, 20.5, 0.5])


def test_the_capacity_of_shared_turns_is_where_the_recursion_breaks_the_target() -> None:
    """A turn of 20 ms and 10 ms more for each further request, P50 of 50 ms; without turns 50/s would saturate it."""
    found = capacity(without_ledger(coalesced_ms=10.0, write_ms=20.0), seeds=2)
    gaps_ms = np.random.default_rng(1).exponential(1000.0, 400_000)

    def p50_ms(rate_per_s: float) -> float:
        return float(np.median(turns(np.cumsum(gaps_ms / rate_per_s), lone_ms=20.0, further_ms=10.0)))

    assert p50_ms(0.97 * found.estimate.value) < 50 < p50_ms(1.03 * found.estimate.value)
    assert found.bound_per_s == pytest.approx(100, rel=1e-3)
    assert found.limited_by == ("api_latency_ms p50",)
    assert found.bottleneck == "durable_objects"


def test_an_object_that_is_never_free_is_not_overloaded_before_its_bound() -> None:
    """At 0.95 of 1 / f it is busy all the time; P99 is far beyond, so no target may end the search before it."""
    search = Search(without_ledger(coalesced_ms=0.1, write_ms=0.5), 1, engine="compiled")
    near, beyond = (search.probe(ratio * 10_000, Stretch(1.0, 4.0)) for ratio in (0.95, 1.05))
    assert near.utilization["durable_objects"] > 0.999
    assert not near.overloaded
    assert beyond.overloaded


@pytest.mark.parametrize("given_alone", [{"collection_every_requests": 5}, {"collection_ms": 20.0}])
def test_half_of_a_collection_is_refused(given_alone: dict[str, float]) -> None:
    with pytest.raises(ScenarioError, match="collection_ms must be given together"):
        latencies_ms(one_object(**given_alone), [0.0], "simpy")
