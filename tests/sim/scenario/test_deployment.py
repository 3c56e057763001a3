"""From the steps of a route to its Flow.

Goal: a request does what its route says: as often, in that order or at once, by that chance, under that policy; and
each use draws for itself. Method: a system whose times are known is played by an engine and compared with arithmetic
on the steps, over random nested routes; random times are compared between routes that differ by one use.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest, chisquare, rankdata

from sim import flow as f
from sim.engines import compiled_engine, simpy_engine
from sim.engines.recording import Recording
from sim.foundation.errors import ScenarioError
from sim.scenario.deployment import deployment, paths
from sim.scenario.routes import expected_uses
from sim.scenario.scenario import Scenario, load_scenario
from tests.support.routes import KNOWN_TIMES, OPERATION_MS, STATION_OF, of_steps
from tests.support.schedules import at

Steps = list[dict[str, Any]]
UNCONTENDED = [use for use in OPERATION_MS if use.endswith(".compute") or use.startswith("r2.")]
"""Operations that wait for nobody, not even for a copy of themselves."""


def play(scenario: Scenario, arrival_ms: Any = (0.0,), **columns: Any) -> Recording:
    """Requests of the scenario's only route."""
    return compiled_engine.simulate(deployment(scenario), at(arrival_ms, routes=("only",), **columns), seed=5)


def leaves(operations: list[str], chances: list[float]) -> st.SearchStrategy[dict[str, Any]]:
    """Operations with a chance, repeated, one after the other or at once, waited for or not."""
    return st.fixed_dictionaries(
        {"use": st.sampled_from(operations)},
        optional={
            "chance": st.sampled_from(chances),
            "times": st.integers(1, 3),
            "parallel": st.booleans(),
            "spawn": st.booleans(),
        },
    )


def nested(operations: list[str], chances: list[float]) -> st.SearchStrategy[Steps]:
    """Lists of steps, groups in groups."""
    step = st.recursive(
        leaves(operations, chances),
        lambda inner: st.fixed_dictionaries(
            {"steps": st.lists(inner, min_size=1, max_size=3)},
            optional={
                "chance": st.sampled_from(chances),
                "times": st.integers(1, 2),
                "parallel": st.booleans(),
                "spawn": st.booleans(),
            },
        ),
        max_leaves=5,
    )
    return st.lists(step, min_size=1, max_size=3)


# ---------------------------------------------------------------- as often, and for as long, as the route says


def visits(flow: f.Flow, share: float = 1.0) -> dict[str, float]:
    """Mean number of times that each station is visited, by the shape of a Flow alone."""
    found: dict[str, float] = {}
    for step in flow:
        if isinstance(step, f.Serve | f.Hold):
            found[step.station.name] = found.get(step.station.name, 0.0) + share
        inside = [(way, share) for way in f.flows_of(step)]
        if isinstance(step, f.Branch):
            assert isinstance(step.condition, f.Chance | f.Idle)
            p = step.condition.probability if isinstance(step.condition, f.Chance) else 1.0
            inside = [(step.then, share * p), (step.otherwise, share * (1 - p))]
        for way, part in inside:
            for name, often in visits(way, part).items():
                found[name] = found.get(name, 0.0) + often
    return found


def expected_visits(scenario: Scenario) -> dict[str, float]:
    """The same from the steps of the only route."""
    found: dict[str, float] = {}
    for step, often in expected_uses(scenario.routes["only"].steps):
        if step.use in STATION_OF:
            found[STATION_OF[step.use]] = found.get(STATION_OF[step.use], 0.0) + often
    return found


@given(nested(list(OPERATION_MS), [0.0, 0.25, 0.5, 1.0]))
def test_flow_uses_every_operation_as_often_as_the_route_says(steps: Steps) -> None:
    scenario = of_steps(*steps)
    assert visits(paths(scenario)["only"]) == pytest.approx(expected_visits(scenario))


