"""Lengths of which a few are very long: logarithms with Student's t distribution, all three parameters unknown.

With many degrees of freedom this is the lognormal distribution; with few, the longest lengths are far longer than a
lognormal one would give. The record decides, as far as it can: location, scale and degrees of freedom are drawn from
their posterior on a grid. The tail is so heavy that a mean need not exist, so a prediction needs an upper limit.

Sources
-------
Lange, Little and Taylor, "Robust statistical modeling using the t distribution", JASA 84, 1989.
Gelman et al., "Bayesian Data Analysis", 3rd ed., 2013, sections 5.3 (grids) and 17.2 (degrees of freedom).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from sim.foundation.errors import UsageError

Array = NDArray[np.float64]

LENGTHS_MIN = 3
"""Fewer leave the variance of the lengths all but unknown."""

FREEDOMS = np.array([3.0, 5.0, 8.0, 13.0, 21.0, 34.0, 55.0])
"""Degrees of freedom that are thought possible, each as likely as the others before the record is seen."""

LOCATIONS, SCALES = 41, 33
SPAN = 6.0
"""The grids reach this many standard errors to both sides of the record's own location and scale."""

LOG_MAX = 40.0
"""No length overflows; the limit that is asked for is far below."""


@dataclass(frozen=True)
class HeavyLengths:
    """Lengths that were seen, in any unit.

    Attributes
    ----------
    lengths : array, shape (n,)
        All > 0, at least LENGTHS_MIN.
    """

    lengths: Array

    def __post_init__(self) -> None:
        if self.lengths.size < LENGTHS_MIN or not (self.lengths > 0).all():
            raise UsageError(f"lengths: {self.lengths.size} of them, must be >= {LENGTHS_MIN}, all > 0")

    def draws(self, counts: NDArray[np.int64], *, at_most: float, rng: np.random.Generator) -> Array:
        """Return predicted lengths, shape (counts.sum(),): *counts[i]* of them share a draw of the parameters."""
        freedom, location, scale = self._posterior(counts.size, rng)
        own = np.repeat(np.arange(counts.size), counts)
        logs = location[own] + scale[own] * rng.standard_t(freedom[own])
        return np.minimum(np.exp(np.minimum(logs, LOG_MAX)), at_most)

    def _posterior(self, draws: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
        logs = np.log(self.lengths)
        spread = max(float(logs.std(ddof=1)), 1e-3)
        reach = spread * min(SPAN / np.sqrt(logs.size), SPAN)
        locations = np.median(logs) + np.linspace(-reach, reach, LOCATIONS)
        width = min(SPAN / np.sqrt(2 * logs.size) + 0.3, 2.5)
        scales = spread * np.exp(np.linspace(-width, width, SCALES))
        log_weights = np.stack([_log_likelihood(logs, float(one), locations, scales) for one in FREEDOMS])
        weights = np.exp(log_weights - log_weights.max())
        places = rng.choice(weights.size, size=draws, p=(weights / weights.sum()).ravel())
        rows = np.unravel_index(places, weights.shape)
        return FREEDOMS[rows[0]], locations[rows[1]], scales[rows[2]]


def _log_likelihood(logs: Array, freedom: float, locations: Array, scales: Array) -> Array:
    """Return the log-likelihood of a grid of locations and scales, shape (locations, scales); prior 1 / scale."""
    squares = ((logs[:, None, None] - locations[None, :, None]) / scales[None, None, :]) ** 2
    constant = float(gammaln((freedom + 1) / 2) - gammaln(freedom / 2) - 0.5 * np.log(freedom * np.pi))
    tails: Array = (freedom + 1) / 2 * np.log1p(squares / freedom).sum(axis=0)
    # A logarithmic grid of scales has the prior 1 / scale as equal weights.
    return logs.size * (constant - np.log(scales)[None, :]) - tails
