"""Find the highest arrival rate at which the deployment meets its targets, and what fails first beyond it.

Screening (:mod:`sim.screening`) gives an upper bound that no load can exceed for long. The rate is raised towards it in
large steps until a target is missed; bisection then finds the breaking point. All probes of one seed use common random
numbers, so a higher rate is the same requests arriving faster, and the comparison of two rates is sharp; further seeds
give independent answers, and the interval comes from their variance.

A target that no probe meets with its whole interval, however low the load, is not a matter of capacity: it is listed
separately, and the rate is the one that meets all others.

Sources
-------
Law, "Simulation Modeling and Analysis", 5th ed., 2015, chapter 11 (common random numbers).
Kleinrock, "Power and deterministic rules of thumb for probabilistic problems in computer communications", ICC 1979
(the knee is where throughput divided by delay is greatest).
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from math import exp, inf, sqrt
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit

from sim.errors import UsageError
from sim.experiments.probe import OVERLOAD, Probe
from sim.experiments.search import Search
from sim.scenario.recorded import check_rate
from sim.screening import Screening
from sim.statistics.intervals import Estimate
from sim.views import Shown

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario


BRACKET = 1.08
"""Further seeds start from a bracket of this ratio on either side of the first seed's answer."""


@dataclass(frozen=True)
class Capacity(Shown):
    """The answer of the search.

    Attributes
    ----------
    estimate : Estimate
        Highest rate in requests/s, with its 95 % interval over the seeds.
    limited_by : tuple of str
        Targets that break first, as ``metric statistic``; ``overload`` when a station does.
    bottleneck : str
        Station with the longest waits of the slowest requests at the breaking point; with ``overload`` the one that is
        overloaded. It need not be the busiest: waits at one server at 80 % are longer than at eight at 90 %.
    kept : tuple of str
        Targets that the rate meets.
    missed : tuple of str
        Targets that no probe met with its whole interval, whatever the load.
    knee_per_s : float
        Rate of the probe with the greatest ratio of throughput to mean latency.
    probes : tuple of Probe
        Those of the first seed, by rate.
    bound_per_s : float
        Upper bound on the rate that can be sustained, from screening: an approximation.
    """

    estimate: Estimate
    limited_by: tuple[str, ...]
    bottleneck: str
    kept: tuple[str, ...]
    missed: tuple[str, ...]
    knee_per_s: float
    probes: tuple[Probe, ...]
    bound_per_s: float = inf

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
    """Search for the highest rate at which *scenario* meets its targets.

    Parameters
    ----------
    scenario : Scenario
        With open-loop arrivals.
    engine : {"compiled", "simpy"}
    seeds : int
        Number of seeds, at least 2: the scenario's own and the following ones.
    tolerance_ratio : float
        Width of the final bracket, relative to the rate.
    screening : Screening, optional
        Of *scenario*, if it was computed already; it gives the upper bound of the search.
    executor : Executor, optional
        Executor for the further seeds; by default threads of this process, since the compiled engine releases the GIL.
    on_progress : callable, optional
        Called with a short description of each probe.

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
    search = Search(
        scenario,
        scenario.seed,
        engine=engine,
        tolerance_ratio=tolerance_ratio,
        screening=screening,
        on_progress=on_progress,
    )
    ladder = search.climb()
    keepable = search.keepable(ladder)
    if not any(keepable):
        raise UsageError("capacity: every target is missed at any load (see `headroom run` for by how much)")
    low, high = search.bracket(ladder, keepable)
    first, broken = search.close_in(low, high, keepable=keepable)
    others = [scenario.seed + step for step in range(1, seeds)]
    again = partial(_search_again, scenario, near=first, keepable=keepable, engine=engine, tolerance=tolerance_ratio)
    with nullcontext(executor) if executor else ThreadPoolExecutor(os.cpu_count()) as workers:
        rates = [first, *workers.map(again, others)]
    return _answer(search, rates, broken, keepable=keepable)


def _search_again(
    scenario: "Scenario", seed: int, *, near: float, keepable: tuple[bool, ...], engine: str, tolerance: float
) -> float:
    """Find the breaking rate of another seed, starting near the first one's."""
    search = Search(scenario, seed, engine=engine, tolerance_ratio=tolerance)
    low, high = near / BRACKET, near * BRACKET
    while search.breaks(search.probe(low), keepable):
        low, high = low / BRACKET**2, low
    while not search.breaks(search.probe(high), keepable):
        low, high = high, high * BRACKET**2
    return search.close_in(low, high, keepable=keepable)[0]


def _answer(search: Search, rates: Sequence[float], broken: Probe, *, keepable: tuple[bool, ...]) -> Capacity:
    """Combine the rates of all seeds; *search* is the first one's."""
    names = [f"{line.metric} {line.statistic}" for line in search.targets]
    first = tuple(names[place] for place in np.flatnonzero(keepable) if search.missed(int(place), broken))
    probes = tuple(search.seen[rate] for rate in sorted(search.seen))
    return Capacity(
        estimate=_over_seeds(rates),
        limited_by=first or OVERLOAD,
        bottleneck=broken.bottleneck if first else broken.busiest,
        kept=tuple(name for name, can in zip(names, keepable, strict=True) if can),
        missed=tuple(name for name, can in zip(names, keepable, strict=True) if not can),
        knee_per_s=max(probes, key=lambda probe: probe.rate_per_s / probe.latency_ms_mean).rate_per_s,
        probes=probes,
        bound_per_s=search.bound_per_s,
    )


def _over_seeds(rates: Sequence[float]) -> Estimate:
    """Return the geometric mean of the seeds' rates, with Student's t interval on the logarithm."""
    logs, n = np.log(rates), len(rates)
    centre, half = float(logs.mean()), float(stdtrit(n - 1, 0.975) * logs.std(ddof=1) / sqrt(n))
    return Estimate(exp(centre), exp(centre - half), exp(centre + half), n, f"{n} seeds, t on logarithms")
