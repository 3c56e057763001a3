"""What ``docs/FIDELITY.md`` and ``docs/FIDELITY_WORKERD.md`` say of the real runtime, from recorded scores."""

from collections.abc import Iterator, Mapping

import numpy as np

from tests.evidence.fidelity_scores import (
    COVERAGE_GOAL,
    GOAL_LOADS,
    GOALS,
    LOADS,
    QQ,
    QQ_RECORDED,
    SATURATING_CONNECTIONS,
    STATISTICS,
    Score,
    Scores,
)


def text(scorings: Mapping[str, Scores]) -> str:
    """Return the goals of all scorings, and the tables of the last one, as a page has them."""
    found = list(scorings.values())[-1]
    covered, intervals = found.coverage()
    late = sum(one.late_runs for one in found.scores if one.load < 1)
    lines = [
        "## The real runtime, calibrated at a quarter of its capacity",
        "",
        _calibration(found),
        "",
        _saturation(found),
        "",
        goals(scorings),
        "",
        "All else on this page is of the last scoring.",
        "",
        "| load | requests/s | statistic | predicted [90 %] | measured: median (least to most) | error | runs within |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: |",
        *(line for one in found.scores if one.load < 1 for line in _rows(one)),
        "",
        f"The predicted intervals of the loads that were held out hold {covered} of {intervals} measured values.",
        "",
        f"Runs below saturation that did not pass the driver's own check: {late}.",
        "",
        "No number was fitted to the loads that were held out, but the form of the model and how it is measured were",
        "chosen after trials that had seen such loads: shared turns, pauses with requests, how processes are run,",
        "state in memory. These runs were made afterwards.",
        "",
        "| Q-Q, ms | " + " | ".join(f"P{100 * q:g}" for q in QQ) + " |",
        "| --- |" + " ---: |" * len(QQ),
        *(line for one in found.scores if one.load < 1 for line in _quantiles(one)),
    ]
    return "\n".join(lines) + "\n"


def goals(scorings: Mapping[str, Scores]) -> str:
    """Return the table of the goals: what was promised, and what each scoring found, by when it was made."""
    found = [_goals(scores) for scores in scorings.values()]
    lines = ["| goal | " + " | ".join(scorings) + " |", "| --- |" + " --- |" * len(scorings)]
    for rows in zip(*found, strict=True):
        cells = [f"{seen}, {'met' if met else '**missed**'}" for _, seen, met in rows]
        lines.append(f"| {rows[0][0]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _goals(found: Scores) -> list[tuple[str, str, bool]]:
    """Return the goals of one scoring: what was promised, what was found, and whether it was kept."""
    covered, intervals = found.coverage()
    rows = [
        (
            f"throughput at saturation within {GOALS['throughput']:.0%}",
            f"{found.saturation_error:+.1%}",
            abs(found.saturation_error) <= GOALS["throughput"],
        )
    ]
    for name in ("p50", "p99"):
        for one in (score for score in found.scores if score.load in GOAL_LOADS):
            error = one.error(name)
            said = f"{name.upper()} within {GOALS[name]:.0%} at {one.load:.0%}"
            rows.append((said, f"{error:+.1%}", abs(error) <= GOALS[name]))
    each = "; ".join(f"{name.upper()} {' of '.join(map(str, found.coverage(name)))}" for name in STATISTICS)
    rows.append(
        (
            f"predicted intervals hold {COVERAGE_GOAL:.0%} of the runs",
            f"{covered} of {intervals} ({each})",
            intervals > 0 and covered >= COVERAGE_GOAL * intervals,
        )
    )
    return rows


def cheaper(found: Scores) -> str:
    """Return the processor time of the runtime for a request, by load."""
    below = [one for one in found.scores if one.load < 1]
    lines = [
        "| load | " + " | ".join(f"{one.load:.0%}" for one in below) + " |",
        "| --- |" + " ---: |" * len(below),
        "| processor time of a request, ms | " + " | ".join(f"{one.cpu_ms:.3f}" for one in below) + " |",
        "| turn of the model: alone, further, ms | "
        + " | ".join(f"{found.lone_ms.value:.3f}, {found.further_ms.value:.3f}" for _ in below)
        + " |",
        "| error of the P50 | " + " | ".join(f"{one.error('p50'):+.0%}" for one in below) + " |",
    ]
    return "\n".join(lines)


def _calibration(found: Scores) -> str:
    lone, further, slope = found.lone_ms, found.further_ms, found.delay_slope_ms
    every = found.pause_every_requests
    regular = "regular" if found.pauses_are_regular else "irregular"
    return (
        f"Calibrated at {found.rate_per_s:,.0f} requests/s: the turn of one request {lone.value:.3f} ms "
        f"[{lone.low:.3f}, {lone.high:.3f}], of each further one {further.value:.3f} ms [{further.low:.3f}, "
        f"{further.high:.3f}]; delay P50 {found.delay_ms_p50:.2f} ms, and {1e6 * slope.value:+.1f} us "
        f"[{1e6 * slope.low:+.1f}, {1e6 * slope.high:+.1f}] for each 1,000 requests/s more, where the driver against a "
        f"trivial route takes {found.floor_ms['p50']:.2f} ms (P99 {found.floor_ms['p99']:.2g}); a pause of "
        f"{found.pause_ms_p50:.0f} ms every {every.value:,.0f} requests [{every.low:,.0f}, {every.high:,.0f}] "
        f"({regular}); flush {found.flush_row_us:.2g} us a row.{_order(found)}"
    )


def _order(found: Scores) -> str:
    service = found.service
    if service is None:
        return ""
    first = "those that came last first" if service.newest_first else "those that came first first"
    most = "all that wait" if service.requests_max is None else f"at most {service.requests_max}"
    return (
        f" From bursts: a turn serves {most}, {first}, after an intake of {service.intake_ms:.2f} ms for each that "
        f"came; latencies of the bursts are then {service.misfit_ms:.1f} ms from those measured, in the mean, and "
        f"{service.all_at_once_ms:.1f} ms if a turn served all that wait."
    )


def _saturation(found: Scores) -> str:
    most, measured = found.capacity_per_s, float(np.median(found.saturation_per_s))
    return (
        f"Throughput at saturation, offered {LOADS[-1]:.0%} of what it could do at first on {SATURATING_CONNECTIONS} "
        f"connections: predicted {most.value:,.0f}/s [{most.low:,.0f}, {most.high:,.0f}], "
        f"measured {measured:,.0f}/s: {found.saturation_error:+.0%}."
    )


def _rows(one: Score) -> Iterator[str]:
    for name in (*STATISTICS, "utilization"):
        number, seen, held = one.predicted[name], one.measured[name], one.covered(name)
        said, unit = (name, "") if name == "utilization" else (name.upper(), " ms")
        yield (
            f"| {one.load:.0%} | {one.rate_per_s:,.0f} | {said} | {number.value:.3g} [{number.low:.3g}, "
            f"{number.high:.3g}]{unit} | {np.median(seen):.3g} ({min(seen):.3g} to {max(seen):.3g}){unit} | "
            f"{one.error(name):+.0%} | {sum(held)} of {len(held)} |"
        )


def _quantiles(one: Score) -> Iterator[str]:
    at = [QQ_RECORDED.index(q) for q in QQ]
    for side in ("predicted", "measured"):
        values = [one.qq_ms[side][place] for place in at]
        yield f"| {one.load:.0%} {side} | " + " | ".join(f"{value:.3g}" for value in values) + " |"
