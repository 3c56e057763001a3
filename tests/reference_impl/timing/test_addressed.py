"""Random numbers by address.

Goal: the reference and the simulator implement one page. Method: its test vectors, and the same values from both codes
for any seed, stream, request and distribution.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from reference_impl.timing import addressed
from reference_impl.timing.addressed import Draws, inner_context, key_of, quantile, stages, unit
from reference_impl.timing.distributions import read_distribution
from reference_impl.timing.tape import Tape, stream
from sim.randomness.distributions import Distribution
from sim.randomness.streams import child_context, stream_key, uniform

PAGE = Path(__file__).parents[3] / "docs" / "DRAWS.md"
VECTORS = [
    (int(seed), name, int(request), int(context), int(n), float(value))
    for seed, name, request, context, n, value in re.findall(
        r"^\| (\d+) \| `(.+)` \| (\d+) \| (\d+) \| (\d+) \| (\S+) \|$", PAGE.read_text("utf-8"), flags=re.MULTILINE
    )
]

SEEDS = st.integers(0, 2**63 - 1)
REQUESTS = st.integers(0, 10**12)
NAMES = st.sampled_from(["d1.read", "workers.cpu", "feed.group.chance", "an instance.ö"])
WORDS = st.integers(0, 2**64 - 1)


def test_page_has_vectors() -> None:
    assert len(VECTORS) == 7


@pytest.mark.parametrize(("seed", "name", "request_number", "context", "n", "value"), VECTORS)
def test_both_give_the_page_s_numbers(
    seed: int, name: str, request_number: int, context: int, n: int, value: float
) -> None:
    assert unit(key_of(seed, name), request_number, context=context, index=n) == value
    assert uniform(stream_key(seed, name), request_number, context=context, draw=n) == value


@given(SEEDS, NAMES, REQUESTS, WORDS, st.integers(0, 63))
def test_both_give_the_same_number(seed: int, name: str, request_number: int, context: int, n: int) -> None:
    key = key_of(seed, name)
    assert key == stream_key(seed, name)
    ours = unit(key, request_number, context=context, index=n)
    assert ours == uniform(key, request_number, context=context, draw=n)
    assert 0 < ours < 1


@given(WORDS, WORDS, st.integers(1, 1_000))
def test_both_give_the_same_context(context: int, key: int, branch: int) -> None:
    assert inner_context(context, key, branch=branch) == child_context(context, key, branch=branch)


DISTRIBUTIONS: list[dict[str, Any]] = [
    {"distribution": "constant", "value": 3.0},
    {"distribution": "uniform", "low": 1.0, "high": 4.0},
    {"distribution": "exponential", "mean": 2.0},
    {"distribution": "lognormal", "median": 6.0, "p99": 40.0},
    {"distribution": "weibull", "mean": 2.0, "shape": 0.7},
    {"distribution": "pareto", "minimum": 1.0, "shape": 1.5, "maximum": 100.0},
    {"distribution": "erlang", "mean": 2.0, "stages": 4},
    {"distribution": "hyperexponential", "mean": 2.0, "cv2": 4.0},
    {"distribution": "empirical", "values": [1.0, 2.0, 5.0]},
]


def test_every_family_is_compared() -> None:
    assert {one["distribution"] for one in DISTRIBUTIONS} == set(addressed._QUANTILES)


@pytest.mark.parametrize("table", DISTRIBUTIONS, ids=[one["distribution"] for one in DISTRIBUTIONS])
@given(units=st.lists(st.floats(2.0**-53, 1 - 2.0**-52), min_size=4, max_size=4))
def test_both_give_the_same_value(table: dict[str, Any], units: list[float]) -> None:
    ours = read_distribution(table, "system.one.it_ms")
    theirs = TypeAdapter(Distribution).validate_python(table)
    count = stages(ours)
    assert count == theirs.draws
    expected = float(theirs.sample(np.array(units[:count])[:, None])[0])
    assert quantile(ours, units[:count]) == pytest.approx(expected, rel=1e-9)


def test_a_request_draws_one_value_and_other_requests_do_not_move_it() -> None:
    tape = Tape(read_distribution(DISTRIBUTIONS[3], "x"), stream_of("d1.read"), stream="d1.read")
    first = Draws(1, 7)
    assert first.value(tape) == Draws(1, 7).value(tape) != Draws(1, 8).value(tape)
    assert first.for_use(2).value(tape) != first.value(tape)
    assert first.inner("client.attempt", branch=1).value(tape) != first.value(tape)


def stream_of(name: str) -> np.random.Generator:
    """The tape's own stream, which a numbered request does not read."""
    return stream(0, name)
