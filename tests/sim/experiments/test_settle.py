"""A scenario, simulated until its latency is known well enough.

Goal: the precision asked for is reached and the truth is held; what cannot be made longer is refused. Method: one
queue with a closed form, the whole launch deployment, both engines.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from sim.errors import UsageError
from sim.experiments.stopping import Precision, settle
from sim.scenario.scenario import Scenario, load_scenario
from sim.theory import MMc

NOTHING = {"law": "constant", "value": 0.0}
LAUNCH = load_scenario("launch")


def one_queue(**changes: Any) -> Scenario:
    """Searches only, and of a search only the time in D1's queue and thread: M/M/1 at 60 %."""
    return LAUNCH.with_(
        **{
            "workload.duration_s": 60,
            "workload.warm_up_s": 0,
            "workload.arrivals.rate_per_s": 120.0,
            "system.network.client_rtt_ms": NOTHING,
            "system.workers.cpu_ms": NOTHING,
            "system.workers.cold_fraction": 0.0,
            "system.d1.rtt_ms": NOTHING,
            "system.d1.read_ms": {"law": "exponential", "mean": 5.0},
            **changes,
        }
    ).with_shares(search=1.0)


@pytest.mark.parametrize("until", ["p99 ± 5 %", "mean ± 2 %"])
def test_precision_is_reached_and_the_truth_held(until: str) -> None:
    """The whole of the queue is known: mean 12.5 ms, P99 12.5 ln 100."""
    found = settle(one_queue(), until)
    exact = MMc(120, 5.0)
    assert found.reached
    assert Precision.parse(until).shortfall(found.estimate) <= 1
    assert found.estimate.holds(exact.sojourn_mean_ms if "mean" in until else exact.sojourn_quantile_ms(0.99))


def test_scenarios_own_warm_up_is_cut_first() -> None:
    """A minute in which objects wake: without it the P99 is that of cold starts."""
    found = settle(LAUNCH, "p50 ± 2 %", replications=4)
    assert found.reached
    assert found.estimate.n <= 4 * (found.requests + 200)


def test_failures_count_as_infinitely_slow() -> None:
    """Room for one: a third is refused, so the P50 is finite and the P99 is not; a mean has no meaning."""
    tight = one_queue(**{"system.d1.queue_limit": 1, "system.client.retries": 0})
    assert np.isfinite(settle(tight, "p50 ± 5 %", replications=4).estimate.value)
    p99 = settle(tight, "p99 ± 5 %", replications=4, requests_max=20_000)
    assert not p99.reached
    assert np.isinf(p99.estimate.value)
    with pytest.raises(UsageError, match="are not finite"):
        settle(tight, "mean ± 5 %", replications=4)


def test_same_answer_whoever_works_and_on_either_engine() -> None:
    """One thread, three, and the SimPy engine on processes of its own."""
    short: dict[str, Any] = {"replications": 2, "requests_max": 4_000}
    expected = settle(one_queue(), "p50 ± 1 %", **short)
    with ThreadPoolExecutor(1) as one:
        assert settle(one_queue(), "p50 ± 1 %", executor=one, **short) == expected
    assert settle(one_queue(), "p50 ± 1 %", engine="simpy", **short) == expected


@pytest.mark.parametrize("name", ["shapes/ramp", "shapes/closed", "shapes/trace", "shapes/spike"])
def test_what_a_longer_run_would_change_is_refused(name: str) -> None:
    scenario = load_scenario(name)
    kind = scenario.workload.arrivals.kind
    with pytest.raises(UsageError, match=f"needs arrivals that look alike at any time, not kind={kind}"):
        settle(scenario, "p99 ± 5 %")
