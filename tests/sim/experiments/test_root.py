"""Where a rising function crosses zero, in few evaluations.

Goal: the rate is found for any steepness, from any start, with noise, and where there is none that is said. Method: the
gap of a queue whose latency goes as 1 / (bound - rate), and others, whose crossing is known.
"""

from math import log

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sim.experiments.root import crossing, interpolated
from sim.foundation.errors import UsageError


def queue(answer: float, bound: float) -> tuple[list[float], object]:
    """The gap of a latency that goes as 1 / (bound - rate) and meets its target at *answer*; and what was asked."""
    asked: list[float] = []

    def gap(rate: float) -> float:
        asked.append(rate)
        return min(log((bound - answer) / (bound - rate)), 1.4) if rate < bound else 1.4

    return asked, gap


@example(answer=1.0, room=0.02, start=0.25)
@given(answer=st.floats(1.0, 1e5), room=st.floats(0.02, 2.0), start=st.floats(0.2, 3.0))
def test_crossing_of_a_queue_is_found_in_few_evaluations(answer: float, room: float, start: float) -> None:
    asked, gap = queue(answer, answer * (1 + room))
    found = crossing(gap, start * answer, tolerance_ratio=0.03)  # type: ignore[arg-type]  # a closure
    assert found == pytest.approx(answer, rel=0.005)
    assert len(asked) <= 12


@given(slope=st.floats(0.5, 30.0), start=st.floats(0.5, 2.0))
def test_crossing_of_a_power_is_within_the_tolerance(slope: float, start: float) -> None:
    found = crossing(lambda rate: slope * log(rate / 100), start * 100, tolerance_ratio=0.03)
    assert found == pytest.approx(100, rel=0.03)


@given(answer=st.floats(1.0, 1e5), room=st.floats(0.02, 2.0), start=st.floats(0.5, 1.5))
def test_what_a_search_has_seen_gives_its_answer_again(answer: float, room: float, start: float) -> None:
    asked, gap = queue(answer, answer * (1 + room))
    found = crossing(gap, start * answer, tolerance_ratio=0.03)  # type: ignore[arg-type]  # a closure
    assert interpolated({rate: gap(rate) for rate in tuple(asked)}) == pytest.approx(found)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("known", "rate"),
    [
        ({100.0: 0.0}, 100.0),
        ({100.0: -0.2, 110.0: -0.2}, 110.0),
        ({100.0: 0.2, 110.0: 0.2}, 100.0),
        ({90.0: -0.9, 100.0: -log(1 / 0.9), 110.0: -log(1 / 0.95)}, 120.0),
        ({100.0: log(1 / 0.9), 110.0: log(1 / 0.8), 120.0: 1.0}, 90.0),
    ],
)
def test_where_all_are_on_one_side_a_line_is_followed_as_far_again(known: dict[float, float], rate: float) -> None:
    assert interpolated(known) == pytest.approx(rate, rel=0.01)


def test_noise_moves_the_answer_by_no_more_than_its_own_rate() -> None:
    rng = np.random.default_rng(1)
    found = [
        crossing(lambda rate: 5 * log(rate / 100) + rng.normal(0, 0.05), 95.0, tolerance_ratio=0.03) for _ in range(200)
    ]
    assert np.mean(np.log(found)) == pytest.approx(log(100), abs=0.003)
    assert np.std(np.log(found)) < 0.02


def test_what_is_known_is_not_asked_again() -> None:
    asked, gap = queue(100.0, 150.0)
    known = {90.0: -0.18, 105.0: 0.1}
    found = crossing(gap, 95.0, tolerance_ratio=0.2, known=known)  # type: ignore[arg-type]  # a closure
    assert not set(asked) & set(known)
    assert 90 < found < 105


def test_function_that_is_positive_down_to_the_floor_has_none() -> None:
    assert crossing(lambda _: 0.5, 100.0, tolerance_ratio=0.03, floor=10.0) == 0.0


def test_crossing_from_below_comes_after_a_dip() -> None:
    """Cold objects break the target at low rates too: the highest crossing counts."""
    known = {1.0: 0.5, 10.0: -0.5, 100.0: 0.5}
    found = crossing(lambda rate: 2 * log(rate / 40), 10.0, tolerance_ratio=0.03, known=known)
    assert found == pytest.approx(40, rel=0.05)


def test_function_without_a_crossing_is_refused() -> None:
    with pytest.raises(UsageError, match="all on one side"):
        crossing(lambda _: -0.5, 100.0, tolerance_ratio=0.03)
    with pytest.raises(UsageError, match="must be a number"):
        crossing(lambda _: float("nan"), 100.0, tolerance_ratio=0.03)
