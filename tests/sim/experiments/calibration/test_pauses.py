"""Goal: pauses that come with requests are told from those of a clock, or neither is said.

Method: gaps drawn with known regularity; Poisson arrivals at one rate or at two.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sim.experiments.calibration.pauses import Pauses, long_ones, pauses_of


def every_requests(every: int, rates: tuple[float, ...], seed: int) -> Pauses:
    """Ten pauses in each run, after so many requests."""
    rng = np.random.default_rng(seed)
    starts, places = [], []
    for rate_per_ms in rates:
        sent_ms = np.cumsum(rng.exponential(1 / rate_per_ms, 10 * every + 1))
        places.append(np.arange(1, 11) * every)
        starts.append(sent_ms[places[-1]])
    return pauses_of(np.full(10 * len(rates), 75.0), starts, place=places, requests=10 * every * len(rates))


def by_the_clock(every_ms: float, rates: tuple[float, ...], seed: int) -> Pauses:
    """Ten pauses in each run, after so much time."""
    rng = np.random.default_rng(seed)
    starts: list[NDArray[np.float64]] = []
    places = []
    for rate_per_ms in rates:
        sent_ms = np.cumsum(rng.exponential(1 / rate_per_ms, round(12 * every_ms * rate_per_ms)))
        starts.append(np.arange(1, 11, dtype=np.float64) * every_ms)
        places.append(np.searchsorted(sent_ms, starts[-1]))
    return pauses_of(np.full(10 * len(rates), 75.0), starts, place=places, requests=10_000)


@settings(max_examples=25, deadline=None)
@given(st.integers(30, 4_000), st.sampled_from([(1.0,), (1.0, 2.0)]), st.integers(0, 10_000))
def test_pauses_with_requests_are_told(every: int, rates: tuple[float, ...], seed: int) -> None:
    found = every_requests(every, rates, seed)
    assert found.come_with == "requests"
    assert found.every_requests is not None
    assert found.every_requests.low <= every <= found.every_requests.high
    assert found.is_regular


@settings(max_examples=25, deadline=None)
@given(st.floats(200.0, 4_000.0), st.sampled_from([(1.0,), (1.0, 2.0)]), st.integers(0, 10_000))
def test_pauses_of_a_clock_are_not_taken_for_collections(every_ms: float, rates: tuple[float, ...], seed: int) -> None:
    assert by_the_clock(every_ms, rates, seed).come_with == "time"


@pytest.mark.parametrize("seed", range(40))
def test_pauses_at_random_are_no_collections(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(1_000.0, 12)
    start_ms = np.cumsum(gaps)
    place = np.searchsorted(np.cumsum(rng.exponential(1.0, 40_000)), start_ms)
    assert pauses_of(np.full(12, 75.0), [start_ms], place=[place], requests=40_000).come_with != "requests"


def test_few_pauses_tell_nothing() -> None:
    found = pauses_of(np.full(3, 75.0), [np.array([0.0, 5.0, 10.0])], place=[np.array([0, 5, 10])], requests=15)
    assert found.come_with == ""
    assert (
        pauses_of(np.zeros(0), [np.zeros(0)], place=[np.zeros(0, dtype=np.int64)], requests=15).every_requests is None
    )


def test_short_stalls_are_no_pauses() -> None:
    chosen = long_ones([np.array([75.0, 3.0, 74.0]), np.array([2.0, 80.0])])
    assert [one.tolist() for one in chosen] == [[True, False, True], [False, True]]
