"""The provider's bill for a month of a scenario's traffic, line by line.

What a request moves on each meter follows from the operations that its route uses (:mod:`sim.models.billing`): a usage
event is one Worker request, its CPU time, one object request, the rows of one ledger append, and later the rows that
the flush writes to D1. Prices are the platform file's; no price stands in this module.

Sources
-------
Prices, inclusions and rounding: the provider's pricing pages, as facts of the scenario's platform file. An object's
duration is billed while a request or an alarm is in it; idle objects are taken to hibernate unbilled.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from sim.errors import UsageError
from sim.models.billing import DAYS_PER_MONTH, SECONDS_PER_MONTH, Call, Demand, Meter, Usage
from sim.models.registry import meters
from sim.scenario.generation import key_weights, mean_rate_per_s, stored_bytes
from sim.scenario.routes import Route, expected_uses
from sim.views import Shown

if TYPE_CHECKING:
    import pandas as pd

    from sim.models.component import Instance
    from sim.scenario.platform import Platform
    from sim.scenario.scenario import Scenario

Amount = float
"""How much of something whose unit stands beside it."""


@dataclass(frozen=True)
class CostLine:
    """One line of the bill: *used* and *billed* in *unit*, *usd* a month."""

    component: str
    meter: str
    used: Amount
    included: Amount
    billed: Amount
    unit: str
    usd: float
    fact: str
    confidence: str


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
    """

    requests_per_month: Amount
    lines: tuple[CostLine, ...]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Cost of {self.requests_per_month:,.0f} requests a month: {self.month_usd:,.2f} USD>"

    @property
    def month_usd(self) -> float:
        """The sum of all lines."""
        return sum(line.usd for line in self.lines)

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
        The platform file lacks a price.
    """
    known = {meter.name for meter in meters()}
    for name, amount in usage.items():
        if name not in known:
            raise UsageError(f"usage[{name!r}] is not a meter; they are: {', '.join(sorted(known))}")
        if not amount >= 0:
            raise UsageError(f"usage[{name!r}]={amount} must be >= 0")
    return tuple(_line(meter, usage.get(meter.name, 0.0), platform) for meter in meters())


def _line(meter: Meter, used: float, platform: "Platform") -> CostLine:
    fact = platform.fact(meter.price)
    included = float(platform.fact(meter.included).value) if meter.included else 0.0
    billed = max(0.0, used - included)
    if meter.whole:
        billed = ceil(billed / meter.whole) * meter.whole
    usd = billed / meter.per * float(fact.value)
    return CostLine(
        component=meter.component,
        meter=meter.what,
        used=used,
        included=included,
        billed=billed,
        unit=meter.unit,
        usd=usd,
        fact=meter.price,
        confidence=fact.confidence,
    )


def cost(scenario: "Scenario", *, requests_per_month: float | None = None, month: int = 1) -> Cost:
    """Bill a month of *scenario*'s traffic.

    Parameters
    ----------
    scenario : Scenario
        Gives the mix of routes, sizes, CPU time and platform.
    requests_per_month : float, optional
        By default the scenario's mean arrival rate, held for 30 days.
    month : int
        1 for the first month; storage has grown for ``month - 1/2`` months on average.

    Returns
    -------
    Cost

    Raises
    ------
    UsageError
        *requests_per_month* is negative or not finite, or *month* < 1.
    """
    if requests_per_month is None:
        requests_per_month = mean_rate_per_s(scenario) * SECONDS_PER_MONTH
    if not 0 <= requests_per_month < float("inf"):
        raise UsageError(f"requests_per_month={requests_per_month} must be >= 0 and finite")
    if month < 1:
        raise UsageError(f"month={month} must be >= 1 (1 is the first)")
    usage = usage_per_month(scenario, requests_per_month, month=month)
    notes = (
        f"{requests_per_month:,.0f} requests a month: the scenario's mean rate held for {DAYS_PER_MONTH} days.",
        f"Storage as in month {month}, nothing deleted; idle objects hibernate unbilled.",
    )
    return Cost(requests_per_month, price(usage, scenario.facts), notes)


def usage_per_month(scenario: "Scenario", requests_per_month: float, *, month: int = 1) -> dict[str, float]:
    """Return what a month of the scenario's routes moves on every meter.

    Parameters
    ----------
    scenario : Scenario
    requests_per_month : float
    month : int
        See :func:`cost`.

    Returns
    -------
    dict of str to float
        Amount by ``component.meter``, in the meter's unit.
    """
    months_stored = month - 0.5
    found: dict[str, float] = {}
    fees = {meter.name for meter in meters() if meter.once}
    for usage, often in _usages(scenario, requests_per_month):
        for name, amount in usage.amounts.items():
            found[name] = amount if name in fees else found.get(name, 0.0) + often * amount
        for name, stored_gb in usage.stored_gb.items():
            found[name] = found.get(name, 0.0) + often * stored_gb * months_stored
    scales = {meter.name: meter.scale for meter in meters() if meter.scale}
    return {
        name: amount * float(scenario.facts.fact(scales[name]).value) if name in scales else amount
        for name, amount in found.items()
    }


def _usages(scenario: "Scenario", requests_per_month: float) -> Iterator[tuple[Usage, float]]:
    """What is moved on the meters, and how often in a month: by every operation, then in the background."""
    calls: dict[str, dict[str, float]] = {}
    for name, route in scenario.routes.items():
        requests, size_bytes = requests_per_month * scenario.shares[name], _size_bytes(route)
        for step, often in expected_uses(route.steps):
            assert step.use is not None
            where, _, operation = step.use.partition(".")
            instance = scenario.system.instances[where]
            wanted = instance.component.operations[operation]
            call = Call(wanted.parameters.model_validate(step.parameters), size_bytes)
            yield wanted.usage(instance, call), requests * often
            per_month = calls.setdefault(where, {})
            per_month[operation] = per_month.get(operation, 0.0) + requests * often
    for where, per_month in calls.items():
        instance = scenario.system.instances[where]
        if instance.component.background is not None:
            yield instance.component.background(instance, Demand(per_month, _popularity(scenario, instance))), 1.0


def _size_bytes(route: Route) -> float:
    """Mean bytes that a request of a route carries or asks for."""
    if route.size_bytes is None:
        return 0.0
    return route.size_bytes.expected() if route.objects is None else float(stored_bytes(route).mean())


def _popularity(scenario: "Scenario", instance: "Instance") -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Share of each key in the calls of an instance, shape (keys,)."""
    shares = np.zeros(instance.keys)
    for name, used in scenario.operations.items():
        if any(operation.partition(".")[0] == instance.name for operation in used):
            weight = key_weights(scenario, name)
            shares[: weight.size] += scenario.shares[name] * weight / weight.sum()
    return shares / shares.sum() if shares.sum() else shares
