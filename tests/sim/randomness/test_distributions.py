"""Goal: each distribution has the mean, the quantiles and the shape that its parameters promise.

Method: large fixed samples, inverse pairs.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from scipy import stats

from sim.foundation.errors import ModelError
from sim.randomness import distributions as d
from sim.randomness.distributions import AnyDistribution, Distribution, Lognormal
from sim.randomness.streams import stream_key, uniforms

ADAPTER: TypeAdapter[AnyDistribution] = TypeAdapter(Distribution)
DISTRIBUTIONS: list[dict[str, Any]] = [
    {"distribution": "constant", "value": 3.0},
    {"distribution": "uniform", "low": 1.0, "high": 5.0},
    {"distribution": "exponential", "mean": 2.0},
    {"distribution": "lognormal", "median": 10.0, "p99": 50.0},
    {"distribution": "weibull", "mean": 4.0, "shape": 0.7},
    {"distribution": "pareto", "minimum": 1.0, "shape": 1.5, "maximum": 1000.0},
    {"distribution": "pareto", "minimum": 1.0, "shape": 1.0, "maximum": 100.0},
    {"distribution": "erlang", "mean": 6.0, "stages": 4},
    {"distribution": "hyperexponential", "mean": 3.0, "cv2": 5.0},
    {"distribution": "empirical", "values": [0.0, 1.0, 1.5, 8.0]},
]
N = 400_000


def _sample(distribution: AnyDistribution, seed: int = 1) -> np.ndarray[Any, Any]:
    return distribution.sample(
        np.stack(
            [uniforms(stream_key(seed, "distribution"), np.arange(N), draw=draw) for draw in range(distribution.draws)]
        )
    )


@pytest.mark.parametrize("table", DISTRIBUTIONS, ids=str)
def test_the_sample_mean_is_the_promised_mean(table: dict[str, Any]) -> None:
    """Within five standard errors on 400,000 values."""
    distribution = ADAPTER.validate_python(table)
    values = _sample(distribution)
    assert abs(values.mean() - distribution.expected()) <= 5 * values.std() / np.sqrt(N) + 1e-12


@pytest.mark.parametrize("table", DISTRIBUTIONS, ids=str)
def test_the_share_below_a_quantile_is_its_level(table: dict[str, Any]) -> None:
    """The inverse of the inverse, for distributions that are continuous."""
    distribution = ADAPTER.validate_python(table)
    levels = np.array([0.01, 0.5, 0.9, 0.99])
    below = [(_sample(distribution) <= q).mean() for q in distribution.quantile(levels)]
    if table["distribution"] == "constant":
        assert below == [1.0] * 4
    else:
        assert np.abs(below - levels).max() < 5 * 0.5 / np.sqrt(N)


@pytest.mark.parametrize("table", DISTRIBUTIONS, ids=str)
def test_a_law_survives_the_way_through_its_table(table: dict[str, Any]) -> None:
    """What a scenario file holds is what the distribution dumps."""
    distribution = ADAPTER.validate_python(table)
    assert ADAPTER.validate_python(distribution.model_dump()) == distribution


def test_lognormal_hits_its_p99_exactly() -> None:
    """The two numbers that define the distribution are its own quantiles."""
    distribution = Lognormal(median=10.0, p99=50.0)
    assert distribution.quantile(np.array([0.5, 0.99])) == pytest.approx([10.0, 50.0], rel=1e-12)


def test_hyperexponential_has_the_promised_variation() -> None:
    """Squared coefficient of variation 5, within 5 %: the fourth moment makes this slow to converge."""
    values = _sample(ADAPTER.validate_python({"distribution": "hyperexponential", "mean": 3.0, "cv2": 5.0}))
    assert values.var() / values.mean() ** 2 == pytest.approx(5.0, rel=0.05)


def test_erlang_matches_scipys_gamma() -> None:
    """A sum of exponentials against an independent implementation of the same distribution."""
    values = _sample(ADAPTER.validate_python({"distribution": "erlang", "mean": 6.0, "stages": 4}))
    assert stats.kstest(values[:20_000], stats.gamma(4, scale=1.5).cdf).pvalue > 0.01


@pytest.mark.parametrize(
    "table",
    [
        {"distribution": "exponential", "mean": -1.0},
        {"distribution": "exponential", "mean": float("nan")},
        {"distribution": "exponential", "mean": float("inf")},
        {"distribution": "constant", "value": -0.1},
        {"distribution": "uniform", "low": 5.0, "high": 1.0},
        {"distribution": "lognormal", "median": 10.0, "p99": 9.0},
        {"distribution": "pareto", "minimum": 5.0, "shape": 1.0, "maximum": 5.0},
        {"distribution": "erlang", "mean": 1.0, "stages": 0},
        {"distribution": "hyperexponential", "mean": 1.0, "cv2": 0.5},
        {"distribution": "empirical", "values": [3.0, 1.0]},
        {"distribution": "empirical", "values": [3.0]},
        {"distribution": "exponential", "mean": 1.0, "sigma": 2.0},
        {"distribution": "normal", "mean": 1.0},
        {"distribution": "constant", "value": 1e16},
        {"distribution": "lognormal", "median": 1.0, "p99": 1e300},
        {"distribution": "weibull", "mean": 1.0, "shape": 1e-3},
        {"distribution": "pareto", "minimum": 1.0, "shape": 1e-20, "maximum": 2.0},
        {"distribution": "hyperexponential", "mean": 1.0, "cv2": 1e40},
    ],
    ids=str,
)
def test_impossible_parameters_are_refused(table: dict[str, Any]) -> None:
    """Negative, infinite, unordered, unknown, or beyond all bounds: no distribution is made."""
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(table)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: d.Constant(value=-1.0), "Constant.value=-1.0 must be >= 0"),
        (lambda: d.Constant(value=float("nan")), "Constant.value=nan must be a finite number"),
        (lambda: d.Constant(value=1e300), "Constant reaches 1e+300, must stay <= 1e+15"),
        (lambda: d.Exponential(mean=0.0), "Exponential.mean=0.0 must be > 0"),
        (lambda: d.Empirical(values=(3.0, 1.0)), "Empirical: values must rise: 1 follows 3"),
        (lambda: d.Erlang(mean=1.0), "Erlang.stages is missing"),  # type: ignore[call-arg]  # the point
    ],
    ids=lambda given: given if isinstance(given, str) else "distribution",
)
def test_a_law_written_in_python_is_refused_in_one_line(build: Callable[[], Any], message: str) -> None:
    """Not in pydantic's several lines, and as an error of ours."""
    with pytest.raises(ModelError) as raised:
        build()
    assert str(raised.value) == message
