"""What is known of a stream of requests that walks some steps: how long it takes, how much of it fails.

Everything is a share or a mean, kept for every route and every group of organisations at once
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
    """What happens to a stream on some steps: how long they take, and how much of it fails.

    Shapes are (routes, groups), or what broadcasts to it.

    Attributes
    ----------
    time_ms, spread : ndarray, shape (routes, groups)
        Mean and variance of the time, failed requests included.
    failed : dict of str to ndarray, shape (routes, groups)
        Share that ends with each error.
    """

    time_ms: Array = field(default_factory=lambda: NONE)
    spread: Array = field(default_factory=lambda: NONE)
    failed: dict[str, Array] = field(default_factory=dict)

    @property
    def through(self) -> Array:
        """Share that goes on."""
        if not self.failed:
            return ALL
        return np.clip(ALL - sum(self.failed.values(), NONE), 0.0, 1.0)

    def mixed(self, other: "Passage", share: Array) -> "Passage":
        """A part *share* goes here, the rest takes the *other* way."""
        rest = 1 - share
        gap = self.time_ms - other.time_ms
        return Passage(
            share * self.time_ms + rest * other.time_ms,
            share * self.spread + rest * other.spread + share * rest * gap**2,
            {
                error: share * self.failed.get(error, NONE) + rest * other.failed.get(error, NONE)
                for error in dict.fromkeys((*self.failed, *other.failed))
            },
        )

    def then(self, after: "Passage") -> "Passage":
        """Whoever gets through here goes on *after*."""
        late = after.mixed(Passage(), self.through) if self.failed else after
        failed = {
            error: self.failed.get(error, NONE) + late.failed.get(error, NONE)
            for error in dict.fromkeys((*self.failed, *late.failed))
        }
        return Passage(self.time_ms + late.time_ms, self.spread + late.spread, failed)
