"""Incidents to backtest alerts on: lengths from the fitted record, products and severity of incidents on it.

What the record does not say is assumed, here, by name: which share of the requests an incident hits, whether they fail
or become slow, and whether the Worker sees them at all. An incident of the network or of the tunnel stops
requests before the Worker, which then counts nothing (hazard H52); one of Workers or of a service behind them does not.

Sources
-------
Lengths: :mod:`sim.judgement.renewal`. HIT_SHARES: assumptions, by severity; among the incidents of the platform file
whose share is known, all of them large, it is 0.28 to 1.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from sim.foundation.errors import ScenarioError, UsageError
from sim.judgement.availability import paths
from sim.judgement.incidents import IncidentRecord, read_incidents
from sim.judgement.renewal import fit_renewal

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario

HIT_SHARES: Mapping[str, tuple[float, float]] = {"minor": (0.001, 0.1), "major": (0.01, 1.0), "critical": (0.1, 1.0)}
"""Share of the requests to a product that an incident hits, by severity, evenly on a logarithmic scale: assumptions."""

SLOW_SHARE = 0.5
"""Share of the incidents in which requests are slow in place of failing: an assumption."""

PRODUCTS_OF: Mapping[str, tuple[str, ...]] = {"edge_http": ("workers", "network")}
"""Products of the record that stand for a service; every other has the same name in both."""

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


def record_of(scenario: "Scenario") -> IncidentRecord:
    """Return the incident record beside the scenario's platform file.

    Raises
    ------
    ScenarioError
        There is none.
    """
    path = scenario.facts.path.with_name("incidents.csv")
    if not path.is_file():
        raise ScenarioError(f"{path.name} must stand beside {scenario.facts.path.name} (docs/UPTIME.md)")
    return read_incidents(path)


def products_of(scenario: "Scenario", record: IncidentRecord) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the service of each product on record that the scenario depends on; and services without an incident."""
    services = dict.fromkeys(service for path in paths(scenario) for service in path.services)
    found, unknown = {}, []
    for service in services:
        own = [product for product in PRODUCTS_OF.get(service, (service,)) if product in record.products]
        found.update(dict.fromkeys(own, service))
        if not own:
            unknown.append(service)
    return found, tuple(unknown)


def needing(scenario: "Scenario", services: Collection[str]) -> float:
    """Return the share of the requests that need at least one of *services*."""
    return sum(
        path.share * (1 - prod(1 - need for service, need in path.services.items() if service in services))
        for path in paths(scenario)
    )


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
    services, _ = products_of(scenario, record)
    own = [one for one in record.touching(tuple(services)) if one.open_minutes]
    lengths = fit_renewal(record, tuple(services)).lengths_draws(count, at_most_minutes=MINUTES_MAX, rng=rng)
    found = []
    for minutes, place in zip(lengths, rng.integers(len(own), size=count), strict=True):
        seed = own[int(place)]
        if seed.severity not in HIT_SHARES:
            raise UsageError(f'severity="{seed.severity}" must be one of {", ".join(HIT_SHARES)}')
        products = {product for product in seed.products if product in services}
        low, high = HIT_SHARES[seed.severity]
        share = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        found.append(
            SimulatedIncident(
                length_s=60 * max(1.0, float(minutes)),
                severity=seed.severity,
                products=tuple(sorted(products)),
                hit_share=share * needing(scenario, {services[product] for product in products}),
                slow=bool(rng.uniform() < SLOW_SHARE),
                counted=not products <= BEFORE_WORKER,
                phase_share=float(rng.uniform()),
                offset_s=float(rng.uniform(0, 60)),
            )
        )
    return tuple(found)
