"""Which targets of a scenario can be alerted on from what the deployment exports, and how a bad request is counted.

A target becomes an objective: a share of requests that may be bad, its *budget*. ``uptime_ratio`` above 0.9999 allows
0.0001 of the requests to fail; a P99 below 200 ms allows 0.01 of them to take longer. Alerts stand on the target line,
not on the alert line of the same row, so that nothing between the two lines goes unnoticed (hazards H48 and H49).

The deployment counts good requests and all requests; bad ones are the difference. A counter of bad ones would begin to
exist with the first bad one, and no rate sees the first sample of a series.

Sources
-------
Beyer et al. (eds.), "The Site Reliability Workbook", 2018, chapters 2 (objectives as shares of good events) and 5.
Names and bucket bounds: those of the reference (``reference_impl/monitoring/metrics.py``); a test compares the two.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from sim.judgement.targets import Target, load_targets
from sim.results.exposition import BOUNDS_MS
from sim.results.metrics import LATENCY, UPTIME

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario

TOTAL = "request_latency_ms_count"
"""Every answered request: a request that ends in an exception is in it too."""


@dataclass(frozen=True)
class Objective:
    """A target as a share of requests that may be bad.

    Attributes
    ----------
    name : str
        As in the names of its alerts: ``Uptime``, ``LatencyP99``.
    series : str
        As in the names of its recorded series: ``uptime``, ``latency_p99``.
    target : Target
    budget : Decimal
        Share of requests that may be bad, exact.
    good : str
        Selector of the counter of good requests.
    """

    name: str
    series: str
    target: Target
    budget: Decimal
    good: str

    @property
    def bad(self) -> str:
        """What a bad request is, in words."""
        return "failed" if self.target.metric == UPTIME else f"took longer than {self.target.target:g} ms"

    @property
    def runbook(self) -> str:
        """File name of its runbook."""
        return "uptime-burn.md" if self.target.metric == UPTIME else "latency-burn.md"


@dataclass(frozen=True)
class LeftOut:
    """A target, or an alert, for which there is no rule, and why."""

    name: str
    reason: str


def objectives_of(scenario: "Scenario") -> tuple[tuple[Objective, ...], tuple[LeftOut, ...]]:
    """Return the objectives of the scenario's targets, and the targets that can have none."""
    found: list[Objective] = []
    left_out: list[LeftOut] = []
    for target in load_targets(scenario.targets_path):
        made = _objective(target) if target.applies(scenario) else "no route of the scenario has this metric"
        if isinstance(made, str):
            left_out.append(LeftOut(target.name, made))
        else:
            found.append(made)
    return tuple(found), tuple(left_out)


def _objective(target: Target) -> Objective | str:
    """Return the objective of a target, or why it has none."""
    if target.scope:
        return "the deployment's counters have no label for a route or a key"
    if target.metric == UPTIME:
        if target.target >= 1:
            return "a target of 1 leaves no budget to burn"
        budget = 1 - Decimal(repr(target.target))
        return Objective("Uptime", "uptime", target, budget, 'requests_total{status!~"5.."}')
    if target.metric != LATENCY:
        return "the deployment exports no counter of it"
    if not target.statistic.startswith("p"):
        return "a mean is no share of requests; name a percentile"
    if target.direction != "below" or target.target not in BOUNDS_MS:
        bounds = ", ".join(f"{bound:g}" for bound in BOUNDS_MS)
        return f"{target.target:g} ms is no bound of the histogram request_latency_ms ({bounds})"
    budget = 1 - Decimal(f"0.{target.statistic.removeprefix('p')}")
    # As the client library writes a bound: a float, with its point.
    good = f'request_latency_ms_bucket{{le="{float(target.target)!r}"}}'
    return Objective(f"Latency{target.statistic.upper()}", f"latency_{target.statistic}", target, budget, good)
