"""The critical path: how long a route takes by plan, and what that time is spent on.

Goal: sequences, groups, repetitions, timeouts, retries and hedges take exactly the time that arithmetic says, and the
time categories of a request add up to it. Method: trees of steps with constant times drawn by Hypothesis, against an
interpreter that knows no clock; then each rule where times differ from call to call.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.routed import Toy, ask, request, route, routed, toys
from tests.support.world import World

Entry = dict[str, Any]
INSTANCES = ("a", "b", "c")
SYSTEM: Entry = {"network": {}, **{name: {"component": "toy"} for name in INSTANCES}}


@pytest.fixture(autouse=True, scope="module")
def toy() -> Iterator[None]:
    """Let the toy be a component."""
    with toys():
        yield


def work(take_ms: float | list[float], instance: str = "a", *, fails: list[bool] | None = None, **entry: Any) -> Entry:
    """Return a step of the toy: how long its calls take, and which of them fail."""
    turns = take_ms if isinstance(take_ms, list) else [take_ms]
    return {"use": f"{instance}.work", "parameters": {"take_ms": turns, "fails": fails or [False]}, **entry}


# --- trees of steps with constant times --------------------------------------------------------


@dataclass(frozen=True)
class Took:
    """How a step ended: after how long, whether well, and what the time was spent on."""

    ms: float
    is_well: bool = True
    spent_ms: Counter[str] = field(default_factory=Counter)

    def then(self, other: "Took") -> "Took":
        """Return this and then *other*."""
        return Took(self.ms + other.ms, other.is_well, self.spent_ms + other.spent_ms)


def spent(category: str, ms: float) -> Took:
    return Took(ms, spent_ms=Counter({category: ms}))


class Arithmetic:
    """Says how long steps take; *has_tie* tells that two branches ended at one moment, which either may decide."""

    def __init__(self) -> None:
        self.has_tie = False

    def in_order(self, steps: list[Took]) -> Took:
        """Return one after the other, up to the first that fails."""
        done = Took(0)
        for step in steps:
            done = done.then(step)
            if not done.is_well:
                break
        return done

    def at_once(self, steps: list[Took]) -> Took:
        """Return the first failure, or else the last success."""
        failed = [step for step in steps if not step.is_well]
        decides = min(failed, key=lambda step: step.ms) if failed else max(steps, key=lambda step: step.ms)
        self.has_tie |= sum(step.ms == decides.ms for step in steps) > 1
        return decides

    def entry(self, entry: Entry) -> Took:
        """Return an entry of a route, from the inside out."""
        if not entry.get("chance", 1) or entry.get("spawn"):
            return Took(0)
        return self.attempts(entry, self.hedged(entry, self.repeated(entry)))

    def repeated(self, entry: Entry) -> Took:
        times = entry.get("times", 1)
        if "use" in entry:
            orders = entry["parameters"]
            one = spent(entry["use"][0], orders["take_ms"][0])
            inner = [Took(one.ms, not orders["fails"][0], one.spent_ms)]
        else:
            inner = [self.entry(step) for step in entry["steps"]]
        if entry.get("parallel"):
            return self.at_once(inner * times)
        return self.in_order([self.in_order(inner)] * times)

    def hedged(self, entry: Entry, took: Took) -> Took:
        hedge_ms = entry.get("hedge_ms")
        if hedge_ms is None or took.ms < hedge_ms or took.is_well:
            return took
        return spent("client", hedge_ms).then(took)

    def attempts(self, entry: Entry, took: Took) -> Took:
        timeout_ms = entry.get("timeout_ms")
        if timeout_ms is not None and took.ms >= timeout_ms:
            took = Took(timeout_ms, is_well=False, spent_ms=Counter({"client": timeout_ms}))
        done = took
        for retry in range(entry.get("retries", 0)):
            if done.is_well:
                break
            pause_ms = min(entry.get("backoff_ms", 0) * 2**retry, 60_000)
            done = done.then(spent("client", pause_ms)).then(took)
        return done


def with_entry(inner: st.SearchStrategy[Entry]) -> st.SearchStrategy[Entry]:
    """Put what an entry may have around an operation or a group."""
    times_ms = st.integers(1, 400)
    entry = {
        "times": st.integers(1, 3),
        "parallel": st.booleans(),
        "spawn": st.booleans(),
        "chance": st.sampled_from([0, 1]),
        "timeout_ms": times_ms,
        "retries": st.integers(0, 2),
        "backoff_ms": times_ms,
        "hedge_ms": times_ms,
    }
    return st.builds(lambda what, more: {**what, **more}, inner, st.fixed_dictionaries({}, optional=entry))


uses = st.builds(
    lambda take_ms, instance, fails: work(take_ms, instance, fails=[fails]),
    st.integers(0, 300),
    st.sampled_from(INSTANCES),
    st.sampled_from([False, False, True]),
)
trees = st.recursive(
    with_entry(uses),
    lambda children: with_entry(st.lists(children, min_size=1, max_size=3).map(lambda steps: {"steps": steps})),
    max_leaves=8,
)


@given(entries=st.lists(trees, min_size=1, max_size=3))
def test_a_route_takes_the_time_that_arithmetic_says(entries: list[Entry]) -> None:
    arithmetic = Arithmetic()
    took = arithmetic.in_order([arithmetic.entry(entry) for entry in entries])
    with routed({"one": route(*entries)}, SYSTEM) as w:
        response, stopwatch = w.ask(request())
        now_ms = w.clock.now_ms()
    assert (response.status == 200) == took.is_well
    assert stopwatch.planned_ms == now_ms == took.ms
    assert sum(stopwatch.spent_ms.values()) == took.ms
    if not arithmetic.has_tie:
        assert Counter({name: ms for name, ms in stopwatch.spent_ms.items() if ms}) == +took.spent_ms


# --- calls that differ from each other ---------------------------------------------------------


def played(*entries: Entry) -> tuple[int, dict[str, float], Toy]:
    """Play one request; return status, what its time was spent on, and the toy ``a`` when everything has ended."""
    with routed({"one": route(*entries)}, SYSTEM) as w:
        response, stopwatch = ask(w)
        assert sum(stopwatch.spent_ms.values()) == stopwatch.planned_ms
        toy: Toy = w.deployment.instances["a"]
    return response.status, {name: ms for name, ms in stopwatch.spent_ms.items() if ms}, toy


def test_a_retry_pays_for_the_failed_attempt_and_the_doubled_pauses() -> None:
    # 5, fails, pause 10; 7, fails, pause 20; 9.
    entry = work([5, 7, 9], fails=[True, True, False], retries=3, backoff_ms=10)
    status, spent_ms, toy = played(entry)
    assert (status, spent_ms) == (200, {"a": 21, "client": 30})
    assert toy.began_ms == [0, 15, 42]


def test_when_retries_are_used_up_the_last_failure_is_the_answer() -> None:
    assert played(work(5, fails=[True], retries=2))[:2] == (503, {"a": 15})


def test_a_timed_out_attempt_costs_the_client_its_timeout_and_goes_on() -> None:
    entry = work([100, 30], timeout_ms=40, retries=1, backoff_ms=5)
    status, spent_ms, toy = played(entry)
    assert (status, spent_ms) == (200, {"client": 45, "a": 30})
    assert toy.began_ms == [0, 45]
    assert toy.ended_ms == [75, 100]


def test_a_call_that_takes_too_long_is_a_504_of_one_line() -> None:
    with routed({"one": route(work(100, timeout_ms=40))}, SYSTEM) as w:
        response, _ = ask(w)
    assert response.status == 504
    assert b'"code":"timeout","message":"a call of a took more than 40 ms; what it began goes on"' in response.body


def test_a_hedge_that_overtakes_decides_and_the_first_goes_on() -> None:
    status, spent_ms, toy = played(work([100, 10], hedge_ms=20))
    assert (status, spent_ms) == (200, {"client": 20, "a": 10})
    assert toy.ended_ms == [30, 100]


def test_a_hedge_that_comes_too_late_costs_nothing() -> None:
    status, spent_ms, toy = played(work([25, 10], hedge_ms=20))
    assert (status, spent_ms) == (200, {"a": 25})
    assert toy.ended_ms == [25, 30]


def test_a_fast_call_is_not_hedged() -> None:
    status, spent_ms, toy = played(work([19, 10], hedge_ms=20))
    assert (status, spent_ms, toy.began_ms) == (200, {"a": 19}, [0])


def test_of_a_hedge_and_a_failure_the_success_counts() -> None:
    assert played(work([30, 40], fails=[True, False], hedge_ms=20))[:2] == (200, {"client": 20, "a": 40})
    assert played(work([30, 40], fails=[False, True], hedge_ms=20))[:2] == (200, {"a": 30})
    # A first copy that fails before the second has begun is a failure.
    assert played(work([10, 40], fails=[True, False], hedge_ms=20))[:2] == (503, {"a": 10})


def test_a_timeout_is_of_each_attempt_hedge_included() -> None:
    # First attempt: 100, hedged by 90 at 20, given up at 60. Second: 100 hedged by 15 at 80, done at 95.
    entry = work([100, 90, 100, 15], hedge_ms=20, timeout_ms=60, retries=1)
    status, spent_ms, toy = played(entry)
    assert (status, spent_ms) == (200, {"client": 60 + 20, "a": 15})
    assert toy.began_ms == [0, 20, 60, 80]


def test_a_parallel_group_books_the_branch_that_ends_last() -> None:
    group = {"steps": [work(10, "a"), {"steps": [work(20, "b"), work(5, "c")]}, work(24, "a")], "parallel": True}
    assert played(group)[:2] == (200, {"b": 20, "c": 5})


def test_parallel_repetitions_take_as_long_as_the_longest() -> None:
    assert played(work([10, 30, 20], times=3, parallel=True))[:2] == (200, {"a": 30})
    assert played(work([10, 30, 20], times=3))[:2] == (200, {"a": 60})


def test_the_first_failure_of_a_group_fails_it_and_the_others_go_on() -> None:
    group = {"steps": [work(50, "a"), work(10, "b", fails=[True]), work(20, "c", fails=[True])], "parallel": True}
    status, spent_ms, toy = played(group, work(1, "c"))
    assert (status, spent_ms) == (503, {"b": 10})
    assert toy.ended_ms == [50]


def test_a_spawned_step_takes_none_of_the_request_s_time_and_fails_alone() -> None:
    status, spent_ms, toy = played(work(70, spawn=True, fails=[True], retries=1, backoff_ms=5), work(3, "b"))
    assert (status, spent_ms) == (200, {"b": 3})
    assert toy.began_ms == [0, 75]


def test_a_spawned_step_begins_when_it_stands_in_the_route() -> None:
    toy = played(work(8, "b"), work(70, spawn=True))[2]
    assert toy.began_ms == [8]


def test_full_jitter_waits_a_part_of_the_pause() -> None:
    pauses = []
    for _ in range(2):
        entry = work([0, 0], fails=[True, False], retries=1, backoff_ms=100, jitter=True)
        pauses.append(played(entry)[1]["client"])
    assert pauses[0] == pauses[1]
    assert 0 < pauses[0] < 100


def test_a_request_that_is_wrong_is_not_repeated() -> None:
    # An append that the ledger refuses: the account may owe nothing.
    system = {"network": {}, "d1": {}, "durable_objects": {}, "ledger": {"write_ms": 5}}
    steps = [{"use": "ledger.append", "retries": 5, "backoff_ms": 1_000}]
    with routed({"one": route(*steps)}, system) as w:
        w.ask(request(request=1, key=1))
        refuse_everything(w)
        response, stopwatch = w.ask(request(request=2, key=1))
    assert response.status == 402
    assert stopwatch.planned_ms == 5 + 5


def refuse_everything(w: World) -> None:
    """Set the ceiling of the one account to nothing."""
    object_id = w.objects.id_from_name("org-1")
    policy = w.objects._activations[object_id].instance._tenant._policy
    policy.set_account("org-1", policy.account("org-1")._replace(ceiling_microusd=0))


def test_what_a_timed_out_attempt_began_keeps_its_place_in_every_queue() -> None:
    # D1 takes 100 ms: the second attempt waits for the first, which nobody waits for any more, and is given up too.
    system = {"network": {}, "d1": {"read_ms": 100}}
    with routed(
        {"one": route({"use": "d1.read", "timeout_ms": 60, "retries": 1}), "two": route("d1.read", path="/two")}, system
    ) as w:
        asked = [w.ask_at(0, request()), w.ask_at(130, request("/two"))]
        (first, first_watch), (second, second_watch) = w.clock.run(*asked)
    assert (first.status, first_watch.spent_ms["client"]) == (504, 120)
    # Two queries were before it: until 200 ms.
    assert (second.status, second_watch.spent_ms["d1_queue"]) == (200, 70)


def test_a_spawned_step_holds_real_servers() -> None:
    system = {"network": {}, "a": {"component": "toy"}, "d1": {"read_ms": 100}}
    with routed({"one": route({"use": "d1.read", "spawn": True}, work(10), "d1.read")}, system) as w:
        assert ask(w)[1].spent_ms == {"network": 0, "a": 10, "d1": 100, "d1_queue": 90}
