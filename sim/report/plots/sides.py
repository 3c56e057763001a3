"""What a figure is drawn from: a plan, one result, or replications of it, seen as simulation and measurement."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.experiments.plan import Plan
from sim.foundation.errors import UsageError
from sim.judgement.targets import Target, targets_of
from sim.results.metrics import LATENCY, metric_values
from sim.results.result import Result

if TYPE_CHECKING:
    import pandas as pd

    from sim.scenario.scenario import Scenario

Source = Plan | Result | Sequence[Result]
"""What the figures of latency accept."""


@dataclass(frozen=True)
class Sides:
    """The runs of a figure.

    Attributes
    ----------
    runs : tuple of Result
        What the figure is about: replications of a simulation, or one run of any kind.
    name : str
        What to call them.
    measured : Result or None
        A measurement to lay beside them.
    simulated_window : tuple of Result
        Simulations of exactly what was measured.
    """

    runs: tuple[Result, ...]
    name: str
    measured: Result | None = None
    simulated_window: tuple[Result, ...] = ()


def sides(source: Source) -> Sides:
    """The runs of *source*.

    Raises
    ------
    UsageError
        Nothing was run.
    """
    if isinstance(source, Plan):
        measured = source.measured if source.measured is not None and len(source.measured.frame) else None
        found = Sides(source.simulated, "simulated", measured, source.simulated_window if measured else ())
    else:
        runs = (source,) if isinstance(source, Result) else tuple(source)
        engines = {run.on for run in runs} <= {"simpy", "compiled"}
        found = Sides(runs, "simulated" if engines else f"on {runs[0].on}" if runs else "")
    if not any(len(run.steady().frame) for run in found.runs):
        raise UsageError("no request was played to its end, so there is nothing to draw")
    return found


def latencies(runs: Sequence[Result]) -> list[NDArray[np.float64]]:
    """Latency in ms of each run after its warm-up, as the verdicts count it: infinite for a failure."""
    every = (metric_values(run.steady().frame, LATENCY, scenario=run.scenario) for run in runs)
    return [values for values in every if len(values)]


def latency_targets(scenario: "Scenario") -> list[Target]:
    """The targets of latency percentiles, those of the most usual requests first."""
    lines = [line for line in targets_of(scenario) if line.measure == LATENCY]
    return sorted((line for line in lines if line.statistic[0] == "p"), key=lambda line: line.statistic)


def live_part(source: Plan) -> "pd.DataFrame | None":
    """Rows of the first simulation that were played in real time; None when nothing was.

    A schedule keeps route, key and size of every request through cutting and stretching, so the part is found by them.
    """
    played = source.simulated_window[0] if source.simulated_window else source.measured
    if played is None or played.frame.empty or not source.simulated:
        return None
    whole, part = (
        run.frame[["route", "key", "size_bytes"]].reset_index(drop=True) for run in (source.simulated[0], played)
    )
    columns = [(whole[name].to_numpy(), part[name].to_numpy()) for name in ("key", "size_bytes", "route")]
    starts = np.arange(max(len(whole) - len(part) + 1, 0))
    for row in range(len(part)):
        for ours, theirs in columns:
            starts = starts[ours[starts + row] == theirs[row]]
        if len(starts) <= 1:
            break
    return source.simulated[0].frame.iloc[starts[0] : starts[0] + len(part)] if len(starts) else None
