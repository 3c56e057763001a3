"""Cutting, stretching and shortening a schedule.

Goal: whatever is done to a schedule, its requests stay what they are and its times stay in order and in bounds. Method:
properties over random schedules, among them bursts at one instant and closed loops.
"""

import re
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sim.foundation.errors import UsageError
from sim.scenario.schedule import Schedule
from tests.support.schedules import at, poisson

EPSILON = 1e-9

gaps_ms = st.lists(st.floats(0, 2_000), min_size=1, max_size=60)
bounds = st.tuples(st.floats(0.1, 30), st.floats(0.1, 100)).filter(lambda pair: pair[0] * pair[1] >= 1)


@st.composite
def open_schedules(draw: st.DrawFn) -> Schedule:
    arrival_ms = np.cumsum(draw(gaps_ms))
    n = len(arrival_ms)
    end_ms = float(arrival_ms[-1]) + draw(st.floats(0, 500))
    warm_up_ms = draw(st.floats(0, 1.2)) * end_ms
    return at(arrival_ms, key=np.arange(n), object_number=np.arange(n), duration_ms=end_ms, warm_up_ms=warm_up_ms)


@st.composite
def closed_schedules(draw: st.DrawFn) -> Schedule:
    think_ms = np.array(draw(gaps_ms))
    n, users = len(think_ms), draw(st.integers(1, 10))
    loop = {"user": np.arange(n) % users, "think_ms": think_ms}
    return at(np.zeros(n), key=np.arange(n), duration_ms=max(think_ms.sum() / users, 1.0), **loop)


def is_part_of(part: Schedule, whole: Schedule) -> bool:
    """Whether the rows of *part* are consecutive rows of *whole*, told by their keys, which count up."""
    first = int(part.key[0])
    return np.array_equal(part.key, np.arange(first, first + len(part))) and len(part) <= len(whole)


@given(open_schedules(), st.integers(1, 70))
def test_head_is_the_first_requests(schedule: Schedule, n: int) -> None:
    head = schedule.head(n)
    assert len(head) == min(n, len(schedule))
    assert np.array_equal(head.arrival_ms, schedule.arrival_ms[:n])


def test_head_within_the_warm_up_has_nothing_left_to_cut() -> None:
    schedule = at([0.0, 10.0, 20.0, 30.0], duration_ms=40.0, warm_up_ms=15.0)
    assert [schedule.head(n).warm_up_ms for n in (1, 2, 3, 4)] == [0.0, 0.0, 15.0, 15.0]


@given(open_schedules(), st.floats(0, 10_000), st.floats(1, 10_000))
def test_window_is_what_arrives_in_it_counted_from_its_start(
    schedule: Schedule, start_ms: float, length_ms: float
) -> None:
    inside = (schedule.arrival_ms >= start_ms) & (schedule.arrival_ms < start_ms + length_ms)
    if not inside.any():
        with pytest.raises(UsageError, match="holds no request"):
            schedule.window(start_ms, start_ms + length_ms)
        return
    part = schedule.window(start_ms, start_ms + length_ms)
    assert part.key.tolist() == schedule.key[inside].tolist()
    assert np.allclose(part.arrival_ms + start_ms, schedule.arrival_ms[inside])


@given(open_schedules(), st.floats(0.01, 100))
def test_scaling_multiplies_every_time(schedule: Schedule, factor: float) -> None:
    scaled = schedule.scaled(factor)
    assert np.allclose(scaled.arrival_ms, schedule.arrival_ms * factor)
    assert scaled.duration_ms == pytest.approx(schedule.duration_ms * factor)
    assert is_part_of(scaled, schedule)


@given(open_schedules() | closed_schedules(), bounds)
@example(
    at([0.0, 0.0], key=np.arange(2), duration_ms=250.5, user=np.arange(2), think_ms=np.array([0.0, 501.0])),
    (0.125, 8.0),
)
def test_live_part_keeps_its_bounds(schedule: Schedule, bound: tuple[float, float]) -> None:
    live_s, rate_max_per_s = bound
    part = schedule.live(live_s, rate_max_per_s)
    assert 1 <= len(part) <= live_s * rate_max_per_s + EPSILON
    assert 0 < part.duration_ms <= live_s * 1000 * (1 + EPSILON)
    assert len(part) / (part.duration_ms / 1000) <= rate_max_per_s * (1 + EPSILON)
    assert is_part_of(part, schedule)
    assert part.warm_up_ms == 0


@given(open_schedules(), bounds)
def test_live_part_is_the_same_every_time(schedule: Schedule, bound: tuple[float, float]) -> None:
    first, again = schedule.live(*bound), schedule.live(*bound)
    assert first.arrival_ms.tobytes() == again.arrival_ms.tobytes()