@given(nested(list(OPERATION_MS), [0.0, 1.0]))
def test_engine_serves_every_station_as_often_as_the_route_says(steps: Steps) -> None:
    """Of one request, without chance: exactly."""
    scenario = of_steps(*steps)
    served = {use.name: use.served for use in play(scenario).stations if use.served}
    assert served == {name: often for name, often in expected_visits(scenario).items() if often}


def lasts_ms(step: dict[str, Any]) -> float:
    """How long a step of uncontended operations takes, when chances are 0 or 1."""
    if step.get("spawn") or not step.get("chance", 1.0):
        return 0.0
    together = max if step.get("parallel") else sum
    inside = [OPERATION_MS[step["use"]]] if "use" in step else [lasts_ms(inner) for inner in step["steps"]]
    return float(together([together(inside)] * step.get("times", 1)))


@given(nested(UNCONTENDED, [0.0, 1.0]))
def test_latency_is_the_sum_of_what_comes_in_turn_and_the_longest_of_what_comes_at_once(steps: Steps) -> None:
    assert play(of_steps(*steps)).latency_ms[0] == pytest.approx(sum(lasts_ms(step) for step in steps))


def test_repetitions_in_turn_follow_each_other_and_at_once_they_queue() -> None:
    """Three reads of a database that executes one at a time take 15 ms either way, and 5 ms on three databases."""
    assert play(of_steps({"use": "d1.read", "times": 3})).latency_ms[0] == 15
    assert play(of_steps({"use": "d1.read", "times": 3, "parallel": True})).latency_ms[0] == 15
    three = {"system.b": {"like": "d1"}, "system.c": {"like": "d1"}}
    apart = of_steps({"parallel": True, "steps": ["d1.read", "b.read", "c.read"]}, scenario=KNOWN_TIMES.with_(**three))
    assert play(apart).latency_ms[0] == 5


def test_group_in_turn_is_repeated_as_a_whole_and_at_once_only_where_it_says_so() -> None:
    group = {"times": 2, "steps": ["r2.get", "r2.put"]}
    assert play(of_steps(group)).latency_ms[0] == 2 * (23 + 29)
    assert play(of_steps({**group, "parallel": True})).latency_ms[0] == 29
    both = {"parallel": True, "steps": [{"steps": ["r2.get", "r2.put"]}, "workers.compute"]}
    assert play(of_steps(both)).latency_ms[0] == 23 + 29


# ---------------------------------------------------------------- by chance


def test_chances_of_two_steps_are_independent() -> None:
    """Half and half: none, one or two reads come in the proportion 1 : 2 : 1."""
    maybe = {"use": "d1.read", "chance": 0.5}
    found = play(of_steps(maybe, maybe), np.arange(8_000) * 1_000.0).latency_ms / OPERATION_MS["d1.read"]
    counts = np.bincount(found.astype(int), minlength=3)
    assert chisquare(counts, np.array([1, 2, 1]) / 4 * 8_000).pvalue > 1e-3


def test_a_group_happens_as_a_whole() -> None:
    """A cache that misses one time in five: then, and only then, both follow."""
    missed = {"chance": 0.2, "steps": ["d1.read", "r2.put"]}
    found = play(of_steps("workers.compute", missed), np.arange(8_000) * 1_000.0).latency_ms
    assert set(found.tolist()) == {2.0, 2.0 + 5.0 + 29.0}
    assert binomtest(int((found > 2).sum()), 8_000, 0.2).pvalue > 1e-3


def test_routes_share_no_chance() -> None:
    """The same step in two routes: the same request takes it in one and not in the other, often enough."""
    step = {"use": "r2.get", "chance": 0.5}
    both = KNOWN_TIMES.with_(routes={"one": {"share": 1, "steps": [step]}, "two": {"share": 1, "steps": [step]}})
    arrivals = np.arange(2_000) * 1_000.0
    one, two = (
        compiled_engine.simulate(deployment(both), at(arrivals, routes=(name,)), seed=5).latency_ms > 0
        for name in ("one", "two")
    )
    assert binomtest(int((one == two).sum()), 2_000, 0.5).pvalue > 1e-3


