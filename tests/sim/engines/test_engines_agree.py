"""Goal: the two engines give the same path to every request, and both keep the distributions that any run must keep.

Method: Hypothesis builds Flows and schedules; what one engine records is compared with what the other does. The number
of examples comes from the profile (``tests/conftest.py``): 50, in CI 500, with ``HYPOTHESIS_PROFILE=nightly`` 10,000.
"""

from typing import Any, get_args
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from sim import flow as f
from sim.engines import compiled_engine, simpy_engine
from sim.engines.compiled_engine import world
from sim.engines.recording import Recording
from sim.flow.state import Discipline
from sim.randomness import distributions as d
from sim.scenario.deployment import deployment
from sim.scenario.generation import schedule
from sim.scenario.scenario import load_scenario
from sim.scenario.schedule import Schedule
from tests.project.tidy import ROOT
from tests.support.flows import any_flow, any_schedule
from tests.support.schedules import at

SLOW_TO_DRAW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]

many = settings(suppress_health_check=SLOW_TO_DRAW)
a_few_hundred = settings(
    max_examples=500, derandomize=True, database=None, phases=[Phase.generate], suppress_health_check=SLOW_TO_DRAW
)

POLICY = ("timeout_ms", "retries", "backoff_ms", "jitter", "budget", "final")
"""What an Attempt may or may not have."""

SCENARIOS = ("launch.toml", "phase2.toml", "phase4.toml", "shapes/closed.toml", "shapes/spike.toml")

ROWS = f.Counter("rows")
FAILS_IN_ITS_SECOND_TURN = f.Repeat(
    f.During(0.0, 9.0),
    (f.Delay(d.Constant(value=0.5), "a.one"), f.Guard(f.CountAtLeast(ROWS, 1), "error"), f.Count(ROWS)),
    "a.one",
    limit=2,
)


def assert_equal(one: Recording, other: Recording) -> None:
    """Bit for bit, which is more than the promised 1e-9: a tie that falls otherwise soon makes a large difference."""
    np.testing.assert_array_equal(one.latency_ms, other.latency_ms, "latency")
    np.testing.assert_array_equal(one.outcome, other.outcome, "outcome")
    np.testing.assert_array_equal(one.attempts, other.attempts, "attempts")
    np.testing.assert_array_equal(one.arrival_ms, other.arrival_ms, "arrival")
    assert list(one.categories) == list(other.categories)
    for name in one.categories:
        np.testing.assert_array_equal(one.categories[name], other.categories[name], name)
    assert (one.end_ms, one.horizon_ms) == (other.end_ms, other.horizon_ms)
    assert one.followers == other.followers
    for use, twin in zip(one.stations, other.stations, strict=True):
        for name, value in vars(twin).items():
            assert getattr(use, name) == (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value)


@many
@given(flow=any_flow(), schedule=any_schedule(), seed=st.integers(0, 1000))
@example(flow=(f.Hedge((FAILS_IN_ITS_SECOND_TURN,), 2.0, "a.two"),), schedule=at([0.0]), seed=0)
def test_both_engines_give_the_same_path(flow: f.Flow, schedule: Schedule, seed: int) -> None:
    """Latency, outcome, attempts and categories of every request, and the use of every station."""
    assert_equal(simpy_engine.simulate(flow, schedule, seed=seed), compiled_engine.simulate(flow, schedule, seed=seed))


@many
@given(flow=any_flow(), schedule=any_schedule(), turns=st.sampled_from([1, 2, 3, 50]))
def test_a_pause_or_a_table_that_grows_changes_nothing(flow: f.Flow, schedule: Schedule, turns: int) -> None:
    """The machine stops after a turn or a few, and begins with the smallest tables there are."""
    whole = compiled_engine.simulate(flow, schedule, seed=1)
    with patch.object(world, "FIRST_ROOM", 1), patch.object(compiled_engine.engine, "TURNS", turns):
        assert_equal(whole, compiled_engine.simulate(flow, schedule, seed=1))


@many
@given(flow=any_flow(), schedule=any_schedule(), seed=st.integers(0, 1000))
def test_categories_add_up_to_the_latency(flow: f.Flow, schedule: Schedule, seed: int) -> None:
    """Whatever is nested in what: each millisecond is attributed once. Little's law is asserted by the engine itself.

    Times attributed are differences of times; after a million years each is as fine as the clock then is, and no finer.
    """
    recording = compiled_engine.simulate(flow, schedule, seed=seed)
    attributed = sum(recording.categories.values(), np.zeros(len(schedule)))
    grain_ms = np.spacing(recording.arrival_ms + recording.latency_ms)
    assert (np.abs(attributed - recording.latency_ms) <= 1e-9 + 1e-9 * recording.latency_ms + 100 * grain_ms).all()


