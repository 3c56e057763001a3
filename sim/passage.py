"""What is known of a stream of requests that walks some steps: how long it takes, how much of it fails, what it leaves.

Everything is a share or a mean, kept for every route and every group of organisations at once (:mod:`sim.traffic`).
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NONE = np.zeros((1, 1))
ALL = np.ones((1, 1))


@dataclass
class Use:
    """How much one station is used: arrays of shape (instances,), of one copy of each.

    Attributes
    ----------
    visits : ndarray, shape (instances,)
        A millisecond.
    work_ms, square : ndarray, shape (instances,)
        Sums over these visits of the time that a server is held, and of its square.
    """

    visits: Array
    work_ms: Array
    square: Array

    def plus(self, other: "Use") -> "Use":
        """Both together."""
        return Use(self.visits + other.visits, self.work_ms + other.work_ms, self.square + other.square)


@dataclass
class Notes:
    """What one walk found: the use of stations, and how often anything else that remembers was touched, a millisecond.

    Attributes
    ----------
    use : dict of str to Use
    wait_ms : dict of str to ndarray, shape (instances,)
        Mean wait at each instance of each station, filled in between two walks; nothing in it: nobody waits.
    rates : dict of (str, str) to ndarray, shape (instances,)
        By kind (``counted``, ``emptied``, ``latched``, ``taken``) and name.
    approximations : dict of str to None
        Sentences, in the order in which they came up.
    """

    use: dict[str, Use] = field(default_factory=dict)
    wait_ms: dict[str, Array] = field(default_factory=dict)
    rates: dict[tuple[str, str], Array] = field(default_factory=dict)
    approximations: dict[str, None] = field(default_factory=dict)


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
