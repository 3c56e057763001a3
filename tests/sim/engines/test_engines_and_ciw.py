"""A network with blocking, on both engines and on an independent simulator.

Goal: steps that no product form covers (a server held by who cannot go on, a door that closes) mean what queueing
people mean by them. Method: two stations, the second with little room, so that a request that finds it full keeps its
server at the first ("blocking after service"), and the first with a door. The same network in Ciw, which shares no
line with us, and as a Markov chain, which shares no line with either.
"""

from collections.abc import Callable, Iterable

import ciw
import numpy as np
import pytest

from sim import flow as f
from sim.engines import compiled_engine, simpy_engine
from sim.engines.recording import Recording
from sim.randomness.distributions import Constant, Exponential
from sim.statistics.intervals import replicated_mean_interval
from tests.sim.theory.markov_chain import stationary
from tests.support.schedules import poisson

RATE_PER_S, FIRST_MS, SECOND_MS = 120.0, 12.0, 9.0
SERVERS, QUEUE, ROOM = 2, 4, 3
"""Servers and waiting places of the first station; places of the second, its one server included."""

LOOK_MS = 0.25
"""Interval at which a blocked request checks for room: an eighth of a millisecond late, on the average."""

ENGINES: dict[str, tuple[Callable[..., Recording], int]] = {
    "simpy": (simpy_engine.simulate, 1_500),
    "compiled": (compiled_engine.simulate, 15_000),
}
"""Engine, and requests of each of twenty replications."""


def network() -> f.Flow:
    """Serve, keep the server until there is room, go on."""
    first, second, room = f.Station("first", SERVERS, queue_limit=QUEUE), f.Station("second"), f.Counter("room")
    look = (f.Delay(Constant(value=LOOK_MS), "first.look"),)
    blocked = f.Repeat(f.CountAtLeast(room, ROOM), look, "first.blocked", limit=100_000)
    return (
        f.Hold(first, (f.Delay(Exponential(mean=FIRST_MS), "first.work"), blocked, f.Count(room))),
        f.Serve(second, Exponential(mean=SECOND_MS), "second.work"),
        f.Count(room, by=-1.0),
    )


def exact() -> dict[str, float]:
    """Share lost and mean sojourn of the others, ms: states (at the first and not blocked, blocked, at the second)."""

    def rates(state: tuple[int, int, int]) -> Iterable[tuple[tuple[int, int, int], float]]:
        waiting, blocked, second = state
        if waiting + blocked < SERVERS + QUEUE:
            yield (waiting + 1, blocked, second), RATE_PER_S / 1000
        if busy := min(waiting, SERVERS - blocked):
            full = second == ROOM
            yield (waiting - 1, blocked + full, second + (not full)), busy / FIRST_MS
        if second:
            yield (waiting, blocked - (blocked > 0), second - (blocked == 0)), 1 / SECOND_MS

    chain = stationary((0, 0, 0), rates)
    lost = sum(p for (waiting, blocked, _), p in chain.items() if waiting + blocked == SERVERS + QUEUE)
    inside = sum(p * sum(state) for state, p in chain.items())
    held = sum(p for (_, blocked, _), p in chain.items() if blocked)
    assert held > 0.2, "a network in which nobody is blocked would show nothing"
    return {"lost": lost, "sojourn_ms": inside / (RATE_PER_S / 1000 * (1 - lost))}


def by_engine(name: str) -> dict[str, list[np.ndarray]]:
    """The same from the engine, a list of replications each."""
    simulate, requests = ENGINES[name]
    found: dict[str, list[np.ndarray]] = {"lost": [], "sojourn_ms": []}
    for seed in range(20):
        run = simulate(network(), poisson(requests, rate_per_s=RATE_PER_S, seed=seed), seed=seed)
        kept = slice(200, None)
        found["lost"].append((run.outcome[kept] != 0).astype(float))
        found["sojourn_ms"].append(run.latency_ms[kept][run.outcome[kept] == 0])
    return found


def by_ciw() -> dict[str, list[np.ndarray]]:
    """The same from Ciw, in seconds there."""
    net = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(RATE_PER_S), None],
        service_distributions=[ciw.dists.Exponential(1000 / FIRST_MS), ciw.dists.Exponential(1000 / SECOND_MS)],
        number_of_servers=[SERVERS, 1],
        queue_capacities=[QUEUE, ROOM - 1],
        routing=[[0.0, 1.0], [0.0, 0.0]],
    )
    found: dict[str, list[np.ndarray]] = {"lost": [], "sojourn_ms": []}
    for seed in range(8):
        ciw.seed(seed)
        simulation = ciw.Simulation(net)
        simulation.simulate_until_max_time(30.0)
        records = [record for record in simulation.get_all_records() if record.arrival_date > 1.5]
        entered = {r.id_number: r.arrival_date for r in records if r.node == 1 and r.record_type == "service"}
        left = {r.id_number: r.exit_date for r in records if r.node == 2}
        lost = sum(r.record_type == "rejection" for r in records)
        found["lost"].append(np.repeat([1.0, 0.0], [lost, len(entered)]))
        found["sojourn_ms"].append(1000 * np.array([left[i] - entered[i] for i in entered.keys() & left.keys()]))
    return found


@pytest.mark.parametrize("engine", ENGINES)
def test_engine_ciw_and_markov_chain_agree_on_a_network_with_blocking(engine: str) -> None:
    """Share lost at the door and mean sojourn: both 99.9 % intervals hold the chain's answer, and they overlap."""
    ours, theirs, truth = by_engine(engine), by_ciw(), exact()
    for measure, value in truth.items():
        mine = replicated_mean_interval(ours[measure], level=0.999)
        other = replicated_mean_interval(theirs[measure], level=0.999)
        assert mine.holds(value), (measure, value, mine)
        assert other.holds(value), (measure, value, other)
        assert mine.low < other.high
        assert other.low < mine.high
        assert mine.relative_half_width < 0.12
