"""The most traffic that the deployment carries with its targets kept, in the long run and from a cold start.

Picture a dial for the arrival rate. Arithmetic says where its end is (:mod:`sim.screening`): no rate beyond can last.
It is turned up towards that end in large steps until a target breaks, which tells about where the answer is. There
every seed plays a run so long that the start is over, and together the seeds tell how long that takes. From there on
each seed looks for its own breaking point; their spread is the interval. All probes of one seed share their random
numbers, so a higher rate is the same requests coming faster.

The start is a verdict of its own: when everything begins at once, after an outage or a deploy, all objects wake
and flush together, and targets that the steady state keeps may break for some minutes.

A target that no probe keeps for certain, however small the load, is not a matter of capacity: it is named apart, and
the rate is the one that keeps all others.

Sources
-------
Law, "Simulation Modeling and Analysis", 5th ed., 2015, chapter 11 (common random numbers), 9.5 (warm-up).
Kleinrock, "Power and deterministic rules of thumb for probabilistic problems in computer communications", ICC 1979
(the knee is where throughput divided by delay is greatest).
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from math import exp, inf, sqrt
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from scipy.special import stdtrit

from sim.errors import UsageError
from sim.experiments.durations import START_S
from sim.experiments.limits import assumption_that_limits
from sim.experiments.probe import OVERLOAD, Probe
from sim.experiments.root import crossing
from sim.experiments.search import REQUESTS_MAX, Search, Settling, Stretch
from sim.scenario.recorded import check_rate
from sim.screening import Screening
from sim.statistics.intervals import Estimate
from sim.statistics.warmup import forgotten_after
from sim.views import Shown

if TYPE_CHECKING:
    from sim.scenario.provenance import Provenance
    from sim.scenario.scenario import Scenario

T = TypeVar("T")

LENGTH_S = 600.0
"""A steady probe begins so long; it is doubled where the start is not over by its middle."""

LONG_REQUESTS_MIN = 100_000
"""Judged by a steady probe at least. A seed's answer from fewer is not only uncertain but too high: most short runs see
fewer busy spells than the long run, and a few see many, so the mean of their answers lies above the answer of the mean
by about the variance. docs/CAPACITY_COVERAGE.md shows what is left of it."""

DOUBLINGS_MAX = 2

SECTIONS = 10
"""Of a probe, compared with its second half to find where the start ends."""

BROKEN = 1.02
"""Times the answer: there, what breaks first is looked at."""

SHARED = 4
"""Times the tolerance: so far apart may the shared rates be between which a seed's own answer is interpolated."""

NEAR_RATIO = 0.1
"""How near the first, short probes must come."""


@dataclass(frozen=True)
class Capacity(Shown):
    """The answer of the search.

    Attributes
    ----------
    estimate : Estimate
        Highest rate in requests/s that the deployment at work bears, its 95 % interval over the seeds.
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

    def __repr__(self) -> str:
        rate, first = self.estimate, ", ".join(self.limited_by)
        return (
            f"<Capacity {rate.value:,.4g} requests/s, 95 % {rate.low:,.4g} to {rate.high:,.4g}; first breaks {first}>"
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
        Of *scenario*, if it was asked for already; it tells where the search ends.
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
        The arrivals are a closed loop, *seeds* < 2, or every target is missed at any load.
    """
    if seeds < 2:
        raise UsageError(f"seeds={seeds} must be >= 2: one seed has no interval")
    if not 0 < tolerance_ratio < 1:
        raise UsageError(f"tolerance_ratio={tolerance_ratio:g} must be in (0, 1)")
    check_rate(scenario)
    search = Search(scenario, scenario.seed, engine=engine, screening=screening, on_progress=on_progress)
    ladder = search.climb()
    search.keepable = search.kept_by_any(ladder)
    if not any(search.keepable):
        raise UsageError("capacity: every target is missed at any load (see `headroom run` for by how much)")
    near = _near(search, ladder)
    with nullcontext(executor) if executor else ThreadPoolExecutor(os.cpu_count()) as workers:
        found = Hunt(search, near, seeds=seeds, tolerance_ratio=tolerance_ratio, workers=workers).rates()
    return _answer(search, ladder, found=found)


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