@pytest.mark.parametrize("policy", ["hardened", "seed"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_both_engines_give_the_same_path_to_a_scenario(name: str, policy: str) -> None:
    """Two thousand requests of each scenario, with clients so impatient that some try again."""
    asked = (
        load_scenario(ROOT / "scenarios" / name)
        .vary("system.ledger.policy", policy)
        .vary("system.client.timeout_ms", 60.0)
    )
    planned, flow = schedule(asked, seed=1).head(2000), deployment(asked)
    readable = simpy_engine.simulate(flow, planned, seed=1)
    assert readable.attempts.max() > 1
    assert_equal(readable, compiled_engine.simulate(flow, planned, seed=1))


# ---------------------------------------------------------------- the tests themselves


def words(part: Any) -> set[Any]:
    """What one part of a Flow shows of the vocabulary: its type, and how it is meant."""
    found: set[Any] = {type(part)}
    match part:
        case f.Station():
            found |= {
                part.discipline,
                ("queue", part.queue_limit),
                ("keyed", part.instances > 1),
                ("queue of", bool(part.queue)),
            }
        case f.Mark():
            found |= {("at", part.at is not None)}
        case f.Link():
            found |= {("shared", part.shared, part.instances > 1)}
        case f.Parallel():
            found |= {("need", part.need == 1, part.need == len(part.flows))}
        case f.Attempt():
            found |= {(name, bool(getattr(part, name))) for name in POLICY}
        case f.Spawn():
            found |= {("once", part.once is not None)}
        case f.Serve() | f.Hold():
            found |= {("priority", part.priority)}
        case f.Time():
            found |= {("grows with", type(part.of)), ("at most", part.at_most), ("since", part.since is not None)}
    if isinstance(part, f.Serve | f.Delay | f.Chance):
        found |= {(type(part), "shared", part.shared)}
    if isinstance(part, f.Serve | f.Delay):
        found |= {type(f.as_time(part.time).distribution)}
    return found


def test_random_flows_speak_the_whole_vocabulary() -> None:
    """Among a few hundred is every step, condition, state and distribution, in every meaning."""
    spoken: set[Any] = set()

    @a_few_hundred
    @given(any_flow())
    def listen(flow: f.Flow) -> None:
        spoken.update(*map(words, f.walk(flow)))

    listen()
    vocabulary: set[Any] = {
        *get_args(f.Step),
        *get_args(f.Condition),
        *get_args(f.State),
        *get_args(d.AnyDistribution),
    } - {f.Custom}
    vocabulary |= set(get_args(Discipline)) | {(name, said) for name in POLICY for said in (True, False)}
    vocabulary |= {("keyed", False), ("keyed", True), ("once", False), ("once", True)}
    vocabulary |= {(kind, "shared", said) for kind in (f.Serve, f.Delay, f.Chance) for said in (True, False)}
    vocabulary |= {("shared", False, False), ("shared", True, False), ("shared", True, True)}
    vocabulary |= {("need", True, True), ("need", True, False), ("need", False, True), ("need", False, False)}
    vocabulary |= {("queue", limit) for limit in (None, 0, 1, 2)} | {("priority", level) for level in (0, 1, 2, -5)}
    vocabulary |= {("grows with", kind) for kind in (type(None), str, f.Counter)}
    vocabulary |= {(what, said) for what in ("since", "at", "queue of") for said in (True, False)}
    vocabulary |= {("at most", bound) for bound in (None, 0, 2)}
    assert vocabulary - spoken == set()


def test_random_runs_meet_what_a_run_can_meet() -> None:
    """Every outcome, late retries, failing followers, waits, ties, and closed loops that share an instant."""
    met: set[str] = set()

    @a_few_hundred
    @given(any_flow(), any_schedule())
    def watch(flow: f.Flow, schedule: Schedule) -> None:
        run = compiled_engine.simulate(flow, schedule, seed=1)
        loop = "open" if schedule.user is None else "closed"
        ended_ms = run.arrival_ms + run.latency_ms
        met.update(f.OUTCOMES[code] for code in run.outcome)
        met.update(f"{tries} attempts" for tries in run.attempts)
        met.update(["a follower failed"] if run.spawned_failures else [])
        met.update("a wait" for use in run.stations if use.waited_ms)
        met.update([f"a tie in the {loop} loop"] if len(np.unique(ended_ms)) < len(ended_ms) else [])

    watch()
    meetings = {
        "ok",
        "timeout",
        "overloaded",
        "refused",
        "error",
        "1 attempts",
        "2 attempts",
        "3 attempts",
        "6 attempts",
    }
    meetings |= {"a follower failed", "a wait", "a tie in the open loop", "a tie in the closed loop"}
    assert meetings - met == set()
