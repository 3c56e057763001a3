"""All seeds of a search for capacity: how long a start lasts, and where each seed's own breaking point is.

Pilot runs show after how long a start no longer shows, and about where the answer is. The seeds then play the same few
rates around the answer, which is interpolated for all requests together. What each seed adds to it is told by leaving
it out (the jackknife).

Sources
-------
Efron, "The Jackknife, the Bootstrap and Other Resampling Plans", SIAM, 1982, chapters 2 and 3 (pseudo-values, bias).
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from math import exp, log
from typing import TYPE_CHECKING, Any, TypeVar

from sim.experiments.durations import START_S
from sim.experiments.long_runs import LongRun, Pilot, Stretch
from sim.experiments.root import crossing, guessed, interpolated
from sim.experiments.search import REQUESTS_MAX, WAKING_SHARE, Search
from sim.randomness.streams import SEED_MAX
from sim.statistics.warmup import forgotten_after

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario

T = TypeVar("T")

LENGTH_S = 600.0
"""A steady probe is so long, or twice or four times as long where the start of pilot runs is not over by its middle."""

PILOTS = 5
PILOT_FIRST = 1_000_000_000
"""Added to the scenario's seed for the first pilot: far from the seeds that are judged, here and in other searches."""

LONG_REQUESTS_MIN = 100_000
"""Judged by a steady probe at least. An answer from fewer is not only uncertain but too high: most short runs see fewer
busy spells than the long run, and a few see many. docs/CAPACITY_COVERAGE.md shows what the jackknife leaves of it."""

DOUBLINGS_MAX = 2

SECTIONS = 10
"""Of a probe, compared with its second half to find where the start ends."""

NEAR_RATIO = 0.1
"""The first rate is so near to the answer, from short probes."""

SHARED = 4
"""Times the tolerance: so far apart may the shared rates be between which a seed's own answer is interpolated."""


@dataclass(frozen=True)
class Rates:
    """What the seeds found: of the steady state pseudo-values of the answer, of the start the rate of each seed."""

    steady: tuple[float, ...]
    cold: tuple[float, ...]
    stretch: Stretch
    settled: bool


