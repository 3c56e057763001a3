"""Goal: the two engines give the same path to every request, and both keep the laws that any run must keep.

Method: Hypothesis builds Flows and schedules; what one engine records is compared with what the other does. The number
of examples comes from HYPOTHESIS_PROFILE: dev (the default), ci or nightly.
"""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim import flow as f
from sim.engines import compiled_engine, simpy_engine
from sim.engines.recording import Recording
from sim.workload import Schedule
from tests.flows import any_flow, any_schedule

EXAMPLES = {"dev": 50, "ci": 500, "nightly": 10_000}[os.environ.get("HYPOTHESIS_PROFILE", "dev")]

many = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


def assert_equal(one: Recording, other: Recording) -> None:
    """Bit for bit, which is more than the promised 1e-9: a tie that falls otherwise soon makes a large difference."""
    np.testing.assert_array_equal(one.latency_ms, other.latency_ms, "latency")
    np.testing.assert_array_equal(one.outcome, other.outcome, "outcome")
    np.testing.assert_array_equal(one.attempts, other.attempts, "attempts")
    np.testing.assert_array_equal(one.arrival_ms, other.arrival_ms, "arrival")
    assert list(one.accounts) == list(other.accounts)
    for name in one.accounts:
        np.testing.assert_array_equal(one.accounts[name], other.accounts[name], name)
    assert (one.end_ms, one.horizon_ms) == (other.end_ms, other.horizon_ms)
    assert one.spawned_failures == other.spawned_failures
    for use, twin in zip(one.stations, other.stations, strict=True):
        for name, value in vars(twin).items():
            assert getattr(use, name) == (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value)


@many
@given(flow=any_flow(), schedule=any_schedule(), seed=st.integers(0, 1000))
def test_both_engines_give_the_same_path(flow: f.Flow, schedule: Schedule, seed: int) -> None:
    """Latency, outcome, attempts and accounts of every request, and the use of every station."""
    assert_equal(simpy_engine.simulate(flow, schedule, seed=seed), compiled_engine.simulate(flow, schedule, seed=seed))


@many
@given(flow=any_flow(), schedule=any_schedule(), seed=st.integers(0, 1000))
def test_accounts_add_up_to_the_latency(flow: f.Flow, schedule: Schedule, seed: int) -> None:
    """Whatever is nested in what: each millisecond is booked once. Little's law is asserted by the engine itself."""
    recording = compiled_engine.simulate(flow, schedule, seed=seed)
    booked = sum(recording.accounts.values(), np.zeros(len(schedule)))
    np.testing.assert_allclose(booked, recording.latency_ms, rtol=1e-9, atol=1e-9)
