"""HDR histograms of a live run: small, mergeable across runs and machines, and readable by other tools.

The exact frame stays the primary record; these are for runs that are merged. Each route has two: *corrected* latencies,
from the intended send, and *raw* ones, from the actual send.

Sources
-------
Tene, HdrHistogram (log-linear buckets; the compressed V2 encoding).
"""

from typing import TYPE_CHECKING

from hdrh.histogram import HdrHistogram

if TYPE_CHECKING:
    import pandas as pd

LATENCY_US_MAX = 3_600_000_000
SIGNIFICANT_DIGITS = 3
KINDS = {"corrected": "latency_ms", "raw": "service_latency_ms"}


def histograms(frame: "pd.DataFrame") -> dict[str, dict[str, str]]:
    """Return encoded histograms by route and kind, in microseconds, of requests that were answered.

    Parameters
    ----------
    frame : DataFrame
        A live run's frame.

    Returns
    -------
    dict
        ``{"log": {"corrected": "HIST...", "raw": "HIST..."}, ...}``; decode with ``HdrHistogram.decode``.
    """
    answered = frame[~frame["outcome"].isin(("skipped", "aborted"))]
    return {
        str(route): {kind: _encode(rows[column]) for kind, column in KINDS.items()}
        for route, rows in answered.groupby("route", observed=True)
    }


def _encode(latency_ms: "pd.Series[float]") -> str:
    histogram = HdrHistogram(1, LATENCY_US_MAX, SIGNIFICANT_DIGITS)
    for latency_us in (latency_ms * 1000).round().astype("int64").clip(1, LATENCY_US_MAX).tolist():
        histogram.record_value(latency_us)
    return str(histogram.encode().decode())
