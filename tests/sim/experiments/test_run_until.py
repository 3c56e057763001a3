"""A scenario, simulated until a statistic of it is known well enough.

Goal: the precision asked for is reached and the truth is held; any metric, any traffic, either engine. Method: one
queue with a closed form, the whole launch deployment, traffic that changes with time.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from sim import run_until
from sim.experiments.stopping import target_of
from sim.foundation.errors import UsageError
from sim.results.metrics import metric_values
from sim.runners.play import run
from sim.scenario.scenario import Scenario, load_scenario
from sim.theory import MMc

NOTHING = {"distribution": "constant", "value": 0.0}
LAUNCH = load_scenario("launch")


def one_queue(**changes: Any) -> Scenario:
    """Searches only, and of a search only the time in D1's queue and thread: M/M/1 at 60 %, ten seconds to settle."""
    return LAUNCH.with_shares(search=1.0).with_(
        **{
            "workload.duration_s": 60,
            "workload.warm_up_s": 10,
            "workload.arrivals.rate_per_s": 120.0,
            "system.network.client_rtt_ms": NOTHING,
            "system.workers.cpu_ms": NOTHING,
            "system.workers.cold_fraction": 0.0,
            "system.d1.rtt_ms": NOTHING,
            "system.d1.read_ms": {"distribution": "exponential", "mean": 5.0},
            **changes,
        }
    )


@pytest.mark.parametrize("until", ["p99 ± 5 %", "mean ± 2 %", "d1_query_ms p50 ± 0.5 ms"])
def test_precision_is_reached_and_the_truth_held(until: str) -> None:
    """The whole of the queue is known: sojourns are exponential, mean 12.5 ms."""
    found = run_until(one_queue(), until)
    exact = MMc(120, 5.0)
    truth = exact.sojourn_mean_ms if "mean" in until else exact.sojourn_quantile_ms(0.99 if "p99" in until else 0.5)
    assert found.reached
    assert found.precision.excess(found.estimate) <= 1
    assert found.estimate.holds(truth)


@pytest.mark.parametrize("name", ["launch", "shapes/ramp", "shapes/closed", "shapes/spike"])
def test_the_answer_is_that_of_a_run(name: str) -> None:
    """Also where traffic changes with time: the mean over runs of other seeds lies within a fifth of it."""
    found = run_until(name, "p50 ± 20 %", requests=3000)
    runs = [run(name, rng=seed, requests=3000).steady().frame for seed in (1, 2, 3)]
    medians = [float(np.median(metric_values(frame, "api_latency_ms", scenario=load_scenario(name)))) for frame in runs]
    assert found.reached
    assert found.estimate.value == pytest.approx(np.mean(medians), rel=0.2)
    assert found.requests == 3000


def test_failures_count_as_infinitely_slow() -> None:
    """Room for one: a third is refused, so the P50 is finite and the P99 is not; a mean has no meaning."""
    tight = one_queue(**{"system.d1.queue_limit": 1, "system.client.retries": 0})
    assert np.isfinite(run_until(tight, "p50 ± 5 %", replications=4).estimate.value)
    p99 = run_until(tight, "p99 ± 5 %", replications=4, requests_max=100_000)
    assert not p99.reached
    assert np.isinf(p99.estimate.value)
    with pytest.raises(UsageError, match="are not finite"):
        run_until(tight, "mean ± 5 %", replications=4)


def test_same_answer_on_every_executor_and_either_engine() -> None:
    """One thread, three, and the SimPy engine on processes of its own."""
    short: dict[str, Any] = {"replications": 2, "requests": 1000, "requests_max": 4_000}
    expected = run_until(one_queue(), "p50 ± 1 %", **short)
    with ThreadPoolExecutor(1) as one:
        assert run_until(one_queue(), "p50 ± 1 %", executor=one, **short) == expected
    assert run_until(one_queue(), "p50 ± 1 %", on="simpy", **short) == expected


def test_the_target_of_a_statistic_is_found() -> None:
    """The brief's P99 has one, its P90 has none."""
    p99, p90 = (run_until(LAUNCH, f"{name} ± 50 %", requests=500).precision for name in ("p99", "p90"))
    line = target_of(p99, LAUNCH)
    assert line is not None
    assert line.target == 200
    assert target_of(p90, LAUNCH) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"until": "p99 ± 5 %", "on": "reference"}, "on='reference' must be compiled or simpy with until="),
        ({"until": "p99 ± 5 %", "rng": -1}, "seed=-1 must be a whole number"),
        ({"until": "p99 ± 5 %", "requests": 0}, "requests=0 must be >= 1"),
        ({"until": "p99 ± 5 %", "requests_max": 10}, "requests_max=10 must be >= "),
        ({"until": "no_such_ms p99 ± 5 %"}, "metric='no_such_ms' must be one of"),
        ({"until": "r2_upload_mb_per_s p99 ± 5 %"}, "hardly any request has r2_upload_mb_per_s"),
    ],
    ids="reference seed requests budget metric unmet".split(),
)
def test_what_cannot_be_asked_is_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run_until(one_queue(), **options)
