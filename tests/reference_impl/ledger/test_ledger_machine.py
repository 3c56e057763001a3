"""The hardened ledger as a state machine: whatever is called in whatever order, what is owed is what was used.

Goal: for any history of appends, repeats, flushes cut anywhere, power cuts and changes of terms, the ledger agrees with
its rule (:mod:`tests.faults.spec`), and in the end with both sinks. Method: a Hypothesis state machine; and
metamorphic properties: histories that must come to the same sum, however they are told. ``HYPOTHESIS_PROFILE`` chooses
how long it looks (dev, ci, nightly).
"""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from reference_impl.durable_objects.storage import Storage
from reference_impl.errors import RequestError
from reference_impl.ledger.charge import MARKUP_PERCENT, Account
from reference_impl.ledger.hardened import HardenedLedger
from reference_impl.ledger.meter import meter_events
from reference_impl.ledger.policy import Batch, UsageEvent
from reference_impl.volumes.disks import memory_database
from tests.faults import spec
from tests.faults.clients import event_of
from tests.faults.plan import MODELS, Op, Terms
from tests.support.world import EVENT_TIME_MS

ORGANIZATIONS = ("org", "org:1", "acme")
EVENTS = ("e1", "e2", "1:e1", "e3")
DEFAULT = Terms()

organizations = st.sampled_from(ORGANIZATIONS)
ops = st.builds(
    Op,
    st.just(0),
    st.just(0),
    st.just("log"),
    organizations,
    st.sampled_from(EVENTS),
    st.sampled_from(MODELS),
    st.integers(0, 400),
)
terms = st.builds(
    Terms,
    st.sampled_from(sorted(MARKUP_PERCENT)),
    st.sampled_from([0, 500, 10_000]),
    st.sampled_from([3_000, 50_000, 10**8]),
    st.sampled_from([4_000, 10**8]),
)


class PowerCutError(Exception):
    """The plug was pulled."""


def usage_event(op: Op) -> UsageEvent:
    """Return the event that *op* logs."""
    fields = event_of(op)
    from reference_impl.ledger.charge import Usage

    usage = Usage(fields["model"], fields["tokens_in"], fields["tokens_out"], fields["event_time_ms"])
    return UsageEvent(fields["event_id"], fields["organization_id"], fields["user_id"], usage)


