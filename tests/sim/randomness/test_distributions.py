"""Goal: each law has the mean, the quantiles and the shape that its parameters promise.

Method: large fixed samples, inverse pairs.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from scipy import stats

from sim.errors import ModelError
from sim.randomness import distributions as d
from sim.randomness.distributions import AnyLaw, Law, Lognormal
from sim.randomness.streams import stream_key, uniforms

ADAPTER: TypeAdapter[AnyLaw] = TypeAdapter(Law)
LAWS: list[dict[str, Any]] = [
    {"law": "constant", "value": 3.0},
    {"law": "uniform", "low": 1.0, "high": 5.0},
    {"law": "exponential", "mean": 2.0},
    {"law": "lognormal", "median": 10.0, "p99": 50.0},
    {"law": "weibull", "mean": 4.0, "shape": 0.7},
    {"law": "pareto", "minimum": 1.0, "shape": 1.5, "maximum": 1000.0},
    {"law": "pareto", "minimum": 1.0, "shape": 1.0, "maximum": 100.0},
    {"law": "erlang", "mean": 6.0, "stages": 4},
    {"law": "hyperexponential", "mean": 3.0, "cv2": 5.0},
    {"law": "empirical", "values": [0.0, 1.0, 1.5, 8.0]},
]
N = 400_000


def _sample(law: AnyLaw, seed: int = 1) -> np.ndarray[Any, Any]:
    return law.sample(
        np.stack([uniforms(stream_key(seed, "law"), np.arange(N), draw=draw) for draw in range(law.draws)])
    )


@pytest.mark.parametrize("table", LAWS, ids=str)
def test_the_sample_mean_is_the_promised_mean(table: dict[str, Any]) -> None:
    """Within five standard errors on 400,000 values."""
    law = ADAPTER.validate_python(table)
    values = _sample(law)
    assert abs(values.mean() - law.expected()) <= 5 * values.std() / np.sqrt(N) + 1e-12


@pytest.mark.parametrize("table", LAWS, ids=str)
def test_the_share_below_a_quantile_is_its_level(table: dict[str, Any]) -> None:
    """The inverse of the inverse, for laws that are continuous."""
    law = ADAPTER.validate_python(table)
    levels = np.array([0.01, 0.5, 0.9, 0.99])
    below = [(_sample(law) <= q).mean() for q in law.quantile(levels)]
    if table["law"] == "constant":
        assert below == [1.0] * 4
    else:
        assert np.abs(below - levels).max() < 5 * 0.5 / np.sqrt(N)


@pytest.mark.parametrize("table", LAWS, ids=str)
def test_a_law_survives_the_way_through_its_table(table: dict[str, Any]) -> None:
    """What a scenario file holds is what the law dumps."""
    law = ADAPTER.validate_python(table)
    assert ADAPTER.validate_python(law.model_dump()) == law


def test_lognormal_hits_its_p99_exactly() -> None:
    """The two numbers that tell the law are its own quantiles."""
    law = Lognormal(median=10.0, p99=50.0)
    assert law.quantile(np.array([0.5, 0.99])) == pytest.approx([10.0, 50.0], rel=1e-12)


def test_hyperexponential_has_the_promised_variation() -> None:
    """Squared coefficient of variation 5, within 5 %: the fourth moment makes this slow to converge."""
    values = _sample(ADAPTER.validate_python({"law": "hyperexponential", "mean": 3.0, "cv2": 5.0}))
    assert values.var() / values.mean() ** 2 == pytest.approx(5.0, rel=0.05)


def test_erlang_matches_scipys_gamma() -> None:
    """A sum of exponentials against an independent implementation of the same law."""
    values = _sample(ADAPTER.validate_python({"law": "erlang", "mean": 6.0, "stages": 4}))
    assert stats.kstest(values[:20_000], stats.gamma(4, scale=1.5).cdf).pvalue > 0.01


@pytest.mark.parametrize(
    "table",
    [
        {"law": "exponential", "mean": -1.0},
        {"law": "exponential", "mean": float("nan")},
        {"law": "exponential", "mean": float("inf")},
        {"law": "constant", "value": -0.1},
        {"law": "uniform", "low": 5.0, "high": 1.0},
        {"law": "lognormal", "median": 10.0, "p99": 9.0},
        {"law": "pareto", "minimum": 5.0, "shape": 1.0, "maximum": 5.0},
        {"law": "erlang", "mean": 1.0, "stages": 0},
        {"law": "hyperexponential", "mean": 1.0, "cv2": 0.5},
        {"law": "empirical", "values": [3.0, 1.0]},
        {"law": "empirical", "values": [3.0]},
        {"law": "exponential", "mean": 1.0, "sigma": 2.0},
        {"law": "normal", "mean": 1.0},
        {"law": "constant", "value": 1e16},
        {"law": "lognormal", "median": 1.0, "p99": 1e300},
        {"law": "weibull", "mean": 1.0, "shape": 1e-3},
        {"law": "pareto", "minimum": 1.0, "shape": 1e-20, "maximum": 2.0},
        {"law": "hyperexponential", "mean": 1.0, "cv2": 1e40},
    ],
    ids=str,
)
def test_impossible_parameters_are_refused(table: dict[str, Any]) -> None:
    """Negative, infinite, unordered, unknown, or beyond all bounds: no law is made."""
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
    ids=lambda given: given if isinstance(given, str) else "law",
)
def test_a_law_written_in_python_is_refused_in_one_line(build: Callable[[], Any], message: str) -> None:
    """Not in pydantic's several lines, and as an error of ours."""
    with pytest.raises(ModelError) as raised:
        build()
    assert str(raised.value) == message
