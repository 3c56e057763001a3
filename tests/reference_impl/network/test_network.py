"""The network of the reference: half of the round trip on the way there, half on the way back.

Goal: a request's time on the way is that of the scenario, however the machine behaves. Method: one request under a
virtual clock, and a whole search whose head was read before the stopwatch started.
"""

from hypothesis import given
from hypothesis import strategies as st

from reference_impl.messages import Request, Response
from reference_impl.network.network import Network, NetworkSettings
from reference_impl.tables import Table, read_table
from reference_impl.timing.clock import VirtualClock
from reference_impl.timing.stopwatch import HeadStart, Stopwatch
from tests.support.world import world

SEARCH = Request("GET", "/loras", {"domain": "code"})


def carried(rtt_ms: float, *, reading_ms: float = 0.0) -> tuple[Stopwatch, float]:
    """Carry one request; return its stopwatch and when the Worker had it."""
    clock = VirtualClock()
    clock.run_until(reading_ms)
    stopwatch = Stopwatch(clock, started_ms=0.0)
    network = Network("way", read_table(NetworkSettings.read, Table("way", {"client_rtt_ms": rtt_ms})))
    served_ms: list[float] = []

    async def serve() -> Response:
        served_ms.append(stopwatch.planned_ms)
        return Response(204)

    (answer,) = clock.run(network.carry(serve, stopwatch, head_start=HeadStart()))
    assert answer.status == 204
    return stopwatch, served_ms[0]


@given(st.floats(0, 1e4), st.floats(0, 1e4))
def test_half_of_the_round_trip_lies_before_the_worker_and_half_behind(rtt_ms: float, reading_ms: float) -> None:
    stopwatch, served_ms = carried(rtt_ms, reading_ms=reading_ms)
    assert served_ms == max(rtt_ms / 2, reading_ms)
    assert stopwatch.planned_ms == served_ms + rtt_ms / 2
    assert stopwatch.spent_ms["way"] == stopwatch.planned_ms


def test_time_before_the_stopwatch_counts_towards_the_network() -> None:
    with world({"network": {"client_rtt_ms": 18}}) as w:
        w.clock.run_until(30)
        stopwatch = w.deployment.stopwatch(started_ms=10)
        w.clock.run(w.deployment.serve_http(SEARCH, stopwatch))
    # Reading took 20 ms, more than the first half of 9 ms; the second half is added.
    assert stopwatch.spent_ms["network"] == 29
    assert stopwatch.planned_ms == 39
