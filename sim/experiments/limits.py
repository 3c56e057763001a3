"""Which assumption limits a capacity: a number that its author believes, and that the station in the way is bound by.

A bottleneck of eight isolates, when nobody measured that there are eight, is a statement about the eight. Arithmetic
distinguishes it from one that the load or a published fact sets: the number is raised, and the station
sustains more, or less, almost in proportion.
"""

from collections.abc import Iterator
from math import isfinite, log
from typing import TYPE_CHECKING

from sim.experiments.sensitivity import FACTOR, multiplied
from sim.foundation.errors import ScenarioError
from sim.scenario.provenance import Provenance
from sim.screening import screen

if TYPE_CHECKING:
    from sim.models.component import Instance
    from sim.scenario.scenario import Scenario

ELASTICITY_MIN = 0.5
"""Per cents by which the bound moves, for each per cent of the number: below it, other numbers decide as much."""


def assumption_that_limits(scenario: "Scenario", station: str) -> Provenance | None:
    """Find the assumption that *station* is bound by.

    Parameters
    ----------
    scenario : Scenario
    station : str
        Name of the station that limits.

    Returns
    -------
    Provenance or None
        Of the author's numbers under ``[system]``, the one that moves the station's bound most; None where the bound
        hangs on the load, on facts of the platform file, or on many numbers a little each.
    """
    bound = _bound(scenario, station)
    if not isfinite(bound):
        return None
    found = [(_elasticity(scenario, source, station, bound), source) for source in _beliefs(scenario, station)]
    # Of equals a count comes first: two isolates that are busy for 10 ms each are too few rather than too slow.
    most = max(found, key=lambda one: (round(one[0], 1), isinstance(one[1].value, int)), default=None)
    return most[1] if most is not None and most[0] >= ELASTICITY_MIN else None


def _beliefs(scenario: "Scenario", station: str) -> Iterator[Provenance]:
    """Yield the author's numbers, with and without a reason, of the station and of what lives in it."""
    given = {source.path: source for source in scenario.provenance}
    facts = [path for path, source in given.items() if source.platform_key is not None]
    instances = scenario.system.instances
    inside = [name for name in scenario.reached if any(other.name == station for other in _linked(instances[name]))]
    for name in sorted({station, *inside} & instances.keys()):
        for key, value in scenario.system[name].model_dump(mode="json").items():
            path = f"system.{name}.{key}"
            if any(f"{fact}.".startswith(f"{path}.") for fact in facts) or multiplied(value, FACTOR) is None:
                continue
            yield given.get(path) or Provenance(path, None, value, "1", "", "A", low_confidence=True)


def _linked(instance: "Instance") -> list["Instance"]:
    return [instance.linked(key) for key in instance.component.links]


def _elasticity(scenario: "Scenario", source: Provenance, station: str, bound: float) -> float:
    """Return by how many per cent the bound moves, for each per cent of the number."""
    more = multiplied(source.value, FACTOR)
    if more == source.value:
        if not isinstance(source.value, int):
            return 0.0  # Nothing times anything.
        more = source.value + 1
    try:
        moved = _bound(scenario.vary(source.path, more), station)
    except ScenarioError:
        return 0.0
    by = log(more / source.value) if isinstance(source.value, int | float) and source.value else log(FACTOR)
    return abs(log(moved / bound) / by) if isfinite(moved) and by else 0.0


def _bound(scenario: "Scenario", station: str) -> float:
    """Return the rate that the station sustains by arithmetic."""
    rows = (row.rate_per_s_max for row in screen(scenario).rows if row.station == station)
    return next(rows, float("inf"))
