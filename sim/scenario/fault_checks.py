"""Check the faults of a scenario: they must lie in the run, not overlap, and affect what some route uses."""

from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING

from sim.foundation.schema import PAGE, dotted, nearest
from sim.models.component import Tier
from sim.models.registry import components
from sim.scenario.arrivals import Closed, TraceReplay
from sim.scenario.faults import Fault, overlapping, time_problems
from sim.scenario.injection import concerned, named_by, no_effect
from sim.scenario.reached import keys_of
from sim.scenario.recorded import trace_of

if TYPE_CHECKING:
    from sim.flow import Flow
    from sim.scenario.scenario import Scenario


FAULTS = "faults"


def run_s(scenario: "Scenario") -> float | None:
    """Return the length of the arrivals; of a fixed number of requests the expected one, of a closed loop None."""
    workload = scenario.workload
    arrivals = scenario.arrivals
    if workload.duration_s is not None:
        return workload.duration_s
    if isinstance(arrivals, Closed):
        return None
    if isinstance(arrivals, TraceReplay):
        trace = trace_of(scenario)
        assert trace is not None, "these arrivals are a trace's"
        return trace.scaled(arrivals.time_scale).duration_ms / 1_000
    assert workload.requests is not None, "a workload has either"
    return workload.requests / arrivals.nominal_per_s


def fault_problems(scenario: "Scenario", flow: "Flow") -> Iterator[str]:
    """Yield the problems of the scenario's faults, one line each.

    Parameters
    ----------
    scenario : Scenario
    flow : Flow
        All its steps, without faults.
    """
    length_s = run_s(scenario)
    for number, fault in enumerate(scenario.faults):
        for problem in (*_place(scenario, fault, flow), *time_problems(fault, length_s)):
            yield f"{dotted((FAULTS, number))}.{problem} ({PAGE})"
    for (first, one), (second, other) in combinations(enumerate(scenario.faults), 2):
        same = {i.name for i in concerned(one, scenario.system)} & {i.name for i in concerned(other, scenario.system)}
        if one.kind == other.kind and same and overlapping(one, other, run_s=length_s):
            rule = f"overlaps {dotted((FAULTS, first))}, which is {one.kind} of the same instance"
            yield f'{dotted((FAULTS, second))}.kind="{other.kind}" {rule}; make them one, or apart in time ({PAGE})'


def _place(scenario: "Scenario", fault: Fault, flow: "Flow") -> Iterator[str]:
    named = [("instance", fault.instance), *(("together_with", name) for name in fault.together_with)]
    for key, name in named:
        yield from _one_place(scenario, fault, flow, said=f'{key}="{name}"', name=name)
    own = {one.name for one in named_by(fault.instance, scenario.system)}
    for name in fault.together_with:
        if own & {one.name for one in named_by(name, scenario.system)}:
            yield f'together_with="{name}" is the instance itself: name others that fail with it'
    yield from _keys(scenario, fault)


def _keys(scenario: "Scenario", fault: Fault) -> Iterator[str]:
    """Yield the keys that no request at the fault's instances can have: they would fail nobody."""
    counts = keys_of(scenario)
    most = max((counts.get(one.name, 0) for one in concerned(fault, scenario.system)), default=0)
    wrong = [key for key in fault.keys if key >= most]
    if wrong and most:
        yield f"keys={wrong[0]} must be < {most}, the number of keys whose requests come there"


def _one_place(scenario: "Scenario", fault: Fault, flow: "Flow", *, said: str, name: str) -> Iterator[str]:
    instances = named_by(name, scenario.system)
    if not instances:
        known = (*scenario.system, *(one.name for one in components() if scenario.system.of(one.name)))
        yield f"{said} is not in the system; {nearest(name, known)}"
        return
    if all(one.component.tier == Tier.CALLER for one in instances):
        yield f"{said} is the caller, which has no faults here; name an instance that it calls"
        return
    if not any(one.name in scenario.reached for one in instances):
        yield f"{said} is used by no route, so a fault there would change nothing"
        return
    reached = [one for one in instances if one.name in scenario.reached]
    for reason in {no_effect(fault, one, flow=flow): one for one in reached if no_effect(fault, one, flow=flow)}:
        yield f'kind="{fault.kind}" cannot be: {name} {reason}'
    if fault.share_of_instances is not None:
        alone = [one.name for one in reached if one.station is None or one.station.instances == 1]
        if alone:
            yield f"share_of_instances={fault.share_of_instances:g} needs several objects; {alone[0]} is one: use keys"
