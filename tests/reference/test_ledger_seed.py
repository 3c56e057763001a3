"""The seed policy: the brief's ledger and what its design costs.

Goal: each hazard shows exactly where its formula says, so that the formula can be trusted where
nobody wants to try. Method: the policy on a disk in memory, at the platform's own limits.
"""

import json

import pytest

from reference_impl.charge import Account
from reference_impl.clock import VirtualClock
from reference_impl.errors import LimitError
from reference_impl.object_storage import KV_LIMITS, SQLITE_LIMITS, Storage, StorageLimits
from reference_impl.seed_ledger import SeedLedger
from tests.reference.world import (
    EVENT_TIME_MS,
    balance_request,
    log_request,
    memory_disk,
    usage_event,
    world,
)


def fill(ledger: SeedLedger, *, already: int = 0) -> int:
    """Append until the platform refuses; return how many events the log holds then."""
    for n in range(already, already + 1_000):
        try:
            ledger.append(usage_event(f"e{n}"), EVENT_TIME_MS)
        except LimitError:
            return n
    raise AssertionError("the log has no limit")


@pytest.mark.parametrize(("event_bytes", "predicted"), [(216, 606), (151, 868)])
def test_seed_meets_the_value_limit_exactly_where_predicted(event_bytes: int, predicted: int) -> None:
    # Hazard H1: N* = floor((L - h) / B), with one bracket more than separators as h.
    assert predicted == (KV_LIMITS.value_bytes - 1) // event_bytes
    with memory_disk() as connection:
        storage = Storage(connection, limits=KV_LIMITS)
        ledger = SeedLedger(storage, clock=VirtualClock(), event_bytes=event_bytes)
        assert fill(ledger) == predicted


def test_seed_meets_the_larger_limit_exactly_where_predicted() -> None:
    with memory_disk() as connection:
        storage = Storage(connection, limits=SQLITE_LIMITS)
        ledger = SeedLedger(storage, clock=VirtualClock(), event_bytes=216)
        ledger.append(usage_event("e"), EVENT_TIME_MS)
        # Nearly full: writing 9,259 whole logs would take a minute and show nothing more.
        storage.put("usageLog", storage.get("usageLog") * 9_255)
        ledger = SeedLedger(storage, clock=VirtualClock(), event_bytes=216)
        assert fill(ledger, already=9_255) == 9_259


def test_seed_serves_unbilled_once_the_log_is_full() -> None:
    # Hazard H2: the transaction is undone, the balance with it.
    limits = StorageLimits("small", 100, 1_000, 1_100)
    with memory_disk() as connection:
        storage = Storage(connection, limits=limits)
        ledger = SeedLedger(storage, clock=VirtualClock(), event_bytes=200)
        full = fill(ledger)
        assert full == 4
        assert ledger.balance("org-1").balance_microusd == full * 9_270


def test_seed_charges_a_repeated_event_again() -> None:
    # Hazard H5.
    with memory_disk() as connection:
        ledger = SeedLedger(Storage(connection), clock=VirtualClock())
        ledger.append(usage_event("e"), EVENT_TIME_MS)
        assert not ledger.append(usage_event("e"), EVENT_TIME_MS).duplicate
        assert ledger.balance("org-1").balance_microusd == 2 * 9_270


def test_seed_loses_what_is_added_during_a_flush() -> None:
    # Hazard H8: the balance is set to zero whatever was sent.
    with memory_disk() as connection:
        ledger = SeedLedger(Storage(connection), clock=VirtualClock())
        ledger.append(usage_event("a"), EVENT_TIME_MS)
        batch = ledger.seal(ledger.last_seq(), 10)
        assert batch is not None
        ledger.append(usage_event("b"), EVENT_TIME_MS)
        ledger.settle(batch)
        assert ledger.balance("org-1").balance_microusd == 0
        assert [row.charge_microusd for row in batch.rows] == [9_270]


def test_seed_sends_a_repeated_flush_under_another_name() -> None:
    # Hazard H9: the name holds the time, so the sink cannot know that it has the row.
    with memory_disk() as connection:
        clock = VirtualClock()
        ledger = SeedLedger(Storage(connection), clock=clock)
        ledger.append(usage_event("a"), EVENT_TIME_MS)
        first = ledger.seal(1, 10)
        clock.advance(1)
        second = ledger.seal(1, 10)
        assert first is not None
        assert second is not None
        assert first.rows[0].id != second.rows[0].id


def test_seed_lets_anybody_owe_any_sum() -> None:
    # Hazard H11.
    with memory_disk() as connection:
        ledger = SeedLedger(Storage(connection), clock=VirtualClock())
        receipt = ledger.append(usage_event("a", tokens=10_000_000), EVENT_TIME_MS)
        assert receipt.balance_microusd > Account().ceiling_microusd


def test_seed_rewrites_its_whole_log_at_every_append() -> None:
    # Hazard H3, as the pace counts it: write_ms + n x append_us_per_event.
    pace = {"ledger": {"policy": "seed", "write_ms": 2, "append_us_per_event": 1_000}}
    with world(pace) as w:
        took = [w.ask(log_request(f"event-{n}"))[1].spent_ms["ledger"] for n in range(4)]
        assert took == pytest.approx([2, 3, 4, 5])
        assert json.loads(w.ask(balance_request())[0].body)["events_pending"] == 4
