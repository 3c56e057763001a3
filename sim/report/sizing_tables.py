"""Sizings as tables: every choice with its interval, the answer, and what cannot be told from it."""

from math import inf
from typing import TYPE_CHECKING

from sim.report.grid import Cell, Column, Grid, grid
from sim.report.html import grid_html
from sim.report.wording import INTERVAL, amount, component_name, listed, percent, significant, span, usd

if TYPE_CHECKING:
    from sim.experiments.sizing.choices import Choice, Sizing
    from sim.experiments.sizing.one_down import OneDown
    from sim.experiments.sizing.servers import Servers, StationServers

ANSWER, AS_GOOD, UNDECIDED, WORSE = "answer", "as good", "not settled", "worse"

NAMES_MAX = 4
"""Choices that a sentence names; of more it says how many."""


def sizing(found: "Sizing") -> Grid:
    """Return every choice, the plainest first, under the answer."""
    beside = list(found.choices[0].beside)
    columns = [
        Column("choice"),
        Column(found.objective, "number", below=INTERVAL),
        Column("behind the best", "number", below="all together 95 %"),
        Column("", "text"),
        Column("USD a month", "number"),
        *(Column(name, "number") for name in beside),
    ]
    rows = [
        [
            Cell(one.name),
            Cell(significant(one.objective.value), span(one.objective.low, one.objective.high, unit=one.unit)),
            _behind(one),
            Cell(mark(found, one)),
            Cell(usd(one.month_usd).removesuffix(" USD")),
            *(Cell(significant(one.beside[name])) for name in beside),
        ]
        for one in found.choices
    ]
    caption = " ".join(f"{note[0].upper()}{note[1:]}." for note in found.notes)
    return grid(f"{found.question} {answer(found)}", columns, rows=rows, caption=caption)


def answer(found: "Sizing") -> str:
    """Return the answer in a sentence, with what is as good."""
    chosen = found.answer
    interval = span(chosen.objective.low, chosen.objective.high, unit=chosen.unit)
    value = f"{amount(chosen.objective.value, chosen.unit)} ({interval})"
    others = [one.name for one in found.as_good if one is not chosen]
    objective = found.objective.rpartition(",")[0] or found.objective
    unsettled = sum(one.undecided for one in found.choices)
    more = f" {unsettled} not settled by {found.seeds} seeds." if unsettled else ""
    return f"{chosen.name}: {value}, {objective}. {_as_good(others)}{more}"


def _as_good(names: list[str]) -> str:
    if not names:
        return "No other choice is as good."
    if len(names) > NAMES_MAX:
        return f"{len(names)} others are as good, and cost more or are less plain."
    return f"As good: {listed(names)}."


def mark(found: "Sizing", one: "Choice") -> str:
    """Return what a choice is: the answer, as good, not settled, or worse."""
    if one is found.answer:
        return ANSWER
    if one.undecided:
        return UNDECIDED
    return AS_GOOD if one.as_good else WORSE


def _behind(one: "Choice") -> Cell:
    if one.behind is None:
        return Cell("best" if one.as_good else "no value")
    found = one.behind
    return Cell(significant(found.value), span(found.low, found.high, unit=one.unit))


def servers(found: "Servers") -> Grid:
    """Return each station: how many of its requests wait, and what it needs."""
    limit = percent(found.limit_share)
    columns = (
        Column("station"), Column("instances x servers", "number"), Column("busy servers", "number"),
        Column("wait, by Erlang C", "number"), Column("wait, simulated", "number", below=INTERVAL),
        Column("servers needed", "number"), Column("or instances", "number"), Column("kept up to", "number"),
    )  # fmt: skip
    rows = [_station(row) for row in found.rows]
    title = f"Servers for at most {limit} of the requests waiting, at {significant(found.rate_per_s)} requests/s"
    caption = (
        "Busy servers: those that the busiest instance keeps busy, by arithmetic. Erlang C takes arrivals for random "
        "and services for exponential. Kept up to: the load of the deployment at which the busiest instance reaches "
        "the limit."
    )
    return grid(title, columns, rows=rows, caption=caption)


def _station(row: "StationServers") -> list[Cell | str]:
    seen = row.simulated_share
    return [
        component_name(row.station),
        f"{row.instances:,} x {row.servers:,}",
        significant(row.busy_servers_mean),
        percent(row.waiting_share),
        Cell(percent(seen.value), f"{percent(seen.low)} to {percent(seen.high)}"),
        f"{row.needed_servers:,}",
        f"{row.needed_instances:,}",
        "no bound" if row.kept_per_s == inf else f"{significant(row.kept_per_s)}/s",
    ]


def one_down(found: "OneDown") -> Grid:
    """Return the load with all parts, with one less, and whether the scenario's own is kept."""
    unit = "requests/s"
    rows = [
        (
            f"{parts:,} of {found.parts:,}",
            Cell(amount(one.estimate.value, unit), span(one.estimate.low, one.estimate.high, unit=unit)),
            component_name(one.bottleneck),
        )
        for parts, one in ((found.parts, found.whole), (found.parts - 1, found.less))
    ]
    columns = (found.path, Column("highest load", "number", below=INTERVAL), "bottleneck")
    kept = f"{significant(found.wanted_per_s)} {unit} {found.verdict} with one down"
    caption = f"{percent(found.kept_share)} of the load is left. The others have taken over the lost part's keys."
    return grid(f"N + 1: {kept}", columns, rows=rows, caption=caption)


def sizing_html(found: "Sizing") -> str:
    """The choices in a notebook."""
    return grid_html(sizing(found), notes=f"Falsified by {found.falsified_by}.")


def servers_html(found: "Servers") -> str:
    """The stations in a notebook."""
    return grid_html(servers(found))


def onedown_html(found: "OneDown") -> str:
    """Both searches in a notebook."""
    return grid_html(one_down(found))
