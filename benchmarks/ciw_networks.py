"""The same queues in Ciw."""

import math

import ciw
import numpy as np

from benchmarks.jobs import Tandem, Times


class Drawn(ciw.dists.Distribution):  # type: ignore[misc]  # Ciw has no types
    """Service times sampled in advance, one for each customer, independent of the order of service."""

    def __init__(self, times: Times) -> None:
        self.times: list[float] = times.tolist()

    def sample(self, t: float | None = None, ind: ciw.Individual | None = None) -> float:
        """Return the time of customer *ind*; Ciw counts customers from 1."""
        assert ind is not None
        time_ms: float = self.times[ind.id_number - 1]
        return time_ms


class Gaps(ciw.dists.Distribution):  # type: ignore[misc]  # Ciw has no types
    """Interarrival times in order, followed by infinity.

    Ciw copies every arrival distribution. Its own ``Sequential`` keeps an ``itertools.cycle``, which Python 3.14 cannot
    copy any more, and 3.13 copies with a warning.
    """

    def __init__(self, gaps: Times) -> None:
        self.gaps: list[float] = gaps.tolist()
        self.taken = 0

    def sample(self, t: float | None = None, ind: ciw.Individual | None = None) -> float:
        """Return the time to the next arrival."""
        self.taken += 1
        return self.gaps[self.taken - 1] if self.taken <= len(self.gaps) else math.inf


def play(job: Tandem) -> Times:
    """Return the latency of every request, in ms; shape (n,)."""
    gaps = Gaps(np.diff(job.schedule.arrival_ms, prepend=0.0))
    nobody = [None] * (job.stations - 1)
    onward = np.eye(job.stations, k=1).tolist()
    network = ciw.create_network(
        arrival_distributions=[gaps, *nobody],
        service_distributions=[Drawn(times) for times in job.service_ms],
        routing=onward,
        number_of_servers=[job.servers] * job.stations,
    )
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_customers(len(job.schedule), method="Finish")
    return _latencies(simulation.get_all_records(), job)


def _latencies(records: list[ciw.data_record.DataRecord], job: Tandem) -> Times:
    """Return latencies from Ciw's records, one for each visit of each customer."""
    ended_ms = np.zeros(len(job.schedule))
    for record in records:
        if record.node == job.stations:
            ended_ms[record.id_number - 1] = record.exit_date
    return ended_ms - job.schedule.arrival_ms
