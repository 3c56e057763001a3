"""The tables of ``headroom alerts``: each alert and how it did, then each class of incidents and who saw it."""

from collections.abc import Iterator, Sequence
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.text import Text

from sim.experiments.alerting.backtest import COSTS, PROMISED, Detection, detection
from sim.experiments.alerting.probe import PROBES
from sim.judgement.alerts.rules import QUIET_SHARE, BurnAlert, duration
from sim.judgement.dependence import HIT_SHARES, SLOW_SHARE
from sim.report.grid import Cell, Column, Grid, grid
from sim.report.html import grid_html
from sim.report.terminal import table
from sim.report.wording import listed, significant
from sim.statistics.intervals import rate_interval

if TYPE_CHECKING:
    from sim.experiments.alerting.alerts import Alerts
    from sim.experiments.alerting.backtest import Trial
    from sim.judgement.alerts.rules import Alert
    from sim.statistics.intervals import Estimate


def alerts_tables(found: "Alerts") -> Iterator[RenderableType]:
    """Everything that ``headroom alerts`` prints."""
    yield table(rules_grid(found))
    yield table(incidents_grid(found))
    for line in notes(found):
        yield Text(line, style="dim")


def alerts_html(found: "Alerts") -> str:
    """Both tables, and what they rest on."""
    return grid_html(rules_grid(found)) + grid_html(incidents_grid(found), notes=list(notes(found)))


def rules_grid(found: "Alerts") -> Grid:
    """One row an alert."""
    columns = [
        Column("alert"),
        Column("severity"),
        Column("fires at"),
        Column("due", "number"),
        Column("fired", "number", below="95 %"),
        Column("minutes to fire", "number", below="95 %"),
        Column("false alarms a quarter", "number", below="95 %"),
        Column("runbook", page_only=True),
    ]
    tried = found.backtest
    rows: list[list[Cell | str]] = []
    for alert in found.rules.alerts:
        did = tried.detection_by(alert)
        share, minutes = _detected(did)
        row: list[Cell | str] = [
            alert.name,
            alert.severity,
            _condition(alert),
            f"{len(tried.due(alert))}",
            share,
            minutes,
        ]
        rows.append([*row, _interval(tried.false_alarm_rate(alert)), alert.runbook])
    caption = (
        f"{len(tried.trials)} simulated incidents, {tried.quarters} quiet quarters. Due: the Worker counts the "
        "incident, and it exceeds the alert's lines. Minutes: median of those due that fired, from its start."
    )
    return grid(f"Alerts of {found.scenario.name}, backtested", columns, rows=rows, caption=caption)


def incidents_grid(found: "Alerts") -> Grid:
    """One row a class of incidents, by what they cost and whether the Worker counts them."""
    columns = [
        Column("incident, and share of the month's budget"),
        Column("n", "number"),
        Column("paged", "number", below="95 %"),
        Column("minutes to page", "number", below="95 %"),
        Column("page or ticket", "number", below="95 %", page_only=True),
        *(Column(f"{probe.name}", "number", below="95 %") for probe in PROBES),
        Column("minutes to that", "number", below="95 %", page_only=True),
    ]
    rows: list[list[Cell | str]] = []
    for counted, name in ((True, "counted"), (False, "stopped before the Worker")):
        for low, high in COSTS:
            own = [
                trial for trial in found.backtest.trials
                if trial.incident.counted == counted and low <= trial.budget_share < high
            ]  # fmt: skip
            rows.append([f"{name}, {cost_class(low, high)}", f"{len(own)}", *_seen(found, own)])
    caption = f"A probe alerts on its first failure; a cron trigger runs on the platform that it checks. {_assumed()}"
    return grid("Who sees an incident, by what it costs", columns, rows=rows, caption=caption)


def conclusion(found: "Alerts") -> str:
    """What the backtest found, in a few sentences."""
    tried = found.backtest
    pages = tuple(alert for alert in found.rules.alerts if alert.severity == "page")
    said = []
    for counted, who in ((True, "reach the Worker"), (False, "are stopped before it")):
        own = [
            trial for trial in tried.trials if trial.incident.counted == counted and trial.budget_share >= PROMISED
        ]  # fmt: skip
        hits = sum(isfinite(trial.first_minutes(pages)) for trial in own)
        said.append(f"{hits} of {len(own)} that {who}")
    false = rate_interval(sum(sum(tried.false_alarms[alert.name]) for alert in pages), tried.quarters)
    return (
        f"Of the incidents that spend at least {100 * PROMISED:g} % of a month's budget, the pages catch {said[0]}, "
        f"and {said[1]}. False pages a quarter: {significant(false.value)} (95 %: {significant(false.low)} to "
        f"{significant(false.high)})."
    )


