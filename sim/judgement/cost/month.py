"""The bill of a month, and what goes with it: the days on which limits are reached, and what running away costs.

What a request moves on each meter follows from the operations that its route uses (:mod:`sim.judgement.cost.usage`): a
usage event is one Worker request, its CPU time, one object request, the rows of one ledger append, and later the rows
that the flush writes to D1. An object's duration is billed while a request or an alarm is in it; idle objects are taken
to hibernate unbilled.
"""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import fsum, isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sim.foundation.errors import UsageError
from sim.foundation.figures import figure
from sim.foundation.schema import PAGE
from sim.foundation.views import Shown
from sim.judgement.cost.bill import Amount, CostLine, line_of, price, rounding_notes
from sim.judgement.cost.confidence import Owed, volume_confidence
from sim.judgement.cost.dated import dated_notes
from sim.judgement.cost.limits import Bound, Reached, reached_limits
from sim.judgement.cost.runaway import SPENDING_LIMIT_USD, RunawayCost, runaways
from sim.judgement.cost.usage import Traffic, number
from sim.judgement.cost.volume import HORIZON_DAYS, MonthVolume, course_of, volume_of
from sim.models.billing import DAYS_PER_MONTH
from sim.scenario.notes import without_bytes
from sim.screening import screen

if TYPE_CHECKING:
    import pandas as pd

    from sim.scenario.scenario import Scenario


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
    limits : tuple of Reached
        What is reached on which day, the earliest first.
    runaways : tuple of RunawayCost
        What an hour costs when the deployment runs away, the dearest first.
    spending_limit_usd : float
        That the runaways are held against.
    counted : mapping of str to float
        What the requests are, the most first: ``{"HTTP requests": ..., "socket messages": ...}``.
    """

    requests_per_month: Amount
    lines: tuple[CostLine, ...]
    notes: tuple[str, ...] = ()
    volume: MonthVolume | None = None
    limits: tuple[Reached, ...] = ()
    runaways: tuple[RunawayCost, ...] = ()
    spending_limit_usd: float = SPENDING_LIMIT_USD
    counted: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        least = "at least " if self.unpriced else ""
        return f"<Cost of {self.requests_per_month:,.0f} requests a month: {least}{self.month_usd:,.2f} USD>"

    @property
    def month_usd(self) -> float:
        """The sum of all lines that have a price: a lower bound where :attr:`unpriced` is not empty."""
        return fsum(line.usd for line in self.lines)

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Lines that are used and have no price in the platform file: ``component.meter``."""
        return tuple(f"{line.component}.{line.meter}" for line in self.lines if not line.priced and line.used > 0)

    @property
    def usd_per_1000_requests(self) -> float:
        """What a thousand requests of all kinds in :attr:`counted` cost, the plan's fee included."""
        requests = fsum(self.counted.values()) or self.requests_per_month
        return self.month_usd / requests * 1000 if requests else 0.0

    @property
    def first_of_free_plan(self) -> Reached | None:
        """The bound of the provider's Free plan that is reached first; None if none is within the days looked at."""
        found = [one for one in self.limits if one.plan == "free" and isfinite(one.day_number)]
        return found[0] if found else None

    @property
    def frame(self) -> "pd.DataFrame":
        """The lines as a table."""
        import pandas as pd

        return pd.DataFrame([vars(line) for line in self.lines])


def cost(
    scenario: "Scenario",
    *,
    requests_per_month: float | None = None,
    month: int = 1,
    history: str | Path | None = None,
    capacity_per_s: float | None = None,
    spending_limit_usd: float = SPENDING_LIMIT_USD,
    first_day: str | dt.date | None = None,
) -> Cost:
    """Bill a month of *scenario*'s traffic, and say what it grows into.

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
    capacity_per_s : float, optional
        Highest rate that keeps the targets, if it is known; else a bound by arithmetic takes its place.
    spending_limit_usd : float
        Of the account, above its usual month; what runs away is held against it.
    first_day : str or date, optional
        First day of the first month, ``YYYY-MM-DD``, by default the day of the platform file: some prices end on a
        day. A month is billed at the prices of its first day.

    Returns
    -------
    Cost

    Raises
    ------
    UsageError
        *requests_per_month* is negative or not finite, *month* < 1, *first_day* is no date, or nothing gives a rate.
    """
    _check_month(month)
    scenario = scenario.priced_on(_first_day(scenario, first_day) + dt.timedelta(days=DAYS_PER_MONTH * (month - 1)))
    course, first = course_of(scenario, requests_per_month=requests_per_month, history=history)
    volume = volume_of(course, first, month=month)
    traffic = Traffic(scenario, volume.requests)
    usage = _usage(traffic, volume.requests, before=volume.before)
    lines = price(usage, scenario.facts)
    letters = volume_confidence(traffic, volume)
    bill = Cost(
        volume.requests,
        tuple(_with_confidence(line, letters) for line in lines),
        volume=volume,
        limits=reached_limits(traffic, course, first=first, bound=_bound(scenario, first, capacity_per_s)),
        runaways=runaways(traffic, volume, spending_limit_usd=spending_limit_usd),
        spending_limit_usd=spending_limit_usd,
        counted=traffic.counted(volume.requests),
    )
    dated = dated_notes(
        usage, scenario.facts, usd=lambda meter, used: line_of(meter, used, platform=scenario.facts).usd
    )
    more = (
        *course.notes,
        *_absent(traffic),
        *_kept(traffic),
        *_replaced(traffic, volume),
        *_unstated(traffic),
        *_of_components(traffic, volume),
        *dated,
        *rounding_notes(bill.lines),
    )
    return replace(bill, notes=tuple(_notes(bill, volume, month=month, more=more)))