class LedgerMachine(RuleBasedStateMachine):
    """The ledger on a disk in memory, beside what it must be."""

    def __init__(self) -> None:
        super().__init__()
        self.database = memory_database()
        self.steps_left: int | None = None
        self.ledger = self.open()
        self.states = {name: spec.opened(DEFAULT) for name in ORGANIZATIONS}
        self.terms = dict.fromkeys(ORGANIZATIONS, DEFAULT)
        self.order: list[tuple[str, int]] = []
        self.settled = 0
        self.batch: Batch | None = None
        self.rows: dict[str, tuple[str, int]] = {}
        self.metered: dict[str, tuple[str, int]] = {}

    def open(self) -> HardenedLedger:
        """Open the ledger on what the disk has."""
        self.database.rollback()
        return HardenedLedger(Storage(self.database, on_step=self.step), ledger_id="one")

    def step(self, name: str) -> None:
        """Pull the plug before one of the storage steps, if that was drawn."""
        if self.steps_left is not None:
            self.steps_left -= 1
            if self.steps_left < 0:
                self.steps_left = None
                raise PowerCutError(name)

    def cut(self, steps: int, call: Any) -> Any:
        """Call with a power cut after a number of steps; return None if it was cut."""
        self.steps_left = steps
        try:
            return call()
        except PowerCutError:
            self.ledger = self.open()
            return None
        finally:
            self.steps_left = None

    def expected(self, op: Op) -> tuple[spec.AccountState, spec.Outcome]:
        """Return state and outcome of logging *op* now."""
        return spec.append(self.states[op.organization], op, self.terms[op.organization])

    def note(self, op: Op, after: spec.AccountState, outcome: spec.Outcome) -> None:
        """Note an append that happened."""
        self.states[op.organization] = after
        if outcome.status == 200 and not outcome.is_duplicate:
            self.order.append((op.organization, outcome.owed_microusd))

    @rule(op=ops)
    def append(self, op: Op) -> None:
        after, outcome = self.expected(op)
        if outcome.status != 200:
            with pytest.raises(RequestError) as refusal:
                self.ledger.append(usage_event(op), EVENT_TIME_MS)
            assert refusal.value.status == outcome.status
            return
        receipt = self.ledger.append(usage_event(op), EVENT_TIME_MS)
        assert (receipt.charge_microusd, receipt.duplicate) == (outcome.charge_microusd, outcome.is_duplicate)
        assert receipt.balance_microusd == after.pending_microusd
        self.note(op, after, outcome)

    @rule(op=ops, steps=st.integers(0, 9))
    def append_and_lose_power(self, op: Op, steps: int) -> None:
        after, outcome = self.expected(op)
        if outcome.status != 200:
            return
        held = self.ledger.last_seq()
        self.cut(steps, lambda: self.ledger.append(usage_event(op), EVENT_TIME_MS))
        # Whether it happened only the disk can tell; half of it never did.
        if self.ledger.last_seq() > held:
            self.note(op, after, outcome)

    @rule(up_to=st.integers(0, 12), limit=st.integers(1, 5), steps=st.none() | st.integers(0, 6))
    def seal(self, up_to: int, limit: int, steps: int | None) -> None:
        def seal() -> Batch | None:
            return self.ledger.seal(up_to, limit)

        batch = seal() if steps is None else self.cut(steps, seal)
        if batch is None:
            return
        if self.batch is not None:
            assert batch == self.batch, "a sealed batch is what it was until it is settled"
        assert batch.rows[0].seq == self.settled + 1
        self.batch = batch

    @precondition(lambda self: self.batch is not None)
    @rule(sink=st.sampled_from(["rows", "meter"]))
    def deliver(self, sink: str) -> None:
        assert self.batch is not None
        if sink == "rows":
            for row in self.batch.rows:
                self.rows.setdefault(row.id, (row.organization_id, row.charge_microusd))
        else:
            for event in meter_events(self.batch):
                self.metered.setdefault(event.identifier, (event.organization_id, event.value_microusd))

    @precondition(lambda self: self.batch is not None)
    @rule(steps=st.none() | st.integers(0, 8), again=st.booleans())
    def deliver_and_settle(self, steps: int | None, again: bool) -> None:
        batch = self.batch
        assert batch is not None
        self.deliver("rows")
        self.deliver("meter")
        if steps is None:
            assert self.ledger.settle(batch) == len(batch.rows)
        else:
            self.cut(steps, lambda: self.ledger.settle(batch))
        if self.ledger._outbox()[0] == self.settled:
            return
        if again:
            assert self.ledger.settle(batch) == 0
        self.take_off(batch)

    def take_off(self, batch: Batch) -> None:
        """Note that *batch* was settled."""
        for organization, owed in self.order[self.settled : self.settled + len(batch.rows)]:
            self.states[organization] = spec.settle(self.states[organization], owed, 1)
        self.settled += len(batch.rows)
        self.batch = None

    @rule()
    def restart(self) -> None:
        self.ledger = self.open()

    @rule(organization=organizations, new=terms)
    def change_terms(self, organization: str, new: Terms) -> None:
        account = Account(new.tier, 0, 0, new.credits_microusd, new.ceiling_microusd, new.free_limit_microusd)
        self.ledger.set_account(organization, account)
        self.terms[organization] = new
        state = self.states[organization]
        self.states[organization] = state._replace(credits_microusd=new.credits_microusd)

    @invariant()
    def balances_are_the_sums_of_what_is_not_flushed(self) -> None:
        for organization, state in self.states.items():
            balance = self.ledger.balance(organization)
            assert (balance.balance_microusd, balance.events_pending) == (state.pending_microusd, state.pending_events)
            unflushed = [owed for name, owed in self.order[self.settled :] if name == organization]
            assert (sum(unflushed), len(unflushed)) == (balance.balance_microusd, balance.events_pending)

    def teardown(self) -> None:
        """Flush the rest: then ledger, D1 and meter agree, and the chain is whole."""
        while batch := self.ledger.seal(self.ledger.last_seq(), 3):
            self.batch = batch
            self.deliver_and_settle(None, again=True)
        for organization in ORGANIZATIONS:
            owed = sum(microusd for name, microusd in self.order if name == organization)
            assert sum(microusd for name, microusd in self.rows.values() if name == organization) == owed
            assert sum(microusd for name, microusd in self.metered.values() if name == organization) == owed
            assert self.ledger.balance(organization).balance_microusd == 0
        assert len(self.rows) == len(self.order)
        assert self.ledger.first_broken_seq() is None
        self.database.close()


