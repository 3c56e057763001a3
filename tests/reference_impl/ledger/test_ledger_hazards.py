"""The hazards of the ledger's storage and money: each shows in the seed policy exactly where its formula says.

Goal: the formulas can be trusted where nobody wants to try, and the hardened policy has none of the hazards. Method:
both policies on a disk in memory, at the platform's own limits or at small ones; what is observed is compared with what
is predicted, number by number. Hazards of time and load are in ``test_ledger_hazards_in_time.py``.
"""

import math
from contextlib import closing
from fractions import Fraction
from itertools import accumulate
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.durable_objects.limits import KV_LIMITS, SQLITE_LIMITS, StorageLimits
from reference_impl.durable_objects.storage import Storage
from reference_impl.errors import LimitError, RequestError
from reference_impl.ledger import audit_chain
from reference_impl.ledger.charge import Account, Usage
from reference_impl.ledger.hardened import HardenedLedger
from reference_impl.ledger.meter import invoice_cents, meter_events
from reference_impl.ledger.policy import LedgerPolicy, UsageEvent
from reference_impl.ledger.seed import LOG_KEY, SeedLedger
from reference_impl.timing.clock import VirtualClock
from reference_impl.volumes.disks import SqliteDatabase, memory_database
from tests.support.world import EVENT_TIME_MS, memory_disk, usage_event

CHARGE_MICROUSD = 9_270
"""Of :func:`usage_event`: 500 tokens each way on Sonnet, managed."""
LOG_KEY_BYTES = len(LOG_KEY)
KV_WRITE_UNIT_BYTES = 4_096


def seed(storage: Storage, event_bytes: int | None = None) -> SeedLedger:
    return SeedLedger(storage, clock=VirtualClock(), event_bytes=event_bytes)


def fill(ledger: LedgerPolicy, *, already: int = 0, offered: int = 1_000) -> int:
    """Offer events; return how many the ledger holds when it refuses, or all."""
    for n in range(already, already + offered):
        try:
            ledger.append(usage_event(f"e{n}"), EVENT_TIME_MS)
        except LimitError:
            return n
    return already + offered


def events_until_limit(limit_bytes: int, event_bytes: int, *, key_bytes: int = 0) -> int:
    """N* = floor((L - h) / B): h is the key, where it counts, and one bracket more than separators."""
    return (limit_bytes - key_bytes - 1) // event_bytes


# --- H1: one growing value -------------------------------------------------------------------


@pytest.mark.parametrize(("event_bytes", "predicted"), [(216, 606), (151, 868)])
def test_h1_seed_meets_the_value_limit_exactly_where_predicted(event_bytes: int, predicted: int) -> None:
    assert events_until_limit(KV_LIMITS.value_bytes, event_bytes) == predicted
    with memory_disk() as database:
        assert fill(seed(Storage(database, limits=KV_LIMITS), event_bytes)) == predicted


@pytest.mark.parametrize(("event_bytes", "predicted"), [(216, 9_259), (151, 13_244)])
def test_h1_seed_meets_the_larger_limit_exactly_where_predicted(event_bytes: int, predicted: int) -> None:
    # Here the key counts too: its 8 bytes cost the smaller event one place of 13,245.
    assert events_until_limit(SQLITE_LIMITS.value_bytes, event_bytes, key_bytes=LOG_KEY_BYTES) == predicted
    nearly = predicted - 4
    with memory_disk() as database:
        storage = Storage(database, limits=SQLITE_LIMITS)
        seed(storage, event_bytes).append(usage_event("e"), EVENT_TIME_MS)
        # Start nearly full: writing every log would take a minute and show nothing more.
        storage.put(LOG_KEY, storage.get(LOG_KEY) * nearly)
        assert fill(seed(storage, event_bytes), already=nearly) == predicted


@given(limit_bytes=st.integers(2_000, 9_000), event_bytes=st.integers(160, 400))
def test_h1_the_formula_holds_for_any_limit_and_any_event(limit_bytes: int, event_bytes: int) -> None:
    limits = StorageLimits("small", 100, limit_bytes, limit_bytes + 100)
    with memory_disk() as database:
        observed = fill(seed(Storage(database, limits=limits), event_bytes))
    assert observed == events_until_limit(limit_bytes, event_bytes)


def test_h1_hardened_has_no_such_limit() -> None:
    # One value of 4,000 bytes would be full after 18 events.
    limits = StorageLimits("small", 100, 4_000, 4_100)
    with memory_disk() as database:
        assert fill(HardenedLedger(Storage(database, limits=limits)), offered=300) == 300


