"""Queues in SimPy, written by hand in the style of its documentation: one process for each customer.

Service times are sampled outside the measured time; our engines sample them inside it.
"""

from collections.abc import Generator
from typing import Any

import numpy as np
import simpy

from benchmarks.jobs import Tandem, Times

Process = Generator[simpy.Event, Any, None]


def play(job: Tandem) -> Times:
    """Return the latency of every request, in ms; shape (n,)."""
    env = simpy.Environment()
    desks = [(simpy.Resource(env, capacity=job.servers), times.tolist()) for times in job.service_ms]
    arrival_ms = job.schedule.arrival_ms.tolist()
    latency_ms = [0.0] * len(arrival_ms)

    def customer(number: int) -> Process:
        for desk, service_ms in desks:
            with desk.request() as turn:
                yield turn
                yield env.timeout(service_ms[number])
        latency_ms[number] = env.now - arrival_ms[number]

    def source() -> Process:
        for number, time_ms in enumerate(arrival_ms):
            yield env.timeout(time_ms - env.now)
            env.process(customer(number))

    env.process(source())
    env.run()
    return np.array(latency_ms)
