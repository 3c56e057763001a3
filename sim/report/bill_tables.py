"""The tables of a bill: its lines, what breaks first as volume and data grow, what running away costs."""

from math import isfinite
from typing import TYPE_CHECKING

from sim.report.grid import Cell, Column, Grid, grid
from sim.report.wording import INTERVAL, UNBOUNDED, component_name, listed, meter_name, percent, significant, usd

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sim.judgement.cost import Cost
    from sim.judgement.cost.bill import CostLine
    from sim.judgement.cost.limits import Reached

OWED_MAX, WHOLE = 3, 0.995
"""Numbers that a line names at most; one alone from WHOLE on stands without its share."""

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
            Cell(line.volume_confidence, below=owed_to(line)),
        )
        for line in shown
    ]
    each = unit_cost(bill)
    least = "at least " if bill.unpriced else ""
    sums = ("All lines", "", "", "", "", "", f"{least}{usd(bill.month_usd)}", "100 %", "", Cell("", below=each))
    columns = (
        "component", "meter", ">used", Column("included", "number", page_only=True),
        Column("billed", "number", page_only=True), "unit", ">a month", ">share", "price confidence",
        Column("volume confidence", below="owed to"),
    )  # fmt: skip
    counted = f"{significant(bill.requests_per_month)} requests"
    held = bill.volume is not None and bill.volume.is_peak
    title = f"A month's bill: {counted}, {'the played rate held for a month' if held else 'the volume'}"
    return grid(title, columns, rows=[*rows, sums], sums=True)


def unit_cost(bill: "Cost") -> str:
    """Say what a thousand requests cost, and which requests they are."""
    return f"{usd(bill.usd_per_1000_requests)} per 1,000 {listed(list(bill.counted)) or 'requests'}"


def owed_to(line: "CostLine") -> str:
    """Return the numbers that an amount is owed to, with letter and share where one alone does not move all of it.

    >>> from types import SimpleNamespace
    >>> shares = (("routes", "A", 1.0), ("system.queues.consumer_cpu_ms", "W", 0.0123))
    >>> owed_to(SimpleNamespace(volume_shares=shares))
    'routes [A] 100 %, system.queues.consumer_cpu_ms [W] 1.2 %'
    """
    named = line.volume_shares[:OWED_MAX]
    if len(named) == 1 and named[0][2] >= WHOLE:
        return named[0][0]
    more = f", {len(line.volume_shares) - OWED_MAX} more" if len(line.volume_shares) > OWED_MAX else ""
    return ", ".join(f"{path} [{letter}] {percent(share)}" for path, letter, share in named) + more


def limits(bill: "Cost") -> Grid:
    """Return what is reached of the deployment and of the plan that the bill charges, the earliest first."""
    rows = _reached_rows(one for one in bill.limits if one.plan != "free")
    columns = ("what breaks, in order", "plan", Column("day", "number", below=INTERVAL), ">month", ">into the day")
    return grid("What breaks first, as data and traffic grow", columns, rows=rows, caption=later(bill))


def later(bill: "Cost") -> str:
    """Return what does not happen within the days looked at; empty if all of it does."""
    named = [one.what for one in bill.limits if not isfinite(one.day_number) and one.plan != "free"]
    return f"Does not happen within three years: {'; '.join(named)}." if named else ""


def free_limits(bill: "Cost") -> Grid:
    """Return what is reached of the Free plan, which the bill does not charge, the earliest first."""
    rows = _reached_rows(one for one in bill.limits if one.plan == "free")
    columns = ("what breaks, in order", "plan", Column("day", "number", below=INTERVAL), ">month", ">into the day")
    return grid("On the Free plan, which this bill does not charge", columns, rows=rows)


def _reached_rows(found: "Iterable[Reached]") -> list[tuple[Cell | str, ...]]:
    return [
        (
            one.what,
            PLANS[one.plan],
            Cell(f"{one.day_number:,.0f}", below=_days(one)),
            f"{one.month_number:,.0f}",
            f"{one.after_s / 3600:.1f} h" if one.kind == "quota" and one.after_s else "",
        )
        for one in found
        if isfinite(one.day_number)
    ]


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
            f"{significant(one.stopped_after_s / 3600)} h" if isfinite(one.stopped_after_s) else "never",
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
