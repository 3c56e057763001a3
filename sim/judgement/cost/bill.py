"""Amounts on meters, turned into the lines of the provider's bill.

Sources
-------
Prices, inclusions and rounding: the provider's pricing pages, as facts of a platform file; no price stands here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from sim.foundation.errors import UsageError
from sim.judgement.cost.usage import number
from sim.models.billing import DAYS_PER_MONTH, Meter
from sim.models.registry import meters

if TYPE_CHECKING:
    from sim.scenario.platform import Platform

ROUNDING = 1e-12
"""An amount that a sum of floats left so little above a whole unit is that unit."""

Amount = float
"""How much of something whose unit stands beside it."""


@dataclass(frozen=True)
class CostLine:
    """One line of the bill: *used* and *billed* in *unit*, *usd* a month.

    Attributes
    ----------
    component, meter : str
    used, included, billed : float
    unit : str
    usd : float
        0 where the price is not known.
    fact : str
        Of the platform file, that holds the price.
    confidence : str
        In the price: a letter of :data:`sim.scenario.platform.CONFIDENCE`, empty where there is none.
    priced : bool
        Whether the platform file knows the price.
    volume_confidence : str
        In the amount used, a letter too: that of the least certain number that moves it.
    volume_path : str
        Where that number stands in the scenario.
    """

    component: str
    meter: str
    used: Amount
    included: Amount
    billed: Amount
    unit: str
    usd: float
    fact: str
    confidence: str
    priced: bool = True
    volume_confidence: str = ""
    volume_path: str = ""


def price(usage: Mapping[str, float], platform: "Platform") -> tuple[CostLine, ...]:
    """Turn amounts into lines of a bill.

    Parameters
    ----------
    usage : mapping of str to float
        Amount a month by ``component.meter``, in the unit of its meter; meters that are missing count as 0.
    platform : Platform
        Holds the prices.

    Raises
    ------
    UsageError
        An amount is negative, or there is no such meter.
    ScenarioError
        A price or an inclusion is no number, or negative.
    """
    known = {meter.name for meter in meters()}
    for name, amount in usage.items():
        if name not in known:
            raise UsageError(f"usage[{name!r}] is not a meter; they are: {', '.join(sorted(known))}")
        if not amount >= 0:
            raise UsageError(f"usage[{name!r}]={amount} must be >= 0")
    amounts = merged(usage, platform)
    return tuple(
        line_of(meter, amounts.get(meter.name, 0.0), platform=platform) for meter in meters() if not meter.counts_as
    )


def merged(usage: Mapping[str, float], platform: "Platform") -> dict[str, float]:
    """Return *usage* with what counts on another meter's line counted there."""
    amounts = dict(usage)
    for meter in meters():
        if meter.counts_as and meter.name in amounts:
            divisor = number(platform, meter.divisor) if meter.divisor else 1.0
            amounts[meter.counts_as] = amounts.get(meter.counts_as, 0.0) + amounts.pop(meter.name) / divisor
    return amounts


def line_of(meter: Meter, used: float, *, platform: "Platform") -> CostLine:
    """Price what was *used* on one meter."""
    included = number(platform, meter.included) if meter.included in platform.facts else 0.0
    included *= DAYS_PER_MONTH if meter.included_period == "day" else 1
    billed = max(0.0, used - included)
    if meter.whole:
        billed = ceil(billed / meter.whole * (1 - ROUNDING)) * meter.whole
    priced = meter.price in platform.facts
    return CostLine(
        component=meter.component,
        meter=meter.what,
        used=used,
        included=included,
        billed=billed,
        unit=meter.unit,
        usd=billed / meter.per * number(platform, meter.price) if priced else 0.0,
        fact=meter.price,
        confidence=platform.fact(meter.price).confidence if priced else "",
        priced=priced,
    )
