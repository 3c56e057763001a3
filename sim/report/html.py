"""Tables as HTML: the verdicts of a run in a notebook, and every table of the report.

Everything that comes from outside (names, notes, reasons, paths) is escaped here, once, on its way in.
"""

from collections.abc import Callable, Iterable, Sequence
from math import isfinite, log10
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from sim.judgement.targets import Verdict
from sim.report.sentences import answer
from sim.report.wording import NONE, amount, line_of, span, target_name

if TYPE_CHECKING:
    from sim.experiments.plan import Plan
    from sim.judgement.judge import TargetRow
    from sim.results.result import Result

VERDICT_CLASS = {
    Verdict.PASS: "good",
    "agrees": "good",
    "inside": "good",
    Verdict.WARN: "warn",
    Verdict.ALERT: "bad",
    "differs": "bad",
    Verdict.INVALID: "void",
    Verdict.INCONCLUSIVE: "open",
    "too few": "open",
    "no data": "open",
}
"""A verdict is a word and, beside that, a colour."""

NOTEBOOK_CSS = Markup("""
.headroom table { border-collapse: collapse; font-variant-numeric: tabular-nums }
.headroom th, .headroom td { padding: .25em .8em .25em 0; text-align: left; border-bottom: 1px solid #8884 }
.headroom .number { text-align: right }
.headroom td:first-child, .headroom .number { white-space: nowrap }
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


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, cards: bool = False, caption: str = ""
) -> Markup:
    """A table; a column whose name starts with ``>`` holds numbers and is set flush right.

    Parameters
    ----------
    columns : sequence of str
    rows : iterable of sequences
        Texts, which are escaped, and Markup, which is not.
    cards : bool
        Whether a row becomes a card on a narrow screen.
    caption : str
    """
    kinds = [NUMBER if name.startswith(">") else NOTHING for name in columns]
    heads = Markup("").join(
        Markup("<th scope=col{}>{}</th>").format(kind, name.removeprefix(">"))
        for kind, name in zip(kinds, columns, strict=True)
    )
    labels = [Markup(' data-label="{}"').format(name.removeprefix(">")) if cards else NOTHING for name in columns]
    lines = Markup("").join(
        Markup("<tr>{}</tr>\n").format(
            Markup("").join(
                Markup("<td{}{}>{}</td>").format(kind, label, cell)
                for kind, label, cell in zip(kinds, labels, row, strict=True)
            )
        )
        for row in rows
    )
    told = Markup("<caption>{}</caption>").format(caption) if caption else Markup("")
    kind = Markup(" class=cards") if cards else ""
    return Markup("<table{}>{}<thead><tr>{}</tr></thead>\n<tbody>{}</tbody></table>").format(kind, told, heads, lines)


def badge(verdict: str) -> Markup:
    """A verdict's word in its colour."""
    return Markup('<span class="badge {}">{}</span>').format(VERDICT_CLASS.get(verdict, "open"), verdict)


def stacked(first: str, second: str) -> Markup:
    """A value, and what is said more quietly below it."""
    return Markup("{}<br><small>{}</small>").format(first, second) if second else escape(first)


def path(dotted: str) -> Markup:
    """A dotted path, which may be broken after a dot."""
    return Markup("<code>{}</code>").format(Markup(".<wbr>").join(dotted.split(".")))


def value_cell(row: "TargetRow") -> Markup:
    """The estimate of a target row, over its 95 % interval."""
    lines = (row.target, row.alert)
    if not isfinite(row.value) and not isfinite(row.low):
        return escape(NONE if row.n == 0 else amount(row.value, row.unit))
    return stacked(
        amount(row.value, row.unit, apart_from=lines), span(row.low, row.high, unit=row.unit, apart_from=lines)
    )


def target_table(
    rows: "Sequence[TargetRow]", measured: "Sequence[TargetRow]" = (), *, heading: str = "simulated"
) -> Markup:
    """The verdict table.

    Parameters
    ----------
    rows : sequence of TargetRow
    measured : sequence of TargetRow
        Stand beside the rows of the same target.
    heading : str
        What the values of *rows* are.
    """
    beside = {(row.metric, row.statistic): row for row in measured}
    columns = ["metric", ">target", ">alert", "", f">{heading}", ">n", "verdict"]
    columns += [">measured", ">n measured", "measured verdict"] if measured else []
    shared = {row.reason for row in measured}
    told = f"Measured: {shared.pop()}." if len(shared) == 1 and measured[0].reason else ""
    lines: list[list[object]] = []
    for row in rows:
        theirs = beside.get((row.metric, row.statistic))
        lines.append(
            [
                target_name(row.metric, row.statistic),
                f"{'≤' if row.direction == 'below' else '≥'} {line_of(row.target, row.unit)}",
                f"{'>' if row.direction == 'below' else '<'} {line_of(row.alert, row.unit)}",
                picture(row, theirs),
                value_cell(row),
                f"{row.n:,}",
                Markup("{}{}").format(badge(row.verdict), _reason(row)),
            ]
        )
        if measured:
            lines[-1] += _measured_cells(theirs, silent=bool(told))
    return table(columns, lines, cards=True, caption=told)


def _measured_cells(row: "TargetRow | None", *, silent: bool) -> list[object]:
    if row is None:
        return ["", "", ""]
    why = Markup("") if silent else _reason(row)
    return [value_cell(row), f"{row.n:,}", Markup("{}{}").format(badge(row.verdict), why)]


def _reason(row: "TargetRow") -> Markup:
    return Markup("<br><small class=reason>{}</small>").format(row.reason) if row.reason else Markup("")


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
    from sim.judgement.judge import judge

    rows = judge(result) if len(result.steady().frame) else ()
    told = Markup("<p>{}</p>").format(repr(result)[1:-1])
    notes = Markup("").join(Markup("<p><b>{}</b></p>").format(note) for note in result.notes)
    return _for_notebook(told + notes, target_table(rows, heading="value") if rows else Markup(""))


def plan_html(plan: "Plan") -> str:
    """A plan in a notebook: its answer, and its verdicts."""
    told = Markup("<p>{}</p><p>{} {}</p>").format(plan.scenario.question, badge(plan.verdict), answer(plan))
    notes = Markup("").join(Markup("<p><b>{}</b></p>").format(note) for note in plan.notes)
    body = target_table(plan.targets, plan.measured_targets) if plan.targets else Markup("")
    return _for_notebook(told + notes, body)


def _for_notebook(told: Markup, body: Markup) -> str:
    return str(Markup("<style>{}</style><div class=headroom>{}{}</div>").format(NOTEBOOK_CSS, told, body))
