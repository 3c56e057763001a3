"""Sequential stopping: run replications of a scenario until the answer is precise enough.

``run_until(scenario, "p99 ± 2 %")`` runs ten replications, computes the interval (a *look*), and then runs as many new
replications as the square-root rule requires, until two conditions hold: the interval is narrow enough, and the earlier
looks, which are independent runs, predict that an interval from this many replications should be. The second condition
is needed because half-width and estimate are correlated (a P99 that came out low has few slow requests around it, so
its interval is narrow), so that stopping on an interval that is narrow by chance under-covers. There are therefore at
least two looks; each aims at more replications than it needs, so that the second is usually the last. Looking after
every replication would stop at the first interval that is narrow by chance. docs/COVERAGE.md reports the measured
coverage.

A replication is the whole scenario with its warm-up cut: the answer is the expectation over runs of this scenario,
whether its traffic is stationary or not.

Sources
-------
Law, "Simulation Modeling and Analysis", 5th ed., 2015, section 9.4 (sequential procedures).
Glynn and Whitt, "The asymptotic validity of sequential stopping rules for stochastic simulations", Ann. Appl. Prob. 2,
1992.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from sim.experiments.executors import INTERRUPTED, Here, executor_for, run_tasks
from sim.experiments.precision import Precision
from sim.experiments.replications import spawned_seeds
from sim.foundation.errors import RunnerError, UsageError
from sim.judgement.targets import Target, targets_of
from sim.results.metrics import metric_values
from sim.statistics.intervals import Estimate

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario

Array = NDArray[np.float64]
Replicate = Callable[[int], Array]
"""``replicate(seed)`` returns the values of one replication; different seeds give independent replications."""

ENGINES = ("compiled", "simpy")
REPLICATIONS = 10
REQUESTS_MAX = 20_000_000

GROWTH_MIN, GROWTH_MAX, GROWTH_BLIND = 1.0, 10.0, 4.0
"""Limits of the growth of replications from look to look; the last applies while the interval is unbounded."""

MARGIN = 1.5
"""Safety factor on the replications that the square-root rule requires, so that the next look is usually the last."""


@dataclass(frozen=True)
class SequentialEstimate:
    """The result of sequential stopping: an estimate, and what it took to reach it.

    Attributes
    ----------
    precision : Precision
        The precision asked for.
    estimate : Estimate
        From the replications of the last look.
    reached : bool
        Whether it is as precise as asked for.
    reason : str
        Why it is not; empty if it is.
    replications : int
        Replications of the last look.
    replications_total : int
        Replications of all looks.
    requests : int
        Requests of one replication, including the warm-up.
    looks : int
        How often the interval was computed.
    seed : int
    """

    precision: Precision
    estimate: Estimate
    reached: bool
    reason: str
    replications: int
    replications_total: int
    requests: int
    looks: int
    seed: int

    @property
    def interrupted(self) -> bool:
        """Whether it was stopped by hand."""
        return self.reason == INTERRUPTED

    @property
    def requests_total(self) -> int:
        """All requests that were simulated, including warm-up."""
        return self.replications_total * self.requests


def run_until(
    scenario: "Scenario | str | Path",
    until: str | Precision,
    *,
    on: str = "compiled",
    rng: int | None = None,
    requests: int | None = None,
    rate_per_s: float | None = None,
    trace: str | Path | None = None,
    replications: int = REPLICATIONS,
    requests_max: int = REQUESTS_MAX,
    executor: Executor | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> SequentialEstimate:
    """Run replications of *scenario* until a statistic is known precisely enough.

    A failed request counts as infinitely slow, as in the verdicts; a mean latency is finite only if none failed.

    Parameters
    ----------
    scenario : Scenario, path, or name of one in ``scenarios/``
    until : str or Precision
        ``"p99 ± 2 %"``, ``"d1_query_ms p50 ± 1 ms"``.
    on : {"compiled", "simpy"}
    rng : int or None
        Seed; None takes the scenario's own. The seeds of the replications are spawned from it.
    requests : int or None
        Simulate only the first *requests* requests of each replication.
    rate_per_s, trace
        As in :func:`sim.runners.play.run`.
    replications : int
        Replications of the first look; at least 2.
    requests_max : int
        Budget of requests over all looks, including warm-up.
    executor : Executor, optional
        Runs the replications; by default threads of this machine, or processes for the SimPy engine.
    on_progress : callable, optional
        Called with a sentence after each look.

    Returns
    -------
    SequentialEstimate
        With ``reached`` False if the budget was used up first, or after Ctrl-C once two replications were done.

    Raises
    ------
    UsageError
        An invalid argument, or no request has the metric.
    RunnerError
        A worker of the executor died before two replications were done.
    KeyboardInterrupt
        Ctrl-C came before two replications were done.
    """
    from sim.runners.play import prepare
    from sim.scenario.generation import schedule

    if on not in ENGINES:
        raise UsageError(f"on={on!r} must be {' or '.join(ENGINES)} with until= (a deployment plays one run at a time)")
    goal = Precision.parse(until) if isinstance(until, str) else until
    asked = prepare(scenario, rate_per_s=rate_per_s, trace=trace)
    seed = asked.seed if rng is None else rng
    planned = schedule(asked, seed)
    one = partial(_values, scenario=asked, on=on, metric=goal.metric, requests=requests)
    with executor_for(on, executor=executor) as workers:
        return replicate_until(
            one,
            goal,
            seed=seed,
            requests=len(planned if requests is None else planned.head(requests)),
            replications=replications,
            requests_max=requests_max,
            executor=workers,
            on_progress=on_progress,
        )


def replicate_until(
    replicate: Replicate,
    goal: Precision,
    *,
    seed: int,
    requests: int,
    replications: int = REPLICATIONS,
    requests_max: int = REQUESTS_MAX,
    executor: Executor | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> SequentialEstimate:
    """Run replications of any function until a statistic is precise enough; other arguments as :func:`run_until`.

    Parameters
    ----------
    replicate : callable
        ``replicate(seed)`` returns one replication's values, warm-up cut; it must be picklable for processes.
    goal : Precision
    seed : int
    requests : int
        Mean number of requests of one replication, for the budget.
    """
    count = _first(replications, requests=requests, requests_max=requests_max)
    looks = total = 0
    found: SequentialEstimate | None = None
    seen: list[tuple[int, float]] = []
    while True:
        seeds = spawned_seeds(seed, count, batch=looks)
        runs, reason = _play(replicate, seeds, executor=executor or Here())
        looks, total = looks + 1, total + len(runs)
        if not reason or (len(runs) > 1 and (found is None or len(runs) > found.replications)):
            found = _found(goal, runs, requests=requests, looks=looks, seed=seed)
        if found is None:
            raise KeyboardInterrupt if reason == INTERRUPTED else RunnerError(reason)
        found = replace(found, replications_total=total)
        if reason:
            return replace(found, reached=False, reason=reason)
        excess = goal.excess(found.estimate)
        if on_progress is not None:
            on_progress(f"look {looks}: {count} replications, {found.estimate}, {excess:.2g} times the width asked for")
        if seen and max(excess, _predicted_excess(seen, count)) <= 1:
            return found
        seen.append((count, excess))
        growth = MARGIN * max(excess, _predicted_excess(seen, count)) ** 2 if isfinite(excess) else GROWTH_BLIND
        wanted = ceil(count * min(max(growth, GROWTH_MIN), GROWTH_MAX))
        count = min(wanted, requests_max // requests - total)
        if count < max(2, min(wanted, found.replications)):
            return _short_of_budget(found, requests_max)


def target_of(goal: Precision, scenario: "Scenario") -> Target | None:
    """Return the scenario's target for the estimated statistic, if it has one."""
    lines = targets_of(scenario)
    return next((line for line in lines if (line.measure, line.statistic) == (goal.metric, goal.statistic)), None)


