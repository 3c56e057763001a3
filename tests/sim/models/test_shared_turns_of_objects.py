"""Goal: an object's shared turns and collections take the times that arithmetic says, on both engines.

Method: one object with constant times beside the recursion of turns, and requests so far apart that none waits.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sim import capacity, load_scenario, play
from sim.experiments.calibration.shared_turns import turns
from sim.foundation.errors import ScenarioError, UsageError
from sim.scenario.scenario import Scenario
from tests.evidence.fidelity_workerd import SCENARIO
from tests.support import schedules

ENGINES = ("simpy", "compiled")


def one_object(**times: float) -> Scenario:
    """One object, and nothing else that takes time."""
    changes = {f"system.durable_objects.{name}": value for name, value in times.items()}
    alone = {"system.ledger.write_ms": 0.5, "system.network.client_rtt_ms": 0.0, "system.ledger.flush_interval_s": 1e6}
    return load_scenario(SCENARIO).with_(**alone, **changes)


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


@pytest.mark.parametrize("engine", ENGINES)
def test_garbage_is_collected_after_so_many_requests(engine: str) -> None:
    scenario = one_object(collection_every_requests=3, collection_ms=20.0)
    found = latencies_ms(scenario, [100.0 * number for number in range(7)], engine)
    assert found == pytest.approx([0.5, 0.5, 20.5, 0.5, 0.5, 20.5, 0.5])


def test_a_capacity_that_arithmetic_cannot_bound_is_refused() -> None:
    with pytest.raises(UsageError, match=r"system\.durable_objects\.coalesced_ms must be absent for a capacity"):
        capacity(one_object(coalesced_ms=0.1))


@pytest.mark.parametrize("given_alone", [{"collection_every_requests": 5}, {"collection_ms": 20.0}])
def test_half_of_a_collection_is_refused(given_alone: dict[str, float]) -> None:
    with pytest.raises(ScenarioError, match="collection_ms must be given together"):
        latencies_ms(one_object(**given_alone), [0.0], "simpy")
