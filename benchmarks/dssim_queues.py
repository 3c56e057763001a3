"""The same queues in DSSim, on the faster of its two layers."""

from collections.abc import Generator
from typing import Any

import numpy as np
from dssim import DSSimulation, LiteLayer2

from benchmarks.jobs import Tandem, Times

Process = Generator[Any, Any, None]


def play(job: Tandem) -> Times:
    """Return the latency of every request, in ms; shape (n,)."""
    env = DSSimulation(layer2=LiteLayer2)
    desks = [(env.unit_resource(job.servers, job.servers), times.tolist()) for times in job.service_ms]
    arrival_ms = job.schedule.arrival_ms.tolist()
    latency_ms = [0.0] * len(arrival_ms)

    def customer(number: int) -> Process:
        for desk, service_ms in desks:
            yield from desk.gget()
            yield from env.gwait(service_ms[number])
            desk.put_nowait()
        latency_ms[number] = env.time - arrival_ms[number]

    def source() -> Process:
        for number, time_ms in enumerate(arrival_ms):
            yield from env.gwait(time_ms - env.time)
            env.schedule(0, customer(number))

    env.schedule(0, source())
    env.run()
    return np.array(latency_ms)
