"""Branches: what ends first is decided by the plan, not by when the machine wakes up.

Goal: outcomes and times of work that runs at once are those of the plan; a machine that wakes everybody late changes
only what is closer together than it is late. Method: constant times under a virtual clock, and under a late one.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reference_impl.errors import PlatformError
from reference_impl.server.asyncio_clock import AsyncioClock, new_event_loop
from reference_impl.timing.branches import Branches
from reference_impl.timing.clock import VirtualClock, VirtualTimer
from reference_impl.timing.stopwatch import Stopwatch

LATE_MS = 3.0
STAGES_MAX = 3


class LateClock(VirtualClock):
    """A machine on which everything that is due happens some milliseconds late."""

    def call_at_ms(self, at_ms: float, action: Callable[[], None]) -> VirtualTimer:
        return super().call_at_ms(at_ms + LATE_MS, action)


def taking(*stages_ms: float, fails: bool = False) -> Callable[[Stopwatch], Awaitable[float]]:
    """Return work of stages, which returns how long it took altogether."""

    async def work(stopwatch: Stopwatch) -> float:
        for stage_ms in stages_ms:
            async with stopwatch.stage("work", stage_ms):
                pass
        if fails:
            raise PlatformError("told to fail")
        return sum(stages_ms)

    return work


@pytest.mark.parametrize("clock_kind", [VirtualClock, LateClock])
@given(
    durations_ms=st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=STAGES_MAX), min_size=1, max_size=5),
    before_ms=st.integers(1, 120),
)
@example(durations_ms=[[1, 1], [1]], before_ms=3)
def test_branches_end_in_the_order_of_the_plan_up_to_the_moment(
    clock_kind: type[VirtualClock], durations_ms: list[list[int]], before_ms: int
) -> None:
    async def play(clock: VirtualClock) -> list[float]:
        parent = Stopwatch(clock)
        branches: Branches[float] = Branches(parent)
        for stages_ms in durations_ms:
            branches.start(taking(*stages_ms), parent.fork())
        ended: list[float] = []
        while len(ended) < len(durations_ms):
            branch = await branches.next_ended(before_ms=before_ms)
            if branch is None:
                break
            assert branch.returned == branch.stopwatch.planned_ms
            ended.append(branch.stopwatch.planned_ms)
        return ended

    clock = clock_kind()
    expected = sorted(sum(stages_ms) for stages_ms in durations_ms if sum(stages_ms) < before_ms)
    ended = clock.run(play(clock))[0]
    clock.close()
    if clock_kind is VirtualClock:
        assert ended == expected
    else:
        assert all(later - earlier >= -LATE_MS * STAGES_MAX for earlier, later in pairwise(ended))
        missed = Counter(expected) - Counter(ended)
        assert Counter(ended) - Counter(expected) == Counter()
        assert all(before_ms - planned_ms <= LATE_MS * STAGES_MAX for planned_ms in missed)


def test_a_branch_whose_last_delay_nobody_waited_for_ends_when_it_is_over() -> None:
    async def travels(stopwatch: Stopwatch) -> float:
        stopwatch.delay("way", 100)
        return 100

    clock = VirtualClock()
    parent = Stopwatch(clock)
    branches: Branches[float] = Branches(parent)
    branches.start(travels, parent.fork())
    branches.start(taking(50), parent.fork())
    ended = [clock.run(branches.next_ended())[0].returned for _ in range(2)]
    assert ended == [50, 100]


def test_one_stage_that_ends_before_the_moment_counts_on_a_late_machine_too() -> None:
    for duration_ms, is_in_time in ((39, True), (40, False), (41, False)):
        clock = LateClock()
        parent = Stopwatch(clock)
        branches: Branches[float] = Branches(parent)
        branches.start(taking(duration_ms), parent.fork())
        branch = clock.run(branches.next_ended(before_ms=40))[0]
        assert (branch is not None) == is_in_time
        clock.close()


@pytest.mark.parametrize(("work_ms", "is_in_time"), [(10, True), (39, True), (41, False)])
def test_who_begins_late_has_the_whole_time_all_the_same(work_ms: float, is_in_time: bool) -> None:
    async def work(stopwatch: Stopwatch) -> float:
        async with stopwatch.stage("work"):
            # Real work, which no plan can catch up.
            await clock.sleep_until_ms(clock.now_ms() + work_ms)
        return work_ms

    # The machine is 500 ms behind the plan.
    clock = VirtualClock()
    parent = Stopwatch(clock)
    clock.advance(500)
    branches: Branches[float] = Branches(parent)
    branches.start(work, parent.fork())
    branch = clock.run(branches.next_ended(before_ms=40))[0]
    assert (branch is not None) == is_in_time
    clock.close()


def test_a_branch_that_was_not_in_time_can_still_be_waited_for() -> None:
    clock = VirtualClock()
    parent = Stopwatch(clock)
    branches: Branches[float] = Branches(parent)
    branches.start(taking(70), parent.fork())
    assert clock.run(branches.next_ended(before_ms=40)) == [None]
    assert clock.now_ms() == 40
    branch = clock.run(branches.next_ended())[0]
    assert branch.stopwatch.planned_ms == clock.now_ms() == 70
    parent.join(branch.stopwatch)
    assert (parent.planned_ms, parent.spent_ms) == (70, {"work": 70})


def test_a_failure_is_kept_for_who_waits_and_a_defect_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    async def defect(stopwatch: Stopwatch) -> float:
        raise ZeroDivisionError("planted")

    clock = VirtualClock()
    for work, kind in ((taking(5, fails=True), PlatformError), (defect, ZeroDivisionError)):
        branches: Branches[float] = Branches(Stopwatch(clock))
        branches.start(work, Stopwatch(clock))
        branch = clock.run(branches.next_ended())[0]
        assert isinstance(branch.error, kind)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "planted" in caplog.text


def test_a_cancelled_timer_does_not_even_move_the_clock() -> None:
    clock = VirtualClock()
    struck: list[str] = []
    clock.call_at_ms(10, lambda: struck.append("kept"))
    clock.call_at_ms(20, lambda: struck.append("cancelled")).cancel()
    clock.call_at_ms(5, lambda: struck.append("first"))
    clock.run(clock.sleep_until_ms(12))
    assert (struck, clock.now_ms()) == (["first", "kept"], 12)
    clock.run_until(15)
    assert clock.now_ms() == 15


def test_a_timer_of_the_machine_strikes_once_and_not_when_it_is_cancelled() -> None:
    async def play() -> list[str]:
        clock = AsyncioClock()
        struck: list[str] = []
        clock.call_at_ms(clock.now_ms() + 1, lambda: struck.append("kept"))
        clock.call_at_ms(clock.now_ms() + 1, lambda: struck.append("cancelled")).cancel()
        await clock.sleep_until_ms(clock.now_ms() + 5)
        return struck

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        assert runner.run(play()) == ["kept"]
