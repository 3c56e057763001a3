"""Goal: the driver's client retries as the model's does: the same full jitter, the same budget.

Method: its attempts are replaced by failures, and its pauses by a list; no network, no clock.
"""

import asyncio
from collections import defaultdict
from math import inf
from typing import Any
from unittest.mock import patch

import numpy as np

from sim.randomness.streams import stream_key, uniform
from sim.runners.load import driver
from sim.runners.load.driver import Client, Driver
from sim.runners.load.messages import HEALTH, Message

KEY = stream_key(7, "client.attempt")


class Tape:
    """What is written down of requests."""

    def __init__(self) -> None:
        self.attempts: dict[int, int] = {}
        self.paused_ms: list[float] = []

    def attribute_client(self, request: int, spent_ms: float) -> None:
        """A pause of *request*."""
        self.paused_ms.append(spent_ms)


class Failing(Driver):
    """A driver without a deployment: every attempt fails."""

    def __init__(self, client: Client) -> None:
        self.client, self.tape = client, Tape()  # type: ignore[assignment]  # keeps what the test asks for
        self.messages, self.paused_until_s = defaultdict(lambda: HEALTH), -inf
        self._budget = float(client.budget_retries_max)
        self._loop = asyncio.new_event_loop()
        self._loop.close()

    async def _attempt(self, message: Message, request: int, began_s: float) -> str:
        return "error"


async def _at_once(_: float) -> None:
    """Wait for nothing."""


def played(client: Client, requests: int) -> Tape:
    """The tape of some requests, one after the other."""
    failing: Any = Failing(client)
    with patch.object(driver, "wait_until", _at_once):
        for request in range(requests):
            assert asyncio.run(failing._attempts(request, 0.0)) == "error"
    tape: Tape = failing.tape
    return tape


def test_pauses_are_those_of_the_model() -> None:
    """Doubling, times the uniform number that the model's engine draws for this request and retry."""
    tape = played(Client(1000.0, retries=3, backoff_ms=100.0, jitter=KEY), 2)
    plain = [100.0, 200.0, 400.0] * 2
    expected = [pause * uniform(KEY, i // 3, draw=i % 3 + 1) for i, pause in enumerate(plain)]
    assert np.allclose(tape.paused_ms, expected)
    assert played(Client(1000.0, retries=3, backoff_ms=100.0), 2).paused_ms == plain


def test_a_budget_bounds_the_retries() -> None:
    """Five to begin with, and a tenth for each of a hundred requests."""
    tape = played(Client(1000.0, retries=3, budget_ratio=0.1, budget_retries_max=5), 100)
    assert 14 <= sum(tape.attempts.values()) - 100 <= 15
