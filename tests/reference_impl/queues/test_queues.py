"""A queue: every message is consumed or a dead letter, in batches, as often as it must be.

Goal: nothing is lost, at any time and over a restart, batches are as large and as late as they may be, and the meter
counts what the bill does. Method: consumers that fail as Hypothesis wants, under a virtual clock; the documented limits
to the unit; a route of a whole deployment.
"""

import math
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.queues.queue import Message, Queue, QueueError, operations
from reference_impl.queues.settings import DELAY_S_MAX, MESSAGE_BYTES_MAX, QueueSettings
from reference_impl.sqlite.engines import Engine
from reference_impl.timing.clock import VirtualClock
from tests.support.routed import ask, request, route, routed
from tests.support.world import memory_engine, settings


class Consumer:
    """Consumes batches, and fails where it was told to; remembers when it got what."""

    def __init__(self, clock: VirtualClock, *, fails: Sequence[bool] = (), work_ms: float = 0.0) -> None:
        self.clock = clock
        self.fails = list(fails)
        self.work_ms = work_ms
        self.got: list[tuple[float, list[bytes]]] = []
        self.attempts: Counter[bytes] = Counter()

    async def __call__(self, batch: Sequence[Message]) -> None:
        self.got.append((self.clock.now_ms(), [message.body for message in batch]))
        self.attempts.update(message.body for message in batch)
        assert all(message.attempts == self.attempts[message.body] for message in batch)
        await self.clock.sleep_until_ms(self.clock.now_ms() + self.work_ms)
        if self.fails and self.fails.pop(0):
            raise ValueError


def queue_of(engine: Engine, clock: VirtualClock, consume: Any, **table: Any) -> Queue:
    return Queue(engine, clock=clock, settings=settings(QueueSettings.read, table), consume=consume)


@given(
    st.lists(st.integers(0, 8_000), min_size=1, max_size=25),
    st.lists(st.booleans(), max_size=40),
    st.integers(1, 5),
    st.integers(0, 3),
    st.booleans(),
)
def test_every_message_is_consumed_or_a_dead_letter(
    gaps_ms: list[int], fails: list[bool], size: int, retries: int, dead_letters: bool
) -> None:
    clock = VirtualClock()
    consumer = Consumer(clock, fails=fails, work_ms=10)
    with closing(memory_engine()) as engine:
        queue = queue_of(
            engine, clock, consumer, batch_messages=size, retries=retries, retry_delay_s=2, dead_letters=dead_letters
        )
        bodies = [b"%d" % number for number in range(len(gaps_ms))]
        for body, gap_ms in zip(bodies, gaps_ms, strict=True):
            clock.run_until(clock.now_ms() + gap_ms)
            queue.send(body)
        clock.run_until(clock.now_ms() + 1_000_000)
        dead = queue.dead_letters()
        assert queue.stored == 0
        assert set(consumer.attempts) == set(bodies), "each was delivered at least once"
        assert max(consumer.attempts.values()) <= 1 + retries
        assert all(consumer.attempts[body] == 1 + retries for body in dead)
        assert len(set(dead)) == len(dead)
        assert not dead or dead_letters
        assert all(len(batch) <= size for _, batch in consumer.got)
        delivered = sum(consumer.attempts.values())
        meter = queue.meter
        assert (meter.writes, meter.reads, meter.deletes) == (len(bodies) + len(dead), delivered, len(bodies))
        assert sum(meter.batches) == delivered


@given(st.lists(st.integers(0, 6_000), min_size=1, max_size=30), st.integers(1, 4))
def test_batch_is_full_or_its_time_is_over(gaps_ms: list[int], size: int) -> None:
    clock = VirtualClock()
    consumer = Consumer(clock)
    sent_ms: dict[bytes, float] = {}
    with closing(memory_engine()) as engine:
        queue = queue_of(engine, clock, consumer, batch_messages=size, batch_timeout_s=5)
        for number, gap_ms in enumerate(gaps_ms):
            clock.run_until(clock.now_ms() + gap_ms)
            sent_ms[b"%d" % number] = clock.now_ms()
            queue.send(b"%d" % number)
        clock.run_until(clock.now_ms() + 10_000)
    for at_ms, batch in consumer.got:
        if len(batch) == size:
            assert at_ms == max(sent_ms[body] for body in batch)
        else:
            assert at_ms == min(sent_ms[body] for body in batch) + 5_000
    assert [body for _, batch in consumer.got for body in batch] == list(sent_ms), "in order, if nothing fails"


