"""Closed networks and machine repair.

Goal: throughput, response and numbers inside are exact for any number of users, servers and think time. Method: mean
value analysis against convolution (no formula in common), and both against the Markov chain of all states.
"""

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.foundation.errors import UsageError
from sim.theory import MachineRepair, closed_throughput_bound_per_s, convolution, mean_value_analysis
from tests.sim.theory.markov_chain import stationary

State = tuple[int, ...]


def chain_of(users: int, demand: list[float], servers: list[int], think: float) -> dict[State, float]:
    """Users at each station; who is at none is thinking. A request visits the stations in line."""

    def rates(state: State) -> Iterable[tuple[State, float]]:
        thinking = users - sum(state)
        if thinking:
            yield (state[0] + 1, *state[1:]), thinking / think
        for k, inside in enumerate(state):
            if inside:
                after = list(state)
                after[k] -= 1
                if k + 1 < len(state):
                    after[k + 1] += 1
                yield tuple(after), min(inside, servers[k]) / demand[k]

    return stationary((0,) * len(demand), rates)


@pytest.mark.parametrize("users", [1, 2, 7, 20])
@pytest.mark.parametrize("servers", [[1, 1], [2, 1], [3, 4]])
def test_convolution_is_the_markov_chain(users: int, servers: list[int]) -> None:
    """Two stations and thinking, every state enumerated."""
    demand, think = [10.0, 8.0], 40.0
    chain = chain_of(users, demand, servers, think)
    got = convolution(users, demand, servers=servers, think_ms=think)
    inside = [sum(p * state[k] for state, p in chain.items()) for k in range(2)]
    pace = sum(p * (users - sum(state)) for state, p in chain.items()) / think * 1000
    assert got.inside_mean == pytest.approx(inside, rel=1e-9)
    assert got.throughput_per_s == pytest.approx(pace, rel=1e-9)
    assert got.response_ms == pytest.approx(1000 * sum(inside) / pace, rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.lists(st.floats(0.1, 100), min_size=1, max_size=5), st.floats(0, 1000))
def test_mean_value_analysis_and_convolution_agree(users: int, demand: list[float], think: float) -> None:
    """Single servers, where both apply."""
    climbed, added = mean_value_analysis(users, demand, think_ms=think), convolution(users, demand, think_ms=think)
    assert climbed.throughput_per_s == pytest.approx(added.throughput_per_s, rel=1e-8)
    assert climbed.inside_mean == pytest.approx(added.inside_mean, rel=1e-6, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200), st.lists(st.floats(0.1, 100), min_size=1, max_size=4), st.floats(0, 1000))
def test_users_are_conserved_and_the_bound_is_kept(users: int, demand: list[float], think: float) -> None:
    """Little's law over the whole circle, and the operational bound on throughput."""
    got = mean_value_analysis(users, demand, think_ms=think)
    assert got.throughput_per_s / 1000 * (got.response_ms + think) == pytest.approx(users, rel=1e-9)
    assert got.throughput_per_s <= closed_throughput_bound_per_s(users, demand, think_ms=think) * (1 + 1e-9)


@pytest.mark.parametrize(("machines", "repairers"), [(1, 1), (5, 1), (6, 2), (40, 3)])
def test_machine_repair_is_a_closed_network_of_one_station(machines: int, repairers: int) -> None:
    """A birth-and-death chain against convolution: running is thinking."""
    shop = MachineRepair(machines, 100.0, 20.0, repairers)
    network = convolution(machines, [20.0], servers=[repairers], think_ms=100.0)
    assert shop.throughput_per_s == pytest.approx(network.throughput_per_s, rel=1e-9)
    assert shop.response_ms == pytest.approx(network.response_ms, rel=1e-9)


def test_one_machine_alternates_between_running_and_repair() -> None:
    """Nothing to wait for: 100 ms up, 20 ms down."""
    assert MachineRepair(1, 100.0, 20.0).throughput_per_s == pytest.approx(1000 / 120)


def test_thousands_of_users_neither_overflow_nor_lose_digits() -> None:
    """Twelve hundred users with 5 s of thought before two stations; the slowest station, 5 ms, sets the pace."""
    got, climbed = (
        convolution(1200, [5.0, 1.0], think_ms=5000.0),
        mean_value_analysis(1200, [5.0, 1.0], think_ms=5000.0),
    )
    assert got.throughput_per_s == pytest.approx(climbed.throughput_per_s)
    assert got.throughput_per_s == pytest.approx(200, rel=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_value_analysis(0, [1.0]), "users=0 must be a whole number >= 1"),
        (lambda: mean_value_analysis(1, []), "must name at least one station"),
        (lambda: mean_value_analysis(1, [-1.0]), "demand_ms\\[0\\]=-1 must be > 0"),
        (lambda: convolution(1, [1.0], servers=[1, 2]), "servers has 2 entries, demand_ms 1"),
        (lambda: convolution(1, [1.0], think_ms=-5), "think_ms=-5 must be >= 0"),
        (lambda: MachineRepair(3, 0.0, 1.0), "up_ms=0 must be > 0"),
    ],
    ids=["users", "empty", "demand", "servers", "think", "up"],
)
def test_bad_input_names_the_value_and_the_way_out(call: Callable[[], object], message: str) -> None:
    """The error is one line that names the caller's mistake."""
    with pytest.raises(UsageError, match=message):
        call()