def notes(found: "Alerts") -> list[str]:
    """What the numbers rest on, and what has no alert."""
    wave = found.wave
    traffic = f"Traffic: {significant(wave.mean_per_s)}/s on average, {wave.peak_factor:g} times that at the peak."
    missing: dict[str, list[str]] = {}
    for one in found.rules.left_out:
        missing.setdefault(one.reason, []).append(one.name)
    return [
        conclusion(found),
        traffic,
        *found.notes,
        *(f"No alert: {listed(names)} ({reason})." for reason, names in missing.items()),
    ]


def alerts_document(found: "Alerts") -> dict[str, Any]:
    """The report for other programs."""
    tried = found.backtest
    return {
        "schema_version": 1,
        "scenario": found.scenario.name,
        "seed": found.seed,
        "incidents": len(tried.trials),
        "quiet_quarters": tried.quarters,
        "alerts": [_alert_document(found, alert) for alert in found.rules.alerts],
        "left_out": [vars(one) for one in found.rules.left_out],
        "trials": [
            {
                **vars(trial.incident),
                "budget_share": trial.budget_share,
                "due": sorted(trial.due),
                "fired_minutes": _finite(trial.fired_minutes),
                "probed_minutes": _finite(trial.probed_minutes),
            }
            for trial in tried.trials
        ],
        "notes": notes(found),
    }


def _alert_document(found: "Alerts", alert: "Alert") -> dict[str, Any]:
    did = found.backtest.detection_by(alert)
    return {
        "name": alert.name,
        "severity": alert.severity,
        "runbook": alert.runbook,
        "summary": alert.summary,
        "due": len(found.backtest.due(alert)),
        "fired": did.found,
        "minutes_median": did.minutes,
        "false_alarms_per_quarter": found.backtest.false_alarm_rate(alert),
    }


def _finite(minutes: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in minutes.items() if isfinite(value)}


def _seen(found: "Alerts", own: "Sequence[Trial]") -> list[Cell]:
    pages = tuple(alert for alert in found.rules.alerts if alert.severity == "page")
    paged, minutes = _detected(detection([trial.first_minutes(pages) for trial in own]))
    alerted, _ = _detected(detection([trial.first_minutes(found.rules.alerts) for trial in own]))
    probed = [_detected(detection([trial.probed_minutes[probe.name] for trial in own])) for probe in PROBES]
    return [paged, minutes, alerted, *(share for share, _ in probed), probed[-1][1]]


def _detected(did: Detection) -> tuple[Cell, Cell]:
    if did.found is None:
        return Cell("none due"), Cell("")
    bounds = f"{100 * did.found.low:.0f} to {100 * did.found.high:.0f} %"
    return Cell(f"{100 * did.found.value:.0f} %", below=bounds), _interval(did.minutes) if did.minutes else Cell(
        "never"
    )


def _interval(found: "Estimate") -> Cell:
    if not isfinite(found.low) and found.high == inf:
        return Cell(significant(found.value), below=f"n = {found.n}")
    high = significant(found.high) if found.high < inf else "not bounded"
    low = significant(found.low) if isfinite(found.low) else "not bounded"
    return Cell(significant(found.value), below=f"{low} to {high}")


def _condition(alert: "Alert") -> str:
    if not isinstance(alert, BurnAlert):
        return f"no request in {duration(alert.window_minutes)}, for {duration(alert.for_minutes)}"
    windows = alert.windows
    pair = f"{duration(windows.long_minutes)} and {duration(windows.short_minutes)}"
    return f"{windows.factor:g}x over {pair}, >= {alert.at_least} bad"


def cost_class(low: float, high: float) -> str:
    """Name a class of incidents by the share of a month's budget that they spend."""
    if high == inf:
        return f"over {100 * low:g} %"
    return f"under {100 * high:g} %" if not low else f"{100 * low:g} to {100 * high:g} %"


def _assumed() -> str:
    shares = listed([f"{name} {100 * low:g} to {100 * high:g} %" for name, (low, high) in HIT_SHARES.items()])
    return (
        f"Assumed: requests hit ({shares}), {100 * SLOW_SHARE:.0f} % of the incidents slow and the rest failing, "
        f"{100 * QUIET_SHARE:.0f} % of the budget spent in quiet."
    )
