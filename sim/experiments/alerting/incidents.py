"""Incidents to backtest alerts on: lengths from the fitted record, products and severity of incidents on it.

What the record does not say is assumed: which share of the requests an incident hits and whether they fail or become
slow (:mod:`sim.judgement.dependence`), and here, whether the Worker sees them at all. An incident of the network or of
the tunnel stops requests before the Worker, which then counts nothing (hazard H52); one of Workers or of a service
behind them does not.

Sources
-------
Lengths: :mod:`sim.judgement.renewal`. Shares of requests hit: assumptions of :mod:`sim.judgement.dependence`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sim.foundation.errors import UsageError
from sim.judgement.dependence import SLOW_SHARE, hit_shares, needing, paths, products_in_use
from sim.judgement.incidents import IncidentRecord
from sim.judgement.renewal import fit_renewal

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario

BEFORE_WORKER = frozenset({"network", "tunnel"})
"""Products whose failure keeps requests from the Worker: an assumption."""

MINUTES_MAX = 3 * 1_440
"""Longer incidents are cut: all windows are full by then."""


@dataclass(frozen=True)
class SimulatedIncident:
    """One incident as the deployment meets it.

    Attributes
    ----------
    length_s : float
    severity : str
    products : tuple of str
    hit_share : float
        Share of all requests that it hits.
    slow : bool
        Whether they are slow; they fail otherwise.
    counted : bool
        Whether they reach the Worker, which counts them.
    phase_share : float
        Time of day at which it starts, as a share of the day.
    offset_s : float
        Seconds from the scrape before it to its start.
    """

    length_s: float
    severity: str
    products: tuple[str, ...]
    hit_share: float
    slow: bool
    counted: bool
    phase_share: float
    offset_s: float

    @property
    def minutes(self) -> float:
        """Length in minutes."""
        return self.length_s / 60

    def budget_share(self, budget: float, *, days: int) -> float:
        """Return how much of a budget of *days* it spends at a steady rate; 1 is all of it."""
        return self.hit_share * self.minutes / (days * 1_440 * budget)


def draw_incidents(
    scenario: "Scenario", record: IncidentRecord, *, count: int, rng: np.random.Generator
) -> tuple[SimulatedIncident, ...]:
    """Draw incidents of the services that the scenario depends on.

    Raises
    ------
    UsageError
        *count* < 1, or an incident's severity has no share.
    """
    if count < 1:
        raise UsageError(f"incidents={count} must be >= 1")
    routes = paths(scenario)
    services, _ = products_in_use(routes, record)
    own = [one for one in record.touching(tuple(services)) if one.open_minutes]
    lengths = fit_renewal(record, tuple(services)).lengths_draws(count, at_most_minutes=MINUTES_MAX, rng=rng)
    found = []
    for minutes, place in zip(lengths, rng.integers(len(own), size=count), strict=True):
        seed = own[int(place)]
        products = {product for product in seed.products if product in services}
        low, high = hit_shares(seed)
        share = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        found.append(
            SimulatedIncident(
                length_s=60 * max(1.0, float(minutes)),
                severity=seed.severity,
                products=tuple(sorted(products)),
                hit_share=share * needing(routes, {services[product] for product in products}),
                slow=bool(rng.uniform() < SLOW_SHARE),
                counted=not products <= BEFORE_WORKER,
                phase_share=float(rng.uniform()),
                offset_s=float(rng.uniform(0, 60)),
            )
        )
    return tuple(found)
