"""A queue: a request sends a message and goes on; consumers get messages in batches, and again after a failure.

A batch is ready when it is full, or when its timeout ends; it is delivered, waits for a consumer, and holds it. A batch
that fails is delivered again as a whole after a pause, until its retries are used up; then its messages are dead
letters. All of this is asynchronous: the request's own time is that of sending.

Simplifications: the timeout of a partial batch runs from the first message after the previous partial batch, so it may
be delivered early, never late; if two partial batches are in work at once, the earlier one is charged for the messages
of the later; all consumers exist from the start, while the provider adds them as the backlog grows; messages are not
acknowledged one by one, so a batch succeeds or fails as a whole; nothing reads the dead letters.

Sources
-------
Queues limits (message of 128 KB, 5,000 messages a second and queue, 250 consumers), batching and retries (a batch of 10
or 5 s, 3 retries, then the dead-letter queue), pricing (an operation is 64 KB written, read or deleted; a retry is one
more read, a dead letter one more write). A queue may be consumed by another Worker: the scenario says whose bill it is.
That a batch counts as one request of the consumer's Worker is our reading of
"Workers are billed as usual". Times are the scenario's assumptions.
"""

from math import exp
from typing import Annotated

from pydantic import Field

from sim.flow import (
    ZERO,
    Attempt,
    AttributeOver,
    Branch,
    Bucket,
    Chance,
    Count,
    CountAtLeast,
    Counter,
    Delay,
    Drained,
    Flow,
    Guard,
    Hold,
    Latch,
    Move,
    Reset,
    Spawn,
    Station,
    Time,
)
from sim.foundation.schema import Count as Number
from sim.foundation.schema import Fraction, NotNegative, Positive, Table
from sim.models.billing import SECONDS_PER_MONTH, Call, Demand, Usage, per_million
from sim.models.component import Component, Instance, NoParameters, Operation, Tier
from sim.randomness.distributions import Constant, Distribution

Retries = Annotated[int, Field(ge=0, le=100)]
Batch = Annotated[int, Field(ge=1, le=100)]


class Queues(Table):
    """A queue with one consumer Worker."""

    send_ms: Distribution
    """Until a message is stored, and its sender goes on."""
    message_bytes_max: Number
    """A larger message is refused."""
    messages_per_s_max: Positive
    """Messages that the queue takes; beyond it they are refused (429)."""
    batch_messages: Batch
    """A batch of this size is delivered at once (``max_batch_size``)."""
    batch_timeout_s: NotNegative
    """A smaller one is delivered after this time (``max_batch_timeout``)."""
    delivery_ms: Distribution
    """From a batch that is ready to its consumer."""
    consumers: Number
    """Batches worked on at a time (``max_concurrency``)."""
    consume_ms: Distribution
    """Work of a batch; it holds a consumer."""
    consume_message_ms: NotNegative
    """Added to it for each message."""
    consumer_cpu_ms: NotNegative
    """CPU time of a batch, for the bill."""
    consumer_billed: bool | None = None
    """``false`` if another Worker consumes the queue: its requests and CPU are then not on this bill."""
    failure_fraction: Fraction
    """Share of deliveries that fail."""
    retries: Retries
    """Further deliveries of a batch that failed (``max_retries``)."""
    retry_delay_s: NotNegative
    """Pause before each of them."""
    dead_letters: bool
    """Whether messages that failed every time go to a dead-letter queue; else they are gone."""
    operation_bytes: Number
    """Bytes that one operation of the bill writes, reads or deletes."""
    message_operations: Number
    """Operations of one message that is consumed at once."""


def consumers(queues: Instance) -> Station:
    """Return the consumers, for which batches wait.

    They are not the component's ``station``: no request waits here, so no request has a time in this queue.
    """
    return Station(queues.name, servers=queues.table.consumers)


def send(queues: Instance, _: NoParameters) -> Flow:
    """Send the request's bytes as a message; delivery is asynchronous."""
    table: Queues = queues.table
    pending = Counter(f"{queues.name}_pending")
    limit = Bucket(f"{queues.name}_rate", per_s=table.messages_per_s_max, burst=max(1.0, table.messages_per_s_max))
    full = (
        Count(pending, by=-table.batch_messages),
        Spawn(_deliver(queues, _each(queues, None)), queues.stream("full")),
    )
    partial = Spawn(
        _partial(queues, pending),
        queues.stream("partial"),
        after=Constant(value=table.batch_timeout_s * 1_000),
        once=Latch(f"{queues.name}_timer"),
    )
    return (
        Guard(AttributeOver("size_bytes", table.message_bytes_max), "too_large"),
        Guard(Drained(limit), "refused"),
        Delay(table.send_ms, queues.stream("send")),
        Count(pending),
        Branch(CountAtLeast(pending, table.batch_messages), full, (partial,)),
    )


