"""Play a schedule on the model, with the SimPy engine or the compiled one.

The two give the same numbers; ``Result.on`` names the one that ran.
"""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from math import nan
from typing import cast

import numpy as np
import pandas as pd

from sim.engines.recording import UNFINISHED, Recording, StationUse
from sim.results.result import STATION_COLUMNS, Result, request_frame
from sim.scenario.deployment import deployment
from sim.scenario.scenario import Scenario
from sim.scenario.schedule import Schedule

ENGINES = {"simpy": "sim.engines.simpy_engine", "compiled": "sim.engines.compiled_engine"}
"""Module of each engine's ``simulate``; imported on first use, since numba is slow to import."""


def play(scenario: Scenario, schedule: Schedule, *, seed: int, engine: str = "compiled") -> Result:
    """Simulate *schedule* on the scenario's deployment.

    Parameters
    ----------
    scenario : Scenario
    schedule : Schedule
        n requests.
    seed : int
    engine : {"compiled", "simpy"}

    Returns
    -------
    Result
        With a frame of n rows, fewer if interrupted.

    Raises
    ------
    ModelError
        The deployment cannot be executed.
    """
    simulate = cast("Callable[..., Recording]", import_module(ENGINES[engine]).simulate)
    recording = simulate(deployment(scenario), schedule, seed=seed)
    return result_of(scenario, schedule, recording=recording, seed=seed, on=engine)


def result_of(scenario: Scenario, schedule: Schedule, *, recording: Recording, seed: int, on: str) -> Result:
    """Build a Result from an engine's recording."""
    spent_ms = {f"{name}_ms": spent for name, spent in recording.categories.items()}
    times = {column: spent_ms.get(column, np.zeros(len(schedule))) for column in scenario.time_columns}
    for inner, outer in scenario.inner_columns.items():
        times[outer] = times[outer] + times[inner]
    frame = request_frame(
        schedule,
        arrival_ms=recording.arrival_ms,
        latency_ms=recording.latency_ms,
        outcome=np.where(recording.outcome == UNFINISHED, np.int8(0), recording.outcome),
        attempts=recording.attempts,
        times=times,
    )
    result = Result(
        scenario=scenario,
        on=on,
        seed=seed,
        frame=frame,
        stations=station_frame(recording.stations, recording.horizon_ms),
        duration_s=recording.end_ms / 1000,
        warm_up_ms=schedule.warm_up_ms,
        interrupted=recording.interrupted,
        offered_ratio={
            use.name: use.offered_ratio(recording.horizon_ms) for use in recording.stations if not use.elastic
        },
        unstable=tuple(use.name for use in recording.unstable),
        notes=(*recording.notes, *_warnings(recording)),
        background={use.name: dict(use.ended) for use in recording.followers},
    )
    if not recording.interrupted:
        return result
    finished = recording.outcome != UNFINISHED
    return replace(result, frame=frame[finished].reset_index(drop=True))


def station_frame(stations: tuple[StationUse, ...], horizon_ms: float) -> pd.DataFrame:
    """Return one row per station: utilization and mean queue over the time in which requests arrived.

    A station that scales out has no utilization: NaN.

    Parameters
    ----------
    stations : tuple of StationUse
    horizon_ms : float
        Time of the last arrival.
    """
    span_ms = max(horizon_ms, 1e-9)
    rows = [
        (
            use.name,
            use.servers,
            use.instances,
            use.served,
            nan if use.elastic else use.busy_ms / (span_ms * use.servers * use.instances),
            nan if use.elastic else use.busiest_ms / (span_ms * use.servers),
            use.queue_ms / span_ms,
            use.waited_ms / max(use.served, 1),
        )
        for use in stations
    ]
    return pd.DataFrame(rows, columns=list(STATION_COLUMNS))


def _warnings(recording: Recording) -> list[str]:
    """Return a note for each station whose offered load exceeds its capacity."""
    return [
        f"unstable: station {use.name} is offered {use.offered_ratio(recording.horizon_ms):.2f} of what it can do "
        "(must be < 1); its queue grows as long as the load lasts, so these numbers are transient"
        + (f", and {use.refused} requests that found it full were refused" if use.refused else "")
        for use in recording.unstable
    ]
