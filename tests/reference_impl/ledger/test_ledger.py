"""The ledger: what is owed is what was used, once, whatever is repeated, cut off or restarted.

Goal: for the hardened policy, balance = sum of the unflushed charges after every step, and D1 gets
every event exactly once in effect. Method: Hypothesis draws histories and pulls the plug before,
between and after storage steps; the expected state is kept apart, in a dictionary. Then the same
over HTTP, in memory.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_impl.durable_objects.storage import Storage
from reference_impl.errors import RequestError
from reference_impl.ledger.charge import Account
from reference_impl.ledger.hardened import HardenedLedger
from reference_impl.ledger.policy import UsageRow
from reference_impl.messages import Request
from reference_impl.volumes.disks import SqliteDatabase
from tests.support.world import (
    EVENT_TIME_MS,
    balance_request,
    flush_request,
    log_request,
    memory_disk,
    usage_event,
    world,
)

ORGANIZATIONS = ("org-1", "org-2", "org-3")


class PowerCutError(Exception):
    """The plug was pulled."""


class Plug:
    """Counts storage steps and pulls the plug at one of them."""

    def __init__(self) -> None:
        self.steps_left: int | None = None

    def step(self, step: str) -> None:
        if self.steps_left is not None:
            self.steps_left -= 1
            if self.steps_left < 0:
                self.steps_left = None
                raise PowerCutError(step)


steps = st.one_of(
    st.tuples(
        st.just("append"),
        st.sampled_from([f"event-{n}" for n in range(8)]),
        st.sampled_from(ORGANIZATIONS),
    ),
    st.tuples(st.just("flush"), st.integers(1, 4), st.booleans()),
    st.tuples(st.just("restart"), st.just(0), st.just(0)),
)


class Auditor:
    """What must be true, kept without any storage."""

    def __init__(self) -> None:
        self.owed: dict[tuple[str, str], int] = {}
        self.sink: dict[str, UsageRow] = {}

    def check(self, ledger: HardenedLedger) -> None:
        """Compare the ledger with what must be true."""
        settled = {row_id for row_id in self.sink if row_id not in self._pending_ids(ledger)}
        for organization in ORGANIZATIONS:
            mine = {f"{o}/{e}": c for (o, e), c in self.owed.items() if o == organization}
            pending = {row_id: cost for row_id, cost in mine.items() if row_id not in settled}
            balance = ledger.balance(organization)
            assert balance.balance_microusd == sum(pending.values())
            assert balance.events_pending == len(pending)

    def _pending_ids(self, ledger: HardenedLedger) -> set[str]:
        settled_seq = ledger._outbox()[0]
        rows = ledger._storage.sql("SELECT organization_id || '/' || event_id FROM events WHERE seq > ?", settled_seq)
        return {row[0] for row in rows}


@settings(max_examples=200)
@given(history=st.lists(steps, max_size=25), cut_after=st.lists(st.integers(0, 12), max_size=25))
def test_what_is_owed_is_the_sum_of_unflushed_charges_whatever_is_cut(
    history: list[tuple[str, str | int, str | bool]], cut_after: list[int]
) -> None:
    plug = Plug()
    auditor = Auditor()
    with memory_disk() as connection:
        ledger = HardenedLedger(Storage(connection, on_step=plug.step))
        for n, (kind, first, second) in enumerate(history):
            # Some operations lose power after a number of storage steps; the rest complete.
            plug.steps_left = cut_after[n] if n < len(cut_after) else None
            try:
                if kind == "append":
                    ledger.append(usage_event(str(first), str(second)), EVENT_TIME_MS)
                elif kind == "flush":
                    flush(ledger, auditor, chunk=int(first), loses_reply=bool(second))
                is_cut = kind == "restart"
            except PowerCutError:
                is_cut = True
            plug.steps_left = None
            if is_cut:
                connection.rollback()
                ledger = HardenedLedger(Storage(connection, on_step=plug.step))
            note_appends(connection, auditor)
            auditor.check(ledger)
        flush(ledger, auditor, chunk=3, loses_reply=False)
        assert {row.id: row.charge_microusd for row in auditor.sink.values()} == {
            f"{organization}/{name}": cost for (organization, name), cost in auditor.owed.items()
        }
        for organization in ORGANIZATIONS:
            assert ledger.balance(organization).balance_microusd == 0


def flush(ledger: HardenedLedger, auditor: Auditor, *, chunk: int, loses_reply: bool) -> None:
    """Flush into the auditor's sink, which ignores a row that it has; perhaps lose its reply."""
    up_to = ledger.last_seq()
    while batch := ledger.seal(up_to, chunk):
        for row in batch.rows:
            auditor.sink.setdefault(row.id, row)
        if loses_reply:
            return
        ledger.settle(batch)


