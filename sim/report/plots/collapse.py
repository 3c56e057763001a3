"""The load at which a system collapses, and the lower one at which it recovers."""

from typing import TYPE_CHECKING

from sim.experiments.hysteresis import curve
from sim.report.plots.style import ALERT, BEHIND, INK, canvas, finding, plain_log
from sim.report.wording import significant

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sim.experiments.hysteresis import Hysteresis


def hysteresis(found: "Hysteresis", *, ax: "Axes | None" = None) -> "Axes":
    """The share of requests that fail at the end of a run against the load: without a fault, and long after it.

    Bands are 95 % intervals of the two thresholds over seeds.
    """
    sides = (
        (True, ALERT, "after the fault", found.recovery_per_s, 0.72, "left"),
        (False, INK, "without a fault", found.collapse_per_s, 0.28, "right"),
    )
    with canvas(ax) as axes:
        axes.set_xscale("log")
        for faults, shade, name, threshold, height, side in sides:
            rates, shares = curve(found.trials, faults=faults)
            axes.plot(rates, [100 * share for share in shares], color=shade, marker="o", markersize=3)
            axes.axvspan(threshold.low, threshold.high, color=shade, alpha=0.14, linewidth=0)
            axes.axvline(threshold.value, color=shade, linewidth=1.0, linestyle=(0, (4, 2)))
            axes.annotate(
                f"{name}\n{significant(threshold.value)}/s", (threshold.value, 100 * height),
                xytext=(6 if side == "left" else -6, 0), textcoords="offset points", ha=side, va="center",
                color=shade, fontsize=9, fontweight="bold", bbox=BEHIND,
            )  # fmt: skip
        plain_log(axes, "x")
        axes.set_ylim(-4, 104)
        axes.set_xlabel("offered load, requests/s")
        axes.set_ylabel("requests that fail at the end of the run, %")
        up, down = significant(found.collapse_per_s.value), significant(found.recovery_per_s.value)
        if found.metastable:
            finding(axes, f"It bears {up}/s, but recovers from a fault only below {down}/s")
        else:
            finding(axes, f"It recovers from a fault at every load that it bears, up to {up}/s")
    return axes
