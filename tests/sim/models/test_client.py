"""The client: how long it waits, and whether it asks again.

Goal: a client's patience is what the scenario says. Method: one request against a slow server, worked out by hand.
"""

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
