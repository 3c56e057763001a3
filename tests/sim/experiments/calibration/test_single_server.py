"""Goal: service and delay of one server are told apart in latencies alone, or the run is refused.

Method: latencies of queues whose service and delay are known, at loads from nearly idle to busy.
"""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from sim.experiments.calibration.single_server import lognormal_service, phased_service, tell_apart, waits
from sim.foundation.errors import UsageError

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Array]

MEAN_MS = 0.4
SERVICES: dict[str, tuple[Draw, float]] = {
    "constant": (lambda _, n: np.full(n, MEAN_MS), 0.0),
    "lognormal": (lambda rng, n: np.asarray(lognormal_service(MEAN_MS, 0.3).sample(rng.random((1, n)))), 0.3),
    "exponential": (lambda rng, n: rng.exponential(MEAN_MS, n), 1.0),
}
DELAYS: dict[str, Draw] = {
    "exponential": lambda rng, n: rng.exponential(0.5, n),
    "a floor with a tail": lambda rng, n: 0.3 + rng.lognormal(-1.6, 1.0, n),
}


def played(service: Draw, delay: Draw, *, utilization: float, n: int, seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    gap_ms, service_ms = rng.exponential(MEAN_MS / utilization, n - 1), service(rng, n)
    sent_ms = np.concatenate([[0.0], np.cumsum(gap_ms)])
    return sent_ms, waits(gap_ms, service_ms) + service_ms + delay(rng, n)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("delay", DELAYS)
def test_service_is_told_from_delay_at_a_quarter_of_capacity(service: str, delay: str) -> None:
    draw, cv2 = SERVICES[service]
    found = tell_apart(*played(draw, DELAYS[delay], utilization=0.25, n=12_000, seed=3), rng=1)
    assert found.service_mean_ms.value == pytest.approx(MEAN_MS, rel=0.15)
    assert found.service_mean_ms.low <= MEAN_MS <= found.service_mean_ms.high
    assert found.service_cv2.value == pytest.approx(cv2, abs=0.4)
    assert found.utilization == pytest.approx(0.25, rel=0.2)
    true_ms = DELAYS[delay](np.random.default_rng(9), 100_000)
    assert found.delay.distribution.expected() == pytest.approx(true_ms.mean(), rel=0.15)


@pytest.mark.nightly
@pytest.mark.parametrize("service", ["constant", "lognormal"])
def test_intervals_hold_the_service_as_often_as_they_say(service: str) -> None:
    _covers(service, runs=200)


@pytest.mark.slow
def test_intervals_hold_the_service_in_a_few_runs() -> None:
    _covers("lognormal", runs=30)


def _covers(service: str, *, runs: int) -> None:
    held = 0
    for seed in range(runs):
        run = played(SERVICES[service][0], DELAYS["exponential"], utilization=0.25, n=4_000, seed=seed)
        found = tell_apart(*run, rng=seed)
        held += found.service_mean_ms.low <= MEAN_MS <= found.service_mean_ms.high
    assert held / runs >= 0.9


def test_one_in_many_stalls_does_not_move_the_service() -> None:
    sent_ms, latency_ms = played(SERVICES["constant"][0], DELAYS["exponential"], utilization=0.25, n=12_000, seed=4)
    stalled = np.random.default_rng(1).random(len(latency_ms)) < 0.003
    found = tell_apart(sent_ms, np.where(stalled, latency_ms + 40, latency_ms), rng=1)
    assert found.service_mean_ms.value == pytest.approx(MEAN_MS, rel=0.15)


@pytest.mark.parametrize(
    ("utilization", "n", "said"),
    [
        (0.25, 3, "run: 3 requests cannot tell service from delay, must be >= 500"),
        (0.7, 5_000, "run: service time and queueing are confounded at utilization 0.7 (play it at 6"),
        (0.002, 600, "run: service time and delay are confounded at 5 requests/s"),
    ],
)
def test_a_run_that_does_not_tell_is_refused_with_one_that_would(utilization: float, n: int, said: str) -> None:
    run = played(SERVICES["constant"][0], DELAYS["exponential"], utilization=utilization, n=n, seed=2)
    with pytest.raises(UsageError) as refused:
        tell_apart(*run, rng=1)
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


def test_service_laws_have_the_moments_that_they_are_made_from() -> None:
    u = (np.arange(200_000) + 0.5) / 200_000
    for family in (lognormal_service, phased_service):
        for cv2 in (0.25, 0.5, 1.0, 3.0):
            values = family(2.0, cv2).quantile(u)
            assert values.mean() == pytest.approx(2.0, rel=0.01)
            assert values.var() == pytest.approx(4 * cv2, rel=0.05)
