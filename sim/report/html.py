"""Tables as HTML: the verdicts of a run in a notebook, and every table of the report.

Everything that comes from outside (names, notes, reasons, paths) is escaped here, once, on its way in.
"""

from collections.abc import Callable, Sequence
from math import isfinite, log10
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from sim.judgement.comparison import Agreement
from sim.judgement.judge import judge
from sim.judgement.targets import Verdict
from sim.report import tables
from sim.report.grid import Cell, Column, Grid
from sim.report.sentences import answer
from sim.results.background import background_notes

if TYPE_CHECKING:
    from sim.experiments.plan import Plan
    from sim.judgement.judge import TargetRow
    from sim.results.result import Result

VERDICT_CLASS: dict[str, str] = {
    Verdict.PASS: "good",
    Agreement.AGREES: "good",
    Verdict.WARN: "warn",
    Verdict.ALERT: "bad",
    Agreement.DIFFERS: "bad",
    Verdict.INVALID: "void",
    Verdict.INCONCLUSIVE: "open",
    Agreement.NOT_SETTLED: "open",
    Agreement.NO_DATA: "open",
}
"""A verdict is a word and, beside that, a colour."""

NOTEBOOK_CSS = Markup("""
.headroom table { border-collapse: collapse; font-variant-numeric: tabular-nums }
.headroom th, .headroom td { padding: .25em .8em .25em 0; text-align: left; border-bottom: 1px solid #8884 }
.headroom .number { text-align: right }
.headroom th { white-space: normal; vertical-align: bottom }
.headroom td:first-child, .headroom td.number { white-space: nowrap }
.headroom small { opacity: .7 } .headroom .reason { display: inline-block; max-width: 14em }
.headroom caption { caption-side: bottom; text-align: left; opacity: .7 }
.headroom .badge { font-weight: 700 }
.headroom .good { color: #00795a } .headroom .warn { color: #b06a00 } .headroom .bad { color: #c0392b }
.headroom .open { color: #4a6a96 } .headroom .void { color: #8e44ad }
.headroom .place { width: 9em; height: 1.4em } .headroom .place rect.good { fill: #00795a44 }
.headroom .place rect.warn { fill: #b06a0044 } .headroom .place rect.bad { fill: #c0392b44 }
.headroom .place line { stroke: currentcolor; stroke-width: 2 } .headroom .place circle { fill: currentcolor }
.headroom .place .theirs { color: #c2185b }
""")
"""For a notebook, whose own style is unknown: colours that can be read on white and on black."""

NUMBER, NOTHING = Markup(" class=number"), Markup("")

PICTURE_WIDTH, PICTURE_HEIGHT = 150, 22


def table(grid: Grid, *, cards: bool = False) -> Markup:
    """Draw a table.

    Parameters
    ----------
    grid : Grid
        Its title is left to the page.
    cards : bool
        Whether a row becomes a card on a narrow screen.
    """
    kinds = [NUMBER if column.kind == "number" else NOTHING for column in grid.columns]
    heads = Markup("").join(
        Markup("<th scope=col{}>{}</th>").format(kind, column.name)
        for kind, column in zip(kinds, grid.columns, strict=True)
    )
    labels = [Markup(' data-label="{}"').format(column.name) if cards else NOTHING for column in grid.columns]
    lines = Markup("").join(
        Markup("<tr>{}</tr>\n").format(
            Markup("").join(
                Markup("<td{}{}>{}</td>").format(kind, label, _cell(cell, column, bold=grid.sums and place == last))
                for kind, label, cell, column in zip(kinds, labels, row, grid.columns, strict=True)
            )
        )
        for last in (len(grid.rows) - 1,)
        for place, row in enumerate(grid.rows)
    )
    caption = Markup("<caption>{}</caption>").format(grid.caption) if grid.caption else Markup("")
    kind = Markup(" class=cards") if cards else ""
    return Markup("<table{}>{}<thead><tr>{}</tr></thead>\n<tbody>{}</tbody></table>").format(
        kind, caption, heads, lines
    )


def _cell(cell: Cell, column: Column, *, bold: bool) -> Markup:
    """A cell's text as its column asks for, what is below it, and its mark."""
    if column.kind == "picture":
        return picture(*cell.data)
    if column.kind == "verdict":
        reason = Markup("<br><small class=reason>{}</small>").format(cell.below) if cell.below else Markup("")
        return (badge(cell.text) if cell.text else Markup("")) + reason
    text = path(cell.text) if column.kind == "path" else escape(cell.text)
    text = Markup("<b>{}</b>").format(text) if bold and cell.text else text
    mark = Markup(" <span class={}>{}</span>").format(cell.mark, cell.mark) if cell.mark else Markup("")
    below = Markup("<br><small>{}</small>").format(cell.below) if cell.below else Markup("")
    return text + mark + below


