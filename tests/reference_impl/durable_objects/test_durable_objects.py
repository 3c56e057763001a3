"""The Durable Object runtime: identities, one event at a time, alarms, eviction, deployments.

Goal: what the platform promises of an object holds here. Method: small objects made for one question each, run under a
virtual clock on disks in memory (``objects.py``). Gates, storage and sockets have test files of their own.
"""

import pytest

from reference_impl.durable_objects import ids as object_ids
from reference_impl.durable_objects import namespace as durable_objects
from reference_impl.durable_objects.gates import Event, ResetError
from reference_impl.errors import ConfigError, OverloadedError, PlatformError, RequestError
from reference_impl.messages import Request, Response
from reference_impl.timing.stopwatch import Stopwatch
from tests.support.objects import Counter, scene


def test_a_name_always_gives_the_same_object_and_another_name_another() -> None:
    with scene() as s:
        a, b = s.namespace.id_from_name("a"), s.namespace.id_from_name("b")
        assert a == s.namespace.id_from_name("a") != b
        assert len(a) == 64
        assert s.namespace.id_from_string(a) == a
        assert s.namespace.names() == ["a", "b"]
        s.send("/", "/", name="a")
        s.send("/", name="b")
        assert (s.stored("count", "a"), s.stored("count", "b")) == (2, 1)


def test_a_strange_id_is_refused() -> None:
    with scene() as s, pytest.raises(RequestError, match="'zz' is not an object id of Counter"):
        s.namespace.id_from_string("zz")


def test_one_event_at_a_time_so_that_no_update_is_lost() -> None:
    with scene() as s:
        answers = s.send(*["/"] * 20)
        assert s.stored("count") == 20
        assert [answer.body for answer in answers][-1] == b'{"count":20,"in_memory":20}'
        assert s.clock.now_ms() == 200


def test_different_objects_run_at_the_same_time() -> None:
    with scene() as s:
        ids = [s.namespace.id_from_name(name) for name in "abc"]
        s.clock.run(*(s.namespace.deliver(i, Request("POST", "/"), stopwatch=Stopwatch(s.clock)) for i in ids))
        assert s.clock.now_ms() == 10


def test_only_a_reply_that_tells_of_a_write_waits_at_the_output_gate() -> None:
    with scene(output_gate_ms=11) as s:
        s.send("/read", "/write", "/read")
        # The second's gate does not hold up the third.
        assert [watch.planned_ms for watch in s.stopwatches] == [10, 31, 30]


def test_an_object_lets_others_in_while_it_waits_outside() -> None:
    class Visitor(Counter):
        async def fetch(self, request: Request, event: Event) -> Response:
            async def go_far() -> None:
                event.stopwatch.delay("far", 100)
                await event.stopwatch.catch_up()

            if request.path == "/outside":
                await event.outside(go_far())
            return await super().fetch(request, event)

    with scene(Visitor) as s:
        s.send("/outside", "/")
        assert [watch.planned_ms for watch in s.stopwatches] == [110, 10]
        assert s.stored("count") == 2


def test_what_fails_outside_comes_back_inside() -> None:
    class Visitor(Counter):
        async def fetch(self, request: Request, event: Event) -> Response:
            async def fail() -> None:
                raise PlatformError("far away")

            try:
                await event.outside(fail())
            except PlatformError:
                return await super().fetch(request, event)
            raise AssertionError

    with scene(Visitor) as s:
        s.send("/", "/", "/")
        assert s.stored("count") == 3


def test_a_full_line_refuses_at_once_and_says_do_not_retry() -> None:
    with scene(queue_limit=2) as s:
        s.send("/", "/", "/")
        with pytest.raises(OverloadedError, match="2 requests wait already") as caught:
            s.send("/", "/", "/", "/")
        assert (caught.value.overloaded, caught.value.retryable) == (True, False)


def test_idling_evicts_memory_and_keeps_the_disk() -> None:
    with scene(evict_idle_ms=1_000, cold_start_ms=40) as s:
        s.send("/")
        s.clock.run_until(500)
        assert s.send("/")[0].body == b'{"count":2,"in_memory":2}'
        s.clock.run_until(s.clock.now_ms() + 1_001)
        assert s.send("/")[0].body == b'{"count":3,"in_memory":1}'
        assert s.stopwatches[0].spent_ms["Counter"] == 40


