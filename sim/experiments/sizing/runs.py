"""Runs of a sizing: every choice with every seed, long enough that the start is over and a P99 means something."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.experiments.executors import executor_for, run_tasks
from sim.experiments.replications import spawned_seeds
from sim.experiments.search import STEADY
from sim.foundation.errors import UsageError
from sim.judgement.cost import price, usage_per_month
from sim.judgement.cost.volume import course_of
from sim.results.metrics import ended, judged
from sim.runners.play import play_whole
from sim.scenario.generation import key_weights, mean_rate_per_s, schedule
from sim.statistics.quantiles import quantile

if TYPE_CHECKING:
    import pandas as pd

    from sim.models.component import Instance
    from sim.results.result import Result
    from sim.scenario.scenario import Scenario

Array = NDArray[np.float64]
Seen = dict[str, float]
"""What one run shows, by name; the first is the objective."""

SEEDS = 8
JUDGED_S_MIN = 60.0
REQUESTS_MIN = 20_000
"""Judged in each run, after its warm-up: a P99 then has 200 requests beyond it."""

TAIL = 0.99


def long_enough(scenario: "Scenario", *, warm_up_s: float, share: float = 1.0) -> "Scenario":
    """Return *scenario* with runs that are long enough; arrivals that change over time stay as they are.

    Parameters
    ----------
    scenario : Scenario
    warm_up_s : float
        At least so much is cut.
    share : float
        Of its requests that the objective is about.
    """
    if scenario.workload.arrivals.kind not in STEADY:
        return scenario
    cut_s = max(warm_up_s, scenario.workload.warm_up_s)
    length_s = cut_s + max(JUDGED_S_MIN, REQUESTS_MIN / (share * mean_rate_per_s(scenario)))
    return scenario.with_(**{"workload.duration_s": length_s, "workload.requests": None, "workload.warm_up_s": cut_s})


def run_once(scenario: "Scenario", seed: int, *, observe: Callable[["Result"], Seen]) -> Seen:
    """Simulate *scenario* once, and return what *observe* sees in it."""
    return observe(play_whole(scenario, schedule(scenario, seed), on="compiled", seed=seed))


def over_seeds(
    plays: Sequence[Callable[[int], Seen]], *, seed: int, seeds: int, on_progress: Callable[[str], None] | None = None
) -> list[dict[str, Array]]:
    """Call each of *plays* with the same seeds; return what each saw, by name, shape (seeds,) each.

    Raises
    ------
    UsageError
        Fewer than two seeds.
    KeyboardInterrupt
        It was stopped by hand: half a comparison is none.
    """
    if seeds < 2:
        raise UsageError(f"seeds={seeds} must be >= 2: one seed has no interval")
    chosen = spawned_seeds(seed, seeds)
    tasks = [partial(play, one) for play in plays for one in chosen]
    found: dict[int, Seen] = {}

    def keep(place: int, seen: Seen) -> None:
        found[place] = seen
        if on_progress is not None:
            on_progress(f"run {len(found)} of {len(tasks)}")

    with executor_for("compiled") as workers:
        if run_tasks(workers, tasks, keep=keep):
            raise KeyboardInterrupt
    rows = [[found[place * seeds + number] for number in range(seeds)] for place in range(len(plays))]
    return [{name: np.array([one[name] for one in row]) for name in row[0]} for row in rows]


def month_usd(scenario: "Scenario") -> float:
    """Return the bill of the scenario's month, without what has no price."""
    requests = course_of(scenario)[1].requests
    return sum(line.usd for line in price(usage_per_month(scenario, requests), scenario.facts))


def routes_through(scenario: "Scenario", name: str) -> list[str]:
    """Return the routes whose requests reach an instance: they enter by it, use it, or use what works through it."""
    found = []
    for route, used in scenario.operations.items():
        instances = [scenario.system.instances[operation.partition(".")[0]] for operation in used]
        linked = [one.linked(key).name for one in instances for key in one.component.links]
        if name in {scenario.routes[route].enter, *(one.name for one in instances), *linked}:
            found.append(route)
    return found


def requests_by_part(scenario: "Scenario", name: str, *, parts: int) -> Array:
    """Return the requests a second that each of an instance's parts (key modulo *parts*) gets, shape (parts,)."""
    rate_per_s, found = mean_rate_per_s(scenario), np.zeros(parts)
    for route in routes_through(scenario, name):
        weight = key_weights(scenario, route)
        by_part = np.bincount(np.arange(weight.size) % parts, weights=weight, minlength=parts)
        found += rate_per_s * scenario.shares[route] * by_part / weight.sum()
    return found


def reached(scenario: "Scenario", component: str, *, what: str, of: str | None = None) -> "Instance":
    """Return the instance of a component that is asked for, by default the one that most traffic reaches.

    Raises
    ------
    UsageError
        No request reaches one, or not that one.
    """
    mine = [one for one in scenario.system.of(component) if one.name in scenario.reached]
    if not mine:
        raise UsageError(f"size: {what} needs a route that uses {component}, and {scenario.name} has none (routes)")
    if of is not None:
        named = [one for one in mine if one.name == of]
        if not named:
            raise UsageError(f"of={of!r} must be one that a route uses: {', '.join(one.name for one in mine)}")
        return named[0]

    def traffic(one: "Instance") -> float:
        return sum(scenario.shares[route] for route in routes_through(scenario, one.name))

    return max(mine, key=traffic)


def others_note(scenario: "Scenario", chosen: "Instance") -> tuple[str, ...]:
    """Return a sentence that names further instances which could be sized; nothing if there are none."""
    names = [one.name for one in scenario.system.of(chosen.component.name) if one.name in scenario.reached]
    names = [name for name in names if name != chosen.name]
    return (f"of {chosen.name}; another one is asked for with --of: {', '.join(names)}",) if names else ()


def latency_p99_ms(frame: "pd.DataFrame") -> float:
    """Return the P99 of latency; infinite where more than 1 % of the requests failed, NaN never."""
    sent = judged(frame)
    if not len(sent):
        return float("inf")
    latency_ms = np.where(ended(sent, "ok", "timeout"), sent["latency_ms"].to_numpy(), np.inf)
    return quantile(latency_ms, TAIL)
