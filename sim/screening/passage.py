"""Time and failures of a stream of requests over some steps.

Everything is a share or a mean, held for all routes and all groups of organisations at once
(:mod:`sim.screening.traffic`).
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NONE = np.zeros((1, 1))
ALL = np.ones((1, 1))


@dataclass(frozen=True)
class Passage:
    """The time that a stream of requests takes over some steps, and the share of it that fails.

    Shapes are (routes, groups), or broadcast to it.

    Attributes
    ----------
    time_ms, variance : ndarray, shape (routes, groups)
        Mean and variance of the time, including failed requests.
    failed : dict of str to ndarray, shape (routes, groups)
        Share that ends with each error.
    """

    time_ms: Array = field(default_factory=lambda: NONE)
    variance: Array = field(default_factory=lambda: NONE)
    failed: dict[str, Array] = field(default_factory=dict)

    @property
    def through(self) -> Array:
        """Share that does not fail."""
        if not self.failed:
            return ALL
        return np.clip(ALL - sum(self.failed.values(), NONE), 0.0, 1.0)

    def mixed(self, other: "Passage", share: Array) -> "Passage":
        """Return the mixture of this passage, taken by *share* of the stream, and the *other*, taken by the rest."""
        rest = 1 - share
        gap = self.time_ms - other.time_ms
        return Passage(
            share * self.time_ms + rest * other.time_ms,
            share * self.variance + rest * other.variance + share * rest * gap**2,
            {
                error: share * self.failed.get(error, NONE) + rest * other.failed.get(error, NONE)
                for error in dict.fromkeys((*self.failed, *other.failed))
            },
        )

    def then(self, after: "Passage") -> "Passage":
        """Return this passage followed by *after*, for the share that gets through."""
        late = after.mixed(Passage(), self.through) if self.failed else after
        failed = {
            error: self.failed.get(error, NONE) + late.failed.get(error, NONE)
            for error in dict.fromkeys((*self.failed, *late.failed))
        }
        return Passage(self.time_ms + late.time_ms, self.variance + late.variance, failed)