class Hunt:
    """All seeds, from one rate that is near the answer.

    Pilot runs first show how long the start lasts there, and how far from the answer it is. The seeds then play the
    same few rates together, and the answer is interpolated between those.
    """

    def __init__(self, search: Search, near: float, *, seeds: int, tolerance_ratio: float, workers: Executor) -> None:
        self.search, self.near, self.tolerance_ratio, self.workers = search, near, tolerance_ratio, workers
        self.seeds = tuple(search.seed + step for step in range(seeds))
        self.tasks = _Tasks(search.scenario, search.engine, search.keepable, SHARED * tolerance_ratio, near)

    def rates(self) -> Rates:
        """Find each seed's breaking rates."""
        if not self.search.is_steady:
            nothing: list[dict[float, float]] = [{} for _ in self.seeds]
            steady = tuple(self._each(self.tasks.steady, of_seed=nothing, stretch=self.search.longer, near=self.near))
            return Rates(steady, (), self.search.longer, settled=True)
        shared, steady = self.steady()
        return Rates(steady, self._cold(shared), shared.stretch, shared.settled)

    def steady(self) -> "tuple[Shared, tuple[float, ...]]":
        """Find each seed's rate for the deployment at work, and what the seeds showed together."""
        shared = self._settled()
        crossing(partial(self._pooled_gap, shared), shared.start_per_s, tolerance_ratio=self.tolerance_ratio)
        return shared, shared.rates(self.search.gap_of_runs)

    def _cold(self, shared: "Shared") -> tuple[float, ...]:
        """Find each seed's rate for the start."""
        self.search.on_progress("searching for the rate that a cold start sustains")
        floor = min(self.near, self.search.own_per_s) / 64
        known, most = shared.known_of_start, max(shared.found)
        first = self.tasks.cold(self.seeds[0], known[0], most=most, floor=floor, start=min(shared.found))
        same = {"most": most, "floor": floor, "start": first or self.near}
        return (first, *self._each(self.tasks.cold, of_seed=known, skipped=1, **same))

    def _each(
        self, task: Callable[..., T], *, of_seed: Sequence[Any] = (), skipped: int = 0, **same: Any
    ) -> Iterator[T]:
        """Run ``task(seed, own, **same)`` for every seed but the first *skipped*, side by side."""
        own = [of_seed[skipped:]] if of_seed else []
        return self.workers.map(partial(task, **same), self.seeds[skipped:], *own)

    def _settled(self) -> "Shared":
        """Find how long the start lasts, and about where the answer is, by pilot runs with seeds of their own.

        A cut that is chosen where the judged runs' beginnings and ends differ would keep the part of them that differs,
        and move their mean by more than their interval knows.
        """
        waking_s = self.search.timers.window_ms / 1000
        least_s = max(self.search.scenario.workload.warm_up_s, waking_s)
        length_s = max(LENGTH_S, 2 * least_s, waking_s / WAKING_SHARE, 2 * LONG_REQUESTS_MIN / self.near)
        seeds = [(self.search.seed + PILOT_FIRST + step) % (SEED_MAX + 1) for step in range(PILOTS)]
        for doublings in range(DOUBLINGS_MAX + 1):
            self.search.on_progress(f"{PILOTS} pilot runs of {length_s:,.0f} s at {self.near:,.4g} requests/s")
            task = partial(self.tasks.pilot, rate_per_s=self.near, length_s=length_s)
            pilots = list(self.workers.map(task, seeds))
            sections = forgotten_after([pilot.slow_share for pilot in pilots])
            most = self.near * length_s >= REQUESTS_MAX[self.search.engine]
            if sections is not None or most or doublings == DOUBLINGS_MAX:
                break
            length_s *= 2
        cut_s = max(length_s * (sections or SECTIONS // 2) / SECTIONS, least_s)
        gap = self.search.gap_of_runs([pilot.second_half for pilot in pilots])
        start_per_s = guessed(self.near, gap, within_ratio=NEAR_RATIO)
        return Shared(Stretch(cut_s, length_s - cut_s), settled=sections is not None, start_per_s=start_per_s)

    def _pooled_gap(self, shared: "Shared", rate_per_s: float) -> float:
        """Play all seeds at one rate; return how far they are together beyond the targets."""
        what = f"{len(self.seeds)} seeds of {shared.stretch.length_s:,.0f} s at {rate_per_s:,.4g} requests/s"
        self.search.on_progress(what)
        runs = list(self._each(self.tasks.long_run, rate_per_s=rate_per_s, stretch=shared.stretch))
        shared.found[rate_per_s] = runs
        return self.search.gap_of_runs(runs)


@dataclass
class Shared:
    """What all seeds showed at the rates that they share.

    Attributes
    ----------
    stretch : Stretch
        Of each run.
    settled : bool
        Whether the start is over by its cut.
    start_per_s : float
        The rate that is played first.
    found : dict of float to list of LongRun
        By rate, one of each seed.
    """

    stretch: Stretch
    settled: bool
    start_per_s: float
    found: dict[float, list[LongRun]] = field(default_factory=dict)

    def rates(self, gap_of_runs: Callable[[Sequence[LongRun]], float]) -> tuple[float, ...]:
        """Return a pseudo-value of the answer for each seed: their geometric mean is the answer, without most bias.

        Runs of some minutes see fewer busy spells than the long run, or many more, so that an answer from few of them
        is a little too high, by about as much again for each run that is left out.
        """
        seeds = len(next(iter(self.found.values())))
        whole = log(self._answer(gap_of_runs, without=None))
        others = [log(self._answer(gap_of_runs, without=seed)) for seed in range(seeds)]
        return tuple(exp(seeds * whole - (seeds - 1) * other) for other in others)

    def _answer(self, gap_of_runs: Callable[[Sequence[LongRun]], float], *, without: int | None) -> float:
        kept = {rate: [run for seed, run in enumerate(runs) if seed != without] for rate, runs in self.found.items()}
        return interpolated({rate: gap_of_runs(runs) for rate, runs in kept.items()})

    @property
    def known_of_start(self) -> list[dict[float, float]]:
        """Of each seed: how far the first :data:`START_S` were beyond the targets, by rate, where a run began cold."""
        return [_known(runs) for runs in self._of_seeds]

    @property
    def _of_seeds(self) -> list[dict[float, LongRun]]:
        return [dict(zip(self.found, runs, strict=True)) for runs in zip(*self.found.values(), strict=True)]


def _known(found: dict[float, LongRun]) -> dict[float, float]:
    return {rate: one.start_log_ratio for rate, one in found.items() if one.start_log_ratio is not None}


@dataclass(frozen=True)
class _Tasks:
    """What one seed does, wherever the executor runs it."""

    scenario: "Scenario"
    engine: str
    keepable: tuple[bool, ...]
    tolerance_ratio: float
    near_per_s: float

    def pilot(self, seed: int, *, rate_per_s: float, length_s: float) -> Pilot:
        """Play a pilot run; return how slow each of its sections is, and its second half."""
        return self._search(seed).pilot(rate_per_s, length_s, sections=SECTIONS)

    def long_run(self, seed: int, *, rate_per_s: float, stretch: Stretch) -> LongRun:
        """Play one long run; keep what it says after its cut, and of its start."""
        return self._search(seed).long_run(rate_per_s, stretch, start_s=START_S)

    def steady(self, seed: int, known: dict[float, float], *, stretch: Stretch, near: float) -> float:
        """Find the rate at which the steady state breaks a target."""
        return self._crossing(self._search(seed), near, stretch=stretch, known=known)

    def cold(self, seed: int, known: dict[float, float], *, most: float, floor: float, start: float) -> float:
        """Find the rate at which the start breaks a target, at most *most*; 0 where every rate does."""
        search, stretch = self._search(seed), Stretch(0.0, START_S)
        known = known or {most: search.gap(most, stretch)}
        if known[most] <= 0:
            return most
        return self._crossing(search, start, stretch=stretch, known=known, floor=floor)

    def _crossing(
        self, search: Search, start: float, *, stretch: Stretch, known: dict[float, float], floor: float = 0.0
    ) -> float:
        gap = partial(search.gap, stretch=stretch)
        return crossing(gap, start, tolerance_ratio=self.tolerance_ratio, known=known, floor=floor)

    def _search(self, seed: int) -> Search:
        search = Search(self.scenario, seed, engine=self.engine)
        search.keepable = self.keepable
        search.near_per_s = self.near_per_s
        return search
