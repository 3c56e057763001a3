"""What is simulated: two queues that every simulator knows, and a whole deployment."""

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
    """A model with the requests that come to it; a job equals itself alone, so that others can keep things for it."""

    name: str
    flow: Flow
    schedule: Schedule

    def head(self, requests: int) -> "Job":
        """The same with only the first *requests*."""
        return Job(self.name, self.flow, self.schedule.head(requests))


@dataclass(frozen=True, eq=False)
class Tandem(Job):
    """Stations in a row, each with the same number of servers; of one station it is the queue M/M/c."""

    stations: int
    servers: int

    def head(self, requests: int) -> "Tandem":
        """The same with only the first *requests*."""
        return Tandem(self.name, self.flow, self.schedule.head(requests), self.stations, self.servers)

    @cached_property
    def service_ms(self) -> Times:
        """The service times that our engines draw for themselves; shape (stations, n)."""
        index = np.arange(len(self.schedule))
        streams = [step.stream for step in self.flow if isinstance(step, Serve)]
        return np.stack([SERVICE.sample(uniforms(stream_key(SEED, stream), index)[None]) for stream in streams])


def tandem(name: str, requests: int, *, stations: int, servers: int, load_ratio: float = 0.8) -> Tandem:
    """Poisson arrivals at *stations* M/M/c in a row.

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
    """Four servers behind one queue, 80 % busy."""
    return tandem("M/M/4 at 0.8", requests, stations=1, servers=4)


def three_in_a_row(requests: int = 50_000) -> Tandem:
    """Three stations of two servers each, 80 % busy."""
    return tandem("tandem of three M/M/2 at 0.8", requests, stations=3, servers=2)


def longer(scenario: Scenario, requests: int) -> Scenario:
    """*scenario* with arrivals for at least *requests*, at the same rate."""
    planned = schedule(scenario, seed=SEED)
    duration_s = planned.duration_ms / 1000
    return scenario.vary("workload.duration_s", 1.02 * duration_s * max(requests / len(planned), 1.0))


def launch(requests: int = 1_000_000) -> Job:
    """The deployment of the default scenario: six routes, 200 objects, a database, alarms, impatient clients."""
    asked = longer(load_scenario("launch"), requests)
    return Job("launch", deployment(asked), schedule(asked, seed=SEED).head(requests))


MAKERS: dict[str, Callable[..., Job]] = {"mm4": mm4, "tandem": three_in_a_row, "launch": launch}
"""By their short names; each may be told how many requests."""