# --- H2: what happens then -------------------------------------------------------------------


def unbilled_microusd(ledger: LedgerPolicy, offered: int) -> int:
    """Serve *offered* events as a caller does who does not look at errors; return what nobody owes."""
    for n in range(offered):
        try:
            ledger.append(usage_event(f"e{n}"), EVENT_TIME_MS)
        except LimitError:
            continue
    return offered * CHARGE_MICROUSD - ledger.balance("org-1").balance_microusd


def test_h2_seed_serves_unbilled_from_the_limit_on() -> None:
    limits = StorageLimits("small", 100, 1_000, 1_100)
    full = events_until_limit(1_000, 200)
    with memory_disk() as database:
        ledger = seed(Storage(database, limits=limits), 200)
        assert unbilled_microusd(ledger, offered=30) == (30 - full) * CHARGE_MICROUSD
    with memory_disk() as database:
        assert unbilled_microusd(HardenedLedger(Storage(database, limits=limits)), offered=30) == 0


# --- H3, H4: what a growing value costs ------------------------------------------------------


class CountingDatabase(SqliteDatabase):
    """Counts what is written: the bytes of every bound text, and the platform's write units."""

    def __init__(self) -> None:
        inner = memory_database()
        super().__init__(inner._connection)
        run = self.execute
        self.written_bytes = 0
        self.write_units = 0

        def execute(statement: str, params: Any = (), /) -> Any:
            if statement.lstrip().startswith(("INSERT", "UPDATE")):
                texts = [len(str(value)) for value in params]
                self.written_bytes += sum(texts)
                self.write_units += math.ceil(max(texts, default=1) / KV_WRITE_UNIT_BYTES)
            return run(statement, params)

        self.execute = execute


def written(ledger: LedgerPolicy, database: CountingDatabase, *, events: int) -> list[tuple[int, int]]:
    """Return bytes and units that each append wrote."""
    costs = []
    for n in range(events):
        before = database.written_bytes, database.write_units
        # Names of one length, so that no digit more is no byte more.
        ledger.append(usage_event(f"e{n:06d}"), EVENT_TIME_MS)
        costs.append((database.written_bytes - before[0], database.write_units - before[1]))
    return costs


def test_h3_seed_writes_its_whole_log_at_every_append() -> None:
    event_bytes, events = 216, 120
    with closing(CountingDatabase()) as database:
        costs = written(seed(Storage(database), event_bytes), database, events=events)
    balance_bytes = [size - n * event_bytes - 1 - LOG_KEY_BYTES for n, (size, _) in enumerate(costs, start=1)]
    # Besides n events and a bracket only the key of the balance and its few digits are written.
    assert all(len("unbilledBalance") < size <= len("unbilledBalance") + 20 for size in balance_bytes)
    total = sum(size for size, _ in costs) - sum(balance_bytes) - events * LOG_KEY_BYTES
    assert total == event_bytes * events * (events + 1) // 2 + events


def test_h3_hardened_writes_the_same_at_every_append() -> None:
    with closing(CountingDatabase()) as database:
        costs = [size for size, _ in written(HardenedLedger(Storage(database)), database, events=400)]
    # Only the digits of the sum and of the numbers grow.
    assert max(costs) - min(costs) <= 12


def test_h4_the_bill_of_the_growing_value_is_quadratic() -> None:
    event_bytes, events = 216, 606
    predicted = sum(math.ceil((n * event_bytes + 1) / KV_WRITE_UNIT_BYTES) for n in range(1, events + 1))
    assert predicted == 10_004
    with closing(CountingDatabase()) as database:
        costs = written(seed(Storage(database, limits=KV_LIMITS), event_bytes), database, events=events)
    # One unit of every append is the balance's own.
    assert sum(units for _, units in costs) - events == predicted
    with closing(CountingDatabase()) as database:
        flat = written(HardenedLedger(Storage(database)), database, events=events)
    assert {units for _, units in flat} == {2}


# --- H5: nobody knows a repeated event -------------------------------------------------------


def test_h5_seed_overbills_every_lost_reply() -> None:
    # Until the reply arrives the client repeats: p / (1 - p) repetitions an event, each charged again.
    p, events = 0.05, 2_000
    lost = np.random.default_rng(5).geometric(1 - p, events) - 1
    assert np.mean(lost) == pytest.approx(p / (1 - p), abs=4 * math.sqrt(p / events))
    billed = {}
    for name in ("seed", "hardened"):
        with memory_disk() as database:
            storage = Storage(database, limits=StorageLimits("large", 10**9, 10**9, 10**9))
            ledger: LedgerPolicy = seed(storage) if name == "seed" else HardenedLedger(storage)
            for n, repetitions in enumerate(lost[:300]):
                for _ in range(1 + repetitions):
                    ledger.append(usage_event(f"e{n}"), EVENT_TIME_MS)
            billed[name] = ledger.balance("org-1").balance_microusd
    assert billed["hardened"] == 300 * CHARGE_MICROUSD
    assert billed["seed"] == (300 + int(lost[:300].sum())) * CHARGE_MICROUSD


