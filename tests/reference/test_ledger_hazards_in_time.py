"""The hazards of the ledger that need time: flushes, repetitions, retries, gates, and who may ask.

Goal: as for ``test_ledger_hazards.py``: what is observed is what is predicted, number by number, and the hardened way
does not have it. Method: the whole deployment, or one small object, under a virtual clock with constant times, so that
every prediction is arithmetic.
"""

import hashlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from reference_impl.access import Gatekeeper, Grant
from reference_impl.clock import VirtualClock
from reference_impl.durable_objects import Namespace
from reference_impl.errors import OverloadedError, PlatformError
from reference_impl.gates import Event
from reference_impl.ledger import UsageSink
from reference_impl.ledger_policy import Batch
from reference_impl.messages import Request, Response, json_response
from reference_impl.object_disks import MemoryDisk
from reference_impl.object_state import State
from reference_impl.pace import Pace
from reference_impl.retries import Retrier, RetryPolicy
from reference_impl.stopwatch import Stopwatch
from tests.reference.world import World, balance_request, flush_request, log_request, world

CHARGE_MICROUSD = 4_227
"""Of :func:`log_request`, rounded; 4,227.12 exactly."""


def invoiced_microusd(w: World) -> int:
    return int(w.rows("SELECT coalesce(sum(charge_microusd), 0) FROM usage_events")[0][0])


# --- H8: events that arrive while a flush is on its way --------------------------------------


@pytest.mark.parametrize(("rate_per_s", "sink_ms", "expected"), [(48, 200, 9), (1.67, 200, 0), (10, 1_000, 10)])
def test_h8_seed_loses_what_arrives_during_a_flush(rate_per_s: float, sink_ms: float, expected: int) -> None:
    flush_at_ms = 2_005.0
    arrivals_ms = [n * 1_000 / rate_per_s for n in range(int(rate_per_s * 5))]
    predicted = sum(1 for at_ms in arrivals_ms if flush_at_ms < at_ms < flush_at_ms + sink_ms)
    # λ T events on average; here the phase of the arrivals is known, so the number is.
    assert predicted == expected
    assert abs(predicted - rate_per_s * sink_ms / 1_000) <= 1
    lost = {}
    for policy in ("seed", "hardened"):
        pace = {"ledger": {"policy": policy, "flush_interval_s": 1_000}, "d1": {"write_ms": sink_ms}}
        with world(pace) as w:
            asked = [w.ask_at(at_ms, log_request(f"event-{n}")) for n, at_ms in enumerate(arrivals_ms)]
            w.clock.run(*asked, w.ask_at(flush_at_ms, flush_request()))
            owed = w.json(balance_request())["balance_microusd"]
            lost[policy] = len(arrivals_ms) * 4_227.12 - owed - invoiced_microusd(w)
    assert lost["seed"] == pytest.approx(predicted * 4_227.12, abs=2)
    assert lost["hardened"] == pytest.approx(0, abs=1)


# --- H9: a flush whose answer was lost -------------------------------------------------------


class LosesAnswers:
    """A sink that stores, and fails to say so a number of times."""

    def __init__(self, sink: UsageSink, times: int) -> None:
        self._sink = sink
        self._left = times

    async def store(self, batch: Batch, stopwatch: Stopwatch) -> None:
        await self._sink.store(batch, stopwatch)
        self._left -= 1
        if self._left >= 0:
            raise PlatformError("no answer")


@pytest.mark.parametrize("ambiguous", [0, 1, 3])
def test_h9_seed_invoices_again_after_every_ambiguous_failure(ambiguous: int) -> None:
    invoices = {}
    for policy in ("seed", "hardened"):
        with world({"ledger": {"policy": policy}}) as w:
            table, meter = w.deployment._sinks
            w.deployment._sinks = (LosesAnswers(table, ambiguous), LosesAnswers(meter, ambiguous))  # type: ignore[assignment]
            w.ask(log_request())
            for _ in range(2 * ambiguous + 1):
                w.ask(flush_request())
                w.clock.advance(1)
            invoices[policy] = invoiced_microusd(w) / CHARGE_MICROUSD
            metered = w.deployment.meter.total_microusd("org-7") / CHARGE_MICROUSD
            assert metered == (1 + ambiguous if policy == "seed" else 1)
    # Either sink may be the one that did not answer.
    assert invoices == {"seed": 1 + 2 * ambiguous, "hardened": 1}


# --- H10: who may ask ------------------------------------------------------------------------

KEY = "si_test_key_of_org_7"
OPERATOR = "si_test_key_of_the_operator"


def grant(key: str, organization_id: str | None, *scopes: str) -> Grant:
    return Grant(hashlib.sha256(key.encode()).hexdigest(), organization_id, frozenset(scopes))


GATEKEEPER = Gatekeeper([grant(KEY, "org-7", "write", "read"), grant(OPERATOR, None, "flush", "read")])


def with_key(request: Request, key: str) -> Request:
    return Request(request.method, request.path, request.query, {"authorization": f"Bearer {key}"}, request.body)


class CountsCalls:
    """A sink that counts."""

    def __init__(self) -> None:
        self.calls = 0

    async def store(self, batch: Batch, stopwatch: Stopwatch) -> None:
        self.calls += 1


