"""Choices of one design number, and how full every station is against Erlang C's limit."""

from typing import TYPE_CHECKING

import numpy as np

from sim.report.plots.style import ALERT, BEHIND, GREY, INK, MUTED, TARGET, canvas, colour, finding, plain_log
from sim.report.sizing_tables import ANSWER, AS_GOOD, mark
from sim.report.wording import component_name, listed, percent, significant, usd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sim.experiments.sizing.choices import Sizing
    from sim.experiments.sizing.servers import Servers

SHADES = {ANSWER: TARGET, AS_GOOD: INK}
MANY = 9
"""From this number of choices on, their names are set on a slant."""

WIDE_RATIO = 8.0
"""Objectives that differ by more are drawn on a logarithmic axis."""


def sizing(found: "Sizing", *, ax: "Axes | None" = None) -> "Axes":
    """The objective of every choice with its 95 % interval; the answer green, what is as good dark, the rest grey."""
    with canvas(ax) as axes:
        shown = [(place, one) for place, one in enumerate(found.choices) if np.isfinite(one.objective.value)]
        axes.plot([place for place, _ in shown], [one.objective.value for _, one in shown], color=GREY, linewidth=1.0)
        for place, one in shown:
            said = mark(found, one)
            low, high = one.objective.value - one.objective.low, one.objective.high - one.objective.value
            axes.errorbar(
                place, one.objective.value, yerr=[[max(low, 0.0)], [max(high, 0.0)]], fmt="o", capsize=3,
                color=SHADES.get(said, MUTED), markersize=8 if said == ANSWER else 5,
                markerfacecolor=None if said in SHADES else "none",
            )  # fmt: skip
        values = [one.objective.value for _, one in shown]
        if min(values) > 0 and max(values) / min(values) > WIDE_RATIO:
            plain_log(axes, "y")
        chosen = found.answer
        axes.annotate(
            f"{chosen.name}\n{usd(chosen.month_usd)} a month" if chosen.month_usd else chosen.name,
            (found.answer_index, chosen.objective.value), xytext=(0, 12), textcoords="offset points", ha="center",
            va="bottom", color=TARGET, fontsize=8.5, fontweight="bold", bbox=BEHIND,
        )  # fmt: skip
        slant = len(found.choices) >= MANY
        axes.set_xticks(
            range(len(found.choices)), [one.name for one in found.choices],
            rotation=35 if slant else 0, ha="right" if slant else "center",
        )  # fmt: skip
        axes.margins(x=0.06, y=0.22)
        axes.grid(visible=False, axis="x")
        axes.set_ylabel(found.objective)
        finding(axes, _finding(found))
    return axes


def _finding(found: "Sizing") -> str:
    others = [one.name for one in found.as_good if one is not found.answer]
    value = significant(found.answer.objective.value)
    first = f"{found.answer.name}: {value} {found.answer.unit}"
    if not others:
        return f"{first}; no other choice is as good"
    named = listed(others) if len(others) <= 3 else f"{len(others)} of {len(found.choices) - 1} others"
    return f"{first}; as good within the interval: {named}"


def servers(found: "Servers", *, ax: "Axes | None" = None) -> "Axes":
    """The share of requests that wait at each station: by Erlang C as bars, simulated as dots with intervals."""
    with canvas(ax, height_in=1.2 + 0.4 * max(len(found.rows), 1)) as axes:
        for place, row in enumerate(found.rows):
            axes.barh(place, 100 * row.waiting_share, height=0.55, color=colour(row.station), alpha=0.35)
            seen = row.simulated_share
            axes.plot([100 * seen.low, 100 * seen.high], [place, place], color=INK, linewidth=1.4)
            axes.plot(100 * seen.value, place, "o", color=INK, markersize=5)
        axes.axvline(100 * found.limit_share, color=ALERT, linewidth=1.1, linestyle=(0, (5, 2)))
        axes.set_yticks(range(len(found.rows)), [component_name(row.station) for row in found.rows])
        axes.set_ylim(len(found.rows) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("requests that wait, %: Erlang C (bar), simulated (dot); dashed: the limit")
        over = [component_name(row.station) for row in found.rows if row.waiting_share > found.limit_share]
        most = percent(found.limit_share)
        said = f"More than {most} of the requests wait at {listed(over)}" if over else f"No station makes {most} wait"
        finding(axes, said)
    return axes
