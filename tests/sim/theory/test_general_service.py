"""M/G/1, first come first served and processor sharing.

Goal: mean waits for every distribution of a scenario, waiting-time percentiles for those with a transform,
insensitivity of processor sharing. Method: moments by numerical integration, the exponential case against M/M/1, the
fixed case against M/D/1, Lindley's recursion on simulated requests, and a processor-sharing queue simulated event by
event.
"""

from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from sim.foundation.errors import UsageError
from sim.randomness.distributions import (
    AnyDistribution,
    Constant,
    Distribution,
    Erlang,
    Exponential,
    Hyperexponential,
    Lognormal,
    Uniform,
)
from sim.theory import MD1, MG1, MMc, lindley, squared_variation, wait_quantile_ms, wait_tail

DISTRIBUTIONS: list[dict[str, Any]] = [
    {"distribution": "constant", "value": 3},
    {"distribution": "uniform", "low": 1, "high": 7},
    {"distribution": "exponential", "mean": 3},
    {"distribution": "lognormal", "median": 2, "p99": 12},
    {"distribution": "weibull", "mean": 3, "shape": 1.7},
    {"distribution": "pareto", "minimum": 1, "shape": 2, "maximum": 50},
    {"distribution": "pareto", "minimum": 1, "shape": 1.3, "maximum": 50},
    {"distribution": "erlang", "mean": 3, "stages": 4},
    {"distribution": "hyperexponential", "mean": 3, "cv2": 5},
    {"distribution": "empirical", "values": [0, 1, 1, 4, 20]},
]


def distribution(spec: dict[str, Any]) -> AnyDistribution:
    adapter: TypeAdapter[AnyDistribution] = TypeAdapter(Distribution)
    return adapter.validate_python(spec)


@pytest.mark.parametrize("spec", DISTRIBUTIONS, ids=str)
def test_squared_variation_is_that_of_the_quantile_function(spec: dict[str, Any]) -> None:
    """Mean and mean square as integrals over the uniform number, by Gauss and Legendre's rule on pieces."""
    one = distribution(spec)

    nodes, weights = np.polynomial.legendre.leggauss(200)
    edges = np.concatenate([np.linspace(0, 0.75, 13), 1 - 10.0 ** -np.arange(1, 14)])
    left, right = edges[:-1, None], edges[1:, None]
    u = ((left + right) + (right - left) * nodes) / 2
    value, weight = one.quantile(u.ravel()), (weights * (right - left) / 2).ravel()
    mean, square = weight @ value, weight @ value**2
    assert squared_variation(one) == pytest.approx(square / mean**2 - 1, abs=1e-5)


def test_exponential_service_is_mm1_and_fixed_service_half_of_it() -> None:
    """The two cases that everybody knows by heart."""
    mm1 = MMc(8, 100).wait_mean_ms
    assert MG1.of(8, Exponential(mean=100)).wait_mean_ms == pytest.approx(mm1)
    assert MG1.of(8, Constant(value=100)).wait_mean_ms == pytest.approx(mm1 / 2)
    assert MD1(8, 100).wait_mean_ms == pytest.approx(mm1 / 2)


@pytest.mark.parametrize(
    ("one", "rate_per_s"),
    [(Lognormal(median=60, p99=300), 8.0), (Uniform(low=20, high=180), 8.0), (Hyperexponential(mean=100, cv2=4), 7.0)],
    ids=["lognormal", "uniform", "hyperexponential"],
)
def test_mean_wait_agrees_with_simulated_requests(one: AnyDistribution, rate_per_s: float) -> None:
    """Four million requests by Lindley's recursion: within 3 %, some three standard errors."""
    rng = np.random.default_rng(23)
    n = 4_000_000
    service = one.sample(rng.random((one.draws, n)))
    waits = lindley(np.cumsum(rng.exponential(1000 / rate_per_s, n)), service)
    assert waits.mean() == pytest.approx(MG1.of(rate_per_s, one).wait_mean_ms, rel=0.03)


