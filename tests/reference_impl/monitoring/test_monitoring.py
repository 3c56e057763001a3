"""The gauges: every request is counted, however it ends, and the bounds fit the targets.

Goal: the availability that these numbers tell is the true one. Method: requests that end well, are
refused, break or are cut off, and the exposition text read back by Prometheus' own parser.
"""

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from reference_impl.errors import OverloadedError
from reference_impl.messages import Request, Response
from reference_impl.monitoring.metrics import Monitoring
from reference_impl.timing.clock import VirtualClock
from tests.support.world import log_request, world


def samples(monitoring: Monitoring) -> dict[tuple[str, str], float]:
    """Return every sample by name and labels (values joined)."""
    text = monitoring.exposition().body.decode()
    return {
        (sample.name, " ".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def observe(clock: VirtualClock, monitoring: Monitoring, method: str, ending: object) -> None:
    """Let one request of 60 ms end in a response or an exception."""

    async def handler() -> Response:
        await clock.sleep_until_ms(clock.now_ms() + 60)
        if isinstance(ending, BaseException):
            raise ending
        assert isinstance(ending, Response)
        return ending

    clock.run(monitoring.observe(method, handler))


def test_requests_are_counted_by_method_and_status() -> None:
    clock = VirtualClock()
    monitoring = Monitoring(clock)
    for status in (200, 200, 404):
        observe(clock, monitoring, "GET", Response(status))
    found = samples(monitoring)
    assert found["requests_total", "GET 200"] == 2
    assert found["requests_total", "GET 404"] == 1
    assert found["request_latency_ms_count", "GET"] == 3
    assert found["request_latency_ms_sum", "GET"] == pytest.approx(180)


@pytest.mark.parametrize(
    ("ending", "status"),
    [(ZeroDivisionError(), 500), (OverloadedError("full"), 503), (asyncio.CancelledError(), 500)],
)
def test_a_request_that_ends_in_an_exception_is_counted(ending: BaseException, status: int) -> None:
    # Hazard H57.
    clock = VirtualClock()
    monitoring = Monitoring(clock)
    with pytest.raises(type(ending)):
        observe(clock, monitoring, "GET", ending)
    found = samples(monitoring)
    assert found["requests_total", f"GET {status}"] == 1
    assert found["request_latency_ms_count", "GET"] == 1
    assert found["active_connections", ""] == 0


@pytest.mark.parametrize("bound", [50, 100, 200, 500])
def test_the_buckets_have_a_bound_at_every_line_of_the_targets(bound: float) -> None:
    # Hazard H56: without it a quantile near the line is interpolated.
    clock = VirtualClock()
    monitoring = Monitoring(clock)
    observe(clock, monitoring, "GET", Response())
    assert ("request_latency_ms_bucket", f"{float(bound)} GET") in samples(monitoring)


def test_made_up_methods_make_no_new_series() -> None:
    # Hazard H58.
    clock = VirtualClock()
    monitoring = Monitoring(clock)
    for n in range(50):
        observe(clock, monitoring, f"METHOD{n}", Response(405))
    labels = {key[1] for key in samples(monitoring) if key[0] == "requests_total"}
    assert labels == {"other 405"}


def test_active_connections_counts_those_being_answered_and_is_never_negative() -> None:
    with world({"ledger": {"write_ms": 50}}) as w:
        seen = []

        async def watch() -> None:
            for at_ms in range(0, 300, 10):
                await w.clock.sleep_until_ms(at_ms)
                seen.append(samples(w.deployment.monitoring)["active_connections", ""])

        asked = [w.deployment.serve_http(log_request(f"event-{n}"), w.deployment.stopwatch()) for n in range(5)]
        w.clock.run(watch(), *asked)
    assert max(seen) == 5
    assert min(seen) == 0
    assert seen[-1] == 0


def test_health_and_metrics_are_not_counted_as_traffic() -> None:
    with world() as w:
        assert w.ask(Request("GET", "/health"))[0].status == 200
        answer = w.ask(Request("GET", "/metrics"))[0]
        assert b"requests_total{" not in answer.body
        assert answer.headers["content-type"].startswith("text/plain")
