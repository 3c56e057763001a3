"""Model against measurement.

Goal: a true model agrees, a wrong one differs, and too little data says so. Method: both sides drawn here, from one
distribution or from two.
"""

from math import exp, inf, sqrt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.foundation.errors import UsageError
from sim.judgement.comparison import Agreement, Comparison, compare, equivalence, relative_error, settled_by
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


def test_beyond_the_tolerance_but_inside_the_interval_is_not_settled() -> None:
    comparison = compared(1.3, n=60, seeds=1)
    row = next(row for row in comparison.rows if row.statistic == "p50")
    assert abs(row.relative_error) > row.tolerance_ratio
    assert row.verdict is Agreement.NOT_SETTLED


def test_few_requests_agree_with_nothing() -> None:
    """Twenty-eight requests do not bound a P99, so a true model is not confirmed by them: they say how many would."""
    comparison = compared(1.0, n=28, seeds=3)
    assert comparison.verdict is Agreement.NOT_SETTLED
    p99 = next(row for row in comparison.rows if row.statistic == "p99")
    assert p99.low == -1 or p99.high == inf
    assert "would settle it" in p99.reason


@given(low=st.floats(-0.99, 3.0), width=st.floats(0.0, 3.0), share=st.floats(0.0, 1.0), tolerance=st.floats(0.01, 0.9))
def test_agreement_is_equivalence(low: float, width: float, share: float, tolerance: float) -> None:
    """Agrees: every error in the interval is within the tolerance; differs: none is; never both, never by the value."""
    high = low + width
    verdict = equivalence(Estimate(low + share * width, low, high, 100, ""), tolerance)
    ends = [abs(low) <= tolerance, abs(high) <= tolerance]
    assert (verdict is Agreement.AGREES) == all(ends)
    assert (verdict is Agreement.DIFFERS) == (low > tolerance or high < -tolerance)


@given(error=st.floats(-0.15, 0.15), reach=st.floats(0.25, 2.0), n=st.integers(30, 100_000))
def test_the_requests_that_would_settle_it_do(error: float, reach: float, n: int) -> None:
    """By the square-root law, an interval of the stated n lies within the tolerance."""
    centre = np.log1p(error)
    found = Estimate(error, float(np.expm1(centre - reach)), float(np.expm1(centre + reach)), n, "")
    assert equivalence(found, 0.2) is Agreement.NOT_SETTLED
    needed = int(settled_by(found, 0.2).split()[2].replace(",", ""))
    shorter = reach * sqrt(n / needed)
    after = Estimate(error, float(np.expm1(centre - shorter)), float(np.expm1(centre + shorter)), needed, "")
    assert needed > n
    assert equivalence(after, 0.2) is Agreement.AGREES


def other(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """The frame, with another value of one request in *column*."""
    changed = frame.copy()
    values = list(changed[column])
    values[7] = ("search" if values[7] == "log" else "log") if column == "route" else values[7] + 50
    changed[column] = values
    return changed


@pytest.mark.parametrize("column", ["route", "key", "arrival_ms"])
def test_runs_of_different_requests_are_refused(column: str) -> None:
    same = side(1.0, 100, seed=1)
    with pytest.raises(UsageError, match=f"request 7 has {column} .* different requests; play both with the same"):
        compare(frames.result(other(same, column)), frames.result(same))


def test_runs_are_matched_by_request() -> None:
    """A measurement that was cut short is compared with the same requests of the simulation, and no others."""
    whole = side(1.0, 2_000, seed=1)
    late = whole.assign(latency_ms=whole["latency_ms"].where(whole["request"] < 1_000, 1e4))
    found = compare(frames.result(late), frames.result(whole[:1_000]))
    assert all(row.relative_error == 0 for row in found.rows if row.metric == "api_latency_ms")


def test_run_of_other_request_numbers_is_refused() -> None:
    same = side(1.0, 100, seed=1)
    with pytest.raises(UsageError, match="only 50 of 100 measured requests are in the other run"):
        compare(frames.result(same.assign(request=same["request"] + 50)), frames.result(same))


def test_measurement_with_a_late_generator_never_agrees() -> None:
    same = side(1.0, 20_000, seed=1)
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
