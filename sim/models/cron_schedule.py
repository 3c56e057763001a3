"""Schedules in cron's syntax, as the provider reads them: parse one, and compute its mean rate of runs.

Five fields: minute, hour, day of the month, month, day of the week; times are UTC. A field is a list of numbers, ranges
and steps; months and weekdays have names. Weekdays count from 1, which is Sunday. ``L`` is the last day of the month,
or after a weekday the month's last such day; ``5#2`` is the second Thursday; ``15W`` the working day nearest to the
15th. Where day and weekday are both restricted, a date that matches either is due.

Sources
-------
Cloudflare Cron Triggers page (fields, names, ``L``, ``W``, ``#``; UTC); POSIX crontab (a match of day or weekday is
enough).
"""

import datetime as dt
import re
from calendar import monthrange
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

DAYS = tuple(dt.date(2001, 1, 1) + dt.timedelta(days=n) for n in range(10_227))
"""28 years, in which each date falls on each weekday equally often, 29 February included."""
MONTHS = {name: n for n, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), start=1)}
WEEKDAYS = {name: n for n, name in enumerate("sun mon tue wed thu fri sat".split(), start=1)}
BOUNDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 1, 7))
RULE = 'must be five fields as in "*/5 * * * *": minute, hour, day, month, weekday (1 is Sunday)'

OnDay = Callable[[dt.date], bool]


@dataclass(frozen=True)
class Schedule:
    """A parsed schedule.

    Attributes
    ----------
    text : str
        As it was written.
    minutes, hours, months : frozenset of int
    is_on : callable
        ``(date) -> bool``: whether day and weekday match a date; its month is tested separately.
    """

    text: str
    minutes: frozenset[int]
    hours: frozenset[int]
    months: frozenset[int]
    is_on: OnDay

    @property
    def runs_per_s(self) -> float:
        """Mean number of runs per second, over 28 years."""
        days = sum(day.month in self.months and self.is_on(day) for day in DAYS)
        return days * len(self.hours) * len(self.minutes) / (len(DAYS) * 86_400)


@lru_cache(maxsize=64)
def read_schedule(text: str) -> Schedule:
    """Parse a schedule.

    Raises
    ------
    ValueError
        *text* is not a valid schedule; the message states the rule.
    """
    fields = text.lower().split()
    if len(fields) != len(BOUNDS):
        raise ValueError(RULE)
    minute, hour, day, month, weekday = fields
    for name, field in (("day", day), ("weekday", weekday)):
        if field != "*" and "*" in field.split(","):
            raise ValueError(f'{RULE}; {name}={field!r} must not have "*" in a list')
    days = [_day(part) for part in day.split(",")]
    weekdays = [_weekday(part) for part in weekday.split(",")]
    kinds = [tests for tests, field in ((days, day), (weekdays, weekday)) if field != "*"]
    return Schedule(
        text=text,
        minutes=_numbers(minute, 0),
        hours=_numbers(hour, 1),
        months=_numbers(month, 3, names=MONTHS),
        is_on=lambda date: not kinds or any(test(date) for tests in kinds for test in tests),
    )


def _numbers(field: str, place: int, *, names: dict[str, int] | None = None) -> frozenset[int]:
    """Return the numbers that a field names: ``*``, ``4``, ``1-5``, ``*/15``, ``10-30/5``, and lists of these."""
    name, low, high = BOUNDS[place]
    found: set[int] = set()
    for part in field.split(","):
        match = re.fullmatch(r"(\*|\w+)(?:-(\w+))?(?:/(\d+))?", part)
        if match is None or (match[1] == "*" and match[2]):
            raise ValueError(f"{RULE}; {name}={part!r} is none")
        first = low if match[1] == "*" else _number(match[1], place, names or {})
        last = _number(match[2], place, names or {}) if match[2] else high if match[1] == "*" or match[3] else first
        step = int(match[3] or 1)
        if not first <= last or not step:
            raise ValueError(f"{RULE}; {name}={part!r} is no range")
        found.update(range(first, last + 1, step))
    return frozenset(found)


def _number(text: str, place: int, names: dict[str, int]) -> int:
    name, low, high = BOUNDS[place]
    number = names.get(text, int(text) if re.fullmatch(r"\d{1,2}", text) else -1)
    if not low <= number <= high:
        raise ValueError(f"{RULE}; {name}={text!r} must be {low} to {high}")
    return number


def _day(part: str) -> OnDay:
    """Return the test of whether a date matches one part of the day field."""
    if part == "l":
        return lambda date: date.day == _last(date)
    if part.endswith("w"):
        wanted = None if part == "lw" else _number(part[:-1], 2, {})
        return lambda date: date == _working_day(date, wanted)
    numbers = _numbers(part, 2)
    return lambda date: date.day in numbers


def _weekday(part: str) -> OnDay:
    """Return the test of whether a date matches one part of the weekday field."""
    match = re.fullmatch(r"(\w+?)(?:#([1-5])|(l))", part)
    if match is None:
        numbers = _numbers(part, 4, names=WEEKDAYS)
        return lambda date: _from_sunday(date) in numbers
    weekday, nth = _number(match[1], 4, WEEKDAYS), match[2]
    if nth is None:
        return lambda date: _from_sunday(date) == weekday and date.day + 7 > _last(date)
    return lambda date: _from_sunday(date) == weekday and (date.day + 6) // 7 == int(nth)


def _from_sunday(date: dt.date) -> int:
    return date.isoweekday() % 7 + 1


def _last(date: dt.date) -> int:
    return monthrange(date.year, date.month)[1]


def _working_day(date: dt.date, wanted: int | None) -> dt.date | None:
    """Return the working day nearest to day *wanted* (None: the last) of *date*'s month; None if it has no such day."""
    last = _last(date)
    if wanted is not None and wanted > last:
        return None
    near = date.replace(day=wanted or last)
    away = {6: -1 if near.day > 1 else 2, 7: 1 if near.day < last else -2}.get(near.isoweekday(), 0)
    return near + dt.timedelta(days=away)
