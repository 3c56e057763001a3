"""Alerts: one incident over time, who detects which incidents, and detection beside repair."""

from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from sim.experiments.alerting.backtest import COSTS, detection
from sim.experiments.alerting.probe import PROBES
from sim.judgement.alerts.rules import duration
from sim.report.alert_tables import cost_class
from sim.report.plots.style import ALERT, BEHIND, FAINT, GREY, INK, MEASURED, MUTED, canvas, finding, plain_log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from sim.experiments.alerting.alerts import Alerts
    from sim.experiments.alerting.detection_costs import DetectionCost
    from sim.experiments.alerting.timeline import Timeline

LADDER_SHADES = (ALERT, "#d55e00", "#0072b2", "#6a51a3")
"""One colour a pair of windows, the fastest first."""

BURN_MIN = 0.05
"""Lower end of the axis of burn rates."""

MEANS_SHADES = (INK, GREY, MEASURED)


def alert_timeline(found: "Timeline", *, ax: "Axes | None" = None) -> "Axes":
    """The burn rate in the long window of each alert over one incident, its line, and when the alert fired."""
    length = found.trial.incident.minutes
    shown = (found.minutes > -0.15 * length - 5) & (found.minutes < 1.35 * length + 15)
    minutes = found.minutes[shown]
    fired: dict[str, list[float]] = {}
    with canvas(ax) as axes:
        axes.axvspan(0, length, color=FAINT, alpha=0.7, linewidth=0)
        for alert, shade in zip(found.alerts, LADDER_SHADES, strict=False):
            windows = alert.windows
            burn = np.maximum(np.nan_to_num(found.burns[windows.long_minutes][shown]), BURN_MIN)
            axes.plot(minutes, burn, color=shade, label=f"{duration(windows.long_minutes)}, {windows.severity}")
            axes.axhline(float(windows.factor), color=shade, linewidth=0.9, linestyle=(0, (4, 2)))
            first = found.trial.fired_minutes[alert.name]
            if np.isfinite(first):
                fired.setdefault(windows.severity, []).append(first)
                axes.plot(first, float(windows.factor), marker="o", color=shade, markersize=7, markeredgecolor="white")
        plain_log(axes, "y")
        axes.set_ylim(BURN_MIN, None)
        axes.annotate(
            "incident", (0, 1), xycoords=("data", "axes fraction"), xytext=(4, -4), textcoords="offset points",
            va="top", color=MUTED, fontsize=8, bbox=BEHIND,
        )  # fmt: skip
        axes.legend(frameon=False, fontsize=8, loc="lower right", title="window", title_fontsize=8)
        axes.set_xlabel("minutes from the start of the incident (dashed: the line of each alert; dot: it fires)")
        axes.set_ylabel("burn rate, times the budget")
        said = ", ".join(f"{severity} after {min(minutes):.0f}" for severity, minutes in fired.items())
        hit = f"{100 * found.trial.incident.hit_share:.2g} % of requests {_ends(found)} for {length:,.0f} min"
        finding(axes, f"{hit}: {said or 'no alert fires'}")
    return axes


def _ends(found: "Timeline") -> str:
    return "are slow" if found.trial.incident.slow else "fail"


def detections(found: "Alerts", *, ax: "Axes | None" = None) -> "Axes":
    """The share of incidents that pages and each probe detect, by what an incident spends; bars are 95 % intervals."""
    pages = tuple(alert for alert in found.rules.alerts if alert.severity == "page")
    trials = found.backtest.trials
    with canvas(ax) as axes:
        for place, (name, shade) in enumerate(zip(("pages", *(one.name for one in PROBES)), MEANS_SHADES, strict=True)):
            for group, (low, high) in enumerate(COSTS):
                own = [trial for trial in trials if low <= trial.budget_share < high]
                first = [one.first_minutes(pages) if name == "pages" else one.probed_minutes[name] for one in own]
                share = detection(first).found
                if share is None:
                    continue
                ends = [[100 * (share.value - share.low)], [100 * (share.high - share.value)]]
                axes.bar(
                    group + 0.27 * (place - 1), 100 * share.value, width=0.25, color=shade, yerr=ends, capsize=2,
                    error_kw={"linewidth": 0.9, "ecolor": MUTED}, label=name if group == 0 else None,
                )  # fmt: skip
        counts = [sum(low <= trial.budget_share < high for trial in trials) for low, high in COSTS]
        axes.set_xticks(
            range(len(COSTS)),
            [f"{cost_class(low, high)}\nn = {count}" for (low, high), count in zip(COSTS, counts, strict=True)],
        )
        axes.grid(visible=False, axis="x")
        axes.set_ylim(0, 104)
        axes.set_xlabel("what the incident spends of a month's error budget")
        axes.set_ylabel("incidents detected, %")
        axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.2)
        worst = [trial for trial in trials if trial.budget_share >= 1]
        paged = detection([trial.first_minutes(pages) for trial in worst]).found
        said = f"{100 * paged.value:.0f} %" if paged else "none"
        finding(axes, f"Pages detect {said} of what spends a month's budget at once", pad=26)
    return axes


def detection_repair(costs: "Sequence[DetectionCost]", *, ax: "Axes | None" = None) -> "Axes":
    """Mean time to detect and mean time from there to the end, by means of detection."""
    with canvas(ax, height_in=0.5 * len(costs) + 1.2) as axes:
        places = range(len(costs))
        detect = [one.mttd_s / 60 for one in costs]
        repair = [one.mttr_s / 60 for one in costs]
        axes.barh(places, detect, color=ALERT, height=0.6, label="until detected (MTTD)")
        axes.barh(places, repair, left=detect, color=GREY, height=0.6, label="from then to the end (MTTR)")
        for place, one in zip(places, costs, strict=True):
            axes.annotate(
                f"{one.detections} of {one.incidents}", ((one.mttd_s + one.mttr_s) / 60, place), xytext=(5, 0),
                textcoords="offset points", va="center", color=INK, fontsize=8.5,
            )  # fmt: skip
        axes.set_yticks(list(places), [fill(one.means, 24) for one in costs])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.16)
        axes.set_xlabel("mean minutes of an incident (right: how many were detected)")
        axes.legend(frameon=False, fontsize=8, ncols=2, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.2)
        whole = (costs[0].mttd_s + costs[0].mttr_s) / 60
        finding(axes, f"Detection takes {min(detect):.0f} to {max(detect):.0f} of {whole:.0f} minutes", pad=26)
    return axes
