"""Tables and documents of load runs: what a dry run says, and the highest rate that was measured."""

from math import isfinite
from typing import TYPE_CHECKING, Any

from sim.foundation.figures import figure
from sim.report.grid import Cell, Column, Grid, grid
from sim.report.html import grid_html
from sim.report.wording import INTERVAL, amount, significant, span

if TYPE_CHECKING:
    from sim.experiments.load import LoadPlan
    from sim.experiments.measured_capacity import LoadProbe, MeasuredCapacity


def load_plan_grid(found: "LoadPlan") -> Grid:
    """Return what a load run would send."""
    least = "at least " if found.unpriced else ""
    rows: list[tuple[Cell | str, ...]] = [
        ("hosts", ", ".join(found.hosts)),
        ("requests", f"{found.requests:,}"),
        ("before them: connections, stored objects, floor", f"{found.preparing_requests:,}"),
        ("at most, if every one is retried", f"{found.attempts_max:,}"),
        ("duration", f"{figure(found.duration_s, 4)} s, of which {figure(found.warm_up_s)} s are not judged"),
        ("rate", f"{significant(found.rate_per_s)} requests/s, {found.peak_per_s:,.0f} in the busiest second"),
        ("uploads", f"{figure(found.upload_bytes / 1e6)} MB{f', by S3 to {found.s3}' if found.s3 else ''}"),
        ("estimated cost", f"{least}{found.usd:,.2g} USD; with all retries {found.usd_max:,.2g} USD"),
        ("headers", ", ".join(found.headers) or "none"),
        ("processes", str(found.processes)),
    ]
    if found.unpriced:
        rows.append(("no price is known of", ", ".join(found.unpriced)))
    return grid(f"Would be sent to {found.url} (nothing was)", ("", ""), rows=rows)


def measured_capacity_grids(found: "MeasuredCapacity") -> list[Grid]:
    """Return the highest rate that was measured, and the probes."""
    rate = found.estimate
    rows: list[tuple[Cell | str, ...]] = [
        ("highest rate that keeps the targets", _rate(found)),
        ("breaks first", ", ".join(found.limited_by) or "nothing"),
        ("valid", "yes" if found.valid else "no: INVALID"),
    ]
    if found.floor is not None:
        floor = found.floor
        said = f"P50 {significant(floor.latency_ms_p50)} ms, P99 {significant(floor.latency_ms_p99)} ms"
        rows.append(("a server that takes no time, at this rate", f"{said}, {floor.check.cpu_ratio:.0%} of a core"))
    answer = grid(f"Measured on {found.on}", ("", Column("", below=INTERVAL)), rows=rows)
    columns = ("seed", ">rate, requests/s", ">sent", ">requests", ">P50, ms", ">P99, ms", ">ok", "broken")
    probes = grid(f"Probes ({rate.n} searches)", columns, rows=[_probe_cells(probe) for probe in found.probes])
    return [answer, probes]


def load_plan_html(found: "LoadPlan") -> str:
    """Return what a load run would send, for a notebook."""
    return grid_html(load_plan_grid(found))


def measured_capacity_html(found: "MeasuredCapacity") -> str:
    """Return the highest rate that was measured, for a notebook."""
    return "".join(grid_html(one) for one in measured_capacity_grids(found))


def measured_capacity_document(found: "MeasuredCapacity") -> dict[str, Any]:
    """Return the highest rate that was measured, and the probes, as JSON."""
    floor = found.floor
    return {
        "schema_version": 1,
        "on": found.on,
        "rate_per_s": found.estimate.value,
        "low": found.estimate.low,
        "high": found.estimate.high,
        "searches": found.estimate.n,
        "limited_by": list(found.limited_by),
        "valid": found.valid,
        "notes": list(found.notes),
        "floor": floor and {**vars(floor), "check": floor.check.as_dict()},
        "probes": [vars(probe) for probe in found.probes],
    }


def _rate(found: "MeasuredCapacity") -> Cell:
    rate = found.estimate
    said = amount(rate.value, "requests/s")
    if not isfinite(rate.high):
        return Cell(f"at least {said}" if rate.value else "not known")
    return Cell(said, span(rate.low, rate.high, unit="requests/s"))


def _probe_cells(probe: "LoadProbe") -> list[str]:
    numbers = (probe.rate_per_s, probe.achieved_per_s, probe.requests, probe.p50_ms, probe.p99_ms)
    broken = "the load generator itself" if probe.own_limit else ", ".join(probe.broken)
    return [str(probe.seed), *(significant(number) for number in numbers), f"{probe.ok_share:.1%}", broken]
