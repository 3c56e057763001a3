"""The rules as a file that Prometheus loads: recorded series first, then the alerts that read them.

One group, so that all rules are evaluated at the same time and in this order.
"""

import json

from sim.judgement.alerts.objectives import TOTAL, Objective
from sim.judgement.alerts.rules import Alert, BurnAlert, Rules, SilenceAlert, duration

INTERVAL_S = 60
"""Between scrapes, and between evaluations: what Prometheus does by default."""


def rule_file(rules: Rules, *, runbooks: str) -> str:
    """Return the text of the rule file; *runbooks* is the folder or the address at which the runbooks are."""
    lines = [
        f"# Alerts of the scenario {rules.name}, written by `headroom alerts {rules.name}`.",
        "# promtool check rules FILE checks it; promtool test rules runs the replayed incidents beside it.",
        "groups:",
        f"  - name: {json.dumps(f'headroom {rules.name}')}",
        f"    interval: {INTERVAL_S}s",
        "    rules:",
    ]
    for minutes in rules.request_windows:
        lines += _record(requests_series(minutes), f"sum(rate({TOTAL}[{duration(minutes)}]))")
    for objective in rules.objectives:
        for minutes in rules.windows_of(objective):
            good = f"sum(rate({objective.good}[{duration(minutes)}]))"
            lines += _record(bad_series(objective, minutes), f"1 - {good} / {requests_series(minutes)}")
    for alert in rules.alerts:
        lines += _alert(alert, runbooks)
    return "\n".join(lines) + "\n"


def requests_series(minutes: int) -> str:
    """Return the name of the recorded rate of requests."""
    return f"headroom:requests:rate{duration(minutes)}"


def bad_series(objective: Objective, minutes: int) -> str:
    """Return the name of the recorded share of bad requests."""
    return f"headroom:{objective.series}:bad_ratio_rate{duration(minutes)}"


def expression(alert: Alert) -> str:
    """Return the condition of an alert in PromQL, a line a part."""
    if isinstance(alert, SilenceAlert):
        return f"absent({requests_series(alert.window_minutes)} > 0)"
    windows, objective = alert.windows, alert.objective
    long, short = (bad_series(objective, minutes) for minutes in (windows.long_minutes, windows.short_minutes))
    line = f"{float(windows.factor)} * {float(objective.budget)}"
    requests = f"{requests_series(windows.long_minutes)} * {windows.long_minutes * 60}"
    # Half a request below the whole number: a product of rates is not exact.
    return f"{long} > {line}\nand {short} > {line}\nand {long} * {requests} > {alert.at_least - 0.5}"


def labels(alert: Alert) -> dict[str, str]:
    """Return the labels of an alert."""
    return {"severity": alert.severity}


def annotations(alert: Alert, runbooks: str) -> dict[str, str]:
    """Return the annotations of an alert."""
    return {"runbook_url": f"{runbooks.rstrip('/')}/{alert.runbook}", "summary": alert.summary}


def _record(name: str, formula: str) -> list[str]:
    return [f"      - record: {name}", *_expr(formula)]


def _expr(formula: str) -> list[str]:
    return ["        expr: >-", *(f"          {line}" for line in formula.splitlines())]


def _alert(alert: Alert, runbooks: str) -> list[str]:
    lines = [f"      - alert: {alert.name}", *_expr(expression(alert))]
    if alert.for_minutes:
        lines.append(f"        for: {duration(alert.for_minutes)}")
    for heading, pairs in (("labels", labels(alert)), ("annotations", annotations(alert, runbooks))):
        lines.append(f"        {heading}:")
        lines += [f"          {key}: {json.dumps(value)}" for key, value in pairs.items()]
    if isinstance(alert, BurnAlert):
        lines.insert(0, f"      # Fires {_soonest(alert)} after every request has become bad.")
    return lines


def _soonest(alert: BurnAlert) -> str:
    seconds = 60 * alert.minutes_to_fire(1.0)
    units = ((86_400, "d"), (3_600, "h"), (60, "min"))
    return next((f"{seconds / one:.1f} {unit}" for one, unit in units if seconds >= 2 * one), f"{seconds:.1f} s")
