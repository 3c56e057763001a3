"""The tables of a run, a plan, a bill: what stands in them, for every face that shows them.

Every number stands with its unit and its 95 % interval, rounded to what the interval supports.
"""

from collections.abc import Hashable, Sequence
from math import inf, isfinite, isnan
from typing import TYPE_CHECKING, Any

from sim.experiments.sensitivity import FACTOR
from sim.experiments.stopping import target_of
from sim.flow import ELASTIC
from sim.judgement.targets import decide
from sim.report import lower_loads
from sim.report.generator_words import GENERATOR
from sim.report.grid import Cell, Column, Grid, grid
from sim.report.wording import (
    INTERVAL,
    NONE,
    amount,
    assumption,
    component_name,
    error_span,
    line_of,
    percent,
    significant,
    span,
    target_name,
    target_names,
)
from sim.results.breakdown import by_route, waterfall
from sim.results.metrics import unit_of

if TYPE_CHECKING:
    from sim.experiments.capacity import Capacity
    from sim.experiments.sensitivity import Sensitivity
    from sim.experiments.stopping import SequentialEstimate
    from sim.experiments.sweep import Sweep
    from sim.judgement.comparison import Comparison
    from sim.judgement.judge import TargetRow
    from sim.results.result import Result
    from sim.scenario.provenance import Provenance
    from sim.scenario.scenario import Scenario
    from sim.screening import Screening, StationScreening
    from sim.statistics.intervals import Estimate


def targets(
    rows: "Sequence[TargetRow]",
    measured: "Sequence[TargetRow]" = (),
    *,
    title: str = "",
    heading: str = "value",
) -> Grid:
    """Return the verdict table.

    Parameters
    ----------
    rows : sequence of TargetRow
    measured : sequence of TargetRow
        Stand beside the rows of the same target.
    title : str
    heading : str
        What the values of *rows* are.
    """
    beside = {row.name: row for row in measured}
    columns = [
        Column("metric"),
        Column("target", "number"),
        Column("alert", "number"),
        Column("", "picture", page_only=True),
        Column(heading, "number", below=INTERVAL),
        Column("n", "number"),
        Column("verdict", "verdict", below="what would settle it"),
    ]
    if measured:
        columns += [Column("measured", "number", below=INTERVAL), Column("n measured", "number")]
        columns += [Column("measured verdict", "verdict", below="what would settle it")]
    shared = {row.reason for row in measured}
    caption = f"Measured: {shared.pop()}." if len(shared) == 1 and measured[0].reason else ""
    lines = []
    for row in rows:
        theirs = beside.get(row.name)
        line = [*_line_cells(row), Cell(data=(row, theirs)), *_value_cells(row)]
        if measured:
            line += [Cell()] * 3 if theirs is None else _value_cells(theirs, silent=bool(caption))
        lines.append(line)
    return grid(title, columns, rows=lines, caption=caption)


def _line_cells(row: "TargetRow") -> list[Cell]:
    good, bad = ("≤", ">") if row.direction == "below" else ("≥", "<")
    return [
        Cell(target_name(row.name)),
        Cell(f"{good} {line_of(row.target, row.unit)}"),
        Cell(f"{bad} {line_of(row.alert, row.unit)}"),
    ]


def remark(row: "TargetRow") -> str:
    """Return what stands below a verdict: what would settle it, or which assumption it only restates."""
    follows = f"follows from your assumption {row.follows_from}: measure it" if row.follows_from else ""
    return "; ".join(part for part in (row.reason, follows) if part)


def _value_cells(row: "TargetRow", *, silent: bool = False) -> list[Cell]:
    """The estimate over its interval, the requests that it rests on, the verdict over its reason."""
    lines = (row.target, row.alert)
    value = Cell(
        amount(row.value, row.unit, apart_from=lines), span(row.low, row.high, unit=row.unit, apart_from=lines)
    )
    if not isfinite(row.value) and not isfinite(row.low):
        value = Cell(NONE if row.n == 0 else amount(row.value, row.unit))
    return [value, Cell(f"{row.n:,}"), Cell(row.verdict, "" if silent else remark(row))]


