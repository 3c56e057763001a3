"""A whole plan in a second, for tests of pages and figures.

The simulations are real, the measurement is a simulation with another seed, and capacity and sensitivities are made by
hand, so that what a page or a figure must say is known beforehand.
"""

from dataclasses import replace
from functools import cache
from typing import Any

from sim.experiments.capacity import Capacity
from sim.experiments.plan import Plan, plan
from sim.experiments.probe import Probe
from sim.experiments.sensitivity import Sensitivity, low_confidence_numbers
from sim.judgement.comparison import compare
from sim.judgement.cost import cost
from sim.judgement.judge import TargetRow, judge
from sim.judgement.targets import Verdict
from sim.runners.play import play
from sim.scenario.generation import schedule
from sim.scenario.scenario import Scenario, load_scenario
from sim.screening import screen
from sim.statistics.intervals import Estimate

SEED = 7
CAPACITY_PER_S = 1234.0
KNEE_PER_S = 1100.0
LIMIT = "api_latency_ms p99"

GENERATOR = {
    "planned_requests": 580,
    "sent_requests": 580,
    "send_lag_ms_p99": 0.4321,
    "cpu_ratio": 0.21,
    "started_utc": "2026-11-24T10:00:00+00:00",
    "stopped_because": None,
}


ATTEMPTS = 3
"""Measurements that a machine with other work may invalidate."""


def measured_plan(scenario: Scenario) -> Plan:
    """A whole plan, its live part on the reference: the first whose measurement is valid, else the last."""
    for _ in range(ATTEMPTS):
        whole = plan(scenario, replications=2)
        if whole.measured is not None and whole.measured.valid:
            break
    return whole


@cache
def example_plan() -> Plan:
    """A plan with all its parts."""
    changes = {"workload.duration_s": 40, "workload.warm_up_s": 5, "workload.live_s": 10}
    scenario = load_scenario("launch").with_(**changes)
    whole = schedule(scenario, SEED)
    part = whole.live(scenario.workload.live_s, scenario.workload.live_rate_max_per_s)
    simulated = tuple(play(scenario, whole, on="simpy", seed=SEED + step) for step in range(2))
    window = tuple(play(scenario, part, on="simpy", seed=SEED + step) for step in range(3))
    measured = replace(play(scenario, part, on="simpy", seed=SEED + 50), on="reference", generator=dict(GENERATOR))
    return Plan(
        scenario,
        SEED,
        screening=screen(scenario),
        simulated=simulated,
        targets=judge(simulated),
        measured=measured,
        simulated_window=window,
        comparison=compare(window, measured),
        capacity=example_capacity(),
        cost=cost(scenario),
        sensitivity=example_sensitivity(scenario),
    )


def about(value: float) -> Estimate:
    """An estimate with an interval of a tenth each way."""
    return Estimate(value, 0.9 * value, 1.1 * value, 1_000, "by hand")


def probe(rate_per_s: float, p50_ms: float, p99_ms: float, *, busy: dict[str, float]) -> Probe:
    """One probe of a search."""
    p50, p99 = about(p50_ms), about(p99_ms)
    return Probe(rate_per_s, SEED, 1_000, p50_ms, p50, p99, (p50, p99), busy, dict.fromkeys(busy, 0.0))


def example_capacity(**changes: Any) -> Capacity:
    """D1 breaks between the second and the third of three probes."""
    probes = (
        probe(100, 40, 130, busy={"d1": 0.05, "workers": 0.02}),
        probe(1_200, 42, 180, busy={"d1": 0.5, "workers": 0.25}),
        probe(2_000, 60, 4_000, busy={"d1": 1.1, "workers": 0.4}),
    )
    estimate = Estimate(CAPACITY_PER_S, 1_100.0, 1_400.0, 5, "by hand")
    found = Capacity(estimate, (LIMIT,), "d1", ("api_latency_ms p50", LIMIT), ("d1_query_ms p99",), KNEE_PER_S, probes)
    return replace(found, **changes)


def example_sensitivity(scenario: Any) -> tuple[Sensitivity, ...]:
    """Twelve low-confidence numbers; the first moves the P99 by 20 %, each next one by less."""
    sources = low_confidence_numbers(scenario)[:12]
    swings = [0.2 / (place + 1) for place in range(len(sources))]
    return tuple(
        Sensitivity(source, 1 - swing / 2, 1 + swing / 2, 1 - swing / 3, 1 + swing)
        for source, swing in zip(sources, swings, strict=True)
    )


def target_row(verdict: str = "PASS", **changes: Any) -> TargetRow:
    """A row of the P99 of latency."""
    made = TargetRow(
        metric="api_latency_ms", statistic="p99", value=150.0, unit="ms", low=140.0, high=160.0, n=1_000, target=200.0,
        alert=500.0, direction="below", verdict=Verdict(verdict),
    )  # fmt: skip
    return replace(made, **changes)


def judged(*verdicts: str) -> Plan:
    """The plan with rows of these verdicts."""
    return replace(example_plan(), targets=tuple(target_row(verdict) for verdict in verdicts), comparison=None)
