"""Goal: capacity from a ramp, with intervals that hold it, and a refusal where the ramp ends too early.

Method: ramps drawn from known laws with noise; a simulated queue driven into saturation.
"""

import numpy as np
import pytest

from sim import load_scenario, run
from sim.experiments.calibration.ramp import ramp_of
from sim.experiments.calibration.scalability import fit_scalability, law, peak
from sim.foundation.errors import UsageError

LOADS = np.array([1, 2, 4, 8, 12, 16, 24, 32, 48, 64], dtype=np.float64)
TRUE = {"gamma": 100.0, "alpha": 0.05, "beta": 0.001}


def noisy(seed: int, loads: np.ndarray = LOADS) -> np.ndarray:
    return law(loads, **TRUE) * (1 + np.random.default_rng(seed).normal(0, 0.02, len(loads)))


def test_a_known_law_is_recovered_with_its_peak() -> None:
    found = fit_scalability(LOADS.tolist(), noisy(1).tolist(), rng=1)
    load, per_s = peak(**TRUE)
    assert found.peak_per_s.value == pytest.approx(per_s, rel=0.05)
    assert found.peak_load.low <= load <= found.peak_load.high
    assert np.abs(found.residual_per_s / found.throughput_per_s).max() < 0.1
    assert found.at(np.array([8.0])) == pytest.approx(law(np.array([8.0]), **TRUE), rel=0.05)


@pytest.mark.slow
def test_the_interval_of_the_peak_holds_it_as_often_as_it_says() -> None:
    per_s = peak(**TRUE)[1]
    runs, held = 200, 0
    for seed in range(runs):
        found = fit_scalability(LOADS.tolist(), noisy(seed).tolist(), rng=seed)
        held += found.peak_per_s.low <= per_s <= found.peak_per_s.high
    # Ten loads and three parameters: a residual bootstrap covers a little less than 95 %.
    assert 0.87 <= held / runs <= 0.99


def test_a_ramp_that_ends_before_the_knee_is_refused_with_how_far_to_go() -> None:
    loads = np.array([1, 1.5, 2, 2.5, 3, 4, 5])
    with pytest.raises(UsageError) as refused:
        fit_scalability(loads.tolist(), (100 * loads).tolist(), rng=1)
    said = "ramp: at load 5 throughput is still 100% of linear, so it has not met its limit"
    assert str(refused.value) == f"{said} (extend the ramp beyond load 10)"


@pytest.mark.parametrize(
    ("loads", "per_s", "said"),
    [
        ([1, 2, 3], [1, 2, 3], "ramp: 3 loads cannot identify the scalability law, must be >= 6 different"),
        ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 0], "ramp: loads and throughputs must be > 0 and finite"),
    ],
)
def test_what_is_no_ramp_is_refused(loads: list[float], per_s: list[float], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        fit_scalability(loads, per_s, rng=1)
    assert str(refused.value) == said


def test_the_capacity_of_a_simulated_queue_follows_from_its_ramp() -> None:
    arrivals = {"kind": "ramp", "rate_per_s": 100, "to_rate_per_s": 900}
    scenario = load_scenario("shapes/ramp").with_(
        **{
            "workload.arrivals": arrivals,
            "workload.duration_s": 120,
            "workload.warm_up_s": 0,
            "system.d1.queue_limit": 100_000,
        }
    )
    scenario = scenario.with_(**{"system.d1.read_ms": 2.0, "system.client.timeout_ms": 600_000}).with_shares(search=1)
    found = fit_scalability(*ramp_of([run(scenario, rng=1)]), rng=1)
    # One query of 2 ms at a time: 500 a second.
    assert found.peak_per_s.low <= 500 * 1.05
    assert found.peak_per_s.high >= 500 * 0.95
    assert found.peak_per_s.value == pytest.approx(500, rel=0.15)
