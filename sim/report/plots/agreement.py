"""The model against the measurement: quantile by quantile, and statistic by statistic with its interval."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.foundation.errors import UsageError
from sim.judgement.comparison import QQ_PROBABILITIES, Agreement, Comparison
from sim.report.plots.style import ALERT, INK, MEASURED, MUTED, TARGET, canvas, finding, plain_log
from sim.report.wording import listed, percent, target_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sim.experiments.plan import Plan
    from sim.judgement.comparison import ComparisonRow

NO_COMPARISON = "nothing was measured, so there is nothing to compare"

NAMED = (0.25, 0.75, 0.95, 0.99, 0.999)
"""Quantiles that are named in the Q-Q plot."""

REACH_MIN, REACH_MAX = 0.25, 1.0
"""Errors are drawn at least and at most so far each way; an interval that goes on ends in an arrow."""

NAMED_MAX = 2
"""At most this many statistics that differ are named."""

SHADE = {"agrees": TARGET, "differs": ALERT, "not settled": MUTED, "no data": MUTED}


def qq(plan: "Plan | Comparison", *, ax: "Axes | None" = None) -> "Axes":
    """Quantiles of the simulated latency against the measured ones; on the diagonal they are the same.

    Raises
    ------
    UsageError
        Nothing was compared, or too little for a quantile.
    """
    found = _comparison(plan)
    simulated, measured = found.qq_ms
    shown = np.isfinite(simulated) & np.isfinite(measured)
    if not shown.any():
        raise UsageError("too few requests were measured for a comparison of quantiles")
    share = np.array(QQ_PROBABILITIES[: len(simulated)])[shown]
    simulated, measured = simulated[shown], measured[shown]
    ends = np.array([min(simulated.min(), measured.min()) / 1.15, max(simulated.max(), measured.max()) * 1.15])
    with canvas(ax) as axes:
        axes.fill_between(ends, ends / 1.2, ends * 1.2, color=INK, alpha=0.08, linewidth=0)
        axes.plot(ends, ends, color=MUTED, linewidth=0.9)
        axes.plot(measured, simulated, "o", color=MEASURED, markersize=4)
        for at in np.flatnonzero(np.isin(share, NAMED)):
            axes.annotate(
                f"P{100 * share[at]:.3g}", (measured[at], simulated[at]), xytext=(7, -9), textcoords="offset points",
                fontweight="bold",
            )  # fmt: skip
        axes.annotate("±20 %", (ends[1] / 1.25, ends[1]), xytext=(-4, -10), textcoords="offset points",
                      ha="right", color=MUTED, fontsize=8)  # fmt: skip
        axes.set_xlim(*ends)
        axes.set_ylim(*ends)
        plain_log(axes, "x")
        plain_log(axes, "y")
        axes.set_xlabel("measured latency, ms")
        axes.set_ylabel("simulated latency, ms")
        finding(axes, _qq_finding(simulated, measured, share))
    return axes


def _comparison(plan: "Plan | Comparison") -> "Comparison":
    if isinstance(plan, Comparison):
        return plan
    if plan.comparison is None:
        raise UsageError(NO_COMPARISON)
    return plan.comparison


def _qq_finding(simulated: NDArray[np.float64], measured: NDArray[np.float64], share: NDArray[np.float64]) -> str:
    error = simulated / measured - 1
    worst = int(np.abs(error).argmax())
    return (
        f"Up to P{100 * share[-1]:.3g}, simulated and measured quantiles are at most "
        f"{percent(abs(float(error[worst])))} apart (at P{100 * share[worst]:.3g})"
    )


def errors(plan: "Plan | Comparison", *, ax: "Axes | None" = None) -> "Axes":
    """The model's relative error in each statistic, with its joint 95 % interval and the tolerance.

    Raises
    ------
    UsageError
        Nothing was compared.
    """
    rows = [row for row in _comparison(plan).rows if np.isfinite(row.relative_error)]
    if not rows:
        raise UsageError("no statistic has data on both sides, so there is no error to draw")
    with canvas(ax, height_in=1.0 + 0.26 * len(rows)) as axes:
        reach = _reach(rows)
        for place, row in enumerate(rows):
            _error(axes, row, place=place, reach=reach)
        axes.axvline(0.0, color=INK, linewidth=0.9)
        axes.set_yticks(range(len(rows)), [_row_name(row) for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(-1.05 * reach, 1.05 * reach)
        axes.grid(visible=False, axis="y")
        from matplotlib.ticker import FuncFormatter

        axes.xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{100 * ratio:+.0f} %" if ratio else "0 %"))
        axes.set_xlabel("error of the model: simulated / measured - 1")
        finding(axes, _error_finding(rows))
    return axes


def _reach(rows: "Sequence[ComparisonRow]") -> float:
    """How far the axis goes each way: to the end of every interval that has two."""
    bounded = [abs(end) for row in rows if row.low > -1 and np.isfinite(row.high) for end in (row.low, row.high)]
    return float(np.clip(max(bounded, default=0.0), REACH_MIN, REACH_MAX))


def _error(axes: "Axes", row: "ComparisonRow", *, place: int, reach: float) -> None:
    """One row: the tolerance as a light bar, the interval as a line, the error as a dot."""
    shade = SHADE[row.verdict]
    axes.barh(place, 2 * row.tolerance_ratio, left=-row.tolerance_ratio, height=0.7, color=INK, alpha=0.08)
    low, high = max(row.low, -reach), min(row.high, reach)
    axes.plot([low, high], [place, place], color=shade, linewidth=1.6)
    for cut, at, marker in ((row.high > reach, reach, ">"), (row.low < -reach, -reach, "<")):
        if cut:
            axes.plot(at, place, marker=marker, color=shade, markersize=5)
    axes.plot(np.clip(row.relative_error, -reach, reach), place, "o", color=shade, markersize=5)


def _row_name(row: "ComparisonRow") -> str:
    if row.route == "all":
        return target_name(row.metric, row.statistic)
    return f"{row.route} {row.statistic.upper()}"


def _error_finding(rows: "list[ComparisonRow]") -> str:
    count = {verdict: sum(row.verdict == verdict for row in rows) for verdict in Agreement}
    parts = [
        f"{count[Agreement.AGREES]} agree",
        f"{count[Agreement.NOT_SETTLED]} are not settled by this run",
        f"{count[Agreement.DIFFERS]} disagree",
    ]
    said = ", ".join(parts)
    differ = [row for row in rows if row.verdict == Agreement.DIFFERS]
    if not differ:
        return said
    if len(differ) <= NAMED_MAX:
        return f"{said}: {listed([_row_name(row) for row in differ])}"
    worst = max(differ, key=lambda row: abs(row.relative_error))
    return f"{said}, {_row_name(worst)} most: {percent(worst.relative_error, signed=True)}"
