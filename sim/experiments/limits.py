"""Which assumption a capacity hangs on: a number that its author believes, and that the station in the way is bound by.

A bottleneck of eight isolates, when nobody measured that there are eight, is a statement about the eight. Arithmetic
tells it from one that the load or a published fact sets: the number is raised, and the station bears more, or less,
almost in proportion.
"""

from math import isfinite, log
from typing import TYPE_CHECKING

from sim.errors import ScenarioError
from sim.experiments.sensitivity import FACTOR, multiplied
from sim.screening import screen

if TYPE_CHECKING:
    from sim.scenario.provenance import Provenance
    from sim.scenario.scenario import Scenario

ELASTICITY_MIN = 0.5
"""Per cents by which the bound moves, for each per cent of the number: below it, other numbers decide as much."""


def assumption_that_limits(scenario: "Scenario", station: str) -> "Provenance | None":
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
    found: list[tuple[float, Provenance]] = []
    if not isfinite(bound):
        return None
    for source in scenario.provenance:
        places = (f"system.{name}." for name in scenario.reached)
        if source.platform_key is not None or not source.path.startswith(tuple(places)):
            continue
        more = multiplied(source.value, FACTOR)
        if more is None:
            continue
        if more == source.value:
            more = source.value + 1
        try:
            moved = _bound(scenario.vary(source.path, more), station)
        except ScenarioError:
            continue
        by = log(more / source.value) if isinstance(more, int | float) and source.value else log(FACTOR)
        if isfinite(moved) and by:
            found.append((abs(log(moved / bound) / by), source))
    most = max(found, key=lambda one: one[0], default=None)
    return most[1] if most is not None and most[0] >= ELASTICITY_MIN else None


def _bound(scenario: "Scenario", station: str) -> float:
    """Return the rate that the station bears by arithmetic."""
    rows = (row.rate_per_s_max for row in screen(scenario).rows if row.station == station)
    return next(rows, float("inf"))