@dataclass(frozen=True)
class _Rates:
    """What the seeds found."""

    steady: tuple[float, ...]
    cold: tuple[float, ...]
    stretch: Stretch
    settled: bool


class Hunt:
    """All seeds, from one rate that is near the answer.

    They first play the same few rates, so that together they tell how long the start lasts there; then each looks for
    its own breaking point between them.
    """

    def __init__(self, search: Search, near: float, *, seeds: int, tolerance_ratio: float, workers: Executor) -> None:
        self.search, self.near, self.tolerance_ratio, self.workers = search, near, tolerance_ratio, workers
        self.seeds = tuple(search.seed + step for step in range(seeds))
        self.tasks = _Tasks(search.scenario, search.engine, search.keepable, SHARED * tolerance_ratio)

    def rates(self) -> _Rates:
        """Find each seed's breaking rates."""
        if not self.search.is_steady:
            nothing: list[dict[float, float]] = [{} for _ in self.seeds]
            steady = tuple(self._each(self.tasks.steady, self.search.longer, self.near, of_seed=nothing))
            return _Rates(steady, (), self.search.longer, settled=True)
        shared, steady = self.steady()
        return _Rates(steady, self._cold(shared), shared.stretch, shared.settled)

    def steady(self) -> "tuple[Shared, tuple[float, ...]]":
        """Find each seed's rate for the deployment at work, and what the seeds showed together."""
        shared = self._shared()
        return shared, tuple(self._each(self.tasks.steady, shared.stretch, self.near, of_seed=shared.known))

    def _cold(self, shared: "Shared") -> tuple[float, ...]:
        """Find each seed's rate for the start."""
        self.search.on_progress("searching for the rate that a cold start bears")
        floor = min(self.near, self.search.own_per_s) / 64
        known = shared.known_of_start
        first = self.tasks.cold(floor, min(known[0]), self.seeds[0], known[0])
        return (first, *self._each(self.tasks.cold, floor, first or self.near, of_seed=known, skipped=1))

    def _each(self, task: Callable[..., T], *same: Any, of_seed: Sequence[Any] = (), skipped: int = 0) -> Iterator[T]:
        """Run ``task(*same, seed, own)`` for every seed but the first *skipped*, side by side."""
        own = [of_seed[skipped:]] if of_seed else []
        return self.workers.map(partial(task, *same), self.seeds[skipped:], *own)

    def _shared(self) -> "Shared":
        """Play rates around the answer for as long as it takes to forget the start."""
        warm_up_s = self.search.scenario.workload.warm_up_s
        length_s = max(LENGTH_S, 2 * warm_up_s, 2 * LONG_REQUESTS_MIN / self.near)
        near = self.near
        for _ in range(DOUBLINGS_MAX + 1):
            shared = Shared(length_s, warm_up_s)
            near = crossing(partial(self._mean_gap, shared), near, tolerance_ratio=self.tolerance_ratio)
            if shared.settled or near * length_s >= REQUESTS_MAX[self.search.engine]:
                break
            length_s *= 2
        return shared

    def _mean_gap(self, shared: "Shared", rate_per_s: float) -> float:
        """Play all seeds at one rate; return their mean gap."""
        what = f"{len(self.seeds)} seeds of {shared.length_s:,.0f} s at {rate_per_s:,.4g} requests/s"
        self.search.on_progress(what)
        shared.found[rate_per_s] = list(self._each(self.tasks.settling, rate_per_s, shared.length_s))
        return shared.gap(rate_per_s)


