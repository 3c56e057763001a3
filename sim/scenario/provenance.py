"""Provenance of a scenario's numbers: a platform fact, or an assumption of its author with a reason."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sim.foundation.errors import ScenarioError
from sim.foundation.schema import PAGE, Place, dotted, nearest
from sim.scenario.platform import CONFIDENCE, LOW_CONFIDENCE, Platform, unit_of

REFERENCE = "platform:"
"""Prefix of a value that refers to a platform fact."""


@dataclass(frozen=True)
class Provenance:
    """The source and confidence of one number of a scenario.

    Attributes
    ----------
    path : str
        Dotted path in the scenario.
    platform_key : str or None
        Key of the platform fact; None for the author's own assumption.
    value : number, text or dict
        A dict is a distribution.
    unit : str
    source : str
        For an assumption, the author's reason.
    confidence : str
        A letter of :data:`sim.scenario.platform.CONFIDENCE`.
    low_confidence : bool
        Whether a reader must be warned.
    """

    path: str
    platform_key: str | None
    value: Any
    unit: str
    source: str
    confidence: str
    low_confidence: bool


def resolved(value: Any, place: Place, *, facts: Platform, used: list[Provenance]) -> Any:
    """Return *value* with facts in place of references; append each use to *used*."""
    if isinstance(value, dict):
        return {key: resolved(entry, (*place, key), facts=facts, used=used) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [resolved(entry, (*place, at), facts=facts, used=used) for at, entry in enumerate(value)]
    if not isinstance(value, str) or not value.startswith(REFERENCE):
        return value
    fact = facts.fact(value.removeprefix(REFERENCE))
    asked = _unit(place)
    if asked not in ("1", fact.unit):
        raise ScenarioError(f'{dotted(place)}="{value}" is in {fact.unit}, must be in {asked} ({PAGE})')
    used.append(
        Provenance(dotted(place), fact.key, fact.value, fact.unit, fact.source, fact.confidence, fact.low_confidence)
    )
    return fact.value


def assumed(assumptions: dict[str, str], raw: dict[str, Any]) -> Iterator[Provenance]:
    """Yield the provenance of the author's assumptions, with the confidence letter at the end of each reason."""
    for path, reason in assumptions.items():
        value: Any = raw
        for part in path.split("."):
            if not isinstance(value, dict) or part not in value:
                near = nearest(part, value) if isinstance(value, dict) else "it holds no table"
                raise ScenarioError(f'assumptions."{path}" is not a path in the scenario; {near} ({PAGE})')
            value = value[part]
        letter = re.search(r"\[([A-Z])\]$", reason.strip())
        confidence = letter[1] if letter and letter[1] in CONFIDENCE else "A"
        text = re.sub(r"\s*\[[A-Z]\]$", "", reason.strip())
        unit = _unit(tuple(path.split(".")))
        yield Provenance(path, None, value, unit, text, confidence, confidence in LOW_CONFIDENCE)


def _unit(place: Place) -> str:
    """Return the unit of a place: that of its key, or for a distribution's parameter that of the distribution's key."""
    units = (unit_of(str(part)) for part in reversed(place[-2:]))
    return next((unit for unit in units if unit != "1"), "1")
