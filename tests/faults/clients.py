"""The clients and the network: who asks repeats until there is an answer, and messages take their own time.

A client is one task that sends one operation after the other. It repeats a request, under the same event name, when no
answer came in time or the server could not serve. Every request that reaches the server is a *delivery*, with the
answer that its client took, if it took one: deliveries are the history that the checker of
:mod:`tests.faults.linearizability` judges.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any

from reference_impl.messages import Request
from tests.faults.plan import Fault, Op
from tests.faults.world import UNIX_MS_START, Scheduler, SimWaiter

TIMEOUT_MS = 70.0
TRIES_MAX = 5
BACKOFF_MS = 10.0
LATENCY_MS = 1.0
FINAL_STATUSES = frozenset({200, 402, 409})
MONTHS_APART_MS = 30 * 86_400_000
EVENT_FIELDS = ("event_id", "organization_id", "user_id", "model", "tokens_in", "tokens_out", "event_time_ms")
REMEMBERED = 10_000
"""Requests and answers that are put together once: schedules ask and are told the same things again and again."""


@dataclass
class Delivery:
    """One request that reached the server.

    Parameters
    ----------
    op
        What was asked.
    began_ms, ended_ms
        From its arrival at the server to the client's taking of the answer; infinite without one.
    status
        Of the answer; 0 without one.
    answer
        The answer's JSON.
    """

    op: Op
    began_ms: float
    ended_ms: float = float("inf")
    status: int = 0
    answer: Mapping[str, Any] | None = None


class Network:
    """The way between clients and server, both directions.

    Parameters
    ----------
    scheduler
        Delivers.
    rng
        Draws latencies.
    next_faults
        Takes the faults that strike the next message.
    """

    def __init__(self, scheduler: Scheduler, rng: Random, *, next_faults: Callable[[], Sequence[Fault]]) -> None:
        self._scheduler = scheduler
        self._rng = rng
        self._next_faults = next_faults

    def send(self, deliver: Callable[[], None]) -> None:
        """Deliver a message once, usually; more often, late or never under a fault."""
        delay_ms = LATENCY_MS * (0.5 + self._rng.random())
        for kind, _, amount in self._next_faults():
            if kind == "lose":
                return
            if kind == "delay":
                delay_ms += amount
            if kind == "repeat":
                self._scheduler.call_in(delay_ms + amount, deliver)
        self._scheduler.call_in(delay_ms, deliver)


class Client:
    """One client.

    Parameters
    ----------
    scheduler, network
        The world.
    ops
        Its operations, in order.
    submit
        Hands an operation's request to the server, with what to do with the answer.
    on_answer
        Told of every answer that was taken.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        network: Network,
        *,
        ops: list[Op],
        submit: Callable[[Op, Callable[[Delivery, int, bytes], None]], None],
        on_answer: Callable[[Delivery], None],
    ) -> None:
        self._scheduler = scheduler
        self._network = network
        self._ops = ops
        self._submit = submit
        self._on_answer = on_answer

    async def run(self) -> None:
        """Send everything."""
        for op in self._ops:
            await self._scheduler.sleep_until(op.at_ms)
            for _ in range(TRIES_MAX):
                status = await self._attempt(op)
                if status in FINAL_STATUSES:
                    break
                if status:
                    await self._scheduler.sleep_until(self._scheduler.now_ms + BACKOFF_MS)

    async def _attempt(self, op: Op) -> int:
        answered = SimWaiter(self._scheduler)
        statuses = [0]

        def take(delivery: Delivery, status: int, body: bytes) -> None:
            # An answer that comes after the client has given up, or twice, is nobody's.
            if not answered.done():
                statuses[0] = status
                answered.set_result()
                if status in FINAL_STATUSES:
                    delivery.status, delivery.answer = status, read_answer(body)
                    delivery.ended_ms = self._scheduler.now_ms
                    self._on_answer(delivery)

        def reply(delivery: Delivery, status: int, body: bytes) -> None:
            self._network.send(lambda: take(delivery, status, body))

        self._network.send(lambda: self._submit(op, reply))
        self._scheduler.call_in(TIMEOUT_MS, answered.set_once)
        await answered
        return statuses[0]


@lru_cache(maxsize=REMEMBERED)
def read_answer(body: bytes) -> Mapping[str, Any]:
    """Return the JSON of an answer; nobody changes it, so that equal answers share it."""
    answer: Mapping[str, Any] = json.loads(body)
    return answer


def request_of(op: Op) -> Request:
    """Return the request that *op* sends to the object."""
    return _request(op.kind, op.organization, op.event, op.model, op.tokens)


@lru_cache(maxsize=REMEMBERED)
def _request(kind: str, organization: str, event: str, model: str, tokens: int) -> Request:
    if kind == "balance":
        return Request("GET", "/balance", {"organization_id": organization})
    if kind == "flush":
        return Request("POST", "/flush", {"organization_id": organization})
    content = event_fields(organization, event, model, tokens)
    return Request("POST", "/log", body=json.dumps(content).encode())


def event_of(op: Op) -> dict[str, Any]:
    """Return the usage event that *op* logs."""
    return event_fields(op.organization, op.event, op.model, op.tokens)


def event_fields(organization: str, event: str, model: str, tokens: int) -> dict[str, Any]:
    """Return a usage event with the names of its values."""
    return dict(zip(EVENT_FIELDS, event_values(organization, event, model, tokens), strict=True))


@lru_cache(maxsize=REMEMBERED)
def event_values(organization: str, event: str, model: str, tokens: int) -> tuple[str | int, ...]:
    """Return the values of :data:`EVENT_FIELDS` that are sent; every third token count is of an earlier month."""
    event_time_ms = UNIX_MS_START - MONTHS_APART_MS * (tokens % 3 == 0)
    return event, organization, f"user-{organization}", model, tokens, tokens, event_time_ms