def routes(simulated: "Sequence[Result]", measured: "Result | None" = None) -> Grid:
    """Return how many, how many failed, and P50 and P99 of each route; a measurement beside the simulation."""
    ours = by_route(simulated).to_dict(orient="records")
    theirs = {row["route"]: row for row in by_route([measured]).to_dict(orient="records")} if measured else {}
    columns = [Column("route"), *_route_columns("n" if measured is None else "simulated")]
    rows = [[Cell(str(row["route"])), *_route_cells(row)] for row in ours]
    if measured is not None:
        columns += _route_columns("measured")
        rows = [[*row, *(_route_cells(theirs[row[0].text]) if row[0].text in theirs else [Cell()] * 4)] for row in rows]
    return grid("Routes", columns, rows=rows)


def _route_columns(count: str) -> list[Column]:
    latencies = [Column(name, "number", below=INTERVAL) for name in ("P50", "P99")]
    return [Column(count, "number"), Column("failed", "number"), *latencies]


def _route_cells(row: "dict[Hashable, Any]") -> list[Cell]:
    latencies = [
        Cell(amount(row[f"{name}_ms"], "ms"), span(row[f"{name}_low_ms"], row[f"{name}_high_ms"], unit="ms"))
        for name in ("p50", "p99")
    ]
    return [Cell(f"{row['n']:,}"), Cell(f"{row['errors']:,}"), *latencies]


def parts(results: "Sequence[Result]") -> Grid:
    """Return where the time of a typical and of a slow request goes."""
    rows = [
        (component_name(str(row["part"])), f"{row['p50_ms']:.1f}", f"{row['p99_ms']:.1f}")
        for row in waterfall(results).to_dict(orient="records")
    ]
    columns = ("part", ">of requests around P50", ">of requests beyond P99")
    return grid("Where the time goes, mean ms", columns, rows=rows)


def stations(results: "Sequence[Result]", screening: "Screening | None" = None) -> Grid:
    """Return how busy each station was, and how long its queue: means of the runs, beside what arithmetic says."""
    frames = [run.stations.set_index("station").astype(float) for run in results]
    mean = sum(frames[1:], frames[0]) / len(frames)
    screened = {row.station: row for row in screening.rows} if screening is not None else {}
    rows = [
        [
            component_name(str(name)),
            "elastic" if row["servers"] >= ELASTIC else f"{row['servers']:,.0f}",
            f"{row['instances']:,.0f}",
            f"{row['served']:,.0f}",
            _utilization(row["utilization"], elastic=row["servers"] >= ELASTIC),
            _utilization(row["utilization_busiest"], elastic=row["servers"] >= ELASTIC),
            significant(row["queue_mean"]),
            amount(row["wait_mean_ms"], "ms"),
            *(screened_cells(screened[str(name)]) if screened else ()),
        ]
        for name, row in mean.sort_values("utilization_busiest", ascending=False).iterrows()
    ]
    names = ("servers", "instances", "served", "utilization", "of the busiest", "mean queue", "mean wait")
    columns = [Column("station"), *(Column(name, "number") for name in names)]
    if screened:
        arithmetic = ("by arithmetic: busiest", "wait", "sustains")
        columns += [Column(name, "number", page_only=True) for name in arithmetic]
    return grid("Stations", columns, rows=rows)


def screened_cells(row: "StationScreening") -> list[str]:
    """Return what arithmetic says of a station: how busy its busiest instance, the mean wait, the rate it sustains."""
    most = "no bound" if row.rate_per_s_max == inf else f"{significant(row.rate_per_s_max)}/s"
    busy = _utilization(row.busiest_utilization, elastic=row.servers >= ELASTIC)
    return [busy, amount(row.wait_ms_mean, "ms"), most]


def _utilization(ratio: float, *, elastic: bool) -> str:
    if elastic:
        return "scales out"
    return "not reported" if isnan(ratio) else percent(ratio)


