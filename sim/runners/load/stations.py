"""Station statistics of a live run, derived from its answers: visits, waits, mean queue, busy time.

Waits come from the deployment's own Server-Timing. The mean queue follows from them by Little's law. Busy time is known
only where a component can derive it from the answers (``Component.busy_ms``): the CPU of the isolates, the streams of a
tunnel (held for the whole request), work in objects without their cold starts and flushes; elsewhere, and
where a station scales out, it is NaN.

Sources
-------
Little, "A proof for the queuing formula L = lambda W", Oper. Res. 9, 1961.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sim.flow import ELASTIC
from sim.models.registry import ordered
from sim.results.result import STATION_COLUMNS

if TYPE_CHECKING:
    from sim.models.component import Instance
    from sim.scenario.scenario import Scenario


def live_stations(frame: pd.DataFrame, scenario: "Scenario") -> pd.DataFrame:
    """Return one row for each station that some request visited.

    Parameters
    ----------
    frame : DataFrame
        A live run's frame.
    scenario : Scenario
        Provides the number of servers and instances.
    """
    answered = frame.loc[~frame["outcome"].isin(("skipped", "aborted", "timeout"))]
    span_ms = max(float(frame["arrival_ms"].max()), 1.0) if len(frame) else 1.0
    rows = [_row(instance, answered, span_ms) for instance in ordered(scenario.met) if instance.station is not None]
    return pd.DataFrame([row for row in rows if row["served"]], columns=list(STATION_COLUMNS))


def _row(instance: "Instance", answered: pd.DataFrame, span_ms: float) -> dict[str, Any]:
    """Return the row of one station."""
    station, busy = instance.station, instance.component.busy_ms
    assert station is not None
    elastic = station.servers >= ELASTIC
    busy_ms = np.array([np.nan]) if busy is None or elastic else busy(answered, instance)
    met = answered[f"{instance.name}_ms"] > 0
    wait_ms = answered.loc[met, f"{instance.name}_queue_ms"]
    return {
        "station": instance.name,
        "servers": station.servers,
        "instances": station.instances,
        "served": int(met.sum()),
        "utilization": float(busy_ms.sum()) / (station.servers * station.instances * span_ms),
        "utilization_busiest": float(np.max(busy_ms)) / (station.servers * span_ms),
        "queue_mean": float(wait_ms.sum()) / span_ms,
        "wait_mean_ms": float(wait_ms.mean()) if met.any() else np.nan,
    }