def _with_confidence(line: CostLine, letters: Mapping[str, tuple[str, Owed]]) -> CostLine:
    letter, owed = letters.get(f"{line.component}.{line.meter}", ("", ()))
    path = next((path for path, one, _ in owed if one == letter), "")
    return replace(line, volume_confidence=letter, volume_path=path, volume_shares=owed) if line.used else line


def _bound(scenario: "Scenario", first: MonthVolume, capacity_per_s: float | None) -> Bound | None:
    """The highest rate: the capacity, or what arithmetic says; None where the days bring no other rate than today's."""
    if first.is_peak:
        return None
    events_per_request = 1 + scenario.messages_per_request
    apart = ", messages apart," if scenario.messages_per_request else ""
    if capacity_per_s is not None:
        return Bound(capacity_per_s / events_per_request, f"the capacity{apart}")
    found = screen(scenario)
    if not isfinite(found.rate_per_s_max):
        return None
    return Bound(found.rate_per_s_max / events_per_request, f"the bound by arithmetic of {found.bottleneck}{apart}")


def _first_day(scenario: "Scenario", asked: str | dt.date | None) -> dt.date:
    if asked is None:
        return scenario.facts.day
    try:
        return asked if isinstance(asked, dt.date) else dt.date.fromisoformat(asked)
    except (TypeError, ValueError):
        raise UsageError(f"first_day={asked!r} must be a date, such as {scenario.facts.day}") from None


def _check_month(month: int) -> None:
    last = HORIZON_DAYS // DAYS_PER_MONTH
    if not 1 <= month <= last:
        raise UsageError(f"month={month} must be >= 1 (1 is the first) and <= {last}")


def _notes(bill: Cost, volume: MonthVolume, *, month: int, more: tuple[str, ...]) -> list[str]:
    notes = [volume.sentence, *more, *_unit(bill)]
    notes.append(f"Storage as in month {month}, nothing deleted; idle objects hibernate unbilled.")
    if bill.unpriced:
        named = ", ".join(bill.unpriced)
        notes.append(f"No price is known of {named}: the total is a lower bound.")
    return notes


def _unit(bill: Cost) -> Iterator[str]:
    """Say what a thousand requests are, where they are of several kinds."""
    if len(bill.counted) < 2:
        return
    kinds = ", ".join(f"{amount:,.0f} {kind}" for kind, amount in bill.counted.items())
    http = bill.counted.get("HTTP requests", 0.0)
    apart = http and "socket messages" in bill.counted
    each = f"; the whole bill is {figure(bill.month_usd / http * 1000)} USD per 1,000 HTTP requests" if apart else ""
    yield f"The unit cost counts all of them: {kinds}{each}."


def _absent(traffic: Traffic) -> Iterator[str]:
    if names := traffic.absent():
        routes = ", ".join(f"routes.{name}" for name in names)
        yield f"The trace has no row of {routes}: their requests are not on this bill."


def _kept(traffic: Traffic) -> Iterator[str]:
    """Say which objects are stored because the scenario says so, and not because they were uploaded."""
    for (name, meter), kept in traffic.kept_gb().items():
        objects = traffic.scenario.routes[name].objects
        yield (
            f"{meter}: {figure(kept)} GB are the {objects:,} objects of routes.{name} (its objects and size_bytes), "
            "there from the first day."
        )


def _replaced(traffic: Traffic, volume: MonthVolume) -> Iterator[str]:
    """Say what is billed of objects that are no more."""
    for name, amount in traffic.replaced_gb_month(volume.requests).items():
        days = number(traffic.scenario.facts, traffic.meters[name].minimum)
        yield (
            f"{name}: {figure(amount)} GB-month are objects that uploads replace, each billed for {days:g} days "
            "whenever it goes: a ceiling, by at most what is stored."
        )


def _unstated(traffic: Traffic) -> Iterator[str]:
    """Say whose storage grows by nobody knows how much."""
    if found := without_bytes(traffic.scenario, traffic.mix.share):
        unknown = "of which no bytes are stated"
        yield f"Not on this bill: storage of {', '.join(found)}, {unknown} (stored_bytes or size_bytes; {PAGE})."


def _of_components(traffic: Traffic, volume: MonthVolume) -> Iterator[str]:
    """Say what components have to say of what happens in their background."""
    for movement in traffic.movements(volume.requests):
        note = movement.instance.component.bill_note
        if not movement.route and note is not None and (text := note(movement.instance, movement.usage)):
            yield text


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
    return _usage(Traffic(scenario, requests_per_month), requests_per_month, before=requests_per_month * (month - 1))


def _usage(traffic: Traffic, requests: float, *, before: float) -> dict[str, float]:
    """Return the usage of a month of *requests* requests, after *before* earlier ones."""
    middles = before + requests * (np.arange(DAYS_PER_MONTH) + 0.5) / DAYS_PER_MONTH
    usage = traffic.usage(requests)
    for name, stored in traffic.stored_mean_gb(middles).items():
        usage[name] = usage.get(name, 0.0) + stored
        read_as = traffic.meters[name].read_as
        if usage.get(read_as):
            usage[read_as] += stored
    return usage
