"""Distributions and tapes: what is sampled has the moments and quantiles that its name promises.

Goal: a distribution is the one of the literature, and no tape moves another. Method: large samples against closed
forms, within four standard errors.
"""

import numpy as np
import pytest

from reference_impl.d1.settings import D1Settings
from reference_impl.timing.distributions import read_distribution
from reference_impl.timing.tape import Tape
from tests.support.world import settings

MEANS = [
    (3, 3.0),
    ({"distribution": "constant", "value": 4}, 4.0),
    ({"distribution": "uniform", "low": 2, "high": 6}, 4.0),
    ({"distribution": "exponential", "mean": 5}, 5.0),
    ({"distribution": "lognormal", "median": 10, "p99": 40}, 10 * np.exp(0.5 * (np.log(4) / 2.3263479) ** 2)),
    ({"distribution": "weibull", "mean": 5, "shape": 0.7}, 5.0),
    ({"distribution": "pareto", "minimum": 1, "shape": 1, "maximum": 100}, np.log(100) / 0.99),
    ({"distribution": "erlang", "mean": 6, "stages": 3}, 6.0),
    ({"distribution": "hyperexponential", "mean": 5, "cv2": 4}, 5.0),
    ({"distribution": "empirical", "values": [0, 1, 5]}, (0.5 + 3) / 2),
]


@pytest.mark.parametrize(("spec", "mean"), MEANS)
def test_a_distribution_has_its_mean(spec: object, mean: float) -> None:
    n = 200_000
    drawn = read_distribution(spec, "x").sample(np.random.default_rng(1), n)
    assert drawn.shape == (n,)
    assert abs(drawn.mean() - mean) <= 4 * drawn.std() / np.sqrt(n) + 1e-12


def test_the_hyperexponential_has_its_variation() -> None:
    drawn = read_distribution({"distribution": "hyperexponential", "mean": 5, "cv2": 4}, "x").sample(
        np.random.default_rng(1), 400_000
    )
    assert drawn.var() / drawn.mean() ** 2 == pytest.approx(4, rel=0.05)


def test_the_lognormal_has_its_two_quantiles() -> None:
    drawn = read_distribution({"distribution": "lognormal", "median": 10, "p99": 40}, "x").sample(
        np.random.default_rng(1), 400_000
    )
    assert np.quantile(drawn, [0.5, 0.99]) == pytest.approx([10, 40], rel=0.02)


def test_one_seed_gives_one_tape_and_a_changed_distribution_moves_no_other() -> None:
    def draws(**d1: object) -> list[float]:
        read = settings(D1Settings.read, {"read_ms": exponential, **d1}, seed=5)
        return [read.read_ms.draw() for _ in range(300)]

    exponential = {"distribution": "exponential", "mean": 1}
    assert draws() == draws() == draws(write_ms=7)
    assert len(set(draws())) == 300


def test_a_tape_never_ends() -> None:
    tape = Tape(read_distribution(1.5, "x"), np.random.default_rng(0))
    assert {tape.draw() for _ in range(1_000)} == {1.5}
