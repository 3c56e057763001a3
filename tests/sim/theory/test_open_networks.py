"""Jackson networks.

Goal: flows, station means and the tandem's percentile are right, circles included. Method: the joint Markov chain of
two stations, and Ciw, an independent simulator, on a network with feedback and several servers.
"""

import itertools
from collections.abc import Callable, Iterable
from math import exp

import ciw
import numpy as np
import pytest

from sim.foundation.errors import UsageError
from sim.theory import JacksonNetwork, MMc, lindley, tandem_quantile_ms, tandem_tail
from tests.sim.theory.markov_chain import stationary

FEEDBACK = JacksonNetwork((3.0, 1.0), ((0.0, 0.5), (0.4, 0.1)), (100.0, 120.0), (1, 2))


def test_flows_solve_the_traffic_equations() -> None:
    """Station 1 gets 3 + 0.4 f2, station 2 gets 1 + 0.5 f1 + 0.1 f2: f1 = 31/7, f2 = 25/7."""
    assert FEEDBACK.flow_per_s.tolist() == pytest.approx([31 / 7, 25 / 7])


def test_numbers_inside_are_those_of_the_joint_markov_chain() -> None:
    """Both stations cut at 60: the mean number at each, by balance equations of the pair."""

    def rates(state: tuple[int, int]) -> Iterable[tuple[tuple[int, int], float]]:
        inside = list(state)
        leaving = [min(inside[0], 1) / 0.1, min(inside[1], 2) / 0.12]
        for i, entry in enumerate(FEEDBACK.entry_per_s):
            yield moved(state, None, i), entry
        for i, j in itertools.product(range(2), range(2)):
            yield moved(state, i, j), leaving[i] * FEEDBACK.routing_share[i][j]
        for i in range(2):
            yield moved(state, i, None), leaving[i] * (1 - sum(FEEDBACK.routing_share[i]))

    def moved(state: tuple[int, int], source: int | None, target: int | None) -> tuple[int, int]:
        inside = list(state)
        if source is not None:
            inside[source] -= 1
        if target is not None:
            inside[target] += 1
        return (inside[0], inside[1]) if min(inside) >= 0 and max(inside) <= 60 else state

    chain = stationary((0, 0), lambda s: [(t, r) for t, r in rates(s) if r > 0 and t != s])
    for k, station in enumerate(FEEDBACK.stations):
        mean = sum(p * state[k] for state, p in chain.items())
        assert station.rate_per_s * station.sojourn_mean_ms / 1000 == pytest.approx(mean, rel=1e-6)


def test_ciw_agrees_on_the_network_with_feedback() -> None:
    """Ciw simulates 20,000 s of the same network: mean sojourn from street to street within 4 %."""
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(3.0), ciw.dists.Exponential(1.0)],
        service_distributions=[ciw.dists.Exponential(10.0), ciw.dists.Exponential(1 / 0.12)],
        number_of_servers=[1, 2],
        routing=[[0.0, 0.5], [0.4, 0.1]],
    )
    ciw.seed(5)
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_time(20_000)
    visits = [r for r in simulation.get_all_records() if r.arrival_date > 500]
    inside = sum(r.exit_date - r.arrival_date for r in visits)
    entered = 4.0 * 19_500
    assert 1000 * inside / entered == pytest.approx(FEEDBACK.sojourn_mean_ms, rel=0.04)


def test_tandem_of_equal_stations_is_an_erlang_sojourn() -> None:
    """Three stations with sojourn 500 ms each: the tail of a gamma distribution with three stages."""
    t = 2000.0
    expected = exp(-t / 500) * (1 + t / 500 + (t / 500) ** 2 / 2)
    assert tandem_tail(8, [100, 100, 100], sojourn_ms=t) == pytest.approx(expected, rel=1e-9)


def test_tandem_percentile_agrees_with_simulated_requests() -> None:
    """Two million requests through three unequal stations by Lindley's recursion: P99 within 3 %."""
    rng = np.random.default_rng(41)
    n, means = 2_000_000, [50.0, 80.0, 100.0]
    start = at = np.cumsum(rng.exponential(125, n))
    for mean in means:
        service = rng.exponential(mean, n)
        at = at + lindley(at, service) + service
    assert np.quantile(at - start, 0.99) == pytest.approx(tandem_quantile_ms(8, means, probability=0.99), rel=0.03)


def test_one_station_is_a_queue_of_its_own() -> None:
    """The smallest tandem."""
    assert tandem_quantile_ms(8, [100], probability=0.99) == pytest.approx(MMc(8, 100).sojourn_quantile_ms(0.99))
    assert JacksonNetwork.tandem(8, [100]).sojourn_mean_ms == pytest.approx(500)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: JacksonNetwork((1.0,), ((1.0,),), (1.0,), (1,)), "must let every request leave"),
        (lambda: JacksonNetwork((1.0,), ((1.5,),), (1.0,), (1,)), "rows must be >= 0 and add up to at most 1"),
        (lambda: JacksonNetwork((1.0,), ((0.0,),), (1.0, 2.0), (1,)), "lengths .* must all be the number of stations"),
        (lambda: JacksonNetwork((0.0,), ((0.0,),), (1.0,), (1,)), "entry_per_s=\\(0.0,\\) must be >= 0"),
        (lambda: JacksonNetwork.tandem(10, [50, 100]).sojourn_mean_ms, "utilization=1 must be < 1"),
        (lambda: tandem_quantile_ms(10, [], probability=0.5), "must name at least one station"),
    ],
    ids=["circle", "shares", "lengths", "nobody", "saturated", "empty"],
)
def test_bad_input_names_the_rule_and_the_way_out(build: Callable[[], object], message: str) -> None:
    """The error is one line that names the caller's mistake."""
    with pytest.raises(UsageError, match=message):
        build()
