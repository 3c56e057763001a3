"""What each station, and each object of a namespace, did in a run: requests, waits, own times, how busy it was."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sim.flow import Station
from sim.foundation.errors import UsageError
from sim.foundation.schema import nearest
from sim.models.registry import queues

if TYPE_CHECKING:
    from sim.results.result import Result

PERCENTILES = (0.5, 0.99)


def by_station(result: "Result") -> pd.DataFrame:
    """Return one row per station: the run's own table, and the P50 and P99 of waits and of own times.

    Parameters
    ----------
    result : Result
        Its warm-up is cut from the percentiles.

    Returns
    -------
    DataFrame
        The columns of ``Result.stations``, and ``wait_p50_ms, wait_p99_ms, own_p50_ms, own_p99_ms`` of the requests
        that met the station; NaN if none did. A request that met it several times counts once, with the sum.
    """
    frame = result.steady().frame
    rows = []
    for row in result.stations.to_dict("records"):
        name = row["station"]
        columns = f"{name}_queue_ms", f"{name}_ms"
        known = all(column in frame for column in columns)
        met = frame[(frame[columns[0]] > 0) | (frame[columns[1]] > 0)] if known else frame[:0]
        for what, column in zip(("wait", "own"), columns, strict=True):
            found = np.quantile(met[column], PERCENTILES) if len(met) else (np.nan, np.nan)
            row |= {f"{what}_p50_ms": float(found[0]), f"{what}_p99_ms": float(found[1])}
        rows.append(row)
    return pd.DataFrame(rows)


def by_object(result: "Result", instance: str) -> pd.DataFrame:
    """Return one row per object of a namespace that had requests, the one with the most requests first.

    Parameters
    ----------
    result : Result
    instance : str
        Instance with servers of its own for its keys: ``durable_objects``.

    Returns
    -------
    DataFrame
        ``object, requests, failed, wait_ms_max``: requests of a route that uses the instance.

    Raises
    ------
    UsageError
        There is no such instance, or it has no objects.
    """
    instances = result.scenario.system.instances
    known = queues(instances.values())
    if instance not in known:
        raise UsageError(f"instance={instance!r} must be one with a queue; {nearest(instance, known)}")
    station = instances[instance].station
    assert isinstance(station, Station), "it has a queue"
    routes = [
        name
        for name, used in result.scenario.operations.items()
        if any(instance in _touched(result, operation) for operation in used)
    ]
    frame = result.frame[result.frame["route"].isin(routes)]
    groups = frame.assign(object=frame["key"] % station.instances, failed=frame["outcome"] != "ok").groupby("object")
    queue = f"{instance}_queue_ms"
    found = pd.DataFrame(
        {"requests": groups.size(), "failed": groups["failed"].sum(), "wait_ms_max": groups[queue].max()}
    )
    return found.sort_values("requests", ascending=False, kind="stable").reset_index()


def _touched(result: "Result", operation: str) -> list[str]:
    """Return the instance of an operation, and those that it is linked to."""
    one = result.scenario.system.instances[operation.partition(".")[0]]
    return [one.name, *(one.linked(key).name for key in one.component.links)]
