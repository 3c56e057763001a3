"""The gate that both engines must pass: queues whose answer is known, simulated, and laid beside the formula.

Every case is a Flow of the ordinary vocabulary, one that a user could write, for which a closed form of ``sim.theory``
tells means and percentiles. Replications give an interval; the closed form must lie inside. ``python -m sim.gate``
writes the table of docs/THEORY.md.

Sources
-------
Those of ``sim.theory``, one by one.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sim.distributions import AnyLaw, Constant, Erlang, Exponential, Hyperexponential, Lognormal
from sim.engines.recording import Recording
from sim.flow import Chance, Flow, Repeat, Serve, Station
from sim.intervals import Estimate, replicated_mean_interval
from sim.quantiles import replicated_quantile_interval
from sim.schedule import Schedule
from sim.targets import probability
from sim.theory import (
    MD1,
    MG1,
    JacksonNetwork,
    MMc,
    MMcK,
    erlang_b,
    mean_value_analysis,
    tandem_quantile_ms,
    wait_quantile_ms,
)

Array = NDArray[np.float64]

ENGINES = {"simpy": "sim.engines.simpy_engine", "compiled": "sim.engines.compiled_engine"}
REQUESTS = {"simpy": 10_000, "compiled": 200_000}
"""Requests of one replication that each engine can afford."""

REPLICATIONS = 20
WARM_UP_SHARE = 0.2
"""Cut from each replication; at the loads below the start is forgotten well within."""

LEVEL = 0.999
"""Level of the interval that must hold the closed form: with fifty rows, one false alarm in twenty tables."""

SERVICE_MS = 10.0
"""Mean service of every case, so that rows compare."""


@dataclass(frozen=True)
class Case:
    """A queue whose answer is known.

    Parameters
    ----------
    name : str
    flow : tuple of steps
    rate_per_s : float
        Poisson arrivals; 0 for a closed loop of *users*.
    exact : dict
        Closed forms, by ``"measure statistic"``: ``"wait_ms p99"``, ``"sojourn_ms mean"``, ``"lost_share mean"``.
    users : int
        Of a closed loop.
    think_ms : float
        Their mean time between an answer and the next request.
    """

    name: str
    flow: Flow
    rate_per_s: float
    exact: dict[str, float]
    users: int = 0
    think_ms: float = 0.0


@dataclass(frozen=True)
class GateRow:
    """One statistic of one case on one engine: exact, simulated, and whether they agree."""

    case: str
    engine: str
    measure: str
    value_exact: float
    simulated: Estimate

    @property
    def passed(self) -> bool:
        """Whether the interval holds the closed form."""
        return self.simulated.holds(self.value_exact)


def queue(law: AnyLaw, *, servers: int = 1, room: int | None = None, shared: bool = False) -> Flow:
    """One station named ``queue``."""
    station = Station("queue", servers=servers, queue_limit=room, discipline="ps" if shared else "fcfs")
    return (Serve(station, law, "queue.work"),)


def cases() -> Iterator[Case]:
    """All cases, from one memoryless server to networks and closed loops."""
    yield from _memoryless()
    yield from _lost()
    yield from _general()
    yield from _networks()


def _memoryless() -> Iterator[Case]:
    exponential = Exponential(mean=SERVICE_MS)
    for servers, load in ((1, 0.5), (1, 0.8), (4, 0.8)):
        rate = servers * load / SERVICE_MS * 1000
        exact = MMc(rate, SERVICE_MS, servers)
        yield Case(
            f"M/M/{servers} at {load:g}",
            queue(exponential, servers=servers),
            rate,
            {
                "waited_share mean": exact.wait_probability,
                "wait_ms mean": exact.wait_mean_ms,
                "wait_ms p99": exact.wait_quantile_ms(0.99),
                "sojourn_ms mean": exact.sojourn_mean_ms,
                "sojourn_ms p50": exact.sojourn_quantile_ms(0.5),
                "sojourn_ms p99": exact.sojourn_quantile_ms(0.99),
            },
        )


def _lost() -> Iterator[Case]:
    room = MMcK(240.0, SERVICE_MS, 2, 6)
    yield Case(
        "M/M/2/6 at 1.2",
        queue(Exponential(mean=SERVICE_MS), servers=2, room=4),
        240.0,
        {
            "lost_share mean": room.blocking_probability,
            "wait_ms mean": room.wait_mean_ms,
            "wait_ms p99": room.wait_quantile_ms(0.99),
        },
    )
    uneven = Lognormal(median=6.0, p99=50.0)
    yield Case(
        "M/G/10/10, lognormal (Erlang B)",
        queue(uneven, servers=10, room=0),
        8 / uneven.expected() * 1000,
        {"lost_share mean": erlang_b(8.0, 10)},
    )


def _general() -> Iterator[Case]:
    fixed = MD1(80.0, SERVICE_MS)
    yield Case(
        "M/D/1 at 0.8",
        queue(Constant(value=SERVICE_MS)),
        80.0,
        {
            "wait_ms mean": fixed.wait_mean_ms,
            "wait_ms p50": fixed.wait_quantile_ms(0.5),
            "wait_ms p99": fixed.wait_quantile_ms(0.99),
        },
    )
    for name, law in (
        ("M/E4/1 at 0.8", Erlang(mean=SERVICE_MS, stages=4)),
        ("M/H2/1, cv² 4, at 0.6", Hyperexponential(mean=SERVICE_MS, cv2=4)),
    ):
        rate = 60.0 if isinstance(law, Hyperexponential) else 80.0
        yield Case(
            name,
            queue(law),
            rate,
            {
                "wait_ms mean": MG1.of(rate, law).wait_mean_ms,
                "wait_ms p99": wait_quantile_ms(rate, law, probability=0.99),
            },
        )
    uneven = Lognormal(median=6.0, p99=50.0)
    yield Case("M/G/1, lognormal, at 60/s", queue(uneven), 60.0, {"wait_ms mean": MG1.of(60.0, uneven).wait_mean_ms})
    for name, shared_law in (("exponential", Exponential(mean=SERVICE_MS)), ("fixed", Constant(value=SERVICE_MS))):
        exact = MG1.of(70.0, shared_law).shared_sojourn_mean_ms
        yield Case(
            f"M/G/1 processor sharing, {name}, at 0.7", queue(shared_law, shared=True), 70.0, {"sojourn_ms mean": exact}
        )


def _networks() -> Iterator[Case]:
    means = (10.0, 8.0, 5.0)
    stations = tuple(Serve(Station(f"s{k}"), Exponential(mean=mean), f"s{k}.work") for k, mean in enumerate(means))
    yield Case(
        "tandem of three M/M/1",
        stations,
        70.0,
        {
            "sojourn_ms mean": JacksonNetwork.tandem(70.0, means).sojourn_mean_ms,
            "sojourn_ms p99": tandem_quantile_ms(70.0, means, probability=0.99),
        },
    )
    visit = queue(Exponential(mean=SERVICE_MS), servers=2)
    yield Case(
        "M/M/2, 40 % come back",
        (*visit, Repeat(Chance(0.4, "queue.again"), visit, "queue.turn", limit=1000)),
        90.0,
        {"sojourn_ms mean": JacksonNetwork((90.0,), ((0.4,),), (SERVICE_MS,), (2,)).sojourn_mean_ms},
    )
    for users in (3, 30):
        exact = mean_value_analysis(users, means, think_ms=100.0)
        yield Case(
            f"closed loop, {users} users", stations, 0.0, {"sojourn_ms mean": exact.response_ms}, users, think_ms=100.0
        )


def plan(case: Case, *, requests: int, seed: int) -> Schedule:
    """Arrivals of one replication: Poisson, or users who think for an exponential time."""
    rng = np.random.default_rng(seed)
    nothing = np.zeros(requests, dtype=np.int64)
    arrival_ms, user, think_ms = np.zeros(requests), None, None
    if case.users:
        user = np.arange(requests, dtype=np.int64) % case.users
        think_ms = rng.exponential(case.think_ms, requests)
    else:
        arrival_ms = np.cumsum(rng.exponential(1000 / case.rate_per_s, requests))
    return Schedule(
        route_code=nothing.astype(np.int16),
        arrival_ms=arrival_ms,
        key=nothing,
        size_bytes=nothing,
        tokens_in=nothing,
        tokens_out=nothing,
        lora=nothing - 1,
        duration_ms=float(arrival_ms[-1]),
        user=user,
        think_ms=think_ms,
    )


def measures(case: Case, run: Recording) -> dict[str, Array]:
    """What one replication says, warm-up cut: waits and sojourns of those served, shares over all."""
    order = np.argsort(run.arrival_ms, kind="stable")
    order = order[int(WARM_UP_SHARE * order.size) :]
    if case.users:  # Users end one by one: keep the time in which all are there.
        last_ms = [run.arrival_ms[user :: case.users].max() for user in range(case.users)]
        order = order[run.arrival_ms[order] <= min(last_ms)]
    served = order[run.outcome[order] == 0]
    waited = sum((spent for name, spent in run.accounts.items() if name.endswith("_queue")), np.zeros(len(run.outcome)))
    return {
        "wait_ms": waited[served],
        "waited_share": (waited[served] > 0).astype(np.float64),
        "sojourn_ms": run.latency_ms[served],
        "lost_share": (run.outcome[order] != 0).astype(np.float64),
    }


def check(
    case: Case, engine: str, *, seed: int = 0, requests: int | None = None, replications: int = REPLICATIONS
) -> list[GateRow]:
    """Simulate *case* on *engine* and lay every statistic beside its closed form."""
    simulate: Callable[..., Recording] = import_module(ENGINES[engine]).simulate
    runs = []
    for k in range(seed, seed + replications):
        schedule = plan(case, requests=requests or REQUESTS[engine], seed=k)
        runs.append(measures(case, simulate(case.flow, schedule, seed=k)))
    rows = []
    for name, exact in case.exact.items():
        measure, statistic = name.split()
        rows.append(GateRow(case.name, engine, name, exact, _estimate([run[measure] for run in runs], statistic)))
    return rows


def _estimate(samples: Sequence[Array], statistic: str) -> Estimate:
    if statistic == "mean":
        return replicated_mean_interval(samples, level=LEVEL)
    return replicated_quantile_interval(samples, probability(statistic), level=LEVEL)


def table(rows: Sequence[GateRow]) -> str:
    """Rows as a Markdown table."""
    lines = ["| case | measure | exact | engine | simulated | 99.9 % interval | |", "| --- " * 7 + "|"]
    for row in rows:
        found = row.simulated
        lines.append(
            f"| {row.case} | {row.measure} | {row.value_exact:.4g} | {row.engine} | {found.value:.4g} "
            f"| {found.low:.4g} to {found.high:.4g} | {'inside' if row.passed else '**OUTSIDE**'} |"
        )
    return "\n".join(lines)


PREFACE = """# Theory: do the engines meet the closed forms?

Written by `python -m sim.gate --engines {engines} --seed {seed}`; not edited by hand.

Each case is a Flow, simulated by an engine in {replications} replications, {requests} requests each; the first fifth
of each is cut. The closed forms are `sim/theory/`, tested there against oracles that share no formula with them. A row
fails when the 99.9 % interval of the simulation does not hold the exact value: {failed} of {rows} rows do.

"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate all cases, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m sim.gate", description=main.__doc__)
    parser.add_argument("--engines", nargs="+", choices=sorted(ENGINES), default=["compiled", "simpy"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, default=Path("docs/THEORY.md"))
    chosen = parser.parse_args(arguments)
    engines: list[str] = chosen.engines
    rows = [row for case in cases() for engine in engines for row in check(case, engine, seed=chosen.seed)]
    preface = PREFACE.format(
        engines=" ".join(engines),
        seed=chosen.seed,
        replications=REPLICATIONS,
        requests=" or ".join(f"{REQUESTS[engine]:,} ({engine})" for engine in engines),
        failed=sum(not row.passed for row in rows),
        rows=len(rows),
    )
    chosen.write.write_text(preface + table(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
