"""Operational distributions and approximations.

Goal: each rule of thumb is exact where it claims to be and within its known error elsewhere. Method: the exact
queues of this package (tested on their own) and Kiefer and Wolfowitz's recursion on simulated requests.
"""

from collections.abc import Callable

import numpy as np
import pytest

from sim.foundation.errors import UsageError
from sim.theory import MG1, MMc, Station, closed_throughput_bound_per_s, kiefer_wolfowitz, little, utilization


def test_little_and_utilization_hold_on_a_sample_path() -> None:
    """Time-weighted number inside and busy servers, integrated over a finite path that starts and ends empty."""
    rng = np.random.default_rng(47)
    n, servers = 5000, 3
    arrival, service = np.cumsum(rng.exponential(10, n)), rng.exponential(20, n)
    sojourn = kiefer_wolfowitz(arrival, service, servers=servers) + service
    end = (arrival + sojourn).max()
    edges = np.sort(np.concatenate([arrival, arrival + sojourn]))
    inside = [int(np.sum(arrival <= t) - np.sum(arrival + sojourn <= t)) for t in edges[:-1]]
    mean_inside = float(np.diff(edges) @ inside) / end
    assert little(1000 * n / end, sojourn.mean()) == pytest.approx(mean_inside, rel=1e-9)
    assert utilization(1000 * n / end, service.mean(), servers=servers) == pytest.approx(service.sum() / end / servers)


@pytest.mark.parametrize("servers", [1, 3, 50])
def test_memoryless_station_is_exact(servers: int) -> None:
    """Allen and Cunneen's formula is Erlang C's there."""
    rate = 8.5 * servers
    assert Station(rate, 100, servers).wait_mean_ms == pytest.approx(MMc(rate, 100, servers).wait_mean_ms)


@pytest.mark.parametrize("cv2", [0.0, 0.5, 1.0, 9.0])
def test_one_server_with_poisson_arrivals_is_exact(cv2: float) -> None:
    """Pollaczek and Khinchine."""
    assert Station(8, 100, service_cv2=cv2).wait_mean_ms == pytest.approx(MG1(8, 100, cv2).wait_mean_ms)


@pytest.mark.parametrize("servers", [1, 2, 5, 20, 100])
@pytest.mark.parametrize("busy", [0.5, 0.8, 0.95])
def test_sakasegawa_is_close_to_erlang_c(servers: int, busy: float) -> None:
    """Within 10 % of the sojourn time, and exact with one server."""
    station = Station(10 * servers * busy, 100, servers)
    error = abs(station.wait_mean_sakasegawa_ms - station.wait_mean_ms)
    assert error <= (1e-9 if servers == 1 else 0.1 * (station.wait_mean_ms + 100))


@pytest.mark.parametrize(("servers", "stages"), [(1, 4), (4, 4)])
def test_even_arrivals_and_services_are_approximated_within_an_eighth(servers: int, stages: int) -> None:
    """Erlang gaps and services (squared variation 1/4) at 90 %, two million simulated requests."""
    rng = np.random.default_rng(53)
    n = 2_000_000
    gaps = rng.gamma(stages, 1 / stages / servers / 0.9, n)
    waits = kiefer_wolfowitz(np.cumsum(gaps), rng.gamma(stages, 1 / stages, n), servers=servers)
    station = Station(900 * servers, 1.0, servers, arrival_cv2=1 / stages, service_cv2=1 / stages)
    assert waits.mean() == pytest.approx(station.wait_mean_ms, rel=0.125)


def test_closed_bound_turns_from_users_to_bottleneck() -> None:
    """Stations of 5 and 10 ms, 85 ms of thought: 10 a second for each user, 100 a second at most."""
    assert closed_throughput_bound_per_s(3, [5, 10], think_ms=85) == pytest.approx(30)
    assert closed_throughput_bound_per_s(50, [5, 10], think_ms=85) == pytest.approx(100)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: little(-1, 5), "rate_per_s=-1 must be >= 0"),
        (lambda: Station(10, 100), "utilization=1 must be < 1"),
        (lambda: Station(1, 100, service_cv2=-1), "service_cv2=-1 must be >= 0"),
        (lambda: closed_throughput_bound_per_s(3, []), "must name at least one station"),
    ],
    ids=["rate", "saturated", "cv2", "empty"],
)
def test_bad_input_names_the_value_and_the_way_out(call: Callable[[], object], message: str) -> None:
    """The error is one line that names the caller's mistake."""
    with pytest.raises(UsageError, match=message):
        call()
