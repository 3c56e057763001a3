"""What a terminal shows: the tables of a run and of a plan, with words where there are colours.

Every number stands with its unit and its 95 % interval, rounded to what the interval supports.
"""

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from sim.experiments.precision import unit_of
from sim.experiments.stopping import target_of
from sim.judgement.judge import judge, overall
from sim.judgement.targets import Verdict, decide
from sim.report.sentences import answer, confirmation, headroom, screened
from sim.report.wording import (
    UNBOUNDED,
    amount,
    component_name,
    line_of,
    percent,
    significant,
    span,
    target_name,
    target_names,
)
from sim.results.breakdown import by_route, waterfall

if TYPE_CHECKING:
    from sim.experiments.capacity import Capacity
    from sim.experiments.sensitivity import Sensitivity
    from sim.experiments.stopping import SequentialEstimate
    from sim.experiments.sweep import Sweep
    from sim.judgement.comparison import Comparison, ComparisonRow
    from sim.judgement.cost import Cost
    from sim.judgement.judge import TargetRow
    from sim.planning import Plan
    from sim.results.result import Result
    from sim.scenario.scenario import Scenario

COLOURS = {
    Verdict.PASS: "green",
    Verdict.WARN: "yellow",
    Verdict.ALERT: "red",
    Verdict.INCONCLUSIVE: "cyan",
    Verdict.INVALID: "magenta",
    "agrees": "green",
    "inside": "green",
    "too few": "cyan",
    "differs": "red",
    "no data": "cyan",
}

SENSITIVITIES = 5
"""Numbers that a terminal shows; the report has all."""


def run_tables(result: "Result") -> Iterator[RenderableType]:
    """Everything that ``headroom run`` prints."""
    rows = judge(result) if len(result.frame) else ()
    yield Text(repr(result)[1:-1])
    yield from _notes(result.notes)
    if not rows:
        yield Text("no request was finished: nothing to judge")
        return
    yield target_table(rows, title=f"{result.scenario.name} on {result.on}")
    yield route_table([result])
    yield station_table(result)
    yield verdict_panel(overall(rows), result.scenario.question)


def sequential_table(found: "SequentialEstimate", scenario: "Scenario") -> Table:
    """Everything that ``headroom run --until`` prints."""
    goal, estimate, unit = found.precision, found.estimate, unit_of(found.precision.metric)
    title = f"{target_name(goal.metric, goal.statistic)} of {scenario.name}, within {goal.limit_text}"
    table = _table(title, "", "")
    table.show_header = False
    table.add_row("value", amount(estimate.value, unit))
    table.add_row("95 % interval", f"{span(estimate.low, estimate.high, unit=unit)} {unit}".rstrip())
    table.add_row("precise enough", "yes" if found.reached else f"no: {found.reason}")
    table.add_row("replications", f"{found.replications:,} of {found.requests:,} requests each, {found.looks} looks")
    table.add_row("requests played", f"{found.requests_total:,}, all looks and warm-ups included")
    line = target_of(goal, scenario)
    if line is not None:
        verdict = decide(estimate.low, estimate.high, line=line)
        table.add_row("target", f"{line_of(line.target, line.unit)}, alert {line_of(line.alert, line.unit)}")
        table.add_row("verdict", coloured(verdict))
    return table


def plan_tables(plan: "Plan") -> Iterator[RenderableType]:
    """Everything that ``headroom plan`` prints."""
    name = plan.scenario.name
    if plan.targets:
        yield target_table(plan.targets, title=f"{name}, simulated {len(plan.simulated)} times")
        yield route_table(plan.simulated)
        yield waterfall_table(plan.simulated)
        yield station_table(plan.simulated[0])
        yield Text(screened(plan))
    if plan.measured is not None and plan.measured_targets:
        part = f"{len(plan.measured.frame):,} requests in {plan.measured.duration_s:.0f} s"
        yield target_table(plan.measured_targets, title=f"{name}, measured on the reference: {part}")
    if plan.comparison is not None:
        yield comparison_table(plan.comparison)
    if plan.capacity is not None:
        yield capacity_table(plan.capacity)
    if plan.cost is not None:
        yield cost_table(plan.cost)
    if plan.sensitivity:
        yield sensitivity_table(plan.sensitivity)
    yield from _notes(plan.notes)
    yield verdict_panel(plan.verdict, summary(plan))


def summary(plan: "Plan") -> str:
    """The scenario's question, and what was found, a sentence a line."""
    sentences = (plan.scenario.question, answer(plan), headroom(plan), confirmation(plan))
    return "\n".join(said for said in sentences if said)


def target_table(rows: "Sequence[TargetRow]", *, title: str) -> Table:
    """The verdict table."""
    table = _table(title, "metric", ">value", ">95 % interval", ">n", ">target", ">alert", "verdict", "")
    for row in rows:
        good, bad = ("≤", ">") if row.direction == "below" else ("≥", "<")
        lines = (row.target, row.alert)
        table.add_row(
            target_name(row.metric, row.statistic),
            amount(row.value, row.unit, apart_from=lines),
            span(row.low, row.high, unit=row.unit, apart_from=lines),
            f"{row.n:,}",
            f"{good} {line_of(row.target, row.unit)}",
            f"{bad} {line_of(row.alert, row.unit)}",
            coloured(row.verdict),
            row.reason,
        )
    return table


