"""Overloads as they happen: a spike whose retries keep it alive, a queue near its limit.

Goal: each shows as theory and practice say. Method: one route of `launch`, its other times zero, compiled.
"""

from typing import Any

import numpy as np
import pytest

from sim.runners.play import run
from sim.scenario.scenario import Scenario, load_scenario
from sim.theory import MMc

LAUNCH = load_scenario("launch")
SPIKE = {"kind": "spike", "rate_per_s": 50.0, "spike_rate_per_s": 400.0, "start_s": 10.0, "length_s": 5.0}


def storm(retries: int) -> Scenario:
    """Searches of 10 ms each, 50 a second; 400 a second for five seconds; clients that wait for 200 ms."""
    changes: dict[str, Any] = {
        "workload.duration_s": 120,
        "workload.warm_up_s": 0,
        "workload.arrivals": SPIKE,
        "system.network.client_rtt_ms": 0,
        "system.client.timeout_ms": 200,
        "system.client.retries": retries,
        "system.client.backoff_ms": 0,
        "system.workers.cpu_ms": 0.1,
        "system.workers.cold_fraction": 0,
        "system.d1.rtt_ms": 1,
        "system.d1.read_ms": 10,
        "system.d1.queue_limit": 100_000,
    }
    return LAUNCH.with_shares(search=1.0).with_(**changes)


def test_a_retry_storm_outlives_its_spike() -> None:
    """Four tries a request are 200 a second where 100 can be served: the queue never ends, long after the spike."""
    result = run(storm(3))
    late = result.frame[result.frame["arrival_ms"] > 60_000]
    assert (late["outcome"] == "ok").mean() < 0.05
    assert "d1" in result.unstable


def test_without_retries_the_same_spike_is_worked_off() -> None:
    frame = run(storm(0)).frame
    assert (frame[frame["arrival_ms"] > 60_000]["outcome"] == "ok").mean() > 0.95
    assert (frame[frame["arrival_ms"].between(11_000, 15_000)]["outcome"] == "ok").mean() < 0.5


def test_a_database_at_eighty_per_cent_is_an_mm1_queue() -> None:
    """Eighty searches a second of 10 ms: mean wait 40 ms, P99 of wait and service 230 ms."""
    scenario = storm(0).with_(
        **{
            "workload.arrivals": {"kind": "poisson", "rate_per_s": 80.0},
            "workload.duration_s": 20_000,
            "workload.warm_up_s": 100,
            "system.client.timeout_ms": 1_000_000,
            "system.workers.cpu_ms": 0,
            "system.d1.rtt_ms": 0,
            "system.d1.read_ms": {"distribution": "exponential", "mean": 10.0},
        }
    )
    result = run(scenario)
    exact = MMc(80, 10, 1)
    row = result.stations.set_index("station").loc["d1"]
    assert row["wait_mean_ms"] == pytest.approx(exact.wait_mean_ms, rel=0.08)
    assert exact.wait_mean_ms == pytest.approx(40)
    assert np.quantile(result.frame["latency_ms"], 0.99) == pytest.approx(-50 * np.log(0.01), rel=0.08)
    assert row["utilization_busiest"] == pytest.approx(row["utilization"], abs=1e-9)
