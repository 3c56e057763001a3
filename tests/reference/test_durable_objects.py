"""The Durable Object runtime: one event at a time, private disks, gates, alarms, eviction.

Goal: what the platform promises of an object holds here. Method: small objects made for one
question each, run under a virtual clock on disks in memory.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from reference_impl import durable_objects
from reference_impl.clock import VirtualClock
from reference_impl.durable_objects import Namespace
from reference_impl.errors import LimitError, OverloadedError, PlatformError, RequestError
from reference_impl.gates import Event
from reference_impl.messages import Request, Response, json_response
from reference_impl.object_disks import MemoryDisk, memory_database
from reference_impl.object_state import State
from reference_impl.object_storage import KV_LIMITS, Storage
from reference_impl.pace import Pace
from reference_impl.stopwatch import Stopwatch


class Counter:
    """Counts its requests on its disk; ``/slow`` reads, waits 10 ms inside, then writes."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.in_memory = 0

    async def fetch(self, request: Request, event: Event) -> Response:
        self.in_memory += 1
        if request.path == "/fail":
            raise PlatformError("refused")
        if request.path == "/crash":
            raise ZeroDivisionError
        if request.path == "/alarm":
            self.state.set_alarm(int(request.query["at"]))
        count = self.state.storage.get("count", 0) + 1
        async with event.stage("work", 10):
            if request.path != "/read":
                self.state.storage.put("count", count)
        return json_response({"count": count, "in_memory": self.in_memory})

    async def alarm(self, event: Event) -> None:
        rung: list[float] = self.state.storage.get("rung", [])
        self.state.storage.put("rung", [*rung, event.stopwatch.planned_ms])
        if len(rung) < self.state.storage.get("failures", 0):
            raise PlatformError("not now")


class Scene:
    """A namespace of counters and the means to talk to it."""

    def __init__(self, disk: MemoryDisk, build: Callable[[State], Any], **pace: Any) -> None:
        self.clock = VirtualClock(unix_ms_start=0)
        self.disk = disk
        self.build = build
        self.pace = Pace.from_mapping({"durable_objects": pace}).durable_objects
        self.namespace = self.deploy()

    def deploy(self) -> Namespace:
        """Start the namespace's code anew on the same disk."""
        return Namespace("Counter", self.build, clock=self.clock, disk=self.disk, pace=self.pace)

    def send(self, *paths: str, name: str = "a", **query: str) -> list[Any]:
        """Send requests at the same time; return their answers."""
        object_id = self.namespace.id_from_name(name)
        self.stopwatches = [Stopwatch(self.clock) for _ in paths]
        return self.clock.run(
            *(
                self.namespace.deliver(object_id, Request("POST", path, query), stopwatch=watch)
                for path, watch in zip(paths, self.stopwatches, strict=True)
            )
        )

    def stored(self, key: str, name: str = "a") -> Any:
        """Read an object's disk from outside."""
        return Storage(self.disk.open(self.namespace.id_from_name(name))).get(key)


@contextmanager
def scene(build: Callable[[State], Any] = Counter, **pace: Any) -> Iterator[Scene]:
    disk = MemoryDisk()
    made = Scene(disk, build, **pace)
    try:
        yield made
    finally:
        made.clock.close()
        disk.unmount()


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
    with scene() as s, pytest.raises(RequestError, match="'zz' is no object id of Counter"):
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
        assert s.stopwatches[0].spent_ms["durable_objects"] == 40


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
        assert s.namespace.bells.given_up == 0


def test_an_alarm_that_always_fails_is_given_up_and_counted() -> None:
    with scene() as s:
        s.send("/alarm", at="1000")
        Storage(s.disk.open(s.namespace.id_from_name("a"))).put("failures", 99)
        s.clock.run_until(1_000_000)
        assert len(s.stored("rung")) == 7
        assert s.namespace.bells.given_up == 1


def test_an_alarm_survives_a_restart() -> None:
    with scene() as s:
        s.send("/alarm", at="5000")
        s.clock.close()
        s.namespace = s.deploy()
        s.namespace.resume()
        s.clock.run_until(6_000)
        assert s.stored("rung") == [5_000]


# --- storage ---------------------------------------------------------------------------------


@contextmanager
def storage(**options: Any) -> Iterator[Storage]:
    database = memory_database()
    try:
        yield Storage(database, **options)
    finally:
        database.close()


def test_a_transaction_happens_whole_or_not_at_all() -> None:
    with storage() as s:
        s.put("kept", 1)

        def fail_half_way() -> None:
            with s.transaction():
                s.put("kept", 2)
                s.put("new", 3)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail_half_way()
        assert s.items() == {"kept": 1}
        with s.transaction():
            s.put("kept", 2)
        assert s.get("kept") == 2


def test_values_come_back_as_they_were() -> None:
    values = [None, True, 7, -1.5, "tëxt", [1, [2]], {"a": {"b": None}}]
    with storage() as s:
        for value in values:
            s.put("key", value)
            assert s.get("key", "default") == value
        assert s.delete("key")
        assert not s.delete("key")
        assert s.get("key", "default") == "default"


def test_items_come_in_key_order_by_prefix_and_limit() -> None:
    with storage() as s:
        for key in ("b2", "a", "b1", "b%", "c"):
            s.put(key, key)
        assert list(s.items(prefix="b")) == ["b%", "b1", "b2"]
        assert list(s.items(limit=2)) == ["a", "b%"]


@pytest.mark.parametrize(
    ("key_bytes", "value_bytes", "fits"),
    [(2_048, 131_072, True), (2_049, 1, False), (1, 131_073, False)],
)
def test_the_key_value_back_end_keeps_its_limits(key_bytes: int, value_bytes: int, fits: bool) -> None:
    key, value = "k" * key_bytes, "v" * (value_bytes - 2)
    with storage(limits=KV_LIMITS) as s:
        if fits:
            s.put(key, value)
        else:
            with pytest.raises(LimitError, match="the platform takes at most"):
                s.put(key, value)
        assert (s.get(key) == value) is fits


@pytest.mark.parametrize("excess_bytes", [0, 1])
def test_the_sqlite_back_end_limits_key_and_value_together(excess_bytes: int) -> None:
    value = "v" * (2_000_000 - 2 - len("key") + excess_bytes)
    with storage() as s:
        if excess_bytes:
            with pytest.raises(LimitError, match="2000001 bytes in"):
                s.put("key", value)
        else:
            s.put("key", value)
            assert s.get("key") == value


def test_sql_keeps_the_platform_s_limits() -> None:
    with storage() as s:
        assert s.sql(f"SELECT {'+'.join('?' * 100)}", *range(100)) == [(4_950,)]
        with pytest.raises(LimitError, match="101, at most 100"):
            s.sql("SELECT 1", *range(101))
        with pytest.raises(LimitError, match="at most 100000"):
            s.sql("SELECT 1 " + " " * 100_000)
