"""What more load does: to latency, and to the stations."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.errors import UsageError
from sim.plots.sides import latency_targets
from sim.plots.style import (
    ALERT,
    BEHIND,
    INK,
    MEASURED,
    MUTED,
    TARGET,
    canvas,
    colour,
    finding,
    plain_log,
    reference_line,
)
from sim.words import component_name, listed, load_per_s, percent, significant, target_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sim.capacity import Capacity, Probe
    from sim.plan import Plan

Array = NDArray[np.float64]

NO_CAPACITY = "no capacity was searched (a closed loop sets its own rate; an interrupted plan did not get so far)"

LATENCY_HIGH = 8.0
"""Latency is drawn up to so many times its highest alert line: an overloaded queue has no top."""


def latency_against_load(plan: "Plan", *, ax: "Axes | None" = None) -> "Axes":
    """P50 and P99 of latency against offered load, with 95 % intervals, the lines, the capacity and the knee.

    Raises
    ------
    UsageError
        The plan has no capacity.
    """
    found = _capacity(plan)
    probes = found.probes
    rate = _rates(probes)
    targets = latency_targets(plan.simulated[0])
    with canvas(ax) as axes:
        axes.set_xscale("log")
        axes.set_yscale("log")
        top = LATENCY_HIGH * max([line.alert for line in targets], default=float(probes[-1].p99.value))
        for name in ("p50", "p99"):
            _band(axes, rate, [getattr(probe, name) for probe in probes], name=name.upper(), top=top)
        for line in targets:
            reference_line(axes, line.target, f"{line.statistic.upper()} target {line.target:g} ms", kind="target")
            reference_line(axes, line.alert, f"{line.statistic.upper()} alert {line.alert:g} ms", kind="alert")
        axes.set_ylim(bottom=0.45 * min(probe.p50.value for probe in probes), top=top)
        _loads(axes, plan, found)
        plain_log(axes, "x")
        plain_log(axes, "y")
        axes.set_xlabel("offered load, requests/s")
        axes.set_ylabel("latency, ms")
        finding(axes, _load_finding(plan, found))
    return axes


def _capacity(plan: "Plan") -> "Capacity":
    if plan.capacity is None:
        raise UsageError(NO_CAPACITY)
    return plan.capacity


def _rates(probes: "Sequence[Probe]") -> Array:
    return np.array([probe.rate_per_s for probe in probes])


def _band(axes: "Axes", rate: Array, found: Sequence[object], *, name: str, top: float) -> None:
    value, low, high = (np.array([getattr(one, part) for one in found]) for part in ("value", "low", "high"))
    value, high = np.minimum(value, 2 * top), np.minimum(high, 2 * top)
    low = np.where(np.isfinite(low), low, value)
    axes.fill_between(rate, low, high, color=INK, alpha=0.14, linewidth=0)
    axes.plot(rate, value, color=INK, marker="o", markersize=3)
    axes.annotate(
        name, (rate[0], value[0]), xytext=(0, -5), textcoords="offset points", va="top",
        fontsize=9, fontweight="bold",
    )  # fmt: skip


def _loads(axes: "Axes", plan: "Plan", found: "Capacity") -> None:
    """Today's load, the knee, and the capacity with its interval."""
    today_per_s, rate = load_per_s(plan), found.estimate
    above = ("data", "axes fraction")
    axes.axvline(today_per_s, color=MUTED, linewidth=1.2)
    axes.annotate(
        f"today\n{significant(today_per_s)}/s", (today_per_s, 0.99), xycoords=above, xytext=(4, 0),
        textcoords="offset points", va="top", color=MUTED, fontsize=8,
    )  # fmt: skip
    axes.axvspan(rate.low, rate.high, color=TARGET, alpha=0.18, linewidth=0)
    axes.axvline(rate.value, color=TARGET, linewidth=1.2)
    axes.annotate(
        f"capacity {significant(rate.value)}/s\n[{significant(rate.low)}, {significant(rate.high)}]",
        (rate.low, 0.99), xycoords=above, xytext=(-4, 0), textcoords="offset points", ha="right", va="top",
        color=TARGET, fontsize=8, bbox=BEHIND,
    )  # fmt: skip
    axes.axvline(found.knee_per_s, color=MUTED, linewidth=1.0, linestyle=":")
    axes.annotate(
        f"knee {significant(found.knee_per_s)}/s", (found.knee_per_s, 0.02), xycoords=above, xytext=(-4, 0),
        textcoords="offset points", ha="right", va="bottom", color=MUTED, fontsize=8,
    )  # fmt: skip


