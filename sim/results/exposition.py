"""The metrics that a deployment would have exported during a run, under the names that the reference exports.

``requests_total{method,status}``, ``request_latency_ms{method}`` and ``active_connections``, in Prometheus's text
format, as a scrape at one moment of the run sees them. Latency is the time in the Worker and behind it, without the
client and its network, on whose way a request is active. A request counts once, by its last attempt, when it has ended.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sim.flow import OUTCOMES

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from sim.results.result import Result
    from sim.scenario.scenario import Scenario

BOUNDS_MS = (1, 2, 5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 1_000, 2_000, 5_000)
"""Bounds of the buckets, with one at every line of the shipped targets (hazard H56)."""

STATUS = {"ok": "200", "timeout": "504", "overloaded": "503", "too_large": "413", "refused": "429", "error": "500"}
"""Status that an outcome is answered with; what a load generator did not send has none."""


def exposition(result: "Result", *, at_s: float | None = None, labels: Mapping[str, str] | None = None) -> str:
    """Return a scrape of a run in Prometheus's text format.

    Parameters
    ----------
    result : Result
    at_s : float, optional
        Moment of the scrape, from the start of the run; by default its end.
    labels : mapping of str to str, optional
        Of every series: ``{"environment": "staging"}``.
    """
    registry = CollectorRegistry()
    registry.register(_Scrape(result, np.inf if at_s is None else at_s * 1_000, labels or {}))
    return generate_latest(registry).decode()


def series_max(scenario: "Scenario") -> int:
    """Return how many time series a run of *scenario* can have at most: the values of all labels, times buckets.

    A histogram has a series for each bucket, one for the infinite bucket, a sum and a count.
    """
    methods = len({scenario.request(name).method for name in scenario.routes})
    return methods * len(STATUS) + methods * (len(BOUNDS_MS) + 3) + 1


class _Scrape(Collector):
    """The metrics of a run at one moment, in ms."""

    def __init__(self, result: "Result", at_ms: float, labels: Mapping[str, str]) -> None:
        self._names, self._values = tuple(labels), tuple(labels.values())
        frame = result.frame[result.frame["outcome"].isin(STATUS)]
        methods = {name: result.scenario.request(name).method for name in result.scenario.routes}
        ends_ms = frame["arrival_ms"] + frame["latency_ms"]
        self._ended = frame[ends_ms <= at_ms]
        self._method = self._ended["route"].astype(str).map(methods)
        self._inside_ms = _inside_ms(result)[frame.index[ends_ms <= at_ms]]
        self._active = int(((frame["arrival_ms"] <= at_ms) & (ends_ms > at_ms)).sum())

    def collect(self) -> Iterator[Metric]:
        """Yield the three families."""
        counted = CounterMetricFamily(
            "requests_total", "Requests by method and status.", labels=("method", "status", *self._names)
        )
        for (method, outcome), number in self._counts().items():
            counted.add_metric((method, STATUS[outcome], *self._values), float(number))
        yield counted
        name, text = "request_latency_ms", "Time in the Worker and behind it, in milliseconds."
        latency = HistogramMetricFamily(name, text, labels=("method", *self._names))
        for method in sorted(set(self._method)):
            values = self._inside_ms[(self._method == method).to_numpy()]
            below = [int((values <= bound).sum()) for bound in BOUNDS_MS]
            buckets = [(str(float(bound)), number) for bound, number in zip(BOUNDS_MS, below, strict=True)]
            latency.add_metric(
                (method, *self._values), [*buckets, ("+Inf", len(values))], sum_value=float(values.sum())
            )
        yield latency
        active = GaugeMetricFamily("active_connections", "Requests that are being answered.", labels=self._names)
        active.add_metric(self._values, self._active)
        yield active

    def _counts(self) -> dict[tuple[str, str], int]:
        counts: pd.Series = self._ended.groupby([self._method, self._ended["outcome"].astype(str)]).size()
        known = [outcome for outcome in OUTCOMES if outcome in STATUS]
        order = sorted(counts.index, key=lambda labels: (labels[0], known.index(labels[1])))
        return {labels: int(counts[labels]) for labels in order}


def _inside_ms(result: "Result") -> "NDArray[np.float64]":
    """Return each request's time without the client's and its entry's, shape (n,)."""
    frame, instances = result.frame, result.scenario.system.instances
    outside = [name for name, one in instances.items() if one.component.entry is not None]
    outside += [one.name for one in result.scenario.system.of("client")]
    columns = [f"{name}_ms" for name in outside if f"{name}_ms" in frame]
    inside: NDArray[np.float64] = frame["latency_ms"].to_numpy() - frame[columns].to_numpy().sum(axis=1)
    return np.maximum(np.nan_to_num(inside), 0.0)
