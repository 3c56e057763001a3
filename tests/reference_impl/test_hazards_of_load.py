"""What an object meets under load: retries that keep an overload alive (H15), gates (H16), knee and cold starts.

Goal and method as for ``test_ledger_hazards_in_time.py``: constant times under a virtual clock make every prediction
arithmetic.
"""

import math
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from reference_impl.durable_objects.gates import Event
from reference_impl.durable_objects.namespace import Namespace
from reference_impl.durable_objects.settings import DurableObjectsSettings
from reference_impl.durable_objects.state import State
from reference_impl.errors import OverloadedError, PlatformError
from reference_impl.messages import Request, Response, json_response
from reference_impl.timing.clock import VirtualClock
from reference_impl.timing.stopwatch import Stopwatch
from reference_impl.volumes.disks import MemoryDisk
from reference_impl.workers.retries import Retrier, RetryPolicy
from tests.support.world import settings

# --- H15: retries that keep an overload alive ------------------------------------------------

SERVICE_MS = 10.0
TIMEOUT_MS = 200.0
CALLS_PER_S = 60
STALL_MS = 5_000.0


class Busy:
    """Serves for 10 ms; ``/stall`` holds the object for 5 s."""

    def __init__(self, state: State) -> None:
        self.state = state

    async def fetch(self, request: Request, event: Event) -> Response:
        async with event.stage("work", STALL_MS if request.path == "/stall" else SERVICE_MS):
            return json_response({})

    async def alarm(self, event: Event) -> None:
        raise NotImplementedError  # Nobody sets an alarm here.


class Storm:
    """Clients that call an object 60 times a second for 40 s; the object stalls from 10 s to 15 s.

    Work that was begun for a client who gave up goes on, as it does on a real server.
    """

    def __init__(self, *, queue_limit: int | None, call: Callable[["Storm"], Coroutine[Any, Any, None]]) -> None:
        self.clock = VirtualClock()
        self.disk = MemoryDisk()
        read = settings(DurableObjectsSettings.read, {"queue_limit": queue_limit})
        self.namespace = Namespace("Busy", Busy, clock=self.clock, disk=self.disk, settings=read)
        self.object_id = self.namespace.id_from_name("one")
        self.retrier = Retrier(self.clock, RetryPolicy(retries=3))
        self.attempts_ms: list[float] = []
        self.succeeded_ms: list[float] = []
        self._call = call

    def run(self) -> None:
        try:
            calls = [self._caller(n * 1_000 / CALLS_PER_S) for n in range(40 * CALLS_PER_S)]
            self.clock.spawn(self._stall())
            self.clock.run(*calls)
        finally:
            self.clock.close()
            self.disk.unmount()

    async def attempt(self) -> None:
        """Ask once; fail if there is no answer in time."""
        self.attempts_ms.append(self.clock.now_ms())
        ended = self.clock.waiter()
        errors: list[PlatformError] = []
        answers: list[Response] = []

        def end() -> None:
            if not ended.done():
                ended.set_result(None)

        async def work() -> None:
            try:
                answers.append(
                    await self.namespace.deliver(
                        self.object_id, Request("GET", "/"), stopwatch=Stopwatch(self.clock, keeps_plan=False)
                    )
                )
            except PlatformError as error:
                errors.append(error)
            end()

        async def give_up() -> None:
            await self.clock.sleep_until_ms(self.clock.now_ms() + TIMEOUT_MS)
            end()

        self.clock.spawn(work())
        self.clock.spawn(give_up())
        await ended
        if errors:
            raise errors[0]
        if not answers:
            raise TimedOutError("no answer in time")

    async def _caller(self, at_ms: float) -> None:
        await self.clock.sleep_until_ms(at_ms)
        try:
            await self._call(self)
        except PlatformError:
            return
        self.succeeded_ms.append(at_ms)

    async def _stall(self) -> None:
        await self.clock.sleep_until_ms(10_000)
        stopwatch = Stopwatch(self.clock, keeps_plan=False)
        await self.namespace.deliver(self.object_id, Request("GET", "/stall"), stopwatch=stopwatch)

    def attempted(self, from_ms: float, to_ms: float) -> int:
        return sum(1 for at_ms in self.attempts_ms if from_ms <= at_ms < to_ms)

    def served(self, from_ms: float, to_ms: float) -> int:
        return sum(1 for at_ms in self.succeeded_ms if from_ms <= at_ms < to_ms)


class TimedOutError(PlatformError):
    """No answer in time: whether the work was done is not known."""

    retryable = True


async def repeat_everything(storm: Storm) -> None:
    """The naive client: three repetitions, at once, whatever the reason."""
    for repetition in range(4):
        try:
            return await storm.attempt()
        except PlatformError:
            if repetition == 3:
                raise
    raise AssertionError


async def repeat_with_care(storm: Storm) -> None:
    """The policy of :mod:`reference_impl.workers.retries`."""
    await storm.retrier.call(storm.attempt)


def test_h15_repeating_everything_keeps_the_overload_alive_after_its_cause_is_gone() -> None:
    storm = Storm(queue_limit=None, call=repeat_everything)
    storm.run()
    # While nothing is answered (q = 1), λ (1 + r) is offered: calls of these 4 s, each tried four times.
    assert storm.attempted(11_000, 15_000) == 4 * CALLS_PER_S * (1 + 3)
    # 240 attempts a second are more than the 100 that can be served: no call ever succeeds again.
    assert storm.served(0, 9_500) == 570
    assert storm.served(15_000, 40_000) == 0


