"""What a calibration identified: a distribution or a plain number, where it belongs, and what it is from."""

from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.experiments.calibration.laws import Interval, Law
from sim.randomness.distributions import Constant

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Number:
    """A number of a scenario that is no distribution: a share, a time that never varies, a count.

    It has the attributes of a :class:`Law` that tables and documents show.

    Attributes
    ----------
    interval : Interval
        The number, in the unit of its key, with its 95 % interval.
    n : int
        Requests that it was estimated from.
    whole : bool
        Whether the scenario holds a whole number.
    is_share : bool
        Whether it cannot be more than 1.
    """

    interval: Interval
    n: int
    whole: bool = False
    is_share: bool = False
    fit_probability: None = None
    considered: dict[str, float] = field(default_factory=dict)
    rejected: str = ""
    rejected_probability: None = None
    observed: Array = field(default_factory=lambda: np.zeros(0), compare=False, repr=False)

    @property
    def name(self) -> str:
        """What it is, for a table's column of distributions."""
        return "number"

    @property
    def distribution(self) -> Constant:
        """The number as a distribution that does not vary."""
        return Constant(value=self.entry)

    @property
    def intervals(self) -> dict[str, Interval]:
        """The number with its interval, under the name that a constant distribution's has."""
        return {"value": self.interval}

    @property
    def entry(self) -> float | int:
        """The number as a scenario holds it."""
        return self.as_entry(self.interval.value)

    def as_entry(self, value: float) -> float | int:
        """Return another value of the number as a scenario holds it."""
        if self.whole:
            return max(1, round(value))
        return min(max(value, 0.0), 1.0 if self.is_share else inf)

    def __str__(self) -> str:
        one = self.interval
        return f"{self.entry:.6g} [{one.low:.4g}, {one.high:.4g}]; n = {self.n:,}"


@dataclass(frozen=True)
class Found:
    """A distribution or a number that was identified, and where.

    Attributes
    ----------
    path : str
        In the scenario: ``system.d1.read_ms``, ``routes.feed.steps[1].chance``.
    law : Law or Number
    source : str
        What it was identified from, for the scenario's provenance.
    """

    path: str
    law: Law | Number
    source: str

    @property
    def entry(self) -> Any:
        """What the scenario holds in its place."""
        return self.law.entry

    @property
    def reasoned(self) -> str:
        """The path under which ``[assumptions]`` gives the reason: entries of a list have none of their own."""
        return self.path.partition("[")[0]
