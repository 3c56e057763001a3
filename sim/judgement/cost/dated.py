"""Prices that end on a day: of two ways to bill the same thing, the one that is in force.

A meter may replace another from a day on, which the platform file says. What a scenario states for one alone is billed
by that one, whatever the day, and the bill says so: a price of the past is nearer than none.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from math import fsum
from typing import TYPE_CHECKING

from sim.foundation.errors import ScenarioError
from sim.judgement.cost.usage import number
from sim.models.billing import Meter
from sim.models.registry import meters

if TYPE_CHECKING:
    from sim.scenario.platform import Platform


def in_force(usage: Mapping[str, float], platform: "Platform") -> dict[str, float]:
    """Return *usage* without what is billed by another meter on the day that the platform's prices are for."""
    amounts = dict(usage)
    for old, rivals in _replaced(platform).items():
        stated = [one.name for one in rivals if amounts.get(one.name)]
        if not stated or not amounts.get(old.name):
            continue
        for name in [old.name] if platform.day >= since(rivals[0], platform) else stated:
            del amounts[name]
    return amounts


def since(meter: Meter, platform: "Platform") -> dt.date:
    """Return the first day on which *meter* bills what another billed before.

    Raises
    ------
    ScenarioError
        The fact is no date.
    """
    value = platform.fact(meter.since).value
    if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
        raise ScenarioError(f"platform:{meter.since}={value!r} must be a date ({platform.path.name})")
    return value


def dated_notes(
    usage: Mapping[str, float], platform: "Platform", *, usd: Callable[[Meter, float], float]
) -> Iterator[str]:
    """Say which of two prices was taken, and what the other one says.

    Parameters
    ----------
    usage : mapping of str to float
        Before :func:`in_force`.
    platform : Platform
    usd : callable
        ``(meter, amount) -> float``: what the amount costs on its line.
    """
    for old, rivals in _replaced(platform).items():
        stated = [one for one in rivals if usage.get(one.name)]
        events = usage.get(old.name, 0.0)
        if not events and not stated:
            continue
        first = since(rivals[0], platform)
        last = first - dt.timedelta(days=1)
        new = f"by the {rivals[0].unit}"
        after = fsum(usd(one, usage[one.name]) for one in stated)
        if not events:
            yield (
                f"{rivals[0].name}: billed {new}, the price from {first}. Until {last} the price is by {old.unit}: say "
                f"{old.said} for it."
            )
            continue
        price = number(platform, old.price)
        text = (
            f"{old.name}: {events:,.0f} {old.unit} {old.assumed}. Until {last} they are {usd(old, events):,.2f} "
            f"USD, at {price:g} USD for each {old.per:,.0f} beyond {number(platform, old.included):,.0f}"
        )
        if stated:
            yield f"{text}; from {first} they are billed {new}, {after:,.2f} USD. This bill is for {platform.day}."
        else:
            late = " That price has ended: it stands here for want of a better." if platform.day >= first else ""
            yield f"{text}; from {first} they are billed {new}: say {rivals[0].said}.{late}"


def _replaced(platform: "Platform") -> dict[Meter, list[Meter]]:
    """Meters that others replace from a day on that the platform file holds, with those others."""
    known = {meter.name: meter for meter in meters()}
    found: dict[Meter, list[Meter]] = {}
    for meter in known.values():
        if meter.replaces and meter.since in platform.facts and known[meter.replaces].price in platform.facts:
            found.setdefault(known[meter.replaces], []).append(meter)
    return found
