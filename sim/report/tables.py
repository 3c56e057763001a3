"""The tables of the report, each from the part of a plan that it tells."""

from collections.abc import Hashable, Sequence
from math import inf, isnan
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from sim.experiments.sensitivity import FACTOR
from sim.report.html import badge, path, stacked, table
from sim.report.wording import amount, component_name, meter_name, percent, significant, span, target_name, usd
from sim.results.breakdown import by_route

if TYPE_CHECKING:
    from sim.experiments.sensitivity import Sensitivity
    from sim.judgement.comparison import Comparison, ComparisonRow
    from sim.judgement.cost import Cost
    from sim.results.result import Result
    from sim.scenario.provenance import Provenance
    from sim.screening import Screening, StationScreening
    from sim.statistics.intervals import Estimate

UNITS = {"api_latency_ms": "ms", "worker_cpu_ms": "ms", "d1_query_ms": "ms", "r2_upload_mb_per_s": "MB/s"}

GENERATOR = {
    "planned_requests": ("requests planned", ""),
    "sent_requests": ("requests sent", ""),
    "skipped_requests": ("requests skipped, because too many were under way", ""),
    "aborted_requests": ("requests given up at the end", ""),
    "retries": ("further attempts", ""),
    "offered_per_s": ("rate that was meant to be sent", "requests/s"),
    "achieved_per_s": ("rate that was sent", "requests/s"),
    "send_lag_ms_p50": ("lateness of sending, P50", "ms"),
    "send_lag_ms_p99": ("lateness of sending, P99", "ms"),
    "send_lag_ms_max": ("lateness of sending, worst", "ms"),
    "latency_ms_p50": ("latency that the lateness is measured against, P50", "ms"),
    "overhead_ms_p50": ("latency that no component accounts for, P50", "ms"),
    "overhead_ms_p99": ("latency that no component accounts for, P99", "ms"),
    "floor_ms_p50": ("driver, wire and HTTP server alone, P50", "ms"),
    "cpu_ratio": ("processor time of the generator, of one core", "%"),
    "in_flight_requests": ("most requests under way at once", ""),
    "started_utc": ("started", ""),
    "heartbeats": ("heartbeats of the tunnel", ""),
    "heartbeats_answered": ("heartbeats answered", ""),
    "tunnel_reconnections": ("reconnections of the tunnel", ""),
    "stopped_because": ("stopped early because of", ""),
}
"""What the load generator says of itself: the name for a reader, and the unit."""


def route_table(simulated: "Sequence[Result]", measured: "Result | None" = None) -> Markup:
    """How many, how many failed, and P50 and P99 of each route; a measurement beside the simulation."""
    ours = by_route(simulated).to_dict(orient="records")
    theirs = {row["route"]: row for row in by_route([measured]).to_dict(orient="records")} if measured else {}
    columns = ["route", ">simulated", ">failed", ">P50", ">P99"]
    rows: list[list[object]] = [[row["route"], *_route_cells(row)] for row in ours]
    if measured is not None:
        columns += [">measured", ">failed", ">P50", ">P99"]
        rows = [[*row, *(_route_cells(theirs[row[0]]) if row[0] in theirs else [""] * 4)] for row in rows]
    return table(columns, rows)


def _route_cells(row: "dict[Hashable, Any]") -> list[object]:
    latencies = [
        stacked(amount(row[f"{name}_ms"], "ms"), span(row[f"{name}_low_ms"], row[f"{name}_high_ms"], unit="ms"))
        for name in ("p50", "p99")
    ]
    return [f"{row['n']:,}", f"{row['errors']:,}", *latencies]


def station_table(results: "Sequence[Result]", screening: "Screening | None" = None) -> Markup:
    """How busy each station was, and how long its queue; the means of the runs, beside what arithmetic says."""
    frames = [run.stations.set_index("station").astype(float) for run in results]
    mean = sum(frames[1:], frames[0]) / len(frames)
    screened = {row.station: row for row in screening.rows} if screening is not None else {}
    rows = [
        [
            component_name(str(name)),
            f"{row['servers']:,.0f}",
            f"{row['instances']:,.0f}",
            f"{row['served']:,.0f}",
            _share(row["utilization"]),
            _share(row["utilization_busiest"]),
            significant(row["queue_mean"]),
            amount(row["wait_mean_ms"], "ms"),
            *(_screened_cells(screened[str(name)]) if screened else ()),
        ]
        for name, row in mean.sort_values("utilization_busiest", ascending=False).iterrows()
    ]
    columns = [
        "station",
        ">servers",
        ">instances",
        ">served",
        ">utilization",
        ">of the busiest",
        ">mean queue",
        ">mean wait",
    ]
    if screened:
        columns += [">by arithmetic: busiest", ">wait", ">bears"]
    return table(columns, rows)


