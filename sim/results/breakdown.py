"""Latency breakdown: by route, and by component for typical and for slow requests.

A slow request is not slow in every component at once, so the breakdown of the P99 is not made of the components' P99s:
it is the mean time of the slowest requests in each component, and it adds up.

Sources
-------
Dean and Barroso, "The tail at scale", CACM 56, 2013 (why percentiles of parts do not add up).
"""

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sim.foundation.errors import UsageError
from sim.results.metrics import LATENCY, ended, estimate, judged
from sim.statistics.quantiles import quantiles

if TYPE_CHECKING:
    from sim.results.result import Result
    from sim.scenario.scenario import Scenario

MEDIAN_BAND = (0.45, 0.55)
"""Requests between these percentiles represent the typical request."""

TAIL = 0.99

UNATTRIBUTED = "overhead_ms"
"""Column of the time not attributed to any component: in a live run that of the driver and the network."""

ROUNDING_MS = 1e-6
"""Sums of floating-point times differ by less than this."""


def waterfall(results: "Sequence[Result]") -> pd.DataFrame:
    """Return the mean time in each part, of requests around the median and of those beyond the P99.

    Parameters
    ----------
    results : sequence of Result
        A run or replications of it, at least one.

    Returns
    -------
    DataFrame
        One row per part that took any time: ``part``, ``p50_ms``, ``p99_ms``. Each column adds up to the mean latency
        of its requests. Without a successful request after the warm-up there is no row.
    """
    frames = _steady(results)
    succeeded = [ended(frame, "ok") for frame in frames]
    latency_ms = [frame["latency_ms"].to_numpy()[ok] for frame, ok in zip(frames, succeeded, strict=True)]
    if not any(map(len, latency_ms)):
        return pd.DataFrame({"part": [], "p50_ms": [], "p99_ms": []})
    low, high, tail = quantiles(np.concatenate(latency_ms), [*MEDIAN_BAND, TAIL])
    columns = ["latency_ms", *parts_of(results[0].scenario)]

    def parts_between(low_ms: float, high_ms: float) -> pd.Series:
        chosen = [
            frame.loc[ok & frame["latency_ms"].between(low_ms, high_ms), columns]
            for frame, ok in zip(frames, succeeded, strict=True)
        ]
        means = pd.concat(chosen).mean()
        parts = means[columns[1:]]
        parts[UNATTRIBUTED] = means["latency_ms"] - parts.sum()
        return parts

    table = pd.DataFrame({"p50_ms": parts_between(low, high), "p99_ms": parts_between(tail, inf)})
    spent = table.max(axis=1) > ROUNDING_MS
    return table[spent].rename_axis("part").reset_index()


def _steady(results: "Sequence[Result]") -> list[pd.DataFrame]:
    if not results:
        raise UsageError("results=[] must hold at least one result (run the scenario first)")
    return [run.steady().frame for run in results]


def parts_of(scenario: "Scenario") -> list[str]:
    """Return the columns that add up to a request's latency, without CPU time, which is part of another column."""
    return [name for name in scenario.time_columns if name not in scenario.inner_columns]


def by_route(results: "Sequence[Result]") -> pd.DataFrame:
    """Return one row per route: requests, failures, and the latency of all that were sent, with 95 % intervals.

    Parameters
    ----------
    results : sequence of Result
        A run or replications of it, at least one.

    Returns
    -------
    DataFrame
        ``route, n, errors, p50_ms, p50_low_ms, p50_high_ms, p99_ms, p99_low_ms, p99_high_ms``. A failure counts as
        infinitely slow, a timeout with the time waited, as in the verdicts.
    """
    frames = _steady(results)
    rows = [row for route in _routes(frames) if (row := _route_row(frames, route, results[0].scenario))]
    return pd.DataFrame(rows)


def _routes(frames: "Sequence[pd.DataFrame]") -> list[str]:
    played = {route for frame in frames for route in frame["route"].unique()}
    return [route for route in frames[0]["route"].cat.categories if route in played]


def _route_row(frames: "Sequence[pd.DataFrame]", route: str, scenario: "Scenario") -> dict[str, object]:
    ours = [judged(frame.loc[frame["route"] == route, ["outcome", "latency_ms"]]) for frame in frames]
    row: dict[str, object] = {
        "route": route,
        "n": sum(len(part) for part in ours),
        "errors": sum(int((~ended(part, "ok")).sum()) for part in ours),
    }
    for name in ("p50", "p99"):
        found = estimate(ours, LATENCY, statistic=name, scenario=scenario)
        if found is None:
            return {}
        row |= {f"{name}_ms": found.value, f"{name}_low_ms": found.low, f"{name}_high_ms": found.high}
    return row
