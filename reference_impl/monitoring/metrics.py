"""Prometheus metrics of the deployment: request counts, latencies and concurrency.

The names are the brief's: ``requests_total{method,status}``, ``request_latency_ms{method}`` and
``active_connections``. Unlike there, a request that ends in an exception is counted (status 500),
the buckets have bounds at every target and alert threshold, and a method that a client made up is
labelled ``other``: otherwise clients would decide how many series there are.

Sources
-------
Hazards H56 (bucket bounds), H57 (thrown errors) and H58 (unbounded labels).
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from reference_impl.errors import ImplError
from reference_impl.messages import Response
from reference_impl.timing.clock import Clock

LATENCY_BOUNDS_MS = (1, 2, 5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 1_000, 2_000, 5_000)
LATENESS_BOUNDS_MS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


Billed = Callable[[], Mapping[tuple[str, str], float]]
Statements = Callable[[], Mapping[tuple[str, str, str], Mapping[str, float]]]


class _Bill(Collector):
    """The meters of the bill, and what named statements did, as families of counters."""

    def __init__(self, billed: Billed, statements: Statements) -> None:
        self._billed = billed
        self._statements = statements

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        family = CounterMetricFamily("billed", "What the provider would bill until now.", labels=("instance", "meter"))
        for names, amount in sorted(self._billed().items()):
            family.add_metric(names, amount)
        yield family
        labels = ("instance", "route", "step", "meter")
        family = CounterMetricFamily("statements", "Calls of named statements, and their rows.", labels=labels)
        for place, amounts in sorted(self._statements().items()):
            for meter, amount in amounts.items():
                family.add_metric((*place, meter), amount)
        yield family


class Monitoring:
    """The metrics of one deployment, in a registry of their own.

    Parameters
    ----------
    clock
        The deployment's clock.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "requests_total",
            "Requests by method and status.",
            ["method", "status"],
            registry=self._registry,
        )
        self._latency = Histogram(
            "request_latency_ms",
            "Time in the Worker and behind it, in milliseconds.",
            ["method"],
            buckets=LATENCY_BOUNDS_MS,
            registry=self._registry,
        )
        self._active = Gauge("active_connections", "Requests that are being answered.", registry=self._registry)
        self._lateness = Histogram(
            "pace_lateness_ms",
            "How late answers leave, against their planned time, in milliseconds.",
            buckets=LATENESS_BOUNDS_MS,
            registry=self._registry,
        )

    async def observe(self, method: str, handler: Callable[[], Awaitable[Response]]) -> Response:
        """Call *handler* and count its outcome, exceptions included."""
        label = method if method in METHODS else "other"
        began_ms = self._clock.now_ms()
        status = 500
        self._active.inc()
        try:
            response = await handler()
            status = response.status
        except ImplError as error:
            status = error.status
            raise
        finally:
            self._active.dec()
            self._requests.labels(label, str(status)).inc()
            self._latency.labels(label).observe(self._clock.now_ms() - began_ms)
        return response

    def bill(self, billed: Billed, statements: Statements) -> None:
        """Show what the provider would bill, and what *statements* did, whenever somebody asks for the metrics."""
        self._registry.register(_Bill(billed, statements))

    def late(self, lateness_ms: float) -> None:
        """Record how late a response left."""
        self._lateness.observe(max(0.0, lateness_ms))

    def exposition(self) -> Response:
        """Return all metrics in Prometheus's text format."""
        body = generate_latest(self._registry)
        return Response(200, body, {"content-type": CONTENT_TYPE_PLAIN_0_0_4})
