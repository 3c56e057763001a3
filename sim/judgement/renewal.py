"""Alternating renewal of a set of products: up, then an incident, then up again, fitted to an incident record.

Incidents of the set cluster: their counts in months of 30 days are negative binomial, mean and dispersion unknown. Some
are closed as soon as they are published; the others stay open for a time whose logarithm has Student's t distribution,
parameters unknown. An incident that names several products of the set counts once, so that common causes are not
multiplied as if they were independent. The share of requests that an incident hits is uncertain too, and the record
does not say it: it is the caller's assumption, an interval.

Tried and rejected, since their 95 % intervals held fewer of the months held back: Poisson counts with lognormal lengths
(90 %), and lengths resampled from the record, which never exceed the longest on record (69 to 94 %); docs/UPTIME.md.

Sources
-------
Trivedi and Bobbio, "Reliability and Availability Engineering", 2017, chapter 9 (alternating renewal). Jeffreys, "Theory
of Probability", 3rd ed., 1961 (k successes give a share the beta distribution of k + 1/2). The laws of counts and of
lengths: :mod:`sim.statistics.clustered_counts`, :mod:`sim.statistics.heavy_lengths`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from sim.foundation.errors import UsageError
from sim.judgement.incidents import IncidentRecord, PageIncident
from sim.statistics.clustered_counts import ClusteredCounts
from sim.statistics.heavy_lengths import LENGTHS_MIN, HeavyLengths

Array = NDArray[np.float64]

MINUTES_PER_DAY = 1_440
MONTH_DAYS = 30


@dataclass(frozen=True)
class Renewal:
    """The process of incidents that hit a set of products.

    Attributes
    ----------
    lengths_minutes : array, shape (incidents,)
        Minutes for which each incident on record stayed open; none lasts beyond the record.
    counts : ClusteredCounts
        Incidents of each observed month; a window's last may be shorter. Exposures are in days.
    """

    lengths_minutes: Array
    counts: ClusteredCounts

    @property
    def observed_days(self) -> float:
        """Observed days."""
        return float(self.counts.exposures.sum())

    def counts_draws(self, days: float, *, draws: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return predicted numbers of incidents with a length that start within *days*, shape (draws,)."""
        if not 0 < days < np.inf or draws < 1:
            raise UsageError(f"days={days}, draws={draws} must be > 0")
        known = self.lengths_minutes
        lasting = int((known > 0).sum())
        if lasting < LENGTHS_MIN:
            raise UsageError(f"products: {lasting} incidents with a length, must be >= {LENGTHS_MIN} to fit lengths")
        share = rng.beta(lasting + 0.5, known.size - lasting + 0.5, size=draws)
        return rng.binomial(self.counts.draws(days, draws=draws, rng=rng), share).astype(np.int64)

    def lengths_draws(self, count: int, *, at_most_minutes: float, rng: np.random.Generator) -> Array:
        """Return predicted lengths in minutes, shape (count,), each of its own draw of the parameters."""
        law = HeavyLengths(self.lengths_minutes[self.lengths_minutes > 0])
        return law.draws(np.ones(count, dtype=np.int64), at_most=at_most_minutes, rng=rng)

    def incidents_draws(self, days: float, *, draws: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], Array]:
        """Return predicted incidents that start within *days*: how many, and the length of each in minutes.

        The numbers have the shape (draws,), the lengths (numbers.sum(),), one draw after the other.
        """
        counts = self.counts_draws(days, draws=draws, rng=rng)
        law = HeavyLengths(self.lengths_minutes[self.lengths_minutes > 0])
        return counts, law.draws(counts, at_most=days * MINUTES_PER_DAY, rng=rng)

    def open_minutes_draws(self, days: float, *, draws: int, rng: np.random.Generator) -> Array:
        """Return predicted minutes of open incidents that start within *days*, shape (draws,)."""
        counts, minutes = self.incidents_draws(days, draws=draws, rng=rng)
        own = np.repeat(np.arange(draws), counts)
        return np.bincount(own, weights=minutes, minlength=draws).astype(np.float64)

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
        lost_minutes = self.open_minutes_draws(days, draws=draws, rng=rng) * rng.uniform(low, high, size=draws)
        return np.maximum(0.0, 1 - lost_minutes / (days * MINUTES_PER_DAY))


def fit_renewal(record: IncidentRecord, products: Collection[str]) -> Renewal:
    """Fit the incidents that hit at least one of *products*.

    Raises
    ------
    UsageError
        No incident of the record names a product.
    """
    own = record.touching(products)
    return _renewal(record, own, own)


def without_incident(record: IncidentRecord) -> Renewal:
    """Return the process of a product that no incident of the record names: no event, lengths as of all products."""
    return _renewal(record, (), record.incidents)


def _renewal(record: IncidentRecord, own: Sequence[PageIncident], like: Sequence[PageIncident]) -> Renewal:
    """Return the process with the counts of *own* and the lengths of *like*."""
    counts, days = [], []
    for window in record.windows:
        start = window.start
        while start < window.end:
            end = min(start + timedelta(days=MONTH_DAYS), window.end)
            counts.append(sum(start <= incident.start < end for incident in own))
            days.append((end - start) / timedelta(days=1))
            start = end
    lengths = np.array([incident.open_minutes for incident in like], dtype=float)
    return Renewal(lengths, ClusteredCounts(np.array(counts, dtype=float), np.array(days)))
