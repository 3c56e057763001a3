"""An event's date lies near its receipt, or the event is refused and nothing changes.

Goal: nobody gets a month's free usage twice on one day by dating events back, and a date in another unit is named, not
stored. Method: both policies, dates at the bounds and anywhere, the whole state of the ledger before and after; the
account of the hazard (24 months on one day) with its sum.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.durable_objects.storage import Storage
from reference_impl.errors import RequestError
from reference_impl.ledger import events
from reference_impl.ledger.charge import Account, Usage
from reference_impl.ledger.hardened import HardenedLedger
from reference_impl.ledger.policy import LedgerPolicy, UsageEvent
from reference_impl.ledger.seed import SeedLedger
from reference_impl.timing.clock import VirtualClock
from reference_impl.volumes.disks import memory_database
from tests.support.world import EVENT_TIME_MS, log_request, world

NOW_MS = EVENT_TIME_MS
DAY_MS = 86_400_000
FIRST_MS, LAST_MS = NOW_MS - 35 * DAY_MS, NOW_MS + 5 * 60_000
DATES = st.one_of(
    st.integers(FIRST_MS - 3, FIRST_MS + 3),
    st.integers(LAST_MS - 3, LAST_MS + 3),
    st.integers(0, events.DATE_MS_MAX),
    st.just(NOW_MS // 1_000),
)


POLICIES = ("seed", "hardened")


@contextmanager
def opened(policy: str) -> Iterator[LedgerPolicy]:
    """Open an empty ledger."""
    with closing(memory_database()) as database, closing(VirtualClock()) as clock:
        storage = Storage(database)
        yield SeedLedger(storage, clock=clock) if policy == "seed" else HardenedLedger(storage)


def dated(name: str, event_time_ms: int, *, tokens_in: int = 400_000) -> UsageEvent:
    return UsageEvent(name, "o", "u", Usage("sonnet", tokens_in, 20_000, event_time_ms))


@pytest.mark.parametrize("policy", POLICIES)
@given(dates=st.lists(DATES, min_size=1, max_size=8))
def test_a_date_outside_is_refused_and_changes_nothing(policy: str, dates: list[int]) -> None:
    with opened(policy) as ledger:
        for number, event_time_ms in enumerate(dates):
            event = dated(f"e{number}", event_time_ms)
            before = ledger.last_seq(), ledger.balance("o"), ledger.account("o")
            if FIRST_MS <= event_time_ms <= LAST_MS:
                ledger.append(event, NOW_MS)
                assert ledger.last_seq() == before[0] + 1
                continue
            with pytest.raises(RequestError, match=f"event_time_ms={event_time_ms} must be") as refusal:
                ledger.append(event, NOW_MS)
            assert refusal.value.status == 400
            assert (ledger.last_seq(), ledger.balance("o"), ledger.account("o")) == before


def test_an_account_has_two_months_of_free_usage_at_most_on_one_day() -> None:
    taken_microusd = 0
    with opened("hardened") as ledger:
        ledger.set_account("o", Account(tier="free", ceiling_microusd=10**12))
        for number in range(24 * 4):
            with suppress(RequestError):
                event = dated(f"e{number}", NOW_MS - number // 4 * 31 * DAY_MS)
                taken_microusd += ledger.append(event, NOW_MS).charge_microusd
    # Three events of 1.5 USD in each of the two months that are near enough; the limit is 5 USD a month.
    assert taken_microusd == 2 * 3 * 1_500_000


def test_an_event_that_was_accepted_is_answered_again_however_late() -> None:
    with opened("hardened") as ledger:
        first = ledger.append(dated("e", FIRST_MS), NOW_MS)
        again = ledger.append(dated("e", FIRST_MS), NOW_MS + 100 * DAY_MS)
    assert (again.charge_microusd, again.duplicate) == (first.charge_microusd, True)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    ("event_time_ms", "status"),
    [
        (FIRST_MS, 200),
        (FIRST_MS - 1_000, 400),
        (LAST_MS, 200),
        (LAST_MS + 1_000, 400),
        (NOW_MS // 1_000, 400),
        (0, 400),
    ],
)
def test_the_api_answers_400(policy: str, event_time_ms: int, status: int) -> None:
    with world({"ledger": {"policy": policy}}) as w:
        assert w.ask(log_request("e", event_time_ms=event_time_ms))[0].status == status
