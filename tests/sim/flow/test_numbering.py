"""Streams of a flow.

Goal: every use of a random stream draws for itself, and only steps that say so share a draw. Method: small flows with
their numbers written out; random flows, whose every draw is watched while the engine plays them.
"""

from collections import Counter
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim import flow as f
from sim.engines import compiled_engine, simpy_engine
from sim.engines.simpy_engine import engine, memory
from sim.engines.simpy_engine.draws import Sampler
from sim.flow.numbering import numbered
from sim.flow.validation import check
from sim.foundation.errors import ModelError
from sim.randomness.distributions import Constant, Exponential
from sim.randomness.streams import stream_key, uniform
from sim.scenario.deployment import deployment
from sim.scenario.scenario import load_scenario
from sim.scenario.schedule import Schedule
from tests.support.flows import any_flow, any_schedule
from tests.support.schedules import at

many = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
)

ONE = Exponential(mean=1.0)
A, SHARED = f.Delay(ONE, "x.a"), f.Delay(ONE, "x.a", shared=True)
NEVER = f.During(0.0, 0.0)


def streams(flow: f.Flow) -> list[str]:
    """Names of all streams of a numbered flow, parents first, without what comes before the dot."""
    return [part.stream.removeprefix("x.") for part in f.walk(numbered(flow)) if hasattr(part, "stream")]


@pytest.mark.parametrize(
    ("flow", "expected"),
    [
        ((A, A, A), ["a", "a#2", "a#3"]),
        ((A, f.Serve(f.Station("s"), ONE, "x.a"), f.Guard(f.Chance(0.5, "x.a"), "error")), ["a", "a#2", "a#3"]),
        ((A, f.Branch(NEVER, (A, A), (A,)), A), ["a", "a#2", "a#3", "a#2", "a#4"]),
        ((f.Branch(f.Chance(0.5, "x.a"), (A,)), A), ["a", "a#2", "a#3"]),
        ((f.Match((("log", (A, A)), ("balance", (A,)))), A), ["a", "a#2", "a", "a#3"]),
        ((f.Parallel(((A,), (A,)), 1, "x.a"), A), ["a", "a#2", "a#3", "a#4"]),
        ((f.Attempt((A,), "x.a", retries=2), A), ["a", "a#2", "a#3"]),
        ((f.Hedge((A,), 1.0, "x.a"), A), ["a", "a#2", "a#3"]),
        ((f.Repeat(f.Chance(0.5, "x.a"), (A,), "x.a", limit=2), A), ["a", "a#2", "a#3", "a#4"]),
        ((f.Hold(f.Station("s"), (A,)), A), ["a", "a#2"]),
        ((f.Finally((A,), (A,)), A), ["a", "a#2", "a#3"]),
        ((A, f.Spawn((A, f.Delay(ONE, "x.b")), "x.c"), A), ["a", "c", "a", "b", "a#2"]),
        ((A, f.Spawn((A, A), "x.a"), A), ["a", "a#2", "a#3", "a#4", "a#3"]),
        ((SHARED, A, SHARED, A), ["a", "a#2", "a", "a#3"]),
        ((A, f.Spawn((A, SHARED), "x.c")), ["a#2", "c", "a#2", "a"]),
    ],
    ids=[
        *"sequence kinds branch condition match parallel attempt hedge".split(),
        *"repeat hold finally spawn own shared spawned".split(),
    ],
)
def test_uses_are_numbered_along_a_path(flow: f.Flow, expected: list[str]) -> None:
    """In the order of :func:`sim.flow.walk`: a step, its condition, its steps."""
    assert streams(flow) == expected


@many
@given(flow=any_flow())
def test_numbering_changes_names_only_and_only_once(flow: f.Flow) -> None:
    """The same parts in the same places; a numbered flow stays as it is."""
    after = numbered(flow)
    assert numbered(after) == after
    for old, new in zip(f.walk(flow), f.walk(after), strict=True):
        assert type(old) is type(new)
        if hasattr(old, "stream"):
            assert new.stream.partition("#")[0] == old.stream
        if isinstance(old, f.Delay | f.Serve):
            assert replace(new, stream=old.stream) == old
    assert f.categories(after) == f.categories(flow)


@pytest.mark.parametrize("name", ["launch", "phase2", "phase4"])
def test_a_flow_without_repeated_names_is_the_same_object(name: str) -> None:
    """So every draw of it stays what it was."""
    flow = deployment(load_scenario(name))
    assert numbered(flow) is flow


@many
@given(flow=any_flow(), schedule=any_schedule(), seed=st.integers(0, 1000))
def test_no_two_uses_draw_the_same_number(flow: f.Flow, schedule: Schedule, seed: int) -> None:
    """No retry, turn, copy or follower repeats a draw of another: each number is looked up once in a run.

    A number is identified by stream, request, context and place; only steps that share a stream use it.
    """
    drawn: Counter[Any] = Counter()
    value = Sampler.value

    def watched(sampler: Sampler, request: int, context: int) -> float:
        drawn.update((sampler.key, request, context, draw) for draw in range(sampler.time.distribution.draws))
        return value(sampler, request, context)

    def looked_up(key: int, request: int, *, context: int = 0, draw: int = 0) -> float:
        drawn[key, request, context, draw] += 1
        return uniform(key, request, context=context, draw=draw)

    with (
        patch.object(Sampler, "value", watched),
        patch.object(memory, "uniform", looked_up),
        patch.object(engine, "uniform", looked_up),
    ):
        simpy_engine.simulate(flow, schedule, seed=seed)
    named = [part for part in f.walk(numbered(flow)) if hasattr(part, "stream")]
    shared = {part.stream for part in named if getattr(part, "shared", False)}
    assert not shared & {part.stream for part in named if not getattr(part, "shared", False)}
    keys = {stream_key(seed, stream) for stream in shared}
    assert [use for use, times in drawn.items() if times > 1 and use[0] not in keys] == []


def test_two_reads_of_one_request_are_independent() -> None:
    """Twenty thousand requests read D1 twice: two different execution times each, and no correlation."""
    varied = load_scenario("launch").vary("system.d1.read_ms", {"distribution": "exponential", "mean": 5.0})
    execute = [step for step in f.walk(varied.system.instances["d1"].flow("read")) if isinstance(step, f.Serve)]
    first, second = (replace(step, category=name) for step, name in zip(execute * 2, ("one", "two"), strict=True))
    run = compiled_engine.simulate((first, second), at(np.arange(20_000) * 1e4), seed=1)
    one, two = run.categories["one"], run.categories["two"]
    assert not (one == two).any()
    assert abs(np.corrcoef(one, two)[0, 1]) < 4 / 20_000**0.5


def test_two_halves_of_one_round_trip_are_equal() -> None:
    """A path that is slow there is as slow back, also around another round trip of the same name."""
    halves = [f.Delay(f.Time(ONE, scale=0.5), "x.rtt", name, shared=True) for name in ("there", "back", "again")]
    run = compiled_engine.simulate(tuple(halves), at(np.arange(50.0)), seed=1)
    np.testing.assert_array_equal(run.categories["there"], run.categories["back"])
    np.testing.assert_array_equal(run.categories["there"], run.categories["again"])


def test_a_numbered_name_is_refused_where_an_author_writes_it() -> None:
    """It would be another use's stream."""
    with pytest.raises(ModelError, match=r"Delay.stream='x.a#2' must not contain '#' \(it numbers uses\)"):
        check((f.Delay(Constant(value=1.0), "x.a#2"),))
