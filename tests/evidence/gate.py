"""The gate that both engines must pass: queues with a known answer, simulated and compared with the formula.

The cases are :mod:`tests.evidence.known_queues`. Replications give an interval; the closed form must lie inside. Where
no closed form is known, a recursion over the requests gives every single wait, and the engines must equal it.
``python -m tests.evidence.gate`` writes the tables of docs/THEORY.md.

Sources
-------
Those of ``sim.theory``, one by one.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sim.engines.recording import Recording
from sim.results.metrics import probability
from sim.scenario.schedule import Schedule
from sim.statistics.intervals import Estimate, replicated_mean_interval
from sim.statistics.quantiles import replicated_quantile_interval
from sim.theory import kiefer_wolfowitz, lindley
from tests.evidence.known_queues import PATHS, Case, cases, queue

Array = NDArray[np.float64]

ENGINES = {"simpy": "sim.engines.simpy_engine", "compiled": "sim.engines.compiled_engine"}
REQUESTS = {"simpy": 10_000, "compiled": 200_000}
"""Requests of one replication that each engine can afford."""

REPLICATIONS = 20
WARM_UP_SHARE = 0.2
"""Cut from each replication; at the loads below the start is forgotten well within."""

LEVEL = 0.999
"""Level of the interval that must hold the closed form: with some eighty rows, a false alarm in about twelve tables."""

PATH_TOLERANCE_MS = 1e-6
"""A clock at a million ms has steps of 1e-10 ms."""


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


def plan(case: Case, *, requests: int, seed: int) -> Schedule:
    """Arrivals of one replication: Poisson, or users who think for an exponential time."""
    rng = np.random.default_rng(seed)
    arrival_ms, user, think_ms = np.zeros(requests), None, None
    if case.users:
        user = np.arange(requests, dtype=np.int64) % case.users
        think_ms = rng.exponential(case.think_ms, requests)
    else:
        arrival_ms = np.cumsum(rng.exponential(1000 / case.rate_per_s, requests))
    return _schedule(arrival_ms, user=user, think_ms=think_ms)


def _schedule(arrival_ms: Array, *, user: NDArray[np.int64] | None = None, think_ms: Array | None = None) -> Schedule:
    """Requests that differ by nothing but when they come."""
    nothing = np.zeros(arrival_ms.size, dtype=np.int64)
    return Schedule(
        routes=("request",),
        route_code=nothing.astype(np.int16),
        arrival_ms=arrival_ms,
        key=nothing,
        size_bytes=nothing,
        tokens_in=nothing,
        tokens_out=nothing,
        object_number=nothing - 1,
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
    waited = sum(
        (spent for name, spent in run.categories.items() if name.endswith("_queue")), np.zeros(len(run.outcome))
    )
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


@dataclass(frozen=True)
class PathRow:
    """One queue without a closed form on one engine: how far any wait is from the recursion's."""

    case: str
    engine: str
    requests: int
    wait_ms_mean: float
    deviation_ms_max: float

    @property
    def passed(self) -> bool:
        """Whether every wait is the recursion's, but for rounding of a clock that has run for hours."""
        return self.deviation_ms_max <= PATH_TOLERANCE_MS


def follow(engine: str, *, seed: int = 0, requests: int | None = None) -> Iterator[PathRow]:
    """Simulate every queue without a closed form, and lay each wait beside the recursion's."""
    simulate: Callable[..., Recording] = import_module(ENGINES[engine]).simulate
    count = requests or REQUESTS[engine]
    for name, gap, service, servers in PATHS:
        gaps_ms = gap.sample(np.random.default_rng(seed).random((gap.draws, count)))
        run = simulate(queue(service, servers=servers), _schedule(np.cumsum(gaps_ms)), seed=seed)
        spent_ms, waited_ms = run.categories["queue"], run.categories["queue_queue"]
        if servers == 1:
            exact_ms = lindley(run.arrival_ms, spent_ms)
        else:
            exact_ms = kiefer_wolfowitz(run.arrival_ms, spent_ms, servers=servers)
        yield PathRow(name, engine, count, float(waited_ms.mean()), float(np.abs(waited_ms - exact_ms).max()))


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


def path_table(rows: Sequence[PathRow]) -> str:
    """Rows of paths as a Markdown table."""
    lines = ["| case | engine | requests | mean wait, ms | largest deviation, ms | |", "| --- " * 6 + "|"]
    lines += [
        f"| {row.case} | {row.engine} | {row.requests:,} | {row.wait_ms_mean:.4g} | {row.deviation_ms_max:.1g} "
        f"| {'the same' if row.passed else '**DIFFERS**'} |"
        for row in rows
    ]
    return "\n".join(lines)


PREFACE = """# Theory: do the engines meet the closed forms?

Written by `python -m tests.evidence.gate --engines {engines} --seed {seed}`; not edited by hand.

Each case is a Flow, simulated by an engine in {replications} replications, {requests} requests each; the first fifth
of each is cut. The closed forms are `sim/theory/`, tested there against oracles that share no formula with them. A row
fails when the 99.9 % interval of the simulation does not hold the exact value: {failed} of {rows} rows do.

"""

PATH_PREFACE = """
## Path by path

Queues with other distributions have no closed form, but the wait of every request follows from the arrivals and
services before it (Lindley; Kiefer and Wolfowitz for several servers). Each wait of the engine is compared with it.

"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate all cases, and write the page; 1 when a row fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.evidence.gate", description=main.__doc__)
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
    paths = [row for engine in engines for row in follow(engine, seed=chosen.seed)]
    page = preface + table(rows) + "\n" + PATH_PREFACE + path_table(paths) + "\n"
    chosen.write.write_text(page, encoding="utf-8")
    return 0 if all(row.passed for row in rows) and all(row.passed for row in paths) else 1


if __name__ == "__main__":
    sys.exit(main())
