"""The same queues in salabim, in its faster mode: components that yield."""

from collections.abc import Generator
from typing import Any

import numpy as np
import salabim

from benchmarks.jobs import Tandem, Times

Process = Generator[Any, Any, None]


def play(job: Tandem) -> Times:
    """Return the latency of every request, in ms; shape (n,)."""
    salabim.yieldless(value=False)
    env = salabim.Environment(trace=False)
    desks = [(salabim.Resource(capacity=job.servers, env=env), times.tolist()) for times in job.service_ms]
    arrival_ms = job.schedule.arrival_ms.tolist()
    latency_ms = [0.0] * len(arrival_ms)

    class Customer(salabim.Component):  # type: ignore[misc]  # salabim has no types
        def process(self, number: int) -> Process:
            for desk, service_ms in desks:
                yield self.request(desk)
                yield self.hold(service_ms[number])
                self.release(desk)
            latency_ms[number] = env.now() - arrival_ms[number]

    class Source(salabim.Component):  # type: ignore[misc]  # salabim has no types
        def process(self) -> Process:
            for number, time_ms in enumerate(arrival_ms):
                yield self.hold(till=time_ms)
                Customer(number=number, env=env)

    Source(env=env)
    env.run()
    return np.array(latency_ms)