# ---------------------------------------------------------------- under a caller's policy


def outcome(run: Recording) -> str:
    """How the first request ended."""
    return str(f.OUTCOMES[run.outcome[0]])


def test_caller_gives_up_and_asks_again_while_the_work_goes_on() -> None:
    """Two tries of 4 ms against a read of 5 ms, 10 ms between them; both reads are executed."""
    run = play(of_steps({"use": "d1.read", "timeout_ms": 4, "retries": 1, "backoff_ms": 10}))
    assert (run.latency_ms[0], outcome(run)) == (18.0, "timeout")
    assert {use.name: use.served for use in run.stations}["d1"] == 2


def test_pauses_between_tries_double() -> None:
    run = play(of_steps({"use": "d1.read", "timeout_ms": 4, "retries": 3, "backoff_ms": 10}))
    assert run.latency_ms[0] == 4 * 4 + 10 + 20 + 40


def test_jitter_shortens_pauses_at_random() -> None:
    policy = {"use": "d1.read", "timeout_ms": 4, "retries": 1, "backoff_ms": 100, "jitter": True}
    pauses = play(of_steps(policy), np.arange(500) * 1_000.0).latency_ms - 8
    assert ((pauses >= 0) & (pauses <= 100)).all()
    assert pauses.mean() == pytest.approx(50, abs=6)
    assert len(np.unique(pauses)) == 500


def test_policy_of_a_group_is_for_all_of_it() -> None:
    """Together the two take 28 ms: within 30, not within 27."""
    patient = {"steps": ["r2.get", "d1.read"], "timeout_ms": 30}
    assert play(of_steps(patient)).latency_ms[0] == 28
    run = play(of_steps({**patient, "timeout_ms": 27}))
    assert (run.latency_ms[0], outcome(run)) == (27.0, "timeout")


def test_refusal_is_tried_again_only_when_it_may_help() -> None:
    """A full database may have room later; a timeout may be shorter the next time."""
    full = KNOWN_TIMES.vary("system.d1.queue_limit", 1)
    steps = {"use": "d1.read", "retries": 2, "backoff_ms": 20}
    run = play(of_steps(steps, scenario=full), [0.0, 0.0, 0.0, 0.0])
    assert [f.OUTCOMES[code] for code in run.outcome] == ["ok"] * 4
    assert sorted(run.latency_ms.tolist()) == [5.0, 10.0, 25.0, 30.0]


def test_hedge_starts_a_second_copy_only_after_its_time() -> None:
    for hedge_ms, copies in ((30.0, 1), (2.0, 2)):
        run = play(of_steps({"use": "workers.compute", "times": 4, "hedge_ms": hedge_ms}))
        assert run.latency_ms[0] == 8.0
        assert {use.name: use.served for use in run.stations}["workers"] == 4 * copies


def test_hedge_takes_the_faster_of_two_independent_copies() -> None:
    """Nearly at once, two exponential times of mean 20 ms: the smaller has mean 10 ms."""
    slow = KNOWN_TIMES.vary("system.r2.get_ms", {"distribution": "exponential", "mean": 20.0})
    hedged = of_steps({"use": "r2.get", "hedge_ms": 1e-6}, scenario=slow)
    found = play(hedged, np.arange(20_000) * 1_000.0).latency_ms
    assert found.mean() == pytest.approx(10.0, abs=5 * 10.0 / np.sqrt(20_000))


def test_what_is_spawned_goes_on_after_the_answer() -> None:
    run = play(of_steps("workers.compute", {"use": "archive.write", "times": 2, "spawn": True}))
    assert run.latency_ms[0] == 2.0
    assert {use.name: use.served for use in run.stations if use.served} == {"workers": 1, "archive": 2}


