"""Common random numbers and control variates.

Goal: a difference and a corrected mean cover the truth with far fewer requests. Method: M/M/1 queues whose
differences are known in closed form.
"""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from sim.errors import UsageError
from sim.experiments.paired import controlled_mean, paired_difference
from sim.theory import MMc, lindley

Array = NDArray[np.float64]


def sojourns(seed: int, load: float, n: int = 20_000) -> Array:
    """M/M/1 with the same luck for every load: arrivals and services scale the same draws. Warm-up cut."""
    rng = np.random.default_rng(seed)
    gaps, services = rng.exponential(1, n), rng.exponential(1, n)
    return (lindley(np.cumsum(gaps / load), services) + services)[2000:]


def test_difference_of_means_is_found_and_sharpened() -> None:
    """Load 0.80 against 0.82: 1/0.18 - 1/0.20 = 0.556 ms, with at least ten times less variance than apart."""
    seeds = range(100)
    found = paired_difference([sojourns(s, 0.80) for s in seeds], [sojourns(s, 0.82) for s in seeds])
    assert found.estimate.holds(1 / 0.18 - 1 / 0.20)
    assert found.estimate.half_width < 0.1
    assert found.variance_ratio > 10


def test_difference_of_p99_is_found_and_sharpened() -> None:
    """The same for the tail: ln 100 times the difference of the means."""
    seeds = range(200)
    found = paired_difference([sojourns(s, 0.70) for s in seeds], [sojourns(s, 0.72) for s in seeds], statistic="p99")
    assert found.estimate.holds(np.log(100) * (1 / 0.28 - 1 / 0.30))
    assert found.variance_ratio > 5


def test_pairs_of_different_seeds_gain_nothing() -> None:
    """Without common luck the ratio is about one."""
    found = paired_difference([sojourns(s, 0.8) for s in range(100)], [sojourns(s, 0.82) for s in range(500, 600)])
    assert 0.5 < found.variance_ratio < 2


def test_equal_systems_do_not_differ() -> None:
    """The same runs twice: a difference of nothing, for certain."""
    runs = [sojourns(s, 0.8) for s in range(5)]
    found = paired_difference(runs, runs)
    assert (found.estimate.low, found.estimate.high) == (0, 0)


def test_control_variate_sharpens_and_still_covers() -> None:
    """Mean sojourn at load 0.5, steered by the run's mean service (1) and gap (2): 200 experiments of 50 runs."""
    truth, held, ratios = MMc(500, 1.0).sojourn_mean_ms, [], []
    for experiment in range(200):
        rng = np.random.default_rng(experiment)
        gaps, services = rng.exponential(2, (50, 2000)), rng.exponential(1, (50, 2000))
        means = [(lindley(np.cumsum(g), s) + s)[200:].mean() for g, s in zip(gaps, services, strict=True)]
        companions = np.column_stack([services.mean(axis=1), gaps.mean(axis=1)])
        found = controlled_mean(means, companions, known=[1, 2])
        held.append(found.estimate.holds(truth))
        ratios.append(found.variance_ratio)
    assert 0.91 <= np.mean(held) <= 0.985
    assert np.median(ratios) > 1.5


def test_companion_that_says_all_leaves_no_luck() -> None:
    """A measure that is twice its companion plus one is known exactly."""
    companion = np.random.default_rng(3).normal(5, 1, 30)
    found = controlled_mean(2 * companion + 1, companion, known=5)
    assert found.estimate.value == pytest.approx(11)
    assert found.estimate.half_width == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: paired_difference([[1.0]], [[1.0]]), "1 and 1 runs must be as many on both sides, and at least 2"),
        (lambda: paired_difference([[1.0]] * 2, [[1.0]] * 3), "2 and 3 runs"),
        (lambda: paired_difference([[1.0]] * 2, [[1.0]] * 2, statistic="max"), "statistic='max' must be"),
        (lambda: controlled_mean([1.0, 2.0], [1.0], known=0), "must have one row for each of the 2 values"),
        (lambda: controlled_mean([1.0, 2.0], [1.0, 2.0], known=0), "2 runs must be at least 3 for 1 companions"),
    ],
    ids=["one", "sides", "statistic", "rows", "freedom"],
)
def test_bad_input_names_the_value_and_the_way_out(call: Callable[[], object], message: str) -> None:
    """The caller's fault is told in one line."""
    with pytest.raises(UsageError, match=message):
        call()
