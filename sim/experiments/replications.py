"""Replications of a scenario: independent seeds, and the values recorded from each run.

A replication is a whole run, including its schedule. Two systems with the same seeds see the same requests and the same
random numbers, so what differs between them is the change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.foundation.errors import UsageError
from sim.randomness.streams import checked_seed
from sim.results.metrics import NOT_JUDGED, metric_values

if TYPE_CHECKING:
    import pandas as pd

    from sim.judgement.targets import Target
    from sim.scenario.scenario import Scenario

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Replication:
    """The values recorded from one run, after its warm-up.

    Attributes
    ----------
    seed : int
    requests : int
        Requests that are judged.
    failed_share : float
        Share of them that failed.
    metrics : dict of str to ndarray, shape (n,)
        Each metric's values, in the order of arrival; see :func:`sim.results.metrics.metric_values`.
    busiest_station : str
        The station with the most utilized instance.
    busiest_utilization : float
        Utilization of that instance; 1 or more is overload.
    """

    seed: int
    requests: int
    failed_share: float
    metrics: dict[str, Array]
    busiest_station: str
    busiest_utilization: float


def spawned_seeds(seed: int, count: int, *, batch: int = 0) -> tuple[int, ...]:
    """Return seeds of replications: 63 bits each, independent for neighbouring *seed* and *batch*.

    Parameters
    ----------
    seed : int
        See :func:`sim.randomness.streams.checked_seed`.
    count : int
        Number of seeds.
    batch : int
        Each batch has seeds of its own.

    Raises
    ------
    UsageError
        *seed* is invalid, or *count* < 1.
    """
    seed = checked_seed(seed)
    if count < 1:
        raise UsageError(f"seeds={count} must be >= 1 (one run at least)")
    words = np.random.SeedSequence(seed, spawn_key=(batch,)).generate_state(count, np.uint64)
    return tuple(int(word) >> 1 for word in words)


def replicate(
    scenario: "Scenario", seed: int, *, engine: str, metrics: Sequence[str], lines: Sequence["Target"] = ()
) -> Replication | None:
    """Simulate *scenario* once with this seed.

    Parameters
    ----------
    scenario : Scenario
    seed : int
        Seed of the schedule and of the model.
    engine : {"compiled", "simpy"}
    metrics : sequence of str
        Metrics whose values are recorded.
    lines : sequence of Target
        Those whose measures may stand among *metrics*.

    Returns
    -------
    Replication or None
        None when it was interrupted: a partial run is not a replication.
    """
    from sim.runners.play import play
    from sim.scenario.generation import schedule

    result = play(scenario, schedule(scenario, seed), on=engine, seed=seed)
    if result.interrupted:
        return None
    frame = result.steady().frame
    judged = frame[~frame["outcome"].isin(NOT_JUDGED)]
    busy = result.stations.set_index("station")["utilization_busiest"].dropna()  # An elastic one is never busy.
    return Replication(
        seed=seed,
        requests=len(judged),
        failed_share=float((judged["outcome"] != "ok").mean()),
        metrics={name: _values(frame, name, scenario, lines=lines) for name in metrics},
        busiest_station=str(busy.idxmax()) if len(busy) else "none",
        busiest_utilization=float(busy.max()) if len(busy) else 0.0,
    )


def _values(frame: "pd.DataFrame", name: str, scenario: "Scenario", *, lines: Sequence["Target"]) -> Array:
    """Return the values of a metric, or of the measure of one of *lines*."""
    line = next((line for line in lines if line.measure == name), None)
    if line is None:
        return metric_values(frame, name, scenario=scenario)
    return metric_values(line.select(frame), line.metric, scenario=scenario)
