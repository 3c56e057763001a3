"""What is measured of a run: a metric's value for every request, and statistics of it with their intervals.

A request that failed did not meet its latency target: a timeout counts with the time that the client waited, every
other failure as infinitely slow. Requests that the load generator never sent, or took back, are not judged.
"""

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sim.errors import UsageError
from sim.statistics.intervals import Estimate, mean_interval, replicated_mean_interval
from sim.statistics.quantiles import quantile_interval, replicated_quantile_interval

if TYPE_CHECKING:
    import pandas as pd

NOT_JUDGED = ("skipped", "aborted")
"""Outcomes that the load generator made itself."""


def metric_values(frame: "pd.DataFrame", metric: str) -> NDArray[np.float64]:
    """Value of *metric* for every request that it applies to, in the order of arrival.

    Parameters
    ----------
    frame : DataFrame
        Of a :class:`~sim.results.result.Result`.
    metric : str
        ``api_latency_ms`` (every request that was sent; failures as told above), ``worker_cpu_ms`` (requests that
        reached a Worker), ``d1_query_ms`` (requests that queried D1: distance, queue and SQL) or
        ``r2_upload_mb_per_s``
        (uploads that succeeded).

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    UsageError
        There is no such metric.
    """
    sent = frame[~frame["outcome"].isin(NOT_JUDGED)]
    if metric == "api_latency_ms":
        answered = sent["outcome"].isin(("ok", "timeout"))
        return sent["latency_ms"].where(answered, inf).to_numpy()
    if metric == "worker_cpu_ms":
        return _positive(sent["worker_cpu_ms"])
    if metric == "d1_query_ms":
        met = sent[sent["d1_ms"] > 0]
        return (met["d1_ms"] + met["d1_queue_ms"]).to_numpy()
    if metric == "r2_upload_mb_per_s":
        uploads = sent[(sent["route"] == "upload") & (sent["outcome"] == "ok") & (sent["r2_ms"] > 0)]
        return (uploads["size_bytes"] / 1e6 / (uploads["r2_ms"] / 1e3)).to_numpy()
    metrics = "api_latency_ms, worker_cpu_ms, d1_query_ms, r2_upload_mb_per_s, uptime_ratio"
    raise UsageError(f"metric={metric!r} must be one of {metrics} (scenarios/targets.toml)")


def _positive(column: "pd.Series[Any]") -> NDArray[np.float64]:
    values = column.to_numpy(dtype=np.float64)
    return values[values > 0]


def estimate(runs: Sequence["pd.DataFrame"], metric: str, *, statistic: str) -> Estimate | None:
    """One statistic of a metric over one run, or over independent replications, with its 95 % interval.

    Parameters
    ----------
    runs : sequence of DataFrame
        Frames of one or more results. One run is cut into batches; several are replications.
    metric : str
        See :func:`metric_values`.
    statistic : str
        ``mean``, or ``p`` and digits: ``p50``, ``p99``, ``p999``.

    Returns
    -------
    Estimate or None
        None when no request met the metric.
    """
    return estimate_of([metric_values(frame, metric) for frame in runs], statistic=statistic)


def estimate_of(runs: Sequence[NDArray[np.float64]], *, statistic: str) -> Estimate | None:
    """As :func:`estimate`, from the values of each run; runs without any are left out."""
    samples = [values for values in runs if len(values)]
    if not samples:
        return None
    if statistic == "mean":
        return mean_interval(samples[0]) if len(samples) == 1 else replicated_mean_interval(samples)
    share = probability(statistic)
    if len(samples) == 1:
        return quantile_interval(samples[0], share)
    return replicated_quantile_interval(samples, share)


def probability(statistic: str) -> float:
    """Read the probability of a percentile's name.

    >>> probability("p50"), probability("p999")
    (0.5, 0.999)
    """
    digits = statistic[1:]
    if statistic[:1] != "p" or not digits.isdigit() or int(digits) == 0:
        raise UsageError(f"statistic={statistic!r} must be p50, p99, p999, mean or ratio (scenarios/targets.toml)")
    return float(f"0.{digits}")
