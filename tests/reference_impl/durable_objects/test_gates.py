"""The gates of a Durable Object: nothing leaves before it is durable, and nobody enters a critical section.

Goal: replies, calls of others and refusals wait for the disk, the object does not; critical sections and transactions
hold the object. Method: a disk that takes 30 ms to make anything durable, and fails when it is told to, under a virtual
clock.
"""

import json
from typing import Any

import pytest

from reference_impl.durable_objects.gates import Event, ResetError
from reference_impl.durable_objects.transactions import Transaction
from reference_impl.errors import PlatformError, RequestError
from reference_impl.messages import Request, Response, json_response
from reference_impl.timing.stopwatch import Stopwatch
from reference_impl.volumes.disks import StorageFailedError
from tests.support.objects import Counter, Scene, scene

SYNC_MS = 30.0


class Gate(Counter):
    """Takes 10 ms inside, then does what the path says."""

    async def fetch(self, request: Request, event: Event) -> Response:
        action = getattr(self, f"do_{request.path[1:]}")
        async with event.stage("work", 10):
            pass
        answer: Any = await action(event)
        return json_response({"answer": answer})

    async def far(self, event: Event, took_ms: float) -> float:
        """Ask somebody far away; return when the call arrived there."""
        began_ms = event.stopwatch.clock.now_ms()
        event.stopwatch.delay("far", took_ms)
        await event.stopwatch.catch_up()
        return began_ms

    async def do_read(self, event: Event) -> Any:
        return self.state.storage.get("count", 0)

    async def do_write(self, event: Event) -> Any:
        self.state.storage.put("count", self.state.storage.get("count", 0) + 1)

    async def do_refuse(self, event: Event) -> Any:
        raise RequestError(402, "refused", f"count is {self.state.storage.get('count', 0)}")

    async def do_write_then_refuse(self, event: Event) -> Any:
        await self.do_write(event)
        raise RequestError(402, "refused", "after a write")

    async def do_write_then_crash(self, event: Event) -> Any:
        await self.do_write(event)
        raise ZeroDivisionError

    async def do_swallow(self, event: Event) -> Any:
        await self.do_write(event)
        try:
            await event.outside(self.far(event, 5))
        except PlatformError:
            # By now the disk may be well again.
            await event.stopwatch.clock.sleep_until_ms(event.stopwatch.clock.now_ms() + SYNC_MS)

    async def do_swallow_half_a_turn(self, event: Event) -> Any:
        self.state.storage.put("from", -3)
        try:
            self.state.storage.put("broken", 1)
        except PlatformError:
            self.state.storage.put("to", 3)

    async def do_write_then_call(self, event: Event) -> Any:
        await self.do_write(event)
        return await event.outside(self.far(event, 5))

    async def do_section(self, event: Event) -> Any:
        async def section() -> str:
            await event.outside(self.far(event, 100))
            return "done"

        return await event.block_concurrency_while(section)

    async def do_section_fails(self, event: Event) -> Any:
        async def section() -> None:
            raise RequestError(400, "bad", "no good")

        await event.block_concurrency_while(section)

    async def do_section_never_ends(self, event: Event) -> Any:
        async def section() -> None:
            await event.stopwatch.clock.waiter()

        await event.block_concurrency_while(section)

    async def do_transaction(self, event: Event) -> Any:
        async def transfer(transaction: Transaction) -> None:
            self.state.storage.put("from", -1)
            await event.outside(self.far(event, 100))
            self.state.storage.put("to", 1)

        await event.transaction(transfer)

    async def do_transaction_fails(self, event: Event) -> Any:
        async def transfer(transaction: Transaction) -> None:
            self.state.storage.put("from", -2)
            await event.outside(self.far(event, 100))
            raise RequestError(400, "bad", "half-way")

        await event.transaction(transfer)

    async def do_transaction_rolls_back(self, event: Event) -> Any:
        async def transfer(transaction: Transaction) -> str:
            self.state.storage.put("from", -3)
            await event.outside(self.far(event, 100))
            transaction.rollback()
            self.state.storage.put("to", 3)
            return "changed my mind"

        self.state.storage.put("before", 1)
        return await event.transaction(transfer)

    async def do_balance(self, event: Event) -> Any:
        return [self.state.storage.get("from", 0), self.state.storage.get("to", 0)]


def gates(build: type[Gate] = Gate, **options: Any) -> Any:
    """Set the scene with a disk that takes its time."""
    return scene(build, **{"sync_ms": SYNC_MS, **options})


