"""How busy the stations are: against load, and today."""

from typing import TYPE_CHECKING

import numpy as np

from sim.foundation.errors import UsageError
from sim.report.plots.load import capacity_of, rates_of
from sim.report.plots.style import ALERT, BEHIND, MEASURED, MUTED, TARGET, canvas, colour, finding, plain_log
from sim.report.sentences import load_per_s
from sim.report.wording import component_name, listed, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sim.experiments.capacity import Capacity
    from sim.experiments.plan import Plan
    from sim.results.result import Result

SAME_LOAD = 0.15
"""Loads that differ by less are called the same."""


def utilization_against_load(plan: "Plan", *, ax: "Axes | None" = None) -> "Axes":
    """How busy each station's busiest instance is against offered load; the first to reach 100 % bounds it.

    Raises
    ------
    UsageError
        The plan has no capacity.
    """
    found = capacity_of(plan)
    rate = rates_of(found.probes)
    order = sorted(found.probes[-1].utilization, key=lambda name: -found.probes[-1].utilization[name])
    with canvas(ax) as axes:
        axes.set_xscale("log")
        ends = []
        for name in order:
            share = np.array([probe.utilization[name] for probe in found.probes])
            axes.plot(rate, share, color=colour(name), marker="o", markersize=3)
            ends.append((float(share[-1]), name))
        top = max(1.08, 1.08 * ends[0][0])
        axes.set_ylim(0, top)
        axes.axhline(1.0, color=ALERT, linewidth=1.1, linestyle=(0, (5, 2)))
        axes.annotate("overload", (0.0, 1.0), xycoords=("axes fraction", "data"), xytext=(4, -9),
                      textcoords="offset points", color=ALERT, fontsize=8)  # fmt: skip
        _named_ends(axes, float(rate[-1]), ends, gap=0.055 * top)
        axes.axvline(found.estimate.value, color=TARGET, linewidth=1.2)
        axes.axvline(load_per_s(plan), color=MUTED, linewidth=1.2)
        for at, text, shade, up in (
            (found.estimate.value, "capacity", TARGET, 0.7),
            (load_per_s(plan), "today", MUTED, 0.6),
        ):
            axes.annotate(text, (at, up), xycoords=("data", "axes fraction"), xytext=(-4, 0), fontsize=8,
                          textcoords="offset points", ha="right", va="top", color=shade, bbox=BEHIND)  # fmt: skip
        plain_log(axes, "x")
        _percent_axis(axes, "y")
        axes.set_xlabel("offered load, requests/s")
        axes.set_ylabel("utilization of the busiest instance")
        finding(axes, _order_finding(found))
    return axes


def _order_finding(found: "Capacity") -> str:
    at = min(found.probes, key=lambda probe: abs(np.log(probe.rate_per_s / found.estimate.value)))
    order = sorted(at.utilization, key=lambda name: -at.utilization[name])
    first, *rest = (f"{component_name(name)} {percent(at.utilization[name])}" for name in order)
    busiest = f"The busiest station at the capacity is {first}"
    return f"{busiest}; then {listed(rest)}" if rest else busiest


def _named_ends(axes: "Axes", at: float, ends: list[tuple[float, str]], *, gap: float) -> None:
    """Names at the right end of lines, from the top down, never on top of each other."""
    previous = np.inf
    for value, name in ends:
        place = min(value, previous - gap)
        previous = place
        axes.annotate(
            component_name(name), (at, place), xytext=(7, 0), textcoords="offset points", va="center",
            color=colour(name), fontsize=9, fontweight="bold", annotation_clip=False, bbox=BEHIND,
        )  # fmt: skip


def _percent_axis(axes: "Axes", which: str) -> None:
    from matplotlib.ticker import PercentFormatter

    (axes.yaxis if which == "y" else axes.xaxis).set_major_formatter(PercentFormatter(1.0, symbol=" %"))


def _same_load(plan: "Plan", measured: "Result") -> bool:
    """Whether the measurement was sent at about the rate of the schedule, so that utilizations compare."""
    frame = measured.frame
    if frame.empty or measured.stations.empty:
        return False
    sent_per_s = len(frame) / max(float(frame["arrival_ms"].max()), 1.0) * 1000
    return abs(sent_per_s / load_per_s(plan) - 1) < SAME_LOAD


def stations(plan: "Plan", *, ax: "Axes | None" = None) -> "Axes":
    """How busy each station's busiest instance is at today's load: simulated as bars, measured as dots.

    Raises
    ------
    UsageError
        Nothing was simulated.
    """
    if not plan.simulated:
        raise UsageError("nothing was simulated")
    tables = [run.stations.set_index("station")["utilization_busiest"].astype(float) for run in plan.simulated]
    mean = sum(tables[1:], tables[0]) / len(tables)
    mean = mean.dropna().sort_values()  # A station that scales out has none.
    with canvas(ax, height_in=2.4) as axes:
        places, ends = np.arange(len(mean)), mean.to_numpy()
        axes.barh(places, mean.to_numpy(), color=[colour(str(name)) for name in mean.index], height=0.62)
        if plan.measured is not None and _same_load(plan, plan.measured):
            seen = plan.measured.stations.set_index("station")["utilization_busiest"].reindex(mean.index)
            axes.plot(seen.to_numpy(dtype=float), places, "o", color=MEASURED, markersize=5)
            ends = np.fmax(ends, seen.to_numpy(dtype=float))
        for place, end, share in zip(places, ends, mean, strict=True):
            axes.annotate(percent(share), (end, float(place)), xytext=(8, 0), textcoords="offset points", va="center")
        axes.set_yticks(places, [component_name(str(name)) for name in mean.index])
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.12)
        _percent_axis(axes, "x")
        axes.set_xlabel("utilization of the busiest instance")
        busiest = component_name(str(mean.index[-1]))
        finding(axes, f"At today's load the busiest station, {busiest}, is {percent(mean.iloc[-1])} busy")
    return axes
