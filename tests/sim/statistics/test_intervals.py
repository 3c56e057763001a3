"""Intervals of means and shares.

Goal: the interval is the textbook one where the textbook applies, and wider where requests are correlated or
skewed. Method: SciPy as oracle for independent data, processes of known variance for correlated data, and the share
of seeded runs whose interval holds the truth.
"""

from collections.abc import Callable
from math import inf, isinf

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.signal import lfilter

from sim.foundation.errors import UsageError
from sim.statistics.intervals import (
    Estimate,
    batch_starts,
    mean_interval,
    proportion_interval,
    replicated_mean_interval,
    requests_to_settle,
    share_interval,
)

Array = NDArray[np.float64]


def autoregressive(seed: int, n: int, phi: float) -> Array:
    """X_i = phi X_(i-1) + e_i, stationary with mean 0: correlation phi^k at lag k."""
    noise = np.random.default_rng(seed).normal(size=n)
    noise[0] /= np.sqrt(1 - phi**2)
    return np.asarray(lfilter([1], [1, -phi], noise))


def covered(make: Callable[[int], Estimate], truth: float, runs: int) -> float:
    return float(np.mean([make(seed).holds(truth) for seed in range(runs)]))


def test_independent_symmetric_values_give_students_interval() -> None:
    """Values mirrored around 7 have no skew: SciPy's one-sample t interval is the answer."""
    half = np.random.default_rng(1).normal(size=50)
    values = 7 + np.concatenate([half, -half])
    oracle = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    got = mean_interval(values, method="independent")
    assert (got.low, got.high) == pytest.approx((oracle.low, oracle.high), rel=1e-9)


def test_skewed_values_bend_the_interval_towards_the_long_tail() -> None:
    """The mean of exponential values is more often under- than overestimated, so the interval reaches further up."""
    got = mean_interval(np.random.default_rng(2).exponential(1, 200), method="independent")
    assert got.high - got.value > 1.05 * (got.value - got.low)


def test_skewed_small_samples_are_covered_better_than_by_plain_t() -> None:
    """Thirty lognormal values, 2,000 times: SciPy's plain t interval misses far more often than ours."""
    truth = float(np.exp(0.5))
    samples = [np.random.default_rng(seed).lognormal(0, 1, 30) for seed in range(2000)]
    ours = [mean_interval(x, method="independent").holds(truth) for x in samples]
    plain = [stats.ttest_1samp(x, 0).confidence_interval(0.95) for x in samples]
    assert sum(ours) > sum(ci.low <= truth <= ci.high for ci in plain) + 40


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_batches_cover_the_mean_of_a_correlated_run(phi: float) -> None:
    """400 autoregressive runs of 20,000: between 92.5 and 98 % of the intervals hold the mean."""
    assert 0.925 <= covered(lambda seed: mean_interval(autoregressive(seed, 20_000, phi)), 0.0, 400) <= 0.98


def test_treating_a_correlated_run_as_independent_would_miss() -> None:
    """The check has teeth: the same runs under the wrong assumption cover the mean less than half of the time (H61)."""
    runs = covered(lambda s: mean_interval(autoregressive(s, 20_000, 0.9), method="independent"), 0.0, 200)
    assert runs < 0.5


def test_replications_of_unequal_length_weigh_by_length() -> None:
    """A run of 3,000 counts three times a run of 1,000."""
    got = replicated_mean_interval([np.zeros(3000), np.ones(1000)])
    assert got.value == pytest.approx(0.25)


def test_replications_cover_the_mean_of_correlated_runs() -> None:
    """Ten short runs, each correlated within: the variance between runs is all that is needed."""
    share = covered(
        lambda s: replicated_mean_interval([autoregressive(100 * s + k, 500, 0.9) for k in range(10)]), 0.0, 400
    )
    assert 0.925 <= share <= 0.98