def test_single_messages_are_acknowledged_or_asked_for_again() -> None:
    clock = VirtualClock()
    got: list[tuple[float, list[bytes]]] = []

    async def consume(batch: Sequence[Message]) -> None:
        got.append((clock.now_ms(), [message.body for message in batch]))
        if len(got) == 1:
            batch[0].ack()
            batch[0].retry()
            batch[1].retry(30)
            raise ValueError

    with closing(memory_engine()) as engine:
        queue = queue_of(engine, clock, consume, batch_messages=3, batch_timeout_s=0, retry_delay_s=7)
        for body in (b"acknowledged", b"again in 30 s", b"failed with its batch"):
            queue.send(body)
        clock.run_until(100_000)
        assert queue.stored == 0
    assert got[1:] == [(7_000, [b"failed with its batch"]), (30_000, [b"again in 30 s"])]


def test_message_outlives_a_restart_at_work_or_not() -> None:
    clock, later = VirtualClock(), VirtualClock()
    with closing(memory_engine()) as engine:
        queue = queue_of(engine, clock, Consumer(clock, work_ms=1_000), batch_messages=2)
        for body in (b"at work", b"at work too", b"waits"):
            queue.send(body)
        clock.run_until(500)
        clock.close()
        consumer = Consumer(later)
        again = queue_of(engine, later, consumer, batch_messages=2)
        assert again.stored == 3
        later.run_until(10_000)
        assert [batch for _, batch in consumer.got] == [[b"at work", b"at work too"], [b"waits"]]
        assert again.stored == 0


def test_limits_are_met_to_the_unit() -> None:
    clock = VirtualClock()
    with closing(memory_engine()) as engine:
        queue = queue_of(engine, clock, Consumer(clock), messages_per_s_max=3)
        queue.send(bytes(MESSAGE_BYTES_MAX))
        for status, body, delay_s in (
            (413, bytes(MESSAGE_BYTES_MAX + 1), 0.0),
            (400, b"", DELAY_S_MAX + 1),
            (400, b"", -1.0),
        ):
            with pytest.raises(QueueError) as caught:
                queue.send(body, delay_s=delay_s)
            assert caught.value.status == status
        for delay_s in (-1.0, DELAY_S_MAX + 1):
            with pytest.raises(QueueError, match="delaySeconds"):
                Message(1, b"", 1).retry(delay_s)
        queue.send(b"")
        queue.send(b"", delay_s=DELAY_S_MAX)
        with pytest.raises(QueueError, match="Too Many Requests") as caught:
            queue.send(b"")
        assert caught.value.status == 429
        clock.advance(1_000 / 3 + 1)
        queue.send(b"")
        assert queue.stored == 4


@given(st.integers(0, MESSAGE_BYTES_MAX))
def test_operation_is_64_kb(size_bytes: int) -> None:
    assert operations(bytes(size_bytes)) == max(1, math.ceil(size_bytes / 64_000))


def test_route_sends_and_does_not_wait_for_the_consumer() -> None:
    table = {"send_ms": 15, "batch_messages": 3, "consumers": 1, "consume_ms": 100, "consume_message_ms": 10}
    with routed({"one": route("queues.send", method="POST")}, {"network": {}, "queues": table}) as w:
        sender = w.deployment.instances["queues"]
        for number in range(7):
            answer, watch = w.ask(request(method="POST", key=1, request=number, body=b"x"))
            assert (answer.status, watch.spent_ms["queues"]) == (200, 15)
        w.clock.run_until(w.clock.now_ms() + 4_000)
        assert (sender.consumed, sender.queue.meter.batches) == (6, [3, 3])
        w.clock.run_until(w.clock.now_ms() + 2_000)
        assert (sender.consumed, sender.queue.meter.batches) == (7, [3, 3, 1])
        too_large = ask(w, method="POST", key=1, size_bytes=MESSAGE_BYTES_MAX + 1)[0]
        assert too_large.status == 413


def test_consumer_fails_as_often_as_the_scenario_says_and_the_meter_counts_it() -> None:
    table = {"batch_messages": 1, "failure_fraction": 0.5, "retries": 1, "dead_letters": True}
    with routed({"one": route("queues.send", method="POST")}, {"network": {}, "queues": table}) as w:
        count = 400
        for number in range(count):
            ask(w, method="POST", key=1, request=number, size_bytes=70_000)
        queue = w.deployment.instances["queues"].queue
        dead = len(queue.dead_letters())
        retried = len(queue.meter.batches) - count
        assert queue.stored == 0
        assert retried == pytest.approx(0.5 * count, abs=4 * math.sqrt(count / 4))
        assert dead == pytest.approx(0.25 * count, abs=4 * math.sqrt(count * 3 / 16))
        assert queue.meter.operations == 2 * (3 * count + retried + dead)