# ---------------------------------------------------------------- each use draws for itself

LAUNCH = load_scenario("launch").with_(
    **{
        "system.network.client_rtt_ms": 0.0,
        "system.client.timeout_ms": 1e9,
        "system.workers.cold_start_ms": 0.0,
        "system.workers.isolates": 1_000,
        "system.durable_objects.cold_start_ms": 0.0,
        "system.durable_objects.read_ms": {"distribution": "exponential", "mean": 3.0},
        "system.ledger.read_ms": {"distribution": "exponential", "mean": 3.0},
        "system.archive": {"like": "d1"},
        "system.rooms": {"like": "durable_objects"},
        "system.rooms_ledger": {"like": "ledger", "objects": "rooms", "database": "archive"},
    }
)
RANDOM = (
    "workers.compute d1.read d1.write r2.get r2.put durable_objects.read durable_objects.write "
    "ledger.append ledger.balance"
).split()
N = 4_000
APART_MS = 1e6
"""From one request to the next: nobody waits for another."""


def latency_ms(*steps: Any) -> NDArray[np.float64]:
    """Of requests far apart, each with a key of its own turn."""
    return play(of_steps(*steps, scenario=LAUNCH), np.arange(N) * APART_MS, key=np.arange(N) % 50).latency_ms


def assert_independent(one: NDArray[np.float64], other: NDArray[np.float64]) -> None:
    """Alike in distribution, different draw for draw, and uncorrelated within 4.5 standard errors."""
    assert (one != other).all()
    correlation = np.corrcoef(np.stack([rankdata(one), rankdata(other)]))
    assert np.abs(np.tril(correlation, -1)).max() < 4.5 / np.sqrt(N)
    assert np.median(one) == pytest.approx(np.median(other), rel=0.15)


@pytest.mark.parametrize("use", RANDOM)
def test_second_use_of_an_operation_draws_anew_and_leaves_the_first_alone(use: str) -> None:
    """What a second use adds to the latency of each request is independent of the first."""
    once, twice = latency_ms(use), latency_ms({"use": use, "times": 2})
    assert_independent(once, twice - once)
    assert np.array_equal(latency_ms(use, use), twice)


@pytest.mark.parametrize("use", ["d1.read", "durable_objects.write", "ledger.append"])
def test_same_operation_in_another_order_draws_the_same(use: str) -> None:
    """Uses are numbered along the path of an instance: what stands between them does not matter."""
    between = latency_ms(use, "r2.get", use)
    assert between == pytest.approx(latency_ms(use, use) + latency_ms("r2.get"), rel=1e-9)


def test_two_operations_of_one_instance_travel_apart() -> None:
    """A read after a write is another journey to the database."""
    read, write = latency_ms("d1.read"), latency_ms("d1.write")
    after_write = latency_ms("d1.write", "d1.read") - write
    assert_independent(read, after_write)


@pytest.mark.parametrize(
    ("one", "other"),
    [("d1.read", "archive.read"), ("durable_objects.write", "rooms.write"), ("ledger.append", "rooms_ledger.append")],
)
def test_instances_that_are_like_each_other_draw_apart(one: str, other: str) -> None:
    assert_independent(latency_ms(one), latency_ms(other))


def test_tries_and_copies_at_once_draw_for_themselves() -> None:
    """The longer of two exponential times of mean 20 ms has mean 30 ms; were they one number, it would be 20 ms."""
    slow = KNOWN_TIMES.vary("system.r2.get_ms", {"distribution": "exponential", "mean": 20.0})
    both = of_steps({"use": "r2.get", "times": 2, "parallel": True}, scenario=slow)
    found = play(both, np.arange(20_000) * 1_000.0).latency_ms
    assert found.mean() == pytest.approx(30.0, abs=5 * np.sqrt(500 / 20_000))


