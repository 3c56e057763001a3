"""Where every number of a scenario comes from: a platform fact, or its author's belief with a reason.

A number without provenance is still a number; one with it can be doubted in the right place.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sim.errors import ScenarioError
from sim.scenario.platform import CONFIDENCE, LOW_CONFIDENCE, Platform, unit_of
from sim.schema import PAGE, Place, dotted, nearest

REFERENCE = "platform:"
"""What a value starts with that points to a fact."""


@dataclass(frozen=True)
class Provenance:
    """Where one number of a scenario comes from.

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
        For an assumption: why the author believes it.
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
    """*value* with facts in place of references; each use is noted in *used*."""
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
    """Provenance of what the author believes, with the letter that ends the reason."""
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
    """Unit of a place: that of its key, or of the key that holds the distribution which it is a parameter of."""
    units = (unit_of(str(part)) for part in reversed(place[-2:]))
    return next((unit for unit in units if unit != "1"), "1")
