"""Queues in SimPy, written by hand: as its own documentation does it, one process a customer.

Service times are drawn before the clock starts: the contender is spared what our engines must do for themselves.
"""

from collections.abc import Generator
from typing import Any

import numpy as np
import simpy

from benchmarks.jobs import Tandem, Times

Process = Generator[simpy.Event, Any, None]


def play(job: Tandem) -> Times:
    """Latency of every request, in ms; shape (n,)."""
    env = simpy.Environment()
    desks = [simpy.Resource(env, capacity=job.servers) for _ in range(job.stations)]
    arrival_ms = job.schedule.arrival_ms.tolist()
    service_ms = job.service_ms.T.tolist()
    latency_ms = [0.0] * len(arrival_ms)

    def customer(number: int) -> Process:
        for desk, work_ms in zip(desks, service_ms[number], strict=True):
            with desk.request() as turn:
                yield turn
                yield env.timeout(work_ms)
        latency_ms[number] = env.now - arrival_ms[number]

    def source() -> Process:
        for number, time_ms in enumerate(arrival_ms):
            yield env.timeout(time_ms - env.now)
            env.process(customer(number))

    env.process(source())
    env.run()
    return np.array(latency_ms)
