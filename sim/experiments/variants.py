"""Variants of a scenario in which several of its low-confidence numbers are multiplied at once.

Sources
-------
Morris, "Factorial sampling plans for preliminary computational experiments", Technometrics 33, 1991. Saltelli and
others, "Variance based sensitivity analysis of model output", Computer Physics Communications 181, 2010. Herman and
Usher, "SALib", Journal of Open Source Software 2(9), 2017: designs, indices and their bootstrap intervals.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import log
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sim.experiments.executors import executor_for, run_tasks
from sim.experiments.sensitivity import PLACES, low_confidence_numbers, multiplied, statistics
from sim.foundation.errors import ScenarioError
from sim.judgement.cost import price, usage_per_month
from sim.judgement.cost.volume import course_of
from sim.judgement.targets import targets_of
from sim.results.metrics import UPTIME
from sim.statistics.intervals import Estimate

if TYPE_CHECKING:
    from sim.scenario.provenance import Provenance
    from sim.scenario.scenario import Scenario

Array = NDArray[np.float64]

WORST_FIRST = "ARWM"
"""Letters of low confidence, the worst first."""
LEVELS = 4
"""Levels of Morris's grid; four is what he and SALib recommend."""
INPUTS_MAX = 12
"""Numbers whose share of the variance is computed: the samples grow with each."""
EACH_MAX, EFFECT_MIN = 3, 0.1
"""For each output up to three are chosen, each with a tenth or more of the largest effect."""
VARIES_MIN = 1e-9
"""An output that varies by less, as a share of itself, does not vary."""
MONTH_USD = "month_usd"
"""The output that is no target: the bill of a month."""


@dataclass(frozen=True)
class Input:
    """A number that is varied: a whole distribution if any part of it has low confidence.

    Attributes
    ----------
    path : str
        Dotted path in the scenario.
    value : number or dict
        As it stands in the scenario.
    confidence : str
        The worst letter among its parts.
    source : str
        The author's reason, or the fact's source.
    low, high : float
        Smallest and largest factor; 1 where the scenario's rules forbid a smaller, or a larger, value.
    """

    path: str
    value: Any
    confidence: str
    source: str
    low: float = 1.0
    high: float = 1.0


@dataclass(frozen=True)
class Share:
    """The share of a statistic's variance that one input explains.

    Attributes
    ----------
    path : str
        The input.
    alone : Estimate
        First-order index: the share of the variance that would go if the input were known.
    in_all : Estimate
        Total index: with its interactions.
    """

    path: str
    alone: Estimate
    in_all: Estimate


def inputs_of(scenario: "Scenario", *, factor: float) -> tuple[Input, ...]:
    """Return the low-confidence numbers of *scenario* with the factors that its rules allow."""
    found = []
    for one in _whole(scenario):
        low, high = (_allowed(scenario, one, each) for each in (1 / factor, factor))
        if low < high:
            found.append(replace(one, low=low, high=high))
    return tuple(found)


def _whole(scenario: "Scenario") -> Iterator[Input]:
    """Yield the low-confidence numbers, the parts of a distribution as one."""
    system = scenario.system.numbers()
    sources: dict[str, list[Provenance]] = {}
    for source in low_confidence_numbers(scenario):
        above, _, last = source.path.rpartition(".")
        sources.setdefault(above if last in PLACES else source.path, []).append(source)
    for path, parts in sources.items():
        worst = min(parts, key=lambda source: WORST_FIRST.index(source.confidence))
        value = parts[0].value
        if parts[0].path != path:
            _, instance, key = path.split(".")
            value = system[instance][key]
        yield Input(path, value, worst.confidence, worst.source)


def _allowed(scenario: "Scenario", one: Input, factor: float) -> float:
    """Return *factor*, or 1 if the scenario's rules refuse the number times it."""
    try:
        varied(scenario, [(one, factor)])
    except ScenarioError:
        return 1.0
    return factor


def varied(scenario: "Scenario", factors: Sequence[tuple[Input, float]]) -> "Scenario":
    """Return *scenario* with some numbers multiplied."""
    return scenario.with_(**{one.path: multiplied(one.value, float(factor)) for one, factor in factors})


