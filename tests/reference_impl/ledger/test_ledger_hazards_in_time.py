"""The hazards of the ledger that need time: flushes, repeated flushes, stalls, and who may ask.

Goal: as for ``test_ledger_hazards.py``: what is observed is what is predicted, number by number, and the hardened way
does not have it. Method: the whole deployment under a virtual clock with constant times, so that
every prediction is arithmetic.
"""

import hashlib
import math
from fractions import Fraction
from typing import Any

import pytest

from reference_impl.durable_objects.state import State
from reference_impl.errors import PlatformError
from reference_impl.ledger.billing import UsageSink
from reference_impl.ledger.charge import Account, month_of
from reference_impl.ledger.policy import Batch
from reference_impl.messages import Request
from reference_impl.timing.stopwatch import Stopwatch
from reference_impl.workers.access import Gatekeeper, Grant
from tests.support.world import EVENT_TIME_MS, World, balance_request, flush_request, log_request, world

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
        system = {"ledger": {"policy": policy, "flush_interval_s": 1_000}, "d1": {"write_ms": sink_ms}}
        with world(system) as w:
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
            table, meter = w.ledgers._sinks
            w.ledgers._sinks = (LosesAnswers(table, ambiguous), LosesAnswers(meter, ambiguous))  # type: ignore[assignment]  # stands in for a sink
            w.ask(log_request())
            for _ in range(2 * ambiguous + 1):
                w.ask(flush_request())
                w.clock.advance(1)
            invoices[policy] = invoiced_microusd(w) / CHARGE_MICROUSD
            metered = w.ledgers.meter.total_microusd("org-7") / CHARGE_MICROUSD
            assert metered == (1 + ambiguous if policy == "seed" else 1)
    # Either sink may be the one that did not answer.
    assert invoices == {"seed": 1 + 2 * ambiguous, "hardened": 1}


# --- H7, H69: what is left of money and of months after a flush -------------------------------


@pytest.mark.parametrize(
    ("tokens_in", "tokens_out", "a_row_cents"),
    # 0.4227 cents, 1.0815 and 0.10815: nothing, a cent, nothing.
    [(278, 218, 0), (1_000, 500, 1), (100, 50, 0)],
)
def test_h7_seed_rounds_every_row_of_d1_and_hardened_their_sum(
    tokens_in: int, tokens_out: int, a_row_cents: int
) -> None:
    events = 30
    exact_cents = Fraction(tokens_in * 3 + tokens_out * 15, 10_000) * Fraction(103, 100)
    assert a_row_cents == math.floor(exact_cents + Fraction(1, 2))
    billed_cents = {}
    for policy in ("seed", "hardened"):
        with world({"ledger": {"policy": policy}}) as w:
            for n in range(events):
                w.ask(log_request(f"event-{n}", tokens_in=tokens_in, tokens_out=tokens_out))
                w.ask(flush_request())
                # The seed names its rows after the millisecond.
                w.clock.advance(1)
            billed_cents[policy] = w.rows("SELECT sum(cost_cents) FROM usage_events")[0][0]
    assert billed_cents == {"seed": events * a_row_cents, "hardened": events * exact_cents // 1}


def test_h69_after_a_flush_seed_knows_nothing_of_the_month_and_hardened_does() -> None:
    events = 5
    used_microusd = {}
    for policy in ("seed", "hardened"):
        with world({"ledger": {"policy": policy}}) as w:
            build = w.objects._tenant
            ledgers: list[Any] = []

            def keep(state: State, build: Any = build, ledgers: list[Any] = ledgers) -> Any:
                ledgers.append(build(state))
                return ledgers[-1]

            w.objects._tenant = keep
            w.json(balance_request())
            account = Account(tier="free")
            ledgers[0]._policy.set_account("org-7", account)
            for n in range(events):
                w.ask(log_request(f"event-{n}"))
            w.ask(flush_request())
            # What a limit of the month could be held against.
            used_microusd[policy] = (
                ledgers[0]._policy.account("org-7").pending_microusd
                if policy == "seed"
                else ledgers[0]._policy._with_month("org-7", account, month_of(EVENT_TIME_MS)).free_used_microusd
            )
    # At list price: the free tier has no markup.
    assert used_microusd == {"seed": 0, "hardened": events * (278 * 3 + 218 * 15)}


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
            w.ledgers._sinks = (sink,)  # type: ignore[assignment]  # stands in for a sink
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


# --- H70: a flush that holds the object ------------------------------------------------------

ROWS = 200
ROW_MS = 0.5
READ_MS = 1.0
READS_EVERY_MS = 2.0


def waits_ms(chunk_rows: int) -> list[float]:
    """Flush 200 rows at 10 s while balances are read every 2 ms; return how long each read waited."""
    system = {
        "ledger": {
            "flush_interval_s": 10,
            "flush_chunk_rows": chunk_rows,
            "flush_row_us": ROW_MS * 1_000,
            "read_ms": READ_MS,
        },
        # While D1 stores a chunk, the object is free.
        "d1": {"write_ms": 50},
    }
    with world(system) as w:
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
