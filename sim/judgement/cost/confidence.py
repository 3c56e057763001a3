"""How far each line's amount can be trusted: which of the scenario's numbers moves it, and how well that one is known.

A price is the provider's own word. The amount rests on the volume, on the shares of the routes, and on what each
operation uses; so every number with a source is made a quarter larger, one at a time, and the lines that move take its
letter. The letter of a line is that of the least certain number that moves it; all are named with their letters and the
share of the amount that moves with each, the largest first.
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

OF_REQUESTS = (".size_bytes", ".messages.every_s", ".messages.session_s")
"""Keys of routes whose numbers move the bill."""

HALF = 0.5

PARAMETERS = ("value", "mean", "median", "p99", "low", "high", "minimum", "maximum")
"""Parameters of a distribution that carry its size."""


Owing = tuple[str, str, float]
"""Letter and path of a number, and the share of an amount that moves with it."""

Owed = tuple[tuple[str, str, float], ...]
"""Paths of numbers, each with its letter and the share of an amount that moves with it."""


def volume_confidence(traffic: Traffic, volume: MonthVolume) -> dict[str, tuple[str, Owed]]:
    """Return, by meter, the confidence in its amount and the numbers that it is owed to, the largest share first."""
    scenario, requests = traffic.scenario, traffic.requests_per_month
    base = _amounts(traffic)
    fees = {meter.name for meter in traffic.meters.values() if meter.once}
    measured = isinstance(scenario.workload.arrivals, TraceReplay)
    mix = ("M", "workload.arrivals.file") if measured else (letter_of(scenario, "routes"), "routes")
    common = [(volume.confidence, volume.path, 1.0), (*mix, 1.0)]
    causes: dict[str, list[Owing]] = {name: [] for name in base}
    for path, letter, value, grown in _numbers(scenario):
        try:
            varied = _amounts(Traffic(scenario.vary(path, value), requests, like=traffic))
        except SimError:
            continue  # The schema forbids the number: then nothing is learnt from it.
        for name in base:
            moved = abs(varied.get(name, 0.0) / base[name] - 1)
            if moved > MOVED:
                causes[name].append((letter, path, moved / grown))
    return {name: ("O", ()) if name in fees else _owed(found, common) for name, found in causes.items()}


def _owed(own: list[Owing], common: list[Owing]) -> tuple[str, Owed]:
    """Return the worst letter of a line, and the numbers that the amount is owed to.

    Those that are particular to the line say more than volume and mix, which all lines share: these are named only
    where they have the worst letter, and no number of the line's own that has it moves half of the amount.
    """
    letter = worst([one for one, _, _ in (*common, *own)])
    if not any(one == letter and share >= HALF for one, _, share in own):
        own = own + [owing for owing in reversed(common) if owing[0] == letter][:1]
    ordered = sorted(own, key=lambda owing: (-round(owing[2], 2), owing[0] != letter))
    return letter, tuple((path, one, share) for one, path, share in ordered)


def _amounts(traffic: Traffic) -> dict[str, float]:
    """What a month's requests use of each meter, and leave on those of storage."""
    used = traffic.usage(traffic.requests_per_month)
    for (name, _, _), stored in traffic.stored_gb().items():
        used[name] = used.get(name, 0.0) + stored * traffic.stored_scale(name) * traffic.requests_per_month
    for (_, name), kept in traffic.kept_gb().items():
        used[name] = used.get(name, 0.0) + kept * traffic.stored_scale(name)
    return {name: amount for name, amount in used.items() if amount > 0}


def _numbers(scenario: "Scenario") -> list[tuple[str, str, Any, float]]:
    """Path, letter, a larger value and by which part it is larger, of each number with a source that requests meet."""
    places = tuple(f"system.{name}." for name in scenario.reached)
    rows = [row for row in scenario.provenance if row.path.startswith(places) or row.path.endswith(OF_REQUESTS)]
    own = {row.path for row in rows}
    found = []
    for row in rows:
        value = _larger(
            row.value, {path.removeprefix(f"{row.path}.") for path in own if path.startswith(f"{row.path}.")}
        )
        if value is not None:
            grown = value / row.value - 1 if isinstance(row.value, int) and row.value else FACTOR - 1
            found.append((row.path, row.confidence, value, grown))
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