@pytest.mark.parametrize("utilization", [0.2, 0.8, 0.95, 0.99])
def test_percentile_for_exponential_service_is_that_of_mm1(utilization: float) -> None:
    """A closed form against the numerical inversion of a transform, to seven digits."""
    got = wait_quantile_ms(10 * utilization, Exponential(mean=100), probability=0.99)
    assert got == pytest.approx(MMc(10 * utilization, 100).wait_quantile_ms(0.99), rel=1e-7)


def test_percentile_for_fixed_service_is_that_of_md1() -> None:
    """The hardest case for the inversion: a distribution with kinks. Far out, where it is smooth, six digits remain."""
    got = wait_quantile_ms(9, Constant(value=100), probability=0.999)
    assert got == pytest.approx(MD1(9, 100).wait_quantile_ms(0.999), rel=1e-6)


@pytest.mark.parametrize(
    "one",
    [Erlang(mean=100, stages=3), Hyperexponential(mean=100, cv2=4), Uniform(low=0, high=200)],
    ids=["erlang", "hyperexponential", "uniform"],
)
def test_wait_distribution_agrees_with_simulated_requests(one: AnyDistribution) -> None:
    """Load 0.7: the share that waits longer than one and three mean services, four million requests, within 2 %."""
    rng = np.random.default_rng(29)
    n = 4_000_000
    service = one.sample(rng.random((one.draws, n)))
    waits = lindley(np.cumsum(rng.exponential(1000 / 7, n)), service)
    for t in (100.0, 300.0):
        assert wait_tail(7, one, wait_ms=t) == pytest.approx(np.mean(waits > t), rel=0.02)


def test_more_even_service_waits_less() -> None:
    """Same mean, same load: percentiles order as fixed < Erlang < exponential < hyperexponential."""
    distributions: list[AnyDistribution] = [
        Constant(value=100),
        Erlang(mean=100, stages=3),
        Exponential(mean=100),
        Hyperexponential(mean=100, cv2=3),
    ]
    waits = [wait_quantile_ms(8, one, probability=0.99) for one in distributions]
    assert waits == sorted(waits)


def shared_sojourns(arrival: list[float], work: list[float]) -> list[float]:
    """Processor sharing, event by event: every request inside gets an equal part of the server."""
    left: dict[int, float] = {}
    now, sojourn, i = 0.0, [0.0] * len(arrival), 0
    while i < len(arrival) or left:
        soonest = min(left, key=left.__getitem__) if left else None
        leaves = now + left[soonest] * len(left) if soonest is not None else np.inf
        comes = arrival[i] if i < len(arrival) else np.inf
        step = min(leaves, comes)
        done = (step - now) / max(len(left), 1)
        left = {k: rest - done for k, rest in left.items()}
        now = step
        if comes <= leaves:
            left[i], i = work[i], i + 1
        elif soonest is not None:
            sojourn[soonest] = now - arrival[soonest]
            del left[soonest]
    return sojourn


@pytest.mark.parametrize("cv2", [0.0, 1.0, 4.0])
def test_processor_sharing_depends_on_the_mean_alone(cv2: float) -> None:
    """Fixed, exponential and hyperexponential work at load 0.6: mean sojourn 250 ms each, within 5 %."""
    rng = np.random.default_rng(31)
    n = 60_000
    one: AnyDistribution = Constant(value=100) if cv2 == 0 else Hyperexponential(mean=100, cv2=cv2)
    work = one.sample(rng.random((one.draws, n)))
    arrival = np.cumsum(rng.exponential(1000 / 6, n))
    mean = np.mean(shared_sojourns(arrival.tolist(), work.tolist()))
    queue = MG1.of(6, one)
    assert queue.shared_sojourn_mean_ms == pytest.approx(250)
    assert mean == pytest.approx(queue.shared_sojourn_mean_ms, rel=0.05)


def test_distribution_without_transform_is_named() -> None:
    """A lognormal transform has no closed form; the message lists the distributions that do."""
    with pytest.raises(UsageError, match="distribution='lognormal' has no closed transform; constant, uniform"):
        wait_quantile_ms(100, Lognormal(median=1, p99=2), probability=0.99)