def test_a_refusal_keeps_the_object_and_a_defect_resets_it() -> None:
    with scene() as s:
        s.send("/")
        with pytest.raises(PlatformError):
            s.send("/fail")
        assert s.send("/")[0].body == b'{"count":2,"in_memory":3}'
        with pytest.raises(ZeroDivisionError):
            s.send("/crash")
        assert s.send("/")[0].body == b'{"count":3,"in_memory":1}'


def test_a_deployment_of_new_code_drops_memory_and_keeps_disks() -> None:
    with scene() as s:
        s.send("/")
        s.namespace.restart()
        assert s.send("/")[0].body == b'{"count":2,"in_memory":1}'


def test_closing_files_of_idle_objects_is_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable_objects, "OPEN_OBJECTS_MAX", 8)
    with scene(cold_start_ms=40) as s:
        for name in [f"o{n % 12}" for n in range(36)]:
            s.send("/", name=name)
        assert [s.stored("count", f"o{n}") for n in range(12)] == [3] * 12
        # Each paid one cold start, however often its files were closed.
        assert s.clock.now_ms() == 36 * 10 + 12 * 40


def test_unique_ids_are_unique_and_ids_of_other_namespaces_are_strange() -> None:
    with scene() as s:
        ids = {s.namespace.new_unique_id(bytes([n]) * 24) for n in range(10)}
        assert len(ids) == 10
        assert {s.namespace.id_from_string(text) for text in ids} == ids
        assert s.namespace.names() == []
        with pytest.raises(ConfigError, match="23 bytes of entropy"):
            s.namespace.new_unique_id(bytes(23))
        other = object_ids.from_name("Other", "a")
        mistyped = ids.pop()[:-1] + "x"
        for strange in (other, mistyped, "", "A" * 64):
            with pytest.raises(RequestError, match="is not an object id of Counter"):
                s.namespace.id_from_string(strange)


def test_an_object_that_waits_outside_is_not_idle() -> None:
    class Far(Counter):
        async def fetch(self, request: Request, event: Event) -> Response:
            async def go_far() -> None:
                event.stopwatch.delay("far", 5_000)
                await event.stopwatch.catch_up()

            if request.path == "/far":
                await event.outside(go_far())
            return await super().fetch(request, event)

    with scene(Far, evict_idle_ms=1_000) as s:
        asked = s.clock.run(s.at(0, "/far"), s.at(10, "/"), s.at(3_000, "/"), s.at(5_020, "/"))
        assert asked == [5_010, 20, 3_010, 5_030]
        # Three times the same instance, although nobody was inside for seconds.
        assert s.send("/")[0].body == b'{"count":5,"in_memory":5}'


def test_eviction_by_hand_drops_an_idle_object_and_no_other() -> None:
    with scene() as s:
        s.send("/")
        object_id = s.namespace.id_from_name("a")
        assert s.namespace.evict(object_id)
        assert s.send("/")[0].body == b'{"count":2,"in_memory":1}'
        evicted = []

        async def evict() -> None:
            await s.clock.sleep_until_ms(s.clock.now_ms() + 5)
            evicted.append(s.namespace.evict(object_id))

        s.clock.run(*s.asked("/"), evict())
        assert evicted == [False]
        assert not s.namespace.evict(s.namespace.id_from_name("never used"))


def test_a_deployment_stops_events_under_way() -> None:
    with scene() as s:
        s.send("/")

        async def deploy() -> None:
            await s.clock.sleep_until_ms(s.clock.now_ms() + 5)
            s.namespace.restart()

        # One is inside, one waits in line: both are to ask again.
        errors = s.outcomes(*s.asked("/", "/"), deploy())[:2]
        assert [str(error) for error in errors] == [durable_objects.CODE_UPDATED] * 2
        assert all(error.retryable and not error.overloaded for error in errors)
        # The first had committed already: an error does not tell that nothing happened.
        assert s.send("/")[0].body == b'{"count":3,"in_memory":1}'


def test_code_of_an_old_instance_writes_no_more() -> None:
    old = []

    class Keeps(Counter):
        async def fetch(self, request: Request, event: Event) -> Response:
            old.append(self.state.storage)
            return await super().fetch(request, event)

    with scene(Keeps) as s:
        s.send("/")
        s.namespace.restart()
        s.send("/")
        with pytest.raises(ResetError):
            old[0].put("count", 99)
        old[1].put("count", 7)
        assert s.send("/")[0].body == b'{"count":8,"in_memory":2}'
