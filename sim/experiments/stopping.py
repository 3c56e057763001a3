"""Simulate until the answer is precise enough, and not longer.

``until="p99 ± 2 %"`` runs twenty replications, cuts their warm-up, looks at the interval, and plays twenty new ones,
longer by as much as the square-root law asks, until two things are true: the interval is short enough, and the looks
before, which are other runs, say that one of its length should be. For an interval that is short by luck goes with a
value that is off (a P99 that came out low has few slow requests around it, so it looks sure of itself): whoever lets
luck end the run misses the truth more often than promised. What earlier runs say is not this run's luck. So there are
two looks at least, and each aims at more than it needs, so that the second is mostly the last. Few looks matter, too:
whoever looks after every request stops at the first lucky moment. (Stopping at the first interval that is short enough
covers the truth in 92.5 of 100 runs of a queue at half load, this in 94, with 6 % more requests; docs/COVERAGE.md.)

Sources
-------
Law, "Simulation Modeling and Analysis", 5th ed., 2015, section 9.4 (sequential procedures).
Glynn and Whitt, "The asymptotic validity of sequential stopping rules for stochastic simulations", Ann. Appl. Prob. 2,
1992.
"""

import re
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from math import ceil, isfinite
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim.errors import UsageError
from sim.experiments.executors import crew
from sim.experiments.replications import replicate as replicate_scenario
from sim.experiments.replications import spawned_seeds
from sim.results.metrics import probability
from sim.scenario.arrivals import Bursty, Poisson, Steady
from sim.statistics.intervals import Estimate, replicated_mean_interval
from sim.statistics.quantiles import replicated_quantile_interval
from sim.statistics.warmup import replicated_warm_up

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario

Replicate = Callable[[int, int], ArrayLike]
"""``replicate(seed, requests)``: one run, its values in order of arrival. Different seeds give independent runs."""

REPLICATIONS = 20
REQUESTS_FIRST = 2_000
REQUESTS_MAX = 20_000_000

GROWTH_MIN, GROWTH_MAX, GROWTH_BLIND = 1.5, 10.0, 4.0
"""Between two looks a run grows by the square-root law, within limits; by the last where that law has no base."""

MARGIN = 1.25
"""Aimed at this much more than the square-root law asks, so that the next look is mostly the last, and not by luck."""

WORDING = re.compile(r"\s*(mean|p\d+)\s*(?:±|\+-|\+/-)\s*(\d+(?:\.\d*)?|\.\d+)\s*(%|ms)\s*")


