"""The author's own log beside the model: a table, a sentence for the verdict, and the same as JSON."""

from collections.abc import Iterator, Sequence
from math import isnan
from shlex import quote
from typing import TYPE_CHECKING, Any

from sim.judgement.comparison import Agreement
from sim.judgement.logged import ASSUMED, contradictions
from sim.report.grid import Cell, Column, Grid, grid
from sim.report.wording import INTERVAL, amount, error_span, listed, percent, span

if TYPE_CHECKING:
    from sim.judgement.logged import LogRow
    from sim.statistics.intervals import Estimate

CLOCK = {
    "server": "Your log was taken at the server: the way to the client is not in it.",
    "client": "Your log was taken at the client: the way to the server is in it.",
    "unknown": (
        "Whether your log was taken at the server or at the client is unknown (say taken_at under "
        "routes.NAME.measured): both readings stand here, and a row differs only where both do."
    ),
}

INTERVALS_ASSUMED = (
    "Intervals of the log that nobody gave (p50_low_ms, p50_high_ms under routes.NAME.measured) are assumed: "
    "of independent lognormal latencies. They are too narrow where requests of one busy hour resemble each other."
)

NAMED_MAX = 3
"""Rows that a sentence names; the table has all."""


def logged(rows: "Sequence[LogRow]") -> Grid:
    """Return the latencies of the log beside the model's: a line for each place where the log's clock may have been."""
    columns = (
        Column("route"), "statistic", Column("your log", "number", below=INTERVAL), ">n in the log", "model at",
        Column("model", "number", below=INTERVAL), Column("error", "number", below="joint 95 % interval"),
        Column("verdict", "verdict", below="what would settle it"),
    )  # fmt: skip
    lines = [line for row in rows for line in _lines(row)]
    return grid("Your log beside the model", columns, rows=lines, caption=clock(rows))


def _lines(row: "LogRow") -> Iterator[list[Cell | str]]:
    for number, (place, found) in enumerate(row.modelled.items()):
        error = row.errors[place]
        joint = "" if isnan(error.value) else error_span(error.low, error.high)
        reading: list[Cell | str] = [f"the {place}", _latency(found), Cell(percent(error.value, signed=True), joint)]
        if number:
            yield ["", "", "", "", *reading, ""]
        else:
            log: list[Cell | str] = [row.route, row.statistic.upper(), _latency(row.logged), f"{row.logged.n:,}"]
            yield [*log, *reading, Cell(row.verdict, row.reason)]


def _latency(found: "Estimate") -> Cell:
    return Cell(amount(found.value, "ms"), span(found.low, found.high, unit="ms") if found.low < found.high else "")


def clock(rows: "Sequence[LogRow]") -> str:
    """Return what the log's latencies contain, and what they are not."""
    sources = listed(list(dict.fromkeys(row.source for row in rows)))
    places = {row.taken_at for row in rows}
    parts = [said for place, said in CLOCK.items() if place in places]
    rest = f"{sources}: answered requests of its own hours and load, beside answered ones at the played load."
    assumed = [INTERVALS_ASSUMED] if any(row.logged.method == ASSUMED for row in rows) else []
    return " ".join([*parts, rest, *assumed])


def beside_log(rows: "Sequence[LogRow]", *, scenario: str) -> str:
    """Return what the log says of the model, for the verdict; empty without a log.

    Parameters
    ----------
    rows : sequence of LogRow
    scenario : str
        As a command takes it.
    """
    if not rows:
        return ""
    wrong = contradictions(rows)
    if not wrong:
        found = [str(row.verdict) for row in rows]
        counts = [f"{found.count(verdict)} {verdict}" for verdict in Agreement if verdict in found]
        return f"Your own log does not contradict the model: of {len(rows)} latencies {listed(counts)}."
    named = [_wrong(row) for row in wrong[:NAMED_MAX]]
    more = f" and {len(wrong) - NAMED_MAX} more" if len(wrong) > NAMED_MAX else ""
    where = "" if all(row.taken_at != "unknown" for row in wrong) else ", wherever its clock was"
    return (
        f"This verdict contradicts your own log{where}: {'; '.join(named)}{more}. Calibrate first: headroom "
        f"calibrate {quote(scenario)} RUN.parquet, with a run of the deployment at low load (docs/CALIBRATION.md). "
        "Until then the verdict rests on assumptions where a measurement exists."
    )


def _wrong(row: "LogRow") -> str:
    """One row in words, by the reading that is nearest to the log."""
    place = min(row.errors, key=lambda place: abs(row.errors[place].value))
    error = percent(row.errors[place].value, signed=True)
    model = amount(row.modelled[place].value, "ms")
    return f"{row.route} {row.statistic.upper()} {amount(row.logged.value, 'ms')} in the log, {model} here ({error})"


def log_document(rows: "Sequence[LogRow]") -> list[dict[str, Any]]:
    """One entry a statistic of a route."""
    return [
        {
            **{name: getattr(row, name) for name in ("route", "statistic", "taken_at", "source", "verdict", "reason")},
            "logged_ms": _numbers(row.logged),
            "modelled_ms": {place: _numbers(one) for place, one in row.modelled.items()},
            "relative_error": {place: _numbers(one) for place, one in row.errors.items()},
        }
        for row in rows
    ]


def _numbers(found: "Estimate") -> dict[str, float | int]:
    return {name: getattr(found, name) for name in ("value", "low", "high", "n")}
