"""What low-confidence numbers leave open: each target over all of them."""

from typing import TYPE_CHECKING

from sim.foundation.errors import UsageError
from sim.report.plots.style import ALERT, BEHIND, INK, MUTED, TARGET, canvas, finding, plain_log
from sim.report.uncertainty_tables import output_name
from sim.report.wording import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sim.experiments.uncertainty import Output, Uncertainty


def assumptions(found: "Uncertainty", *, ax: "Axes | None" = None) -> "Axes":
    """Each target's statistic over 90 % of the draws, as a multiple of its target, with the scenario's own value.

    Raises
    ------
    UsageError
        No target was judged.
    """
    rows = [one for one in found.outputs if one.met is not None]
    if not rows:
        raise UsageError("no target was judged over the assumptions")
    with canvas(ax, height_in=1.2 + 0.42 * len(rows)) as axes:
        ends = [1.0]
        for place, row in enumerate(rows):
            ends += _bar(axes, row, place)
        axes.axvline(1.0, color=TARGET, linewidth=1.4, zorder=1)
        axes.annotate(
            "target", (1.0, -0.55), xytext=(3, 0), textcoords="offset points", color=TARGET, fontsize=8, va="center"
        )
        axes.set_yticks(range(len(rows)), [output_name(one) for one in rows])
        axes.set_ylim(len(rows) - 0.5, -0.75)
        axes.set_xlim(min(ends) / 1.1, max(ends) * 1.5)
        axes.grid(visible=False, axis="y")
        plain_log(axes, "x")
        varied = f"{len(found.inputs)} low-confidence numbers, each ÷ and × up to {found.factor:g}"
        axes.set_xlabel(f"statistic / target (of a rate target / statistic), met left of 1\n{varied}")
        finding(axes, _finding(rows))
    return axes


def _bar(axes: "Axes", row: "Output", place: int) -> list[float]:
    """One target: bar of the draws, tick at their median, dot at the scenario's own value, share that meets it.

    Returns the ends of the bar and the dot, as multiples of the target.
    """
    assert row.line is not None
    assert row.met is not None
    values = [row.low, row.median, row.high, row.value]
    ratios = [value / row.line.target if row.line.direction == "below" else row.line.target / value for value in values]
    low, high = sorted((ratios[0], ratios[2]))
    axes.barh(place, high - low, left=low, height=0.5, color=ALERT if high > 1 else TARGET, alpha=0.28, zorder=2)
    axes.plot([ratios[1]] * 2, [place - 0.25, place + 0.25], color=INK, linewidth=1.6, zorder=3)
    axes.plot([ratios[3]], [place], marker="o", markersize=5, color=INK, zorder=4)
    axes.annotate(
        f"met in {percent(row.met.value)}", (max(high, ratios[3]), place), xytext=(6, 0),
        textcoords="offset points", va="center", color=MUTED, fontsize=8, bbox=BEHIND,
    )  # fmt: skip
    return [low, high, ratios[3]]


def _finding(rows: "list[Output]") -> str:
    def met(row: "Output") -> float:
        assert row.met is not None
        return row.met.value

    worst = min(rows, key=met)
    first = worst.worth_measuring
    said = f"{output_name(worst)} is met by {percent(met(worst))} of what the assumptions allow"
    return said if first is None else f"{said}; {first.path} decides most of it"
