"""Common random numbers.

Goal: a difference covers the truth with far fewer requests. Method: M/M/1 queues whose differences are known in closed
form.
"""

from collections.abc import Callable, Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

from sim.experiments.paired import PairedDifference, paired_difference
from sim.foundation.errors import UsageError
from sim.statistics.quantiles import quantile
from sim.theory import lindley

Array = NDArray[np.float64]


def sojourns(seed: int, load: float, n: int = 20_000) -> Array:
    """M/M/1 with the same random numbers for every load: arrivals and services scale the same draws. Warm-up cut."""
    rng = np.random.default_rng(seed)
    gaps, services = rng.exponential(1, n), rng.exponential(1, n)
    return (lindley(np.cumsum(gaps / load), services) + services)[2000:]


def means(load: float, seeds: Iterable[int]) -> Array:
    """Mean sojourn of each run."""
    return np.array([sojourns(seed, load).mean() for seed in seeds])


def test_difference_of_means_is_found_and_sharpened() -> None:
    """Load 0.80 against 0.82: 1/0.18 - 1/0.20 = 0.556 ms, with at least ten times less variance than apart."""
    found = paired_difference(means(0.80, range(100)), means(0.82, range(100)))
    assert found.estimate.holds(1 / 0.18 - 1 / 0.20)
    assert found.estimate.half_width < 0.1
    assert found.variance_ratio > 10


def test_difference_of_p99_is_found_and_sharpened() -> None:
    """The same for the tail: ln 100 times the difference of the means."""
    before, after = ([quantile(sojourns(seed, load), 0.99) for seed in range(200)] for load in (0.70, 0.72))
    found = paired_difference(before, after)
    assert found.estimate.holds(np.log(100) * (1 / 0.28 - 1 / 0.30))
    assert found.variance_ratio > 5


def test_pairs_of_different_seeds_gain_nothing() -> None:
    """Without common random numbers the ratio is about one."""
    found = paired_difference(means(0.8, range(100)), means(0.82, range(500, 600)))
    assert 0.5 < found.variance_ratio < 2


def test_equal_systems_do_not_differ() -> None:
    """The same runs twice: a difference of nothing, for certain."""
    found: PairedDifference = paired_difference([1.0, 2.0, 5.0], [1.0, 2.0, 5.0])
    assert (found.estimate.low, found.estimate.high) == (0, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: paired_difference([1.0], [1.0]), "1 and 1 runs must be equally many on both sides, and at least 2"),
        (lambda: paired_difference([1.0] * 2, [1.0] * 3), "2 and 3 runs"),
        (lambda: paired_difference([1.0] * 2, [1.0, np.inf]), "1 of 2 are not finite"),
    ],
    ids=["one", "sides", "finite"],
)
def test_bad_input_names_the_value_and_the_way_out(call: Callable[[], object], message: str) -> None:
    """The error is one line that names the caller's mistake."""
    with pytest.raises(UsageError, match=message):
        call()
