"""The linearizability checker rejects what cannot have happened and accepts what can.

Goal: when a schedule passes, clients really saw one account. Method: histories known to be bad, one for each way in
which a ledger can lie, beside the honest history that differs in one answer; and random small histories, held against
the definition itself: try every order.
"""

from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults import spec
from tests.faults.auditor import Settled, explained
from tests.faults.clients import Delivery
from tests.faults.linearizability import NEVER, Operation, is_linearizable
from tests.faults.plan import Op, Terms

TERMS = Terms(ceiling_microusd=50_000)
PRICE_MICROUSD = 9_270
"""500 tokens each way on Sonnet, managed: 500 × (3 + 15) × 1.03."""

History = list[Operation[Delivery | Settled]]


def op(kind: str, event: str = "e1", tokens: int = 500) -> Op:
    return Op(0, 0, kind, "org", event, "sonnet", tokens)


def log(began: float, ended: float, event: str = "e1", *, owes: int = 1, again: bool = False, **more: Any) -> Any:
    """A logged event whose answer tells that *owes* events of one price are owed."""
    answer = {"charge_microusd": PRICE_MICROUSD, "balance_microusd": owes * PRICE_MICROUSD, "duplicate": again}
    status = more.pop("status", 200)
    delivery = Delivery(op("log", event, **more), began, ended, status, answer if ended < NEVER else None)
    return Operation(began, ended, delivery)


def balance(began: float, ended: float, owes: int, *, events: int | None = None) -> Any:
    """Return a reading of the balance: *owes* events of one price."""
    answer = {"balance_microusd": owes * PRICE_MICROUSD, "events_pending": owes if events is None else events}
    return Operation(began, ended, Delivery(op("balance"), began, ended, 200, answer))


def lost(began: float, event: str = "e1") -> Any:
    """A logged event of which nobody heard again."""
    return log(began, NEVER, event)


def refused(began: float, ended: float) -> Any:
    """An event that would have been owed beyond the ceiling."""
    return log(began, ended, "one too many", status=402)


def settled(began: float, events: int) -> Any:
    """A flush that took so many events of one price off."""
    return Operation(began, NEVER, Settled(events * PRICE_MICROUSD, events))


def holds(history: History) -> bool:
    return is_linearizable(
        history, spec.opened(TERMS), step=lambda state, operation: explained(state, operation.asked, TERMS)
    )


