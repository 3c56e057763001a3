"""The model of a queue: sending, batches, consumers, failures, and the bill.

Goal: a request pays for sending alone, the consumers' load and the number of batches are those of the traffic, and the
bill counts every operation. Method: both engines; batches counted over the requests of a run in a loop written again;
the price list to the cent.
"""

from typing import Any

import numpy as np
import pytest

from sim import run
from sim.judgement.cost import cost, price, usage_per_month
from sim.models.billing import SECONDS_PER_MONTH
from sim.models.queues import mean_batch
from sim.results.result import Result
from sim.scenario.scenario import Scenario
from tests.support.frames import PLATFORM
from tests.support.routes import KNOWN_TIMES, of_steps

TABLE: dict[str, Any] = {
    "send_ms": 15.0, "message_bytes_max": 128_000, "messages_per_s_max": 5_000.0, "batch_messages": 10,
    "batch_timeout_s": 5.0, "delivery_ms": 100.0, "consumers": 4, "consume_ms": 40.0, "consume_message_ms": 2.0,
    "consumer_cpu_ms": 5.0, "failure_fraction": 0.0, "retries": 3, "retry_delay_s": 0.0, "dead_letters": True,
    "operation_bytes": 64_000, "message_operations": 3,
}  # fmt: skip


def sending(size_bytes: Any = 1_000.0, **table: Any) -> Scenario:
    scenario = KNOWN_TIMES.vary("system.queues", {**TABLE, **table})
    return of_steps("queues.send", scenario=scenario, size_bytes=size_bytes)


def played(scenario: Scenario, engine: str = "compiled", requests: int = 5_000) -> Result:
    return run(scenario.vary("workload.warm_up_s", 0.0), on=engine, requests=requests, rng=8)


def consumers(result: Result) -> Any:
    """What the consumers did."""
    return result.stations.set_index("station").loc["queues"]


def test_engines_agree_request_by_request_and_on_the_consumers() -> None:
    random = {"distribution": "exponential", "mean": 60.0}
    scenario = sending(consume_ms=random, delivery_ms=random, send_ms=random, failure_fraction=0.3, retry_delay_s=0.5)
    simpy, compiled = played(scenario, "simpy", 2_000), played(scenario, "compiled", 2_000)
    assert np.array_equal(simpy.frame["latency_ms"], compiled.frame["latency_ms"])
    assert simpy.stations.equals(compiled.stations)


def test_request_pays_for_sending_alone() -> None:
    slow = played(sending(consumers=1, consume_ms=10_000.0), requests=500).frame
    assert slow["latency_ms"].to_numpy() == pytest.approx(15.0)
    assert slow["queues_ms"].to_numpy() == pytest.approx(15.0)


@pytest.mark.parametrize("size", [1, 2, 10, 100])
def test_full_batches_are_as_many_as_the_traffic_fills(size: int) -> None:
    """At 58 messages a second a batch of at most 100 is full before its five seconds are over."""
    served = consumers(played(sending(batch_messages=size)))["served"]
    assert served == pytest.approx(5_000 / size, abs=5_000 / size * 0.15 + 3)


def test_partial_batches_go_when_their_time_is_over() -> None:
    """At 0.5 messages a second a batch begins with a message and takes those of the next five seconds."""
    scenario = sending(batch_messages=100).at_rate(0.5)
    result = played(scenario, requests=2_000)
    sent_ms = np.sort(result.frame["arrival_ms"].to_numpy() + result.frame["latency_ms"].to_numpy())
    batches, ends_ms = 0, -np.inf
    for at_ms in sent_ms:
        if at_ms > ends_ms:
            batches, ends_ms = batches + 1, at_ms + 5_000
    assert consumers(result)["served"] == batches
    assert len(sent_ms) / batches == pytest.approx(mean_batch(2.5, 100), rel=0.05)


def test_work_of_consumers_is_that_of_batches_and_messages() -> None:
    result = played(sending(consumers=50))
    span_ms = float(result.frame["arrival_ms"].iloc[-1])
    row = consumers(result)
    work_ms = row["utilization"] * 50 * span_ms
    assert work_ms == pytest.approx(40.0 * row["served"] + 2.0 * 5_000, rel=0.02)


@pytest.mark.parametrize(("share", "retries"), [(0.5, 3), (0.2, 0), (1.0, 2)])
def test_failed_batches_come_again_until_their_retries_are_used_up(share: float, retries: int) -> None:
    result = played(sending(batch_messages=1, failure_fraction=share, retries=retries, consumers=100), requests=4_000)
    expected = sum(share**number for number in range(retries + 1))
    assert consumers(result)["served"] / 4_000 == pytest.approx(expected, rel=0.06)
    assert (result.frame["outcome"] == "ok").all()


