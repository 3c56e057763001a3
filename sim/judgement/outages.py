"""Outages that the provider confirmed, with their minutes: facts of the platform file (``incidents``).

They are few and large: two of the edge in two and a half years. How often somebody must act is counted from them; how
much of a month incidents take, most of them regional and partial, from the record of the status page
(:mod:`sim.judgement.renewal`).
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sim.foundation.errors import ScenarioError

if TYPE_CHECKING:
    from sim.scenario.platform import Platform


@dataclass(frozen=True)
class Outage:
    """One outage of one service, and how long it lasted."""

    service: str
    minutes: int


@dataclass(frozen=True)
class Outages:
    """All outages of a window of *days*."""

    days: int
    outages: tuple[Outage, ...]

    def of(self, service: str) -> list[Outage]:
        """Return the outages of one service."""
        return [outage for outage in self.outages if outage.service == service]


def read_outages(platform: "Platform") -> Outages:
    """Collect the outages of a platform file: facts named ``incidents.SERVICE_YYYY_MM_DD.minutes``.

    Raises
    ------
    ScenarioError
        There are none, or the window's length is missing.
    """
    found = []
    for name in sorted({key.split(".")[1] for key in platform.facts if key.startswith("incidents.")}):
        named = re.fullmatch(r"(\w+?)_\d{4}_\d\d_\d\d", name)
        minutes = platform.facts.get(f"incidents.{name}.minutes")
        if named is not None and minutes is not None:
            found.append(Outage(named[1], int(minutes.value)))
    if not found:
        raise ScenarioError(
            f"{platform.path.name}: no [incidents.SERVICE_YYYY_MM_DD] with minutes (scenarios/README.md)"
        )
    return Outages(int(platform.fact("uptime_derived.window_days").value), tuple(found))
