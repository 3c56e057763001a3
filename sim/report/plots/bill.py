"""What a month costs: line by line, against its volume, and month after month."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sim.foundation.errors import UsageError
from sim.report.plots.style import INK, canvas, colour, finding
from sim.report.wording import component_name, meter_name, percent, significant, usd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sim.experiments.plan import Plan
    from sim.judgement.cost import Cost

MILLION = 1e6


def cost(of: "Plan | Cost", *, ax: "Axes | None" = None) -> "Axes":
    """Dollars a month of each line that costs anything, the dearest first.

    Parameters
    ----------
    of : Plan or Cost
    ax : Axes, optional

    Raises
    ------
    UsageError
        Nothing was priced.
    """
    from sim.judgement.cost import Cost

    bill = of if isinstance(of, Cost) else of.cost
    if bill is None:
        raise UsageError("nothing was priced")
    lines = sorted((line for line in bill.lines if line.usd > 0), key=lambda line: -line.usd)
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
        held = bill.volume is not None and bill.volume.is_peak
        axes.set_xlabel("USD a month at the played rate" if held else "USD a month")
        share = percent(lines[0].usd / bill.month_usd)
        finding(axes, f"A month costs {usd(bill.month_usd)}, {share} of it: {names[0]}")
    return axes


def cost_against_volume(bills: "Sequence[Cost]", *, ax: "Axes | None" = None) -> "Axes":
    """Dollars a month against requests a month, a layer for each component; its kinks are used-up inclusions.

    Parameters
    ----------
    bills : sequence of Cost
        Of one scenario at several volumes, at least two.
    ax : Axes, optional

    Raises
    ------
    UsageError
        There are fewer than two different volumes.
    """
    ordered = sorted(bills, key=lambda bill: bill.requests_per_month)
    if len({bill.requests_per_month for bill in ordered}) < 2:
        raise UsageError(f"bills={len(ordered)} must be of two different volumes or more")
    layers = _layers(ordered)
    volume = [bill.requests_per_month / MILLION for bill in ordered]
    with canvas(ax, height_in=3.4) as axes:
        names = [component_name(name) for name in layers]
        axes.stackplot(
            volume, *layers.values(), labels=names, colors=[colour(name) for name in layers], linewidth=0, alpha=0.9
        )
        axes.plot(volume, [bill.month_usd for bill in ordered], color=INK, linewidth=1.2)
        axes.set_xlim(volume[0], volume[-1])
        axes.set_ylim(0, None)
        axes.set_xlabel("requests a month, millions")
        axes.set_ylabel("USD a month")
        axes.legend(loc="upper left", frameon=False, reverse=True)
        first, last = ordered[0], ordered[-1]
        if first.requests_per_month and first.month_usd:
            times = last.requests_per_month / first.requests_per_month
            finding(axes, f"{times:.3g} times the requests cost {last.month_usd / first.month_usd:.3g} times as much")
        else:
            finding(axes, f"{significant(volume[-1])} million requests cost {usd(last.month_usd)}")
    return axes


def _layers(bills: "Sequence[Cost]") -> dict[str, list[float]]:
    """USD of each component in each bill, the dearest in the last one first."""
    names = {line.component for bill in bills for line in bill.lines if line.usd > 0}
    layers = {
        name: [sum(line.usd for line in bill.lines if line.component == name) for bill in bills] for name in names
    }
    return dict(sorted(layers.items(), key=lambda layer: (-layer[1][-1], layer[0])))


def volume_forecast(bills: "Sequence[Cost]", *, ax: "Axes | None" = None) -> "Axes":
    """Requests of each month to come, with the 95 % interval of the forecast.

    Parameters
    ----------
    bills : sequence of Cost
        Of the months from the first on, in order: ``[cost(scenario, history=FILE, month=m) for m in range(1, 13)]``.
    ax : Axes, optional

    Raises
    ------
    UsageError
        There are fewer than two months, or one has no volume.
    """
    volumes = [bill.volume for bill in bills if bill.volume is not None]
    if len(volumes) < 2 or len(volumes) < len(bills):
        raise UsageError(f"bills={len(bills)} must be of two months or more, each with its volume")
    months = range(1, len(volumes) + 1)
    with canvas(ax, height_in=3.0) as axes:
        low, high = ([getattr(one, end) / MILLION for one in volumes] for end in ("low", "high"))
        axes.fill_between(months, low, high, color=INK, alpha=0.15, linewidth=0, label="95 % interval")
        axes.plot(months, [one.requests / MILLION for one in volumes], color=INK, marker="o", markersize=3.5)
        axes.set_xticks(list(months))
        axes.set_ylim(0, None)
        axes.set_xlabel("month from now")
        axes.set_ylabel("requests a month, millions")
        axes.legend(loc="upper left", frameon=False)
        last = volumes[-1]
        finding(
            axes,
            f"Month {len(volumes)} brings {significant(last.requests / MILLION)} million requests, "
            f"95 % interval {significant(last.low / MILLION)} to {significant(last.high / MILLION)} million",
        )
    return axes
