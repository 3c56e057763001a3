"""The record of a live run: one row per request, in arrays allocated before the run.

All times are in milliseconds. ``latency_ms`` counts from the *intended* send, so that a server that stalls is charged
for every request that it delays; ``service_latency_ms`` counts from the *actual* send, as tools with coordinated
omission do; ``send_lag_ms`` is the lateness of the driver itself.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sim.results.result import request_frame
from sim.runners.load.messages import OUTCOME, read_server_timing

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario
    from sim.scenario.schedule import Schedule

BLANK = -1
"""Outcome code of a request that has not ended, or was never sent."""

RECORDED = ("arrival_ms", "latency_ms", "service_latency_ms", "send_lag_ms", "outcome", "attempts", "times_ms")
"""Arrays that the run writes; the last axis of each is the request's number."""

LIVE_COLUMNS = ("send_lag_ms", "service_latency_ms")


class Tape:
    """Arrays of shape (n,) for the n requests of *schedule*, which is one of *scenario*."""

    def __init__(self, schedule: "Schedule", scenario: "Scenario") -> None:
        n = len(schedule)
        self.schedule = schedule
        self.columns = scenario.time_columns
        self._place = {column.removesuffix("_ms"): number for number, column in enumerate(self.columns)}
        self._inner = [number for number, column in enumerate(self.columns) if column in scenario.inner_columns]
        self.arrival_ms = np.array(schedule.arrival_ms, dtype=np.float64)
        self.latency_ms = np.full(n, np.nan)
        self.service_latency_ms = np.full(n, np.nan)
        self.send_lag_ms = np.full(n, np.nan)
        self.outcome = np.full(n, BLANK, dtype=np.int8)
        self.attempts = np.zeros(n, dtype=np.int16)
        self.times_ms = np.zeros((len(self.columns), n))

    def send(self, request: int, *, at_ms: float) -> None:
        """Record that the first attempt of *request* leaves at *at_ms* from the start of the run."""
        self.send_lag_ms[request] = at_ms - self.arrival_ms[request]

    def skip(self, request: int) -> None:
        """Record that *request* was not sent, because too many others were in flight."""
        self.outcome[request] = OUTCOME["skipped"]

    def end(self, request: int, outcome: str, *, at_ms: float) -> None:
        """Record the end of *request* at *at_ms*."""
        self.outcome[request] = OUTCOME[outcome]
        self.latency_ms[request] = at_ms - self.arrival_ms[request]
        self.service_latency_ms[request] = self.latency_ms[request] - self.send_lag_ms[request]

    def attribute(self, request: int, server_timing: str) -> None:
        """Attribute the durations in an answer's Server-Timing header to time categories."""
        for name, spent_ms in read_server_timing(server_timing):
            # A name that is no column is internal to the deployment.
            if name in self._place:
                self.times_ms[self._place[name], request] += spent_ms

    def attribute_client(self, request: int, spent_ms: float) -> None:
        """Attribute time spent in timed-out attempts and back-off to the client."""
        self.times_ms[self._place["client"], request] += spent_ms

    def part(self, rows: NDArray[np.int64]) -> dict[str, NDArray[np.generic]]:
        """Return the record of some requests, to be filled into another tape of the same schedule."""
        return {name: getattr(self, name)[..., rows] for name in RECORDED}

    def fill(self, rows: NDArray[np.int64], arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over the record of some requests."""
        for name, values in arrays.items():
            getattr(self, name)[..., rows] = values

    def count(self, outcome: str) -> int:
        """Return how many requests ended with *outcome*."""
        return int((self.outcome == OUTCOME[outcome]).sum())

    @property
    def sent(self) -> NDArray[np.bool_]:
        """Which requests were sent, shape (n,)."""
        sent: NDArray[np.bool_] = ~np.isnan(self.send_lag_ms)
        return sent

    @property
    def overhead_ms(self) -> NDArray[np.float64]:
        """The part of each latency, shape (n,), not attributed to any component: driver, wire, the server's HTTP."""
        attributed_ms: NDArray[np.float64] = self.times_ms.sum(axis=0) - self.times_ms[self._inner].sum(axis=0)
        return self.latency_ms - attributed_ms

    def frame(self) -> pd.DataFrame:
        """Return the requests that ended or were skipped, in order of their numbers, without those never reached."""
        frame = request_frame(
            self.schedule,
            arrival_ms=self.arrival_ms,
            latency_ms=self.latency_ms,
            outcome=np.maximum(self.outcome, 0),
            attempts=self.attempts,
            times=dict(zip(self.columns, self.times_ms, strict=True)),
        )
        for name in LIVE_COLUMNS:
            frame[name] = getattr(self, name)
        played: pd.DataFrame = frame.loc[self.outcome != BLANK]
        return played.reset_index(drop=True)
