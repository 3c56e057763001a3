"""Goal: numbers are looked up, not drawn in turn.

Method: scalar and vector twins, independence of order, uniformity.
"""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from sim import flow as f
from sim.engines import compiled_engine, simpy_engine
from sim.experiments.plan import plan
from sim.experiments.replications import spawned_seeds
from sim.foundation.errors import SimError
from sim.randomness.streams import SEED_MAX, child_context, mix64, stream_key, uniform, uniforms
from sim.runners.play import play, run
from sim.scenario.generation import schedule
from sim.scenario.scenario import load_scenario
from tests.support.schedules import at

WORDS = st.integers(0, 2**64 - 1)


@given(seed=st.integers(0, SEED_MAX), request=st.integers(0, 2**40), context=WORDS, draw=st.integers(0, 63))
def test_scalar_and_vector_agree_bit_for_bit(seed: int, request: int, context: int, draw: int) -> None:
    """One request asked alone gets what it gets among many."""
    many = uniforms(stream_key(seed, "d1.read"), np.array([request, 7]), context=context, draw=draw)
    assert many[0] == uniform(stream_key(seed, "d1.read"), request, context=context, draw=draw)


@given(st.permutations(range(50)))
def test_the_order_of_asking_changes_nothing(order: list[int]) -> None:
    """A permutation of requests permutes the numbers."""
    straight = uniforms(stream_key(1, "stream"), np.arange(50))
    assert (uniforms(stream_key(1, "stream"), np.array(order)) == straight[order]).all()


@pytest.mark.parametrize("other", ["seed", "stream", "context", "draw"])
def test_each_part_of_the_key_gives_an_independent_stream(other: str) -> None:
    """Correlation between two streams that differ in one part stays within five standard errors of 0."""
    index = np.arange(100_000)
    one = uniforms(stream_key(1, "stream"), index)
    two = {
        "seed": uniforms(stream_key(2, "stream"), index),
        "stream": uniforms(stream_key(1, "stream2"), index),
        "context": uniforms(
            stream_key(1, "stream"), index, context=child_context(0, stream_key(1, "stream"), branch=1)
        ),
        "draw": uniforms(stream_key(1, "stream"), index, draw=1),
    }[other]
    assert abs(np.corrcoef(one, two)[0, 1]) < 5 / np.sqrt(len(index))


def test_a_stream_is_uniform() -> None:
    """Kolmogorov-Smirnov on 200,000 numbers; the seed is fixed, so this is a fact and not a chance."""
    assert kstest(uniforms(stream_key(3, "stream"), np.arange(200_000)), "uniform").pvalue > 0.01


def test_neighbouring_requests_are_uncorrelated() -> None:
    """Lag-1 autocorrelation within five standard errors of 0."""
    numbers = uniforms(stream_key(4, "stream"), np.arange(200_000))
    assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 5 / np.sqrt(len(numbers))


def test_numbers_lie_strictly_inside_the_unit_interval() -> None:
    """A logarithm of 0 would be an infinite service time."""
    numbers = uniforms(stream_key(5, "stream"), np.arange(100_000))
    assert 0 < numbers.min() < numbers.max() < 1


@given(WORDS, WORDS)
def test_mixing_is_a_bijection(one: int, two: int) -> None:
    """Different words never collide."""
    assert (mix64(one) == mix64(two)) == (one == two)


def test_branch_0_keeps_its_parents_context() -> None:
    """The first attempt of a request draws what it would draw without any retry policy around it."""
    assert child_context(77, 5, branch=0) == 77
    assert len({child_context(77, 5, branch=branch) for branch in range(100)}) == 100


def test_neighbouring_seeds_differ_up_to_the_last() -> None:
    """Also where the engines' words end."""
    seeds = (0, 1, 2**32, 2**62, 2**63 - 2, 2**63 - 1)
    assert len({stream_key(seed, "stream") for seed in seeds}) == len(seeds)


LAUNCH = load_scenario("launch")
ENTRIES: dict[str, Callable[[Any], object]] = {
    "stream_key": lambda seed: stream_key(seed, "stream"),
    "run": lambda seed: run(LAUNCH, rng=seed, requests=10),
    "plan": lambda seed: plan(LAUNCH, rng=seed, live=False),
    "schedule": lambda seed: schedule(LAUNCH, seed),
    "play": lambda seed: play(LAUNCH, schedule(LAUNCH), on="http://127.0.0.1:1", seed=seed),
    "simpy": lambda seed: simpy_engine.simulate((f.Count(f.Counter("c")),), at([0.0]), seed=seed),
    "compiled": lambda seed: compiled_engine.simulate((f.Count(f.Counter("c")),), at([0.0]), seed=seed),
    "scenario": lambda seed: LAUNCH.vary("seed", seed),
    "replications": lambda seed: spawned_seeds(seed, 3),
}


@pytest.mark.parametrize("seed", [-1, 2**63, 2**64 + 1, 10**30, 1.5, "7", True], ids=str)
@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_what_is_no_seed_is_refused_everywhere(entry: Callable[[Any], object], seed: Any) -> None:
    """One line with its value, never another seed in its place."""
    with pytest.raises(SimError, match="seed=") as refused:
        entry(seed)
    assert "\n" not in str(refused.value)


def test_a_seed_may_come_from_numpy() -> None:
    """A sweep over ``np.arange(10)`` plays what the same whole numbers play."""
    assert stream_key(cast("int", np.int64(5)), "stream") == stream_key(5, "stream")
