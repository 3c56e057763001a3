"""Compare a simulation with a measurement of the same schedule.

Both played the same requests at the same times, so they differ by the model's error and by sampling error. Each side
has a confidence interval, and the two give the joint interval of the relative error. Agreement is equivalence: a row
*agrees* when its whole joint interval lies within the tolerance of its statistic, it *differs* when all of it lies
outside, which calls for finding the cause and not for a wider tolerance, and otherwise it is *not settled*: the row
says how many requests would settle it.

Sources
-------
Schuirmann, "A comparison of the two one-sided tests procedure and the power approach", J. Pharmacokinet. Biopharm. 15,
1987 (equivalence is shown by an interval inside the margin, not by a difference that is not significant).
Donner and Zou, "Closed-form confidence intervals for functions of the normal mean and standard deviation",
Stat. Methods Med. Res. 21, 2012 (MOVER: the interval of a difference from two intervals), here on the logarithm.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import exp, inf, isfinite, log, nan, sqrt
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.foundation.errors import UsageError
from sim.foundation.views import Shown
from sim.judgement.judge import would_settle
from sim.models.registry import metrics
from sim.results.metrics import LATENCY, NOT_JUDGED, applies, estimate, metric_values
from sim.statistics.intervals import Estimate
from sim.statistics.quantiles import quantiles

if TYPE_CHECKING:
    import pandas as pd

    from sim.results.result import Result
    from sim.scenario.scenario import Scenario

TOLERANCE = {"p50": 0.10, "p90": 0.15, "p99": 0.20}
"""Largest relative error that counts as agreement, by statistic."""

EVERY_ROUTE = "all"


class Agreement(StrEnum):
    """The verdict of a comparison of one statistic."""

    AGREES = "agrees"
    DIFFERS = "differs"
    NOT_SETTLED = "not settled"
    NO_DATA = "no data"


QQ_PROBABILITIES = tuple(np.round(np.concatenate([np.linspace(0.01, 0.99, 50), [0.995, 0.999]]), 4).tolist())
"""Probabilities at which the quantiles of latency are compared."""


@dataclass(frozen=True)
class ComparisonRow:
    """The comparison of one statistic of one metric.

    Attributes
    ----------
    metric, route, statistic : str
        *route* is ``all`` or one route.
    simulated, measured : Estimate
        In the metric's unit, each with its 95 % interval.
    relative_error : float
        simulated / measured - 1; NaN without data.
    low, high : float
        Joint 95 % interval of the relative error.
    tolerance_ratio : float
        Tolerance of the statistic, from :data:`TOLERANCE`.
    verdict : Agreement
    """

    metric: str
    route: str
    statistic: str
    simulated: Estimate
    measured: Estimate
    relative_error: float
    low: float
    high: float
    tolerance_ratio: float
    verdict: Agreement
    reason: str = ""

    @property
    def agrees(self) -> bool:
        """Whether the whole joint interval lies within the tolerance."""
        return self.verdict is Agreement.AGREES


@dataclass(frozen=True)
class Comparison(Shown):
    """The comparison of two runs: a row per statistic, and the quantiles of latency of both sides.

    Attributes
    ----------
    rows : tuple of ComparisonRow
    qq_ms : ndarray, shape (2, n)
        Latency in ms at :data:`QQ_PROBABILITIES`, as far as the smaller sample resolves them: simulated, measured.
    valid : bool
        False when the measurement's own load generator was late.
    """

    rows: tuple[ComparisonRow, ...]
    qq_ms: NDArray[np.float64]
    valid: bool = True

    def __repr__(self) -> str:
        found = [str(row.verdict) for row in self.rows]
        counts = ", ".join(f"{found.count(verdict)} {verdict}" for verdict in dict.fromkeys(found))
        return f"<Comparison of {len(found)} statistics: {counts}{'' if self.valid else '; INVALID'}>"

    @property
    def verdict(self) -> Agreement:
        """What P50 and P99 of latency over all routes say together: both agree, one differs, or it is not settled."""
        found = {row.verdict for row in self.judged}
        if not self.valid or not found:
            return Agreement.NO_DATA
        if Agreement.DIFFERS in found:
            return Agreement.DIFFERS
        return Agreement.AGREES if found == {Agreement.AGREES} else Agreement.NOT_SETTLED

    @property
    def agrees(self) -> bool:
        """Whether the measurement confirms the model."""
        return self.verdict is Agreement.AGREES

    @property
    def judged(self) -> list[ComparisonRow]:
        """List the rows that decide: P50 and P99 of latency over all routes."""
        rows = (row for row in self.rows if (row.route, row.metric) == (EVERY_ROUTE, LATENCY))
        return [row for row in rows if row.statistic in ("p50", "p99")]

    @property
    def frame(self) -> "pd.DataFrame":
        """Return the rows as a table."""
        import pandas as pd

        flat = [
            {**vars(row), "simulated": row.simulated.value, "measured": row.measured.value, "n": row.measured.n}
            for row in self.rows
        ]
        return pd.DataFrame(flat)


def compare(simulated: "Result | Sequence[Result]", measured: "Result") -> Comparison:
    """Compare a simulation, or independent replications of it, with a measurement of the same schedule.

    Parameters
    ----------
    simulated : Result or sequence of Result
        At least one.
    measured : Result
        A live, reference or recorded run.

    Returns
    -------
    Comparison

    Raises
    ------
    UsageError
        One side has no requests.
    """
    runs = list(simulated) if isinstance(simulated, Sequence) else [simulated]
    frames = [run.frame for run in runs]
    if not frames or min(len(frame) for frame in [*frames, measured.frame]) == 0:
        raise UsageError("nothing to compare: one side holds no request (run longer, or at a higher rate)")
    scenario = measured.scenario
    frames = [_matched(frame, measured) for frame in frames]
    rows = [
        _row(frames, measured.frame, metric, statistic=statistic, scenario=scenario)
        for metric, statistic in compared(scenario)
    ]
    for route in measured.frame["route"].cat.remove_unused_categories().cat.categories:
        ours = [frame[frame["route"] == route] for frame in frames]
        theirs = measured.frame[measured.frame["route"] == route]
        rows.append(_row(ours, theirs, LATENCY, statistic="p50", scenario=scenario, route=str(route)))
    return Comparison(tuple(rows), _qq_ms(frames, measured.frame), all(run.valid for run in [*runs, measured]))


def _matched(frame: "pd.DataFrame", measured: "Result") -> "pd.DataFrame":
    """Return the rows of *frame* that *measured* played too; refuse a run of other requests."""
    theirs = measured.frame
    common = frame[frame["request"].isin(theirs["request"])]
    aligned = theirs[theirs["request"].isin(common["request"])]
    way_out = (
        "play both with the same scenario, rate, seed and requests; a deployment plays only the live part, which is "
        "all of it with workload.warm_up_s=0 and workload.duration_s=workload.live_s"
    )
    if len(common) < min(len(frame), len(theirs)):
        raise UsageError(f"only {len(common):,} of {len(theirs):,} measured requests are in the other run; {way_out}")
    what = ["route", "key"] if measured.scenario.workload.arrivals.kind == "closed" else ["route", "key", "arrival_ms"]
    for column in what:
        ours, other = (
            side[column].astype("str" if column == "route" else float).to_numpy() for side in (common, aligned)
        )
        same = ours == other if column == "route" else np.isclose(ours, other, rtol=1e-6, atol=1.0)
        if not same.all():
            first = int(np.argmin(same))
            number = int(common["request"].iloc[first])
            said = f"request {number} has {column} {ours[first]} in one run, {other[first]} in the other"
            raise UsageError(f"{said}: these are different requests; {way_out}")
    return common


def compared(scenario: "Scenario") -> list[tuple[str, str]]:
    """List the metrics and statistics that are compared: percentiles of latency, then the components' metrics."""
    there = {instance.component.name for instance in scenario.system.instances.values()}
    lines = [(LATENCY, statistic) for statistic in TOLERANCE]
    for component, metric in metrics().values():
        if component.name in there and applies(metric.name, scenario):
            lines += [(metric.name, statistic) for statistic in metric.compared]
    return lines


