"""The provider's bill for a month of a scenario's traffic, line by line.

Picture the invoice: each line is a *meter* (requests, CPU milliseconds, rows written, ...) with an amount used, an
amount that the plan includes, and a price for the rest. What a request moves on each meter follows from its route:
a ``log`` request is one Worker request, its CPU time, one object request, the rows of one ledger append, and later
the rows that the flush writes to D1. Prices are the platform file's; no price stands in this module.

Sources
-------
Prices, inclusions and rounding: the provider's pricing pages, as facts of the scenario's platform file. Rows of an
append and of a flush: the schema in ``deploy/migrations`` (a row, and one more for every index of its table). An
object's duration is billed while a request or an alarm is in it; idle objects are taken to hibernate unbilled.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from sim.errors import UsageError
from sim.scenario.generation import mean_rate_per_s, shares

if TYPE_CHECKING:
    import pandas as pd

    from sim.scenario.platform import Platform
    from sim.scenario.scenario import Scenario

Amount = float
"""How much of something whose unit stands beside it."""

DAYS_PER_MONTH = 30
SECONDS_PER_MONTH = DAYS_PER_MONTH * 86_400

ROWS_WRITTEN = {"append": 2, "flush": 4, "upload": 4}
"""Rows that one event writes: the event's row and the balance; its row in D1's ``usage_events`` with two indexes and
the key's own; an upload's row in ``loras`` likewise."""

ROWS_READ = {"append": 2, "balance": 1, "search": 20}
"""Rows that one request reads: an append looks for its own earlier delivery and for the balance, a search returns
20."""


@dataclass(frozen=True)
class Meter:
    """One line of the price list.

    Attributes
    ----------
    component, name : str
        What is used, and how it is counted.
    unit : str
        Unit of the amounts.
    price : str
        Key of the platform fact that holds the price.
    included : str
        Key of the fact that holds the monthly inclusion; empty when there is none.
    per : float
        Amount that the price buys.
    whole : float
        Amounts beyond the inclusion are rounded up to a multiple of this; 0 for no rounding.
    """

    component: str
    name: str
    unit: str
    price: str
    included: str = ""
    per: Amount = 1e6
    whole: Amount = 0.0


def _meter(name: str, unit: str, *, price: str, included: str = "", per: float = 1e6, whole: float = 0.0) -> Meter:
    """A meter by its dotted name; its facts are in the component's pricing group."""
    component, _, meter = name.partition(".")
    home = f"{component}.pricing"
    return Meter(component, meter, unit, f"{home}.{price}", f"{home}.{included}" if included else "", per, whole)


def _per_million(name: str, unit: str, fact: str) -> Meter:
    """The usual meter: so many a month are included, each further million costs."""
    price, included = f"{fact}_overage_per_million", f"{fact}_included_month"
    return _meter(name, unit, price=price, included=included)


