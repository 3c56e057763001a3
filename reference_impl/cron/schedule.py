"""Cron schedules: decide whether a trigger is due at a minute, and find its next run.

Sources
-------
Cloudflare Cron Triggers page: five fields, UTC; months and weekdays by number or name, weekdays from 1 (Sunday) to 7;
``*``, lists, ranges and steps everywhere, ``L`` and ``W`` among days, ``L`` and ``#`` among weekdays. POSIX crontab:
when day and weekday are both restricted, a date that matches either is due.
"""

import calendar
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from reference_impl.errors import ConfigError

YEARS_AHEAD = 29
"""Within this many years 29 February falls on every weekday; a schedule that is not due by then never is."""
MONTHS = [name.lower() for name in calendar.month_abbr[1:]]
WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]

Due = Callable[[date], bool]


@dataclass(frozen=True)
class Field:
    """One of the five fields: its bounds, and the names that stand for *low*, *low* + 1 and so on."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def number(self, text: str) -> int:
        """Return the number that *text* stands for.

        Raises
        ------
        ConfigError
            *text* is not a number or a name of this field.
        """
        if text in self.names:
            return self.low + self.names.index(text)
        if not text.isdecimal() or not self.low <= int(text) <= self.high:
            raise ConfigError(f"{self.name}={text[:20]!r} must be {self.low} to {self.high}")
        return int(text)

    def numbers(self, part: str) -> range:
        """Return the numbers of ``*``, ``4``, ``1-5``, ``*/15`` or ``10-30/5``."""
        span, slash, step = part.partition("/")
        if slash and not (step.isdecimal() and int(step)):
            raise ConfigError(f"{self.name}={part[:20]!r} needs a step >= 1 behind its slash")
        if span == "*":
            first, last = self.low, self.high
        else:
            begin, dash, end = span.partition("-")
            first = self.number(begin)
            last = self.number(end) if dash else self.high if slash else first
        if first > last:
            raise ConfigError(f"{self.name}={part[:20]!r} must begin before it ends")
        return range(first, last + 1, int(step) if slash else 1)


MINUTE, HOUR, DAY = Field("minute", 0, 59), Field("hour", 0, 23), Field("day", 1, 31)
MONTH, WEEKDAY = Field("month", 1, 12, tuple(MONTHS)), Field("weekday", 1, 7, tuple(WEEKDAYS))


class Schedule:
    """A cron schedule, in UTC.

    Parameters
    ----------
    text
        Minute, hour, day of the month, month and weekday, separated by spaces.

    Raises
    ------
    ConfigError
        If *text* is not a valid schedule.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        fields = text.lower().split()
        if len(fields) != 5:
            raise ConfigError(f'schedule={text[:80]!r} must have five fields, as in "*/5 * * * *"')
        minute, hour, day, month, weekday = (field.split(",") for field in fields)
        self._minutes = sorted({n for part in minute for n in MINUTE.numbers(part)})
        self._hours = sorted({n for part in hour for n in HOUR.numbers(part)})
        self._months = {n for part in month for n in MONTH.numbers(part)}
        on_days = [] if day == ["*"] else [_on_day(part) for part in day]
        on_weekdays = [] if weekday == ["*"] else [_on_weekday(part) for part in weekday]
        if any("*" in field and field != ["*"] for field in (day, weekday)):
            raise ConfigError(f'schedule={text[:80]!r} must not have "*" in a list of days')
        self._days = [*on_days, *on_weekdays]

    def is_due_on(self, day: date) -> bool:
        """Whether it is due at some minute of *day*."""
        return day.month in self._months and (not self._days or any(due(day) for due in self._days))

    def is_due(self, moment: datetime) -> bool:
        """Whether it is due at the minute of *moment* (UTC)."""
        return moment.minute in self._minutes and moment.hour in self._hours and self.is_due_on(moment.date())

    def next_after(self, unix_ms: int) -> int | None:
        """Return the first time after *unix_ms* at which it is due, as Unix time in ms; None if it never is."""
        moment = datetime.fromtimestamp(unix_ms // 60_000 * 60, UTC) + timedelta(minutes=1)
        for days in range(YEARS_AHEAD * 366):
            day = moment.date() + timedelta(days=days)
            if not self.is_due_on(day):
                continue
            for hour in self._hours:
                for minute in self._minutes:
                    found = datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)
                    if found >= moment:
                        return int(found.timestamp()) * 1_000
        return None


def _on_day(part: str) -> Due:
    if part == "l":
        return lambda day: (day + timedelta(days=1)).month != day.month
    if part.endswith("w"):
        wanted = 0 if part == "lw" else DAY.number(part[:-1])
        return lambda day: day.weekday() < 5 and _nearest(day, wanted)
    numbers = DAY.numbers(part)
    return lambda day: day.day in numbers


def _nearest(day: date, wanted: int) -> bool:
    """Whether *day*, a working day, is the one nearest to day *wanted* of its month (0: the last)."""
    last = calendar.monthrange(day.year, day.month)[1]
    target = wanted or last
    if target > last:
        return False
    working = [n for n in range(1, last + 1) if day.replace(day=n).weekday() < 5]
    return day.day == min(working, key=lambda n: (abs(n - target), n))


def _on_weekday(part: str) -> Due:
    special = re.fullmatch(r"([a-z0-9]+?)(l|#[1-5])", part)
    if special is None:
        numbers = WEEKDAY.numbers(part)
        return lambda day: 1 + day.isoweekday() % 7 in numbers
    weekday = WEEKDAY.number(special[1])
    week = 0 if special[2] == "l" else int(special[2][1:])

    def is_due(day: date) -> bool:
        if 1 + day.isoweekday() % 7 != weekday:
            return False
        return (day + timedelta(weeks=1)).month != day.month if week == 0 else 7 * week - 6 <= day.day <= 7 * week

    return is_due
