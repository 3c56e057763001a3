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
    from collections.abc import Iterable

    import pandas as pd

LATENCY_US_MAX = 3_600_000_000
SIGNIFICANT_DIGITS = 3
KINDS = {"corrected": "latency_ms", "raw": "service_latency_ms"}


Histograms = dict[str, dict[str, str]]
"""Encoded histograms by route and kind."""


def histograms(frame: "pd.DataFrame") -> Histograms:
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
    histogram = _empty()
    for latency_us in (latency_ms * 1000).round().astype("int64").clip(1, LATENCY_US_MAX).tolist():
        histogram.record_value(latency_us)
    return _text(histogram)


def merged(runs: "Iterable[Histograms]") -> Histograms:
    """Return the histograms of several runs added up, exactly: as if one run had recorded all their requests.

    Parameters
    ----------
    runs : iterable of dict
        Each as :func:`histograms` returns it.
    """
    total: dict[str, dict[str, HdrHistogram]] = {}
    for run in runs:
        for route, kinds in run.items():
            for kind, encoded in kinds.items():
                into = total.setdefault(route, {}).setdefault(kind, _empty())
                into.decode_and_add(encoded)
    return {route: {kind: _text(one) for kind, one in kinds.items()} for route, kinds in total.items()}


def _empty() -> HdrHistogram:
    return HdrHistogram(1, LATENCY_US_MAX, SIGNIFICANT_DIGITS)


def _text(histogram: HdrHistogram) -> str:
    return str(histogram.encode().decode())