def test_live_part_at_a_permitted_rate_starts_after_the_warm_up_and_is_not_stretched() -> None:
    plan = poisson(6000, rate_per_s=50)
    plan = at(plan.arrival_ms, key=np.arange(6000), warm_up_ms=30_000.0)
    part = plan.live(25, 60)
    first = int(np.searchsorted(plan.arrival_ms, 30_000))
    assert part.key[0] == first
    assert part.duration_ms == 25_000
    assert np.allclose(part.arrival_ms, plan.arrival_ms[first : first + len(part)] - 30_000)


@pytest.mark.parametrize("rate_per_s", [0.5, 600])
def test_slow_and_fast_schedules_are_played_at_the_highest_permitted_rate(rate_per_s: float) -> None:
    part = poisson(6000, rate_per_s=rate_per_s).live(25, 60)
    assert len(part) == 1500
    assert part.duration_ms == pytest.approx(25_000)


def test_live_part_starts_earlier_when_little_is_left_after_the_warm_up() -> None:
    plan = poisson(1500, rate_per_s=5)
    part = at(plan.arrival_ms, key=np.arange(1500), warm_up_ms=float(plan.arrival_ms[-1])).live(10, 60)
    assert part.key.tolist() == list(range(900, 1500))


def test_closed_loop_without_thinking_is_slowed_to_the_permitted_rate() -> None:
    plan = at(np.zeros(100), user=np.arange(100) % 4, think_ms=np.zeros(100), duration_ms=1.0)
    part = plan.live(10, 20)
    assert part.think_ms is not None
    assert part.think_ms[0] == pytest.approx(4 / 20 * 1000)


def test_closed_loop_has_no_window() -> None:
    with pytest.raises(UsageError, match="use head"):
        at(np.zeros(2), user=np.zeros(2, dtype=np.int64), think_ms=np.ones(2), duration_ms=2.0).window(0, 1)


def test_arrays_cannot_be_changed() -> None:
    plan = poisson(3, rate_per_s=1)
    arrays = [getattr(plan, field.name) for field in fields(plan) if isinstance(getattr(plan, field.name), np.ndarray)]
    assert len(arrays) == 7
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_bounds_are_refused(bad: float) -> None:
    plan = poisson(3, rate_per_s=1)
    with pytest.raises(UsageError, match=r"factor=.* must be > 0 and finite"):
        plan.scaled(bad)
    with pytest.raises(UsageError, match=r"live_s=.* must be > 0 and finite"):
        plan.live(bad, 1)
    with pytest.raises(UsageError, match=r"live_rate_max_per_s=.* must be > 0 and finite"):
        plan.live(1, bad)


def test_bounds_that_leave_no_request_are_refused() -> None:
    with pytest.raises(UsageError, match="holds no request"):
        poisson(3, rate_per_s=1).live(0.1, 1)


def test_a_live_part_shorter_than_any_clock_can_tell_is_stretched_all_the_same() -> None:
    part = at([0.0, 5e-324], duration_ms=5e-324).live(2.0, 1.0)
    assert part.arrival_ms.tolist() == [0.0, 2_000.0]


@pytest.mark.parametrize("n", [0, -5])
def test_head_needs_a_request(n: int) -> None:
    with pytest.raises(UsageError, match=f"requests={n} must be >= 1"):
        poisson(3, rate_per_s=1).head(n)


def test_repr_tells_number_length_and_loop() -> None:
    assert repr(at([1.0, 2.0], duration_ms=5000.0)) == "<Schedule of 2 requests in 5 s>"
    closed = at(np.zeros(2), user=np.arange(2), think_ms=np.ones(2), duration_ms=1000.0)
    assert repr(closed) == "<Schedule of 2 requests in 1 s, closed loop of 2 users>"


@pytest.mark.parametrize(
    ("arrival_ms", "columns", "message"),
    [
        ([], {}, "schedule.arrival_ms=[] must hold at least one request"),
        ([0.0, 2.0, 1.0], {}, "schedule.arrival_ms[2]=1 must not be before the one before"),
        ([-1.0, 2.0], {}, "schedule.arrival_ms[0]=-1 must be >= 0"),
        ([0.0, 2.0], {"duration_ms": 1.0}, "schedule.duration_ms=1 must be >= 2, the last arrival"),
        ([0.0, 2.0], {"key": np.zeros(3, np.int64)}, "schedule.key has shape (3,), must have that of arrival_ms"),
        ([0.0, 2.0], {"user": np.zeros(2, np.int64)}, "schedule: user and think_ms must both be given"),
    ],
    ids=["empty", "falling", "negative", "short", "shape", "half"],
)
def test_what_is_no_list_of_requests_is_refused(arrival_ms: list[float], columns: dict[str, Any], message: str) -> None:
    """In one line, from Python: whoever builds a Flow of his own builds its schedule by hand."""
    with pytest.raises(UsageError, match=re.escape(message)):
        at(arrival_ms, **columns)
