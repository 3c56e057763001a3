"""M/M/c and M/M/c/K.

Goal: waits, sojourns, blocking and their percentiles are right for any number of servers. Method: the Markov chain of
each queue solved numerically, a tagged request followed through the states before it, and printed tables.
"""

from collections.abc import Callable, Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.foundation.errors import UsageError
from sim.theory import MMc, MMcK, erlang_b, erlang_c
from tests.sim.theory.markov_chain import stationary, survival

Rates = Callable[[int], Iterable[tuple[int, float]]]


def birth_and_death(rate: float, service: float, servers: int, places: int) -> Rates:
    """Number inside, from 0 to *places*."""

    def rates(n: int) -> Iterable[tuple[int, float]]:
        if n < places:
            yield n + 1, rate
        if n > 0:
            yield n - 1, min(n, servers) / service

    return rates


@pytest.mark.parametrize(
    ("offered_load", "servers", "blocked"),
    [
        (1, 1, 0.5),
        (2, 2, 0.4),
        (10, 10, 0.2146),
        (4.46, 10, 0.01),
        (12.03, 20, 0.01),
        (21.93, 30, 0.02),
        (84.06, 100, 0.01),
    ],
)
def test_erlang_b_agrees_with_printed_tables(offered_load: float, servers: int, blocked: float) -> None:
    """Entries of the usual traffic tables: 10 lines carry 4.46 erlangs at 1 % loss, 30 lines 21.93 at 2 %."""
    assert erlang_b(offered_load, servers) == pytest.approx(blocked, abs=5e-5)


def test_erlang_b_survives_ten_thousand_servers() -> None:
    """The defining sum has terms of 10^4000; heavy-traffic theory (Jagerman) gives sqrt(2 / (pi n)) at load n."""
    assert erlang_b(10_000, 10_000) == pytest.approx(np.sqrt(2 / np.pi / 10_000), rel=0.01)


@pytest.mark.parametrize(("load", "servers"), [(0.5, 1), (0.9, 1), (1.6, 2), (3.2, 4), (19.0, 20)])
def test_wait_of_mmc_is_that_of_its_markov_chain(load: float, servers: int) -> None:
    """The chain cut at 600 inside: who finds all servers busy, and how many wait."""
    chain = stationary(0, birth_and_death(load, 1.0, servers, 600))
    queue = MMc(1000 * load, 1.0, servers)
    assert queue.wait_probability == pytest.approx(sum(p for n, p in chain.items() if n >= servers), rel=1e-9)
    assert queue.queue_mean == pytest.approx(sum(p * max(n - servers, 0) for n, p in chain.items()), rel=1e-9)


@pytest.mark.parametrize("servers", [1, 2, 3, 10])
def test_sojourn_of_mmc_is_that_of_a_tagged_request(servers: int) -> None:
    """A request is followed: those in front of it, its service, its departure. With 3 servers the two rates tie."""
    load = servers * 2 / 3
    inside = stationary(0, birth_and_death(load, 1.0, servers, 300))
    entry = dict.fromkeys(range(-1, 300), 0.0)  # -1 is service, n >= 0 is n in front of it in line
    for n, p in inside.items():
        entry[max(n - servers, -1)] += p

    def onward(n: int) -> Iterable[tuple[int, float]]:
        yield (-2, 1.0) if n == -1 else (n - 1, float(servers))

    times = [0.3, 1.0, 3.0, 8.0]
    queue = MMc(1000 * load, 1.0, servers)
    assert [queue.sojourn_tail(t) for t in times] == pytest.approx(survival(entry, onward, times), rel=1e-6)