def relative_error(simulated: Estimate, measured: Estimate) -> Estimate:
    """Compute simulated / measured - 1 with its joint interval; NaN where a logarithm does not exist."""
    n = min(simulated.n, measured.n)
    if not all(isfinite(side.value) and side.value > 0 for side in (simulated, measured)):
        return Estimate(nan, -inf, inf, n, "none")
    ours, theirs = (_logarithm(side) for side in (simulated, measured))
    gap = ours.value - theirs.value
    below = sqrt((ours.value - ours.low) ** 2 + (theirs.high - theirs.value) ** 2)
    above = sqrt((ours.high - ours.value) ** 2 + (theirs.value - theirs.low) ** 2)
    return Estimate(exp(gap) - 1, exp(gap - below) - 1, _exp(gap + above) - 1, n, "MOVER on logarithms")


def _logarithm(side: Estimate) -> Estimate:
    low = log(side.low) if side.low > 0 else -inf
    return Estimate(log(side.value), low, log(side.high), side.n, side.method)


def _exp(power: float) -> float:
    return inf if power == inf else exp(power)


def _row(
    ours: Sequence["pd.DataFrame"],
    theirs: "pd.DataFrame",
    metric: str,
    *,
    statistic: str,
    scenario: "Scenario",
    route: str = EVERY_ROUTE,
) -> ComparisonRow:
    nothing = Estimate(nan, -inf, inf, 0, "none")
    simulated = estimate(ours, metric, statistic=statistic, scenario=scenario) or nothing
    measured = estimate([theirs], metric, statistic=statistic, scenario=scenario) or nothing
    error, tolerance = relative_error(simulated, measured), TOLERANCE[statistic]
    if len(ours) == 1 and _same(ours[0], theirs, metric, scenario=scenario):
        error = Estimate(0.0, 0.0, 0.0, error.n, "the same in every request")
    verdict = equivalence(error, tolerance)
    return ComparisonRow(
        metric=metric,
        route=route,
        statistic=statistic,
        simulated=simulated,
        measured=measured,
        relative_error=error.value,
        low=error.low,
        high=error.high,
        tolerance_ratio=tolerance,
        verdict=verdict,
        reason=settled_by(error, tolerance) if verdict is Agreement.NOT_SETTLED else "",
    )


