"""Goal: the model of the ledger's path is not an artefact of our own vocabulary.

Method: the same path as a plain SimPy program, written apart with `simpy.Resource` and NumPy's generator: no Flow, no
engine, no counter-based stream. Over independent replications its mean latency must lie within the joint 95 %
interval of the model's.
"""

from collections.abc import Generator
from math import exp, log
from typing import Any

import numpy as np
import simpy

from sim import load_scenario, run
from sim.flow import ELASTIC

REPLICATIONS = 10
REQUESTS = 4000
STUDENT_T = 2.101
"""0.975 quantile of Student's t with 18 degrees of freedom: the difference of two means of ten."""


def draw(distribution: dict[str, Any], rng: np.random.Generator) -> float:
    """One value of a distribution told as a scenario's inline table; only what `launch` uses."""
    match distribution["distribution"]:
        case "constant":
            return float(distribution["value"])
        case "uniform":
            return float(rng.uniform(distribution["low"], distribution["high"]))
        case "exponential":
            return float(rng.exponential(distribution["mean"]))
        case "lognormal":
            sigma = log(distribution["p99"] / distribution["median"]) / 2.3263478740408408
            return float(distribution["median"] * exp(sigma * rng.standard_normal()))
    raise AssertionError(f"the plain program does not know the distribution {distribution['distribution']}")


class PlainLedger:
    """Clients post usage events to Durable Objects, one an organisation."""

    def __init__(self, numbers: dict[str, Any], *, keys: int, zipf: float, rng: np.random.Generator) -> None:
        self.numbers, self.rng = numbers, rng
        self.env = simpy.Environment()
        self.isolates = simpy.Resource(self.env, ELASTIC)
        self.objects = [simpy.Resource(self.env, 1) for _ in range(keys)]
        self.last_used_ms: list[float | None] = [None] * keys
        weights = 1 / np.arange(1, keys + 1) ** zipf
        self.popularity = weights / weights.sum()
        self.latency_ms: list[float] = []

    def clients(self, requests: int, rate_per_s: float) -> Generator[Any, Any, None]:
        """Poisson arrivals."""
        for key in self.rng.choice(len(self.objects), size=requests, p=self.popularity):
            yield self.env.timeout(self.rng.exponential(1000 / rate_per_s))
            self.env.process(self.log(int(key)))

    def log(self, key: int) -> Generator[Any, Any, None]:
        """One POST /log, from the client and back."""
        numbers, rng, env = self.numbers, self.rng, self.env
        began_ms = env.now
        network_ms = draw(numbers["network"]["client_rtt_ms"], rng)
        yield env.timeout(network_ms / 2)
        if rng.uniform() < numbers["workers"]["cold_fraction"]:
            yield env.timeout(draw(numbers["workers"]["cold_start_ms"], rng))
        with self.isolates.request() as isolate:
            yield isolate
            yield env.timeout(draw(numbers["workers"]["cpu_ms"], rng))
        objects = numbers["durable_objects"]
        distance_ms = draw(objects["rtt_ms"], rng)
        yield env.timeout(distance_ms / 2)
        with self.objects[key].request() as turn:
            yield turn
            last_ms = self.last_used_ms[key]
            if last_ms is None or env.now - last_ms > objects["evict_idle_ms"]:
                yield env.timeout(draw(objects["cold_start_ms"], rng))
            yield env.timeout(draw(numbers["ledger"]["write_ms"], rng))
            self.last_used_ms[key] = env.now
        yield env.timeout(draw(objects["output_gate_ms"], rng))
        yield env.timeout(distance_ms / 2 + network_ms / 2)
        self.latency_ms.append(env.now - began_ms)


def test_the_flush_of_a_busy_object_ends() -> None:
    """One object takes 300 events/s; each chunk takes 24 ms to store: what comes meanwhile waits."""
    changes = {
        "workload.keys.count": 1,
        "workload.arrivals": {"kind": "constant", "rate_per_s": 300.0},
        "workload.duration_s": 61,
        "system.ledger.write_ms": 0.5,
        "system.d1.rtt_ms": 4.0,
        "system.d1.write_ms": 20.0,
    }
    result = run(load_scenario("launch").with_(**changes).with_shares(log=1.0), on="simpy")
    stored = int(result.stations.set_index("station")["served"]["d1"])
    flushes, rows, chunk_rows = 6, 300 * 61, 500
    assert rows / chunk_rows - 7 <= stored <= rows / chunk_rows + flushes + 1


def test_a_plain_simpy_program_gives_the_same_mean_latency() -> None:
    """`launch` with every request a POST /log; no flush on either side, no timeouts at this load."""
    scenario = (
        load_scenario("launch").with_shares(log=1.0).vary("workload.arrivals", {"kind": "poisson", "rate_per_s": 50.0})
    )
    scenario = scenario.vary("system.ledger.flush_interval_s", 1e6).vary("system.client.timeout_ms", 1e6)
    ours = [
        run(scenario, on="simpy", rng=seed, requests=REQUESTS).frame["latency_ms"].mean()
        for seed in range(REPLICATIONS)
    ]
    theirs = []
    for seed in range(REPLICATIONS):
        keys = scenario.workload.keys
        plain = PlainLedger(scenario.system.numbers(), keys=keys.count, zipf=keys.zipf, rng=np.random.default_rng(seed))
        plain.env.process(plain.clients(REQUESTS, 50.0))
        plain.env.run()
        theirs.append(np.mean(plain.latency_ms))
    error_ms = np.sqrt((np.var(ours, ddof=1) + np.var(theirs, ddof=1)) / REPLICATIONS)
    assert abs(np.mean(ours) - np.mean(theirs)) < STUDENT_T * error_ms