# --- H6, H7: floats and cents ----------------------------------------------------------------


def dime(name: str) -> UsageEvent:
    """An event of $0.103 exactly: 100,000 microusd at list price, 3 % on top."""
    return UsageEvent(name, "org-1", "user-1", Usage("gpt-4-turbo", 10_000, 0, EVENT_TIME_MS))


def test_h6_seed_is_off_the_exact_sum_within_the_bound_of_float_addition() -> None:
    exact, each = Fraction(0), Fraction(103, 1_000)
    wrong = []
    with memory_disk() as database:
        storage = Storage(database)
        ledger = seed(storage)
        for n in range(1, 60):
            ledger.append(dime(f"e{n}"), EVENT_TIME_MS)
            exact += each
            error = abs(Fraction(storage.get("unbilledBalance")) - exact)
            assert error <= n * Fraction(np.finfo(float).eps) * exact
            if storage.get("unbilledBalance") != float(exact):
                wrong.append(n)
    sums = list(accumulate([0.103] * 59))
    assert wrong == [n for n in range(1, 60) if sums[n - 1] != float(n * each)]
    # Nine of them are less than $0.927: who waits for that sum waits for a tenth.
    assert wrong[0] == 9
    assert sums[8] < 0.927


def test_h6_hardened_is_exact_at_every_event() -> None:
    with memory_disk() as database:
        ledger = HardenedLedger(Storage(database))
        for n in range(1, 60):
            assert ledger.append(dime(f"e{n}"), EVENT_TIME_MS).balance_microusd == 103_000 * n


def ceil_twice(exact_cents: Fraction) -> int:
    """The origin's shipped rule: up to a cent in the router, then 3 % and up again in the ledger."""
    return math.ceil(math.ceil(exact_cents / Fraction(103, 100)) * Fraction(103, 100))


def half_away_twice(exact_cents: Fraction) -> int:
    """The origin's client: round, then 3 % and round."""
    return math.floor(
        math.floor(exact_cents / Fraction(103, 100) + Fraction(1, 2)) * Fraction(103, 100) + Fraction(1, 2)
    )


@pytest.mark.parametrize(
    ("tokens_in", "tokens_out", "exact_cents", "up", "half"),
    [(278, 218, "0.422712", 2, 0), (1_000, 500, "1.0815", 3, 1), (100, 50, "0.10815", 2, 0)],
)
def test_h7_rounding_every_event_bills_what_nobody_used(
    tokens_in: int, tokens_out: int, exact_cents: str, up: int, half: int
) -> None:
    exact = Fraction(exact_cents)
    assert exact == Fraction(tokens_in * 3 + tokens_out * 15, 10_000) * Fraction(103, 100)
    assert (ceil_twice(exact), half_away_twice(exact)) == (up, half)


@given(tokens=st.lists(st.integers(0, 5_000), max_size=60))
def test_h7_hardened_rounds_an_invoice_and_not_an_event(tokens: list[int]) -> None:
    with memory_disk() as database:
        ledger = HardenedLedger(Storage(database))
        for n, count in enumerate(tokens):
            ledger.append(usage_event(f"e{n}", tokens=count), EVENT_TIME_MS)
        metered = cents = 0
        while batch := ledger.seal(ledger.last_seq(), 7):
            metered += sum(event.value_microusd for event in meter_events(batch))
            cents += sum(row.cost_cents for row in batch.rows)
            ledger.settle(batch)
    exact_cents = sum((Fraction(count * 18 * 103, 10**6) for count in tokens), Fraction(0))
    assert invoice_cents(metered) == cents == exact_cents // 1


# --- H11, H69: ceilings and dates ------------------------------------------------------------


def refusal(ledger: LedgerPolicy, event: UsageEvent) -> str:
    """Append; return the code of the refusal, or nothing."""
    try:
        ledger.append(event, EVENT_TIME_MS)
    except RequestError as error:
        return error.code
    return ""


