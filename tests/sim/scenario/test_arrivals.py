"""Arrival processes: right on average, in shape, and the same for the same seed.

Goal: each process has the rate that it claims, everywhere in time. Method: counts against exact Poisson intervals,
counts in bins against the integral of the rate by chi-square, and properties over random parameters.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import TypeAdapter
from scipy.integrate import quad
from scipy.stats import chisquare, expon, kstest, poisson

from sim.foundation.errors import ScenarioError
from sim.scenario.arrivals import Arrivals, Bursty, Diurnal, OpenArrivals, Poisson, Ramp, Spike, Steady, Stepwise

SEED = 20261123
DURATION_S = 100.0
FAR = 1e-9
"""Probability with which a right process would fail an exact interval: nightly runs try 10,000 examples."""

CHANGING: list[OpenArrivals] = [
    Poisson(rate_per_s=50),
    Ramp(rate_per_s=10, to_rate_per_s=120),
    Ramp(rate_per_s=90, to_rate_per_s=0),
    Stepwise(rate_per_s=20, steps=((25, 80), (50, 5), (75, 60))),
    Spike(rate_per_s=30, spike_rate_per_s=200, start_s=40, length_s=10),
    Diurnal(mean_rate_per_s=50, peak_factor=3, period_s=100, phase_s=50),
]

positive = st.floats(0.1, 50)
seeds = st.integers(0, 2**63 - 1)
processes: st.SearchStrategy[OpenArrivals] = st.one_of(
    st.builds(Poisson, rate_per_s=positive),
    st.builds(Steady, rate_per_s=positive),
    st.builds(Ramp, rate_per_s=positive, to_rate_per_s=positive),
    st.builds(Stepwise, rate_per_s=positive, steps=st.tuples(st.tuples(st.floats(0, 9), positive))),
    st.builds(Spike, rate_per_s=positive, spike_rate_per_s=positive, start_s=st.floats(0, 9), length_s=positive),
    st.builds(Diurnal, mean_rate_per_s=positive, peak_factor=st.floats(1, 20), period_s=positive, phase_s=positive),
    st.builds(Bursty, rate_per_s=positive, burst_rate_per_s=positive, mean_calm_s=positive, mean_burst_s=positive),
)


def times_s(process: OpenArrivals, *, seed: int = SEED, duration_s: float = DURATION_S) -> NDArray[np.float64]:
    """All arrivals up to *duration_s*."""
    return process.times_s(seed, duration_s=duration_s, requests=None)


def rate_per_s(process: OpenArrivals, at_s: float) -> float:
    """The rate that a process claims."""
    rates = process._rates_per_s(np.array([at_s]), SEED, DURATION_S)
    return float(rates[0])


@given(processes, seeds)
def test_arrivals_rise_within_the_duration(process: OpenArrivals, seed: int) -> None:
    time_s = times_s(process, seed=seed, duration_s=10)
    assert (np.diff(time_s) >= 0).all()
    assert ((time_s >= 0) & (time_s < 10)).all()


@given(processes, seeds)
def test_a_longer_plan_begins_with_the_shorter_one(process: OpenArrivals, seed: int) -> None:
    if isinstance(process, Ramp):
        return  # Its rate is told relative to the end.
    short, long = (times_s(process, seed=seed, duration_s=duration_s) for duration_s in (5, 11))
    assert np.array_equal(long[: len(short)], short)


@given(processes, seeds, st.integers(1, 200))
def test_asked_number_of_requests_is_the_head_of_the_plan(process: OpenArrivals, seed: int, requests: int) -> None:
    if isinstance(process, Ramp):
        return  # It needs a duration.
    time_s = process.times_s(seed, duration_s=None, requests=requests)
    assert len(time_s) == requests
    assert np.array_equal(times_s(process, seed=seed, duration_s=float(time_s[-1]) + 1e-9)[:requests], time_s)


@given(positive, seeds)
def test_poisson_count_lies_in_its_exact_interval(rate: float, seed: int) -> None:
    low, high = poisson.interval(1 - FAR, rate * 40)
    assert low <= len(times_s(Poisson(rate_per_s=rate), seed=seed, duration_s=40)) <= high


def test_poisson_gaps_are_exponential() -> None:
    gaps_s = np.diff(times_s(Poisson(rate_per_s=50), duration_s=1000))
    assert kstest(gaps_s, expon(scale=1 / 50).cdf).pvalue > 1e-3


@pytest.mark.parametrize("process", CHANGING, ids=lambda process: f"{process.kind}_{process.nominal_per_s:g}")
def test_thinned_arrivals_follow_the_integral_of_the_rate(process: OpenArrivals) -> None:
    edges_s = np.linspace(0, DURATION_S, 21)
    breaks = [25.0, 40.0, 50.0, 75.0]
    expected = np.array(
        [
            quad(lambda at_s: rate_per_s(process, at_s), left, right, points=[b for b in breaks if left < b < right])[0]
            for left, right in pairwise(edges_s)
        ]
    )
    seen = np.sum([np.histogram(times_s(process, seed=SEED + run), edges_s)[0] for run in range(5)], axis=0)
    assert chisquare(seen, expected * seen.sum() / expected.sum()).pvalue > 1e-3
    low, high = poisson.interval(1 - 1e-3, 5 * expected.sum())
    assert low <= seen.sum() <= high


def test_steady_arrivals_are_a_clock() -> None:
    assert times_s(Steady(rate_per_s=4), duration_s=1).tolist() == [0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("peak_factor", [1, 1.5, 5, 100])
def test_diurnal_wave_has_the_mean_and_the_peak_that_it_is_told_by(peak_factor: float) -> None:
    wave = Diurnal(mean_rate_per_s=2, peak_factor=peak_factor, period_s=100, phase_s=30)
    assert rate_per_s(wave, 30) == pytest.approx(2 * peak_factor)
    assert rate_per_s(wave, 130) == pytest.approx(2 * peak_factor)
    total, _ = quad(lambda at_s: rate_per_s(wave, at_s), 0, 100, points=[30], limit=200)
    assert total / 100 == pytest.approx(2, rel=1e-6)


def test_bursty_arrivals_have_the_mean_of_their_states_and_more_variance_than_poisson() -> None:
    bursty = Bursty(rate_per_s=10, burst_rate_per_s=90, mean_calm_s=8, mean_burst_s=2)
    counts = np.histogram(times_s(bursty, duration_s=20_000), np.arange(0, 20_001, 10))[0]
    assert counts.mean() == pytest.approx(260, rel=0.05)  # 10 s x (0.8 x 10 + 0.2 x 90); ten times its own error
    assert counts.var() / counts.mean() > 20


def test_bursty_arrivals_start_in_a_burst_in_proportion_to_its_share() -> None:
    bursty = Bursty(rate_per_s=0, burst_rate_per_s=1, mean_calm_s=3, mean_burst_s=1)
    start = [bursty._rates_per_s(np.zeros(1), seed, None)[0] for seed in range(1000)]
    assert np.mean(start) == pytest.approx(0.25, abs=0.05)


@given(st.floats(0.1, 10), seeds)
def test_another_rate_moves_arrivals_without_drawing_them_anew(factor: float, seed: int) -> None:
    slow = Poisson(rate_per_s=3).times_s(seed, duration_s=None, requests=50)
    fast = Poisson(rate_per_s=3 * factor).times_s(seed, duration_s=None, requests=50)
    assert np.allclose(slow, fast * factor, rtol=1e-12)


@given(processes, st.floats(0.1, 10))
def test_multiplying_a_process_multiplies_its_rate_everywhere(process: OpenArrivals, factor: float) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(Arrivals)
    faster = adapter.validate_python(process.multiplied(factor))
    assert type(faster) is type(process)
    assert faster.peak_per_s == pytest.approx(process.peak_per_s * factor)
    if not isinstance(process, Steady):
        at_s = np.linspace(0, 9, 7)
        rates = [one._rates_per_s(at_s, SEED, 10.0) for one in (process, faster)]
        assert np.allclose(rates[0] * factor, rates[1])


def test_a_plan_beyond_the_bound_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"1e\+12 candidate arrivals, must be <= 50,000,000"):
        times_s(Poisson(rate_per_s=1e9), duration_s=1000)


def test_requests_that_never_come_are_refused() -> None:
    dies_out = Stepwise(rate_per_s=1000, steps=((0.001, 0),))
    with pytest.raises(ScenarioError, match="requests=1000 do not come"):
        dies_out.times_s(SEED, duration_s=None, requests=1000)
