"""How many events a period has, when events cluster: negative binomial counts of unknown mean and unknown dispersion.

The rate of a period is gamma distributed around its mean, so that the variance of a count exceeds its mean by the
factor 1 + mean x dispersion; without dispersion the counts are Poisson. Both parameters are drawn from their posterior
on a grid, so that a short record gives wide predictions and an even one narrow ones.

Sources
-------
Gelman et al., "Bayesian Data Analysis", 3rd ed., 2013, sections 2.6 (gamma-Poisson) and 5.3 (posterior on a grid).
Gelman, "Prior distributions for variance parameters in hierarchical models", Bayesian Analysis 1, 2006 (half-Cauchy).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from sim.foundation.errors import UsageError

Array = NDArray[np.float64]

MEAN_POINTS, DISPERSION_POINTS = 80, 32
MEAN_SPAN = 6.0
"""The grid of means reaches this many standard errors of a strongly clustered count to both sides."""

DISPERSION_LOW, DISPERSION_HIGH = 1e-3, 8.0
DISPERSION_SCALE = 1.0
"""Scale of the half-Cauchy prior of the dispersion: half of it below a standard deviation as large as the mean."""


@dataclass(frozen=True)
class ClusteredCounts:
    """Counts of periods.

    Attributes
    ----------
    counts : array, shape (periods,)
        Events of each period.
    exposures : array, shape (periods,)
        Length of each period, in the unit of the horizon that is predicted.
    """

    counts: Array
    exposures: Array

    def __post_init__(self) -> None:
        if self.counts.shape != self.exposures.shape or not self.counts.size or not (self.exposures > 0).all():
            raise UsageError("counts, exposures must be as long as each other, at least one, every exposure > 0")

    def draws(self, horizon: float, *, draws: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return predicted counts of a period as long as *horizon*, shape (draws,)."""
        means, dispersions = self._posterior(draws, rng)
        unit = float(self.exposures.mean())
        spread = horizon / unit / dispersions
        rates = rng.gamma(spread) * dispersions * means
        return rng.poisson(rates).astype(np.int64)

    def _posterior(self, draws: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draw the mean count of a period of mean length, and the dispersion, shape (draws,) each."""
        exposures = self.exposures / self.exposures.mean()
        total = self.counts.sum() + 0.5
        reach = MEAN_SPAN * np.sqrt(1 / total + 0.5 / self.counts.size)
        means = total / self.counts.size * np.exp(np.linspace(-reach, reach, MEAN_POINTS))
        dispersions = np.geomspace(DISPERSION_LOW, DISPERSION_HIGH, DISPERSION_POINTS)
        mean, dispersion = means[:, None], dispersions[None, :]
        # Jeffreys' prior of a rate, and per logarithmic step of both grids.
        log_weights = 0.5 * np.log(mean) + np.log(dispersion) - np.log1p((dispersion / DISPERSION_SCALE) ** 2)
        for count, exposure in zip(self.counts, exposures, strict=True):
            shape = exposure / dispersion
            log_weights = log_weights + (
                gammaln(count + shape)
                - gammaln(shape)
                + count * np.log(mean * exposure / (mean * exposure + shape))
                - shape * np.log1p(mean * exposure / shape)
            )
        weights = np.exp(log_weights - log_weights.max())
        places = rng.choice(weights.size, size=draws, p=(weights / weights.sum()).ravel())
        rows, columns = np.unravel_index(places, weights.shape)
        return means[rows], dispersions[columns]