@dataclass(frozen=True)
class Precision:
    """How precise an answer must be.

    Parameters
    ----------
    statistic : str
        ``mean``, or ``p`` and digits: ``p50``, ``p99``, ``p999``.
    tolerance_ms : float
        Largest distance of either bound from the value, in ms; infinite where only *tolerance_ratio* counts.
    tolerance_ratio : float
        The same as a share of the value.
    """

    statistic: str
    tolerance_ms: float = float("inf")
    tolerance_ratio: float = float("inf")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``"p99 ± 2 %"``, ``"mean +- 0.5 ms"``.

        Raises
        ------
        UsageError
            The text says something else.
        """
        found = WORDING.fullmatch(text)
        if not found or float(found[2]) <= 0:
            raise UsageError(f'until={text!r} must read like "p99 ± 2 %" or "mean +- 0.5 ms" (a number above 0)')
        statistic, amount = found[1], float(found[2])
        if statistic != "mean":
            probability(statistic)
        return cls(statistic, amount) if found[3] == "ms" else cls(statistic, tolerance_ratio=amount / 100)

    def of(self, runs: Sequence[ArrayLike], *, level: float = 0.95) -> Estimate:
        """The statistic over independent replications, with its interval."""
        if self.statistic == "mean":
            return replicated_mean_interval(runs, level=level)
        return replicated_quantile_interval(runs, probability(self.statistic), level=level)

    def shortfall(self, estimate: Estimate) -> float:
        """How many times too wide the interval is; at most 1 when precise enough, infinite when unbounded."""
        reach = max(estimate.value - estimate.low, estimate.high - estimate.value)
        return reach / min(self.tolerance_ms, self.tolerance_ratio * abs(estimate.value)) if reach else 0.0


@dataclass(frozen=True)
class Settled:
    """The answer of :func:`run_until`.

    Parameters
    ----------
    estimate : Estimate
        Over all replications, warm-up cut.
    reached : bool
        Whether the precision asked for was reached; *reason* says why not.
    reason : str
    replications : int
    requests : int
        Requests of each replication, warm-up included.
    warm_up_requests : int
        Cut from each.
    looks : int
        How often the interval was looked at.
    """

    estimate: Estimate
    reached: bool
    reason: str
    replications: int
    requests: int
    warm_up_requests: int
    looks: int


def run_until(
    replicate: Replicate,
    until: str | Precision,
    *,
    seed: int,
    replications: int = REPLICATIONS,
    requests_first: int = REQUESTS_FIRST,
    requests_max: int = REQUESTS_MAX,
    level: float = 0.95,
    over: Callable[[Callable[[int], ArrayLike], Sequence[int]], Sequence[ArrayLike]] | None = None,
) -> Settled:
    """Run independent replications, longer and longer, until a statistic is precise enough.

    Parameters
    ----------
    replicate : callable
        ``replicate(seed, requests)``: one run's values, in the order of arrival.
    until : str or Precision
        ``"p99 ± 2 %"``.
    seed : int
        Non-negative; chooses the seeds of all replications.
    replications : int
        At least 2; more cost warm-up, fewer cost degrees of freedom.
    requests_first : int
        Length of each replication at the first look, at least 100.
    requests_max : int
        Over all replications, warm-up included: the budget.
    level : float
        Coverage asked for.
    over : callable, optional
        ``over(one, seeds)`` in place of ``map``: an executor's.

    Returns
    -------
    Settled
        With ``reached`` False where the budget ended first, or the run was stopped by hand after a first look.

    Raises
    ------
    UsageError
        An argument outside its rule.
    """
    goal = Precision.parse(until) if isinstance(until, str) else until
    _check(seed, replications, requests_first=requests_first, requests_max=requests_max)
    requests, looks, found = requests_first, 0, None
    seen: list[tuple[int, float]] = []
    while True:
        try:
            runs = _play(replicate, spawned_seeds(seed, replications, batch=looks), requests=requests, over=over)
        except KeyboardInterrupt:
            if found is None:
                raise
            return _stopped(found, "stopped by hand")
        looks += 1
        found, settled = _look(runs, goal, requests=requests, looks=looks, level=level)
        shortfall = max(goal.shortfall(found.estimate), _foretold(seen, requests))
        if seen and settled and shortfall <= 1:
            return found
        seen.append((requests, goal.shortfall(found.estimate)))
        affordable = requests_max // replications
        if requests >= affordable:
            return _stopped(found, f"{requests_max:,} requests were not enough")
        growth = min(max(MARGIN * shortfall**2, GROWTH_MIN), GROWTH_MAX) if isfinite(shortfall) else GROWTH_BLIND
        requests = min(int(requests * growth), affordable)


def settle(
    scenario: "Scenario",
    until: str | Precision,
    *,
    engine: str = "compiled",
    replications: int = REPLICATIONS,
    requests_max: int = REQUESTS_MAX,
    executor: Executor | None = None,
) -> Settled:
    """Simulate *scenario* until its latency is known precisely enough.

    A request that failed counts as infinitely slow, as in the verdicts; so a mean needs that none did.

    Parameters
    ----------
    scenario : Scenario
        With arrivals that look alike at any time. Its warm-up is cut from every replication, and what MSER-5 finds.
    until : str or Precision
        ``"p99 ± 2 %"``.
    engine : {"compiled", "simpy"}
    replications : int
        At least 2.
    requests_max : int
        The budget, over all replications, without the scenario's warm-up.
    executor : Executor, optional
        Who plays them; threads of this machine by default, processes for the SimPy engine.

    Returns
    -------
    Settled

    Raises
    ------
    UsageError
        The arrivals change with time, so that a longer run is another experiment; or an argument outside its rule.
    """
    arrivals = scenario.workload.arrivals
    if not isinstance(arrivals, Poisson | Steady | Bursty):
        raise UsageError(f"until= needs arrivals that look alike at any time, not kind={arrivals.kind} (poisson does)")
    spare = ceil(scenario.workload.warm_up_s * float(arrivals.profile_per_s(None).mean()))
    replicate = partial(_latencies, scenario, engine=engine, spare=spare)
    with crew(engine, executor=executor) as workers:
        return run_until(
            replicate,
            until,
            seed=scenario.seed,
            replications=replications,
            requests_max=requests_max,
            over=lambda one, seeds: list(workers.map(one, seeds)),
        )


def _latencies(scenario: "Scenario", seed: int, requests: int, *, engine: str, spare: int) -> NDArray[np.float64]:
    """Latencies of about so many *requests* after the scenario's warm-up, which takes about *spare* of them."""
    longer = scenario.with_(**{"workload.requests": requests + spare, "workload.duration_s": None})
    found = replicate_scenario(longer, seed, engine=engine, metrics=("api_latency_ms",))
    if found is None:
        raise KeyboardInterrupt
    return found.metrics["api_latency_ms"]


