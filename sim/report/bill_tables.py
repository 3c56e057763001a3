"""The tables of a bill: its lines, what breaks first as volume and data grow, what running away costs."""

from math import isfinite
from typing import TYPE_CHECKING

from sim.report.grid import Cell, Column, Grid, grid
from sim.report.wording import INTERVAL, UNBOUNDED, component_name, meter_name, percent, significant, usd

if TYPE_CHECKING:
    from sim.judgement.cost import Cost
    from sim.judgement.cost.limits import Reached

PLANS = {"paid": "Paid", "free": "Free", "any": "any"}


def lines(bill: "Cost", *, every_line: bool = True) -> Grid:
    """Return the lines of a bill and their sum: those that are used, or only those that cost something.

    Parameters
    ----------
    bill : Cost
    every_line : bool
        Without it only what costs something or has no price, the dearest first.
    """
    shown = [line for line in bill.lines if line.used]
    if not every_line:
        shown = sorted((line for line in shown if line.usd or not line.priced), key=lambda line: -line.usd)
    rows = [
        (
            component_name(line.component),
            meter_name(line.meter),
            significant(line.used),
            significant(line.included),
            significant(line.billed),
            line.unit,
            usd(line.usd) if line.priced else "no price",
            percent(line.usd / bill.month_usd) if bill.month_usd else "",
            line.confidence,
            Cell(line.volume_confidence, below=line.volume_path),
        )
        for line in shown
    ]
    each = f"{usd(bill.usd_per_1000_requests)} per 1,000 requests"
    least = "at least " if bill.unpriced else ""
    sums = ("All lines", each, "", "", "", "", f"{least}{usd(bill.month_usd)}", "100 %", "", "")
    columns = (
        "component", "meter", ">used", Column("included", "number", page_only=True),
        Column("billed", "number", page_only=True), "unit", ">a month", ">share", "price confidence",
        Column("volume confidence", below="owed to"),
    )  # fmt: skip
    counted = f"{significant(bill.requests_per_month)} requests"
    held = bill.volume is not None and bill.volume.is_peak
    title = f"A month's bill: {counted}, {'the played rate held for a month' if held else 'the volume'}"
    return grid(title, columns, rows=[*rows, sums], sums=True)


def limits(bill: "Cost") -> Grid:
    """Return what is reached within the days looked at, the earliest first."""
    reached = [one for one in bill.limits if isfinite(one.day_number)]
    rows = [
        (
            one.what,
            PLANS[one.plan],
            Cell(f"{one.day_number:,.0f}", below=_days(one)),
            f"{one.month_number:,.0f}",
            f"{one.after_s / 3600:.1f} h" if one.kind == "quota" and one.after_s else "",
        )
        for one in reached
    ]
    later = [one.what for one in bill.limits if not isfinite(one.day_number) and one.plan != "free"]
    caption = f"Not within three years: {'; '.join(later)}." if later else ""
    columns = ("what breaks, in order", "plan", Column("day", "number", below=INTERVAL), ">month", ">into the day")
    return grid("What breaks first, as data and traffic grow", columns, rows=rows, caption=caption)


def _days(one: "Reached") -> str:
    if one.low == one.high:
        return ""
    return f"{one.low:,.0f} to {one.high:,.0f}" if isfinite(one.high) else f"{one.low:,.0f} or later"


def runaways(bill: "Cost") -> Grid:
    """Return what an hour costs when the deployment runs away, and what the spending limit stops of it."""
    limit = usd(bill.spending_limit_usd)
    rows = [
        (
            Cell(one.name, below=one.sentence),
            usd(one.hour_usd),
            usd(one.counted_hour_usd),
            f"{one.stopped_after_s / 3600:,.3g} h" if isfinite(one.stopped_after_s) else "never",
            usd(one.spent_usd) if isfinite(one.spent_usd) else UNBOUNDED,
            one.unstopped,
        )
        for one in bill.runaways
    ]
    columns = (
        Column("runaway", below="what happens"), ">an hour", ">of it counted", ">stopped after", ">spent by then",
        "what the limit does not stop",
    )  # fmt: skip
    caption = (
        f"Held against a spending limit of {limit} above the usual month. It counts Workers requests and CPU alone; "
        "prices are those beyond the inclusions."
    )
    return grid("If it ran away", columns, rows=rows, caption=caption)
