"""Which doubtful numbers the answer hangs on: each is made a quarter larger and smaller, and the P99 is watched.

A scenario rests on some numbers that nobody has published, and on some that one stranger measured once. Most of them
do not matter; a few decide. Every variant plays the same requests with the same luck (common random numbers), so even
a small difference is the number's own doing and not chance.

Sources
-------
Distribution, "Simulation Modeling and Analysis", 5th ed., 2015, section 11.4 (sensitivity under common random numbers).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from typing import TYPE_CHECKING, Any

import numpy as np

from sim.errors import ScenarioError
from sim.results.metrics import LATENCY, metric_values
from sim.statistics.quantiles import quantiles

if TYPE_CHECKING:
    from sim.scenario.provenance import Provenance
    from sim.scenario.scenario import Scenario

FACTOR = 1.25
"""By how much a number is changed, up and down: a modest doubt, the same for all, so that rows compare."""

REQUESTS_MAX = 20_000
"""Played after the warm-up: a P99 then rests on 200 requests; common random numbers make up for the rest."""

PLACES = ("value", "mean", "median", "p99", "low", "high", "minimum", "maximum", "values")
"""Parameters of a distribution that are multiplied to multiply the distribution."""


@dataclass(frozen=True)
class Sensitivity:
    """One doubtful number, and what a quarter more or less of it does to the latency.

    Attributes
    ----------
    source : Provenance
        Which number, and how far it can be trusted.
    p50_ratio_low, p50_ratio_high : float
        P50 of latency with the number divided, and multiplied, by :data:`FACTOR`, as a ratio to the unchanged P50; NaN
        where the schema forbids the number.
    p99_ratio_low, p99_ratio_high : float
        The same of the P99.
    """

    source: "Provenance"
    p50_ratio_low: float
    p50_ratio_high: float
    p99_ratio_low: float
    p99_ratio_high: float

    @property
    def swing_ratio(self) -> float:
        """How far the P99 moves over both changes."""
        moved = (abs(ratio - 1) for ratio in (self.p99_ratio_low, self.p99_ratio_high))
        return max((by for by in moved if isfinite(by)), default=0.0)


def sensitivity(
    scenario: "Scenario", *, engine: str = "compiled", tell: Callable[[str], None] | None = None
) -> tuple[Sensitivity, ...]:
    """Vary every low-confidence number of *scenario*, one at a time.

    Parameters
    ----------
    scenario : Scenario
    engine : {"compiled", "simpy"}
    tell : callable, optional
        Told each number's path.

    Returns
    -------
    tuple of Sensitivity
        Those that the P99 depends on most come first.
    """
    base = _quantiles(scenario, engine)
    rows = []
    for source in doubtful(scenario):
        if tell is not None:
            tell(source.path)
        ratios = []
        for factor in (1 / FACTOR, FACTOR):
            p50, p99 = _varied(scenario, source, factor, engine=engine)
            ratios.append((p50 / base[0], p99 / base[1]))
        (p50_low, p99_low), (p50_high, p99_high) = ratios
        rows.append(Sensitivity(source, p50_low, p50_high, p99_low, p99_high))
    return tuple(sorted(rows, key=lambda row: -row.swing_ratio))


def doubtful(scenario: "Scenario") -> list["Provenance"]:
    """Numbers of low confidence that can be multiplied: those of what requests meet, and sizes and tokens."""
    places = (*(f"system.{name}." for name in scenario.reached), "workload.tokens.")
    return [
        source
        for source in scenario.provenance
        if source.low_confidence
        and (source.path.startswith(places) or source.path.endswith(".size_bytes"))
        and multiplied(source.value, 1.0) is not None
    ]


def multiplied(value: Any, factor: float) -> Any:
    """A number, or the location of a distribution, times *factor*; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return max(1, round(value * factor))
    if isinstance(value, float):
        return value * factor
    if isinstance(value, dict) and "distribution" in value:
        return {key: _scaled(entry, factor) if key in PLACES else entry for key, entry in value.items()}
    return None


def _scaled(entry: Any, factor: float) -> Any:
    return [part * factor for part in entry] if isinstance(entry, Sequence) else entry * factor


def _varied(scenario: "Scenario", source: "Provenance", factor: float, *, engine: str) -> tuple[float, float]:
    try:
        varied = scenario.vary(source.path, multiplied(source.value, factor))
    except ScenarioError:
        return nan, nan
    return _quantiles(varied, engine)


def _quantiles(scenario: "Scenario", engine: str) -> tuple[float, float]:
    """P50 and P99 of latency, as the verdicts count it."""
    from sim.runners.play import play_whole
    from sim.scenario.generation import schedule

    planned = schedule(scenario)
    warm_up = int(np.searchsorted(planned.arrival_ms, planned.warm_up_ms))
    played = play_whole(scenario, planned.head(warm_up + REQUESTS_MAX), on=engine, seed=scenario.seed)
    p50, p99 = quantiles(metric_values(played.steady().frame, LATENCY, scenario=scenario), [0.5, 0.99])
    return float(p50), float(p99)