def _screened_cells(row: "StationScreening") -> list[str]:
    most = "no bound" if row.rate_per_s_max == inf else f"{significant(row.rate_per_s_max)}/s"
    return [percent(row.busiest_utilization), amount(row.wait_ms_mean, "ms"), most]


def _share(ratio: float) -> str:
    return "not told apart" if isnan(ratio) else percent(ratio)


def comparison_table(found: "Comparison") -> Markup:
    """The model's error in each statistic."""
    rows = [
        (
            target_name(row.metric, row.statistic),
            "all routes" if row.route == "all" else row.route,
            _estimate(row.simulated, row.metric),
            _estimate(row.measured, row.metric),
            f"{row.measured.n:,}",
            stacked(percent(row.relative_error, signed=True), _error_span(row)),
            f"±{percent(row.tolerance_ratio)}",
            badge(row.verdict),
        )
        for row in found.rows
    ]
    columns = ("statistic", "route", ">simulated", ">measured", ">n measured", ">error", ">tolerance", "verdict")
    return table(columns, rows)


def _estimate(found: "Estimate", metric: str) -> Markup:
    unit = UNITS.get(metric, "")
    return stacked(amount(found.value, unit), span(found.low, found.high, unit=unit))


def _error_span(row: "ComparisonRow") -> str:
    if isnan(row.relative_error):
        return ""
    if row.low <= -1 or row.high == float("inf"):
        return "unbounded"
    return f"{percent(row.low, signed=True)} to {percent(row.high, signed=True)}"


def cost_table(bill: "Cost") -> Markup:
    """Every line of the bill, and its sum."""
    rows = [
        (
            component_name(line.component),
            meter_name(line.meter),
            significant(line.used),
            significant(line.included),
            significant(line.billed),
            line.unit,
            usd(line.usd),
            percent(line.usd / bill.month_usd),
            line.confidence,
        )
        for line in bill.lines
    ]
    each = f"{usd(bill.usd_per_1000_requests)} per 1,000 requests"
    sums = ("All lines", each, "", "", "", "", usd(bill.month_usd), "100 %", "")
    total = [Markup("<b>{}</b>").format(cell) if cell else "" for cell in sums]
    columns = ("component", "meter", ">used", ">included", ">billed", "unit", ">a month", ">share", "confidence")
    return table(columns, [*rows, total])


def sensitivity_table(rows: "Sequence[Sensitivity]") -> Markup:
    """What a quarter less and more of each doubtful number does."""
    told = [
        (
            path(row.source.path),
            row.source.confidence,
            _changes(row.p50_ratio_low, row.p50_ratio_high),
            _changes(row.p99_ratio_low, row.p99_ratio_high),
        )
        for row in rows
    ]
    return table(("number", "confidence", f">P50, ÷ and × {FACTOR:g}", f">P99, ÷ and × {FACTOR:g}"), told)


def _changes(*ratios: float) -> str:
    return ", ".join(percent(ratio - 1, signed=True) for ratio in ratios)


def provenance_table(sources: "Sequence[Provenance]") -> Markup:
    """Every number that has a source or a reason; those of low confidence are marked."""
    rows = [
        (
            path(source.path),
            _value(source.value, source.unit),
            _confidence(source),
            Markup("{}<br><small>{}</small>").format(source.source, path(source.platform_key))
            if source.platform_key
            else source.source,
        )
        for source in sources
    ]
    return table(("number", "value", "confidence", "source and platform fact, or the author's reason"), rows)


def _confidence(source: "Provenance") -> Markup:
    mark = Markup(" <span class=low>low</span>") if source.low_confidence else Markup("")
    return Markup("{}{}").format(source.confidence, mark)


def _value(value: Any, unit: str) -> str:
    """A number with its unit, or a law in words."""
    if isinstance(value, dict):
        parts = dict(value)
        law = parts.pop("distribution", None)
        told = ", ".join(f"{key} {_value(entry, '1')}" for key, entry in parts.items())
        return f"{law}: {told}{'' if unit == '1' else f' {unit}'}" if law else told
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.12g}{'' if unit == '1' else f' {unit}'}"


def generator_table(check: dict[str, Any]) -> Markup:
    """What the load generator measured of itself."""
    rows = [(name, _told(check[key], unit)) for key, (name, unit) in GENERATOR.items() if check.get(key) is not None]
    return table(("self-check", ">value"), rows)


def _told(value: Any, unit: str) -> str:
    if isinstance(value, str):
        return value
    if unit == "%":
        return percent(float(value))
    return f"{significant(float(value))} {unit}".strip()
