"""The auditor: knows what must be true, checks it after every step, and believes nobody.

It reads the object's tables by its own queries and replays every new event through its own rules
(:mod:`tests.faults.spec`). After every commit: each event is one that was sent, is charged to who sent it, once and
exactly; each balance is the sum of what is not flushed and never negative; what counts as flushed is in both sinks.
After a power cut the tables are those of an earlier commit, and nothing that was acknowledged is missing. In the end
ledger, D1 and meter agree.
"""

import sqlite3
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.faults import spec
from tests.faults.clients import Delivery, event_values
from tests.faults.linearizability import NEVER, Operation, is_linearizable
from tests.faults.plan import Op, Plan, Terms
from tests.faults.sinks import AnyBooks

DEFAULT_TERMS = Terms()
EVENT_QUERY = (
    "SELECT seq, organization_id, event_id, user_id, model, tokens_in, tokens_out, event_time_ms, charge_microusd, "
    "owed_microusd FROM events WHERE seq > ? ORDER BY seq"
)
ACCOUNT_QUERY = "SELECT organization_id, pending_microusd, pending_events, credits_microusd FROM accounts"
OUTBOX_QUERY = "SELECT settled_seq, sealed_seq FROM outbox"
PROGRESS_QUERY = (
    "SELECT coalesce(max(seq), 0), (SELECT settled_seq FROM outbox), (SELECT sealed_seq FROM outbox) FROM events"
)


class ViolationError(BaseException):
    """Something that must be true is not. No ``except Exception`` of the code under test can hide it."""


class Settled(NamedTuple):
    """A flushed sum of one organisation that was taken off."""

    microusd: int
    events: int


class Seen(NamedTuple):
    """What the auditor knows after one commit; *accounts* is never changed, and stays the same if no account does."""

    events: int
    settled_seq: int
    sealed_seq: int
    accounts: dict[str, spec.AccountState]