def note_appends(connection: SqliteDatabase, auditor: Auditor) -> None:
    """Learn which appends are durable; each is charged once and for the same sum for ever."""
    stored = connection.execute("SELECT organization_id, event_id, owed_microusd FROM events")
    for organization, name, owed in stored.fetchall():
        assert auditor.owed.setdefault((organization, name), owed) == owed
        assert owed == 500 * (3 + 15) * 103 // 100


def test_an_acknowledged_append_survives_every_later_cut() -> None:
    # One append is cut at each of its storage steps in turn: it is there whole or not at all.
    plug = Plug()
    outcomes = set()
    for cut in range(12):
        with memory_disk() as connection:
            ledger = HardenedLedger(Storage(connection, on_step=plug.step))
            ledger.append(usage_event("kept"), EVENT_TIME_MS)
            plug.steps_left = cut
            try:
                ledger.append(usage_event("cut"), EVENT_TIME_MS)
                acknowledged = True
            except PowerCutError:
                acknowledged = False
            plug.steps_left = None
            connection.rollback()
            balance = HardenedLedger(Storage(connection)).balance("org-1")
            outcomes.add((acknowledged, balance.events_pending))
            assert balance.balance_microusd == 9_270 * balance.events_pending
    # Cut before the commit: not there. Cut after it: there, though unacknowledged. Else both.
    assert outcomes == {(False, 1), (False, 2), (True, 2)}


def test_the_same_event_again_answers_the_first_receipt() -> None:
    with memory_disk() as connection:
        ledger = HardenedLedger(Storage(connection))
        first = ledger.append(usage_event("e"), EVENT_TIME_MS)
        again = ledger.append(usage_event("e"), EVENT_TIME_MS + 5_000)
        assert (again.charge_microusd, again.duplicate) == (first.charge_microusd, True)
        assert again.balance_microusd == first.balance_microusd
        assert ledger.balance("org-1").events_pending == 1


def test_a_duplicate_is_known_after_its_flush_too() -> None:
    with memory_disk() as connection:
        ledger = HardenedLedger(Storage(connection))
        ledger.append(usage_event("e"), EVENT_TIME_MS)
        settle_all(ledger)
        again = ledger.append(usage_event("e"), EVENT_TIME_MS)
        assert (again.duplicate, again.balance_microusd) == (True, 0)


def test_an_event_name_is_not_taken_for_another_event() -> None:
    with memory_disk() as connection:
        ledger = HardenedLedger(Storage(connection))
        ledger.append(usage_event("e", tokens=1), EVENT_TIME_MS)
        with pytest.raises(RequestError, match="event_id=e already names another event"):
            ledger.append(usage_event("e", tokens=2), EVENT_TIME_MS)
        ledger.append(usage_event("e", "org-2", tokens=2), EVENT_TIME_MS)
        assert ledger.balance("org-1").events_pending == 1


def test_settling_twice_takes_off_once() -> None:
    with memory_disk() as connection:
        ledger = HardenedLedger(Storage(connection))
        ledger.append(usage_event("a"), EVENT_TIME_MS)
        batch = ledger.seal(ledger.last_seq(), 10)
        assert batch is not None
        ledger.append(usage_event("b"), EVENT_TIME_MS)
        assert (ledger.settle(batch), ledger.settle(batch)) == (1, 0)
        assert ledger.balance("org-1").balance_microusd == 9_270


def test_more_rows_than_one_statement_binds_are_settled() -> None:
    with memory_disk() as connection:
        ledger = HardenedLedger(Storage(connection))
        for n in range(205):
            ledger.append(usage_event(f"e{n}"), EVENT_TIME_MS)
        settle_all(ledger)
        assert ledger.balance("org-1").balance_microusd == 0


def settle_all(ledger: HardenedLedger) -> None:
    """Flush everything to nowhere."""
    batch = ledger.seal(ledger.last_seq(), 500)
    assert batch is not None
    ledger.settle(batch)


def test_a_refused_charge_stores_nothing() -> None:
    with memory_disk() as connection:
        ledger = HardenedLedger(Storage(connection))
        ledger.set_account("org-1", Account(ceiling_microusd=9_270))
        ledger.append(usage_event("a"), EVENT_TIME_MS)
        with pytest.raises(RequestError, match="over the ceiling"):
            ledger.append(usage_event("b"), EVENT_TIME_MS)
        balance = ledger.balance("org-1")
        assert (balance.balance_microusd, balance.events_pending) == (9_270, 1)