def warmed(s: Scene) -> float:
    """Wake the object; return the time then."""
    s.clock.run(s.at(0, "/read"))
    return s.clock.now_ms()


# --- output gate -----------------------------------------------------------------------------


def test_a_reply_waits_until_what_it_tells_is_durable_and_the_object_does_not() -> None:
    with gates() as s:
        now = warmed(s)
        # Written at 10, durable at 40; the next is served meanwhile.
        ended = s.clock.run(s.at(now, "/write"), s.at(now, "/write"))
        assert [at_ms - now for at_ms in ended] == [10 + SYNC_MS, 20 + SYNC_MS]


def test_a_read_waits_for_the_earlier_writes_that_it_may_tell_of() -> None:
    with gates() as s:
        now = warmed(s)
        ended = s.clock.run(s.at(now, "/write"), s.at(now, "/read"))
        # The read is inside from 10 to 20; what it saw is durable at 50, when a sync of its own ends.
        assert ended[1] - now == 20 + SYNC_MS
        assert s.clock.run(s.at(s.clock.now_ms(), "/read"))[0] == s.clock.now_ms()


def test_a_refusal_waits_too() -> None:
    with gates() as s:
        now = warmed(s)
        s.clock.spawn(ignore(s.at(now, "/write")))
        with pytest.raises(RequestError, match="count is 1"):
            s.clock.run(s.at(now, "/refuse"))
        assert s.clock.now_ms() - now == 20 + SYNC_MS


async def ignore(asked: Any) -> None:
    """Wait for an answer that nobody looks at."""
    await asked


def test_a_call_of_somebody_else_leaves_through_the_gate() -> None:
    with gates() as s:
        now = warmed(s)
        answer = s.clock.run(
            s.namespace.deliver(
                s.namespace.id_from_name("a"), Request("POST", "/write_then_call"), stopwatch=Stopwatch(s.clock)
            )
        )[0]
        assert json.loads(answer.body)["answer"] - now == 10 + SYNC_MS


def test_one_sync_serves_all_that_was_committed_before_it() -> None:
    with gates() as s:
        now = warmed(s)
        before = s.disk.syncs
        s.clock.run(s.at(now, "/write"))
        assert s.disk.syncs - before == 1
        s.clock.run(s.at(s.clock.now_ms(), "/read"))
        assert s.disk.syncs - before == 1


def test_a_disk_that_fails_resets_the_object_and_nothing_is_told() -> None:
    with gates() as s:
        warmed(s)
        s.disk.fails = True
        with pytest.raises(StorageFailedError) as caught:
            s.send("/write")
        assert caught.value.retryable
        s.disk.fails = False
        assert s.clock.run(s.at(s.clock.now_ms(), "/write"))


@pytest.mark.parametrize("path", ["/write", "/write_then_refuse", "/write_then_call", "/swallow"])
def test_an_object_forgets_its_memory_when_the_disk_fails_however_its_code_takes_it(path: str) -> None:
    class Remembers(Gate):
        async def do_memory(self, event: Event) -> Any:
            self.in_memory += 1
            return self.in_memory

    with gates(Remembers) as s:
        warmed(s)
        assert s.send("/memory")[0].body == b'{"answer":1}'

        async def fail_once() -> None:
            s.disk.fails = True
            await s.clock.sleep_until_ms(s.clock.now_ms() + 10 + SYNC_MS + 1)
            s.disk.fails = False

        told = s.outcomes(*s.asked(path), fail_once())[0]
        assert isinstance(told, StorageFailedError)
        assert s.send("/memory")[0].body == b'{"answer":1}'


def test_who_waits_for_a_later_sync_is_not_told_that_an_earlier_one_did_its_work() -> None:
    with gates() as s:
        now = warmed(s)

        async def fail_once() -> None:
            s.disk.fails = True
            # The first write's sync ends 40 ms from now and fails, the second's ends 10 ms later.
            await s.clock.sleep_until_ms(now + 45)
            s.disk.fails = False

        first, second, _ = s.outcomes(s.at(now, "/write"), s.at(now, "/write"), fail_once())
        assert isinstance(first, StorageFailedError)
        # When it would have been told, the object was reset already.
        assert isinstance(second, ResetError)


