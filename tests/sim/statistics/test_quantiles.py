"""Percentiles and their intervals.

Goal: a percentile is an observed latency of the right rank, and its interval is the exact binomial one for
independent requests, wider for correlated ones, infinite where the run cannot bound it. Method: brute-force
definitions, SciPy's own tests as oracle, and processes whose correlation is known.
"""

from fractions import Fraction
from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sim.foundation.errors import UsageError
from sim.statistics.quantiles import (
    PART,
    UpperPart,
    pooled_quantile,
    quantile,
    quantile_interval,
    quantiles,
    replicated_quantile_interval,
    requests_to_settle,
    upper_part,
)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300), st.integers(1, 10_000))
def test_percentile_is_the_smallest_value_that_the_share_does_not_exceed(
    values: list[float], basis_points: int
) -> None:
    """Exact rational arithmetic over all candidates, however the product of n and the share rounds."""
    share = Fraction(basis_points, 10_000)
    expected = min(v for v in values if Fraction(sum(w <= v for w in values), len(values)) >= share)
    assert quantile(values, basis_points / 10_000) == expected


@given(st.lists(st.lists(st.floats(0, 1e6), min_size=1, max_size=60), min_size=1, max_size=6), st.floats(0.01, 0.999))
def test_percentile_of_several_samples_is_that_of_all_their_values(samples: list[list[float]], share: float) -> None:
    """From their upper parts alone, unless a sample has more beyond it than is kept."""
    pooled = quantile(np.concatenate(samples), share)
    parts = [upper_part(np.array(sample), share) for sample in samples]
    assert [part.smaller_values + len(part.largest) for part in parts] == [len(sample) for sample in samples]
    found = pooled_quantile(parts, share)
    if all(not part.smaller_values or part.largest.min() <= pooled for part in parts):
        assert found == pooled
    else:
        assert found >= pooled


def test_a_part_is_small_where_the_percentile_is_high() -> None:
    part = upper_part(np.arange(1_000.0), 0.99)
    assert part.largest.min() == pytest.approx(1_000 - 10 * PART, abs=1)  # The product may round up.
    assert pooled_quantile([part, UpperPart(np.zeros(1_000))], 0.99) == 979


def test_ninety_ninth_of_a_thousand_is_the_990th_in_order() -> None:
    """The example of the documentation."""
    assert quantile(np.arange(1000, 0, -1), 0.99) == 990


def test_several_percentiles_agree_with_each_alone() -> None:
    """One partition for all must not disturb any."""
    values = np.random.default_rng(1).exponential(10, 997)
    assert quantiles(values, [0.99, 0.5, 0.999]).tolist() == [quantile(values, p) for p in (0.99, 0.5, 0.999)]


def test_an_answer_that_never_came_is_the_largest_latency() -> None:
    """Infinity is a value with a rank, not an error."""
    assert quantile([1.0, 2.0, inf], 0.99) == inf


