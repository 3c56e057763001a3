"""How far each line's amount can be trusted: which of the scenario's numbers moves it, and how well that one is known.

A price is the provider's own word. The amount rests on the volume, on the shares of the routes, and on what each
operation uses; so every number with a source is made a quarter larger, one at a time, and the lines that move take its
letter. The letter of a line is that of the least certain number that moves it.
"""

from typing import TYPE_CHECKING, Any

from sim.foundation.errors import SimError
from sim.judgement.cost.usage import Traffic
from sim.judgement.cost.volume import MonthVolume, letter_of, worst
from sim.scenario.arrivals import TraceReplay

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario

FACTOR = 1.25

MOVED = 0.001
"""A line that changes by less is not moved: it is the remainder of a formula."""

PARAMETERS = ("value", "mean", "median", "p99", "low", "high", "minimum", "maximum")
"""Parameters of a distribution that carry its size."""


def volume_confidence(traffic: Traffic, volume: MonthVolume) -> dict[str, tuple[str, str]]:
    """Return, by meter, the confidence in its amount and the path of the number that it is owed to."""
    scenario, requests = traffic.scenario, traffic.requests_per_month
    base = _amounts(traffic)
    causes: dict[str, list[tuple[str, str]]] = {name: [(volume.confidence, volume.path)] for name in base}
    fees = {meter.name for meter in traffic.meters.values() if meter.once}
    measured = isinstance(scenario.workload.arrivals, TraceReplay)
    mix = ("M", "workload.arrivals.file") if measured else (letter_of(scenario, "routes"), "routes")
    for found in causes.values():
        found.append(mix)
    for path, letter, value in _numbers(scenario):
        try:
            varied = _amounts(Traffic(scenario.vary(path, value), requests, like=traffic))
        except SimError:
            continue  # The schema forbids the number: then nothing is learnt from it.
        for name in base:
            if abs(varied.get(name, 0.0) / base[name] - 1) > MOVED:
                causes[name].append((letter, path))
    found_letters: dict[str, tuple[str, str]] = {}
    for name, found in causes.items():
        letter = worst([one for one, _ in found])
        # The number that is particular to the line says more than the volume, which all lines share.
        found_letters[name] = next((one, path) for one, path in reversed(found) if one == letter)
    return {name: ("O", "") if name in fees else found for name, found in found_letters.items()}


def _amounts(traffic: Traffic) -> dict[str, float]:
    """What a month's requests use of each meter, and leave on those of storage."""
    used = traffic.usage(traffic.requests_per_month)
    for (name, _, _), stored in traffic.stored_gb().items():
        used[name] = used.get(name, 0.0) + stored * traffic.stored_scale(name) * traffic.requests_per_month
    for (_, name), kept in traffic.kept_gb().items():
        used[name] = used.get(name, 0.0) + kept * traffic.stored_scale(name)
    return {name: amount for name, amount in used.items() if amount > 0}


def _numbers(scenario: "Scenario") -> list[tuple[str, str, Any]]:
    """Path, letter and a larger value of each number with a source, of what requests meet and of their sizes."""
    places = tuple(f"system.{name}." for name in scenario.reached)
    rows = [row for row in scenario.provenance if row.path.startswith(places) or row.path.endswith(".size_bytes")]
    own = {row.path for row in rows}
    found = []
    for row in rows:
        value = _larger(
            row.value, {path.removeprefix(f"{row.path}.") for path in own if path.startswith(f"{row.path}.")}
        )
        if value is not None:
            found.append((row.path, row.confidence, value))
    return found


def _larger(value: Any, elsewhere: set[str]) -> Any:
    """A number, or a distribution's size, a quarter larger; None for anything else, or if it is known *elsewhere*."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return max(value + 1, round(value * FACTOR))
    if isinstance(value, float):
        return value * FACTOR
    if isinstance(value, dict) and "distribution" in value:
        own = [key for key in PARAMETERS if isinstance(value.get(key), int | float) and key not in elsewhere]
        return {**value, **{key: value[key] * FACTOR for key in own}} if own else None
    return None
