"""What is asked of the deployment, second by second."""

from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from sim.foundation.errors import UsageError
from sim.report.plots.sides import live_part
from sim.report.plots.style import INK, MEASURED, canvas, finding
from sim.report.wording import significant

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from sim.experiments.plan import Plan

BINS_MAX = 600


def arrivals(plan: "Plan", *, ax: "Axes | None" = None) -> "Axes":
    """Requests a second over the time of the schedule, with the part that was played in real time.

    Raises
    ------
    UsageError
        Nothing was simulated.
    """
    if not plan.simulated or plan.simulated[0].frame.empty:
        raise UsageError("nothing was simulated")
    frame, warm_up_s = plan.simulated[0].frame, plan.simulated[0].warm_up_ms / 1000
    arrival_s = frame["arrival_ms"].to_numpy() / 1000
    span_s = max(float(arrival_s.max()), 1e-3)
    bin_s = float(ceil(span_s / BINS_MAX))
    edges = np.arange(0.0, span_s + bin_s, bin_s)
    rate = np.histogram(arrival_s, edges)[0] / bin_s
    with canvas(ax, height_in=2.9) as axes:
        axes.stairs(rate, edges, color=INK, linewidth=0.8, fill=True, alpha=0.35)
        axes.stairs(rate, edges, color=INK, linewidth=0.8)
        axes.set_ylim(0, 1.3 * float(rate.max()))
        axes.set_xlim(0, edges[-1])
        if warm_up_s:
            axes.axvspan(0, warm_up_s, color=INK, alpha=0.06, linewidth=0)
            axes.annotate("warm-up", (0, 0.97), xycoords=("data", "axes fraction"), xytext=(4, 0),
                          textcoords="offset points", va="top", fontsize=8)  # fmt: skip
        part = live_part(plan)
        if part is not None:
            _mark_live(axes, part, plan)
        axes.set_xlabel("time, s")
        axes.set_ylabel("arrivals per second")
        mean = len(frame) / span_s
        window = "second" if bin_s == 1 else f"{bin_s:g} s"
        finding(
            axes,
            f"{len(frame):,} requests come at {significant(mean)}/s on average, "
            f"{significant(float(rate.max()))}/s in the busiest {window}",
        )
    return axes


def _mark_live(axes: "Axes", part: "pd.DataFrame", plan: "Plan") -> None:
    """The live part: where it lies, and how it was played."""
    start_s, end_s = part["arrival_ms"].min() / 1000, part["arrival_ms"].max() / 1000
    assert plan.measured is not None
    played_s = float(plan.measured.frame["arrival_ms"].max()) / 1000
    pace = (end_s - start_s) / played_s if played_s > 0 else 1.0
    how = (
        "at its own pace"
        if abs(pace - 1) < 0.05
        else f"{significant(pace)} times as fast"
        if pace > 1
        else f"{significant(1 / pace)} times as slow"
    )
    axes.axvspan(start_s, end_s, color=MEASURED, alpha=0.16, linewidth=0)
    middle = (start_s + end_s) / 2
    left = middle > 0.6 * axes.get_xlim()[1]
    axes.annotate(
        f"measured: {len(plan.measured.frame):,} requests,\nplayed {how}", (start_s if left else end_s, 0.97),
        xycoords=("data", "axes fraction"), xytext=(-5 if left else 5, 0), textcoords="offset points",
        va="top", ha="right" if left else "left", color=MEASURED, fontsize=8,
    )  # fmt: skip