def badge(verdict: str) -> Markup:
    """A verdict's word in its colour."""
    return Markup('<span class="badge {}">{}</span>').format(VERDICT_CLASS.get(verdict, "open"), verdict)


def path(dotted: str) -> Markup:
    """A dotted path, which may be broken after a dot."""
    return Markup("<code>{}</code>").format(Markup(".<wbr>").join(dotted.split(".")))


def picture(row: "TargetRow", beside: "TargetRow | None" = None) -> Markup:
    """Where the interval lies between the good side, the target, the alert line and beyond; decoration for the eye."""
    place = _scale(row)
    target, alert = place(row.target), place(row.alert)
    good, beyond = ((0.0, target), (alert, 1.0)) if row.direction == "below" else ((target, 1.0), (0.0, alert))
    between = (min(target, alert), max(target, alert))
    zones = Markup("").join(
        Markup('<rect class="{}" x="{:.1f}" y="3" width="{:.1f}" height="{}"/>').format(
            name, PICTURE_WIDTH * low, PICTURE_WIDTH * (high - low), PICTURE_HEIGHT - 6
        )
        for name, (low, high) in (("good", good), ("warn", between), ("bad", beyond))
    )
    marks = _mark(row, "ours", 8 if beside else 11) + (_mark(beside, "theirs", 15) if beside else Markup(""))
    size = Markup('viewBox="0 0 {} {}"').format(PICTURE_WIDTH, PICTURE_HEIGHT)
    return Markup('<svg class=place {} aria-hidden="true">{}{}</svg>').format(size, zones, marks)


def _mark(row: "TargetRow", name: str, height: int) -> Markup:
    if not isfinite(row.value):
        return Markup("")
    place = _scale(row)
    low, at, high = (PICTURE_WIDTH * place(number) for number in (row.low, row.value, row.high))
    return Markup(
        '<g class={}><line x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/><circle cx="{:.1f}" cy="{}" r="3"/></g>'
    ).format(name, low, high, height, height, at, height)


def _scale(row: "TargetRow") -> Callable[[float], float]:
    """From the row's unit to 0..1, with both lines well inside; a ratio near 1 by its nines."""

    def stretched(number: float) -> float:
        return -log10(max(1.0 - number, 1e-12)) if row.unit == "1" else number

    target, alert = stretched(row.target), stretched(row.alert)
    low, high = (
        (alert - 1, target + 1) if row.unit == "1" else (0.0, max(1.3 * alert, 2 * target * (row.direction == "above")))
    )

    def place(number: float) -> float:
        if not isfinite(number):
            return 0.0 if number < 0 else 1.0
        return min(max((stretched(number) - low) / (high - low), 0.0), 1.0)

    return place


def result_html(result: "Result") -> str:
    """A run in a notebook: what it was, and its verdicts."""
    rows = judge(result) if len(result.steady().frame) else ()
    said = Markup("<p>{}</p>").format(repr(result)[1:-1])
    notes = Markup("").join(
        Markup("<p><b>{}</b></p>").format(note) for note in (*result.notes, *background_notes([result]))
    )
    return _for_notebook(said + notes, table(tables.targets(rows), cards=True) if rows else Markup(""))


def plan_html(plan: "Plan") -> str:
    """A plan in a notebook: its answer, and its verdicts."""
    said = Markup("<p>{}</p><p>{} {}</p>").format(plan.scenario.question, badge(plan.verdict), answer(plan))
    notes = Markup("").join(Markup("<p><b>{}</b></p>").format(note) for note in plan.notes)
    verdicts = tables.targets(plan.targets, plan.measured_targets, heading="simulated")
    body = table(verdicts, cards=True) if plan.targets else Markup("")
    return _for_notebook(said + notes, body)


def grid_html(grid: Grid, *, notes: str | Sequence[str] = "") -> str:
    """A table in a notebook, its title and *notes* above it: a paragraph, or a list of several."""
    title = Markup("<p><b>{}</b></p>").format(grid.title)
    return _for_notebook(title + _notes(notes), table(grid))


def _notes(notes: str | Sequence[str]) -> Markup:
    if isinstance(notes, str):
        return Markup("<p>{}</p>").format(notes) if notes else Markup()
    rows = Markup().join(Markup("<li>{}</li>").format(note) for note in notes)
    return Markup("<ul class=notes>{}</ul>").format(rows) if notes else Markup()


def _for_notebook(said: Markup, body: Markup) -> str:
    return str(Markup("<style>{}</style><div class=headroom>{}{}</div>").format(NOTEBOOK_CSS, said, body))
