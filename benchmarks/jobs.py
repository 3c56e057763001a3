"""The simulated models: two queueing networks that every simulator supports, and a whole deployment."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sim.flow import Flow, Serve, Station
from sim.randomness.distributions import Exponential
from sim.randomness.streams import stream_key, uniforms
from sim.scenario.deployment import deployment
from sim.scenario.generation import schedule
from sim.scenario.scenario import Scenario, load_scenario
from sim.scenario.schedule import Schedule

SEED = 1
SERVICE = Exponential(mean=1.0)

Times = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Job:
    """A model and its requests; jobs compare by identity, so that a job can be the key of a cache."""

    name: str
    flow: Flow
    schedule: Schedule

    def head(self, requests: int) -> "Job":
        """Return the job with only the first *requests*."""
        return Job(self.name, self.flow, self.schedule.head(requests))


@dataclass(frozen=True, eq=False)
class Tandem(Job):
    """M/M/c stations in series, each with the same number of servers."""

    stations: int
    servers: int

    def head(self, requests: int) -> "Tandem":
        """Return the job with only the first *requests*."""
        return Tandem(self.name, self.flow, self.schedule.head(requests), self.stations, self.servers)

    @cached_property
    def service_ms(self) -> Times:
        """The service times that our engines sample; shape (stations, n)."""
        index = np.arange(len(self.schedule))
        streams = [step.stream for step in self.flow if isinstance(step, Serve)]
        return np.stack([SERVICE.sample(uniforms(stream_key(SEED, stream), index)[None]) for stream in streams])


def tandem(name: str, requests: int, *, stations: int, servers: int, load_ratio: float = 0.8) -> Tandem:
    """Return Poisson arrivals at *stations* M/M/c in series.

    Parameters
    ----------
    name : str
    requests, stations, servers : int
    load_ratio : float
        Utilization of every server.
    """
    index = np.arange(requests)
    gaps_ms = -np.log1p(-uniforms(stream_key(SEED, "benchmarks.arrivals"), index)) / (servers * load_ratio)
    nothing = np.zeros(requests, dtype=np.int64)
    arrival_ms = np.cumsum(gaps_ms)
    planned = Schedule(
        route_code=np.zeros(requests, dtype=np.int16),
        arrival_ms=arrival_ms,
        key=nothing,
        size_bytes=nothing,
        tokens_in=nothing,
        tokens_out=nothing,
        object_number=nothing,
        duration_ms=float(arrival_ms[-1]),
        routes=("log",),
    )
    flow = tuple(Serve(Station(f"s{k}", servers=servers), SERVICE, f"s{k}.work") for k in range(stations))
    return Tandem(name, flow, planned, stations, servers)


def mm4(requests: int = 200_000) -> Tandem:
    """Return an M/M/4 at a utilization of 80 %."""
    return tandem("M/M/4 at 0.8", requests, stations=1, servers=4)


def three_in_a_row(requests: int = 50_000) -> Tandem:
    """Return three M/M/2 in series at a utilization of 80 %."""
    return tandem("tandem of three M/M/2 at 0.8", requests, stations=3, servers=2)


def longer(scenario: Scenario, requests: int) -> Scenario:
    """Return *scenario* with at least *requests* arrivals at the same rate."""
    planned = schedule(scenario, seed=SEED)
    duration_s = planned.duration_ms / 1000
    return scenario.vary("workload.duration_s", 1.02 * duration_s * max(requests / len(planned), 1.0))


def launch(requests: int = 1_000_000) -> Job:
    """Return the deployment of the default scenario: six routes, 200 objects, a database, alarms, client timeouts."""
    asked = longer(load_scenario("launch"), requests)
    return Job("launch", deployment(asked), schedule(asked, seed=SEED).head(requests))


MAKERS: dict[str, Callable[..., Job]] = {"mm4": mm4, "tandem": three_in_a_row, "launch": launch}
"""Builders of the jobs by short name; each accepts the number of requests."""
