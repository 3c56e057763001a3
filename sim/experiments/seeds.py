"""All seeds of a search for capacity: how long a start lasts, and where each seed's own breaking point is.

The seeds first play the same few rates around the answer, so that together they show after how long a start no longer
shows; then each finds its own rate between them.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from sim.experiments.durations import START_S
from sim.experiments.root import crossing
from sim.experiments.search import REQUESTS_MAX, WAKING_SHARE, Search, Settling, Stretch
from sim.statistics.warmup import forgotten_after

if TYPE_CHECKING:
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

SHARED = 4
"""Times the tolerance: so far apart may the shared rates be between which a seed's own answer is interpolated."""


@dataclass(frozen=True)
class Rates:
    """What the seeds found."""

    steady: tuple[float, ...]
    cold: tuple[float, ...]
    stretch: Stretch
    settled: bool


class Hunt:
    """All seeds, from one rate that is near the answer.

    They first play the same few rates, so that together they show how long the start lasts there; then each looks for
    its own breaking point between them.
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
        shared = self._shared()
        return shared, tuple(
            self._each(self.tasks.steady, of_seed=shared.known, stretch=shared.stretch, near=self.near)
        )

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

    def _shared(self) -> "Shared":
        """Play rates around the answer for as long as it takes to forget the start."""
        waking_s = self.search.timers.window_ms / 1000
        least_s = max(self.search.scenario.workload.warm_up_s, waking_s)
        length_s = max(LENGTH_S, 2 * least_s, waking_s / WAKING_SHARE, 2 * LONG_REQUESTS_MIN / self.near)
        near = self.near
        for _ in range(DOUBLINGS_MAX + 1):
            shared = Shared(length_s, least_s)
            near = crossing(partial(self._mean_gap, shared), near, tolerance_ratio=self.tolerance_ratio)
            if shared.settled or near * length_s >= REQUESTS_MAX[self.search.engine]:
                break
            length_s *= 2
        return shared

    def _mean_gap(self, shared: "Shared", rate_per_s: float) -> float:
        """Play all seeds at one rate; return their mean gap."""
        what = f"{len(self.seeds)} seeds of {shared.length_s:,.0f} s at {rate_per_s:,.4g} requests/s"
        self.search.on_progress(what)
        shared.found[rate_per_s] = list(
            self._each(self.tasks.settling, rate_per_s=rate_per_s, length_s=shared.length_s)
        )
        return shared.gap(rate_per_s)


@dataclass
class Shared:
    """What all seeds showed at the rates that they share.

    Attributes
    ----------
    length_s, least_s : float
        Of each run, and of its cut.
    found : dict of float to list of Settling
    """

    length_s: float
    least_s: float
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
        """The same of the first :data:`START_S`, of the runs that began with a cold start."""
        of_seeds = zip(*self.found.values(), strict=True)
        return [_known(dict(zip(self.found, one, strict=True))) for one in of_seeds]

    @property
    def _nearest(self) -> tuple[float, bool]:
        return self._cut(self.found[min(self.found, key=lambda rate: abs(self.gap(rate)))])

    def _cut(self, found: Sequence[Settling]) -> tuple[float, bool]:
        """Return the first cut after which the seeds have forgotten their start, and whether they have at all."""
        cuts_s = sorted(found[0].gaps)
        sections = forgotten_after([one.slow_share for one in found])
        needed_s = max(cuts_s[-1] if sections is None else cuts_s[sections - 1], self.least_s)
        enough = [cut_s for cut_s in cuts_s if cut_s >= needed_s - 1e-9]
        return (enough[0] if enough else cuts_s[-1]), sections is not None


def _known(found: dict[float, Settling]) -> dict[float, float]:
    return {rate: one.start_log_ratio for rate, one in found.items() if one.start_log_ratio is not None}


@dataclass(frozen=True)
class _Tasks:
    """What one seed does, wherever the executor runs it."""

    scenario: "Scenario"
    engine: str
    keepable: tuple[bool, ...]
    tolerance_ratio: float
    near_per_s: float

    def settling(self, seed: int, *, rate_per_s: float, length_s: float) -> Settling:
        """Play one long run; keep what each cut would make of it, and what its start is."""
        return self._search(seed).settling(rate_per_s, length_s, sections=SECTIONS, start_s=START_S)

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
