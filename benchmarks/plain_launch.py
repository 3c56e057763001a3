"""The launch deployment in SimPy, written by hand as for this one model.

It shares the scenario's numbers and the sampled times with :mod:`sim.models`, but no code: no flow, no engine. So it is
also a check of both: the latency of every request must be the same. It does not record time categories.
"""

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import simpy

from benchmarks.jobs import SEED, Job, Times
from sim.flow import ELASTIC
from sim.randomness.distributions import AnyDistribution
from sim.randomness.streams import child_context, stream_key, uniforms
from sim.scenario.scenario import load_scenario

Process = Generator[simpy.Event, Any, bool]
"""Returns whether the request succeeded."""

ATTEMPTS = 3
LATER = child_context(0, stream_key(SEED, "ledger.alarm"), branch=1)
"""The context of an alarm's random numbers, which differ from those of the request that set it."""


def play(job: Job) -> Times:
    """Return the latency of every request, in ms; shape (n,)."""
    deployment = Deployment(job)
    deployment.env.process(deployment.source())
    deployment.env.run()
    return np.array(deployment.latency_ms)


class Deployment:
    """The state that the requests of one run share."""

    def __init__(self, job: Job) -> None:
        scenario = load_scenario("launch")
        self.system = system = scenario.system
        self.requests = len(job.schedule)
        self.env = simpy.Environment()
        self.arrival_ms = job.schedule.arrival_ms.tolist()
        self.route = [job.schedule.routes[code] for code in job.schedule.route_code]
        self.key = job.schedule.key.tolist()
        self.size_bytes = job.schedule.size_bytes.tolist()
        self.latency_ms = [0.0] * self.requests
        isolates = system.workers.isolates
        self.isolates = simpy.Resource(self.env, ELASTIC if isolates == "elastic" else isolates)
        self.database = simpy.Resource(self.env, 1)
        self.streams = simpy.Resource(self.env, system.tunnel.streams)
        objects = range(scenario.workload.keys.count)
        self.objects = [simpy.Resource(self.env, 1) for _ in objects]
        self.released_ms = [-np.inf for _ in objects]
        self.pending = [0 for _ in objects]
        self.sealed = [0 for _ in objects]
        self.alarmed = [False for _ in objects]
        self.ways: dict[str, Callable[[int], Process]] = {
            "log": self.log,
            "balance": self.balance,
            "search": self.search,
            "upload": self.upload,
            "download": self.download,
            "device_log": self.device_log,
        }
        cold = uniforms(stream_key(SEED, "workers.is_cold"), np.arange(self.requests))
        self.is_cold = (cold < system.workers.cold_fraction).tolist()
        self._draw()

    def _draw(self) -> None:
        system = self.system
        self.network_ms = self.drawn(system.network.client_rtt_ms, "network.client_rtt", scale=0.5)
        self.tunnel_ms = self.drawn(system.tunnel.overhead_ms, "tunnel.overhead", scale=0.5)
        self.start_ms = self.drawn(system.workers.cold_start_ms, "workers.cold_start")
        self.cpu_ms = self.drawn(system.workers.cpu_ms, "workers.cpu")
        self.object_rtt_ms = self.drawn(system.durable_objects.rtt_ms, "durable_objects.rtt", scale=0.5)
        self.gate_ms = self.drawn(system.durable_objects.output_gate_ms, "durable_objects.output_gate")
        self.append_ms = self.drawn(system.ledger.write_ms, "ledger.write")
        self.balance_ms = self.drawn(system.ledger.read_ms, "ledger.read")
        self.put_ms = self.drawn(system.r2.put_ms, "r2.put")
        self.get_ms = self.drawn(system.r2.get_ms, "r2.get")
        self.read_ms = self.drawn(system.d1.read_ms, "d1.read")
        both = (0, LATER)
        self.wake_ms, self.later_wake_ms = (
            self.drawn(system.durable_objects.cold_start_ms, "durable_objects.cold_start", context=c) for c in both
        )
        self.d1_rtt_ms, self.later_rtt_ms = (self.drawn(system.d1.rtt_ms, "d1.rtt", scale=0.5, context=c) for c in both)
        self.write_ms, self.later_write_ms = (self.drawn(system.d1.write_ms, "d1.write", context=c) for c in both)

    def drawn(self, distribution: AnyDistribution, stream: str, *, scale: float = 1.0, context: int = 0) -> list[float]:
        """Return a time for every request, in ms, as our engines sample it."""
        key, index = stream_key(SEED, stream), np.arange(self.requests)
        unit = np.stack([uniforms(key, index, context=context, draw=draw) for draw in range(distribution.draws)])
        times: list[float] = (scale * distribution.sample(unit)).tolist()
        return times

    # ------------------------------------------------------------ clients

    def source(self) -> Generator[simpy.Event, Any, None]:
        """Start the requests at their arrival times."""
        for request, time_ms in enumerate(self.arrival_ms):
            yield self.env.timeout(time_ms - self.env.now)
            self.env.process(self.client(request))

    def client(self, request: int) -> Generator[simpy.Event, Any, None]:
        """Send a request, with timeouts and retries."""
        policy = self.system.client
        for attempt in range(ATTEMPTS):
            answer = self.env.process(self.ways[self.route[request]](request))
            yield answer | self.env.timeout(policy.timeout_ms)
            if answer.triggered and answer.value:
                break
            if attempt + 1 < ATTEMPTS:
                yield self.env.timeout(policy.backoff_ms * 2**attempt)
        self.latency_ms[request] = self.env.now - self.arrival_ms[request]

    # ------------------------------------------------------------ routes

    def log(self, request: int) -> Process:
        """Store a usage event in the ledger."""
        yield self.env.timeout(self.network_ms[request])
        yield from self.compute(request)
        done = yield from self.append(request)
        yield self.env.timeout(self.network_ms[request])
        return done

    def device_log(self, request: int) -> Process:
        """Store a usage event that comes from a device on a stream of the tunnel."""
        with self.streams.request() as stream:
            yield stream
            yield self.env.timeout(self.tunnel_ms[request])
            yield from self.compute(request)
            done = yield from self.append(request)
            if self.size_bytes[request] > self.system.tunnel.response_limit_bytes:
                return False
            yield self.env.timeout(self.tunnel_ms[request])
        return done

    def balance(self, request: int) -> Process:
        """Read the balance of the ledger."""
        yield self.env.timeout(self.network_ms[request])
        yield from self.compute(request)
        yield self.env.timeout(self.object_rtt_ms[request])
        done = yield from self.visit(request, self.wake_ms, work_ms=lambda: self.balance_ms[request])
        yield self.env.timeout(self.object_rtt_ms[request])
        yield self.env.timeout(self.network_ms[request])
        return done

    def search(self, request: int) -> Process:
        """Read from the database."""
        yield self.env.timeout(self.network_ms[request])
        yield from self.compute(request)
        done = yield from self.query(self.read_ms[request], self.d1_rtt_ms[request])
        yield self.env.timeout(self.network_ms[request])
        return done

    def upload(self, request: int) -> Process:
        """Store an adapter and its row in the database."""
        yield self.env.timeout(self.network_ms[request])
        yield from self.compute(request)
        yield self.env.timeout(self.put_ms[request])
        yield self.env.timeout(self.transfer_ms(request))
        done = yield from self.query(self.write_ms[request], self.d1_rtt_ms[request])
        yield self.env.timeout(self.network_ms[request])
        return done

    def download(self, request: int) -> Process:
        """Fetch an adapter."""
        yield self.env.timeout(self.network_ms[request])
        yield from self.compute(request)
        yield self.env.timeout(self.get_ms[request])
        yield self.env.timeout(self.transfer_ms(request))
        yield self.env.timeout(self.network_ms[request])
        return True

    # ------------------------------------------------------------ components

    def transfer_ms(self, request: int) -> float:
        """Return the transfer time of a body."""
        return float(self.size_bytes[request] / self.system.r2.bandwidth_bytes_per_s * 1000.0)

    def compute(self, request: int) -> Process:
        """Run the Worker."""
        if self.is_cold[request]:
            yield self.env.timeout(self.start_ms[request])
        with self.isolates.request() as isolate:
            yield isolate
            yield self.env.timeout(self.cpu_ms[request])
        return True

    def query(self, execute_ms: float, half_ms: float) -> Process:
        """Execute one statement of the database, which executes one at a time."""
        yield self.env.timeout(half_ms)
        if len(self.database.queue) >= self.system.d1.queue_limit:
            return False
        with self.database.request() as turn:
            yield turn
            yield self.env.timeout(execute_ms)
        yield self.env.timeout(half_ms)
        return True

    def append(self, request: int) -> Process:
        """Append an event to the organisation's ledger and wait until it is durable."""
        yield self.env.timeout(self.object_rtt_ms[request])
        key = self.key[request]

        def count() -> None:
            self.pending[key] += 1
            if not self.alarmed[key]:
                self.alarmed[key] = True
                self.env.process(self.alarm(request))

        if not (yield from self.visit(request, self.wake_ms, work_ms=lambda: self.append_ms[request], finish=count)):
            return False
        yield self.env.timeout(self.gate_ms[request])
        yield self.env.timeout(self.object_rtt_ms[request])
        return True

    def visit(
        self,
        request: int,
        wake_ms: list[float],
        *,
        work_ms: Callable[[], float],
        finish: Callable[[], None] = lambda: None,
    ) -> Process:
        """Hold the organisation's object, after a cold start if it was evicted."""
        objects, key = self.system.durable_objects, self.key[request]
        place = self.objects[key]
        at_once = place.count == 0
        if not at_once and len(place.queue) >= objects.queue_limit:
            return False
        with place.request() as turn:
            yield turn
            if at_once and self.env.now - self.released_ms[key] > objects.evict_idle_ms:
                yield self.env.timeout(wake_ms[request])
            yield self.env.timeout(work_ms())
            finish()
            self.released_ms[key] = self.env.now
        return True

    def alarm(self, request: int) -> Process:
        """Flush the events that are pending now from the object to the database, in chunks."""
        ledger, key = self.system.ledger, self.key[request]
        yield self.env.timeout(ledger.flush_interval_s * 1000)
        self.alarmed[key] = False
        self.sealed[key] += self.pending[key]
        self.pending[key] = 0

        def collect_ms() -> float:
            return float(ledger.flush_row_us / 1000 * min(self.sealed[key], ledger.flush_chunk_rows))

        def collected() -> None:
            self.sealed[key] = max(0, self.sealed[key] - ledger.flush_chunk_rows)

        while self.sealed[key]:
            yield from self.visit(request, self.later_wake_ms, work_ms=collect_ms, finish=collected)
            yield from self.query(self.later_write_ms[request], self.later_rtt_ms[request])
        return True
