"""Vary each low-confidence number by a quarter, up and down, and report how far the P99 moves.

A scenario rests on some numbers that nobody has published, and on some that were measured once by a third party. Most
of them do not matter; a few decide the answer. Every variant plays the same requests with common random numbers, so
even a small difference is the effect of the number and not of chance.

Sources
-------
Law, "Simulation Modeling and Analysis", 5th ed., 2015, section 11.4 (sensitivity under common random numbers).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sim.foundation.errors import ScenarioError
from sim.judgement.targets import Target, targets_of
from sim.results.metrics import LATENCY, UPTIME, metric_values, statistic_of
from sim.statistics.quantiles import quantiles

if TYPE_CHECKING:
    from sim.scenario.provenance import Provenance
    from sim.scenario.scenario import Scenario

FACTOR = 1.25
"""Factor by which a number is multiplied and divided: modest, and the same for all, so that rows compare."""

REQUESTS_MAX = 20_000
"""Requests after the warm-up: a P99 then has 200 requests beyond it, and common random numbers do the rest."""

LATENCY_P99 = f"{LATENCY} p99"

PLACES = ("value", "mean", "median", "p99", "low", "high", "minimum", "maximum", "values")
"""Scale and location parameters: multiplying them multiplies the distribution."""


@dataclass(frozen=True)
class Sensitivity:
    """The effect on latency, and on every judged target, of one low-confidence number, a quarter larger and smaller.

    Attributes
    ----------
    source : Provenance
        The number, with its source and confidence.
    p50_ratio_low, p50_ratio_high : float
        P50 of latency with the number divided, and multiplied, by :data:`FACTOR`, as a ratio to the unchanged P50; NaN
        where the schema forbids the changed number.
    p99_ratio_low, p99_ratio_high : float
        The same for the P99.
    targets : mapping of str to (float, float)
        The same two ratios for each judged target, by its name; uptime, which no run shows, is left out.
    """

    source: "Provenance"
    p50_ratio_low: float
    p50_ratio_high: float
    p99_ratio_low: float
    p99_ratio_high: float
    targets: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def swing_ratio(self) -> float:
        """The larger relative change of the P99 over both variations."""
        return _swing((self.p99_ratio_low, self.p99_ratio_high))

    @property
    def most(self) -> tuple[str, float]:
        """The target that moves most, and its larger relative change; the P99 of latency where none was judged."""
        swings = {name: _swing(ratios) for name, ratios in self.targets.items()} or {LATENCY_P99: self.swing_ratio}
        return max(swings.items(), key=lambda one: one[1])


def _swing(ratios: tuple[float, float]) -> float:
    return max((abs(ratio - 1) for ratio in ratios if isfinite(ratio)), default=0.0)


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
        Largest effect on any judged target first.
    """
    lines = [line for line in targets_of(scenario) if line.metric != UPTIME]
    base = statistics(scenario, lines, engine=engine)
    rows = []
    for source in low_confidence_numbers(scenario):
        if on_progress is not None:
            on_progress(source.path)
        low, high = (
            _varied(scenario, source, factor, lines=lines, engine=engine) / base for factor in (1 / FACTOR, FACTOR)
        )
        targets = {line.name: (float(low[place]), float(high[place])) for place, line in enumerate(lines, start=2)}
        rows.append(Sensitivity(source, float(low[0]), float(high[0]), float(low[1]), float(high[1]), targets))
    return tuple(sorted(rows, key=lambda row: -max(row.swing_ratio, row.most[1])))


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
    """Return a number, or a distribution, times *factor*; None for anything else, and for 0, which stays 0."""
    if isinstance(value, bool) or (isinstance(value, int | float) and not value):
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


def _varied(
    scenario: "Scenario", source: "Provenance", factor: float, *, lines: Sequence[Target], engine: str
) -> NDArray[np.float64]:
    try:
        varied = scenario.vary(source.path, multiplied(source.value, factor))
    except ScenarioError:
        return np.full(2 + len(lines), nan)
    return statistics(varied, lines, engine=engine)


def statistics(scenario: "Scenario", lines: Sequence[Target], *, engine: str) -> NDArray[np.float64]:
    """Simulate, and return P50 and P99 of latency, then the statistic of each of *lines*; shape (2 + len(lines),)."""
    from sim.runners.play import play_whole
    from sim.scenario.generation import schedule

    planned = schedule(scenario)
    warm_up = int(np.searchsorted(planned.arrival_ms, planned.warm_up_ms))
    played = play_whole(scenario, planned.head(warm_up + REQUESTS_MAX), on=engine, seed=scenario.seed)
    frame = played.steady().frame
    latency_ms = metric_values(frame, LATENCY, scenario=scenario)
    judged = (
        statistic_of(metric_values(line.select(frame), line.metric, scenario=scenario), line.statistic)
        for line in lines
    )
    return np.array([*quantiles(latency_ms, [0.5, 0.99]), *judged])
