"""Goal: numbers are looked up, not drawn in turn.

Method: scalar and vector twins, independence of order, uniformity.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from sim.errors import UsageError
from sim.randomness.streams import child_context, mix64, stream_key, uniform, uniforms

WORDS = st.integers(0, 2**64 - 1)


@given(seed=st.integers(0, 2**63), request=st.integers(0, 2**40), context=WORDS, draw=st.integers(0, 63))
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


def test_a_negative_seed_is_refused_with_its_value() -> None:
    """Value, rule, way out."""
    with pytest.raises(UsageError, match=r"seed=-1 must be >= 0"):
        stream_key(-1, "stream")