def route_table(results: "Sequence[Result]") -> Table:
    """Latency of each route."""
    table = _table("Routes", "route", ">n", ">failed", ">P50, ms", "95 % interval", ">P99, ms", "95 % interval")
    for row in by_route(results).to_dict(orient="records"):
        spans = {name: span(row[f"{name}_low_ms"], row[f"{name}_high_ms"], unit="ms") for name in ("p50", "p99")}
        table.add_row(
            str(row["route"]), f"{row['n']:,}", f"{row['errors']:,}",
            significant(row["p50_ms"]), spans["p50"], significant(row["p99_ms"]), spans["p99"],
        )  # fmt: skip
    return table


def waterfall_table(results: "Sequence[Result]") -> Table:
    """Where the time of a typical and of a slow request goes."""
    table = _table("Where the time goes, mean ms", "part", ">of requests around P50", ">of requests beyond P99")
    for row in waterfall(results).to_dict(orient="records"):
        table.add_row(component_name(str(row["part"])), f"{row['p50_ms']:.1f}", f"{row['p99_ms']:.1f}")
    return table


def station_table(result: "Result") -> Table:
    """How busy each station was."""
    table = _table("Stations", "station", ">servers", ">served", ">utilization", ">busiest", ">queue", ">wait, ms")
    for row in result.stations.to_dict(orient="records"):
        servers = f"{row['servers']:,}" + (f" x {row['instances']:,}" if row["instances"] > 1 else "")
        table.add_row(
            component_name(str(row["station"])), servers, f"{row['served']:,}", percent(row["utilization"]),
            percent(row["utilization_busiest"]), significant(row["queue_mean"]), significant(row["wait_mean_ms"]),
        )  # fmt: skip
    return table


def comparison_table(found: "Comparison") -> Table:
    """The model's error, statistic by statistic."""
    columns = ("metric", "route", ">simulated", ">measured", ">n", ">error", ">joint 95 % interval", "")
    table = _table("The model against the reference, on the same requests", *columns)
    for row in found.rows:
        table.add_row(
            target_name(row.metric, row.statistic), row.route, significant(row.simulated.value),
            significant(row.measured.value), f"{row.measured.n:,}", percent(row.relative_error, signed=True),
            _error(row), coloured(row.verdict),
        )  # fmt: skip
    return table


def capacity_table(found: "Capacity") -> Table:
    """The highest load that keeps the targets."""
    table = _table("Headroom", "", "")
    table.show_header = False
    rate, unit = found.estimate, "requests/s"
    interval = span(rate.low, rate.high, unit=unit)
    table.add_row("highest load", f"{amount(rate.value, unit)}, 95 % interval {interval}")
    table.add_row("breaks first", target_names(found.limited_by))
    table.add_row("longest wait then", component_name(found.bottleneck))
    table.add_row("knee", f"{significant(found.knee_per_s)} requests/s")
    if found.missed:
        table.add_row("missed at any load", target_names(found.missed))
    return table


def cost_table(bill: "Cost") -> Table:
    """A month's bill; lines that cost nothing are left out."""
    title = f"A month costs {bill.month_usd:,.0f} USD, {bill.usd_per_1000_requests:.2g} USD per 1,000 requests"
    table = _table(title, "line", ">used", "unit", ">USD", "confidence")
    for line in sorted(bill.lines, key=lambda line: -line.usd):
        if line.usd:
            used = f"{line.used:,.0f}"
            table.add_row(f"{line.component} {line.meter}", used, line.unit, f"{line.usd:,.2f}", line.confidence)
    return table


def sensitivity_table(rows: "Sequence[Sensitivity]") -> Table:
    """The doubtful numbers that matter most."""
    table = _table("Doubtful numbers that the P99 depends on most", "number", "confidence", ">-20 %", ">+25 %", "why")
    for row in rows[:SENSITIVITIES]:
        low, high = (percent(ratio - 1, signed=True) for ratio in (row.p99_ratio_low, row.p99_ratio_high))
        table.add_row(row.source.path, row.source.confidence, low, high, row.source.source)
    return table


def sweep_table(found: "Sweep") -> Table:
    """One row a point: the values, P50 and P99 with their intervals, the busiest station, the verdict."""
    columns = (*found.vary, ">P50, ms", ">95 % interval", ">P99, ms", ">95 % interval", "busiest station", ">busy", "")
    table = _table(f"{found.scenario.name}, {len(found.seeds)} replications a point", *columns)
    for row in found.points.to_dict(orient="records"):
        cells = [str(row[path]) for path in found.vary]
        for name in ("api_latency_ms_p50", "api_latency_ms_p99"):
            cells += [significant(row[name]), span(row[f"{name}_low"], row[f"{name}_high"], unit="ms")]
        station, busy = component_name(str(row["busiest_station"])), percent(row["busiest_utilization"])
        table.add_row(*cells, station, busy, coloured(str(row["verdict"])))
    return table


def verdict_panel(verdict: str, text: str) -> Panel:
    """The verdict, in a box."""
    return Panel(Text(text), title=coloured(verdict), border_style=COLOURS[verdict], title_align="left")


def coloured(word: str) -> Text:
    """A verdict in its colour."""
    return Text(word, style=f"bold {COLOURS[word]}")


def _table(title: str, *columns: str) -> Table:
    """A table whose numeric columns, marked by ``>``, are set flush right."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim")
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    return table


def _notes(notes: Sequence[str]) -> Iterator[Text]:
    return (Text(f"note: {note}", style="yellow") for note in notes)


def _error(row: "ComparisonRow") -> str:
    """The joint interval of an error."""
    if not (isfinite(row.low) and isfinite(row.high)):
        return UNBOUNDED
    return " to ".join(percent(bound, signed=True) for bound in (row.low, row.high))
