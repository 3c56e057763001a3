"""Replayed samples as a file for ``promtool test rules``: Prometheus itself must say when the alerts fire.

For each alert the file asks on both sides of every change, and for the number of evaluations at which it was firing:
together these fix every evaluation.
"""

import json

import numpy as np

from sim.judgement.alerts.objectives import TOTAL
from sim.judgement.alerts.replay import Counter, Firing, Samples
from sim.judgement.alerts.rule_file import INTERVAL_S, annotations, labels
from sim.judgement.alerts.rules import Alert, Rules
from sim.results.metrics import UPTIME

METHOD = 'method="GET"'


def rule_tests(rules: Rules, samples: Samples, *, firing: Firing, name: str, rules_file: str, runbooks: str) -> str:
    """Return the text of a test file: these samples must make *rules_file* fire as *firing* says.

    *runbooks* is as in the rule file.
    """
    lines = [
        f"# {name}, replayed by `headroom alerts {rules.name}`. Run: promtool test rules FILE",
        "rule_files:",
        f"  - {json.dumps(rules_file)}",
        f"evaluation_interval: {INTERVAL_S}s",
        "tests:",
        f"  - name: {json.dumps(name)}",
        f"    interval: {INTERVAL_S}s",
        "    input_series:",
    ]
    for selector, values in _series(rules, samples, size=firing.at_s.size):
        lines += [f"      - series: {json.dumps(selector)}", f"        values: {json.dumps(values)}"]
    lines.append("    alert_rule_test:")
    for alert in rules.alerts:
        flags = firing.firing[alert.name]
        changes = np.flatnonzero(flags[1:] != flags[:-1]) + 1
        for place in sorted({0, flags.size - 1, *changes.tolist(), *(changes - 1).tolist()}):
            lines += _asked(alert, int(firing.at_s[place]), firing=bool(flags[place]), runbooks=runbooks)
    lines.append("    promql_expr_test:")
    for alert in rules.alerts:
        lines += _counted(alert, int(firing.at_s[-1]), int(firing.firing[alert.name].sum()))
    return "\n".join(lines) + "\n"


def _series(rules: Rules, samples: Samples, *, size: int) -> list[tuple[str, str]]:
    found = [(f"{TOTAL}{{{METHOD}}}", _values(samples.total, size))]
    for objective in rules.objectives:
        good = samples.good[objective.name]
        if objective.target.metric == UPTIME:
            bad = Counter(good.at_s, samples.total.values - good.values)
            found.append((f'requests_total{{{METHOD},status="200"}}', _values(good, size)))
            found.append((f'requests_total{{{METHOD},status="500"}}', _values(bad, size)))
        else:
            found.append((objective.good.replace("{", f"{{{METHOD},"), _values(good, size)))
    return found


def _values(counter: Counter, size: int) -> str:
    """Return the samples in promtool's notation: one each interval, ``_`` where a scrape failed."""
    cells = ["_"] * size
    for at_s, value in zip(counter.at_s, counter.values, strict=True):
        cells[round(at_s / INTERVAL_S)] = f"{value:.0f}"
    return " ".join(cells)


def _asked(alert: Alert, at_s: int, *, firing: bool, runbooks: str) -> list[str]:
    lines = [f"      - eval_time: {at_s}s", f"        alertname: {alert.name}"]
    if not firing:
        return [*lines, "        exp_alerts: []"]
    lines += ["        exp_alerts:", f"          - exp_labels: {json.dumps(labels(alert))}"]
    return [*lines, f"            exp_annotations: {json.dumps(annotations(alert, runbooks))}"]


def _counted(alert: Alert, at_s: int, count: int) -> list[str]:
    series = f'ALERTS{{alertname="{alert.name}",alertstate="firing"}}[{at_s + 1}s]'
    return [
        f"      - expr: {json.dumps(f'sum(count_over_time({series})) or vector(0)')}",
        f"        eval_time: {at_s}s",
        '        exp_samples: [{labels: "{}", value: ' + str(count) + "}]",
    ]
