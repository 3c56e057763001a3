"""Throughput of uploads by size class: the round trip rules small ones, the bandwidth large ones (hazard H30)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sim.runners.load.s3_target import UploadTerms

if TYPE_CHECKING:
    import pandas as pd

CLASS_EDGES_MB = (0.0, 1.0, 10.0, 100.0, 1_000.0, np.inf)
"""A tenfold each: within one, the round trip's part of an upload changes by less than that."""


def upload_rates(frame: "pd.DataFrame", terms: Mapping[str, UploadTerms]) -> list[dict[str, Any]]:
    """Return a row for each size class that has successful uploads.

    Parameters
    ----------
    frame : DataFrame
        Requests that are judged.
    terms : mapping of str to UploadTerms
        Of the routes that upload by S3.

    Returns
    -------
    list of dict
        ``from_mb``, ``below_mb`` (None: no bound), ``uploads``, and of their throughput in MB/s ``p50``, ``p10`` and
        ``least``.
    """
    sizes_mb, rates = [np.zeros(0)], [np.zeros(0)]
    for route, one in terms.items():
        column = f"{one.category}_ms"
        done = frame[(frame["route"] == route) & (frame["outcome"] == "ok") & (frame[column] > 0)]
        sizes_mb.append(done["size_bytes"].to_numpy() / 1e6)
        rates.append(sizes_mb[-1] / (done[column].to_numpy() / 1e3))
    all_mb, all_rates = np.concatenate(sizes_mb), np.concatenate(rates)
    classes = np.searchsorted(CLASS_EDGES_MB, all_mb, side="right") - 1
    return [_row(int(number), all_rates[classes == number]) for number in np.unique(classes)]


def _row(number: int, rates: Any) -> dict[str, Any]:
    below_mb = CLASS_EDGES_MB[number + 1]
    p10, p50 = np.quantile(rates, (0.1, 0.5)).tolist()
    return {
        "from_mb": CLASS_EDGES_MB[number],
        "below_mb": None if below_mb == np.inf else below_mb,
        "uploads": len(rates),
        "p50": p50,
        "p10": p10,
        "least": float(rates.min()),
    }


def rate_notes(rows: list[dict[str, Any]]) -> list[str]:
    """Return a sentence for each size class."""
    return [
        f"S3 uploads {_span(row)}: {row['uploads']:,}, throughput P50 {row['p50']:.3g} MB/s, P10 {row['p10']:.3g} MB/s"
        for row in rows
    ]


def _span(row: dict[str, Any]) -> str:
    if row["below_mb"] is None:
        return f"of {row['from_mb']:,g} MB or more"
    return f"of {row['from_mb']:,g} to {row['below_mb']:,g} MB"