def _same(ours: "pd.DataFrame", theirs: "pd.DataFrame", metric: str, *, scenario: "Scenario") -> bool:
    """Whether every request has the same value on both sides: then there is no error to estimate."""
    values, others = (metric_values(side, metric, scenario=scenario) for side in (ours, theirs))
    return len(values) > 0 and np.array_equal(values, others)


def equivalence(error: Estimate, tolerance_ratio: float) -> Agreement:
    """Judge the joint interval of a relative error.

    >>> around = [(-0.05, 0.08), (0.12, 0.3), (-0.02, 0.15), (-1.0, 0.24)]
    >>> [str(equivalence(Estimate(0.0, low, high, 100, ""), 0.1)) for low, high in around]
    ['agrees', 'differs', 'not settled', 'not settled']
    """
    if not isfinite(error.value):
        return Agreement.NO_DATA
    if -tolerance_ratio <= error.low and error.high <= tolerance_ratio:
        return Agreement.AGREES
    if error.low > tolerance_ratio or error.high < -tolerance_ratio:
        return Agreement.DIFFERS
    return Agreement.NOT_SETTLED


def settled_by(error: Estimate, tolerance_ratio: float) -> str:
    """Return how many requests would move the interval inside the tolerance, or out of it, by the square-root law."""
    edges = [log(1 - tolerance_ratio), log(1 + tolerance_ratio)]
    logs = Estimate(log(1 + error.value), _log(1 + error.low), _log(1 + error.high), error.n, error.method)
    return would_settle(logs, edges)


def _log(ratio: float) -> float:
    if ratio <= 0:
        return -inf
    return inf if ratio == inf else log(ratio)


def _qq_ms(ours: Sequence["pd.DataFrame"], theirs: "pd.DataFrame") -> NDArray[np.float64]:
    """Return quantiles of answered requests of both sides, up to the last that ten of the smaller side exceed."""
    sides = [np.concatenate([_latency_ms(frame) for frame in ours]), _latency_ms(theirs)]
    fewest = min(len(side) for side in sides)
    resolved = [share for share in QQ_PROBABILITIES if (1 - share) * fewest >= 10]
    return np.array([quantiles(side, resolved) if resolved else np.empty(0) for side in sides])


def _latency_ms(frame: "pd.DataFrame") -> NDArray[np.float64]:
    return frame.loc[~frame["outcome"].isin(NOT_JUDGED), "latency_ms"].to_numpy()
