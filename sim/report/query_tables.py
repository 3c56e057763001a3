"""The tables of ``headroom d1``: all statements, then those that scan, with the index that mends them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.text import Text

from sim.experiments.queries.filling import Value
from sim.experiments.queries.growth import in_words
from sim.experiments.queries.report import sizes_shown
from sim.judgement.targets import Verdict
from sim.report.grid import Cell, Column, Grid, grid
from sim.report.html import grid_html
from sim.report.terminal import coloured, table, verdict_panel
from sim.report.wording import listed, significant, usd

if TYPE_CHECKING:
    from sim.experiments.queries.growth import Point
    from sim.experiments.queries.report import D1Report, Index, Measured, QueryReport

BEFORE = {"counted": "", "estimated": "~\u00a0", "at least": ">=\u00a0", "extrapolated": "~\u00a0"}
"""What stands before a number of rows that is not a count."""
SAID = {
    "counted": "",
    "estimated": (
        "~ is an estimate: the count stopped after two million instructions, or the runtime's SQLite combines answers "
        "in another way (--on workerd)."
    ),
    "at least": ">= is a lower bound: only the real runtime can count this statement (--on workerd).",
    "extrapolated": "~ is extrapolated by the exponent of growth from the sizes that were made.",
}
VALUE_CHARACTERS_MAX = 40
NAME_CHARACTERS_MAX = 24
COUNTED_BY = {"reference": "the reference's row counter", "workerd": "the real runtime (workerd)"}


def query_tables(report: "D1Report") -> Iterator[RenderableType]:
    """Everything that ``headroom d1`` prints."""
    yield table(summary(report))
    for query in report.queries:
        if query.verdict is not Verdict.PASS:
            yield Text()
            yield Text.assemble(f"{query.name}: ", coloured(query.verdict), f" {query.measured.growth.reason}")
            yield Text(f"  {in_words(query.measured.plan)}", style="dim")
            yield table(details(report, query))
            for line in advice(query):
                yield Text(line)
    for note in report.notes:
        yield Text(f"note: {note}", style="yellow")
    yield verdict_panel(report.verdict, conclusion(report))


def summary(report: "D1Report") -> Grid:
    """One row a statement."""
    columns = [
        Column("query"),
        Column("rows read", "number"),
        Column("written", "number"),
        Column("grows", "number"),
        Column("queries/s", "number"),
        Column("USD/month", "number"),
        Column("verdict", "verdict"),
    ]
    rows = [
        (
            _short(query.name, NAME_CHARACTERS_MAX),
            _rows(query.measured.last, query.measured.last.rows_read),
            _rows(query.measured.last, query.measured.last.rows_written),
            exponent_shown(query.measured.growth.exponent),
            significant(query.measured.queries_per_s),
            usd(query.measured.usd_per_month).removesuffix(" USD"),
            query.verdict.value,
        )
        for query in report.queries
    ]
    bases = {query.measured.last.basis for query in report.queries}
    sizes = ", ".join(f"{name} {number:,}" for name, number in report.rows.items()) or "no table"
    said = [f"At {sizes} rows, counted by {COUNTED_BY[report.on]}; plans and times by SQLite {report.sqlite_version}."]
    said.append(f"Each runs {report.rate_per_s:g} times a second.")
    said += [SAID[one] for one in sorted(bases) if SAID[one]]
    return grid("What each query reads and writes", columns, rows=rows, caption=" ".join(said))


def details(report: "D1Report", query: "QueryReport") -> Grid:
    """What a statement does at every size, now and with its index."""
    sides = [query.measured, *([query.index.after] if query.index else [])]
    shares = [*report.shares, *([1.0] if report.shares[-1] < 1 else [])]
    sizes = sizes_shown(report.rows, shares)
    rows: list[list[Cell | str]] = []
    for place, size in enumerate(sizes):
        points = [side.points[place] for side in sides]
        rows.append([f"rows read at {size}", *(_rows(point, point.rows_read) for point in points)])
    rows.append(["rows written", *(_rows(side.last, side.last.rows_written) for side in sides)])
    rows.append(["ms here (95 %)", *(_ms(side) for side in sides)])
    rows.append(["queries/s, one database", *(significant(side.queries_per_s) for side in sides)])
    rows.append([f"USD a month at {report.rate_per_s:g}/s", *(usd(side.usd_per_month) for side in sides)])
    heads = [Column(""), Column("now", "number"), *([Column("with the index", "number")] if query.index else [])]
    return grid("", heads, rows=rows)


def advice(query: "QueryReport") -> Iterator[str]:
    """The index and its price, or that none helps; then the values of the parameters."""
    index = query.index
    if index is not None:
        for create in index.sql:
            yield f"  {create};"
        yield f"  {write_price(index)}"
        if index.after.growth.verdict is Verdict.ALERT:
            yield f"  still {index.after.growth.reason}"
    elif query.verdict is Verdict.ALERT:
        tried = (
            f"none of {query.candidates} indexes tried halves what it reads"
            if query.candidates
            else "no index on columns can mend it"
        )
        if query.has_expression:
            tried += " (one on an expression may, and is not tried)"
        yield f"  {tried}; bound what it asks for, or keep the answer up to date in a row of its own"
    if query.parameters:
        shown = (
            f"{'?' if one.name.isdecimal() else ':'}{one.name} = {value_shown(one.value)} ({one.source})"
            for one in query.parameters
        )
        yield f"  measured with {'; '.join(shown)}"


def write_price(index: "Index") -> str:
    """What an index costs, in a sentence."""
    parts = []
    pairs = (
        ("an insert", index.insert_rows_written, index.insert_before_rows_written),
        ("an update of its columns", index.update_rows_written, index.update_before_rows_written),
    )
    for what, after, before in pairs:
        if after is not None and before is not None:
            parts.append(f"{what} writes {after:,} rows in place of {before:,}")
    size = f"{significant(index.added_bytes / 1e6)} MB more at the largest size measured"
    return f"its price: {'; '.join([*parts, size])}"


def conclusion(report: "D1Report") -> str:
    """What was found, in a sentence or two."""
    count = len(report.queries)
    scans = [query for query in report.queries if query.verdict is Verdict.ALERT]
    results = [query for query in report.queries if query.verdict is Verdict.WARN]
    queries = "1 query" if count == 1 else f"{count} queries"
    said = []
    if scans:
        mended = [query for query in scans if query.index and query.index.after.growth.verdict is not Verdict.ALERT]
        said.append(f"{len(scans)} of {queries} scan more as tables grow: {listed([one.name for one in scans])}.")
        before = sum(query.measured.usd_per_month for query in mended)
        after = sum(query.index.after.usd_per_month for query in mended if query.index)
        if mended:
            said.append(f"An index mends {len(mended)}: {usd(before)} a month becomes {usd(after)}.")
    if results:
        said.append(f"{len(results)} of {queries} return or change more as tables grow.")
    unseen = [query.name for query in report.queries if query.verdict is Verdict.INCONCLUSIVE]
    if unseen:
        said.append(f"{listed(unseen)}: not judged, since a table could not be filled.")
    if not said:
        said.append(f"{queries[0].upper()}{queries[1:]}: none reads more as its tables grow.")
    read, written = report.included_rows_read / 1e9, report.included_rows_written / 1e6
    said.append(f"Prices are before what the plan includes: {read:g} billion rows read, {written:g} million written.")
    return " ".join(said)


def query_document(report: "D1Report") -> dict[str, Any]:
    """The report for other programs."""
    return {
        "schema_version": 1,
        "verdict": report.verdict,
        "on": report.on,
        "sqlite_version": report.sqlite_version,
        "rate_per_s": report.rate_per_s,
        "included_rows_read": report.included_rows_read,
        "included_rows_written": report.included_rows_written,
        "rows": dict(report.rows),
        "shares": list(report.shares),
        "queries": [{"verdict": query.verdict, **vars(query)} for query in report.queries],
        "notes": list(report.notes),
    }


def d1report_html(report: "D1Report") -> str:
    """The summary, and the details of what scans."""
    parts = [grid_html(summary(report), notes=conclusion(report))]
    for query in report.queries:
        if query.verdict is not Verdict.PASS:
            notes = " ".join([query.measured.growth.reason + ".", in_words(query.measured.plan) + ".", *advice(query)])
            found = details(report, query)
            parts.append(grid_html(Grid(query.name, found.columns, found.rows), notes=notes))
    return "".join(parts)


def value_shown(value: Value) -> str:
    """Return a value as SQL writes it, short."""
    if isinstance(value, bytes):
        return f"X'{value.hex()[:16]}'"
    return "NULL" if value is None else _short(repr(value), VALUE_CHARACTERS_MAX)


def exponent_shown(exponent: float) -> str:
    """Return how something grows with the tables: ``no``, or the power of their size."""
    return "no" if exponent < 0.05 else f"n^{exponent:.2f}"


def _rows(point: "Point", number: int) -> str:
    mark = BEFORE[point.basis]
    return f"{mark}{number:,}" if number or mark.startswith(">") else "0"


def _ms(side: "Measured") -> str:
    times = side.times
    return f"{significant(times.ms_median)} ({significant(times.ms_low)} to {significant(times.ms_high)})"


def _short(text: str, characters_max: int) -> str:
    return text if len(text) <= characters_max else f"{text[: characters_max - 1]}…"
