"""Coverage: does a 95 % interval hold the truth 95 times in a hundred? Counted, on a queue whose truth is known.

An M/M/1 queue begins empty, runs, has its warm-up cut, and yields an interval for the mean and for the P99 of the
sojourn time; both truths are closed forms. This is done over and over with other seeds, and the share of intervals
that hold the truth is compared with what they promise. ``python -m tests.evidence.coverage`` writes docs/COVERAGE.md.

Sources
-------
Schruben, "A coverage function for interval estimators of simulation response", Oper. Res. 28, 1980.
Asmussen and Glynn, "Stochastic Simulation", 2007, section III.5a (sectioning, the rival in the table).
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isinf, sqrt
from pathlib import Path
from statistics import median
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from sim.experiments.precision import Precision
from sim.experiments.stopping import replicate_until
from sim.foundation.errors import UsageError
from sim.statistics.intervals import (
    BATCHES,
    Estimate,
    batch_starts,
    mean_interval,
    proportion_interval,
    replicated_mean_interval,
)
from sim.statistics.quantiles import quantile, quantile_interval, replicated_quantile_interval
from sim.statistics.warmup import replicated_warm_up, warm_up
from sim.theory import MMc, lindley

Array = NDArray[np.float64]
Found = dict[str, Estimate]


class Design(Protocol):
    """One way to make intervals: ``design(seed, load=..., requests=...)`` is one experiment."""

    def __call__(self, seed: int, *, load: float, requests: int) -> Found:
        """The experiment's intervals, by statistic."""
        ...


P99 = 0.99
LOADS = (0.5, 0.8, 0.9)
REPLICATIONS = 20
REQUESTS_EACH = 2_000
"""Of a replication, where their number is not fixed."""

EXPERIMENTS = 400

OFTEN_TIMES = 5
PROMISE = (0.93, 0.97)
"""Where the coverage of a promised 95 % interval must lie."""


@dataclass(frozen=True)
class CoverageRow:
    """How often one kind of interval held the truth.

    Parameters
    ----------
    load_ratio : float
        Utilization of the M/M/1 queue.
    design, statistic : str
        How the interval was made, and of what.
    requests_mean : float
        Requests an experiment, warm-up included; a mean where the experiment chose it.
    coverage : Estimate
        Share of the experiments whose interval held the truth, with its own exact interval.
    unbounded_share : float
        Share whose interval had an infinite bound: the run was too short.
    half_width_ratio : float
        Median of half the interval over the value, as far as bounded.
    """

    load_ratio: float
    design: str
    statistic: str
    requests_mean: float
    coverage: Estimate
    unbounded_share: float
    half_width_ratio: float


def sojourns(seed: int, *, load: float, requests: int, empty: bool = True) -> Array:
    """Sojourn times in ms of an M/M/1 queue, mean service 1 ms, shape (requests,).

    It begins empty, or else in equilibrium: then every sojourn time has the same distribution.
    """
    rng = np.random.default_rng([seed, round(load * 1000)])
    service = rng.exponential(1.0, requests)
    arrival_ms = np.cumsum(rng.exponential(1 / load, requests))
    if empty:
        return lindley(arrival_ms, service) + service
    # The first request finds the work, as if it came together with one that brings it all.
    work_ms = rng.exponential(1 / (1 - load)) if rng.random() < load else 0.0
    return lindley(np.append(0.0, arrival_ms - arrival_ms[0]), np.append(work_ms, service))[1:] + service


def by_batches(seed: int, *, load: float, requests: int) -> Found:
    """One run, cut by MSER-5, in batches."""
    run = sojourns(seed, load=load, requests=requests)
    run = run[warm_up(run).requests :]
    return {"mean": mean_interval(run), "p99": quantile_interval(run, P99)}