@pytest.mark.parametrize("attacks", [1, 25])
def test_h10_whoever_reaches_flush_makes_it_call_the_provider(attacks: int) -> None:
    calls = {}
    for policy, access in (("seed", None), ("hardened", GATEKEEPER)):
        with world({"ledger": {"policy": policy}}, access=access) as w:
            sink = CountsCalls()
            w.deployment._sinks = (sink,)  # type: ignore[assignment]
            for n in range(attacks):
                w.ask(with_key(log_request(f"event-{n}"), KEY))
                w.ask(flush_request())
            calls[policy] = sink.calls
    assert calls == {"seed": attacks, "hardened": 0}


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (log_request(), 401, "no_key"),
        (balance_request(), 401, "no_key"),
        (flush_request(), 401, "no_key"),
        (with_key(flush_request(), "si_test_guess"), 401, "unknown_key"),
        (with_key(flush_request(), KEY), 403, "scope_missing"),
        (with_key(balance_request("org-8"), KEY), 403, "wrong_organization"),
        (with_key(log_request(organization_id="org-8"), KEY), 403, "wrong_organization"),
    ],
)
def test_h10_hardened_refuses_strangers_and_nothing_changes(request_: Request, status: int, code: str) -> None:
    with world(access=GATEKEEPER) as w:
        response = w.ask(request_)[0]
        assert response.status == status
        assert f'"code":"{code}"'.encode() in response.body
        assert w.json(with_key(balance_request(), KEY))["events_pending"] == 0


def test_h10_who_has_a_key_is_served() -> None:
    with world(access=GATEKEEPER) as w:
        assert w.ask(with_key(log_request(), KEY))[0].status == 200
        assert w.json(with_key(flush_request(), OPERATOR)) == {"success": True, "events_flushed": 1}


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
        raise NotImplementedError


class Storm:
    """Clients that call an object 60 times a second for 40 s; the object stalls from 10 s to 15 s.

    Work that was begun for a client who gave up goes on, as it does on a real server.
    """

    def __init__(self, *, queue_limit: int | None, call: Callable[["Storm"], Coroutine[Any, Any, None]]) -> None:
        self.clock = VirtualClock()
        self.disk = MemoryDisk()
        pace = Pace.from_mapping({"durable_objects": {"queue_limit": queue_limit}}).durable_objects
        self.namespace = Namespace("Busy", Busy, clock=self.clock, disk=self.disk, pace=pace)
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
    """The policy of :mod:`reference_impl.retries`."""
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
        raise NotImplementedError


@pytest.mark.parametrize(
    ("path", "took_ms"),
    [
        ("/open", 20 * SERVICE_MS + OUTSIDE_MS),  # Throughput 1/S: calls of others overlap.
        ("/closed", 20 * (SERVICE_MS + OUTSIDE_MS)),  # Throughput 1/(S + T).
    ],
)
def test_h16_an_open_gate_overlaps_what_is_asked_elsewhere_and_a_closed_one_does_not(path: str, took_ms: float) -> None:
    clock, disk = VirtualClock(), MemoryDisk()
    namespace = Namespace("Asks", Asks, clock=clock, disk=disk, pace=Pace.from_mapping({}).durable_objects)
    object_id = namespace.id_from_name("one")
    asked = [
        namespace.deliver(object_id, Request("GET", path), stopwatch=Stopwatch(clock, keeps_plan=False))
        for _ in range(20)
    ]
    clock.run(*asked)
    assert clock.now_ms() == pytest.approx(took_ms)
    clock.close()
    disk.unmount()


# --- H70: a flush that holds the object ------------------------------------------------------

ROWS = 200
ROW_MS = 0.5
READ_MS = 1.0
READS_EVERY_MS = 2.0


def waits_ms(chunk_rows: int) -> list[float]:
    """Flush 200 rows at 10 s while balances are read every 2 ms; return how long each read waited."""
    pace = {
        "ledger": {
            "flush_interval_s": 10,
            "flush_chunk_rows": chunk_rows,
            "flush_row_us": ROW_MS * 1_000,
            "read_ms": READ_MS,
        },
        # While D1 stores a chunk, the object is free.
        "d1": {"write_ms": 50},
    }
    with world(pace) as w:
        for n in range(ROWS):
            w.ask(log_request(f"event-{n}"))
        reads = [w.ask_at(9_900.5 + n * READS_EVERY_MS, balance_request()) for n in range(2_000)]
        return [stopwatch.spent_ms["durable_objects_queue"] for _, stopwatch in w.clock.run(*reads)]


def test_h70_one_flush_stalls_the_object_for_every_row() -> None:
    stall_ms = ROWS * ROW_MS
    waits = waits_ms(ROWS)
    # Who comes 0.5 ms after its beginning waits the rest.
    assert max(waits) == pytest.approx(stall_ms - 0.5)
    # Hit are those who come in the stall and while the line is worked off: n d / (1 - ρ) of time.
    rho = READ_MS / READS_EVERY_MS
    predicted = stall_ms / (1 - rho) / READS_EVERY_MS
    assert abs(sum(1 for wait in waits if wait) - predicted) <= 1


def test_h70_chunks_bring_the_wait_down_to_a_chunk() -> None:
    chunk_rows = 4
    waits = waits_ms(chunk_rows)
    assert 0 < max(waits) <= chunk_rows * ROW_MS
    with_all = waits_ms(ROWS)
    # The 99th percentile: the stall before, nothing or one chunk now.
    assert sorted(with_all)[int(0.99 * len(with_all))] > 20 * sorted(waits)[int(0.99 * len(waits))]