METERS = (
    _meter("workers.plan", "month", price="plan_month", per=1.0),
    _per_million("workers.requests", "requests", "requests"),
    _per_million("workers.cpu", "ms", "cpu_ms"),
    _per_million("durable_objects.requests", "requests", "requests"),
    _meter(
        "durable_objects.duration", "GB-s",
        price="duration_overage_per_million_gb_s", included="duration_gb_s_included_month",
    ),
    _per_million("durable_objects.rows_read", "rows", "sqlite_rows_read"),
    _per_million("durable_objects.rows_written", "rows", "sqlite_rows_written"),
    _meter(
        "durable_objects.storage", "GB-month",
        price="sqlite_storage_overage_per_gb_month", included="sqlite_storage_gb_included", per=1.0,
    ),
    _per_million("d1.rows_read", "rows", "rows_read"),
    _per_million("d1.rows_written", "rows", "rows_written"),
    _meter("d1.storage", "GB-month", price="storage_overage_per_gb_month", included="storage_gb_included", per=1.0),
    _meter("r2.class_a", "operations", price="class_a_standard_per_million", included="free_class_a_month", whole=1e6),
    _meter("r2.class_b", "operations", price="class_b_standard_per_million", included="free_class_b_month", whole=1e6),
    _meter(
        "r2.storage", "GB-month",
        price="storage_standard_per_gb_month", included="free_storage_gb_month", per=1.0, whole=1.0,
    ),
)  # fmt: skip
"""The price list, in the order of the invoice."""


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
class Cost:
    """A month's bill.

    Attributes
    ----------
    requests_per_month : float
    lines : tuple of CostLine
        In the order of :data:`METERS`.
    notes : tuple of str
        What the bill takes for granted.
    """

    requests_per_month: Amount
    lines: tuple[CostLine, ...]
    notes: tuple[str, ...] = ()

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
        Amount a month by ``component.meter``, in the unit of :data:`METERS`; meters that are missing count as 0.
    platform : Platform
        Holds the prices.

    Raises
    ------
    UsageError
        An amount is negative, or its meter is not in :data:`METERS`.
    ScenarioError
        The platform file lacks a price.
    """
    known = {f"{meter.component}.{meter.name}" for meter in METERS}
    for name, amount in usage.items():
        if name not in known:
            raise UsageError(f"usage[{name!r}] is not a meter; they are: {', '.join(sorted(known))}")
        if not amount >= 0:
            raise UsageError(f"usage[{name!r}]={amount} must be >= 0")
    return tuple(_line(meter, usage.get(f"{meter.component}.{meter.name}", 0.0), platform) for meter in METERS)


def _line(meter: Meter, used: float, platform: "Platform") -> CostLine:
    fact = platform.fact(meter.price)
    included = float(platform.fact(meter.included).value) if meter.included else 0.0
    billed = max(0.0, used - included)
    if meter.whole:
        billed = ceil(billed / meter.whole) * meter.whole
    usd = billed / meter.per * float(fact.value)
    return CostLine(meter.component, meter.name, used, included, billed, meter.unit, usd, meter.price, fact.confidence)


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
    """What a month of the scenario's mix moves on every meter.

    Parameters
    ----------
    scenario : Scenario
    requests_per_month : float
    month : int
        See :func:`cost`.

    Returns
    -------
    dict of str to float
        Amount by ``component.meter``, in the unit of :data:`METERS`.
    """
    system = scenario.system
    n = {route: requests_per_month * share for route, share in shares(scenario).items()}
    events = n["log"] + n["device_log"]
    hardened = system.ledger.policy == "hardened"
    alarms = alarms_per_month(scenario, events) if hardened else 0.0
    flushed = events if hardened else 0.0
    held_ms = (
        events * (system.ledger.write_ms.expected() + system.durable_objects.output_gate_ms.expected())
        + n["balance"] * system.ledger.read_ms.expected()
        + alarms * (system.d1.rtt_ms.expected() + system.d1.write_ms.expected())
    )
    gb_per_object = float(scenario.facts.fact("durable_objects.pricing.duration_gb_per_object").value)
    months_stored = month - 0.5
    event_gb = events * float(system.ledger.event_bytes) / 1e9
    upload_gb = n["upload"] * scenario.workload.sizes.upload_bytes.expected() / 1e9
    return {
        "workers.plan": 1.0,
        "workers.requests": requests_per_month,
        "workers.cpu": requests_per_month * system.workers.cpu_ms.expected(),
        "durable_objects.requests": events + n["balance"] + alarms,
        "durable_objects.duration": held_ms / 1000 * gb_per_object,
        "durable_objects.rows_read": events * ROWS_READ["append"] + n["balance"] * ROWS_READ["balance"] + flushed,
        "durable_objects.rows_written": events * ROWS_WRITTEN["append"] + alarms,
        "durable_objects.storage": event_gb * months_stored,
        "d1.rows_read": n["search"] * ROWS_READ["search"],
        "d1.rows_written": flushed * ROWS_WRITTEN["flush"] + n["upload"] * ROWS_WRITTEN["upload"],
        "d1.storage": (event_gb if hardened else 0.0) * months_stored,
        "r2.class_a": n["upload"],
        "r2.class_b": n["download"],
        "r2.storage": upload_gb * months_stored,
    }


def alarms_per_month(scenario: "Scenario", events_per_month: float) -> float:
    """Flush alarms a month, over all objects.

    An object's cycle is the flush interval, then the time until its next event; with Poisson events of rate λ that is
    ``interval + 1/λ``. Objects share the events as the popularity law of the keys says.
    """
    keys = scenario.workload.keys
    weight = np.arange(1, keys.count + 1, dtype=float) ** -float(keys.zipf)
    rate_per_s = events_per_month / SECONDS_PER_MONTH * weight / weight.sum()
    shards = scenario.system.durable_objects.shards
    if shards != "per_org":
        rate_per_s = np.bincount(np.arange(keys.count) % int(shards), weights=rate_per_s)
    interval_s = float(scenario.system.ledger.flush_interval_s)
    return float((rate_per_s / (1 + rate_per_s * interval_s)).sum() * SECONDS_PER_MONTH)
