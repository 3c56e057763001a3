"""Carry what is not known about a scenario's numbers into its verdict, and name the measurement that would help most.

Every low-confidence number is multiplied by a factor between ``1 / FACTOR`` and ``FACTOR``, log-uniform, independent of
the others; all variants play the same requests with common random numbers. Three questions are answered: which share of
what the assumptions allow meets each target, which numbers have an effect at all (Morris, over all of them), and which
part of a statistic's variance each of the most effective explains (Sobol). The range is a convention and not a belief:
nothing is published about these numbers, and the answer says which factor was taken.

Not done: correlations between numbers, and uptime, which no run shows.

Sources
-------
Morris, "Factorial sampling plans for preliminary computational experiments", Technometrics 33, 1991. Saltelli and
others, "Variance based sensitivity analysis of model output", Computer Physics Communications 181, 2010.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.experiments.variants import Input, Share, Variants, inputs_of
from sim.foundation.errors import UsageError
from sim.foundation.views import Shown
from sim.judgement.targets import Target, Verdict, decide
from sim.statistics.intervals import Estimate, proportion_interval

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario

Array = NDArray[np.float64]

FACTOR = 2.0
FACTOR_MAX = 100.0
DRAWS, TRAJECTORIES, SAMPLES = 256, 10, 64
DRAWS_MIN, TRAJECTORIES_MIN, SAMPLES_MIN = 32, 2, 8


@dataclass(frozen=True)
class Output:
    """One target's statistic, or the bill, over what the assumptions allow.

    Attributes
    ----------
    name : str
        Name of the target, or ``month_usd``.
    line : Target or None
    value : float
        Its value with the scenario's own numbers.
    low, median, high : float
        Quantiles 5 %, 50 % and 95 % over the draws.
    met : Estimate or None
        Share of the draws that meet the target; None for the bill.
    effects : mapping of str to float
        Mean absolute elementary effect of each input over its whole range (Morris's mu*), in the statistic's unit.
    shares : tuple of Share
        Of the inputs with the largest effects; empty if nothing varies.
    """

    name: str
    line: Target | None
    value: float
    low: float
    median: float
    high: float
    met: Estimate | None
    effects: Mapping[str, float]
    shares: tuple[Share, ...]

    @property
    def worth_measuring(self) -> Share | None:
        """The input that explains most by itself; None if no interval excludes zero."""
        first = max(self.shares, key=lambda share: share.alone.value, default=None)
        return first if first is not None and first.alone.low > 0 else None


@dataclass(frozen=True)
class Uncertainty(Shown):
    """What a scenario's low-confidence numbers leave open.

    Attributes
    ----------
    scenario : str
    factor : float
        Each number was divided and multiplied by up to this.
    draws, runs : int
        Draws behind the shares; simulated variants in all.
    inputs : tuple of Input
    outputs : tuple of Output
        The judged targets, then the bill.
    ended_early : str
        Why effects or shares are missing; empty if they are not.
    """

    scenario: str
    factor: float
    draws: int
    runs: int
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    ended_early: str = ""

    def __repr__(self) -> str:
        judged = [f"{one.name} met in {one.met.value:.0%}" for one in self.outputs if one.met is not None]
        return (
            f"<Uncertainty {self.scenario}: {len(self.inputs)} numbers, ÷ and × {self.factor:g}; {', '.join(judged)}>"
        )


def uncertainty(
    scenario: "Scenario",
    *,
    factor: float = FACTOR,
    draws: int = DRAWS,
    trajectories: int = TRAJECTORIES,
    samples: int = SAMPLES,
    rng: int | None = None,
    engine: str = "compiled",
    on_progress: Callable[[str], None] | None = None,
) -> Uncertainty:
    """Vary all low-confidence numbers of *scenario* at once.

    Parameters
    ----------
    scenario : Scenario
    factor : float
        Largest factor by which a number is divided and multiplied, above 1.
    draws : int
        Random variants behind the share that meets each target, at least 32.
    trajectories : int
        Morris's trajectories, each one variant more than there are numbers; at least 2.
    samples : int
        Base samples of the Sobol indices, a power of 2, at least 8; the variants are this times eight.
    rng : int, optional
        Seed of the designs; the scenario's own if None.
    engine : {"compiled", "simpy"}
    on_progress : callable, optional
        Called with a sentence before each part.

    Raises
    ------
    UsageError
        A bad argument, or a scenario without a low-confidence number.
    KeyboardInterrupt
        Ctrl-C before there were 32 draws; later it leaves out what was not reached.
    """
    _check(factor=factor, draws=draws, trajectories=trajectories, samples=samples)
    inputs = inputs_of(scenario, factor=factor)
    if not inputs:
        raise UsageError(f"scenario={scenario.name!r} has no number of low confidence, so nothing is open")
    study = Variants(scenario, inputs, engine=engine, seed=scenario.seed if rng is None else rng)
    tell = on_progress or (lambda _: None)
    tell(f"{draws} draws of {len(inputs)} numbers")
    spread = study.spread(draws)
    if len(spread) < DRAWS_MIN:
        raise KeyboardInterrupt
    tell(f"{trajectories * (len(inputs) + 1)} variants, one number after another")
    effects = study.effects(trajectories)
    tell("the share of each number")
    shares = study.shares(effects, samples)
    outputs = tuple(
        _output(study, place, spread=spread, effects=effects, shares=shares[place]) for place in range(len(study.names))
    )
    return Uncertainty(scenario.name, factor, len(spread), study.runs, inputs, outputs, study.ended_early)


def _output(study: Variants, place: int, *, spread: Array, effects: Array, shares: tuple[Share, ...]) -> Output:
    """Return one output's summary."""
    line = study.lines[place] if place < len(study.lines) else None
    values = spread[:, place]
    low, median, high = (float(one) for one in np.quantile(values, [0.05, 0.5, 0.95]))
    met = None
    if line is not None and not np.isnan(values).all():
        met = proportion_interval(sum(_meets(line, float(value)) for value in values), len(values))
    of_each = {one.path: float(effect) for one, effect in zip(study.inputs, effects[:, place], strict=True)}
    return Output(study.names[place], line, float(study.base[place]), low, median, high, met, of_each, shares)


def _meets(line: Target, value: float) -> bool:
    return decide(value, value, line=line) is Verdict.PASS


def _check(*, factor: float, draws: int, trajectories: int, samples: int) -> None:
    if not 1 < factor <= FACTOR_MAX:
        raise UsageError(f"factor={factor:g} must be > 1 and <= {FACTOR_MAX:g}")
    for name, value, least in (
        ("draws", draws, DRAWS_MIN),
        ("trajectories", trajectories, TRAJECTORIES_MIN),
        ("samples", samples, SAMPLES_MIN),
    ):
        if value < least:
            raise UsageError(f"{name}={value} must be >= {least}")
    if samples & (samples - 1):
        raise UsageError(f"samples={samples} must be a power of 2")
