"""The few numbers of a plan that are worth remembering: today's load, capacity, headroom, what breaks first, cost."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sim.report.bill_tables import unit_cost
from sim.report.lower_loads import from_about, tile
from sim.report.sentences import load_per_s, played
from sim.report.wording import component_name, listed, significant, span, target_name, target_names, usd

if TYPE_CHECKING:
    from sim.experiments.capacity import Capacity
    from sim.experiments.plan import Plan


def tiles(plan: "Plan") -> Iterator[tuple[str, str, str]]:
    """The few numbers to remember: what, how much, and what stands below it."""
    today_per_s = load_per_s(plan)
    if today_per_s:
        requests = len(plan.simulated[0].frame)
        below = f"mean of {requests:,} requests{plan.scenario.both_rates(today_per_s)}, simulated "
        below += f"{len(plan.simulated)} times"
        yield f"Today's {played(plan)}", f"{significant(today_per_s)} requests/s", below
    if plan.capacity is not None:
        rate = plan.capacity.estimate
        interval = span(rate.low, rate.high, unit="requests/s")
        least = from_about(plan.capacity)
        below = f"{_holds_for(plan.capacity, interval)}{f'; {least}' if least else ''}"
        yield "Capacity", f"{significant(rate.value)} requests/s", f"{below}{plan.scenario.both_rates(rate.value)}"
        yield from tile(plan.capacity)
        if today_per_s:
            times = [significant(bound / today_per_s) for bound in (rate.value, rate.low, rate.high)]
            kept = f"today's {played(plan)}, for {target_names(plan.capacity.kept)}"
            yield "Headroom", f"{times[0]} ×", f"{kept}; 95 % interval {times[1]} to {times[2]}"
        first = listed([target_name(name) for name in plan.capacity.limited_by])
        where = "of" if plan.capacity.ends_in_overload else "the slowest requests wait longest for"
        yield "Breaks first", first, f"{where} {component_name(plan.capacity.bottleneck)}"
        if plan.capacity.cold_start is not None:
            start = plan.capacity.cold_start
            below = f"after a cold start or a deploy; 95 % interval {span(start.low, start.high, unit='requests/s')}"
            yield "Cold-start capacity", f"{significant(start.value)} requests/s", below
    if plan.cost is not None:
        each = unit_cost(plan.cost)
        held = plan.cost.volume is not None and plan.cost.volume.is_peak
        of = "the played rate held for a month" if held else "the month's volume"
        counted = f"{significant(plan.cost.requests_per_month)} requests, {of}"
        least = "at least " if plan.cost.unpriced else ""
        yield "A month costs", f"{least}{usd(plan.cost.month_usd)}", f"{each}; {counted}"


def _holds_for(found: "Capacity", interval: str) -> str:
    """Which targets a capacity is of, which it leaves out, and how well it is known."""
    missed = f", not for {target_names(found.missed)}, missed at any load" if found.missed else ""
    return f"for {target_names(found.kept)}{missed}; 95 % interval {interval}, {found.estimate.n} seeds"