def _first(replications: int, *, requests: int, requests_max: int) -> int:
    """Return the number of replications of the first look."""
    if replications < 2:
        raise UsageError(f"replications={replications} must be >= 2 ({REPLICATIONS} is the default)")
    if requests_max < 2 * requests:
        rule = f"must be >= {2 * requests}, two replications"
        raise UsageError(f"requests_max={requests_max} {rule} (requests= plays only the beginning of each)")
    return min(replications, requests_max // requests)


def _play(replicate: Replicate, seeds: Sequence[int], *, executor: Executor) -> tuple[list[Array], str]:
    """Run replications; return those that finished, in the order of their seeds, and why any are missing."""
    runs: dict[int, Array] = {}
    reason = run_tasks(executor, [partial(replicate, seed) for seed in seeds], keep=runs.__setitem__)
    return [np.asarray(runs[place], dtype=np.float64) for place in sorted(runs)], reason


def _values(seed: int, *, scenario: "Scenario", on: str, metric: str, requests: int | None) -> Array:
    """Return a metric's values in one run; a module-level function, so that it can be pickled."""
    from sim.runners.play import play_whole
    from sim.scenario.generation import schedule

    planned = schedule(scenario, seed)
    played = play_whole(scenario, planned if requests is None else planned.head(requests), on=on, seed=seed)
    return metric_values(played.steady().frame, metric, scenario=scenario)


def _found(goal: Precision, runs: Sequence[Array], *, requests: int, looks: int, seed: int) -> SequentialEstimate:
    estimate = goal.estimate(runs)
    if estimate is None:
        raise UsageError(
            f"until={str(goal)!r}: hardly any request has {goal.metric} (choose another metric, or more requests)"
        )
    played = len(runs)
    return SequentialEstimate(
        precision=goal,
        estimate=estimate,
        reached=True,
        reason="",
        replications=played,
        replications_total=played,
        requests=requests,
        looks=looks,
        seed=seed,
    )


def _predicted_excess(seen: Sequence[tuple[int, float]], count: int) -> float:
    """Predict from earlier looks how many times too wide an interval from *count* replications is.

    Variances fall as 1/count, and Student's quantile with the degrees of freedom. Looks are weighted by their
    replications, since a variance from few replications is imprecise.
    """
    bounded = [(earlier, excess) for earlier, excess in seen if isfinite(excess)]
    if not bounded:
        return 0.0
    squares = [(excess * _student(count) / _student(earlier)) ** 2 * earlier / count for earlier, excess in bounded]
    square = np.average(squares, weights=[earlier for earlier, _ in bounded])
    return float(np.sqrt(square))


def _student(count: int) -> float:
    return float(stdtrit(count - 1, 0.975))


def _short_of_budget(found: SequentialEstimate, requests_max: int) -> SequentialEstimate:
    return replace(found, reached=False, reason=f"{requests_max:,} requests were not enough")
