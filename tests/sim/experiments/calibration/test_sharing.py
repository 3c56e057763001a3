"""Goal: shared turns are found where latencies show them, and nowhere else.

Method: latencies of objects whose turns are known: shared, by the recursion of turns (which is tested by hand), or of
their own, by Lindley's.
"""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sim.experiments.calibration.shared_turns import tell_turns_apart
from sim.experiments.calibration.sharing import Run, compare_turns, fit_own
from sim.experiments.calibration.single_server import lognormal_service, phased_service, waits
from sim.experiments.calibration.turns import turns

Array = NDArray[np.float64]

Draw = Callable[[np.random.Generator, int], Array]

SERVICES: dict[str, Draw] = {
    "constant": lambda _, n: np.ones(n),
    "lognormal": lambda rng, n: lognormal_service(1.0, 0.3).sample(rng.random((1, n))),
    "exponential": lambda rng, n: rng.exponential(1.0, n),
    "hyperexponential": lambda rng, n: phased_service(1.0, 3.0).sample(rng.random((1, n))),
}
DELAYS: dict[str, Draw] = {
    "exponential": lambda rng, n: 0.6 + rng.exponential(0.1, n),
    "a tail": lambda rng, n: 0.4 + rng.lognormal(-1.5, 1.0, n),
}


def arrivals(utilization: float, n: int, rng: np.random.Generator) -> Array:
    """Poisson arrivals at an object whose lone requests take 1 ms."""
    return np.cumsum(rng.exponential(1 / utilization, n))


def shared(utilization: float, further_ms: float, n: int, seed: int, delay: str) -> Run:
    """A run whose turns are shared."""
    rng = np.random.default_rng(seed)
    sent_ms = arrivals(utilization, n, rng)
    return sent_ms, turns(sent_ms, lone_ms=1.0, further_ms=further_ms) + DELAYS[delay](rng, n)


def own(utilization: float, service: str, n: int, seed: int, delay: str) -> Run:
    """A run in which each request has a turn of its own."""
    rng = np.random.default_rng(seed)
    sent_ms = arrivals(utilization, n, rng)
    service_ms = SERVICES[service](rng, n)
    return sent_ms, waits(np.diff(sent_ms), service_ms) + service_ms + DELAYS[delay](rng, n)


@settings(max_examples=12, deadline=None)
@given(
    st.floats(0.0, 0.6), st.floats(0.2, 0.35), st.integers(0, 10_000), st.sampled_from(sorted(DELAYS)), st.booleans()
)
def test_shared_turns_are_found(further_ms: float, utilization: float, seed: int, delay: str, are_two: bool) -> None:
    runs = [shared(utilization, further_ms, 12_000, seed + number, delay) for number in range(1 + are_two)]
    found = compare_turns(runs)
    assert found.is_shared
    assert found.folds == ("runs" if are_two else "halves")
    told = tell_turns_apart(runs, rng=seed)
    assert told.lone_ms.value == pytest.approx(1.0, abs=0.08)
    assert told.further_ms.value == pytest.approx(further_ms, abs=0.12)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(SERVICES)), st.floats(0.05, 0.38), st.integers(0, 10_000), st.sampled_from(sorted(DELAYS)),
    st.sampled_from([4_000, 8_000, 20_000]),
)  # fmt: skip
def test_turns_of_their_own_are_never_taken_for_shared_ones(
    service: str, utilization: float, seed: int, delay: str, n: int
) -> None:
    assert not compare_turns([own(utilization, service, n, seed, delay)]).is_shared


def test_constant_services_are_seen_to_be_no_shared_turns() -> None:
    found = compare_turns([own(0.3, "constant", 12_000, 1, "exponential")])
    assert found.is_own
    assert "cross-validated between halves" in str(found)


def test_requests_that_hardly_meet_do_not_tell() -> None:
    found = compare_turns([shared(0.01, 0.2, 2_000, 1, "exponential")])
    assert not found.is_shared
    assert not found.is_own


def test_one_service_time_is_fitted() -> None:
    assert fit_own([own(0.25, "constant", 8_000, 2, "exponential")]) == pytest.approx(1.0, abs=0.03)


@pytest.mark.slow
def test_the_interval_of_the_further_time_holds_it_as_often_as_it_says() -> None:
    held = 0
    for seed in range(20):
        told = tell_turns_apart([shared(0.25, 0.3, 6_000, seed, "exponential")], rng=seed)
        held += told.further_ms.low <= 0.3 <= told.further_ms.high
    assert held / 20 >= 0.85  # 95 % of 20, less two standard deviations.
