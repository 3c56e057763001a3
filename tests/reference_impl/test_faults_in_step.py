"""Faults of a scenario on the reference, in step with the simulation: the same requests fail, wait and slow down alike.

Goal: what a drill does to the model it does to the working reference, request by request, at the same times. Method:
the whole deployment under a virtual clock beside the SimPy engine; each kind of fault on components of different sorts.
What is left to chance (a share of errors) is compared by its share.
"""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from reference_impl.deployment_file import Specification
from reference_impl.errors import ConfigError
from sim.runners.play import play
from sim.runners.reference import deployment_tables
from sim.scenario.generation import schedule
from sim.scenario.scenario import Scenario, load_scenario
from tests.support.in_step import on_the_reference

NEAR_MS = 1e-6
NEVER = {"system.ledger.flush_interval_s": 1e6}
"""The reference's alarms ring at whole milliseconds, the model's do not."""

LAUNCH = load_scenario("launch").with_(**NEVER, **{"system.client.retries": 0, "api": ""})
"""Its routes step by step: the brief's API is code of its own, which only slowness, stalls and deploys reach."""
AT = {"at_s": 2, "duration_s": 3}

CASES: list[tuple[dict[str, Any], str]] = [
    ({"instance": "d1", "kind": "outage", **AT}, "error"),
    (
        {"instance": "d1", "kind": "outage", "error": "overloaded", "at_s": 1, "duration_s": 1, "every_s": 4},
        "overloaded",
    ),
    ({"instance": "network", "kind": "outage", **AT}, "error"),
    ({"instance": "durable_objects", "kind": "outage", "share_of_instances": 0.5, **AT}, "error"),
    ({"instance": "d1", "kind": "hang", **AT}, ""),
    ({"instance": "r2", "kind": "hang", **AT}, ""),
    ({"instance": "d1", "kind": "slow", "factor": 8, **AT}, ""),
    ({"instance": "workers", "kind": "slow", "factor": 3, **AT}, ""),
    ({"instance": "network", "kind": "slow", "factor": 20, **AT}, ""),
    ({"instance": "r2", "kind": "slow", "factor": 5, **AT}, ""),
    ({"instance": "d1", "kind": "stall", **AT}, ""),
    ({"instance": "durable_objects", "kind": "stall", **AT}, ""),
    ({"instance": "durable_objects", "kind": "deploy", "at_s": 2}, ""),
    ({"instance": "d1", "together_with": ["r2", "ledger"], "kind": "outage", **AT}, "error"),
    ({"instance": "d1", "kind": "outage", "mean_between_s": 2, "mean_length_s": 1}, "error"),
]


def both(scenario: Scenario, rate_per_s: float, requests: int, *, seed: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The frames of simulation and reference."""
    asked = scenario.with_(**{"workload.arrivals.rate_per_s": rate_per_s})
    planned = schedule(asked, seed).head(requests)
    measured = on_the_reference(asked, planned, seed=seed)
    return play(asked, planned, on="simpy", seed=seed).frame, measured


def assert_in_step(simulated: pd.DataFrame, measured: pd.DataFrame) -> None:
    """The same outcomes and latencies, whoever failed."""
    assert measured["outcome"].tolist() == simulated["outcome"].astype(str).tolist()
    assert np.allclose(measured["latency_ms"], simulated["latency_ms"], rtol=0, atol=NEAR_MS)


@pytest.mark.parametrize(
    ("fault", "outcome"), CASES, ids=[f"{n} {one['instance']} {one['kind']}" for n, (one, _) in enumerate(CASES)]
)
def test_a_fault_does_the_same_to_every_request(fault: dict[str, Any], outcome: str) -> None:
    simulated, measured = both(LAUNCH.vary("faults", [fault]), 57.9, 500)
    assert_in_step(simulated, measured)
    if outcome:
        assert (measured["outcome"] == outcome).any()
    plain, _ = both(LAUNCH, 57.9, 500)
    assert not np.allclose(plain["latency_ms"], simulated["latency_ms"]), "the fault has done something"


def test_a_share_of_errors_is_one_on_both_sides() -> None:
    """Each draws for itself; within five standard deviations."""
    fault = {"instance": "d1", "kind": "errors", "share": 0.4, "at_s": 0, "duration_s": 8}
    searches = LAUNCH.with_shares(search=1.0).vary("faults", [fault])
    simulated, measured = both(searches, 57.9, 400)
    shares = [(frame["outcome"] == "error").mean() for frame in (simulated, measured)]
    assert all(abs(share - 0.4) < 5 * np.sqrt(0.24 / 400) for share in shares)


def test_retries_meet_the_fault_again() -> None:
    """A step that is tried again fails until the window is over; the pauses are the same."""
    step = {"use": "d1.read", "retries": 3, "backoff_ms": 400}
    scenario = LAUNCH.with_(routes={"search": {"share": 1, "steps": ["workers.compute", step]}})
    simulated, measured = both(scenario.vary("faults", [{"instance": "d1", "kind": "outage", **AT}]), 57.9, 400)
    assert_in_step(simulated, measured)
    assert (measured["outcome"] == "error").any()


def test_without_a_schedule_there_are_no_faults() -> None:
    """A reference that is only served has no start that faults could be timed by."""
    scenario = LAUNCH.vary("faults", [{"instance": "d1", "kind": "outage", **AT}])
    assert Specification.read(deployment_tables(scenario, seed=1)).faults is None
    planned = schedule(scenario, 1)
    found = Specification.read(deployment_tables(scenario, seed=1, schedule=planned)).faults
    assert found is not None
    assert [(one.name, one.kind, list(one.spans)) for one in found.faults] == [("d1", "outage", [(2_000.0, 5_000.0)])]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "flood"}, "kind='flood' must be one of outage, hang"),
        ({"edges_ms": [1, 2, 3]}, "must be starts and ends by turns, not 3 numbers"),
        ({"edges_ms": "soon"}, "edges_ms must be a list of numbers"),
        ({"error": "sad"}, "error='sad' must be one of error"),
        ({"colour": 1}, "unknown key"),
    ],
)
def test_a_wrong_fault_in_the_file_is_one_line(changes: dict[str, Any], message: str) -> None:
    fault = {"instance": "d1", "kind": "outage", "edges_ms": [0, 1], **changes}
    content = {"system": {"d1": {}}, "routes": {}, "faults": {"due_ms": [0.0], "list": [fault]}}
    with pytest.raises(ConfigError, match=message) as refused:
        Specification.read(content)
    assert "\n" not in str(refused.value)
