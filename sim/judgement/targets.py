"""The line that must not be crossed, and what a run can honestly say about it.

A target row is a metric, a statistic, a *target* and an *alert* line. A run gives an estimate with a 95 % interval,
and the verdict looks at the whole interval, not at the estimate: all of it on the good side of the target is PASS,
all of it between the lines is WARN, all of it beyond the alert line is ALERT. An interval that straddles a line is
INCONCLUSIVE, and the row says how many requests would settle it. A run whose own load generator was late is
INVALID.

A request that failed did not meet its latency target: a timeout counts with the time that the client waited, every
other failure as infinitely slow. Requests that the load generator never sent, or took back, are not judged.

Sources
-------
Hahn and Meeker, "Statistical Intervals", 1991, chapter 5: an upper 95 % bound on a P99 needs n >= 299.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from sim.errors import UsageError
from sim.scenario.platform import read_toml
from sim.scenario.schema import Positive, Table, validated
from sim.statistics.intervals import Estimate, mean_interval, replicated_mean_interval, requests_to_settle
from sim.statistics.quantiles import quantile_interval, replicated_quantile_interval

if TYPE_CHECKING:
    import pandas as pd

    from sim.results.result import Result

VERDICTS = ("PASS", "WARN", "ALERT", "INCONCLUSIVE", "INVALID")

NOT_JUDGED = ("skipped", "aborted")
"""Outcomes that the load generator made itself."""


class Target(Table):
    """One row of the targets' file."""

    metric: Literal["api_latency_ms", "worker_cpu_ms", "d1_query_ms", "r2_upload_mb_per_s", "uptime_ratio"]
    """What is judged."""
    statistic: Annotated[str, Field(pattern=r"^(mean|ratio|p[1-9]\d*|p0\d*[1-9])$")]
    """``p50``, ``p99``, ``p999``, ``mean``; ``ratio`` for the up-time."""
    target: Positive
    """The line to keep."""
    alert: Positive
    """The line that wakes somebody."""
    direction: Literal["below", "above"]
    """The good side of both lines."""
    unit: str
    """Of both lines; ``1`` for a ratio."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if (self.alert - self.target) * (1 if self.direction == "below" else -1) < 0:
            raise ValueError(f"must have its alert line beyond its target: {self.alert:g} is not {self.direction}")
        if (self.metric == "uptime_ratio") != (self.statistic == "ratio"):
            raise ValueError("must have the statistic ratio for uptime_ratio, and for nothing else")
        return self


class _File(Table):
    """A file of targets."""

    schema_version: Literal[1] = 1
    targets: Annotated[tuple[Target, ...], Field(min_length=1)]


def load_targets(path: str | Path) -> tuple[Target, ...]:
    """Read a file of targets.

    Raises
    ------
    ScenarioError
        The file is missing, is not TOML, or breaks a rule: one line says which.
    """
    return validated(_File, read_toml(Path(path))).targets


@dataclass(frozen=True)
class TargetRow:
    """One line of the verdict table.

    Attributes
    ----------
    metric, statistic, unit, direction : str
        As in the scenario's targets; *direction* is the good side: ``below`` or ``above`` the line.
    value, low, high : float
        The estimate and its 95 % interval, in *unit*; NaN when no request met the metric, infinite where the data
        give no bound.
    n : int
        Requests that the estimate rests on.
    target, alert : float
        The two lines, in *unit*.
    verdict : str
        One of :data:`VERDICTS`.
    reason : str
        What would settle an inconclusive row; empty otherwise.
    """

    metric: str
    statistic: str
    value: float
    unit: str
    low: float
    high: float
    n: int
    target: float
    alert: float
    direction: str
    verdict: str
    reason: str = ""


def decide(low: float, high: float, *, line: Target) -> str:
    """Return the verdict of an interval against the two lines of *line*.

    >>> from types import SimpleNamespace
    >>> p99 = SimpleNamespace(target=200.0, alert=500.0, direction="below")
    >>> [decide(low, high, line=p99) for low, high in ((150, 180), (180, 210), (210, 400), (510, 900))]
    ['PASS', 'INCONCLUSIVE', 'WARN', 'ALERT']
    """
    sign = 1.0 if line.direction == "below" else -1.0
    best, worst = sorted((sign * low, sign * high))
    target, alert = sign * line.target, sign * line.alert
    if worst <= target:
        return "PASS"
    if best > alert:
        return "ALERT"
    if best > target and worst <= alert:
        return "WARN"
    return "INCONCLUSIVE"


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


def judge(results: "Result | Sequence[Result]") -> tuple[TargetRow, ...]:
    """Judge a run, or independent replications of it, against the scenario's targets.

    Parameters
    ----------
    results : Result or sequence of Result
        At least one. Their warm-up is cut.

    Returns
    -------
    tuple of TargetRow
        In the order of the scenario's targets.

    Raises
    ------
    UsageError
        No result, or a target of a metric or statistic that does not exist.
    """
    runs = [results] if not isinstance(results, Sequence) else list(results)
    if not runs:
        raise UsageError("results=[] must hold at least one result (run the scenario first)")
    valid = all(run.valid for run in runs)
    frames = [run.steady().frame for run in runs]
    rows = []
    for line in load_targets(runs[0].scenario.targets_path):
        row = _uptime_row(line, runs) if line.metric == "uptime_ratio" else _row(line, frames)
        rows.append(row if valid else replace(row, verdict="INVALID", reason="the load generator itself was late"))
    return tuple(rows)


def _row(line: Target, frames: Sequence["pd.DataFrame"]) -> TargetRow:
    found = estimate(frames, line.metric, statistic=line.statistic)
    if found is None:
        return _judged(line, Estimate(np.nan, -inf, inf, 0, "none"), reason="no request met this metric")
    return _judged(line, found)


def _uptime_row(line: Target, runs: Sequence["Result"]) -> TargetRow:
    from sim.judgement.availability import availability

    uptime = availability(runs)
    return _judged(line, uptime.estimate, reason=uptime.settled_by(line))


def _judged(line: Target, found: Estimate, *, reason: str = "") -> TargetRow:
    verdict = decide(found.low, found.high, line=line)
    if verdict != "INCONCLUSIVE":
        reason = ""
    elif not reason:
        reason = settled_by(found, line)
    return TargetRow(
        line.metric, line.statistic, found.value, line.unit, found.low, found.high, found.n,
        line.target, line.alert, line.direction, verdict, reason,
    )  # fmt: skip


def settled_by(found: Estimate, line: Target) -> str:
    """Say how many requests would move the interval off the line, or lines, that it straddles."""
    straddled = [edge for edge in (line.target, line.alert) if found.low <= edge <= found.high]
    needed = [requests_to_settle(found, edge) for edge in straddled]
    if None in needed:
        return "the estimate stands on the line"
    most = max((count for count in needed if count is not None), default=0)
    floor = ">=" if isfinite(found.low) and isfinite(found.high) else ">"
    return f"n {floor} {_round_up(most):,} would settle it"


def _round_up(count: int) -> int:
    """Two significant digits, upwards: a square-root law knows no more."""
    unit: int = 10 ** max(0, len(str(count)) - 2)
    return -(-count // unit) * unit


def overall(rows: Iterable[TargetRow]) -> str:
    """Return the verdict of a whole table, see :func:`worst`."""
    return worst(row.verdict for row in rows)


def worst(verdicts: Iterable[str]) -> str:
    """Return one verdict for many: the worst that is certain, else what stands in the way of PASS."""
    found = set(verdicts)
    return next((verdict for verdict in ("ALERT", "WARN", "INVALID", "INCONCLUSIVE") if verdict in found), "PASS")


def exit_status(rows: Iterable[TargetRow]) -> int:
    """Status for a shell: 0 all targets met, 1 one missed, 3 none missed but not all met."""
    return status_of(overall(rows))


def status_of(verdict: str) -> int:
    """Status for a shell of one verdict."""
    return {"PASS": 0, "WARN": 1, "ALERT": 1}.get(verdict, 3)
