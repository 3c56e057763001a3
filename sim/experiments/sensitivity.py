"""Vary each low-confidence number by a quarter, up and down, and report how far the P99 moves.

A scenario rests on some numbers that nobody has published, and on some that were measured once by a third party. Most
of them do not matter; a few decide the answer. Every variant plays the same requests with common random numbers, so
even a small difference is the effect of the number and not of chance.

Sources
-------
Law, "Simulation Modeling and Analysis", 5th ed., 2015, section 11.4 (sensitivity under common random numbers).
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
"""Factor by which a number is multiplied and divided: modest, and the same for all, so that rows compare."""

REQUESTS_MAX = 20_000
"""Requests after the warm-up: a P99 then has 200 requests beyond it, and common random numbers do the rest."""

PLACES = ("value", "mean", "median", "p99", "low", "high", "minimum", "maximum", "values")
"""Scale and location parameters: multiplying them multiplies the distribution."""


@dataclass(frozen=True)
class Sensitivity:
    """The effect on latency of one low-confidence number, a quarter larger and smaller.

    Attributes
    ----------
    source : Provenance
        The number, with its source and confidence.
    p50_ratio_low, p50_ratio_high : float
        P50 of latency with the number divided, and multiplied, by :data:`FACTOR`, as a ratio to the unchanged P50; NaN
        where the schema forbids the changed number.
    p99_ratio_low, p99_ratio_high : float
        The same for the P99.
    """

    source: "Provenance"
    p50_ratio_low: float
    p50_ratio_high: float
    p99_ratio_low: float
    p99_ratio_high: float

    @property
    def swing_ratio(self) -> float:
        """The larger relative change of the P99 over both variations."""
        moved = (abs(ratio - 1) for ratio in (self.p99_ratio_low, self.p99_ratio_high))
        return max((by for by in moved if isfinite(by)), default=0.0)


def sensitivity(
    scenario: "Scenario", *, engine: str = "compiled", on_progress: Callable[[str], None] | None = None
) -> tuple[Sensitivity, ...]:
    """Vary every low-confidence number of *scenario*, one at a time.

    Parameters
    ----------
    scenario : Scenario
    engine : {"compiled", "simpy"}
    on_progress : callable, optional
        Called with each number's path.

    Returns
    -------
    tuple of Sensitivity
        Largest effect on the P99 first.
    """
    base = _quantiles(scenario, engine)
    rows = []
    for source in low_confidence_numbers(scenario):
        if on_progress is not None:
            on_progress(source.path)
        ratios = []
        for factor in (1 / FACTOR, FACTOR):
            p50, p99 = _varied(scenario, source, factor, engine=engine)
            ratios.append((p50 / base[0], p99 / base[1]))
        (p50_low, p99_low), (p50_high, p99_high) = ratios
        rows.append(Sensitivity(source, p50_low, p50_high, p99_low, p99_high))
    return tuple(sorted(rows, key=lambda row: -row.swing_ratio))


def low_confidence_numbers(scenario: "Scenario") -> list["Provenance"]:
    """Return the low-confidence numbers that can be scaled: of components that requests reach, sizes and tokens."""
    places = (*(f"system.{name}." for name in scenario.reached), "workload.tokens.")
    return [
        source
        for source in scenario.provenance
        if source.low_confidence
        and (source.path.startswith(places) or source.path.endswith(".size_bytes"))
        and multiplied(source.value, 1.0) is not None
    ]


def multiplied(value: Any, factor: float) -> Any:
    """Return a number, or a distribution, times *factor*; None for anything else."""
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
    """Simulate, and return the P50 and P99 of the latency that the verdicts use."""
    from sim.runners.play import play_whole
    from sim.scenario.generation import schedule

    planned = schedule(scenario)
    warm_up = int(np.searchsorted(planned.arrival_ms, planned.warm_up_ms))
    played = play_whole(scenario, planned.head(warm_up + REQUESTS_MAX), on=engine, seed=scenario.seed)
    p50, p99 = quantiles(metric_values(played.steady().frame, LATENCY, scenario=scenario), [0.5, 0.99])
    return float(p50), float(p99)