@pytest.mark.parametrize("ceiling_microusd", [0, CHARGE_MICROUSD - 1, CHARGE_MICROUSD, 100_000])
def test_h11_hardened_stops_exactly_at_the_ceiling_and_seed_never(ceiling_microusd: int) -> None:
    predicted = ceiling_microusd // CHARGE_MICROUSD
    with memory_disk() as database:
        ledger = HardenedLedger(Storage(database))
        ledger.set_account("org-1", Account(ceiling_microusd=ceiling_microusd))
        codes = [refusal(ledger, usage_event(f"e{n}")) for n in range(predicted + 5)]
        assert codes == [""] * predicted + ["credit_ceiling_exceeded"] * 5
        assert ledger.balance("org-1").balance_microusd == predicted * CHARGE_MICROUSD
    with memory_disk() as database:
        assert fill(seed(Storage(database)), offered=predicted + 5) == predicted + 5


def test_h69_seed_bills_late_events_in_the_period_of_their_arrival() -> None:
    # Events every 10 s, each 35 s on its way: those of the last 35 s of the month count for the next.
    boundary_ms = 1_798_761_600_000
    sent_ms = [boundary_ms - 100_000 + 10_000 * n for n in range(20)]
    predicted = sum(1 for at_ms in sent_ms if at_ms < boundary_ms <= at_ms + 35_000)
    assert predicted == 3
    wrong = {}
    for name in ("seed", "hardened"):
        with memory_disk() as database:
            ledger: LedgerPolicy = seed(Storage(database)) if name == "seed" else HardenedLedger(Storage(database))
            for n, at_ms in enumerate(sent_ms):
                usage = Usage("sonnet", 500, 500, at_ms)
                ledger.append(UsageEvent(f"e{n}", "org-1", "user-1", usage), at_ms + 35_000)
            dates = (
                [entry["timestamp"] for entry in Storage(database).get(LOG_KEY)]
                if name == "seed"
                else [row[0] for row in database.execute("SELECT event_time_ms FROM events ORDER BY seq").fetchall()]
            )
            pairs = zip(sent_ms, dates, strict=True)
            wrong[name] = sum(1 for sent, dated in pairs if (sent < boundary_ms) != (dated < boundary_ms))
    assert wrong == {"seed": predicted, "hardened": 0}


def test_h69_a_free_month_is_counted_by_event_time_whatever_comes_between() -> None:
    # Counting only the month seen last would begin anew at every change between two months.
    month_ms = 31 * 86_400_000
    with memory_disk() as database:
        ledger = HardenedLedger(Storage(database))
        ledger.set_account("org-1", Account(tier="free", free_limit_microusd=27_000))
        codes = []
        for n in range(20):
            usage = Usage("sonnet", 500, 500, EVENT_TIME_MS - n % 2 * month_ms)
            codes.append(refusal(ledger, UsageEvent(f"e{n}", "org-1", "user-1", usage)))
        # $0.009 each at list price, $0.027 a month: three of either month.
        assert codes == [""] * 6 + ["free_limit_exceeded"] * 14


# --- H17: a chain that is checked at every append --------------------------------------------


def test_h17_checking_the_chain_at_every_append_is_quadratic_and_linking_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hashes = 0
    link = audit_chain.link

    def counted(previous: str, entry: Any) -> str:
        nonlocal hashes
        hashes += 1
        return link(previous, entry)

    monkeypatch.setattr(audit_chain, "link", counted)
    events = 40
    with memory_disk() as database:
        ledger = HardenedLedger(Storage(database))
        for n in range(events):
            ledger.append(usage_event(f"e{n}"), EVENT_TIME_MS)
        assert hashes == events
        hashes = 0
        for n in range(events):
            ledger.append(usage_event(f"f{n}"), EVENT_TIME_MS)
            assert ledger.first_broken_seq() is None
        # Its own link, and then those of all that are there.
        assert hashes == events + sum(range(events + 1, 2 * events + 1))


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE events SET owed_microusd = 1 WHERE seq = 3",
        "UPDATE events SET user_id = 'user-2' WHERE seq = 3",
        "UPDATE events SET event_time_ms = event_time_ms + 1 WHERE seq = 3",
        "DELETE FROM events WHERE seq = 3",
        "UPDATE events SET chain = (SELECT chain FROM events WHERE seq = 2) WHERE seq = 3",
    ],
)
def test_h17_whatever_was_changed_is_found(tampering: str) -> None:
    with memory_disk() as database:
        ledger = HardenedLedger(Storage(database))
        for n in range(6):
            ledger.append(usage_event(f"e{n}"), EVENT_TIME_MS)
        assert ledger.first_broken_seq() is None
        database.execute(tampering)
        assert ledger.first_broken_seq() in (3, 4)
