"""The client: how long it waits, and whether it asks again.

Goal: a client's patience is what the scenario says. Method: one request against a slow server, worked out by hand.
"""

from typing import Any

from sim import flow as f
from sim.engines.simpy_engine import simulate
from sim.models import client
from sim.models.component import Instance
from sim.randomness.distributions import Constant
from tests.support.schedules import at


def test_a_client_gives_up_retries_and_reports_a_timeout() -> None:
    """Two tries of 15 ms with a pause of 5 between them, against a server that needs 20 ms."""
    table = client.Client(timeout_ms=15.0, retries=1, backoff_ms=5.0)
    patience = Instance("client", client.COMPONENT, table)
    run = simulate(client.with_retries(patience, (f.Delay(Constant(value=20.0), "server.work"),)), at([0.0]), seed=1)
    assert (run.latency_ms[0], f.OUTCOMES[run.outcome[0]], run.attempts[0]) == (35.0, "timeout", 2)


def client_flow(**policy: Any) -> f.Flow:
    """A client of a server that always fails at once: three retries, 100, 200 and 400 ms apart."""
    table = client.Client(timeout_ms=1000.0, retries=3, backoff_ms=100.0, **policy)
    patience = Instance("client", client.COMPONENT, table)
    return client.with_retries(patience, (f.Guard(f.During(0.0, 1e9), "error"),))


def test_full_jitter_shortens_each_pause_by_a_uniform_number() -> None:
    """Of a thousand requests the pauses add up to half of 700 ms on average, and to less than all of it each."""
    arrivals = at([float(i) for i in range(1000)])
    plain = simulate(client_flow(), arrivals, seed=1)
    assert (plain.latency_ms == 700.0).all()
    spread = simulate(client_flow(jitter=True), arrivals, seed=1)
    assert (spread.latency_ms < 700.0).all()
    # The variance of the sum is (100^2 + 200^2 + 400^2) / 12; within five standard errors.
    assert abs(spread.latency_ms.mean() - 350.0) < 5 * (210_000 / 12 / 1000) ** 0.5


def test_a_budget_bounds_the_retries_of_all_requests_together() -> None:
    """Five to begin with, and a tenth for each of 1,000 requests."""
    run = simulate(client_flow(budget_ratio=0.1, budget_retries_max=5), at([float(i) for i in range(1000)]), seed=1)
    retries = int(run.attempts.sum()) - 1000
    assert 95 <= retries <= 105
    assert client.Client(timeout_ms=1.0, retries=0, backoff_ms=0.0).burst == client.BURST