def by_replications(seed: int, *, load: float, requests: int) -> Found:
    """Twenty runs that share the requests, one cut for all."""
    one = partial(sojourns, load=load, requests=requests // REPLICATIONS)
    runs = [one(seed * REPLICATIONS + k) for k in range(REPLICATIONS)]
    cut = replicated_warm_up(runs).requests
    runs = [run[cut:] for run in runs]
    return {"mean": replicated_mean_interval(runs), "p99": replicated_quantile_interval(runs, P99)}


def by_sectioning(seed: int, *, load: float, requests: int) -> Found:
    """The rival for P99: Student's interval from the variance of the batches' percentiles around the whole run's."""
    run = sojourns(seed, load=load, requests=requests)
    run = run[warm_up(run).requests :]
    whole = quantile(run, P99)
    parts = np.array([quantile(part, P99) for part in np.split(run, batch_starts(run.size)[1:])])
    error = sqrt(float(((parts - whole) ** 2).sum()) / (BATCHES - 1) / BATCHES)
    reach = float(stdtrit(BATCHES - 1, 0.975)) * error
    return {"p99": Estimate(whole, whole - reach, whole + reach, run.size, "sectioning")}


def as_if_independent(seed: int, *, load: float, requests: int) -> Found:
    """What a tool does that ignores autocorrelation."""
    run = sojourns(seed, load=load, requests=requests)
    return {
        "mean": mean_interval(run, method="independent"),
        "p99": quantile_interval(run, P99, method="independent"),
    }


def until(wording: str) -> Design:
    """Sequential stopping at the precision of *wording*: replications of a queue in equilibrium."""
    goal = Precision.parse(wording)

    def design(seed: int, *, load: float, requests: int) -> Found:
        one = partial(sojourns, load=load, requests=REQUESTS_EACH, empty=False)
        found = replicate_until(one, goal, seed=seed, requests=REQUESTS_EACH, requests_max=requests)
        return {goal.statistic: replace(found.estimate, n=found.requests_total)}

    return design


@dataclass(frozen=True)
class Subject:
    """One row of the table, at each load: a way to make intervals, and how long its experiments are.

    Parameters
    ----------
    name : str
    design : Design
    requests : int
        Of an experiment; the budget of one that chooses its own length.
    promised : bool
        Whether its coverage must lie in :data:`PROMISE`; it is then counted often at every load.
    often : tuple of float
        Loads at which :data:`OFTEN_TIMES` as many experiments are counted, so that the count itself is sure to a
        percentage point.
    """

    name: str
    design: Design
    requests: int
    promised: bool = False
    often: tuple[float, ...] = ()

    def rows(self, load: float, *, experiments: int, seed: int) -> "list[CoverageRow]":
        """Its coverage at one load."""
        times = OFTEN_TIMES if self.promised or load in self.often else 1
        return measure(
            self.name, self.design, load=load, requests=self.requests, experiments=times * experiments, seed=seed
        )


SUBJECTS = (
    Subject("one run, 20 batches", by_batches, 1_000_000, promised=True),
    Subject("20 replications", by_replications, 1_000_000, promised=True),
    Subject("one run, 20 batches", by_batches, 100_000),
    Subject("20 replications", by_replications, 100_000),
    Subject("until mean ± 2 %", until("mean ± 2 %"), 200_000_000, often=(0.5,)),
    Subject("until p99 ± 5 %", until("p99 ± 5 %"), 200_000_000, often=(0.5,)),
    Subject("*rival:* sectioning", by_sectioning, 100_000),
    Subject("*rival:* sectioning", by_sectioning, 1_000_000),
    Subject("*wrong:* as if independent", as_if_independent, 100_000),
)
"""What is counted."""


def measure(
    name: str, design: Design, *, load: float, requests: int, experiments: int = EXPERIMENTS, seed: int = 0
) -> list[CoverageRow]:
    """Coverage of one design at one load, a row a statistic, over *experiments* seeds from *seed* on."""
    if experiments < 1:
        raise UsageError(f"experiments={experiments} must be >= 1 ({EXPERIMENTS} is the default)")
    queue = MMc(1000 * load, 1.0)
    truths = {"mean": queue.sojourn_mean_ms, "p99": queue.sojourn_quantile_ms(P99)}
    found = [design(seed + k, load=load, requests=requests) for k in range(experiments)]
    rows = []
    for statistic in found[0]:
        estimates = [one[statistic] for one in found]
        bounded = [one.relative_half_width for one in estimates if not isinf(one.half_width)]
        rows.append(
            CoverageRow(
                load,
                name,
                statistic,
                sum(one.n for one in estimates) / experiments if name.startswith("until") else requests,
                proportion_interval(sum(one.holds(truths[statistic]) for one in estimates), experiments),
                1 - len(bounded) / experiments,
                median(bounded) if bounded else float("nan"),
            )
        )
    return rows


def table(rows: Iterable[CoverageRow]) -> str:
    """Rows as a Markdown table."""
    lines = [
        "| interval | statistic | load | requests | counted | coverage % (its 95 % interval) | half width | no bound |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        held = row.coverage
        lines.append(
            f"| {row.design} | {row.statistic} | {row.load_ratio:g} | {_thousands(row.requests_mean)} | {held.n:,} "
            f"| **{100 * held.value:.1f}** ({100 * held.low:.1f} to {100 * held.high:.1f}) "
            f"| ± {100 * row.half_width_ratio:.2g} % | {100 * row.unbounded_share:.0f} % |"
        )
    return "\n".join(lines)


def _thousands(requests: float) -> str:
    """Two significant digits are what a mean run length deserves."""
    return f"{float(f'{requests:.2g}'):,.0f}"


def broken(row: CoverageRow) -> bool:
    """Whether a promised interval holds the truth too rarely, or so often that it must be too wide, or has no bound."""
    low, high = PROMISE
    return not low <= row.coverage.value <= high or row.unbounded_share > 0


PREFACE = """# Coverage: do the intervals have their nominal coverage?

Written by `python -m tests.evidence.coverage --experiments {experiments} --seed {seed}`; not edited by hand.

M/M/1 from an empty start; the truth is the closed form. A 95 % interval should hold it in 95 % of the experiments.
Rows marked ✓ are guaranteed: counted over {promised:,} experiments with seeds from {seed}, they must lie between 93 and
97 %; the command fails otherwise. The others show shorter runs and other methods. A count is itself
uncertain (the interval in brackets: some {noise:.1f} points of {experiments} experiments, {noise_promised:.1f} of
{promised:,}). An interval with an infinite bound ("no bound") says that the run was too short for it: it contains the
true value, but is of no use.

"""

READING = """
Reading it:

- Intervals by batch means and by replications have their nominal coverage once a run is long enough for its load; at
  load 0.9 a hundred thousand requests are too few: they are so correlated that they are worth a few hundred independent
  ones.
- Sequential stopping (`headroom run --until`) chooses the number of replications itself, and its coverage is nominal at
  every load to about one point: it stops only when independent replications confirm that the interval should be that
  narrow. Stopping at the first interval that is narrow enough, perhaps by chance, would save a quarter of the requests
  and lose one or two points of coverage (mean ± 4 % at load 0.5: 92.9 % instead of 94.7 %). Its queue starts in
  equilibrium; its requests include those of all looks.
- Sectioning, the common method for an interval of a percentile, needs runs several times longer.
- Intervals that treat the requests of a queue as independent are nearly always wrong.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Count, and write the page; 1 when a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.evidence.coverage", description=main.__doc__)
    parser.add_argument("--experiments", type=int, default=EXPERIMENTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, default=Path("docs/COVERAGE.md"))
    chosen = parser.parse_args(arguments)
    experiments: int = chosen.experiments
    found = [
        (subject, row)
        for subject in SUBJECTS
        for load in LOADS
        for row in subject.rows(load, experiments=experiments, seed=chosen.seed)
    ]
    preface = PREFACE.format(
        experiments=experiments,
        promised=OFTEN_TIMES * experiments,
        seed=chosen.seed,
        noise=_noise(experiments),
        noise_promised=_noise(OFTEN_TIMES * experiments),
    )
    rows = [replace(row, design=f"✓ {row.design}") if subject.promised else row for subject, row in found]
    chosen.write.write_text(preface + table(rows) + "\n" + READING, encoding="utf-8")
    return 1 if any(subject.promised and broken(row) for subject, row in found) else 0


def _noise(experiments: int) -> float:
    """Half width, in percentage points, of the count of a right interval."""
    return 196 * sqrt(0.95 * 0.05 / experiments)


if __name__ == "__main__":
    sys.exit(main())
