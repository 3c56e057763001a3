"""Alternating renewal of a set of products: up, then an incident, then up again, fitted to an incident record.

Incidents of the set arrive as a Poisson process of unknown rate. Some are closed as soon as they are published; others
stay open for a lognormal time of unknown parameters. (Lengths resampled from the record were tried: they never exceed
the longest on record, and their 95 % intervals held 69 to 94 % of the minutes of months held back.) An incident that
names several products of the set counts once, so that common causes are not multiplied as if they were independent. The
share of requests that an incident hits is uncertain too, and the record does not say it: it is the caller's assumption,
an interval.

Sources
-------
Jeffreys, "Theory of Probability", 3rd ed., 1961 (k incidents in a window give the rate a gamma distribution of shape
k + 1/2). Gelman et al., "Bayesian Data Analysis", 3rd ed., 2013, section 3.2
(normal logarithms of unknown mean and variance, with the prior 1 / sigma^2). Trivedi and Bobbio,
"Reliability and Availability Engineering", 2017, chapter 9 (alternating renewal).
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.foundation.errors import UsageError
from sim.judgement.incidents import IncidentRecord

Array = NDArray[np.float64]

MINUTES_PER_DAY = 1_440

LENGTHS_MIN = 3
"""Fewer leave the variance of the lengths all but unknown."""


@dataclass(frozen=True)
class Renewal:
    """The process of incidents that hit a set of products.

    Attributes
    ----------
    lengths_minutes : array, shape (incidents,)
        Minutes for which each incident on record stayed open; none lasts beyond the record.
    observed_days : int
        Observed days.
    """

    lengths_minutes: Array
    observed_days: int

    def open_minutes_draws(self, days: float, *, draws: int, rng: np.random.Generator) -> Array:
        """Return predicted minutes of open incidents that start within *days*, shape (draws,)."""
        return self._draws(days, draws=draws, rng=rng, hit_share=(1.0, 1.0))

    def request_success_draws(
        self, days: float, *, hit_share: tuple[float, float], draws: int, rng: np.random.Generator
    ) -> Array:
        """Return predicted shares of requests that incidents spare in *days*, shape (draws,), at a steady rate.

        *hit_share* is an assumption: the least and the most that the share of requests hit, averaged over incidents,
        can be. Each draw takes one such average, uniformly.

        Raises
        ------
        UsageError
            It is not an interval within [0, 1].
        """
        low, high = hit_share
        if not 0 <= low <= high <= 1:
            raise UsageError(f"hit_share={hit_share} must be an interval within [0, 1]")
        lost_minutes = self._draws(days, draws=draws, rng=rng, hit_share=hit_share)
        return np.maximum(0.0, 1 - lost_minutes / (days * MINUTES_PER_DAY))

    def _draws(self, days: float, *, draws: int, rng: np.random.Generator, hit_share: tuple[float, float]) -> Array:
        if not 0 < days < np.inf or draws < 1:
            raise UsageError(f"days={days}, draws={draws} must be > 0")
        known = self.lengths_minutes
        rates = rng.gamma(known.size + 0.5, size=draws) / self.observed_days
        counts = rng.poisson(rates * days)
        shares = rng.uniform(*hit_share, size=draws)
        logs = np.log(known[known > 0])
        if logs.size < LENGTHS_MIN:
            raise UsageError(f"products: {logs.size} incidents with a length, must be >= {LENGTHS_MIN} to fit lengths")
        positive = rng.beta(logs.size + 0.5, known.size - logs.size + 0.5, size=draws)
        sigma = np.sqrt(logs.var() * logs.size / rng.chisquare(logs.size - 1, size=draws))
        mu = rng.normal(logs.mean(), sigma / logs.size**0.5)
        totals = np.empty(draws)
        for draw, count in enumerate(rng.binomial(counts, positive)):
            lengths = np.exp(rng.normal(mu[draw], sigma[draw], size=count))
            totals[draw] = np.minimum(lengths, days * MINUTES_PER_DAY).sum()
        return totals * shares


def fit_renewal(record: IncidentRecord, products: Collection[str]) -> Renewal:
    """Fit the incidents that hit at least one of *products*.

    Raises
    ------
    UsageError
        No incident of the record names a product.
    """
    own = record.touching(products)
    return Renewal(np.array([incident.open_minutes for incident in own], dtype=float), record.days)
