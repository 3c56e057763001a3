"""What breaks first as days go by: databases that fill, quotas of the Free plan, a peak beyond the capacity.

Each bound is turned into a number of requests, and the course of days (:mod:`sim.judgement.cost.volume`) says on which
day it is reached: a day's requests for a daily quota, a month's for a monthly one, all requests so far for what is
stored and never deleted, the day's peak for a rate.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import ceil, fsum
from typing import TYPE_CHECKING, Literal

import numpy as np

from sim.foundation.figures import figure
from sim.judgement.cost.bill import merged
from sim.judgement.cost.usage import Traffic, number
from sim.judgement.cost.volume import Course, MonthVolume
from sim.models.billing import DAYS_PER_MONTH, GB

if TYPE_CHECKING:
    from numpy.typing import NDArray

SECONDS_PER_DAY = 86_400

SETTLED = 1e-6
STEPS_MAX = 200
"""The search for a quota's volume ends when a step changes it by less than SETTLED, or after STEPS_MAX steps."""

SEARCH_MAX = 1e15
"""Requests a month; a quota that even these do not reach is never reached."""


@dataclass(frozen=True)
class Reached:
    """One bound, and the day on which it is reached.

    Attributes
    ----------
    what : str
        ``"d1: a database of 10 GB is full"``.
    kind : {"storage", "quota", "rate"}
    plan : {"paid", "free", "any"}
        The provider's plan that has the bound; ``any`` for the deployment's own.
    day_number : float
        1 for the first day; infinite if it is not reached within the course's days.
    low, high : float
        The 95 % interval of the day, where the course has chance in it.
    after_s : float
        Into the day, at its mean rate; 0 for a quota of a month, and for a peak.
    fact : str
        Of the platform file, or what else the bound was taken from.
    """

    what: str
    kind: Literal["storage", "quota", "rate"]
    plan: Literal["paid", "free", "any"]
    day_number: float
    low: float
    high: float
    after_s: float = 0.0
    fact: str = ""

    @property
    def month_number(self) -> float:
        """The month that the day falls in, from 1."""
        return float(ceil(self.day_number / DAYS_PER_MONTH)) if np.isfinite(self.day_number) else np.inf


@dataclass(frozen=True)
class Bound:
    """The highest rate that the deployment sustains, and the source of that number."""

    rate_per_s: float
    source: str


def reached_limits(traffic: Traffic, course: Course, *, first: MonthVolume, bound: Bound | None) -> tuple[Reached, ...]:
    """Return every bound with its day, the earliest first.

    Parameters
    ----------
    traffic : Traffic
    course : Course
    first : MonthVolume
        The first month's.
    bound : Bound or None
        Without one no rate is looked at.
    """
    found = [*_storage(traffic, course), *_quotas(traffic, course, first=first), *_calls(traffic, first)]
    if bound is not None:
        found.append(_rate(course, first, bound=bound))
    return tuple(sorted(found, key=lambda one: (one.day_number, one.after_s)))


def _storage(traffic: Traffic, course: Course) -> Iterator[Reached]:
    plans: tuple[Literal["paid", "free"], ...] = ("paid", "free")
    for plan in plans:
        for limit, instance, requests in traffic.storage_limits(plan):
            bound = number(traffic.scenario.facts, limit.fact)
            size = f"{bound:,.0f} {limit.unit}" if limit.unit else _size(bound)
            what = f"{instance.name}: {limit.what} of {size} is full"
            yield _filled(course, requests, plan=plan, what=what, fact=limit.fact)


def _filled(course: Course, requests: float, *, plan: Literal["paid", "free"], what: str, fact: str) -> Reached:
    """Return the day by which *requests* requests have arrived in total."""
    day_number, low, high = _interval(
        _first_day(course.stored + np.cumsum(course.requests_per_day, axis=1) >= requests)
    )
    after_s = 0.0
    if np.isfinite(day_number):
        middle = np.median(course.requests_per_day, axis=0)
        before = course.stored + float(middle[: int(day_number) - 1].sum())
        after_s = SECONDS_PER_DAY * float(np.clip((requests - before) / middle[int(day_number) - 1], 0.0, 1.0))
    return Reached(what, "storage", plan, day_number, low, high, after_s, fact)


def _quotas(traffic: Traffic, course: Course, *, first: MonthVolume) -> Iterator[Reached]:
    """Quotas of the Free plan."""
    facts = traffic.scenario.facts
    start = max(first.requests, 1.0)
    for meter in traffic.meters.values():
        if meter.free not in facts.facts or meter.counts_as:
            continue
        quota = number(facts, meter.free)
        if meter.free_period == "total":
            each, kept = _stored(traffic, meter.name, start)
            if each > 0 or kept > quota:
                unit = meter.unit.removesuffix("-month")
                what = f"{meter.name}: the Free plan's {figure(quota)} {unit} are full"
                yield _filled(
                    course, max(quota - kept, 0.0) / max(each, 1e-300), plan="free", what=what, fact=meter.free
                )
            continue
        days = 1 if meter.free_period == "day" else DAYS_PER_MONTH
        asked = quota * DAYS_PER_MONTH / days
        used = partial(_used, traffic, name=meter.name)
        requests = _volume_at(asked, start, used=used)
        if requests is None:
            continue
        what = f"{meter.name}: the Free plan's {_whole(quota)} {meter.unit} a {meter.free_period} are used up"
        if days == 1:
            yield _daily(course, requests, asked=asked, used=used, what=what, fact=meter.free)
        else:
            yield _monthly(course, requests, what=what, fact=meter.free)


