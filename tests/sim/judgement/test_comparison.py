"""Model against measurement.

Goal: a true model agrees, a wrong one differs, and too little data says so. Method: both sides drawn here, from one
distribution or from two.
"""

from math import exp

import numpy as np
import pandas as pd
import pytest

from sim.errors import UsageError
from sim.judgement.comparison import Agreement, Comparison, compare, relative_error
from sim.statistics.intervals import Estimate
from tests.support import frames


def side(factor: float, n: int, *, seed: int, routes: tuple[str, ...] = ("log", "search")) -> pd.DataFrame:
    """A frame with lognormal latency of median *factor* x 40 ms."""
    rng = np.random.default_rng(seed)
    requests = frames.frame(factor * rng.lognormal(np.log(40), 0.5, n))
    requests["route"] = pd.Categorical([routes[i % len(routes)] for i in range(n)])
    requests["worker_cpu_ms"] = rng.exponential(2.0, n)
    return requests


def compared(factor: float, n: int = 1_500, *, seeds: int = 3) -> Comparison:
    simulated = [frames.result(side(factor, n, seed=10 + seed)) for seed in range(seeds)]
    return compare(simulated, frames.result(side(1.0, n, seed=1)))


def test_true_model_agrees() -> None:
    assert compared(1.0).agrees


@pytest.mark.parametrize("factor", [0.6, 1.4])
def test_model_that_is_wrong_by_two_fifths_differs(factor: float) -> None:
    comparison = compared(factor)
    p50 = next(row for row in comparison.rows if row.statistic == "p50")
    assert p50.verdict is Agreement.DIFFERS
    assert p50.relative_error == pytest.approx(factor - 1, abs=0.08)
    assert not p50.low <= 0 <= p50.high
    assert not comparison.agrees


def test_beyond_the_tolerance_but_inside_the_interval_is_not_called_agreement_within_it() -> None:
    comparison = compared(1.3, n=60, seeds=1)
    row = next(row for row in comparison.rows if row.statistic == "p50")
    assert abs(row.relative_error) > row.tolerance_ratio
    assert row.verdict is Agreement.INSIDE


def test_percentile_that_the_requests_do_not_bound_is_not_agreement() -> None:
    comparison = compared(2.0, n=120, seeds=1)
    row = next(row for row in comparison.rows if row.statistic == "p99")
    assert row.verdict is Agreement.TOO_FEW
    assert not comparison.agrees


def test_measurement_with_a_late_generator_never_agrees() -> None:
    same = side(1.0, 1_000, seed=1)
    assert compare(frames.result(same), frames.result(same)).agrees
    assert not compare(frames.result(same), frames.result(same, valid=False)).agrees


def test_rows_tell_every_route_and_metrics_without_data() -> None:
    comparison = compared(1.0)
    assert [row.route for row in comparison.rows[-2:]] == ["log", "search"]
    d1 = next(row for row in comparison.rows if row.metric == "d1_query_ms")
    assert (d1.verdict, d1.measured.n) == (Agreement.NO_DATA, 0)
    assert len(comparison.frame) == len(comparison.rows)


def test_joint_interval_is_that_of_two_normal_means() -> None:
    """On the logarithm, with symmetric intervals, MOVER is the root of the sum of squares."""
    ours, theirs = (Estimate(exp(2), exp(2 - half), exp(2 + half), 100, "") for half in (0.3, 0.4))
    error = relative_error(ours, theirs)
    assert np.log([1 + error.low, 1 + error.value, 1 + error.high]) == pytest.approx([-0.5, 0.0, 0.5])


def test_joint_interval_covers_the_true_error_as_often_as_it_says() -> None:
    """P90 of 800 requests against 800: 200 repetitions, binomial bounds of a 95 % interval."""
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(200):
        ours, theirs = (frames.result(frames.frame(rng.exponential(1.0, 800))) for _ in range(2))
        row = next(row for row in compare(ours, theirs).rows if row.statistic == "p90")
        hits += row.low <= 0 <= row.high
    assert hits >= 180


def test_quantiles_of_both_sides_rise_together() -> None:
    qq = compared(1.0).qq_ms
    assert qq.shape[0] == 2
    assert (np.diff(qq) >= 0).all()
    assert np.allclose(qq[0], qq[1], rtol=0.25)


def test_empty_side_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing to compare"):
        compare(frames.result(side(1.0, 10, seed=1)), frames.result(frames.frame([])))