@pytest.mark.parametrize(("n", "count"), [(1, 1), (19, 1), (20, 2), (105, 10), (200, 20), (10**7, 20)])
def test_short_runs_get_fewer_batches_of_nearly_equal_length(n: int, count: int) -> None:
    """Lengths differ by one at most, and none is below ten unless the run is."""
    sizes = np.diff(batch_starts(n), append=n)
    assert sizes.size == count
    assert sizes.max() - sizes.min() <= 1


def test_one_batch_bounds_nothing() -> None:
    """Nineteen values in order could all belong to one busy period."""
    assert isinf(mean_interval(np.arange(19.0)).half_width)


def test_identical_values_have_an_interval_of_no_length() -> None:
    """A constant service time has a certain mean."""
    assert mean_interval(np.full(500, 2.5)).half_width == 0


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (1, 30), (9999, 10_000), (50, 50), (417, 1000)])
def test_proportion_interval_is_clopper_and_pearsons(successes: int, n: int) -> None:
    """SciPy's exact binomial test is the oracle."""
    oracle = stats.binomtest(successes, n).proportion_ci(0.95, method="exact")
    got = proportion_interval(successes, n)
    assert (got.low, got.high) == pytest.approx((oracle.low, oracle.high), rel=1e-9)


def test_one_outage_says_less_about_uptime_than_failures_here_and_there() -> None:
    """Forty failures in a row, or one in every 500 requests: the same ratio, not the same knowledge."""
    outage, scattered = np.ones(20_000, bool), np.ones(20_000, bool)
    outage[7000:7040], scattered[::500] = False, False
    assert share_interval(outage).half_width > 2 * share_interval(scattered).half_width


def test_shares_of_clustered_failures_are_covered() -> None:
    """Requests fail in runs of 25; the interval must still hold the true 0.98 in at least 93 % of 400 runs."""

    def flags(seed: int) -> Estimate:
        return share_interval(np.repeat(np.random.default_rng(seed).random(4000) < 0.98, 25))

    assert covered(flags, 0.98, 400) >= 0.93


def test_line_outside_the_interval_is_settled_already() -> None:
    """No further request is asked for."""
    assert requests_to_settle(Estimate(100, 90, 110, 1000, "t"), 200) == 1000


def test_line_half_way_inside_the_interval_needs_four_times_the_requests() -> None:
    """The square-root law: half the width costs four times the requests."""
    assert requests_to_settle(Estimate(100, 90, 110, 1000, "t"), 105) == 4000


def test_the_side_towards_the_line_counts() -> None:
    """A long upper reach matters only for a line above."""
    lopsided = Estimate(100, 95, 140, 1000, "t")
    assert requests_to_settle(lopsided, 97.5) == 4000
    assert requests_to_settle(lopsided, 120) == 4000


def test_value_on_the_line_is_never_settled() -> None:
    """No number of requests distinguishes equal from nearly equal."""
    assert requests_to_settle(Estimate(100, 90, 110, 1000, "t"), 100) is None


def test_unbounded_side_asks_for_more_before_it_can_tell() -> None:
    """An infinite bound cannot be scaled: double the run first."""
    assert requests_to_settle(Estimate(100, 90, inf, 1000, "t"), 120) == 2000


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval([]), "must hold at least one number"),
        (lambda: mean_interval([1.0, inf]), "1 of 2 are not finite"),
        (lambda: mean_interval([1.0], level=95), "level=95 must be in"),
        (lambda: mean_interval([1.0], batches=1), "batches=1 must be >= 2"),
        (lambda: proportion_interval(5, 4), "successes=5, n=4 must satisfy"),
        (lambda: share_interval([]), "must hold at least one trial"),
        (lambda: replicated_mean_interval([[1.0]]), "1 replications must be >= 2"),
    ],
)
def test_bad_input_names_the_value_and_the_way_out(call: Callable[[], Estimate], message: str) -> None:
    """The error is one line that names the caller's mistake."""
    with pytest.raises(UsageError, match=message):
        call()
