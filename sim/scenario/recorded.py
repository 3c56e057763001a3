"""The recorded traffic of a scenario: its trace, read with the scenario's routes, and what the trace's keys are."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sim.foundation.errors import ScenarioError, UsageError
from sim.foundation.figures import figure
from sim.foundation.schema import validated
from sim.models.billing import DAYS_PER_MONTH, SECONDS_PER_MONTH
from sim.scenario.arrivals import TraceReplay
from sim.traces.options import TraceOptions
from sim.traces.paths import Pattern, pattern

SAMPLE_SHARE = 0.5
"""A trace of less than this share of the volume is no quiet hour of it but most likely a sample."""

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario
    from sim.traces.trace import Trace


def read_trace(
    path: str | Path, scenario: "Scenario | None" = None, *, unmatched: str = "refuse", **how: Any
) -> "Trace":
    """Read a file of requests: a CSV, lines of JSON, an access log, or the output of a common tool.

    Parameters
    ----------
    path : str or Path
    scenario : Scenario, optional
        Gives the routes that rows belong to; without it rows are read without routes.
    unmatched : {"refuse", "skip"}
        What becomes of rows that match no route.
    **how
        ``columns={"time": "ts"}``, ``unit="s"``, ``zone="Europe/Berlin"``: what the file does not say itself; the keys
        of ``[workload.trace]``.

    Returns
    -------
    Trace
        Its ``notes`` say what was taken for what.

    Raises
    ------
    ScenarioError
        The file cannot be read, with the line and the rule.
    """
    from sim.traces.reading import read

    options = validated(TraceOptions, {"unmatched": unmatched, **how})
    if scenario is None:
        return read(path, options=options)
    return read(path, names=tuple(scenario.routes), patterns=patterns(scenario), options=options)


def trace_of(scenario: "Scenario") -> "Trace | None":
    """Return the trace that *scenario* replays, clipped as it says; None if its arrivals are of another kind.

    Raises
    ------
    ScenarioError
        The file cannot be read.
    """
    arrivals = scenario.workload.arrivals
    if not isinstance(arrivals, TraceReplay):
        return None
    return _whole(scenario, arrivals).clipped(arrivals.clip_start_s, arrivals.clip_end_s)


def _whole(scenario: "Scenario", arrivals: TraceReplay) -> "Trace":
    from sim.traces.reading import read

    file = scenario.find(arrivals.file)
    return read(file, names=tuple(scenario.routes), patterns=patterns(scenario), options=scenario.workload.trace)


def patterns(scenario: "Scenario") -> tuple[Pattern, ...]:
    """Return the methods and paths of all routes: each route's ``match``, or else that of its request."""
    return tuple(_patterns(scenario))


def _patterns(scenario: "Scenario") -> Iterator[Pattern]:
    for number, (name, route) in enumerate(scenario.routes.items()):
        if route.match:
            yield from (pattern(number, text) for text in route.match)
        else:
            request = scenario.request(name)
            yield Pattern(number, request.method, request.path)


def recorded_keys(scenario: "Scenario") -> Mapping[str, int] | None:
    """Return how many keys the requests of each route may have, by the trace; None if no trace names keys.

    A scenario whose trace is not there, such as that of a run saved elsewhere, has its own.
    """
    arrivals = scenario.workload.arrivals
    if not isinstance(arrivals, TraceReplay):
        return None
    try:
        scenario.find(arrivals.file)
    except ScenarioError:
        return None
    trace = _whole(scenario, arrivals)
    if trace.key is None:
        return None
    drawn = bool((trace.key < 0).any())
    return {name: max(trace.keys, scenario.population(name).count if drawn else 1) for name in scenario.routes}


def recorded_weights(scenario: "Scenario", route: str) -> NDArray[np.float64] | None:
    """Return how many requests of a route each key of the trace has, shape (keys,); None if no trace names keys.

    A route that no row belongs to has the keys of all.
    """
    trace = trace_of(scenario)
    if trace is None or trace.key is None:
        return None
    named = trace.key >= 0
    mine = named if trace.route_code is None else named & (trace.route_code == list(scenario.routes).index(route))
    mine = mine if mine.any() else named
    return np.bincount(trace.key[mine], minlength=max(trace.keys, 1)).astype(np.float64)


def trace_notes(scenario: "Scenario") -> tuple[str, ...]:
    """Return what the trace of *scenario* was taken for, a sentence each; nothing if it replays none."""
    trace = trace_of(scenario)
    return () if trace is None else trace.notes


def sample_notes(before: "Scenario", asked: "Scenario") -> tuple[str, ...]:
    """Return a sentence if the trace of *asked* seems to hold a part of the traffic that *before* had; else nothing."""
    trace = trace_of(asked)
    month = None if before.demand is None or asked.demand is not None else before.demand.month
    if trace is None or month is None:
        return ()
    try:
        rate_per_s, mean_per_s = trace.rate_per_s, month / SECONDS_PER_MONTH
    except UsageError:  # Too short to have one, which whoever needs it says.
        return ()
    if not 0 < rate_per_s < SAMPLE_SHARE * mean_per_s:
        return ()
    few = f"{trace.name} has {figure(rate_per_s)} requests/s, {100 * rate_per_s / mean_per_s:.2g} % of [demand]'s"
    way_out = "leave --trace out: the scenario has the rate"
    said = f"{few} {figure(mean_per_s)}: if it holds a sample of the traffic, load and bill are too low by as much"
    return (f"{said} ({way_out})",)


def volume_notes(before: "Scenario", asked: "Scenario") -> tuple[str, ...]:
    """Return a sentence if a trace has taken the place of the volume that *before* had, and how to keep it."""
    month = None if before.demand is None or asked.demand is not None else before.demand.month
    if trace_of(asked) is None or month is None:
        return ()
    day = month / DAYS_PER_MONTH
    said = f"the bill counts the trace's own rate in place of [demand]'s {day:,.0f} requests a day"
    return (f"{said}; for its mix at that volume: --set demand.requests_per_day={day:.0f}",)


def check_rate(scenario: "Scenario") -> None:
    """Refuse a trace from which no rate can be known.

    Raises
    ------
    UsageError
        It is too short to have one.
    """
    trace = trace_of(scenario)
    if trace is not None:
        assert trace.rate_per_s > 0