def test_h15_a_bounded_line_and_careful_repetition_recover_at_once() -> None:
    storm = Storm(queue_limit=10, call=repeat_with_care)
    storm.run()
    assert storm.served(0, 9_500) == 570
    # The line of 10 is worked off in 100 ms; from then on every call is served.
    assert storm.served(15_200, 40_000) == round(24.8 * CALLS_PER_S)
    budget = 1 + 0.1 * storm.retrier.calls
    assert storm.retrier.repetitions <= budget
    assert len(storm.attempts_ms) == storm.retrier.calls + storm.retrier.repetitions


def test_h15_an_overloaded_object_is_not_asked_again() -> None:
    clock = VirtualClock()
    retrier = Retrier(clock, RetryPolicy(retries=3))
    asked = 0

    async def refuse() -> None:
        nonlocal asked
        asked += 1
        raise OverloadedError("full")

    with pytest.raises(OverloadedError):
        clock.run(retrier.call(refuse))
    assert asked == 1


# --- H16: what a gate lets in ----------------------------------------------------------------

OUTSIDE_MS = 90.0


class Asks:
    """Works 10 ms, asks somebody else for 90 ms, with the gate open or inside a critical section."""

    def __init__(self, state: State) -> None:
        self.state = state

    async def fetch(self, request: Request, event: Event) -> Response:
        async def elsewhere() -> None:
            event.stopwatch.delay("elsewhere", OUTSIDE_MS)
            await event.stopwatch.catch_up()

        async def ask() -> None:
            await event.outside(elsewhere())

        async with event.stage("work", SERVICE_MS):
            pass
        if request.path == "/closed":
            await event.block_concurrency_while(ask)
        else:
            await ask()
        return json_response({})

    async def alarm(self, event: Event) -> None:
        raise NotImplementedError  # Nobody sets an alarm here.


@pytest.mark.parametrize(
    ("path", "took_ms"),
    [
        ("/open", 20 * SERVICE_MS + OUTSIDE_MS),  # Throughput 1/S: calls of others overlap.
        ("/closed", 20 * (SERVICE_MS + OUTSIDE_MS)),  # Throughput 1/(S + T).
    ],
)
def test_h16_an_open_gate_overlaps_what_is_asked_elsewhere_and_a_closed_one_does_not(path: str, took_ms: float) -> None:
    clock, disk = VirtualClock(), MemoryDisk()
    namespace = Namespace("Asks", Asks, clock=clock, disk=disk, settings=settings(DurableObjectsSettings.read))
    object_id = namespace.id_from_name("one")
    asked = [
        namespace.deliver(object_id, Request("GET", path), stopwatch=Stopwatch(clock, keeps_plan=False))
        for _ in range(20)
    ]
    clock.run(*asked)
    assert clock.now_ms() == pytest.approx(took_ms)
    clock.close()
    disk.unmount()


# --- H13, H14: what an object can do, and how often it is cold -------------------------------


def offered(rate_per_s: float, *, requests: int, queue_limit: int) -> tuple[int, float]:
    """Offer requests at equal distances to an object that serves 100 a second; return refused, and the longest wait."""
    clock, disk = VirtualClock(), MemoryDisk()
    read = settings(DurableObjectsSettings.read, {"queue_limit": queue_limit})
    namespace = Namespace("Busy", Busy, clock=clock, disk=disk, settings=read)
    object_id = namespace.id_from_name("one")
    waits_ms: list[float] = []
    refused = 0

    async def ask(at_ms: float) -> None:
        nonlocal refused
        await clock.sleep_until_ms(at_ms)
        stopwatch = Stopwatch(clock)
        try:
            await namespace.deliver(object_id, Request("GET", "/"), stopwatch=stopwatch)
        except OverloadedError:
            refused += 1
        else:
            waits_ms.append(stopwatch.spent_ms["Busy_queue"])

    clock.run(*(ask(n * 1_000 / rate_per_s) for n in range(requests)))
    clock.close()
    disk.unmount()
    return refused, max(waits_ms)


def test_h13_the_knee_is_at_one_over_the_service_time() -> None:
    # Below the knee nobody waits; above it the excess is refused and the others wait for a full line.
    assert offered(99, requests=2_000, queue_limit=10) == (0, 0)
    refused, longest_ms = offered(125, requests=2_000, queue_limit=10)
    # 16 s at 125/s: 100/s are served, and the line of 10 and the one inside at the end.
    assert abs(refused - (2_000 - 16 * 100 - 11)) <= 1
    # Who finds nine in line and one just begun waits for ten.
    assert longest_ms == pytest.approx(10 * SERVICE_MS, abs=SERVICE_MS)


@pytest.mark.parametrize("rate_per_s", [0.005, 0.02])
def test_h14_an_object_is_cold_as_often_as_it_idles_longer_than_the_eviction_time(rate_per_s: float) -> None:
    idle_s, requests = 70.0, 3_000
    predicted = math.exp(-rate_per_s * idle_s)
    clock, disk = VirtualClock(), MemoryDisk()
    read = settings(DurableObjectsSettings.read, {"evict_idle_ms": idle_s * 1_000, "cold_start_ms": 1})
    namespace = Namespace("Busy", Busy, clock=clock, disk=disk, settings=read)
    object_id = namespace.id_from_name("one")
    arrivals_ms = np.cumsum(np.random.default_rng(11).exponential(1_000 / rate_per_s, requests)).tolist()
    cold = 0

    async def ask(at_ms: float) -> None:
        nonlocal cold
        await clock.sleep_until_ms(at_ms)
        stopwatch = Stopwatch(clock)
        await namespace.deliver(object_id, Request("GET", "/"), stopwatch=stopwatch)
        cold += stopwatch.spent_ms.get("Busy", 0) > 0

    clock.run(*(ask(at_ms) for at_ms in arrivals_ms))
    clock.close()
    disk.unmount()
    assert cold / requests == pytest.approx(predicted, abs=4 * math.sqrt(predicted * (1 - predicted) / requests))
