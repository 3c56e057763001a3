"""What a terminal shows: the tables of a run and of a plan, with words where there are colours."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from rich.console import RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from sim.judgement.comparison import Agreement
from sim.judgement.judge import judge, overall
from sim.judgement.targets import Verdict
from sim.report import bill_tables, tables
from sim.report.grid import Cell, Column, Grid
from sim.report.log_tables import beside_log, logged
from sim.report.narrow import Fitted
from sim.report.phase_tables import phase_table
from sim.report.sentences import (
    answer,
    confirmation,
    deployment,
    free_plan,
    from_cold,
    growth,
    headroom,
    in_pairs,
    lower_load,
    screened,
)
from sim.report.wording import significant
from sim.results.background import background_notes

if TYPE_CHECKING:
    from sim.experiments.plan import Plan
    from sim.judgement.cost import Cost
    from sim.results.result import Result

COLOURS: dict[str, str] = {
    Verdict.PASS: "green",
    Verdict.WARN: "yellow",
    Verdict.ALERT: "red",
    Verdict.INCONCLUSIVE: "cyan",
    Verdict.INVALID: "magenta",
    Agreement.AGREES: "green",
    Agreement.NOT_SETTLED: "cyan",
    Agreement.DIFFERS: "red",
    Agreement.NO_DATA: "cyan",
}

SENSITIVITIES = 5
"""Numbers that a terminal shows; the report has all."""


def run_tables(result: "Result") -> Iterator[RenderableType]:
    """Everything that ``headroom run`` prints."""
    rows = judge(result) if len(result.steady().frame) else ()
    yield Text(repr(result)[1:-1])
    yield Text(times_of(result))
    yield from _notes((*result.notes, *background_notes([result])))
    if not rows:
        yield Text("no request after the warm-up was finished: nothing to judge")
        return
    yield table(tables.targets(rows, title=f"{result.scenario.name} on {result.on}"))
    yield table(tables.routes([result]))
    yield table(tables.stations([result]))
    if result.scenario.faults:
        yield table(phase_table([result]))
    yield verdict_panel(overall(rows), result.scenario.question)


def times_of(result: "Result") -> str:
    """When the requests of a run came, how long none was judged, and when the last answer and the last event were."""
    cut = f", of which the first {significant(result.warm_up_ms / 1000)} s (warm-up) are not judged"
    said = f"the requests came within {result.arriving_s:.1f} s{cut if result.warm_up_ms else ''}"
    said += f"; the last answer came at {result.answered_s:.1f} s"
    later_s = result.duration_s - result.answered_s
    last = "the last event (background work, or a time-out no longer needed)"
    return f"{said}, {last} at {result.duration_s:.1f} s" if later_s >= 0.1 else said


def plan_tables(plan: "Plan") -> Iterator[RenderableType]:
    """Everything that ``headroom plan`` prints."""
    name = plan.scenario.name
    if plan.targets:
        yield table(tables.targets(plan.targets, title=f"{name}, simulated {len(plan.simulated)} times"))
        yield table(tables.routes(plan.simulated))
        if plan.logged:
            yield table(logged(plan.logged))
        yield table(tables.parts(plan.simulated))
        yield table(tables.stations(plan.simulated))
        if plan.scenario.faults:
            yield table(phase_table(plan.simulated))
        yield Text(screened(plan))
    if plan.measured is not None and plan.measured_targets:
        part = f"{len(plan.measured.frame):,} requests in {plan.measured.duration_s:.0f} s"
        yield table(tables.targets(plan.measured_targets, title=f"{name}, measured on {deployment(plan)}: {part}"))
    if plan.comparison is not None:
        yield table(tables.comparison(plan.comparison))
    if plan.capacity is not None:
        yield table(tables.capacity(plan.capacity))
    if plan.cost is not None:
        yield from cost_tables(plan.cost, free=False)
    if plan.sensitivity:
        yield table(tables.sensitivity(plan.sensitivity[:SENSITIVITIES]))
    yield from _notes(plan.notes)
    yield verdict_panel(plan.verdict, summary(plan))


def summary(plan: "Plan") -> str:
    """The scenario's question, and what was found, a sentence a line."""
    grown = growth(plan.cost) if plan.cost is not None else ""
    measured = (confirmation(plan), in_pairs(plan), from_cold(plan))
    log = beside_log(plan.logged, scenario=plan.scenario.given)
    sentences = (plan.scenario.question, answer(plan), log, headroom(plan), lower_load(plan), grown, *measured)
    return "\n".join(said for said in sentences if said)


def cost_tables(bill: "Cost", *, free: bool = True, runaway: bool = False) -> Iterator[RenderableType]:
    """A month's bill without the lines that cost nothing, what breaks first, and, if asked for, what runs away.

    Parameters
    ----------
    bill : Cost
    free, runaway : bool
        Whether to add the limits of the Free plan, which the bill does not charge, and what running away costs.
    """
    yield table(bill_tables.lines(bill, every_line=False))
    yield Text("\n".join(bill.notes))
    limits, of_free_plan = bill_tables.limits(bill), bill_tables.free_limits(bill)
    yield table(limits) if limits.rows else Text(limits.caption)
    yield Text(free_plan(bill))
    if free and of_free_plan.rows:
        yield table(of_free_plan)
    if runaway:
        yield table(bill_tables.runaways(bill))


def table(grid: Grid) -> Fitted:
    """Draw a table; what a page says more quietly below a cell has a column of its own here, if any row says it.

    Where the columns do not fit, its rows stand one below another: nothing is cut.
    """
    shown = [number for number, column in enumerate(grid.columns) if not column.page_only]
    below = {number for number in shown if any(row[number].below for row in grid.rows)}
    drawn = Table(title=grid.title, title_justify="left", title_style="bold", header_style="dim")
    drawn.show_header = any(column.name for column in grid.columns)
    for number in shown:
        column = grid.columns[number]
        side: Literal["left", "right"] = "right" if column.kind == "number" else "left"
        # Where there is little room long words are broken, and numbers and headings stay whole.
        numbers = [row[number].text for row in grid.rows] if column.kind == "number" else []
        whole = max((len(text) for text in (*numbers, *column.name.split())), default=0)
        drawn.add_column(column.name, justify=side, overflow="fold", min_width=whole)
        if number in below:
            drawn.add_column(column.below, justify=side, overflow="fold")
    for place, row in enumerate(grid.rows):
        cells: list[Text] = []
        for number in shown:
            cells.append(_text(row[number], grid.columns[number]))
            if number in below:
                cells.append(Text(row[number].below))
        if grid.sums and place == len(grid.rows) - 1:
            drawn.add_section()
        drawn.add_row(*cells)
    drawn.caption = grid.caption or None
    return Fitted(grid, drawn)


def _text(cell: Cell, column: Column) -> Text:
    if column.kind == "verdict":
        return coloured(cell.text) if cell.text else Text()
    return Text(f"{cell.text} {cell.mark}".strip())


def verdict_panel(verdict: Verdict, text: str) -> Panel:
    """The verdict, in a box."""
    return Panel(Text(text), title=coloured(verdict), border_style=COLOURS[verdict], title_align="left")


def coloured(word: str) -> Text:
    """A verdict in its colour."""
    return Text(word, style=f"bold {COLOURS[word]}")


def _notes(notes: Sequence[str]) -> Iterator[Text]:
    return (Text(f"note: {note}", style="yellow") for note in notes)
