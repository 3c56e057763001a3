"""Which low-confidence numbers the answer depends on: the tornado."""

from typing import TYPE_CHECKING

import numpy as np

from sim.experiments.sensitivity import FACTOR, Sensitivity
from sim.foundation.errors import UsageError
from sim.report.plots.style import INK, MUTED, canvas, colour, finding
from sim.report.wording import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sim.experiments.plan import Plan

ROWS_MAX = 10


def tornado(plan: "Plan", *, ax: "Axes | None" = None) -> "Axes":
    """The ten numbers that move the P99 most when a quarter is added or taken: P99 as bars, P50 as thin lines.

    Raises
    ------
    UsageError
        No low-confidence number was varied.
    """
    if not plan.sensitivity:
        raise UsageError("no low-confidence number was varied")
    rows = sorted(plan.sensitivity, key=lambda row: -row.swing_ratio)[:ROWS_MAX]
    with canvas(ax, height_in=1.0 + 0.3 * len(rows)) as axes:
        for place, row in enumerate(rows):
            _bar(axes, row, place)
        axes.axvline(0.0, color=INK, linewidth=0.9)
        axes.set_yticks(range(len(rows)), [f"{short(row)} [{row.source.confidence}]" for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.16)
        from matplotlib.ticker import FuncFormatter

        axes.xaxis.set_major_formatter(FuncFormatter(lambda change, _: f"{100 * change:+.3g} %" if change else "0 %"))
        axes.set_xlabel(f"change of P99 (bar) and P50 (line), number × or ÷ {FACTOR:g}")
        finding(axes, _finding(rows[0]))
    return axes


def short(row: Sensitivity) -> str:
    """A number's path, without the table that nearly all of them stand in."""
    return row.source.path.removeprefix("system.").removeprefix("workload.")


def _bar(axes: "Axes", row: Sensitivity, place: int) -> None:
    """One number: filled where more of it leads, open where less of it does."""
    parts = row.source.path.split(".")
    shade = colour(parts[1]) if parts[0] == "system" else MUTED
    for ratio, filled in ((row.p99_ratio_low, False), (row.p99_ratio_high, True)):
        if np.isfinite(ratio):
            axes.barh(
                place, ratio - 1, height=0.62, edgecolor=shade, linewidth=1.0,
                color=shade if filled else "none",
            )  # fmt: skip
            sign = 1 if ratio >= 1 else -1
            axes.annotate(
                "+" if filled else "−", (ratio - 1, place), xytext=(5 * sign, 0), textcoords="offset points",
                ha="center", va="center", color=MUTED, fontsize=8,
            )  # fmt: skip
    ends = [ratio - 1 for ratio in (row.p50_ratio_low, row.p50_ratio_high) if np.isfinite(ratio)]
    if ends:
        axes.plot([min(ends), max(ends)], [place, place], color=INK, linewidth=2.0, zorder=4)


def _finding(first: Sensitivity) -> str:
    if not first.swing_ratio:
        return "No low-confidence number moves the P99 when it is made a quarter larger or smaller"
    return (
        f"A quarter more or less of {short(first)} moves the P99 by {percent(first.swing_ratio)}, more than any other"
    )