class Auditor:
    """The auditor of one schedule.

    Parameters
    ----------
    plan
        What may be asked at all.
    books
        The sinks.
    execute
        Runs SQL on the object's database.
    """

    def __init__(self, plan: Plan, books: AnyBooks, *, execute: Callable[..., Any]) -> None:
        self._plan = plan
        self._books = books
        self._execute = execute
        self._sent: dict[tuple[Any, ...], Op] = {}
        for op in plan.ops:
            if op.kind == "log":
                self._sent[event_values(op.organization, op.event, op.model, op.tokens)] = op
        self._rows: list[tuple[str, str, int, int]] = []
        self._acknowledged: set[tuple[str, str]] = set()
        self._settles: dict[str, list[Operation[Delivery | Settled]]] = {}
        self._settled_to: set[int] = set()
        self._seen = [Seen(0, 0, 0, {})]
        self._compared: tuple[dict[str, spec.AccountState], list[Any]] = ({}, [])

    # --- after every step ----------------------------------------------------------------------

    def committed(self, now_ms: float) -> None:
        """Check everything after a commit of the object."""
        before = self._seen[-1]
        try:
            last_seq, settled_seq, sealed_seq = self._execute(PROGRESS_QUERY).fetchone()
        except sqlite3.OperationalError:
            # The schema is being made.
            self._seen.append(before)
            return
        if settled_seq is None:
            settled_seq = sealed_seq = 0
        accounts = before.accounts
        if last_seq > before.events:
            accounts = accounts.copy()
            for row in self._execute(EVENT_QUERY, (before.events,)).fetchall():
                self._replay(row, accounts)
        if not before.settled_seq <= settled_seq <= sealed_seq <= len(self._rows):
            raise ViolationError(f"settled {settled_seq}, sealed {sealed_seq} of {len(self._rows)} events")
        if settled_seq > before.settled_seq:
            accounts = accounts.copy()
            self._settle(before.settled_seq, settled_seq, accounts=accounts, now_ms=now_ms)
        self._compare(accounts)
        self._seen.append(Seen(len(self._rows), settled_seq, sealed_seq, accounts))

    def lost_power(self, survivors: int) -> None:
        """Check after a power cut that the disk holds the state after some number of commits."""
        del self._seen[survivors + 1 :]
        then = self._seen[-1]
        for organization, event in self._acknowledged:
            if not any(row[:2] == (organization, event) for row in self._rows[: then.events]):
                raise ViolationError(f"event {event} of {organization} was acknowledged and is lost")
        del self._rows[then.events :]
        try:
            events = self._execute("SELECT count(*) FROM events").fetchall()[0][0]
            outbox = self._execute(OUTBOX_QUERY).fetchall()
        except sqlite3.OperationalError:
            events, outbox = 0, []
        if events != then.events or (outbox and outbox[0] != (then.settled_seq, then.sealed_seq)):
            raise ViolationError(f"the disk brings back {events} events, outbox {outbox}; there were {then[:3]}")
        self._compare(then.accounts)

    def answered(self, delivery: Delivery) -> None:
        """Check an answer that a client received."""
        if delivery.op.kind != "log" or delivery.status != 200:
            return
        organization, event = delivery.op.organization, delivery.op.event
        charges = [charge for of, name, charge, _ in self._rows if name == event and of == organization]
        if not charges:
            raise ViolationError(f"event {event} of {organization} is acknowledged but not there")
        assert delivery.answer is not None, "what was answered has its answer"
        if charges != [delivery.answer["charge_microusd"]]:
            raise ViolationError(f"{event} of {organization}: charged {charges}, told {delivery.answer}")
        self._acknowledged.add((organization, event))

    # --- in the end ----------------------------------------------------------------------------

    def ended(self) -> None:
        """Check that ledger, D1 and meter agree and that nothing is left to flush."""
        owed: dict[str, int] = {}
        for organization, _, _, owed_microusd in self._rows:
            owed[organization] = owed.get(organization, 0) + owed_microusd
        if self._seen[-1].settled_seq != len(self._rows):
            raise ViolationError(f"{self._seen[-1].settled_seq} of {len(self._rows)} events were ever flushed")
        if self._books.row_sums() != owed:
            raise ViolationError(f"D1 sums up to {self._books.row_sums()}, the ledger to {owed}")
        if len(self._books.rows) != len(self._rows):
            raise ViolationError(f"D1 has {len(self._books.rows)} rows for {len(self._rows)} events")
        if self._books.meter_sums() != owed:
            raise ViolationError(f"the meter sums up to {self._books.meter_sums()}, the ledger to {owed}")

    def check_history(self, history: list[Delivery]) -> None:
        """Check that what clients saw of each account is linearizable."""
        seen: dict[str, list[Operation[Delivery | Settled]]] = {}
        for delivery in history:
            if delivery.op.kind != "flush":
                operation: Operation[Delivery | Settled] = Operation(delivery.began_ms, delivery.ended_ms, delivery)
                seen.setdefault(delivery.op.organization, []).append(operation)
        for organization, operations in sorted(seen.items()):
            terms = self._plan.terms.get(organization, DEFAULT_TERMS)
            operations.extend(self._settles.get(organization, []))
            if not is_linearizable(operations, spec.opened(terms), step=stepping(terms)):
                told = "\n".join(f"  {operation}" for operation in operations)
                raise ViolationError(f"no order explains what clients of {organization} saw:\n{told}")

    # --- one thing each ------------------------------------------------------------------------

    def _replay(self, row: tuple[Any, ...], accounts: dict[str, spec.AccountState]) -> None:
        seq, organization, event, user, model, tokens_in, tokens_out, time_ms, charge_microusd, owed_microusd = row
        op = self._sent.get((event, organization, user, model, tokens_in, tokens_out, time_ms))
        if op is None:
            raise ViolationError(f"nobody sent what the ledger holds: {row}")
        if seq != len(self._rows) + 1:
            raise ViolationError(f"event {seq} follows event {len(self._rows)}")
        terms = self._plan.terms.get(organization, DEFAULT_TERMS)
        state = accounts.get(organization) or spec.opened(terms)
        after, outcome = spec.append(state, op, terms)
        if outcome != (200, charge_microusd, owed_microusd, False):
            raise ViolationError(f"the ledger stored {row}; the rule says {outcome}")
        accounts[organization] = after
        self._rows.append((organization, event, charge_microusd, owed_microusd))

    def _settle(self, from_seq: int, to_seq: int, *, accounts: dict[str, spec.AccountState], now_ms: float) -> None:
        sums: dict[str, Settled] = {}
        for organization, _, _, owed_microusd in self._rows[from_seq:to_seq]:
            known = sums.get(organization, Settled(0, 0))
            sums[organization] = Settled(known.microusd + owed_microusd, known.events + 1)
        flushed, metered = self._books.row_sums(), self._books.meter_sums()
        settled: dict[str, int] = {}
        for organization, _, _, owed_microusd in self._rows[:to_seq]:
            settled[organization] = settled.get(organization, 0) + owed_microusd
        for organization, sum_ in sums.items():
            if (
                flushed.get(organization, 0) < settled[organization]
                or metered.get(organization, 0) < settled[organization]
            ):
                raise ViolationError(f"{organization}: {settled[organization]} settled, D1 {flushed}, meter {metered}")
            accounts[organization] = spec.settle(accounts[organization], sum_.microusd, sum_.events)
            # A settlement that a power cut takes back is made again: still only one.
            if to_seq not in self._settled_to:
                self._settles.setdefault(organization, []).append(Operation(now_ms, NEVER, sum_))
        self._settled_to.add(to_seq)

    def _compare(self, accounts: dict[str, spec.AccountState]) -> None:
        try:
            found = self._execute(ACCOUNT_QUERY).fetchall()
        except sqlite3.OperationalError:
            found = []
        # Commits that touch no account, such as an alarm's, are compared by what was compared before.
        if accounts is self._compared[0] and found == self._compared[1]:
            return
        for organization, *told in found:
            state = accounts.get(organization) or spec.opened(self._plan.terms.get(organization, DEFAULT_TERMS))
            expected = [state.pending_microusd, state.pending_events, state.credits_microusd]
            if told != expected or min(expected) < 0:
                raise ViolationError(f"{organization} owes {told}; its unflushed events make {expected}")
        # Known are the accounts that were charged.
        missing = accounts.keys() - {row[0] for row in found}
        if missing:
            raise ViolationError(f"no account for {sorted(missing)}")
        self._compared = (accounts, found)


def stepping(
    terms: Terms,
) -> Callable[[spec.AccountState, Operation[Delivery | Settled]], spec.AccountState | None]:
    """Return how an account of *terms* goes on from operation to operation."""
    return lambda state, operation: explained(state, operation.asked, terms)


def explained(state: spec.AccountState, asked: Delivery | Settled, terms: Terms) -> spec.AccountState | None:
    """Return the state after *asked*, or None if its answer is wrong in *state*."""
    if isinstance(asked, Settled):
        return spec.settle(state, *asked) if state.pending_events >= asked.events else None
    answer = asked.answer
    if asked.op.kind == "balance":
        true = (state.pending_microusd, state.pending_events)
        right = answer is None or true == (answer["balance_microusd"], answer["events_pending"])
        return state if right else None
    after, outcome = spec.append(state, asked.op, terms)
    if answer is None:
        return after
    if outcome.status != asked.status:
        return None
    if outcome.status == 200:
        told = (answer["charge_microusd"], answer["duplicate"], answer["balance_microusd"])
        if told != (outcome.charge_microusd, outcome.is_duplicate, after.pending_microusd):
            return None
    return after