def _load_finding(plan: "Plan", found: "Capacity") -> str:
    """What gives way, at which rate, and how far that is from today's load."""
    rate, today_per_s = found.estimate.value, load_per_s(plan)
    times = f"{significant(rate / today_per_s)} times today's load" if today_per_s else "today's load is unknown"
    if found.limited_by == ("overload",):
        return f"{component_name(found.bottleneck)} is overloaded beyond {significant(rate)} requests/s, {times}"
    lines = {f"{line.metric} {line.statistic}": line for line in latency_targets(plan.simulated[0])}
    crossed = [
        f"{lines[name].statistic.upper()} crosses {lines[name].target:g} ms" if name in lines else f"{target_name(name)} gives way"
        for name in found.limited_by
    ]  # fmt: skip
    return f"{listed(crossed)} at {significant(rate)} requests/s, {times}"


def utilization_against_load(plan: "Plan", *, ax: "Axes | None" = None) -> "Axes":
    """How busy each station's busiest instance is against offered load; the first to reach 100 % is the bottleneck.

    Raises
    ------
    UsageError
        The plan has no capacity.
    """
    found = _capacity(plan)
    rate = _rates(found.probes)
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
        for at, text, shade in ((found.estimate.value, "capacity", TARGET), (load_per_s(plan), "today", MUTED)):
            axes.annotate(text, (at, 0.9), xycoords=("data", "axes fraction"), xytext=(-4, 0), fontsize=8,
                          textcoords="offset points", ha="right", va="top", color=shade)  # fmt: skip
        plain_log(axes, "x")
        _percent_axis(axes, "y")
        axes.set_xlabel("offered load, requests/s")
        axes.set_ylabel("utilization of the busiest instance")
        finding(axes, _order_finding(found))
    return axes


def _order_finding(found: "Capacity") -> str:
    at = min(found.probes, key=lambda probe: abs(np.log(probe.rate_per_s / found.estimate.value)))
    order = sorted(at.utilization, key=lambda name: -at.utilization[name])
    busiest = f"{component_name(order[0])} is the busiest station at the capacity, {percent(at.utilization[order[0]])} busy"
    rest = [f"{component_name(name)} {percent(at.utilization[name])}" for name in order[1:]]
    return f"{busiest}; then {listed(rest)}" if rest else busiest


def _named_ends(axes: "Axes", at: float, ends: list[tuple[float, str]], *, gap: float) -> None:
    """Names at the right end of lines, from the top down, never on top of each other."""
    previous = np.inf
    for value, name in ends:
        place = min(value, previous - gap)
        previous = place
        axes.annotate(
            component_name(name), (at, place), xytext=(7, 0), textcoords="offset points", va="center",
            color=colour(name), fontsize=9, fontweight="bold", annotation_clip=False,
        )  # fmt: skip


def _percent_axis(axes: "Axes", which: str) -> None:
    from matplotlib.ticker import PercentFormatter

    (axes.yaxis if which == "y" else axes.xaxis).set_major_formatter(PercentFormatter(1.0, symbol=" %"))


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
    mean = mean.sort_values()
    with canvas(ax, height_in=2.4) as axes:
        places, ends = np.arange(len(mean)), mean.to_numpy()
        axes.barh(places, mean.to_numpy(), color=[colour(str(name)) for name in mean.index], height=0.62)
        if plan.measured is not None and len(plan.measured.stations):
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
        finding(
            axes, f"At today's load the busiest station, {component_name(str(mean.index[-1]))}, is {percent(mean.iloc[-1])} busy"
        )
    return axes