def _partial(queues: Instance, pending: Counter) -> Flow:
    """Deliver whatever is pending when the timeout ends; nothing, if full batches have taken it all."""
    sealed = Counter(f"{queues.name}_sealed")
    seal = (Reset(sealed), Move(pending, into=sealed))
    return (Branch(CountAtLeast(pending, 1), (*seal, *_deliver(queues, _each(queues, sealed)))),)


def _each(queues: Instance, sealed: Counter | None) -> Time:
    """Return the work for a batch's messages: of a full batch, or of as many messages as were *sealed*."""
    table: Queues = queues.table
    if sealed is None:
        return Time(Constant(value=table.batch_messages * table.consume_message_ms))
    return Time(ZERO.distribution, each_ms=table.consume_message_ms, of=sealed, at_most=table.batch_messages)


def _deliver(queues: Instance, each: Time) -> Flow:
    """Deliver a batch until it succeeds, or its retries are used up."""
    table: Queues = queues.table
    work = (Delay(table.consume_ms, queues.stream("consume")), Delay(each, queues.stream("each")))
    delivery = (
        Delay(table.delivery_ms, queues.stream("delivery")),
        Hold(consumers(queues), work),
        Guard(Chance(table.failure_fraction, queues.stream("fails")), "error"),
    )
    pause_ms = table.retry_delay_s * 1_000
    return (
        Attempt(delivery, queues.stream("retry"), retries=table.retries, backoff_ms=pause_ms, backoff_max_ms=pause_ms),
    )


def send_usage(queues: Instance, call: Call) -> Usage:
    """Return the usage of a message over its life: a write, a read per delivery, a delete, perhaps a dead letter."""
    table: Queues = queues.table
    parts = call.units(table.operation_bytes)
    dead = table.failure_fraction ** (table.retries + 1) if table.dead_letters else 0.0
    return Usage({"queues.operations": parts * (table.message_operations + _retries(table) + dead)})


def batches(queues: Instance, demand: Demand) -> Usage:
    """Return the usage of a month's deliveries: each is a request to the consumer's Worker, with its CPU time."""
    sent = sum(demand.calls_per_month.values())
    table: Queues = queues.table
    if table.consumer_billed is False:
        return Usage()
    mean = mean_batch(sent / SECONDS_PER_MONTH * table.batch_timeout_s, table.batch_messages)
    deliveries = sent / mean * (1 + _retries(table))
    return Usage({"workers.requests": deliveries, "workers.cpu": deliveries * table.consumer_cpu_ms})


def whose_batches(queues: Instance, usage: Usage) -> str:
    """Say whose invocations a month's deliveries are, and how to leave them out."""
    if queues.table.consumer_billed is False:
        return (
            f"{queues.name}: its consumer is another Worker, whose requests and CPU are not on this bill "
            f"(system.{queues.name}.consumer_billed = false); what is read and deleted in the queue is."
        )
    requests = usage.amounts["workers.requests"]
    if not requests:
        return ""
    return (
        f"workers.requests: {requests:,.0f} of them are batches that {queues.name} delivers to its consumer. If it is "
        f"another Worker, say system.{queues.name}.consumer_billed = false: they are then on its bill alone."
    )


def _retries(table: Queues) -> float:
    """Return the mean number of redeliveries of a batch."""
    return sum(table.failure_fraction**number for number in range(1, table.retries + 1))


def mean_batch(expected: float, at_most: int) -> float:
    """Return the mean size of a batch that is delivered when full or when its timeout ends.

    Parameters
    ----------
    expected : float
        Mean number of messages that arrive within the timeout; their number is Poisson distributed.
    at_most : int
        Size of a full batch.

    >>> mean_batch(0.0, 10), mean_batch(1e9, 10)
    (1.0, 10.0)
    """
    probability, reached, mean = exp(-expected), 1.0, 1.0
    for more in range(1, at_most):
        reached -= probability  # Now the probability that at least *more* come behind the first.
        mean += max(reached, 0.0)
        probability *= expected / more
    return mean


COMPONENT = Component(
    name="queues",
    label="Queues",
    colour="#b15928",
    tier=Tier.STORE,
    table=Queues,
    operations={"send": Operation(send, usage=send_usage, services=("queues",))},
    meters=(per_million("queues.operations", "operations", fact="operations"),),
    background=batches,
    bill_note=whose_batches,
)