@given(st.floats(0.01, 0.99), st.integers(1, 60), st.floats(0.01, 0.9999))
def test_percentiles_invert_their_tails(utilization: float, servers: int, probability: float) -> None:
    """At the percentile the tail is one minus the share, unless the percentile is "no wait"."""
    queue = MMc(utilization * servers * 100, 10.0, servers)
    wait, sojourn = queue.wait_quantile_ms(probability), queue.sojourn_quantile_ms(probability)
    assert queue.sojourn_tail(sojourn) == pytest.approx(1 - probability, rel=1e-6)
    if wait > 0:
        assert queue.wait_tail(wait) == pytest.approx(1 - probability, rel=1e-9)
    else:
        assert queue.wait_probability <= 1 - probability + 1e-12


def test_p99_sojourn_of_mm1_is_the_known_formula() -> None:
    """Logarithm of 100 over (mu - lambda), as in hazard H13: at 8 requests a second and 100 ms, 2,302.6 ms."""
    assert MMc(8, 100).sojourn_quantile_ms(0.99) == pytest.approx(np.log(100) * 500)


@pytest.mark.parametrize(
    ("load", "servers", "places"), [(0.8, 1, 1), (0.8, 1, 5), (2.0, 1, 10), (3.0, 4, 4), (5.0, 4, 9), (1.0, 1, 7)]
)
def test_finite_room_is_its_markov_chain(load: float, servers: int, places: int) -> None:
    """Share of the time in every state, overload and the tie at load 1 included."""
    chain = stationary(0, birth_and_death(load, 1.0, servers, places))
    queue = MMcK(1000 * load, 1.0, servers, places)
    assert queue.state_probability.tolist() == pytest.approx([chain[n] for n in range(places + 1)], rel=1e-9)


def test_wait_in_finite_room_is_that_of_a_tagged_request() -> None:
    """Departures in front of a request that was let in, counted by the chain."""
    servers, places = 3, 12
    inside = stationary(0, birth_and_death(2.7, 1.0, servers, places))
    let_in = 1 - inside[places]
    entry = {n - servers: p / let_in for n, p in inside.items() if servers <= n < places}
    times = [0.1, 0.7, 2.0]
    expected = survival(entry, lambda n: [(n - 1, float(servers))], times)
    queue = MMcK(2700, 1.0, servers, places)
    assert [queue.wait_tail(t) for t in times] == pytest.approx(expected, rel=1e-9)
    assert queue.wait_tail(queue.wait_quantile_ms(0.95)) == pytest.approx(0.05)


def test_no_waiting_room_is_erlangs_loss_system() -> None:
    """Two independent computations of Erlang B, with 300 servers."""
    assert MMcK(280_000, 1.0, 300, 300).blocking_probability == pytest.approx(erlang_b(280, 300), rel=1e-9)


def test_ample_room_is_the_queue_without_bound() -> None:
    """At 2,000 places the door is never met."""
    open_door, queue = MMcK(3200, 1.0, 4, 2000), MMc(3200, 1.0, 4)
    assert open_door.wait_mean_ms == pytest.approx(queue.wait_mean_ms, rel=1e-9)
    assert open_door.wait_quantile_ms(0.99) == pytest.approx(queue.wait_quantile_ms(0.99), rel=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MMc(-3, 100), "rate_per_s=-3 must be > 0"),
        (lambda: MMc(3, float("nan")), "service_ms=nan must be > 0"),
        (lambda: MMc(10, 100), "utilization=1 must be < 1"),
        (lambda: MMc(1, 100, 0), "servers=0 must be a whole number"),
        (lambda: MMc(1, 100).wait_quantile_ms(99), "probability=99 must be in"),
        (lambda: MMcK(1, 100, 3, 2), "places=2 must be >= servers=3"),
        (lambda: erlang_c(5, 4), "utilization=1.25 must be < 1"),
        (lambda: erlang_b(0, 4), "offered_load=0 must be > 0"),
    ],
)
def test_bad_input_names_the_value_and_the_way_out(call: Callable[[], object], message: str) -> None:
    """The error is one line that names the caller's mistake."""
    with pytest.raises(UsageError, match=message):
        call()
