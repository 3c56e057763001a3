"""What a scenario depends on: the provider's services that its requests need, and which incidents on record touch them.

A request needs the service of its entry and those of every operation that it waits for. An incident names products, and
a service stands behind one or more of them. What the record does not say is assumed here, by name: which share of the
requests to a product an incident hits, and whether these fail or become slow.

Sources
-------
Trivedi and Bobbio, "Reliability and Availability Engineering", 2017, chapter 3 (serial components).
HIT_SHARES: assumptions, by severity; among the incidents of the platform file whose share is known, all of them
large, it is 0.28 to 1.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from sim.foundation.errors import ScenarioError, UsageError
from sim.judgement.incidents import IncidentRecord, PageIncident, read_incidents
from sim.models.component import Operation
from sim.scenario.routes import Step

if TYPE_CHECKING:
    from sim.scenario.platform import Platform
    from sim.scenario.scenario import Scenario

HIT_SHARES: Mapping[str, tuple[float, float]] = {"minor": (0.001, 0.1), "major": (0.01, 1.0), "critical": (0.1, 1.0)}
"""Share of the requests to a product that an incident hits, by severity, evenly on a logarithmic scale: assumptions."""

SLOW_SHARE = 0.5
"""Share of the incidents in which requests are slow in place of failing: an assumption."""

PRODUCTS_OF: Mapping[str, tuple[str, ...]] = {"edge_http": ("workers", "network")}
"""Products of the record that stand for a service; every other has the same name in both."""


@dataclass(frozen=True)
class Path:
    """The services that a route depends on.

    Attributes
    ----------
    share : float
        Share of the route in the traffic.
    services : mapping of str to float
        By name, the share of the route's requests that need the service.
    """

    share: float
    services: Mapping[str, float]


def paths(scenario: "Scenario") -> tuple[Path, ...]:
    """List the services that each route with traffic depends on: its entry's, then those of its operations, in order.

    An operation taken by chance is needed by that share of the requests; one in the background by none.
    """
    found = []
    for name, route in scenario.routes.items():
        if not scenario.shares[name]:
            continue
        services = dict.fromkeys(scenario.system.instances[route.enter].component.services, 1.0)
        awaited = dict.fromkeys(one for operation in _awaited(scenario, route.steps) for one in operation.services)
        for service in awaited:
            services.setdefault(service, _need(scenario, route.steps, service=service))
        found.append(Path(scenario.shares[name], services))
    return tuple(found)


def needing(routes: Sequence[Path], services: Collection[str]) -> float:
    """Return the share of the requests that need at least one of *services*."""
    return sum(
        path.share * (1 - prod(1 - need for service, need in path.services.items() if service in services))
        for path in routes
    )


def record_of(platform: "Platform") -> IncidentRecord:
    """Return the incident record beside a platform file.

    Raises
    ------
    ScenarioError
        There is none.
    """
    path = platform.path.with_name("incidents.csv")
    if not path.is_file():
        raise ScenarioError(f"{path.name} must stand beside {platform.path.name} (docs/UPTIME.md)")
    return read_incidents(path)


def products_of(service: str, record: IncidentRecord) -> tuple[str, ...]:
    """Return the products on record that stand for a service; none if no incident names one."""
    return tuple(product for product in PRODUCTS_OF.get(service, (service,)) if product in record.products)


def products_in_use(routes: Sequence[Path], record: IncidentRecord) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the service of each product on record that *routes* depend on; and the services without an incident."""
    found, unknown = {}, []
    for service in dict.fromkeys(service for path in routes for service in path.services):
        own = products_of(service, record)
        found.update(dict.fromkeys(own, service))
        if not own:
            unknown.append(service)
    return found, tuple(unknown)


def hit_shares(incident: PageIncident) -> tuple[float, float]:
    """Return the least and the largest share of requests to its products that an incident is assumed to hit.

    Raises
    ------
    UsageError
        Its severity has none.
    """
    if incident.severity not in HIT_SHARES:
        place = f"incident of {incident.start:%Y-%m-%dT%H:%M}"
        raise UsageError(f'{place}: severity="{incident.severity}" must be one of {", ".join(HIT_SHARES)}')
    return HIT_SHARES[incident.severity]


def _awaited(scenario: "Scenario", steps: tuple[Step, ...]) -> Iterator[Operation]:
    """Yield every operation that some request waits for."""
    for step in steps:
        if step.spawn or not step.chance:
            continue
        if step.use is None:
            yield from _awaited(scenario, step.steps or ())
        else:
            yield _operation(scenario, step.use)


def _need(scenario: "Scenario", steps: tuple[Step, ...], *, service: str) -> float:
    """Return the share of requests that wait for *service* at least once, with independent chances."""
    spared = 1.0
    for step in steps:
        if step.spawn:
            continue
        if step.use is None:
            inside = _need(scenario, step.steps or (), service=service)
        else:
            inside = float(service in _operation(scenario, step.use).services)
        spared *= 1 - step.chance * inside
    return 1 - spared


def _operation(scenario: "Scenario", use: str) -> Operation:
    where, _, operation = use.partition(".")
    return scenario.system.instances[where].component.operations[operation]
