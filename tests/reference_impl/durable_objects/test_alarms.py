"""Alarms of Durable Objects: rung at least once, again if they fail, and never lost.

Goal and method as for ``test_durable_objects.py``.
"""

import logging
from collections.abc import Callable

import pytest

from reference_impl.durable_objects.gates import Event, ResetError
from reference_impl.durable_objects.state import State
from reference_impl.durable_objects.storage import Storage
from reference_impl.errors import PlatformError
from reference_impl.messages import Request, Response
from tests.support.objects import Counter, scene


def test_an_alarm_rings_at_its_time_with_the_object_to_itself() -> None:
    with scene() as s:
        s.send("/alarm", at="1000")
        s.clock.run_until(999)
        assert s.stored("rung") is None
        s.clock.run_until(1_000)
        assert s.stored("rung") == [1_000]
        s.clock.run_until(100_000)
        assert s.stored("rung") == [1_000]


def test_a_later_alarm_replaces_an_earlier_one() -> None:
    with scene() as s:
        s.send("/alarm", at="1000")
        s.send("/alarm", at="2000")
        s.clock.run_until(10_000)
        assert s.stored("rung") == [2_000]


def test_a_failing_alarm_rings_again_after_2_4_8_seconds() -> None:
    with scene() as s:
        s.send("/alarm", at="1000")
        Storage(s.disk.open(s.namespace.id_from_name("a"))).put("failures", 3)
        s.clock.run_until(100_000)
        assert s.stored("rung") == [1_000, 3_000, 7_000, 15_000]
        assert s.namespace.alarms.given_up == 0


def test_an_alarm_that_always_fails_is_given_up_and_counted() -> None:
    with scene() as s:
        s.send("/alarm", at="1000")
        Storage(s.disk.open(s.namespace.id_from_name("a"))).put("failures", 99)
        s.clock.run_until(1_000_000)
        assert len(s.stored("rung")) == 7
        assert s.namespace.alarms.given_up == 1


def test_an_alarm_survives_a_restart() -> None:
    with scene() as s:
        s.send("/alarm", at="5000")
        s.clock.close()
        s.namespace = s.deploy()
        s.namespace.resume()
        s.clock.run_until(6_000)
        assert s.stored("rung") == [5_000]


def test_an_alarm_that_was_given_up_can_be_set_again() -> None:
    with scene() as s:
        s.send("/alarm", at="1000")
        Storage(s.disk.open(s.namespace.id_from_name("a"))).put("failures", 7)
        s.clock.run_until(1_000_000)
        assert s.namespace.alarms.given_up == 1
        s.send("/alarm", at="2000000")
        s.clock.run_until(2_000_001)
        assert s.stored("rung")[-1] == 2_000_000


def test_retries_of_an_alarm_wait_up_to_a_quarter_longer() -> None:
    with scene(jitter=1.0) as s:
        s.send("/alarm", at="1000")
        Storage(s.disk.open(s.namespace.id_from_name("a"))).put("failures", 2)
        s.clock.run_until(100_000)
        assert s.stored("rung") == [1_000, 3_500, 8_500]


def test_a_refusal_of_the_platform_does_not_count_among_the_alarm_s_retries() -> None:
    class Resets(Counter):
        times = 0

        async def alarm(self, event: Event) -> None:
            Resets.times += 1
            if Resets.times <= 12:
                raise ResetError("the platform's own business")
            await super().alarm(event)

    with scene(Resets) as s:
        s.send("/alarm", at="1000")
        s.clock.run_until(10_000_000)
        # 2, 4, 8 … s, the exponent bounded at 9: 1,024 s.
        assert s.stored("rung") == [1_000 + 1_000 * (2 + 4 + 8 + 16 + 32 + 64 + 128 + 256 + 512 + 1_024 * 3)]
        assert s.namespace.alarms.given_up == 0


def test_a_defect_in_an_alarm_is_told_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    class Breaks(Counter):
        times = 0

        async def alarm(self, event: Event) -> None:
            Breaks.times += 1
            if Breaks.times == 1:
                raise ZeroDivisionError("planted")
            await super().alarm(event)

    with scene(Breaks) as s, caplog.at_level(logging.ERROR):
        s.send("/alarm", at="1000")
        s.clock.run_until(100_000)
        assert s.stored("rung") == [3_000]
        assert "planted" in caplog.text


def test_an_alarm_that_is_set_while_another_rings_is_kept() -> None:
    class Again(Counter):
        async def alarm(self, event: Event) -> None:
            await super().alarm(event)
            if event.stopwatch.planned_ms < 3_000:
                self.state.set_alarm(int(event.stopwatch.planned_ms) + 1_000)
                assert self.state.alarm_unix_ms() == event.stopwatch.planned_ms + 1_000

    with scene(Again) as s:
        s.send("/alarm", at="1000")
        s.clock.run_until(100_000)
        assert s.stored("rung") == [1_000, 2_000, 3_000]


def test_an_alarm_may_be_set_for_the_very_date_that_rings() -> None:
    class Twice(Counter):
        async def alarm(self, event: Event) -> None:
            await super().alarm(event)
            if len(self.state.storage.get("rung")) < 3:
                self.state.set_alarm(1_000)
                # And once more: it is still one alarm.
                self.state.set_alarm(1_000)
                seen.append(self.state.alarm_unix_ms() is not None)

    seen: list[bool] = []
    with scene(Twice) as s:
        s.send("/alarm", at="1000")
        s.clock.run_until(100_000)
        assert len(s.stored("rung")) == 3
        assert seen == [True, True]


def never_rings(delete: Callable[[State], None]) -> None:
    """An alarm that the object deleted like this before its time."""

    class Deletes(Counter):
        async def fetch(self, request: Request, event: Event) -> Response:
            answer = await super().fetch(request, event)
            if request.path == "/delete":
                delete(self.state)
                assert self.state.alarm_unix_ms() is None
            return answer

    with scene(Deletes) as s:
        s.send("/alarm", at="1000")
        s.send("/delete")
        s.clock.run_until(10_000)
        assert s.stored("rung") is None


def test_the_deletion_of_everything_deletes_the_alarm() -> None:
    never_rings(lambda state: state.storage.delete_all())


def test_a_deleted_alarm_does_not_ring() -> None:
    never_rings(State.delete_alarm)


def test_an_alarm_whose_transaction_was_undone_is_not_set() -> None:
    class Undoes(Counter):
        async def fetch(self, request: Request, event: Event) -> Response:
            try:
                with self.state.storage.transaction():
                    self.state.set_alarm(1_000)
                    raise PlatformError("never mind")
            except PlatformError:
                assert self.state.alarm_unix_ms() is None
            return await super().fetch(request, event)

    with scene(Undoes) as s:
        s.send("/")
        s.clock.run_until(10_000)
        assert s.stored("rung") is None