class Variants:
    """Variants of one scenario and their outputs: the statistic of each judged target, then the bill."""

    def __init__(self, scenario: "Scenario", inputs: tuple[Input, ...], *, engine: str, seed: int) -> None:
        self.scenario, self.inputs, self.engine = scenario, inputs, engine
        self.seed = seed % 2**32  # What SALib and numpy's older generator take.
        self.lines = [line for line in targets_of(scenario) if line.metric != UPTIME]
        self.names = [*(line.name for line in self.lines), MONTH_USD]
        self.requests_per_month = course_of(scenario)[1].requests
        self.ended_early = ""
        self.base = self._values(())
        self.runs = 1

    def spread(self, draws: int) -> Array:
        """Return the outputs of a Latin hypercube over all inputs, shape (draws, outputs); fewer after Ctrl-C."""
        from scipy.stats import qmc

        bounds = np.log([[one.low, one.high] for one in self.inputs])
        unit = qmc.LatinHypercube(len(self.inputs), rng=np.random.default_rng(self.seed)).random(draws)
        values = self._run(self.inputs, bounds[:, 0] + unit * (bounds[:, 1] - bounds[:, 0]))
        return values[np.isfinite(values).any(axis=1)]

    def effects(self, trajectories: int) -> Array:
        """Return Morris's mu* of every input on every output, shape (inputs, outputs); NaN after Ctrl-C."""
        from SALib.analyze import morris as analysis
        from SALib.sample import morris as design

        problem = _problem(self.inputs)
        points = design.sample(problem, N=trajectories, num_levels=LEVELS, seed=self.seed)
        values = self._run(self.inputs, points)
        if self.ended_early:
            return np.full((len(self.inputs), len(self.names)), np.nan)
        found = [analysis.analyze(problem, points, column, num_levels=LEVELS, seed=self.seed) for column in values.T]
        return np.column_stack([np.asarray(one["mu_star"], dtype=float) for one in found])

    def shares(self, effects: Array, samples: int) -> list[tuple[Share, ...]]:
        """Return the Sobol indices of the inputs with the largest effects, for each output."""
        from SALib.analyze import sobol as analysis
        from SALib.sample import sobol as design

        chosen = [self.inputs[place] for place in _most_effective(effects)]
        if not chosen:
            return [() for _ in self.names]
        problem = _problem(chosen)
        points = design.sample(problem, samples, calc_second_order=False, seed=self.seed)
        values = self._run(chosen, points)
        found: list[tuple[Share, ...]] = []
        for column in values.T:
            if self.ended_early or np.ptp(column) <= VARIES_MIN * np.abs(column).max():
                found.append(())
                continue
            indices = analysis.analyze(problem, column, calc_second_order=False, seed=self.seed)
            found.append(_shares([one.path for one in chosen], indices, n=samples))
        return found

    def _run(self, inputs: Sequence[Input], points: Array) -> Array:
        """Return the outputs of variants at logarithms of factors, shape (points, outputs); NaN where Ctrl-C came."""
        values = np.full((len(points), len(self.names)), np.nan)
        if self.ended_early:
            return values
        tasks = [partial(self._values, tuple(zip(inputs, np.exp(point), strict=True))) for point in points]
        with executor_for(self.engine) as workers:
            self.ended_early = run_tasks(workers, tasks, keep=values.__setitem__)
        self.runs += int(np.isfinite(values).any(axis=1).sum())
        return values

    def _values(self, factors: Sequence[tuple[Input, float]]) -> Array:
        variant = varied(self.scenario, factors) if factors else self.scenario
        found = statistics(variant, self.lines, engine=self.engine)[2:]
        lines = price(usage_per_month(variant, self.requests_per_month), variant.facts)
        return np.array([*found, sum(line.usd for line in lines)])


def _problem(inputs: Sequence[Input]) -> dict[str, Any]:
    """Describe *inputs* as SALib wants them."""
    return {
        "num_vars": len(inputs),
        "names": [one.path for one in inputs],
        "bounds": [[log(one.low), log(one.high)] for one in inputs],
    }


def _most_effective(effects: Array) -> list[int]:
    """Return the inputs with the largest effects: for each output up to three, those first that come first for most."""
    ranks: dict[int, int] = {}
    for column in effects.T:
        order = np.argsort(-column, kind="stable")[:EACH_MAX]
        for rank, place in enumerate(order):
            if column[place] > 0 and column[place] >= EFFECT_MIN * column[order[0]]:
                ranks[int(place)] = min(rank, ranks.get(int(place), rank))
    return sorted(ranks, key=lambda place: (ranks[place], place))[:INPUTS_MAX]


def _shares(paths: Sequence[str], indices: Mapping[str, Any], *, n: int) -> tuple[Share, ...]:
    """Return the indices with their intervals, largest first."""

    def estimate(which: str, place: int) -> Estimate:
        value, half = float(indices[which][place]), float(indices[f"{which}_conf"][place])
        return Estimate(value, value - half, value + half, n=n, method="sobol")

    found = [Share(path, estimate("S1", place), estimate("ST", place)) for place, path in enumerate(paths)]
    return tuple(sorted(found, key=lambda share: -share.in_all.value))
