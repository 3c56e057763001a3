"""Shares of the routes in the traffic: by weight, after what schedules take.

A route that comes in by a schedule has a rate of its own, so its share falls as the traffic grows.
"""

from typing import TYPE_CHECKING

from sim.foundation.errors import ScenarioError
from sim.foundation.schema import PAGE
from sim.scenario.arrivals import Closed, TraceReplay

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario


def shares_of(scenario: "Scenario") -> dict[str, float]:
    """Return the share of each route by its name; they add up to 1. A trace says itself how often each comes.

    Raises
    ------
    ScenarioError
        Schedules alone would run as often as all requests come, or a closed loop has no rate to compare them with.
    """
    scheduled = {} if isinstance(scenario.workload.arrivals, TraceReplay) else _scheduled(scenario)
    weights = {name: route.share for name, route in scenario.routes.items() if name not in scheduled}
    total = sum(weights.values())
    if not total:  # Nothing but schedules.
        weights, total = {**weights, **scheduled}, sum(scheduled.values())
        return {name: weights[name] / total for name in scenario.routes}
    rest = 1 - sum(scheduled.values())
    return {name: scheduled.get(name, weights.get(name, 0.0) / total * rest) for name in scenario.routes}


def _scheduled(scenario: "Scenario") -> dict[str, float]:
    """Share of the requests that come in by schedules, by route."""
    runs_per_s: dict[str, float] = {}
    for name, route in scenario.routes.items():
        entry = scenario.system.instances[route.enter]
        if entry.component.runs_per_s is not None:
            runs_per_s[name] = route.share * entry.component.runs_per_s(entry)
    together_per_s = sum(runs_per_s.values())
    if not together_per_s:
        return runs_per_s
    rate_per_s = _arrivals_per_s(scenario, list(runs_per_s))
    if together_per_s >= rate_per_s and any(
        scenario.routes[name].share for name in scenario.routes.keys() - runs_per_s
    ):
        names = ", ".join(f"routes.{name}" for name in runs_per_s)
        rule = f"must come less often than all requests of workload.arrivals ({rate_per_s:.4g} a second)"
        raise ScenarioError(f"{names} by schedule, {together_per_s:.4g} a second, {rule} ({PAGE})")
    return {name: one_per_s / rate_per_s for name, one_per_s in runs_per_s.items()}


def _arrivals_per_s(scenario: "Scenario", routes: list[str]) -> float:
    """Mean rate of all requests, from the times at which the scenario's own seed lets them come."""
    workload, arrivals = scenario.workload, scenario.arrivals
    if isinstance(arrivals, Closed):
        way_out = "a closed loop has no rate beside its users; leave the schedule out with share = 0"
        raise ScenarioError(f"routes.{routes[0]}.enter is a schedule; {way_out} ({PAGE})")
    assert not isinstance(arrivals, TraceReplay), "a trace says itself how often each route comes"
    time_s = arrivals.times_s(scenario.seed, duration_s=workload.duration_s, requests=workload.requests)
    if not len(time_s):
        raise ScenarioError(f"workload.duration_s={workload.duration_s:g} ends before the first arrival ({PAGE})")
    return len(time_s) / (workload.duration_s or float(time_s[-1]))
