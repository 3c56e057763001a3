"""What the answers of a live run tell about the stations behind them: how many came, how long they waited.

Waits come from the deployment's own Server-Timing. The mean queue follows from them by Little's law. Busy time is only
known where the header tells it apart: the CPU of the isolates, the streams of the tunnel (held for the whole
request), and the ledger's work in the objects, without their cold starts and flushes; for D1 it is NaN.

Sources
-------
Little, "A proof for the queuing formula L = lambda W", Oper. Res. 9, 1961.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sim.results.result import STATION_COLUMNS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sim.scenario.scenario import Scenario


def live_stations(frame: pd.DataFrame, scenario: "Scenario") -> pd.DataFrame:
    """One row for each station that any request met.

    Parameters
    ----------
    frame : DataFrame
        A live run's frame.
    scenario : Scenario
        Gives the number of servers and instances.
    """
    system = scenario.system
    shards = system.durable_objects.shards
    objects = scenario.workload.keys.count if shards == "per_org" else shards
    answered = frame.loc[~frame["outcome"].isin(("skipped", "aborted", "timeout"))]
    span_ms = max(float(frame["arrival_ms"].max()), 1.0) if len(frame) else 1.0
    ledger_ms = answered["ledger_ms"].to_numpy()
    by_object_ms = np.bincount(answered["key"].to_numpy() % objects, weights=ledger_ms, minlength=objects).astype(
        np.float64
    )
    held_ms = (answered["service_latency_ms"] - answered["tunnel_queue_ms"]).where(answered["tunnel_ms"] > 0, 0.0)
    rows = [
        _row("workers", answered, servers=system.workers.isolates, busy_ms=[answered["worker_cpu_ms"].sum()]),
        _row("durable_objects", answered, servers=1, busy_ms=by_object_ms),
        _row("d1", answered, servers=1, busy_ms=[np.nan]),
        _row("tunnel", answered, servers=system.tunnel.streams, busy_ms=[held_ms.sum()]),
    ]
    for row in rows:
        for column in ("utilization", "utilization_busiest", "queue_mean"):
            row[column] /= span_ms
    return pd.DataFrame([row for row in rows if row["served"]], columns=list(STATION_COLUMNS))


def _row(
    station: str, answered: pd.DataFrame, *, servers: int, busy_ms: "NDArray[np.float64] | list[float]"
) -> dict[str, Any]:
    """One station, its rates not yet divided by the length of the run; *busy_ms* has an entry an instance."""
    met = answered[f"{station}_ms"] > 0
    wait_ms = answered.loc[met, f"{station}_queue_ms"]
    return {
        "station": station,
        "servers": servers,
        "instances": len(busy_ms),
        "served": int(met.sum()),
        "utilization": float(np.mean(busy_ms)) / servers,
        "utilization_busiest": float(np.max(busy_ms)) / servers,
        "queue_mean": float(wait_ms.sum()),
        "wait_mean_ms": float(wait_ms.mean()) if met.any() else np.nan,
    }
