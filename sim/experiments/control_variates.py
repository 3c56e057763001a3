"""Luck that can be told from a run: what it was dealt, beside what it could expect.

A run draws its times, arrivals and routes; their true means are known. If the times that a run drew were long on the
whole, its latency came out high, and by how much can be learnt over many runs and taken off (*control variates*). The
companions are:

* the **times** that each request drew on its way, sizes of bodies included, less their means;
* the **routes** that came up, by their mean times, less those of the mix;
* the **waits** in a plain queue beside the real one: the busiest station of one server, fed with the same arrivals and
  the same services by Lindley's recursion, less what Pollaczek and Khinchine say.

Every companion has a mean of 0 by construction; what depends on state (a cold start, a retry) is simply not in it.

Sources
-------
Lavenberg and Welch, "A perspective on the use of control variables to increase the efficiency of Monte Carlo
simulations", Management Science 27, 1981. Law, "Simulation Modeling and Analysis", 5th ed., 2015, section 11.5.
"""

from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from sim.errors import UsageError
from sim.experiments.draws import Hand, Served
from sim.experiments.executors import crew
from sim.experiments.paired import Sharpened, controlled_mean
from sim.experiments.replications import spawned_seeds
from sim.scenario.arrivals import Poisson, TraceReplay
from sim.scenario.deployment import deployment
from sim.scenario.generation import schedule
from sim.screening import screen
from sim.screening.traffic import Numbers, traffic
from sim.theory import lindley

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario
    from sim.scenario.schedule import Schedule

SEEDS_LEAST = 5
BUSY_MOST = 0.95
"""A plain queue busier than this does not come to its mean within a run."""


def companions(scenario: "Scenario", planned: "Schedule", *, hand: Hand, station: str = "") -> dict[str, float]:
    """How lucky one run was, in ms a request: each number is 0 on the average over all seeds.

    Parameters
    ----------
    scenario : Scenario
    planned : Schedule
        Of the run.
    hand : Hand
        What it was dealt.
    station : str
        Whose plain queue is looked at; see :func:`busiest_server`.
    """
    judged = planned.arrival_ms >= planned.warm_up_ms
    times = hand.times
    found = {"times": float((times.drawn_ms - times.mean_ms)[judged].mean())}
    mix, arrivals = list(scenario.shares.values()), scenario.workload.arrivals
    if not isinstance(arrivals, TraceReplay):
        surplus_ms = 0.0
        for code in np.unique(planned.route_code):
            here = planned.route_code == code
            surplus_ms += (float(here[judged].mean()) - mix[code]) * float(times.mean_ms[here].mean())
        found["routes"] = surplus_ms
    surplus = _wait_surplus_ms(scenario, planned, hand, station=station) if isinstance(arrivals, Poisson) else None
    if surplus is not None:
        found["waits"] = surplus
    return found


def _wait_surplus_ms(scenario: "Scenario", planned: "Schedule", hand: Hand, *, station: str) -> float | None:
    """Mean wait in the plain queue beside *station*, less what theory expects; None where it is no plain queue."""
    visits = [served for served in hand.served if served.station.name == station]
    who = np.concatenate([served.who for served in visits]) if visits else np.zeros(0, np.int64)
    if not who.size or np.unique(who).size < who.size:
        return None
    order = np.argsort(who)
    who, service_ms = who[order], np.concatenate([served.dealt.drawn_ms for served in visits])[order]
    instances = visits[0].station.instances
    place = planned.key[who] % instances
    wait_ms = np.empty(who.size)
    for number in np.unique(place):
        here = place == number
        wait_ms[here] = lindley(planned.arrival_ms[who[here]], service_ms[here])
    expected_ms = _expected_wait_ms(scenario, planned, visits)
    if expected_ms is None:
        return None
    judged = planned.arrival_ms >= planned.warm_up_ms
    return float(wait_ms[judged[who]].sum() / judged.sum()) - expected_ms


def _expected_wait_ms(scenario: "Scenario", planned: "Schedule", visits: list[Served]) -> float | None:
    """Pollaczek's and Khinchine's mean wait, a request of the whole traffic; None where no run comes to its mean."""
    mix, keys = list(scenario.shares.values()), scenario.workload.keys
    share = mean_ms = square = 0.0
    for served in visits:
        for code in np.unique(planned.route_code[served.who]):
            first = int(np.argmax(planned.route_code[served.who] == code))
            weight = mix[code]
            one_ms = float(served.dealt.mean_ms[first])
            share, mean_ms = share + weight, mean_ms + weight * one_ms
            square += weight * (one_ms**2 + float(served.dealt.spread[first]))
    arrivals = scenario.workload.arrivals
    assert isinstance(arrivals, Poisson)
    instances = visits[0].station.instances
    popularity = np.arange(1, keys.count + 1, dtype=np.float64) ** -keys.zipf
    part = np.bincount(np.arange(keys.count) % instances, weights=popularity / popularity.sum())
    rate = part * arrivals.rate_per_s / 1000
    busy = rate * mean_ms
    if busy.max() > BUSY_MOST:
        return None
    wait_ms = rate * square / (2 * (1 - busy))
    return float(share * (wait_ms @ part))


def sizes_of(scenario: "Scenario") -> dict[str, Numbers]:
    """What bodies of each route are drawn from; nothing where a trace says what they were."""
    if isinstance(scenario.workload.arrivals, TraceReplay):
        return {}
    coming = traffic(scenario, ())
    return dict(zip(coming.routes, coming.numbers["size_bytes"], strict=True))


def busiest_server(scenario: "Scenario") -> str:
    """The station of single servers that has most to do, by arithmetic; empty when there is none."""
    single = [row for row in screen(scenario).rows if row.servers == 1]
    return max(single, key=lambda row: row.busiest_utilization).station if single else ""


def controlled_latency(
    scenario: "Scenario", *, seeds: int = 20, engine: str = "compiled", executor: Executor | None = None
) -> Sharpened:
    """Mean latency over replications, with their luck taken off.

    Parameters
    ----------
    scenario : Scenario
    seeds : int
        Replications, at least 5: the companions cost up to three degrees of freedom.
    engine : {"compiled", "simpy"}
    executor : Executor, optional
        Who plays them; threads of this machine by default, processes for the SimPy engine.

    Returns
    -------
    Sharpened
        Mean time from intended send to answer, or to giving up, in ms; n counts runs.

    Raises
    ------
    UsageError
        Fewer than 5 seeds.
    """
    if seeds < SEEDS_LEAST:
        raise UsageError(f"seeds={seeds} must be >= {SEEDS_LEAST} (companions cost degrees of freedom)")
    one = partial(_played, scenario, engine=engine, station=busiest_server(scenario))
    with crew(engine, executor=executor) as workers:
        runs = list(workers.map(one, spawned_seeds(scenario.seed, seeds)))
    names = [name for name in runs[0][1] if np.ptp([luck[name] for _, luck in runs]) > 0]
    controls = np.array([[luck[name] for name in names] for _, luck in runs])
    return controlled_mean([mean_ms for mean_ms, _ in runs], controls, known=np.zeros(len(names)))


def _played(scenario: "Scenario", seed: int, *, engine: str, station: str) -> tuple[float, dict[str, float]]:
    """Mean latency of one run, and its companions."""
    from sim.runners.play import play_whole

    planned, flow = schedule(scenario, seed), deployment(scenario)
    frame = play_whole(scenario, planned, on=engine, seed=seed).steady().frame
    hand = Hand(flow, planned, seed=seed, sizes=sizes_of(scenario))
    return float(frame["latency_ms"].mean()), companions(scenario, planned, hand=hand, station=station)
