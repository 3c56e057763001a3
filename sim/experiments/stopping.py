"""Play replications of a scenario until the answer is precise enough, and no longer.

``run_until(scenario, "p99 ± 2 %")`` plays ten replications, looks at the interval, and plays as many new ones as the
square-root law asks for, until two things are true: the interval is narrow enough, and the looks before, which are
other runs, say that one from that many replications should be. An interval that is narrow by chance goes with a value
that is off: a P99 that came out low has few slow requests around it, so it looks certain. Half-width and estimate are
correlated, so stopping on a lucky narrow interval under-covers. What earlier replications say does not depend on the
last ones, so there are two looks at least; each aims at more than it needs, so that the second is mostly the last. Few
looks matter, too: looking after every replication means to stop at the first lucky one. docs/COVERAGE.md counts how
often such intervals hold the truth.

A replication is the whole scenario, its warm-up cut: the answer is the one that a run of this scenario gives on the
average, whether its traffic is steady or not.

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

from sim.errors import RunnerError, UsageError
from sim.experiments.executors import INTERRUPTED, Here, executor_for, run_tasks
from sim.experiments.precision import Precision
from sim.experiments.replications import spawned_seeds
from sim.judgement.targets import Target, targets_of
from sim.results.metrics import metric_values
from sim.statistics.intervals import Estimate

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario

Array = NDArray[np.float64]
Replicate = Callable[[int], Array]
"""``replicate(seed)``: the values of one replication; different seeds give independent ones."""

ENGINES = ("compiled", "simpy")
REPLICATIONS = 10
REQUESTS_MAX = 20_000_000

GROWTH_MIN, GROWTH_MAX, GROWTH_BLIND = 1.0, 10.0, 4.0
"""Replications grow by the square-root law from look to look, within limits; by the last where that law has no base."""

MARGIN = 1.5
"""Aimed at this much more than the square-root law asks: the next look is then mostly the last, and not by chance."""


@dataclass(frozen=True)
class SequentialEstimate:
    """A statistic, estimated until it was precise enough.

    Attributes
    ----------
    precision : Precision
        What was asked for.
    estimate : Estimate
        Over the replications of the last look.
    reached : bool
        Whether it is as precise as asked for; *reason* says why not.
    reason : str
    replications : int
        Of the last look.
    replications_total : int
        Of all looks.
    requests : int
        Of one replication, warm-up included.
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
        """All requests that were played, warm-up included."""
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
    """Simulate *scenario* again and again until a statistic is known precisely enough.

    A request that failed counts as infinitely slow, as in the verdicts; so a mean latency needs that none did.

    Parameters
    ----------
    scenario : Scenario, path, or name of one in ``scenarios/``
    until : str or Precision
        ``"p99 ± 2 %"``, ``"d1_query_ms p50 ± 1 ms"``.
    on : {"compiled", "simpy"}
    rng : int or None
        Seed; None takes the scenario's own. The seeds of the replications are spawned from it.
    requests : int or None
        Play only the beginning of each replication, this many.
    rate_per_s, trace
        As in :func:`sim.runners.play.run`.
    replications : int
        At the first look; at least 2.
    requests_max : int
        Budget over all looks, warm-up included.
    executor : Executor, optional
        Plays the replications; by default threads of this machine, processes for the SimPy engine.
    on_progress : callable, optional
        Called with a sentence after each look.

    Returns
    -------
    SequentialEstimate
        With ``reached`` False where the budget ended first, or Ctrl-C came after two replications.

    Raises
    ------
    UsageError
        An argument outside its rule, or no request meets the metric.
    RunnerError
        A worker of the executor died before there was anything to keep.
    KeyboardInterrupt
        Ctrl-C came before that.
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
    """Replicate anything until a statistic is precise enough; arguments as :func:`run_until`.

    Parameters
    ----------
    replicate : callable
        ``replicate(seed)``: one replication's values, warm-up cut; picklable where processes do the work.
    goal : Precision
    seed : int
    requests : int
        Of one replication, on the average: what the budget counts.
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
        if seen and max(excess, _foretold(seen, count)) <= 1:
            return found
        seen.append((count, excess))
        growth = MARGIN * max(excess, _foretold(seen, count)) ** 2 if isfinite(excess) else GROWTH_BLIND
        wanted = ceil(count * min(max(growth, GROWTH_MIN), GROWTH_MAX))
        count = min(wanted, requests_max // requests - total)
        if count < max(2, min(wanted, found.replications)):
            return _short_of_budget(found, requests_max)


def target_of(goal: Precision, scenario: "Scenario") -> Target | None:
    """Return the scenario's target of the statistic that was estimated, if it has one."""
    lines = targets_of(scenario)
    return next((line for line in lines if (line.metric, line.statistic) == (goal.metric, goal.statistic)), None)


def _first(replications: int, *, requests: int, requests_max: int) -> int:
    """Replications of the first look."""
    if replications < 2:
        raise UsageError(f"replications={replications} must be >= 2 ({REPLICATIONS} is the default)")
    if requests_max < 2 * requests:
        rule = f"must be >= {2 * requests}, two replications"
        raise UsageError(f"requests_max={requests_max} {rule} (requests= plays only the beginning of each)")
    return min(replications, requests_max // requests)


def _play(replicate: Replicate, seeds: Sequence[int], *, executor: Executor) -> tuple[list[Array], str]:
    """Replications in the order of their seeds, as far as they were played, and why not all were."""
    runs: dict[int, Array] = {}
    reason = run_tasks(executor, [partial(replicate, seed) for seed in seeds], keep=runs.__setitem__)
    return [np.asarray(runs[place], dtype=np.float64) for place in sorted(runs)], reason


def _values(seed: int, *, scenario: "Scenario", on: str, metric: str, requests: int | None) -> Array:
    """A metric's values in one run; a function that another process can be given."""
    from sim.runners.play import play_whole
    from sim.scenario.generation import schedule

    planned = schedule(scenario, seed)
    played = play_whole(scenario, planned if requests is None else planned.head(requests), on=on, seed=seed)
    return metric_values(played.steady().frame, metric, scenario=scenario)


def _found(goal: Precision, runs: Sequence[Array], *, requests: int, looks: int, seed: int) -> SequentialEstimate:
    estimate = goal.estimate(runs)
    if estimate is None:
        raise UsageError(f"until={str(goal)!r}: hardly a request meets {goal.metric} (ask for another, or for more)")
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


def _foretold(seen: Sequence[tuple[int, float]], count: int) -> float:
    """How many times too wide an interval from *count* replications should be, by earlier looks.

    Variances fall as 1/count, and Student's quantile with the degrees of freedom; a look counts by its replications,
    since a variance that few of them estimate is rough.
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
