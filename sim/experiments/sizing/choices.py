"""The choices of one design number, compared: the best, those that cannot be told from it, and the answer among them.

All choices play the same requests with common random numbers, so two are compared seed by seed. A choice is *as good*
as the best unless the whole interval of their paired difference lies beyond an indifference zone: a difference that
nobody would pay for. The intervals hold for all comparisons together (Bonferroni). Of the choices that are as good, the
answer is the one with the smallest bill, then the one that the sizing lists first, which is the plainest.

Sources
-------
Nelson, Swann, Goldsman and Song, "Simple procedures for selecting the best simulated system when the number of
alternatives is large", Oper. Res. 49, 2001 (screening with common random numbers and an indifference zone).
Hsu, "Constrained simultaneous confidence intervals for multiple comparisons with the best", Ann. Statist. 12, 1984.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from sim.experiments.paired import paired_difference
from sim.foundation.errors import UsageError
from sim.foundation.views import Shown
from sim.statistics.intervals import Estimate, mean_interval

if TYPE_CHECKING:
    import pandas as pd

    from sim.scenario.scenario import Scenario

Array = NDArray[np.float64]
Direction = Literal["below", "above"]

INDIFFERENCE_RATIO = 0.02
"""A difference of this share of the best is one that nobody would pay for."""

ERROR_SHARE = 0.05
"""Of all comparisons of one sizing together."""


@dataclass(frozen=True)
class Choice:
    """One value of the design number.

    Attributes
    ----------
    value : Any
        As the scenario takes it.
    name : str
        As one says it.
    objective : Estimate
        Mean over the seeds; infinite where a seed left too many requests without an answer.
    unit : str
        Of the objective.
    behind : Estimate or None
        How much worse than the best, paired by seed, at the level of all comparisons together; None for the best, and
        where there is nothing to subtract.
    as_good : bool
        Whether it is behind the best by no more than the indifference zone, in the mean.
    month_usd : float
        Bill of a month with it, or of what it adds (the sizing says which).
    beside : mapping of str to float
        Other figures, by their name with its unit: what explains the objective.
    undecided : bool
        Whether it is behind by more than that zone, in the mean, but the interval does not settle it: more seeds would.
    """

    value: Any
    name: str
    objective: Estimate
    unit: str
    behind: Estimate | None
    as_good: bool
    month_usd: float
    beside: Mapping[str, float] = field(default_factory=dict)
    undecided: bool = False


@dataclass(frozen=True)
class Sizing(Shown):
    """The answer to one question of size.

    Attributes
    ----------
    scenario : Scenario
    what : str
        The sizing's name: ``"shards"``.
    question : str
    objective : str
        What is compared, with its unit in brackets.
    direction : {"below", "above"}
        Whether less or more of it is better.
    choices : tuple of Choice
        The plainest first.
    answer_index : int
        Place of the answer among them.
    seeds : int
    falsified_by : str
        The observation that would prove the answer wrong.
    notes : tuple of str
        What the figures take for granted.
    """

    scenario: "Scenario"
    what: str
    question: str
    objective: str
    direction: Direction
    choices: tuple[Choice, ...]
    answer_index: int
    seeds: int
    falsified_by: str
    notes: tuple[str, ...] = ()

    @property
    def answer(self) -> Choice:
        """The choice to make."""
        return self.choices[self.answer_index]

    @property
    def as_good(self) -> tuple[Choice, ...]:
        """The choices that are not known to be worse than the best, the answer among them."""
        return tuple(one for one in self.choices if one.as_good)

    @property
    def frame(self) -> "pd.DataFrame":
        """One row a choice: its name, the objective with its interval, whether it is as good, its bill, the rest."""
        import pandas as pd

        return pd.DataFrame(
            {
                "choice": one.name,
                "objective": one.objective.value,
                "low": one.objective.low,
                "high": one.objective.high,
                "as_good": one.as_good,
                "month_usd": one.month_usd,
                **one.beside,
            }
            for one in self.choices
        )

    def __repr__(self) -> str:
        names = ", ".join(one.name for one in self.as_good)
        return f"<Sizing {self.what} of {self.scenario.name}: {self.answer.name}; as good: {names}>"


@dataclass(frozen=True)
class Option:
    """A value before it is compared: what it costs, and what every seed showed.

    Attributes
    ----------
    value : Any
    name : str
    month_usd : float
    seen : ndarray, shape (seeds,)
        The objective of each seed.
    beside : mapping of str to float
    """

    value: Any
    name: str
    month_usd: float
    seen: Array
    beside: Mapping[str, float] = field(default_factory=dict)


def compared(
    options: Sequence[Option],
    *,
    unit: str,
    direction: Direction = "below",
    indifference: float = 0.0,
) -> tuple[tuple[Choice, ...], int]:
    """Compare options; return them as choices, and the place of the answer.

    Parameters
    ----------
    options : sequence of Option
        The plainest first; at least one, all with the same seeds.
    unit : str
        Of the objective.
    direction : {"below", "above"}
    indifference : float
        A difference that nobody would pay for, in *unit*, if it is more than :data:`INDIFFERENCE_RATIO` of the best.

    Raises
    ------
    UsageError
        No option has a finite objective.
    """
    sign = 1.0 if direction == "below" else -1.0
    means = np.array([sign * one.seen.mean() if np.isfinite(one.seen).all() else inf for one in options])
    if not np.isfinite(means).any():
        way_out = "a lower --rate, or a part that is faster"
        raise UsageError(
            f"every choice ({', '.join(one.name for one in options)}) leaves requests unanswered; {way_out}"
        )
    best = int(np.argmin(means))
    level = 1 - ERROR_SHARE / max(int(np.isfinite(means).sum()) - 1, 1)
    zone = max(INDIFFERENCE_RATIO * abs(means[best]), indifference)
    choices = []
    for place, one in enumerate(options):
        behind = None
        if place != best and isfinite(means[place]):
            behind = paired_difference(sign * options[best].seen, sign * one.seen, level=level).estimate
        as_good = place == best or (behind is not None and behind.value <= zone)
        undecided = not as_good and behind is not None and behind.low <= zone
        objective = _estimate(one.seen)
        choices.append(
            Choice(one.value, one.name, objective, unit, behind, as_good, one.month_usd, one.beside, undecided)
        )
    good = [place for place, one in enumerate(choices) if one.as_good]
    return tuple(choices), min(good, key=lambda place: (round(choices[place].month_usd, 2), place))


def _estimate(seen: Array) -> Estimate:
    """Return the mean over the seeds; no bound where one of them is infinite."""
    if not np.isfinite(seen).all():
        return Estimate(inf, float(seen[np.isfinite(seen)].min(initial=inf)), inf, len(seen), "a seed has no value")
    return mean_interval(seen, method="independent")