LedgerMachine.TestCase.settings = settings(stateful_step_count=40)
TestLedgerMachine = LedgerMachine.TestCase


# --- metamorphic properties ------------------------------------------------------------------


def keep(history: list[Op], *, flush_every: int = 0, chunk: int = 500) -> tuple[dict[str, int], dict[str, int]]:
    """Log a history on a new ledger; return what every organisation owed in all, and what was metered."""
    metered: dict[str, int] = {}
    database = memory_database()
    ledger = HardenedLedger(Storage(database))

    def flush() -> None:
        while batch := ledger.seal(ledger.last_seq(), chunk):
            for event in meter_events(batch):
                metered[event.organization_id] = metered.get(event.organization_id, 0) + event.value_microusd
            ledger.settle(batch)

    for n, op in enumerate(history):
        ledger.append(usage_event(op), EVENT_TIME_MS)
        if flush_every and n % flush_every == 0:
            flush()
    flush()
    owed = ledger._storage.sql("SELECT organization_id, sum(owed_microusd) FROM events GROUP BY organization_id")
    database.close()
    return dict(owed), metered


def named(history: list[Op]) -> list[Op]:
    """Give every event of a history a name of its own."""
    return [op._replace(event=f"n{n}") for n, op in enumerate(history)]


histories = st.lists(ops, max_size=12).map(named)


@given(history=histories, data=st.data())
def test_the_order_of_events_does_not_change_what_is_owed(history: list[Op], data: st.DataObject) -> None:
    assert keep(history) == keep(data.draw(st.permutations(history)))


@given(history=histories, data=st.data())
def test_repeated_events_do_not_change_what_is_owed(history: list[Op], data: st.DataObject) -> None:
    repeated = []
    for n, op in enumerate(history):
        repeated.append(op)
        # Any earlier event may come again at any time, and the same one at once.
        repeated += [history[k] for k in data.draw(st.lists(st.integers(0, n), max_size=2))]
    assert keep(history) == keep(repeated)


@given(history=histories, at=st.integers(0, 400))
def test_splitting_events_does_not_change_what_is_owed(history: list[Op], at: int) -> None:
    split = []
    for op in history:
        first = min(at, op.tokens)
        split += [
            op._replace(tokens=first),
            op._replace(event=f"{op.event}-rest", tokens=op.tokens - first),
        ]
    assert keep(history) == keep(split)


@given(history=histories, flush_every=st.integers(0, 4), chunk=st.integers(1, 6))
def test_when_and_in_which_chunks_is_flushed_does_not_change_what_is_metered(
    history: list[Op], flush_every: int, chunk: int
) -> None:
    owed, metered = keep(history, flush_every=flush_every, chunk=chunk)
    assert owed == metered
    assert owed == keep(history)[0]


@given(history=histories)
def test_one_organisation_does_not_change_what_another_owes(history: list[Op]) -> None:
    together = keep(history)[0]
    for organization in ORGANIZATIONS:
        alone = keep([op for op in history if op.organization == organization])[0]
        assert alone.get(organization) == together.get(organization)