def comparison(found: "Comparison", *, names: tuple[str, str] | None = None) -> Grid:
    """Return the model's error in each statistic; of two runs that are both simulated, by their *names*."""
    rows = [
        (
            target_name(row.metric, row.statistic),
            "all routes" if row.route == "all" else row.route,
            _estimate(row.simulated, row.metric),
            _estimate(row.measured, row.metric),
            f"{row.measured.n:,}",
            Cell(
                percent(row.relative_error, signed=True),
                "" if isnan(row.relative_error) else error_span(row.low, row.high),
            ),
            f"±{percent(row.tolerance_ratio)}",
            Cell(row.verdict, row.reason),
        )
        for row in found.rows
    ]
    first, second = names or ("simulated", "measured")
    columns = (
        "statistic",
        "route",
        Column(first, "number", below=INTERVAL),
        Column(second, "number", below=INTERVAL),
        f">n {second}",
        Column("error", "number", below="joint 95 % interval"),
        ">tolerance",
        Column("verdict", "verdict", below="what would settle it"),
    )
    sides = "The model against the measurement" if names is None else f"{first} against {second}"
    return grid(f"{sides}, on the same requests", columns, rows=rows, caption=_decided(found) if names else "")


def _decided(found: "Comparison") -> str:
    """Say which rows decide, and what the others are."""
    others = sum(row.verdict == "differs" for row in found.rows if row not in found.judged)
    differ = f"; of the other rows {others:,} {'differs' if others == 1 else 'differ'}" if others else ""
    return f"P50 and P99 of the latency over all routes decide: {found.verdict}{differ}."


def _estimate(found: "Estimate", metric: str) -> Cell:
    unit = unit_of(metric)
    return Cell(amount(found.value, unit), span(found.low, found.high, unit=unit))


def capacity(found: "Capacity") -> Grid:
    """Return the highest load that meets the targets."""
    rate, unit = found.estimate, "requests/s"
    rows: list[tuple[Cell | str, ...]] = [
        ("highest load", Cell(amount(rate.value, unit), span(rate.low, rate.high, unit=unit))),
        *lower_loads.rows(found),
        *_start_row(found.cold_start),
        ("breaks first", first_to_break(found)),
        ("slowest requests wait longest for", component_name(found.bottleneck)),
        ("knee", f"{significant(found.knee_per_s)} requests/s"),
        *([("limited by your assumption", assumption(found.assumption))] if found.assumption else []),
        *([("missed at any load", target_names(found.missed))] if found.missed else []),
        *([] if found.settled else [("not settled", f"probes of {found.longest_s / 60:.0f} min still change")]),
    ]
    return grid("Headroom", ("", Column("", below=INTERVAL)), rows=rows)


def first_to_break(found: "Capacity") -> str:
    """Return the targets that break first, or the station that is overloaded before any does."""
    name = target_names(found.limited_by)
    return f"{name} of {component_name(found.bottleneck)}" if found.ends_in_overload else name


def _start_row(rate: "Estimate | None") -> list[tuple[Cell | str, ...]]:
    """The rate that meets the targets in the first minutes after a start from empty."""
    if rate is None:
        return []
    said = amount(rate.value, "requests/s") if rate.value else "no load meets the targets"
    return [("after a cold start or a deploy", Cell(said, span(rate.low, rate.high, unit="requests/s")))]


def sensitivity(rows: "Sequence[Sensitivity]") -> Grid:
    """Return what a quarter less and more of each low-confidence number does."""
    lines = [
        (
            Cell(row.source.path),
            row.source.confidence,
            _changes(row.p50_ratio_low, row.p50_ratio_high),
            _changes(row.p99_ratio_low, row.p99_ratio_high),
            _moved(row),
            row.source.source,
        )
        for row in rows
    ]
    columns = (
        Column("number", "path"), "confidence", f">P50, ÷ and × {FACTOR:g}", f">P99, ÷ and × {FACTOR:g}", "moves most",
        "why",
    )  # fmt: skip
    return grid("Low-confidence numbers that the targets depend on most", columns, rows=lines)