@settings(max_examples=20)
@given(st.floats(0.01, 0.99), st.integers(0, 2**31))
def test_a_longer_route_keeps_every_draw_of_the_shorter_one(chance: float, seed: int) -> None:
    """A what-if that adds a step at the end changes nothing before it."""
    steps = ["workers.compute", {"use": "d1.read", "chance": chance}]
    planned = at(np.arange(50) * APART_MS, routes=("only",))
    short, long = (
        compiled_engine.simulate(deployment(of_steps(*asked, scenario=LAUNCH)), planned, seed=seed).latency_ms
        for asked in (steps, [*steps, "r2.get"])
    )
    fetched = compiled_engine.simulate(deployment(of_steps("r2.get", scenario=LAUNCH)), planned, seed=seed).latency_ms
    assert long == pytest.approx(short + fetched, rel=1e-9)


policies = st.fixed_dictionaries(
    {},
    optional={
        "timeout_ms": st.sampled_from([5.0, 40.0, 500.0]),
        "retries": st.integers(0, 2),
        "backoff_ms": st.sampled_from([0.0, 10.0]),
        "jitter": st.booleans(),
        "hedge_ms": st.sampled_from([1.0, 30.0]),
    },
)


@settings(max_examples=25)
@given(nested(RANDOM, [0.0, 0.3, 1.0]), st.lists(policies, min_size=3, max_size=3), st.integers(0, 2**31))
def test_engines_give_the_same_path_to_every_request_of_any_route(
    steps: Steps, patience: list[dict[str, Any]], seed: int
) -> None:
    """Random times, contention, policies: bit for bit."""
    asked = [{**step, **policy} for step, policy in zip(steps, patience, strict=False)]
    flow = deployment(of_steps(*asked, scenario=LAUNCH))
    planned = at(np.arange(40) * 2.0, routes=("only",), key=np.arange(40) % 3)
    one, other = (engine.simulate(flow, planned, seed=seed) for engine in (simpy_engine, compiled_engine))
    assert np.array_equal(one.latency_ms, other.latency_ms)
    assert np.array_equal(one.outcome, other.outcome)
    assert [use.served for use in one.stations] == [use.served for use in other.stations]


# ---------------------------------------------------------------- by which way in


def test_requests_come_in_by_the_entry_of_their_route() -> None:
    """Half a round trip there and back; through a tunnel, on one of its streams."""
    far = KNOWN_TIMES.with_(**{"system.network.client_rtt_ms": 10.0, "system.tunnel.overhead_ms": 30.0})
    assert play(of_steps("r2.get", scenario=far)).latency_ms[0] == 23 + 10
    tunnelled = play(of_steps("r2.get", scenario=far.vary("system.tunnel.streams", 1), enter="tunnel"), [0.0, 0.0])
    assert tunnelled.latency_ms.tolist() == [53.0, 106.0]


def test_entries_may_be_several() -> None:
    """Two networks, one far away."""
    two = KNOWN_TIMES.with_(**{"system.overseas": {"like": "network", "client_rtt_ms": 200.0}})
    assert play(of_steps("r2.get", scenario=two, enter="overseas")).latency_ms[0] == 223


def test_entry_of_a_list_is_changed_by_its_number() -> None:
    social = load_scenario("social")
    varied = social.vary("routes.feed.steps[2].chance", 0.5)
    assert varied.routes["feed"].steps[2].chance == 0.5
    assert social.vary("routes.feed.steps[1].times", 2).routes["feed"].steps[1].times == 2, "a step that was a text"
    assert varied.vary("routes.feed.steps[2].steps[0].rows_read", 7).routes["feed"].steps[2].steps is not None


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("routes.feed.steps[9].chance", r"routes\.feed\.steps\[9\] is not there; the list has 3 entries"),
        ("routes.feed[0].chance", "is no list"),
        ("routes.feed.steps.chance", "is no table"),
    ],
)
def test_wrong_number_is_one_line(path: str, said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        load_scenario("social").vary(path, 0.5)