def test_more_than_the_queue_takes_is_refused() -> None:
    frame = played(sending(messages_per_s_max=20.0)).frame
    refused = (frame["outcome"] == "refused").mean()
    assert refused == pytest.approx(1 - 20 / 57.9, abs=0.03)


def test_message_over_the_limit_is_refused() -> None:
    frame = played(sending({"distribution": "uniform", "low": 100_000, "high": 150_000})).frame
    assert np.array_equal(frame["outcome"] == "too_large", frame["size_bytes"] > 128_000)


@pytest.mark.parametrize(
    ("size_bytes", "table", "per_message"),
    [
        (1_000.0, {}, 3),
        (64_000.0, {}, 3),
        (65_000.0, {}, 6),
        (127_000.0, {}, 6),
        (1_000.0, {"failure_fraction": 1.0, "retries": 3}, 3 + 3 + 1),
        (1_000.0, {"failure_fraction": 1.0, "retries": 3, "dead_letters": False}, 3 + 3),
        (1_000.0, {"failure_fraction": 0.5, "retries": 1}, 3 + 0.5 + 0.25),
    ],
)
def test_operations_of_a_message(size_bytes: float, table: dict[str, Any], per_message: float) -> None:
    used = usage_per_month(sending(size_bytes, **table), 1e6)
    assert used["queues.operations"] == pytest.approx(1e6 * per_message)


def test_each_begun_operation_is_billed_of_the_sizes_and_not_of_their_mean() -> None:
    """Of sizes from 14 to 114 kB, 64 on average, half are beyond one operation of 64,000 bytes."""
    used = usage_per_month(sending({"distribution": "uniform", "low": 14_000, "high": 114_000}), 1e6)
    assert used["queues.operations"] == pytest.approx(1e6 * 3 * 1.5)


def test_consumers_batches_are_requests_of_a_worker() -> None:
    rate_per_s = 2.0
    used = usage_per_month(sending(batch_messages=10), rate_per_s * SECONDS_PER_MONTH)
    batches = rate_per_s * SECONDS_PER_MONTH / mean_batch(10.0, 10)
    assert used["workers.requests"] == pytest.approx(batches)
    assert used["workers.cpu"] == pytest.approx(5.0 * batches)


def test_producer_is_not_billed_for_another_workers_consumer() -> None:
    """What is read and deleted stays on the queue's bill; the invocations go to the Worker that consumes."""
    messages = 2.0 * SECONDS_PER_MONTH
    own, other = sending(), sending(consumer_billed=False)
    used, without = usage_per_month(own, messages), usage_per_month(other, messages)
    assert without["queues.operations"] == used["queues.operations"] == 3 * messages
    assert "workers.requests" not in without
    assert "workers.cpu" not in without
    assert played(own, requests=500).frame.equals(played(other, requests=500).frame)


def test_bill_says_whose_invocations_the_batches_are() -> None:
    messages = 2.0 * SECONDS_PER_MONTH
    notes = " ".join(cost(sending(), requests_per_month=messages).notes)
    batches = messages / mean_batch(10.0, 10)
    assert f"workers.requests: {batches:,.0f} of them are batches that queues delivers to its consumer" in notes
    assert "system.queues.consumer_billed = false" in notes
    silent = " ".join(cost(sending(consumer_billed=False), requests_per_month=messages).notes)
    assert "queues: its consumer is another Worker" in silent
    assert "of them are batches" not in silent
    assert "consumer" not in " ".join(cost(sending(), requests_per_month=0).notes)


@pytest.mark.parametrize(("expected", "at_most"), [(0.1, 10), (2.5, 100), (9.0, 10), (50.0, 100), (3.0, 1)])
def test_mean_batch_is_that_of_batches_drawn(expected: float, at_most: int) -> None:
    drawn = 1 + np.minimum(np.random.default_rng(3).poisson(expected, 200_000), at_most - 1)
    assert mean_batch(expected, at_most) == pytest.approx(drawn.mean(), rel=0.01)


@pytest.mark.parametrize(
    ("messages", "usd"),
    [
        # Three operations a message of up to 64 KB; a million operations are in the plan, then 0.40 USD a million.
        (333_333, 0.0),
        (1_000_000, 0.80),
        (10_000_000, 11.60),
        (100_000_000, 119.60),
    ],
)
def test_price_list_to_the_cent(messages: int, usd: float) -> None:
    used = usage_per_month(sending(), messages)
    lines = price({"queues.operations": used["queues.operations"]}, PLATFORM)
    assert sum(line.usd for line in lines) == pytest.approx(usd, abs=0.005)
    bill = cost(sending(), requests_per_month=messages)
    assert sum(line.usd for line in bill.lines if line.component == "queues") == pytest.approx(usd, abs=0.005)
