"""What objects of the public face look like in a notebook."""

from typing import TYPE_CHECKING

from sim.report import bill_tables, lint_tables, tables, uncertainty_tables
from sim.report.grid import Cell, grid
from sim.report.html import grid_html
from sim.report.sentences import free_plan
from sim.report.wording import amount, component_name, error_span, percent, significant, span

if TYPE_CHECKING:
    from sim.experiments.capacity import Capacity
    from sim.experiments.sweep import Sweep
    from sim.experiments.uncertainty import Uncertainty
    from sim.judgement.availability import Availability
    from sim.judgement.comparison import Comparison
    from sim.judgement.cost import Cost
    from sim.judgement.pairing import Pairing
    from sim.scaffold.lint.linting import Linted
    from sim.scenario.scenario import Scenario
    from sim.screening import Screening


def capacity_html(found: "Capacity") -> str:
    """The highest load, and what breaks first."""
    return grid_html(tables.capacity(found))


def comparison_html(found: "Comparison") -> str:
    """The error of every statistic."""
    return grid_html(tables.comparison(found))


def cost_html(bill: "Cost") -> str:
    """The lines that cost something, and what breaks first."""
    lines = grid_html(
        bill_tables.lines(bill, every_line=False), notes=[one for one in (*bill.notes, free_plan(bill)) if one]
    )
    tables_of_limits = (bill_tables.limits(bill), bill_tables.free_limits(bill))
    return lines + "".join(grid_html(one) for one in tables_of_limits if one.rows)


def pairing_html(found: "Pairing") -> str:
    """The paired errors, the noise, and where requests part."""
    rows = [
        (f"error of the P{100 * probability:g}", percent(one.value, signed=True), error_span(one.low, one.high))
        for probability, one in found.errors.items()
    ]
    low, middle, high = (significant(one) for one in found.noise_ms)
    rows.append(("measured less simulated, median [5 % to 95 %]", f"{middle} ms", f"{low} to {high} ms"))
    parted = ", ".join(f"{count:,} in {component_name(part)}" for part, count in found.parted.items()) or "none"
    rows.append((f"pairs that differ by more than {significant(found.limit_ms)} ms", parted, ""))
    title = f"{found.pairs:,} requests, each beside itself"
    if found.pairs_with_other_ends:
        title += f"; {found.pairs_with_other_ends:,} ended otherwise"
    return grid_html(grid(title, ("", ">value", ">paired 95 % interval"), rows=rows))


def sweep_html(found: "Sweep") -> str:
    """A row a point."""
    return grid_html(tables.sweep(found))


def linted_html(found: "Linted") -> str:
    """A row a finding."""
    return grid_html(lint_tables.findings(found), notes=lint_tables.summary(found))


def uncertainty_html(found: "Uncertainty") -> str:
    """Each target over what the assumptions allow, and what explains it."""
    return grid_html(uncertainty_tables.spread(found)) + grid_html(uncertainty_tables.shares(found))


def availability_html(found: "Availability") -> str:
    """The uptime of a month, and what is on record of every service."""
    rows = [
        (row.service, ", ".join(row.products) or "none", f"{row.events:,}", f"{row.open_minutes:,}", f"{row.days:,}")
        for row in found.services
    ]
    interval = span(found.estimate.low, found.estimate.high, unit="1")
    title = f"Uptime of a month {amount(found.estimate.value, '1')}, 95 % of months {interval} %"
    columns = ("service", "products on record", ">incidents", ">minutes open", ">days on record")
    return grid_html(grid(title, columns, rows=rows))


def screening_html(found: "Screening") -> str:
    """Each station by arithmetic alone."""
    rows = [(row.station, *tables.screened_cells(row)) for row in found.rows]
    return grid_html(
        grid("By arithmetic, not simulated", ("station", ">busiest", ">mean wait", ">sustains"), rows=rows)
    )


def scenario_html(scenario: "Scenario") -> str:
    """The routes: their shares, and what they do."""
    rows = []
    for name, route in scenario.routes.items():
        steps = [step.use or "group" for step in route.steps]
        request = scenario.request(name)
        wire = f"{request.method} {request.path}"
        rows.append((name, percent(scenario.shares[name]), Cell(" → ".join([route.enter, *steps]), wire)))
    title = f"{scenario.name}: {scenario.question}"
    return grid_html(grid(title, ("route", ">share", "steps"), rows=rows))
