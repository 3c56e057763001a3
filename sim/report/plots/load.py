"""What more load does to latency."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.foundation.errors import UsageError
from sim.report.lower_loads import missed_below
from sim.report.plots.sides import latency_targets
from sim.report.plots.style import BEHIND, INK, MUTED, TARGET, canvas, finding, plain_log, reference_line
from sim.report.sentences import load_per_s
from sim.report.wording import component_name, listed, significant, target_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sim.experiments.capacity import Capacity
    from sim.experiments.plan import Plan
    from sim.experiments.probe import Probe

Array = NDArray[np.float64]

NO_CAPACITY = "no capacity was searched"

LATENCY_HIGH = 8.0
"""Latency is drawn up to this multiple of its highest alert line: an overloaded queue has no top."""


def latency_against_load(plan: "Plan", *, ax: "Axes | None" = None) -> "Axes":
    """P50 and P99 of latency against offered load, with 95 % intervals, the lines, the capacity and the knee.

    Raises
    ------
    UsageError
        The plan has no capacity.
    """
    found = capacity_of(plan)
    probes = found.probes
    rate = rates_of(probes)
    targets = latency_targets(plan.scenario)
    with canvas(ax) as axes:
        axes.set_xscale("log")
        axes.set_yscale("log")
        top = LATENCY_HIGH * max([line.alert for line in targets], default=float(probes[-1].p99.value))
        for name in ("p50", "p99"):
            _band(axes, rate, [getattr(probe, name) for probe in probes], name=name.upper(), top=top)
        for line in targets:
            reference_line(axes, line.target, text=f"{line.statistic.upper()} target {line.target:g} ms", kind="target")
            reference_line(axes, line.alert, text=f"{line.statistic.upper()} alert {line.alert:g} ms", kind="alert")
        axes.set_ylim(bottom=0.45 * min(probe.p50.value for probe in probes), top=top)
        _loads(axes, plan, found)
        plain_log(axes, "x")
        plain_log(axes, "y")
        axes.set_xlabel("offered load, requests/s")
        axes.set_ylabel("latency, ms")
        finding(axes, _load_finding(plan, found))
    return axes


def capacity_of(plan: "Plan") -> "Capacity":
    """The capacity of *plan*; UsageError, with the plan's own reason, when there is none."""
    if plan.capacity is None:
        raise UsageError(next((note for note in plan.notes if note.startswith("no capacity")), NO_CAPACITY))
    return plan.capacity


def rates_of(probes: "Sequence[Probe]") -> Array:
    """Offered load of each probe in requests/s, shape (n_probes,)."""
    return np.array([probe.rate_per_s for probe in probes])


def _band(axes: "Axes", rate: Array, found: Sequence[object], *, name: str, top: float) -> None:
    value, low, high = (np.array([getattr(one, part) for one in found]) for part in ("value", "low", "high"))
    value, high = np.minimum(value, 2 * top), np.minimum(high, 2 * top)
    low = np.where(np.isfinite(low), low, value)
    axes.fill_between(rate, low, high, color=INK, alpha=0.14, linewidth=0)
    axes.plot(rate, value, color=INK, marker="o", markersize=3)
    axes.annotate(
        name, (rate[-1], min(value[-1], 0.85 * top)), xytext=(6, 0), textcoords="offset points", va="center",
        fontsize=9, fontweight="bold", annotation_clip=False, bbox=BEHIND,
    )  # fmt: skip


def _loads(axes: "Axes", plan: "Plan", found: "Capacity") -> None:
    """Today's load, the knee, and the capacity with its interval."""
    today_per_s, rate = load_per_s(plan), found.estimate
    above = ("data", "axes fraction")
    axes.axvline(today_per_s, color=MUTED, linewidth=1.2)
    axes.annotate(
        f"today\n{significant(today_per_s)}/s", (today_per_s, 0.85), xycoords=above, xytext=(4, 0),
        textcoords="offset points", va="top", color=MUTED, fontsize=8, bbox=BEHIND,
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
        textcoords="offset points", ha="right", va="bottom", color=MUTED, fontsize=8, bbox=BEHIND,
    )  # fmt: skip


def _load_finding(plan: "Plan", found: "Capacity") -> str:
    """What breaks first, at which rate, and how far that is from today's load."""
    rate, today_per_s = found.estimate.value, load_per_s(plan)
    times = f"{significant(rate / today_per_s)} times today's load" if today_per_s else "today's load is unknown"
    times += missed_below(found)
    if found.ends_in_overload:
        return f"{component_name(found.bottleneck)} is overloaded beyond {significant(rate)} requests/s, {times}"
    lines = {line.name: line for line in latency_targets(plan.scenario)}
    crossed = [
        f"{lines[name].statistic.upper()} crosses {lines[name].target:g} ms"
        if name in lines
        else f"{target_name(name)} misses its target"
        for name in found.limited_by
    ]
    return f"{listed(crossed)} at {significant(rate)} requests/s, {times}"
