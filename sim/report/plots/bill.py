"""What a month costs, line by line."""

from typing import TYPE_CHECKING

from sim.errors import UsageError
from sim.report.plots.style import canvas, colour, finding
from sim.report.wording import component_name, meter_name, percent, usd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sim.experiments.plan import Plan


def cost(plan: "Plan", *, ax: "Axes | None" = None) -> "Axes":
    """Dollars a month of each line that costs anything, the dearest first.

    Raises
    ------
    UsageError
        Nothing was priced.
    """
    if plan.cost is None:
        raise UsageError("nothing was priced")
    lines = sorted((line for line in plan.cost.lines if line.usd > 0), key=lambda line: -line.usd)
    if not lines:
        raise UsageError("no line of the bill costs anything")
    names = [f"{component_name(line.component)}: {meter_name(line.meter)}" for line in lines]
    with canvas(ax, height_in=0.9 + 0.28 * len(lines)) as axes:
        axes.barh(
            range(len(lines)),
            [line.usd for line in lines],
            color=[colour(line.component) for line in lines],
            height=0.62,
        )
        for place, line in enumerate(lines):
            axes.annotate(usd(line.usd), (line.usd, place), xytext=(5, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(lines)), names)
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.16)
        held = plan.cost.volume is not None and plan.cost.volume.is_peak
        axes.set_xlabel("USD a month at the played rate" if held else "USD a month")
        share = percent(lines[0].usd / plan.cost.month_usd)
        finding(axes, f"A month costs {usd(plan.cost.month_usd)}, {share} of it: {names[0]}")
    return axes