BAD: dict[str, History] = {
    "a balance forgets an acknowledged event": [log(0, 1), balance(2, 3, 0)],
    "a balance tells an event that nobody sent": [balance(0, 1, 1)],
    "a balance tells an event before it was sent": [balance(0, 1, 1), log(2, 3)],
    "a balance goes back": [log(0, 9), balance(1, 2, 1), balance(3, 4, 0)],
    "the same event is charged twice": [log(0, 1), log(2, 3, owes=2)],
    "the same event is no duplicate": [log(0, 1), log(2, 3, owes=1)],
    "a new event is called a duplicate": [log(0, 1, again=True)],
    "an update is lost": [log(0, 2, "e1"), log(1, 3, "e2"), balance(4, 5, 1)],
    "two events each believe to be the first": [log(0, 2, "e1"), log(1, 3, "e2")],
    "a sum and its count disagree": [log(0, 1), balance(2, 3, 1, events=2)],
    "an unknown event comes and goes": [lost(0), balance(1, 2, 1), balance(3, 4, 0)],
    "an unknown event counts twice": [lost(0), lost(0), balance(1, 2, 2)],
    "the balance is zero at a flush that took one of two": [
        log(0, 1, "e1"),
        log(2, 3, "e2", owes=2),
        settled(2, 1),
        balance(4, 5, 0),
    ],
    "a flush is taken off twice": [log(0, 1, "e1"), log(2, 3, "e2", owes=2), settled(4, 1), balance(5, 6, 0)],
    "a flush is taken off before it began": [log(0, 1), balance(2, 3, 0), settled(4, 1)],
    "a flushed event is owed again": [log(0, 1), settled(2, 1), balance(3, 4, 0), balance(5, 6, 1)],
    "somebody owes more than the ceiling": [log(n, n + 0.5, f"e{n}", owes=n + 1) for n in range(6)],
    "a refusal without a reason": [log(0, 1, status=402)],
    "another event under a known name is accepted": [log(0, 1), log(2, 3, again=True, tokens=501)],
    "a name is refused that nobody used": [log(0, 1, status=409)],
    "the charge is not the price": [log(0, 1, tokens=501)],
    "an event is seen, then missed, then seen": [log(0, 9), balance(1, 2, 1), balance(3, 4, 0), balance(5, 6, 1)],
    "two readers see two events in two orders": [
        log(0, 9, "e1", owes=1),
        log(0, 9, "e2", owes=2),
        log(1, 2, "e2", again=True, owes=1),
    ],
    "an answer arrives before anybody could know it": [log(0, 1, "e1", owes=2), log(2, 3, "e2", owes=2)],
    "a long read sees a moment that never was": [log(0, 1, "e1"), log(2, 3, "e2", owes=2), balance(1.5, 9, 0)],
    "an unknown event happens before it is sent": [balance(0, 1, 1), lost(2)],
    "an unknown event is seen under a name that is refused": [lost(0), balance(1, 2, 1), log(3, 4, status=409)],
    "a repeated event is charged because its first answer was lost": [lost(0), balance(1, 2, 1), log(3, 4, owes=2)],
    "a refusal leaves something behind": [
        *(log(n, n + 0.5, f"e{n}", owes=n + 1) for n in range(5)),
        log(6, 7, "e6", status=402),
        balance(8, 9, 6),
    ],
    "somebody is refused below the ceiling": [*(log(n, n + 0.5, f"e{n}", owes=n + 1) for n in range(4)), refused(6, 7)],
    "a flush makes a balance negative": [log(0, 1), settled(2, 1), balance(3, 4, -1, events=0)],
    "a flush takes money and no event": [log(0, 1), Operation(2, NEVER, Settled(PRICE_MICROUSD, 0)), balance(3, 4, 0)],
    "two flushes of one event": [log(0, 1), settled(2, 1), settled(2, 1), balance(3, 4, -1)],
}

GOOD: dict[str, History] = {
    "nothing": [],
    "a balance between two events": [log(0, 1), balance(2, 3, 1), log(4, 5, "e2", owes=2)],
    "a balance at the same time may see the event": [log(0, 9), balance(1, 2, 1)],
    "a balance at the same time may miss it": [log(0, 9), balance(1, 2, 0)],
    "events at the same time, the later first": [log(0, 3, "e1", owes=2), log(1, 2, "e2", owes=1)],
    "a repeated event": [log(0, 1), log(2, 3, again=True)],
    "an unknown event never happened": [lost(0), balance(1, 2, 0)],
    "an unknown event happened late": [lost(0), balance(1, 2, 0), balance(3, 4, 1)],
    "an event repeated after its flush": [log(0, 1), settled(2, 1), log(3, 4, owes=0, again=True)],
    "a flush that is seen late": [log(0, 1), settled(2, 1), balance(3, 4, 1), balance(5, 6, 0)],
    "the ceiling": [*(log(n, n + 0.5, f"e{n}", owes=n + 1) for n in range(5)), log(6, 7, "e6", status=402)],
    "another event under a known name is refused": [log(0, 1), log(2, 3, status=409, tokens=501)],
    "operations that only touch may be in either order": [log(0, 1), balance(1, 2, 0)],
    "a long read sees any moment of its time": [log(0, 1, "e1"), log(2, 3, "e2", owes=2), balance(1.5, 9, 1)],
    "a repeated event while its first sending is on its way": [log(0, 9), log(1, 2, again=True)],
    "both sendings at once, the second first": [log(0, 9, again=True), log(1, 8)],
    "an unknown event happened, and is repeated": [lost(0), log(1, 2, again=True)],
    "an unknown event did not happen, and is repeated": [lost(0), log(1, 2)],
    "an unknown event happens after its repetition": [lost(0), log(1, 2), log(3, 4, again=True)],
    "after a flush there is room below the ceiling": [
        *(log(n, n + 0.5, f"e{n}", owes=n + 1) for n in range(5)),
        refused(6, 7),
        settled(7.5, 2),
        log(8, 9, "e6", owes=4),
    ],
    "a refusal during a flush": [
        *(log(n, n + 0.5, f"e{n}", owes=n + 1) for n in range(5)),
        settled(5, 5),
        refused(6, 7),
        log(8, 9, "e7"),
    ],
}