def _finite(run: NDArray[np.float64]) -> NDArray[np.float64]:
    """The run as MSER-5 can take it: failures as slow as the slowest answer."""
    answered = run[np.isfinite(run)]
    return np.minimum(run, answered.max() if answered.size else 0.0)


def _check(seed: int, replications: int, *, requests_first: int, requests_max: int) -> None:
    if seed < 0:
        raise UsageError(f"seed={seed} must be >= 0 (pass 0 or larger)")
    if replications < 2:
        raise UsageError(f"replications={replications} must be >= 2 ({REPLICATIONS} is the default)")
    if requests_first < 100:
        raise UsageError(f"requests_first={requests_first} must be >= 100 (shorter runs cannot show their warm-up)")
    if requests_max < replications * requests_first:
        least = replications * requests_first
        raise UsageError(f"requests_max={requests_max} must be >= {least} (replications x requests_first)")


def _foretold(seen: Sequence[tuple[int, float]], requests: int) -> float:
    """How many times too wide earlier looks say that an interval from so many *requests* is, by the square-root law."""
    squares = [shortfall**2 * length / requests for length, shortfall in seen if isfinite(shortfall)]
    return (sum(squares) / len(squares)) ** 0.5 if squares else 0.0


def _play(
    replicate: Replicate,
    seeds: Sequence[int],
    *,
    requests: int,
    over: Callable[[Callable[[int], ArrayLike], Sequence[int]], Sequence[ArrayLike]] | None,
) -> list[NDArray[np.float64]]:
    one = partial(_once, replicate=replicate, requests=requests)
    return [np.asarray(run, dtype=np.float64) for run in (over(one, seeds) if over else map(one, seeds))]


def _once(seed: int, *, replicate: Replicate, requests: int) -> ArrayLike:
    """One run; a function that another process can be given."""
    return replicate(seed, requests)


def _look(
    runs: Sequence[NDArray[np.float64]], goal: Precision, *, requests: int, looks: int, level: float
) -> tuple[Settled, bool]:
    """What the runs say now, and whether they have settled from their empty start."""
    warm = replicated_warm_up([_finite(run) for run in runs])
    estimate = goal.of([run[warm.requests :] for run in runs], level=level)
    found = Settled(
        estimate,
        reached=True,
        reason="",
        replications=len(runs),
        requests=requests,
        warm_up_requests=warm.requests,
        looks=looks,
    )
    return found, warm.settled


def _stopped(found: Settled, reason: str) -> Settled:
    from dataclasses import replace

    return replace(found, reached=False, reason=reason)