def _calls(traffic: Traffic, first: MonthVolume) -> Iterator[Reached]:
    """Calls whose mean is beyond what the Free plan lets one use: each is ended, from the first day on."""
    facts = traffic.scenario.facts
    called = {one.instance.name: one for one in traffic.movements(first.requests) if one.route and one.per_month}
    for name, movement in called.items():
        for meter_name, amount in movement.usage.amounts.items():
            meter = traffic.meters.get(meter_name)
            if meter is None or meter.free_call_limit not in facts.facts:
                continue
            most = number(facts, meter.free_call_limit)
            if amount > most:
                what = f"{name}: a mean call of {figure(amount)} {meter.unit} is over the Free plan's {most:g}"
                yield Reached(what, "quota", "free", 1.0, 1.0, 1.0, 0.0, meter.free_call_limit)


def _stored(traffic: Traffic, name: str, requests: float) -> tuple[float, float]:
    """What each request leaves on a meter of storage, and what is there from the first day."""
    scale = traffic.stored_scale(name)
    each = scale * fsum(stored for (meter, _, _), stored in traffic.stored_gb().items() if meter == name)
    kept = scale * fsum(kept for (_, meter), kept in traffic.kept_gb().items() if meter == name)
    return each, kept + traffic.usage(requests).get(name, 0.0)


def _daily(
    course: Course, requests: float, *, asked: float, used: Callable[[float], float], what: str, fact: str
) -> Reached:
    """Return the first day whose requests exceed a day's share of *requests* a month, which use *asked* units."""
    day_number, low, high = _interval(_first_day(course.requests_per_day > requests / DAYS_PER_MONTH))
    after_s = 0.0
    if np.isfinite(day_number):
        on_it = float(np.median(course.requests_per_day[:, int(day_number) - 1]))
        after_s = SECONDS_PER_DAY * min(1.0, asked / used(on_it * DAYS_PER_MONTH))
    return Reached(what, "quota", "free", day_number, low, high, after_s, fact)


def _monthly(course: Course, requests: float, *, what: str, fact: str) -> Reached:
    """Return the first day by which more than *requests* requests have arrived within its month."""
    days = course.requests_per_day
    months = days[:, : days.shape[1] // DAYS_PER_MONTH * DAYS_PER_MONTH].reshape(len(days), -1, DAYS_PER_MONTH)
    within = np.cumsum(months, axis=2).reshape(len(days), -1)
    return Reached(what, "quota", "free", *_interval(_first_day(within > requests)), fact=fact)


def _used(traffic: Traffic, volume: float, *, name: str) -> float:
    return merged(traffic.usage(volume), traffic.scenario.facts).get(name, 0.0)


def _volume_at(asked: float, start: float, *, used: Callable[[float], float]) -> float | None:
    """The volume that uses *asked* of a meter: use grows with volume, and nearly in proportion."""
    volume = start
    for _ in range(STEPS_MAX):
        amount = used(volume)
        if amount <= 0 and volume < start:
            return volume  # Whatever comes beyond it uses the whole quota at once: a corpus that is searched.
        if amount <= 0 or volume > SEARCH_MAX:
            return None
        better = volume * asked / amount
        if better < 1:
            return 1.0  # A schedule uses it up, whatever the volume.
        if abs(better / volume - 1) < SETTLED:
            return better
        volume = better
    return volume


def _rate(course: Course, first: MonthVolume, *, bound: Bound) -> Reached:
    factor = course.peak_factor
    if factor is None:
        factor = max(1.0, first.played_per_s / first.mean_per_s) if first.mean_per_s else 1.0
    peak_per_s = course.requests_per_day / SECONDS_PER_DAY * factor
    what = f"the peak is beyond {bound.source} of {figure(bound.rate_per_s, 4)} requests/s"
    return Reached(what, "rate", "any", *_interval(_first_day(peak_per_s > bound.rate_per_s)), fact=bound.source)


def _first_day(reached: "NDArray[np.bool_]") -> "NDArray[np.float64]":
    """The first day of each draw on which something holds, shape (draws,); infinite where it never does."""
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1.0, np.inf)


def _interval(days: "NDArray[np.float64]") -> tuple[float, float, float]:
    """Median, and the 95 % interval, of days of which some may never come."""
    ordered = np.sort(days)

    def at(level: float) -> float:
        return float(ordered[min(len(ordered) - 1, int(level * len(ordered)))])

    return at(0.5), at(0.025), at(0.975)


def _size(size_bytes: float) -> str:
    return f"{figure(size_bytes / GB)} GB" if size_bytes >= GB / 2 else f"{figure(size_bytes / GB * 1000)} MB"


def _whole(quota: float) -> str:
    return f"{quota:,.0f}" if quota >= 1 else f"{quota:g}"