@pytest.mark.parametrize("name", BAD)
def test_bad_history_is_rejected(name: str) -> None:
    assert not holds(BAD[name])


@pytest.mark.parametrize("name", GOOD)
def test_good_history_is_accepted(name: str) -> None:
    assert holds(GOOD[name])


def test_the_order_in_which_a_history_is_written_down_does_not_matter() -> None:
    for history in (*BAD.values(), *GOOD.values()):
        assert holds(history) == holds(history[::-1])


# --- against the definition ------------------------------------------------------------------

times = st.integers(0, 6)
registers = st.lists(
    st.tuples(times, times, st.sampled_from(["write", "read"]), st.integers(0, 2), st.booleans()), max_size=5
)


Step = Callable[[Any, Any], Any]


def step(state: int, operation: Operation[tuple[str, int]]) -> int | None:
    """A register: a write sets it, a read must tell it."""
    kind, value = operation.asked
    return value if kind == "write" or state == value else None


def by_definition(history: Sequence[Operation[Any]], initial: Any = 0, step: Step = step) -> bool:
    """Try every choice of unfinished operations in every order."""
    finished = [operation for operation in history if operation.ended != NEVER]
    unfinished = [operation for operation in history if operation.ended == NEVER]
    for chosen in range(2 ** len(unfinished)):
        extra = [operation for n, operation in enumerate(unfinished) if chosen >> n & 1]
        for order in permutations([*finished, *extra]):
            keeps_time = all(
                order[later].ended >= order[earlier].began
                for earlier in range(len(order))
                for later in range(earlier + 1, len(order))
            )
            state = initial
            for operation in order:
                state = None if state is None else step(state, operation)
            if keeps_time and state is not None:
                return True
    return False


@given(drawn=registers)
def test_checker_agrees_with_the_definition(drawn: list[tuple[int, int, str, int, bool]]) -> None:
    history = [
        Operation(float(began), NEVER if is_lost else float(began + took), (kind, value))
        for began, took, kind, value, is_lost in drawn
    ]
    assert is_linearizable(history, 0, step=step) == by_definition(history)


def account_step(state: spec.AccountState, operation: Operation[Any]) -> spec.AccountState | None:
    """The account of the histories above."""
    return explained(state, operation.asked, TERMS)


@pytest.mark.parametrize("name", [name for name in {**BAD, **GOOD} if len({**BAD, **GOOD}[name]) <= 5])
def test_the_definition_says_the_same_of_what_is_known_to_be_bad_and_good(name: str) -> None:
    assert by_definition({**BAD, **GOOD}[name], spec.opened(TERMS), account_step) == (name in GOOD)


@st.composite
def account_operations(draw: st.DrawFn) -> Any:
    """An operation of an account at any time, with an answer that may be right somewhere."""
    began = float(draw(times))
    ended = began + draw(times)
    owes = draw(st.integers(0, 2))
    name = draw(st.sampled_from(["e1", "e2"]))
    return draw(
        st.sampled_from(
            [
                log(began, ended, name, owes=max(owes, 1)),
                log(began, ended, name, owes=owes, again=True),
                lost(began, name),
                balance(began, ended, owes),
                settled(began, 1),
            ]
        )
    )


@given(history=st.lists(account_operations(), max_size=5))
def test_checker_agrees_with_the_definition_about_accounts(history: History) -> None:
    assert holds(history) == by_definition(history, spec.opened(TERMS), account_step)
