"""Judge a run against its targets.

A run gives an estimate with a 95 % interval, and the verdict depends on the whole interval, not on the point estimate
(:func:`sim.judgement.targets.decide`). An interval that contains a line is INCONCLUSIVE, and the row says how many
requests would settle it. A run whose own load generator was late is INVALID.

Sources
-------
Hahn and Meeker, "Statistical Intervals", 1991, chapter 5: an upper 95 % bound on a P99 needs n >= 299.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf, isfinite, log
from typing import TYPE_CHECKING

import numpy as np

from sim.foundation.errors import UsageError
from sim.judgement.availability import availability
from sim.judgement.targets import Target, Verdict, decide, targets_of
from sim.results.metrics import UPTIME, assumed_by, estimate, probability
from sim.statistics.intervals import Estimate, requests_to_settle, round_up

if TYPE_CHECKING:
    import pandas as pd

    from sim.results.result import Result
    from sim.scenario.scenario import Scenario

SEE_NOTES = "the run is INVALID, for the reason in its notes"


TAIL = 0.025
"""Chance of each side of a 95 % interval."""

MODELLED = ("simpy", "compiled", "reference")
"""Runners whose service times are the scenario's own numbers."""


@dataclass(frozen=True)
class TargetRow:
    """One line of the verdict table.

    Attributes
    ----------
    metric, statistic, unit, direction : str
        As in the scenario's targets; *direction* is the good side: ``below`` or ``above`` the line.
    value, low, high : float
        The estimate and its 95 % interval, in *unit*; NaN when no request has the metric, infinite where the data
        give no bound.
    n : int
        Number of requests in the estimate.
    target, alert : float
        The two lines, in *unit*.
    verdict : Verdict
    reason : str
        What would settle an inconclusive row; empty otherwise.
    scope : str
        Route, or keys, that it is of; empty for all requests.
    follows_from : str
        Path of the assumption that the row only restates, so that its verdict is the assumption's: measure that number.
        Empty for all others, and for runs on what nobody here has paced.
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
    verdict: Verdict
    reason: str = ""
    scope: str = ""
    follows_from: str = ""

    @property
    def name(self) -> str:
        """Metric, statistic and scope, as in a capacity's lists."""
        return f"{self.metric} {self.statistic} {self.scope}".strip()


def judge(results: "Result | Sequence[Result]") -> tuple[TargetRow, ...]:
    """Judge a run, or independent replications of it, against the scenario's targets.

    Parameters
    ----------
    results : Result or sequence of Result
        At least one. Their warm-up is cut.

    Returns
    -------
    tuple of TargetRow
        In the order of the scenario's targets, without those whose metric applies to no route.

    Raises
    ------
    UsageError
        No result, or a target for a metric or statistic that does not exist.
    """
    runs = [results] if not isinstance(results, Sequence) else list(results)
    if not runs:
        raise UsageError("results=[] must hold at least one result (run the scenario first)")
    valid = all(run.valid for run in runs)
    frames = [run.steady().frame for run in runs]
    scenario = runs[0].scenario
    modelled = all(run.on in MODELLED or not run.generator for run in runs)  # A saved run of a model has no generator.
    rows = []
    for line in targets_of(scenario):
        row = _uptime_row(line, runs) if line.metric == UPTIME else _row(line, frames, scenario)
        row = replace(row, follows_from=assumed_by(line.metric, scenario)) if modelled else row
        rows.append(
            row
            if valid
            else replace(row, verdict=Verdict.INVALID, reason="the run is INVALID, for the reason in its notes")
        )
    return tuple(rows)


def _row(line: Target, frames: Sequence["pd.DataFrame"], scenario: "Scenario") -> TargetRow:
    chosen = [line.select(frame) for frame in frames]
    found = estimate(chosen, line.metric, statistic=line.statistic, scenario=scenario)
    if found is None:
        return row_of(line, Estimate(np.nan, -inf, inf, 0, "none"), reason="no request met this metric")
    return row_of(line, found)


def _uptime_row(line: Target, runs: Sequence["Result"]) -> TargetRow:
    uptime = availability(runs)
    return row_of(line, uptime.estimate, reason=uptime.settled_by(line))


def row_of(line: Target, found: Estimate, *, reason: str = "") -> TargetRow:
    """Return the row of one target that was estimated; *reason* is what would settle it, if not more requests."""
    verdict = decide(found.low, found.high, line=line)
    if verdict is not Verdict.INCONCLUSIVE:
        reason = ""
    elif not reason:
        reason = settled_by(found, line)
    return TargetRow(
        metric=line.metric,
        statistic=line.statistic,
        value=found.value,
        unit=line.unit,
        low=found.low,
        high=found.high,
        n=found.n,
        target=line.target,
        alert=line.alert,
        direction=line.direction,
        verdict=verdict,
        reason=reason,
        scope=line.scope,
    )


def settled_by(found: Estimate, line: Target) -> str:
    """Return a sentence on how many requests would move the interval off the lines that it contains."""
    return would_settle(found, (line.target, line.alert), at_least=_bounded_from(found, line.statistic))


def _bounded_from(found: Estimate, statistic: str) -> int:
    """How many requests the interval of a quantile needs to have both ends, by its ranks; 0 where it has them now."""
    if not statistic.startswith("p") or (isfinite(found.low) and isfinite(found.high)):
        return 0
    quantile = probability(statistic)
    beyond = quantile if not isfinite(found.high) else 1 - quantile
    return ceil(log(TAIL) / log(beyond))


def would_settle(found: Estimate, edges: Iterable[float], *, at_least: int = 0) -> str:
    """Return a sentence on how many requests would move the interval off the *edges* that it contains.

    Parameters
    ----------
    found : Estimate
    edges : iterable of float
    at_least : int
        Fewer requests settle nothing.
    """
    needed = [requests_to_settle(found, edge) for edge in edges if found.low <= edge <= found.high]
    if None in needed:
        return "the estimate stands on the line"
    most = max((count for count in needed if count is not None), default=0)
    most = max(most, at_least)
    floor = ">=" if isfinite(found.low) and isfinite(found.high) else ">"
    return f"n {floor} {round_up(most):,} would settle it"


def overall(rows: Iterable[TargetRow]) -> Verdict:
    """Return the verdict of a whole table, see :func:`worst`."""
    return worst(row.verdict for row in rows)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return one verdict for many: the worst certain one, else whatever prevents PASS."""
    found = set(verdicts)
    by_severity = (Verdict.ALERT, Verdict.WARN, Verdict.INVALID, Verdict.INCONCLUSIVE)
    return next((verdict for verdict in by_severity if verdict in found), Verdict.PASS)


def exit_status(rows: Iterable[TargetRow]) -> int:
    """Return the exit status: 0 all targets met, 1 one missed, 3 none missed but not all met."""
    return status_of(overall(rows))


def status_of(verdict: Verdict) -> int:
    """Return the exit status of one verdict."""
    return {Verdict.PASS: 0, Verdict.WARN: 1, Verdict.ALERT: 1}.get(verdict, 3)