def test_new_settings_leave_what_is_owed() -> None:
    with memory_disk() as connection:
        ledger = HardenedLedger(Storage(connection))
        ledger.append(usage_event("a"), EVENT_TIME_MS)
        ledger.set_account("org-1", Account(tier="byok", pending_microusd=0))
        ledger.append(usage_event("b"), EVENT_TIME_MS)
        assert ledger.balance("org-1").balance_microusd == 9_270 + 11_700


def test_event_time_and_receipt_time_are_both_kept() -> None:
    with memory_disk() as connection:
        ledger = HardenedLedger(Storage(connection))
        ledger.append(usage_event("a"), EVENT_TIME_MS + 86_400_000)
        times = connection.execute("SELECT event_time_ms, received_ms FROM events").fetchall()
        assert times == [(EVENT_TIME_MS, EVENT_TIME_MS + 86_400_000)]
        batch = ledger.seal(1, 1)
        assert batch is not None
        assert batch.rows[0].created_at_ms == EVENT_TIME_MS


# --- over HTTP, with D1 behind ---------------------------------------------------------------


def test_the_alarm_flushes_every_event_to_d1() -> None:
    with world() as w:
        for n in range(25):
            w.ask(log_request(f"event-{n}"))
        assert w.rows("SELECT count(*) FROM usage_events") == [(0,)]
        w.clock.run_until(w.clock.now_ms() + 61_000)
        assert w.rows("SELECT count(*), sum(charge_microusd), sum(cost_cents), min(id) FROM usage_events") == [
            (25, 105_678, 10, "org-7/event-0")
        ]
        assert w.json(balance_request())["balance_microusd"] == 0


def test_the_object_itself_has_three_routes_and_no_more() -> None:
    with world() as w:
        ledgers = w.objects
        asked = ledgers.deliver(
            ledgers.id_from_name("org-7"), Request("GET", "/else"), stopwatch=w.deployment.stopwatch()
        )
        with pytest.raises(RequestError, match="the ledger has no route '/else'"):
            w.clock.run(asked)


def test_a_flush_through_the_worker_tells_how_many() -> None:
    flush_request = Request("POST", "/flush", {"organization_id": "org-7"})
    with world() as w:
        w.ask(log_request())
        assert w.json(flush_request) == {"success": True, "events_flushed": 1}
        assert w.json(flush_request) == {"success": True, "events_flushed": 0}


def test_an_event_during_the_flush_is_flushed_by_the_next_alarm() -> None:
    system = {"ledger": {"flush_interval_s": 10, "flush_chunk_rows": 1}, "d1": {"write_ms": 500}}
    with world(system) as w:
        w.ask(log_request("a"))
        w.ask(log_request("b"))
        w.clock.run_until(10_250)
        w.ask(log_request("c"))
        w.clock.run_until(15_000)
        assert w.rows("SELECT id FROM usage_events ORDER BY id") == [("org-7/a",), ("org-7/b",)]
        assert w.json(balance_request())["events_pending"] == 1
        w.clock.run_until(25_000)
        assert w.json(balance_request())["events_pending"] == 0


def test_appends_go_on_between_the_chunks_of_a_flush() -> None:
    # 3 chunks of 2 rows hold the object 2 ms each; D1 takes 500 ms a chunk, the object is free.
    system = {
        "ledger": {"flush_interval_s": 1, "flush_chunk_rows": 2, "flush_row_us": 1_000},
        "d1": {"write_ms": 500},
    }
    with world(system) as w:
        for n in range(6):
            w.ask(log_request(f"event-{n}"))
        w.clock.run_until(1_001)
        stopwatch = w.ask(log_request("meanwhile"))[1]
        assert stopwatch.spent_ms["durable_objects_queue"] == pytest.approx(1)
        assert w.clock.now_ms() < 1_010


@pytest.mark.parametrize(("sink", "code"), [("usage_events", "d1_error"), ("meter_events", "meter_error")])
def test_a_failing_flush_is_repeated_until_every_sink_has_everything_once(sink: str, code: str) -> None:
    with world() as w:
        broken = w.engine if sink == "usage_events" else w.ledgers.meter._engine
        w.ask(log_request())
        broken.execute(f"ALTER TABLE {sink} RENAME TO gone")
        # Longer than an alarm is tried whose handler fails.
        w.clock.run_until(w.clock.now_ms() + 1_000_000)
        assert w.json(balance_request())["events_pending"] == 1
        refused = w.json(flush_request())
        assert (refused["success"], refused["error"]["code"]) == (False, code)
        broken.execute(f"ALTER TABLE gone RENAME TO {sink}")
        w.clock.run_until(w.clock.now_ms() + 260_000)
        assert w.json(balance_request())["events_pending"] == 0
        assert w.rows("SELECT count(*) FROM usage_events") == [(1,)]
        assert w.ledgers.meter.total_microusd("org-7") == 4_227
