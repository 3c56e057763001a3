"""Predicted months of a scenario: which share of its requests the provider's incidents make fail.

Incidents that touch a product in use come as the renewal model of the record says. Each is like one on record, drawn at
random: the products of that one say which requests need it, its severity which share of these is hit. That share is an
assumption, an interval; where within it the truth lies is one draw a month, the same for all incidents, since an
interval that nobody measured does not average out. A service without an incident on record has an unknown rate, not
rate zero: no incident in all observed months, with lengths as of all products.

Sources
-------
:mod:`sim.judgement.renewal` (counts and lengths), :mod:`sim.judgement.dependence` (what is assumed).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.foundation.errors import UsageError
from sim.judgement.dependence import SLOW_SHARE, Path, hit_shares, needing, paths, products_in_use, record_of
from sim.judgement.incidents import IncidentRecord, PageIncident
from sim.judgement.renewal import MINUTES_PER_DAY, MONTH_DAYS, Renewal, fit_renewal, without_incident

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario

Array = NDArray[np.float64]
Routes = tuple[tuple[float, tuple[tuple[str, float], ...]], ...]

DRAWS = 8_192
"""Months that are drawn: a share of 5 % of them is known within half a per cent; the same in every call."""

MONTH_MINUTES = MONTH_DAYS * MINUTES_PER_DAY


@dataclass(frozen=True)
class Months:
    """Predicted months of 30 days.

    Attributes
    ----------
    incidents : array, shape (draws,)
        Incidents that touch a product in use.
    open_minutes : array, shape (draws,)
        Minutes for which they are open, summed.
    exposed_ratio : array, shape (draws,)
        Share of the month's requests that would fail if each incident hit all requests to its products.
    failed_ratio : array, shape (draws,)
        Share that fails with the assumed shares of requests hit.
    """

    incidents: NDArray[np.int64]
    open_minutes: Array
    exposed_ratio: Array
    failed_ratio: Array

    def success_ratio(self, hit_share: float | None = None) -> Array:
        """Return the share of each month's requests that succeed, shape (draws,).

        Parameters
        ----------
        hit_share : float, optional
            Share of the requests to its products that each incident hits, in [0, 1]; the assumed ones without it.
        """
        if hit_share is None:
            return 1 - self.failed_ratio
        if not 0 <= hit_share <= 1:
            raise UsageError(f"hit_share={hit_share} must be in [0, 1]")
        return np.maximum(0.0, 1 - hit_share * self.exposed_ratio)

    def settling_shares(self, lost_max: float) -> tuple[float, float]:
        """Return up to which hit share 97.5 % of the months lose at most *lost_max*, and above which 97.5 % lose more.

        Either is infinite if no share can do it.
        """
        low, high = np.quantile(self.exposed_ratio, [0.025, 0.975])
        return lost_max / high if high > 0 else np.inf, lost_max / low if low > 0 else np.inf


def months_of(scenario: "Scenario", *, at_most_minutes: float = np.inf) -> Months:
    """Predict months of a scenario.

    Parameters
    ----------
    scenario : Scenario
    at_most_minutes : float
        Minutes of an incident after which its requests go another way, such as a second provider's; > 0.

    Raises
    ------
    ScenarioError
        There is no incident record beside the platform file.
    """
    if not at_most_minutes > 0:
        raise UsageError(f"at_most_minutes={at_most_minutes} must be > 0")
    routes = tuple((path.share, tuple(path.services.items())) for path in paths(scenario))
    return _months(record_of(scenario.facts), routes, float(at_most_minutes))


@lru_cache(maxsize=64)
def _months(record: IncidentRecord, routes: Routes, at_most_minutes: float) -> Months:
    """The months of the requests that take these routes: what a scenario is, here, and what a cache can keep."""
    own = [Path(share, dict(services)) for share, services in routes]
    products, unknown = products_in_use(own, record)
    place, *others = np.random.default_rng(0).spawn(2 + len(unknown))
    places = place.uniform(size=DRAWS)
    parts = []
    if products:
        like = record.touching(tuple(products))
        needs = [needing(own, {products[name] for name in one.products if name in products}) for one in like]
        parts.append(_part(fit_renewal(record, tuple(products)), like, needs, places, at_most_minutes, others[0]))
    for service, rng in zip(unknown, others[1:], strict=True):
        needs = [needing(own, {service})] * len(record.incidents)
        parts.append(_part(without_incident(record), record.incidents, needs, places, at_most_minutes, rng))
    incidents, minutes, exposed, failed = (np.sum(of_parts, axis=0) for of_parts in zip(*parts, strict=True))
    return Months(incidents, minutes, np.minimum(exposed, 1.0), np.minimum(failed, 1.0))


def _part(
    renewal: Renewal,
    like: Sequence[PageIncident],
    needs: Sequence[float],
    places: Array,
    at_most_minutes: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], Array, Array, Array]:
    """Return incidents, open minutes, share exposed and share failing of each month."""
    counts, minutes = renewal.incidents_draws(MONTH_DAYS, draws=places.size, rng=rng)
    minutes = np.minimum(minutes, at_most_minutes)
    month = np.repeat(np.arange(places.size), counts)
    lasting = [number for number, one in enumerate(like) if one.open_minutes]
    seeds = rng.choice(lasting, size=minutes.size)
    low, high = np.log([hit_shares(one) for one in like]).T
    fails = rng.uniform(size=minutes.size) >= SLOW_SHARE
    exposed = minutes / MONTH_MINUTES * fails * np.asarray(needs)[seeds]
    shares = np.exp(low[seeds] + (high - low)[seeds] * places[month])

    def of_month(weights: Array) -> Array:
        return np.bincount(month, weights=weights, minlength=places.size).astype(np.float64)

    return counts, of_month(minutes), of_month(exposed), of_month(exposed * shares)
