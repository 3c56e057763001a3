"""Metrics of a run: a value for every request, and statistics of them with confidence intervals.

A failed request did not meet its latency target: a timeout counts with the time that the client waited, every other
failure as infinitely slow. Requests that the load generator skipped or aborted are not judged.
"""

from collections.abc import Sequence
from math import inf, nan
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.foundation.errors import UsageError
from sim.models.registry import metrics, uses
from sim.statistics.intervals import Estimate, mean_interval, replicated_mean_interval
from sim.statistics.quantiles import quantile, quantile_interval, replicated_quantile_interval

if TYPE_CHECKING:
    import pandas as pd

    from sim.scenario.scenario import Scenario

LATENCY, UPTIME = "api_latency_ms", "uptime_ratio"
"""Metrics that belong to no component: of whole requests, and of the whole deployment."""

NOT_JUDGED = ("skipped", "aborted")
"""Outcomes caused by the load generator itself."""


def metric_values(frame: "pd.DataFrame", metric: str, *, scenario: "Scenario") -> NDArray[np.float64]:
    """Return the value of *metric* for every request that it applies to, in the order of arrival.

    Parameters
    ----------
    frame : DataFrame
        Frame of a :class:`~sim.results.result.Result`.
    metric : str
        ``api_latency_ms`` (every request that was sent) or a metric of a component (:mod:`sim.models`).
    scenario : Scenario
        That was played.

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    UsageError
        There is no such metric.
    """
    sent = judged(frame)
    if metric == LATENCY:
        latency_ms = sent["latency_ms"].to_numpy()
        answered = ended(sent, "ok", "timeout")
        return latency_ms if answered.all() else np.where(answered, latency_ms, inf)
    known = metrics()
    if metric not in known:
        raise UsageError(f"metric={metric!r} must be one of {', '.join(metric_names())} (scenarios/targets.toml)")
    component, found = known[metric]
    used = uses(component.name, scenario.met, operations=scenario.operations)
    return found.values(sent, used) if found.applies(used) else np.zeros(0)


def judged(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return the requests that the load generator really sent; the frame itself, not a copy, where that is all."""
    sent = ~ended(frame, *NOT_JUDGED)
    return frame if sent.all() else frame[sent]


def ended(frame: "pd.DataFrame", *outcomes: str) -> NDArray[np.bool_]:
    """Tell which requests ended in one of *outcomes*, shape (n,)."""
    codes, categories = frame["outcome"].cat.codes.to_numpy(), frame["outcome"].cat.categories
    wanted = np.append(categories.isin(outcomes), False)  # the last one answers for code -1, an unknown outcome
    found: NDArray[np.bool_] = wanted[codes]
    return found


def unit_of(metric: str) -> str:
    """Return the unit of a metric; ``1`` for a ratio.

    >>> unit_of("d1_query_ms"), unit_of("r2_upload_mb_per_s"), unit_of("uptime_ratio")
    ('ms', 'MB/s', '1')

    Raises
    ------
    UsageError
        There is no such metric.
    """
    if metric in (LATENCY, UPTIME):
        return "ms" if metric == LATENCY else "1"
    if metric not in metrics():
        raise UsageError(f"metric={metric!r} must be one of {', '.join(metric_names())} (scenarios/targets.toml)")
    return metrics()[metric][1].unit


def applies(metric: str, scenario: "Scenario", *, route: str | None = None) -> bool:
    """Whether *metric* applies to some route of *scenario*, or to that one."""
    if metric in (LATENCY, UPTIME):
        return True
    component, found = metrics()[metric]
    routes = scenario.operations if route is None else {route: scenario.operations[route]}
    return found.applies(uses(component.name, scenario.met, operations=routes))


def assumed_by(metric: str, scenario: "Scenario") -> str:
    """Return the path of the assumption that *metric* only restates; empty where it is measured, or more than that.

    >>> from sim.scenario.scenario import load_scenario
    >>> [assumed_by(metric, load_scenario("launch")) for metric in ("worker_cpu_ms", "api_latency_ms")]
    ['system.workers.cpu_ms', '']
    """
    if metric not in metrics():
        return ""
    component, found = metrics()[metric]
    instances = scenario.system.of(component.name)
    paths = [f"system.{instance.name}.{found.restates}" for instance in instances if found.restates]
    beliefs = [source for source in scenario.provenance if source.low_confidence]
    # A distribution is an assumption if one of its parameters is, whatever the source of the others.
    assumed = [path for path in paths if any(f"{one.path}.".startswith(f"{path}.") for one in beliefs)]
    return assumed[0] if len(paths) == 1 and assumed else ""


def metric_names() -> tuple[str, ...]:
    """List all metrics that a target may name: latency, the components' metrics, uptime."""
    return (LATENCY, *metrics(), UPTIME)


def estimate(runs: Sequence["pd.DataFrame"], metric: str, *, statistic: str, scenario: "Scenario") -> Estimate | None:
    """Estimate one statistic of a metric over one run, or over independent replications, with its 95 % interval.

    Parameters
    ----------
    runs : sequence of DataFrame
        Frames of one or more results. One run is divided into batches; several are replications.
    metric : str
        See :func:`metric_values`.
    statistic : str
        ``mean``, or ``p`` and digits: ``p50``, ``p99``, ``p999``.
    scenario : Scenario
        That was played.

    Returns
    -------
    Estimate or None
        None when no request has the metric.
    """
    return estimate_of([metric_values(frame, metric, scenario=scenario) for frame in runs], statistic=statistic)


def estimate_of(runs: Sequence[NDArray[np.float64]], *, statistic: str) -> Estimate | None:
    """Estimate as :func:`estimate`, from the values of each run; runs without any values are left out."""
    samples = [values for values in runs if len(values)]
    if not samples:
        return None
    if statistic == "mean":
        return mean_interval(samples[0]) if len(samples) == 1 else replicated_mean_interval(samples)
    share = probability(statistic)
    if len(samples) == 1:
        return quantile_interval(samples[0], share)
    return replicated_quantile_interval(samples, share)


def statistic_of(values: NDArray[np.float64], statistic: str) -> float:
    """Compute one statistic of one run; NaN where no request met the metric."""
    if not len(values):
        return nan
    return float(values.mean()) if statistic == "mean" else quantile(values, probability(statistic))


def probability(statistic: str) -> float:
    """Return the probability that a percentile's name stands for.

    >>> probability("p50"), probability("p999")
    (0.5, 0.999)
    """
    digits = statistic[1:]
    if statistic[:1] != "p" or not digits.isdigit() or int(digits) == 0:
        raise UsageError(f"statistic={statistic!r} must be p50, p99, p999, mean or ratio (scenarios/targets.toml)")
    return float(f"0.{digits}")