@dataclass
class Shared:
    """What all seeds showed at the rates that they share."""

    length_s: float
    warm_up_s: float
    found: dict[float, list[Settling]] = field(default_factory=dict)

    def gap(self, rate_per_s: float) -> float:
        """Mean of the seeds' gaps after the cut that is best there."""
        found = self.found[rate_per_s]
        cut_s, _ = self._cut(found)
        return float(np.mean([one.gaps[cut_s] for one in found]))

    @property
    def stretch(self) -> Stretch:
        """The cut at the rate nearest to the answer, and what is left."""
        cut_s, _ = self._nearest
        return Stretch(cut_s, self.length_s - cut_s)

    @property
    def settled(self) -> bool:
        """Whether the start is over by then."""
        return self._nearest[1]

    @property
    def known(self) -> list[dict[float, float]]:
        """Gap by rate, for each seed."""
        cut_s, seeds = self.stretch.cut_s, range(len(next(iter(self.found.values()))))
        return [{rate: found[seed].gaps[cut_s] for rate, found in self.found.items()} for seed in seeds]

    @property
    def known_of_start(self) -> list[dict[float, float]]:
        """The same of the first :data:`START_S`."""
        seeds = range(len(next(iter(self.found.values()))))
        return [{rate: found[seed].start_gap for rate, found in self.found.items()} for seed in seeds]

    @property
    def _nearest(self) -> tuple[float, bool]:
        return self._cut(self.found[min(self.found, key=lambda rate: abs(self.gap(rate)))])

    def _cut(self, found: Sequence[Settling]) -> tuple[float, bool]:
        """Return the first cut after which the seeds have forgotten their start, and whether they have at all."""
        cuts_s = sorted(found[0].gaps)
        sections = forgotten_after([one.slow_share for one in found])
        needed_s = max(cuts_s[-1] if sections is None else cuts_s[sections - 1], self.warm_up_s)
        enough = [cut_s for cut_s in cuts_s if cut_s >= needed_s - 1e-9]
        return (enough[0] if enough else cuts_s[-1]), sections is not None


@dataclass(frozen=True)
class _Tasks:
    """What one seed does, wherever the executor runs it."""

    scenario: "Scenario"
    engine: str
    keepable: tuple[bool, ...]
    tolerance_ratio: float

    def settling(self, rate_per_s: float, length_s: float, seed: int) -> Settling:
        """Play one long run; keep what each cut would make of it, and what its start is."""
        return self._search(seed).settling(rate_per_s, length_s, sections=SECTIONS, start_s=START_S)

    def steady(self, stretch: Stretch, near: float, seed: int, known: dict[float, float]) -> float:
        """Find the rate at which the steady state breaks a target."""
        return self._crossing(self._search(seed), near, stretch, known=known)

    def cold(self, floor: float, start: float, seed: int, known: dict[float, float]) -> float:
        """Find the rate at which the start breaks a target, at most the *known* ones; 0 where every rate does."""
        most = max(known)
        if known[most] <= 0:
            return most
        return self._crossing(self._search(seed), start, Stretch(0.0, START_S), known=known, floor=floor)

    def _crossing(
        self, search: Search, start: float, stretch: Stretch, *, known: dict[float, float], floor: float = 0.0
    ) -> float:
        gap = partial(search.gap, stretch=stretch)
        return crossing(gap, start, tolerance_ratio=self.tolerance_ratio, known=known, floor=floor)

    def _search(self, seed: int) -> Search:
        search = Search(self.scenario, seed, engine=self.engine)
        search.keepable = self.keepable
        return search


def _answer(search: Search, ladder: Sequence[Probe], *, found: _Rates) -> Capacity:
    """Put the seeds together; *search* is the first one's."""
    estimate = over_seeds(found.steady)
    broken = search.probe(estimate.value * BROKEN, found.stretch)
    names = [line.name for line in search.targets]
    first = tuple(names[place] for place in search.first_to_break(broken))
    probes = tuple(sorted([*ladder, broken], key=lambda probe: probe.rate_per_s))
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
