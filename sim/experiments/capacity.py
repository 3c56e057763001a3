"""The most traffic that the deployment carries with its targets met, in the long run and from a cold start.

Picture a dial for the arrival rate. Arithmetic says where its end is (:mod:`sim.screening`): no rate beyond can last.
It is turned up towards that end in large steps until a target breaks, which shows roughly where the answer is. There
every seed plays a run so long that the start is over, and together the seeds show how long that takes. From there on
each seed looks for its own breaking point; their spread is the interval. All probes of one seed share their random
numbers, so a higher rate is the same requests coming faster.

The start is a verdict of its own: when everything begins at once, after an outage or a deploy, all objects wake
and flush together, and targets that the steady state keeps may break for some minutes.

A highest load says nothing about lower ones: where few requests come, objects and caches are cold. So the targets are
judged at the demand's mean load and at the low rungs too (:mod:`sim.experiments.lower_loads`).

A target that no probe keeps for certain, however small the load, is not a matter of capacity: it is named apart, and
the rate is the one that keeps all others.

Sources
-------
Law, "Simulation Modeling and Analysis", 5th ed., 2015, chapter 11 (common random numbers), 9.5 (warm-up).
Kleinrock, "Power and deterministic rules of thumb for probabilistic problems in computer communications", ICC 1979
(the knee is where throughput divided by delay is greatest).
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from math import exp, inf, sqrt
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit

from sim.experiments.limits import assumption_that_limits
from sim.experiments.lower_loads import NEAR_SHARE, LowerLoads, lower_loads
from sim.experiments.probe import OVERLOAD, Probe
from sim.experiments.root import crossing
from sim.experiments.search import Search
from sim.experiments.seeds import NEAR_RATIO, Hunt, Rates
from sim.foundation.errors import UsageError
from sim.foundation.views import Shown
from sim.scenario.recorded import check_rate
from sim.screening import Screening
from sim.statistics.intervals import Estimate

if TYPE_CHECKING:
    from sim.scenario.provenance import Provenance
    from sim.scenario.scenario import Scenario

BROKEN = 1.02
"""Times the answer: there, what breaks first is looked at."""


@dataclass(frozen=True)
class Capacity(Shown):
    """The answer of the search.

    Attributes
    ----------
    estimate : Estimate
        Highest rate in requests/s that the warm deployment sustains, its 95 % interval over the seeds.
    limited_by : tuple of str
        Targets that break first, as ``metric statistic``; ``overload`` when a station does.
    bottleneck : str
        Station that the slowest requests then wait for longest; with ``overload`` the one that is overloaded. It need
        not be the busiest: one server at 80 % is waited for longer than eight at 90 %.
    kept : tuple of str
        Targets that the rate keeps.
    missed : tuple of str
        Targets that no probe kept for certain, whatever the load.
    knee_per_s : float
        Rate with the greatest throughput over mean latency among the probes.
    probes : tuple of Probe
        Those of the first seed, by rate.
    bound_per_s : float
        What no load can exceed for long, by arithmetic alone: an approximation.
    cold_start : Estimate or None
        Highest rate at which the first :data:`START_S` from empty keep the targets too; 0 where none does, None where
        arrivals change over time, and with them every start.
    warm_up_s : float
        Cut from each probe: simulated seconds that the start was found to last.
    longest_s : float
        Simulated seconds of the longest probes.
    settled : bool
        False when the longest probes had not forgotten their start: the rate holds for runs of that length.
    assumption : Provenance or None
        The author's assumption that the bottleneck is bound by, if there is one.
    lower : LowerLoads
        Whether the targets that the rate keeps hold at lower loads too, the demand's mean among them.
    """

    estimate: Estimate
    limited_by: tuple[str, ...]
    bottleneck: str
    kept: tuple[str, ...]
    missed: tuple[str, ...]
    knee_per_s: float
    probes: tuple[Probe, ...]
    bound_per_s: float = inf
    cold_start: Estimate | None = None
    warm_up_s: float = 0.0
    longest_s: float = 0.0
    settled: bool = True
    assumption: "Provenance | None" = None
    lower: LowerLoads = field(default_factory=LowerLoads)

    def __repr__(self) -> str:
        rate, first = self.estimate, ", ".join(self.limited_by)
        missed_at = self.lower.missed_at
        lower = "" if missed_at is None else f"; missed at {missed_at.rate_per_s:,.4g} requests/s too"
        return (
            f"<Capacity {rate.value:,.4g} requests/s, 95 % {rate.low:,.4g} to {rate.high:,.4g}; first breaks {first}"
            f"{lower}>"
        )

    @property
    def ends_in_overload(self) -> bool:
        """Whether a station is overloaded before any target is missed."""
        return self.limited_by == OVERLOAD


def capacity(
    scenario: "Scenario",
    *,
    engine: str = "compiled",
    seeds: int = 5,
    tolerance_ratio: float = 0.03,
    screening: Screening | None = None,
    executor: Executor | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> Capacity:
    """Search the highest rate at which *scenario* keeps its targets.

    Parameters
    ----------
    scenario : Scenario
        With an open loop of arrivals.
    engine : {"compiled", "simpy"}
    seeds : int
        At least 2: the scenario's own seed and the following ones.
    tolerance_ratio : float
        A seed's search ends when the rates that keep and break are this near; its answer lies between them.
    screening : Screening, optional
        Of *scenario*, if it was asked for already; it says where the search ends.
    executor : Executor, optional
        Where the seeds are searched; threads of this process by default, since the compiled engine lets them run side
        by side.
    on_progress : callable, optional
        Given each probe of the first seed, and each stage, in a few words.

    Returns
    -------
    Capacity

    Raises
    ------
    UsageError
        The arrivals are a closed loop, *seeds* < 2, or every target is missed at any load; or the scenario has faults,
        which last for a part of a run, so that the answer would depend on its length.
    """
    if seeds < 2:
        raise UsageError(f"seeds={seeds} must be >= 2: one seed has no interval")
    if not 0 < tolerance_ratio < 1:
        raise UsageError(f"tolerance_ratio={tolerance_ratio:g} must be in (0, 1)")
    check_lasting(scenario)
    check_rate(scenario)
    search = Search(scenario, scenario.seed, engine=engine, screening=screening, on_progress=on_progress)
    ladder = search.climb()
    search.keepable = search.kept_by_any(ladder)
    if not any(search.keepable):
        way_out = f'name a file of your own targets (targets = "FILE.toml" in the scenario, as {scenario.targets})'
        raise UsageError(f"every target is missed at any load (`headroom run` says by how much); {way_out}")
    near = search.near_per_s = _near(search, ladder)
    with nullcontext(executor) if executor else ThreadPoolExecutor(os.cpu_count()) as workers:
        found = Hunt(search, near, seeds=seeds, tolerance_ratio=tolerance_ratio, workers=workers).rates()
    return _answer(search, ladder, found=found)


def check_lasting(scenario: "Scenario", *, what: str = "a capacity") -> None:
    """Refuse a scenario of which an answer would depend on how long the runs are.

    Raises
    ------
    UsageError
        It has faults.
    """
    if scenario.faults:
        rule = f"must be 0 for {what}: they last for a part of a run"
        way_out = "leave them out (--set faults=[]); sim.hysteresis finds the loads at which it recovers from them"
        raise UsageError(f"faults={len(scenario.faults)} {rule}; {way_out}")


def _near(search: Search, ladder: Sequence[Probe]) -> float:
    """Find about the answer, by short probes of the first seed."""
    gaps = {probe.rate_per_s: search.gap_of(probe) for probe in ladder}
    # A start that a short probe has not forgotten makes it worse: what it keeps is kept, the rest is asked anew.
    known = {
        probe.rate_per_s: gaps[probe.rate_per_s] for probe in ladder if probe.overloaded or gaps[probe.rate_per_s] <= 0
    }
    start = max((rate for rate, gap in known.items() if gap <= 0), default=ladder[0].rate_per_s / 2)
    found = crossing(
        lambda rate_per_s: search.gap(rate_per_s, search.longer),
        start,
        tolerance_ratio=NEAR_RATIO,
        known=known,
        floor=ladder[0].rate_per_s / 16,
    )
    if not found:
        raise UsageError(
            "capacity: no load keeps all targets that some load keeps (see `headroom run` for by how much)"
        )
    return found


def _answer(search: Search, ladder: Sequence[Probe], *, found: Rates) -> Capacity:
    """Put the seeds together; *search* is the first one's."""
    estimate = over_seeds(found.steady)
    broken = search.probe(estimate.value * BROKEN, found.stretch)
    names = [line.name for line in search.targets]
    first = tuple(names[place] for place in search.first_to_break(broken))
    # Near the answer a rung of the ladder, which is short, shows its start: another curve than that of the answer.
    curve = [
        search.probe(rung.rate_per_s, found.stretch)
        if rung.rate_per_s > NEAR_SHARE * estimate.value and not rung.overloaded
        else rung
        for rung in ladder
    ]
    probes = tuple(sorted([*curve, broken], key=lambda probe: probe.rate_per_s))
    bottleneck = broken.bottleneck if first else broken.busiest
    return Capacity(
        estimate=estimate,
        limited_by=first or OVERLOAD,
        bottleneck=bottleneck,
        kept=tuple(name for name, can in zip(names, search.keepable, strict=True) if can),
        missed=tuple(name for name, can in zip(names, search.keepable, strict=True) if not can),
        knee_per_s=max(probes, key=lambda probe: probe.rate_per_s / probe.latency_ms_mean).rate_per_s,
        probes=probes,
        bound_per_s=search.bound_per_s,
        cold_start=over_seeds(found.cold) if found.cold else None,
        warm_up_s=found.stretch.cut_s,
        longest_s=found.stretch.length_s,
        settled=found.settled,
        assumption=assumption_that_limits(search.scenario, bottleneck),
        lower=lower_loads(search, ladder, capacity=estimate, stretch=found.stretch),
    )


def over_seeds(rates: Sequence[float]) -> Estimate:
    """Return the geometric mean of the seeds' rates, with Student's interval on the logarithm.

    A rate of 0, where no load kept the targets, has no logarithm: the interval then reaches down to it.
    """
    n = len(rates)
    if min(rates) <= 0:
        return Estimate(float(np.median(rates)), 0.0, max(rates), n, f"{n} seeds, range")
    logs = np.log(rates)
    centre, half = float(logs.mean()), float(stdtrit(n - 1, 0.975) * logs.std(ddof=1) / sqrt(n))
    return Estimate(exp(centre), exp(centre - half), exp(centre + half), n, f"{n} seeds, t on logarithms")
