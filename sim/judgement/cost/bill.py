"""Amounts on meters, turned into the lines of the provider's bill.

Sources
-------
Prices, inclusions and rounding: the provider's pricing pages, as facts of a platform file; no price stands here.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil, fsum
from typing import TYPE_CHECKING

from sim.foundation.errors import UsageError
from sim.judgement.cost.dated import in_force
from sim.judgement.cost.usage import number
from sim.models.billing import DAYS_PER_MONTH, Meter
from sim.models.registry import meters

if TYPE_CHECKING:
    from sim.scenario.platform import Platform

ROUNDING = 1e-12
"""An amount that a sum of floats left so little above a whole unit is that unit."""

CENT = 0.01
"""USD."""

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
        Where that number stands in the scenario; of several, the one that moves most of the amount.
    rounded_to : float
        *billed* is a multiple of it; 0 where the amount is billed pro rata.
    rounding_confidence : str
        In that: a letter too, A where the platform file has no fact of it; empty for a fee.
    if_rounded_usd : float
        What the line would be if the provider rounded it up to the amount that its price buys.
    volume_shares : tuple of tuples
        The numbers that move the amount: path, letter, and the share of it that moves with each, the largest first.
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
    rounded_to: Amount = 0.0
    rounding_confidence: str = ""
    if_rounded_usd: float = 0.0
    volume_shares: tuple[tuple[str, str, float], ...] = ()


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
    """Return *usage* with what counts on another meter's line counted there, by the prices that are in force."""
    amounts = in_force(usage, platform)
    for meter in meters():
        if meter.counts_as and meter.name in amounts:
            divisor = number(platform, meter.divisor) if meter.divisor else 1.0
            amounts[meter.counts_as] = amounts.get(meter.counts_as, 0.0) + amounts.pop(meter.name) / divisor
    return amounts


def line_of(meter: Meter, used: float, *, platform: "Platform") -> CostLine:
    """Price what was *used* on one meter."""
    included = number(platform, meter.included) if meter.included in platform.facts else 0.0
    included *= DAYS_PER_MONTH if meter.included_period == "day" else 1
    over = max(0.0, used - included)
    rounding = platform.facts.get(meter.rounding)
    rounded_to = number(platform, meter.rounding) if rounding is not None else 0.0
    billed = rounded_up(over, rounded_to)
    priced = meter.price in platform.facts
    usd_per_unit = number(platform, meter.price) / meter.per if priced else 0.0
    return CostLine(
        component=meter.component,
        meter=meter.what,
        used=used,
        included=included,
        billed=billed,
        unit=meter.unit,
        usd=billed * usd_per_unit,
        fact=meter.price,
        confidence=platform.fact(meter.price).confidence if priced else "",
        priced=priced,
        rounded_to=rounded_to,
        rounding_confidence="" if meter.once else rounding.confidence if rounding is not None else "A",
        if_rounded_usd=rounded_up(over, meter.per) * usd_per_unit,
    )


def rounded_up(amount: float, unit: float) -> float:
    """Return *amount* rounded up to a multiple of *unit*, or as it is if that is 0.

    >>> rounded_up(6_695_226, 1e6), rounded_up(6_695_226, 0)
    (7000000.0, 6695226)
    """
    return ceil(amount / unit * (1 - ROUNDING)) * unit if unit else amount


def rounding_notes(lines: Iterable[CostLine]) -> Iterator[str]:
    """Say which lines the provider rounds up, and what those of which it says nothing would cost if it did."""
    lines = [line for line in lines if line.priced and line.usd]
    up = [line for line in lines if line.billed > line.used - line.included + ROUNDING * line.used]
    if up:
        named = "; ".join(
            f"{line.component}.{line.meter} {line.used - line.included:,.{0 if line.rounded_to > 1 else 1}f} to "
            f"{line.billed:,.0f} {line.unit}"
            for line in up
        )
        yield f"The provider rounds up what is beyond the inclusion: {named}."
    silent = [line for line in lines if line.rounding_confidence == "A" and line.if_rounded_usd > line.usd + CENT / 2]
    if silent:
        named = ", ".join(f"{line.component}.{line.meter}" for line in silent)
        more = fsum(line.if_rounded_usd - line.usd for line in silent)
        yield (
            f"Of {named} the provider does not say whether it rounds up: billed pro rata [A]; if it does, the bill "
            f"is {more:,.2f} USD higher."
        )
