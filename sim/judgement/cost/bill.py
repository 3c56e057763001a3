"""The provider's bill for a month of a scenario's traffic, line by line.

What a request moves on each meter follows from the operations that its route uses (:mod:`sim.judgement.cost.usage`): a
usage event is one Worker request, its CPU time, one object request, the rows of one ledger append, and later the rows
that the flush writes to D1. Prices are the platform file's; no price stands in this module.

Sources
-------
Prices, inclusions and rounding: the provider's pricing pages, as facts of the scenario's platform file. An object's
duration is billed while a request or an alarm is in it; idle objects are taken to hibernate unbilled.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sim.errors import UsageError
from sim.judgement.cost.confidence import volume_confidence
from sim.judgement.cost.usage import Traffic, number
from sim.judgement.cost.volume import HORIZON_DAYS, MonthVolume, course_of, volume_of
from sim.models.billing import DAYS_PER_MONTH, Meter
from sim.models.registry import meters
from sim.views import Shown

if TYPE_CHECKING:
    import pandas as pd

    from sim.scenario.platform import Platform
    from sim.scenario.scenario import Scenario

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


@dataclass(frozen=True)
class Cost(Shown):
    """A month's bill.

    Attributes
    ----------
    requests_per_month : float
    lines : tuple of CostLine
        In the order of the invoice.
    notes : tuple of str
        What the bill takes for granted.
    volume : MonthVolume or None
        What says how many requests the month has.
    """

    requests_per_month: Amount
    lines: tuple[CostLine, ...]
    notes: tuple[str, ...] = ()
    volume: MonthVolume | None = None

    def __repr__(self) -> str:
        least = "at least " if self.unpriced else ""
        return f"<Cost of {self.requests_per_month:,.0f} requests a month: {least}{self.month_usd:,.2f} USD>"

    @property
    def month_usd(self) -> float:
        """The sum of all lines that have a price: a lower bound where :attr:`unpriced` is not empty."""
        return sum(line.usd for line in self.lines)

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Lines that are used and have no price in the platform file: ``component.meter``."""
        return tuple(f"{line.component}.{line.meter}" for line in self.lines if not line.priced and line.used > 0)

    @property
    def usd_per_1000_requests(self) -> float:
        """What a thousand requests cost, the plan's fee included."""
        return self.month_usd / self.requests_per_month * 1000 if self.requests_per_month else 0.0

    @property
    def frame(self) -> "pd.DataFrame":
        """The lines as a table."""
        import pandas as pd

        return pd.DataFrame([vars(line) for line in self.lines])


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
    return tuple(_line(meter, amounts.get(meter.name, 0.0), platform) for meter in meters() if not meter.counts_as)


def merged(usage: Mapping[str, float], platform: "Platform") -> dict[str, float]:
    """Return *usage* with what counts on another meter's line counted there."""
    amounts = dict(usage)
    for meter in meters():
        if meter.counts_as and meter.name in amounts:
            divisor = number(platform, meter.divisor) if meter.divisor else 1.0
            amounts[meter.counts_as] = amounts.get(meter.counts_as, 0.0) + amounts.pop(meter.name) / divisor
    return amounts


def _line(meter: Meter, used: float, platform: "Platform") -> CostLine:
    included = number(platform, meter.included) if meter.included in platform.facts else 0.0
    billed = max(0.0, used - included)
    if meter.whole:
        billed = ceil(billed / meter.whole) * meter.whole
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


def cost(
    scenario: "Scenario",
    *,
    requests_per_month: float | None = None,
    month: int = 1,
    history: str | Path | None = None,
) -> Cost:
    """Bill a month of *scenario*'s traffic.

    Parameters
    ----------
    scenario : Scenario
        Gives the mix of routes, sizes, CPU time and platform.
    requests_per_month : float, optional
        By default the volume of the scenario's ``[demand]``; without one, the rate that it plays, held for 30 days.
    month : int
        1 for the first month; storage has grown for ``month - 1/2`` months on average, traffic as ``[demand]`` says.
    history : path, optional
        CSV of daily counts that the month is forecast from.

    Returns
    -------
    Cost

    Raises
    ------
    UsageError
        *requests_per_month* is negative or not finite, *month* < 1, or nothing tells a rate.
    """
    course, first = course_of(scenario, requests_per_month=requests_per_month, history=history)
    _check_month(month)
    volume = volume_of(course, first, month=month)
    traffic = Traffic(scenario)
    lines = price(_usage(traffic, volume.requests, before=volume.before), scenario.facts)
    letters = volume_confidence(scenario, volume)
    lines = tuple(
        replace(line, volume_confidence=letters[name][0], volume_path=letters[name][1])
        if (name := f"{line.component}.{line.meter}") in letters and line.used
        else line
        for line in lines
    )
    bill = Cost(volume.requests, lines, volume=volume)
    return replace(bill, notes=tuple(_notes(bill, volume, month=month, more=course.notes)))


def _check_month(month: int) -> None:
    last = HORIZON_DAYS // DAYS_PER_MONTH
    if not 1 <= month <= last:
        raise UsageError(f"month={month} must be >= 1 (1 is the first) and <= {last}")


def _notes(bill: Cost, volume: MonthVolume, *, month: int, more: tuple[str, ...]) -> list[str]:
    notes = [volume.sentence, *more]
    notes.append(f"Storage as in month {month}, nothing deleted; idle objects hibernate unbilled.")
    if bill.unpriced:
        named = ", ".join(bill.unpriced)
        notes.append(f"No price is known of {named}: the total is a lower bound.")
    return notes


def usage_per_month(scenario: "Scenario", requests_per_month: float, *, month: int = 1) -> dict[str, float]:
    """Return what a month of the scenario's routes moves on every meter.

    Parameters
    ----------
    scenario : Scenario
    requests_per_month : float
        The same in every month.
    month : int
        See :func:`cost`.

    Returns
    -------
    dict of str to float
        Amount by ``component.meter``, in the meter's unit.
    """
    return _usage(Traffic(scenario), requests_per_month, before=requests_per_month * (month - 1))


def _usage(traffic: Traffic, requests: float, *, before: float) -> dict[str, float]:
    """Amounts of a month of so many requests, *before* which others had come."""
    middles = before + requests * (np.arange(DAYS_PER_MONTH) + 0.5) / DAYS_PER_MONTH
    usage = traffic.usage(requests)
    for name, stored in traffic.stored_mean_gb(middles).items():
        usage[name] = usage.get(name, 0.0) + stored
    return usage