@pytest.mark.parametrize("probability", [0.05, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("n", [10, 60, 500, 4000])
def test_interval_of_independent_values_is_the_order_statistic_interval(probability: float, n: int) -> None:
    """SciPy inverts its binomial quantile test; ours finds ranks directly. Same two observations, or no bound."""
    values = np.random.default_rng(n).lognormal(3, 1, n)
    bounds: Any = stats.quantile_test(values, q=0, p=probability).confidence_interval(confidence_level=0.95)
    got = quantile_interval(values, probability, method="independent")
    assert (got.low, got.high) == (
        -inf if np.isnan(bounds.low) else bounds.low,
        inf if np.isnan(bounds.high) else bounds.high,
    )


@pytest.mark.parametrize("probability", [0.5, 0.95])
def test_effective_n_of_a_correlated_run_is_that_of_theory(probability: float) -> None:
    """Each value repeated 50 times in a row is worth n/50, less what 20 batches cost: (1.960 / t_19)^2 = 0.877.

    The mean over 200 seeded runs must meet it; a single run scatters as chi-squared with 19 degrees of freedom.
    """
    worth = []
    for seed in range(200):
        values = np.repeat(np.random.default_rng(seed).exponential(1, 1000), 50)
        worth.append(1 / quantile_interval(values, probability).effective_trials)
    ratio = 1000 * 0.877 * np.mean(worth)
    assert 0.95 < ratio < 1.15  # a correlation factor >= 1 widens a little on the average


def test_correlated_run_has_a_wider_interval_than_the_same_values_shuffled() -> None:
    """Order carries the information that neighbours are alike."""
    rng = np.random.default_rng(3)
    values = np.repeat(rng.exponential(1, 500), 40)
    ordered = quantile_interval(values, 0.9)
    shuffled = quantile_interval(rng.permutation(values), 0.9)
    assert ordered.half_width > 3 * shuffled.half_width


@pytest.mark.parametrize("n", [1, 19, 100])
def test_short_run_does_not_bound_p99(n: int) -> None:
    """With fewer than 368 independent requests the largest may well lie below the true P99 (H60)."""
    assert quantile_interval(np.random.default_rng(n).exponential(1, n), 0.99).high == inf


def test_ties_at_the_timeout_keep_the_bound_at_the_timeout() -> None:
    """Two per cent of timeouts at 10,000 ms, spread evenly: P99 and its upper bound are the timeout itself."""
    values = np.where(np.arange(20_000) % 50 == 0, 10_000.0, 5.0)
    got = quantile_interval(values, 0.99)
    assert (got.value, got.high) == (10_000, 10_000)


def test_clustered_ties_are_worth_fewer_requests_than_spread_ones() -> None:
    """One outage that fails 2 % of the requests in a row says less than 2 % failing here and there."""
    scattered = np.where(np.arange(20_000) % 50 == 0, 10_000.0, 5.0)
    cluster = np.sort(scattered)
    assert quantile_interval(cluster, 0.99).effective_trials < quantile_interval(scattered, 0.99).effective_trials / 100


def test_replications_agree_with_one_run_of_independent_values() -> None:
    """When all is independent, twenty runs of a thousand are one of twenty thousand, but for the degrees of freedom."""
    values = np.random.default_rng(8).exponential(1, 20_000)
    apart = replicated_quantile_interval(np.split(values, 20), 0.99)
    whole = quantile_interval(values, 0.99, method="independent")
    assert apart.value == whole.value
    assert 0.7 < apart.half_width / whole.half_width < 2.0


def test_interval_follows_a_change_of_unit() -> None:
    """Ranks do not know milliseconds from seconds."""
    values = np.random.default_rng(4).gamma(2, 10, 5000)
    ms, s = quantile_interval(values, 0.95), quantile_interval(values / 1000, 0.95)
    assert (ms.low / 1000, ms.value / 1000, ms.high / 1000) == (s.low, s.value, s.high)


def test_wider_level_gives_a_wider_interval() -> None:
    """99 % contains 95 % contains 80 %."""
    values = np.random.default_rng(5).gamma(2, 10, 5000)
    nested = [quantile_interval(values, 0.95, level=level) for level in (0.8, 0.95, 0.99)]
    assert nested[0].low >= nested[1].low >= nested[2].low
    assert nested[0].high <= nested[1].high <= nested[2].high


def test_requests_to_settle_agrees_with_the_asymptotic_variance() -> None:
    """Unit exponential, line 0.05 above its P99 of ln 100: (1.96 / 0.05)^2 p (1 - p) / f(q)^2 = 152,127 requests.

    A pilot run of 50,000 misjudges where the percentile lies, so only the middle forecast of many pilots can agree.
    """
    line, forecasts = np.log(100) + 0.05, []
    for seed in range(200):
        pilot = quantile_interval(np.random.default_rng(seed).exponential(1, 50_000), 0.99)
        forecasts.append(requests_to_settle(pilot, line) or inf)
    assert 120_000 < np.median(forecasts) < 300_000


@pytest.mark.parametrize(
    ("values", "probability", "message"),
    [
        ([], 0.5, "values=\\[\\] must hold at least one number"),
        ([1.0, float("nan")], 0.5, "1 of 2 are not numbers"),
        ([1.0], 0.0, "probability=0 must be in"),
        ([1.0], 99.0, "probability=99 must be in .* \\(0.99 for P99\\)"),
    ],
)
def test_bad_input_names_the_value_and_the_way_out(values: list[float], probability: float, message: str) -> None:
    """The error is one line that names the caller's mistake."""
    with pytest.raises(UsageError, match=message):
        quantile(values, probability)
    with pytest.raises(UsageError, match=message):
        quantile_interval(values, probability)


def test_one_replication_is_refused() -> None:
    """A variance between replications needs two."""
    with pytest.raises(UsageError, match="1 replications must be >= 2"):
        replicated_quantile_interval([[1.0, 2.0]], 0.5)
