"""Lindley's and Kiefer and Wolfowitz's recursions.

Goal: the wait of every request is exact for any arrivals and services. Method: a plain queue written with lists,
hand-worked examples, and Erlang C in the long run.
"""

import heapq
from collections.abc import Callable
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.foundation.errors import UsageError
from sim.theory import MMc, kiefer_wolfowitz, lindley

requests = st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50)), max_size=60)


def queue(arrival: list[float], service: list[float], servers: int) -> list[float]:
    """Waits, by a list of the times at which servers fall free."""
    free, waits = [0.0] * servers, []
    for at, length in zip(arrival, service, strict=True):
        start = max(at, heapq.heappop(free))
        waits.append(start - at)
        heapq.heappush(free, start + length)
    return waits


@given(requests, st.integers(1, 7))
def test_every_wait_is_that_of_a_plain_queue(drawn: list[tuple[float, float]], servers: int) -> None:
    """Bit for bit, ties and empty services included."""
    arrival = np.cumsum([gap for gap, _ in drawn]).tolist()
    service = [length for _, length in drawn]
    assert kiefer_wolfowitz(arrival, service, servers=servers).tolist() == queue(arrival, service, servers)
    assert lindley(arrival, service).tolist() == queue(arrival, service, 1)


def test_worked_example() -> None:
    """Services of 5 from 0; arrivals at 0, 1, 2, 20: waits 0, 4, 8, 0."""
    assert lindley([0, 1, 2, 20], [5, 5, 5, 5]).tolist() == [0, 4, 8, 0]
    assert kiefer_wolfowitz([0, 1, 2, 20], [5, 5, 5, 5], servers=2).tolist() == [0, 0, 3, 0]


@pytest.mark.parametrize("servers", [1, 4])
def test_long_run_is_erlang_c(servers: int) -> None:
    """Four million memoryless requests at 80 %: mean wait and P99 wait within 2 %."""
    rng = np.random.default_rng(43)
    n = 4_000_000
    waits = kiefer_wolfowitz(np.cumsum(rng.exponential(1 / servers / 0.8, n)), rng.exponential(1, n), servers=servers)
    exact = MMc(800 * servers, 1.0, servers)
    assert waits.mean() == pytest.approx(exact.wait_mean_ms, rel=0.02)
    assert np.quantile(waits, 0.99) == pytest.approx(exact.wait_quantile_ms(0.99), rel=0.02)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lindley([0, 2, 1], [1, 1, 1]), "arrival_ms must not fall"),
        (lambda: lindley([0, 1], [1]), "must be equally long"),
        (lambda: lindley([0, 1], [1, -2]), "service_ms=-2 must be >= 0"),
        (lambda: lindley([0, inf], [1, 1]), "must be finite"),
        (lambda: kiefer_wolfowitz([0], [1], servers=0), "servers=0 must be a whole number >= 1"),
    ],
    ids=["falling", "lengths", "negative", "infinite", "servers"],
)
def test_bad_input_names_the_value_and_the_way_out(call: Callable[[], object], message: str) -> None:
    """The error is one line that names the caller's mistake."""
    with pytest.raises(UsageError, match=message):
        call()