def _moved(row: "Sensitivity") -> str:
    """Name the target that moves most, and by how much; none where nothing moves by a thousandth."""
    name, swing = row.most
    if swing < 0.001:
        return "none"
    return f"{target_name(name)}: {_changes(*row.targets[name])}" if name in row.targets else target_name(name)


def _changes(*ratios: float) -> str:
    return ", ".join(percent(ratio - 1, signed=True) for ratio in ratios)


def provenance(sources: "Sequence[Provenance]") -> Grid:
    """Return every number that has a source or a reason; those of low confidence are marked."""
    rows = [
        (
            source.path,
            _value(source.value, source.unit),
            Cell(source.confidence, mark="low" if source.low_confidence else ""),
            Cell(source.source, source.platform_key or ""),
        )
        for source in sources
    ]
    columns = (Column("number", "path"), "value", "confidence", "source and platform fact, or the author's reason")
    return grid("Sources", columns, rows=rows)


def _value(value: Any, unit: str) -> str:
    """A number with its unit, a distribution in words, or the names in a table of tables."""
    if isinstance(value, dict):
        parts = dict(value)
        if any(isinstance(entry, dict) and "distribution" not in entry for entry in parts.values()):
            return ", ".join(parts)
        distribution = parts.pop("distribution", None)
        said = ", ".join(f"{key} {_value(entry, '1')}" for key, entry in parts.items())
        return f"{distribution}: {said}{'' if unit == '1' else f' {unit}'}" if distribution else said
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.12g}{'' if unit == '1' else f' {unit}'}"


def generator(check: dict[str, Any]) -> Grid:
    """Return what the load generator measured of itself."""
    rows = [(name, _checked(check[key], unit)) for key, (name, unit) in GENERATOR.items() if check.get(key) is not None]
    return grid("Load generator", ("self-check", ">value"), rows=rows)


def _checked(value: Any, unit: str) -> str:
    if isinstance(value, str):
        return value
    if unit == "%":
        return percent(float(value))
    return f"{significant(float(value))} {unit}".strip()


def sweep(found: "Sweep") -> Grid:
    """Return one row a point: the values, P50 and P99 with their intervals, the busiest station, the verdict."""
    latencies = [Column(name, "number", below=INTERVAL) for name in ("P50", "P99")]
    columns: list[Column | str] = [*found.vary, *latencies, "busiest station", ">busy", Column("verdict", "verdict")]
    rows: list[list[Cell | str]] = []
    for row in found.points.to_dict(orient="records"):
        cells: list[Cell | str] = [str(row[path]) for path in found.vary]
        cells += [
            Cell(amount(row[name], "ms"), span(row[f"{name}_low"], row[f"{name}_high"], unit="ms"))
            for name in ("api_latency_ms_p50", "api_latency_ms_p99")
        ]
        station, busy = component_name(str(row["busiest_station"])), percent(row["busiest_utilization"])
        rows.append([*cells, station, busy, str(row["verdict"])])
    return grid(f"{found.scenario.name}, {len(found.seeds)} replications a point", columns, rows=rows)


def sequential(found: "SequentialEstimate", scenario: "Scenario") -> Grid:
    """Return what ``headroom run --until`` found: the estimate, what it took, and the target's verdict if any."""
    goal, estimate, unit = found.precision, found.estimate, unit_of(found.precision.metric)
    rows: list[tuple[str, str]] = [
        ("value", amount(estimate.value, unit)),
        ("95 % interval", span(estimate.low, estimate.high, unit=unit)),
        ("precise enough", "yes" if found.reached else f"no: {found.reason}"),
        ("replications", f"{found.replications:,} of {found.requests:,} requests, {found.looks} looks"),
        ("requests played", f"{found.requests_total:,}, all looks and warm-ups included"),
    ]
    line = target_of(goal, scenario)
    if line is not None:
        verdict = decide(estimate.low, estimate.high, line=line)
        said = f"{line_of(line.target, line.unit)}, alert {line_of(line.alert, line.unit)}"
        rows += [("target", said), ("verdict", verdict)]
    title = f"{target_name(goal.metric, goal.statistic)} of {scenario.name}, within {goal.limit_text}"
    return grid(title, ("", ""), rows=rows)