def test_a_turn_that_goes_on_after_the_disk_failed_happens_not_at_all() -> None:
    def fail(step: str) -> None:
        if fails and step.startswith("INSERT") and fails.pop():
            raise StorageFailedError("a bad sector")

    fails: list[bool] = []
    with gates(sync_ms=0, on_step=fail) as s:
        warmed(s)
        # The second of three writes.
        fails[:] = [True, False]
        assert isinstance(s.outcomes(*s.asked("/swallow_half_a_turn"))[0], StorageFailedError)
        assert json.loads(s.send("/balance")[0].body)["answer"] == [0, 0]


def test_what_was_written_before_a_refusal_stays_and_before_a_defect_does_not() -> None:
    with gates(sync_ms=0) as s:
        with pytest.raises(RequestError):
            s.send("/write_then_refuse")
        assert s.stored("count") == 1
        with pytest.raises(ZeroDivisionError):
            s.send("/write_then_crash")
        assert s.stored("count") == 1


def test_a_disk_that_fails_in_the_middle_of_a_turn_leaves_nothing_of_it() -> None:
    fails = [False]

    def fail(step: str) -> None:
        if fails[0] and step.startswith("INSERT"):
            fails[0] = False
            raise StorageFailedError("a bad sector")

    class Twice(Gate):
        async def do_write(self, event: Event) -> Any:
            async with event.stage("work", 5):
                self.state.storage.put("first", 1)
                fails[0] = True
                self.state.storage.put("second", 2)

    with gates(build=Twice, sync_ms=0, on_step=fail) as s:
        with pytest.raises(StorageFailedError):
            s.send("/write")
        assert (s.stored("first"), s.stored("second")) == (None, None)


# --- input gate ------------------------------------------------------------------------------


def test_who_comes_back_waits_until_nobody_is_inside() -> None:
    class Long(Gate):
        async def do_far(self, event: Event) -> Any:
            await event.outside(self.far(event, 5))
            return event.stopwatch.clock.now_ms()

        async def do_long(self, event: Event) -> Any:
            async with event.stage("work", 100):
                pass

    with gates(build=Long, sync_ms=0) as s:
        # The first goes out at 10 and would be back at 15; the second is inside from 10 to 120.
        first, _ = s.clock.run(*s.asked("/far", "/long"))
        assert json.loads(first.body)["answer"] == 120


# --- critical sections -----------------------------------------------------------------------


def test_nobody_enters_a_critical_section_although_it_waits_outside() -> None:
    with gates(sync_ms=0) as s:
        ended = s.clock.run(s.at(0, "/section"), s.at(1, "/read"))
        assert ended == [110, 120]


def test_a_critical_section_that_fails_resets_the_object() -> None:
    with gates(sync_ms=0) as s:
        s.send("/write")
        with pytest.raises(RequestError, match="no good"):
            s.send("/section_fails")
        assert json.loads(s.send("/read")[0].body) == {"answer": 1}


def test_a_critical_section_of_more_than_30_s_is_given_up() -> None:
    with gates(sync_ms=0) as s:
        with pytest.raises(ResetError, match="more than 30 s"):
            s.send("/section_never_ends")
        assert s.clock.now_ms() == 30_010
        # Who waited meets a new instance.
        assert json.loads(s.send("/read")[0].body) == {"answer": 0}


def test_a_transaction_holds_the_object_and_happens_whole() -> None:
    with gates(sync_ms=0) as s:
        ended = s.clock.run(s.at(0, "/transaction"), s.at(1, "/balance"))
        assert ended == [110, 120]
        assert json.loads(s.send("/balance")[0].body) == {"answer": [-1, 1]}


def test_a_transaction_that_fails_happens_not_at_all() -> None:
    with gates(sync_ms=0) as s:
        with pytest.raises(RequestError, match="half-way"):
            s.send("/transaction_fails")
        assert json.loads(s.send("/balance")[0].body) == {"answer": [0, 0]}


def test_a_transaction_that_is_rolled_back_happens_not_at_all_and_is_no_failure() -> None:
    with gates() as s:
        assert s.send("/transaction_rolls_back")[0].body == b'{"answer":"changed my mind"}'
        assert json.loads(s.send("/balance")[0].body)["answer"] == [0, 0]
        # What came before it stays.
        assert s.stored("before") == 1


def test_a_deployment_ends_a_critical_section() -> None:
    with gates(sync_ms=0) as s:

        async def deploy() -> None:
            await s.clock.sleep_until_ms(50)
            s.namespace.restart()

        with pytest.raises(PlatformError, match="code was updated"):
            s.clock.run(*s.asked("/section"), deploy())
        assert json.loads(s.send("/read")[0].body) == {"answer": 0}
