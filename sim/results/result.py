"""The result of a run: one row per request, one row per station, and whether they are valid.

A Result has the same form for every runner, so that a model, a working reference and a real deployment can be compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sim.flow import OUTCOMES
from sim.foundation.views import Shown
from sim.scenario.arrivals import Closed

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario
    from sim.scenario.schedule import Schedule

STATION_COLUMNS = (
    "station",
    "servers",
    "instances",
    "served",
    "utilization",
    "utilization_busiest",
    "queue_mean",
    "wait_mean_ms",
)
"""``utilization`` is the mean over a station's instances, ``utilization_busiest`` that of the busiest one."""


@dataclass(frozen=True)
class Result(Shown):
    """The result of one schedule, played once.

    Attributes
    ----------
    scenario : Scenario
        The scenario that was played.
    on : str
        The runner: ``simpy``, ``compiled``, ``reference``, a URL, or the name of a recorded run.
    seed : int
        Seed of all random numbers of schedule and model.
    frame : DataFrame
        One row per request, in order of request number: ``request, route, key, size_bytes, arrival_ms, latency_ms,
        outcome, attempts`` and the :attr:`time_columns`. Latency counts from the intended send time.
    stations : DataFrame
        One row per station: the columns of :data:`STATION_COLUMNS`.
    duration_s : float
        Simulated or measured time from the first intended send to the last event. In a simulation that may be long
        after the last answer: a copy in KV's cache expires, a client's time-out that nobody needs any more runs out.
    warm_up_ms : float
        Requests that arrived earlier were played and are not judged.
    interrupted : bool
        Whether it was stopped by hand; the frame then holds what was finished.
    offered_ratio : mapping of str to float
        Offered load of each station's busiest instance, as a share of its capacity: 1 and more is overload. Empty for
        live and recorded runs, and without stations that scale out.
    unstable : tuple of str
        Stations whose offered load exceeds their capacity: the numbers are those of a queue that still grows.
    valid : bool
        False when the load generator itself was late or saturated: no verdict may rest on it.
    notes : tuple of str
        Caveats that a reader of the numbers must see.
    generator : dict
        The load generator's self-check (live runs only).
    background : mapping of str to mapping of str to int
        How background flows ended, over the whole run: by the step that spawned them, the number of each outcome
        (:func:`sim.results.background.background`). Empty for live runs, which do not see them.
    """

    scenario: "Scenario"
    on: str
    seed: int
    frame: pd.DataFrame
    stations: pd.DataFrame
    duration_s: float
    warm_up_ms: float = 0.0
    interrupted: bool = False
    offered_ratio: Mapping[str, float] = field(default_factory=dict)
    unstable: tuple[str, ...] = ()
    valid: bool = True
    notes: tuple[str, ...] = ()
    generator: dict[str, Any] = field(default_factory=dict)
    background: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def __repr__(self) -> str:
        ok = self.frame["outcome"].eq("ok")
        latency_ms = self.frame.loc[ok, "latency_ms"].to_numpy()
        p50, p99 = np.quantile(latency_ms, [0.5, 0.99]) if len(latency_ms) else (np.nan, np.nan)
        unstable = f", UNSTABLE at {', '.join(self.unstable)}" if self.unstable else ""
        marks = "".join([", interrupted" if self.interrupted else "", unstable, "" if self.valid else ", INVALID"])
        return (
            f"<Result {self.scenario.name} on {self.on}: {len(self.frame)} requests in {self.played_s:.1f} s, "
            f"{ok.sum()} ok, P50 {p50:.1f} ms, P99 {p99:.1f} ms, seed {self.seed}{marks}>"
        )

    @property
    def played_s(self) -> float:
        """Time in which the requests were played: of a closed loop, which sets no time, up to the last answer."""
        if not isinstance(self.scenario.workload.arrivals, Closed) or self.frame.empty:
            return self.duration_s
        return self.answered_s

    @property
    def arriving_s(self) -> float:
        """Time of the last arrival; 0 without one."""
        return 0.0 if self.frame.empty else float(self.frame["arrival_ms"].max()) / 1000

    @property
    def answered_s(self) -> float:
        """Time of the last answer; 0 without one."""
        if self.frame.empty:
            return 0.0
        return float((self.frame["arrival_ms"] + self.frame["latency_ms"].fillna(0)).max()) / 1000

    @property
    def time_columns(self) -> tuple[str, ...]:
        """Columns of the frame that break down a request's time, in the order of its path."""
        return self.scenario.time_columns

    def steady(self) -> "Result":
        """Return the same result without the requests that arrived in the warm-up."""
        late = self.frame["arrival_ms"].to_numpy() >= self.warm_up_ms
        first = int(late.argmax()) if late.any() else len(late)
        # Arrivals rise, except for those of a closed loop: then what is left is a slice, and nothing is copied.
        left = self.frame.iloc[first:] if late[first:].all() else self.frame[late]
        return replace(self, frame=left.reset_index(drop=True), warm_up_ms=0.0)


def request_frame(
    schedule: "Schedule",
    *,
    arrival_ms: NDArray[np.float64],
    latency_ms: NDArray[np.float64],
    outcome: NDArray[np.int8],
    attempts: NDArray[np.int16],
    times: Mapping[str, NDArray[np.float64]],
) -> pd.DataFrame:
    """Return the tidy frame of requests that every simulated runner returns.

    Parameters
    ----------
    schedule : Schedule
        Provides route, key and size; shape (n,).
    arrival_ms, latency_ms : ndarray, shape (n,)
    outcome : ndarray of int8, shape (n,)
        Index into :data:`sim.flow.OUTCOMES`.
    attempts : ndarray of int16, shape (n,)
    times : mapping of str to ndarray, shape (n,)
        The columns of the time breakdown, in their order.
    """
    columns: dict[str, Any] = {
        "request": np.arange(len(arrival_ms), dtype=np.int64),
        "route": pd.Categorical.from_codes(schedule.route_code, categories=pd.Index(schedule.routes)),
        "key": schedule.key.copy(),  # the schedule's own columns stay read-only
        "size_bytes": schedule.size_bytes.copy(),
        "arrival_ms": arrival_ms,
        "latency_ms": latency_ms,
        "outcome": pd.Categorical.from_codes(outcome, categories=pd.Index(OUTCOMES)),
        "attempts": attempts,
    }
    columns |= times
    # The frame takes ownership of the arrays: millions of rows are not copied.
    return pd.DataFrame(columns, copy=False)
