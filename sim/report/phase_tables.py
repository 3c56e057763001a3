"""The table of a scenario's faults: what failed and how slow it was before, during and after each of them."""

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING

from sim.judgement.targets import targets_of
from sim.report.grid import Cell, Column, Grid, grid
from sim.report.wording import INTERVAL, NONE, amount, percent, span
from sim.results.metrics import LATENCY
from sim.results.phases import phases, recoveries

if TYPE_CHECKING:
    from sim.results.phases import Recovery
    from sim.results.result import Result
    from sim.statistics.intervals import Estimate


def phase_table(results: "Sequence[Result]") -> Grid:
    """Return failed requests and P99 before, during and after each fault of the scenario."""
    rows = [
        [
            Cell(one.fault),
            Cell(one.phase),
            Cell(f"{one.requests:,}"),
            _share_cell(one.error_share),
            Cell(NONE) if one.p99_ms is None else Cell(amount(one.p99_ms.value, "ms"), _span_ms(one.p99_ms)),
        ]
        for one in phases(results)
    ]
    columns = [
        Column("fault"),
        Column("phase"),
        Column("n", "number"),
        Column("failed", "number", below=INTERVAL),
        Column("P99", "number", below=INTERVAL),
    ]
    caption = "; ".join(recovery_sentence(one) for one in recoveries_of(results))
    return grid("Before, during and after each fault", columns, rows=rows, caption=caption)


def recoveries_of(results: "Sequence[Result]") -> "tuple[Recovery, ...]":
    """Return the time until the scenario's P99 target of the latency holds again after each fault; none without one."""
    scenario = results[0].scenario
    lines = [line for line in targets_of(scenario) if line.metric == LATENCY and line.statistic == "p99"]
    line = next((line for line in lines if line.route is None and line.hottest_keys is None), None)
    return () if line is None else recoveries(results, statistic=line.statistic, limit_ms=line.target)


def recovery_sentence(found: "Recovery") -> str:
    """Say how long the effects of a fault last."""
    if found.missed_before:
        return f"{found.fault}: {found.line} did not hold before it either"
    if found.time_s is None:
        return f"{found.fault}: {found.line} does not hold again (windows: {found.windows})"
    between = span(found.time_s.low, found.time_s.high, unit="s")
    bounds = f" ({between})" if isfinite(found.time_s.half_width) else ""
    often = (
        "" if found.recovered_windows == found.windows else f", in {found.recovered_windows} of {found.windows} windows"
    )
    return f"{found.fault}: {found.line} holds again {amount(found.time_s.value, 's')}{bounds} after its end{often}"


def _share_cell(share: "Estimate | None") -> Cell:
    if share is None:
        return Cell(NONE)
    low, high = max(share.low, 0.0), min(share.high, 1.0)
    return Cell(percent(share.value), f"{percent(low)} to {percent(high)}")


def _span_ms(found: "Estimate") -> str:
    return span(found.low, found.high, unit="ms")
