"""What low-confidence numbers leave open, as tables: each target over all of them, and what explains it."""

from math import isnan
from typing import TYPE_CHECKING

from sim.experiments.variants import MONTH_USD
from sim.report.grid import Cell, Column, Grid, grid
from sim.report.wording import INTERVAL, amount, line_of, percent, span, target_name

if TYPE_CHECKING:
    from sim.experiments.uncertainty import Output, Uncertainty
    from sim.experiments.variants import Share
    from sim.judgement.targets import Target

SHOWN_MIN = 0.01
"""A number that explains less of an output is left out."""


def spread(found: "Uncertainty") -> Grid:
    """Return each output with the scenario's own numbers, over all draws, and how many draws meet the target."""
    rows = [
        (
            output_name(one),
            "" if one.line is None else _target(one.line),
            amount(one.value, unit_of_output(one)),
            "" if isnan(one.median) else span(one.low, one.high, unit=unit_of_output(one)),
            _met(one),
        )
        for one in found.outputs
    ]
    columns = ("", ">target", ">own numbers", ">5 % to 95 %", Column("met in", "number", below=INTERVAL))
    title = f"{len(found.inputs)} low-confidence numbers, each ÷ and × up to {found.factor:g}: {found.draws} draws"
    return grid(title, columns, rows=rows)


def shares(found: "Uncertainty") -> Grid:
    """Return the numbers that explain each output, largest first."""
    sources = {one.path: one for one in found.inputs}
    rows = [
        (
            output_name(one) if first else "",
            Cell(share.path),
            sources[share.path].confidence,
            Cell(_percent(share.alone.value), f"{_percent(share.alone.low)} to {_percent(share.alone.high)}"),
            _percent(share.in_all.value),
        )
        for one in found.outputs
        for first, share in _marked(one)
    ]
    columns = (
        "", Column("number", "path"), "confidence", Column("explains alone", "number", below=INTERVAL),
        ">with others",
    )  # fmt: skip
    return grid("Share of the variance that each number explains: measure the first", columns, rows=rows)


def output_name(one: "Output") -> str:
    """Name a target, or the bill."""
    return "bill of a month" if one.name == MONTH_USD else target_name(one.name)


def unit_of_output(one: "Output") -> str:
    """Return the unit of a target's statistic, or of the bill."""
    return "USD" if one.line is None else one.line.unit


def _target(line: "Target") -> str:
    return f"{'≤' if line.direction == 'below' else '≥'} {line_of(line.target, line.unit)}"


def _marked(one: "Output") -> list[tuple[bool, "Share"]]:
    shown = [share for share in one.shares if share.in_all.value >= SHOWN_MIN]
    return [(place == 0, share) for place, share in enumerate(shown)]


def _met(one: "Output") -> Cell:
    if one.met is None:
        return Cell("" if one.line is None else "not judged")
    return Cell(_percent(one.met.value), f"{_percent(one.met.low)} to {_percent(one.met.high)}")


def _percent(share: float) -> str:
    return percent(min(1.0, max(0.0, share)))
