"""Read a record of a provider's incidents: a CSV file whose first lines say when the provider was observed.

::

    # observed 2023-08-01 2025-01-01
    # observed 2026-01-01 2026-08-08
    start_utc,minutes,severity,products,scope
    2023-08-01T10:37,18,minor,workers,regional
    2023-08-08T17:22,35,minor,durable_objects+r2,regional

A window runs from its first day to the day before its last. Minutes are those for which the incident stayed open on
the status page, not minutes of outage: nearly all incidents are regional and partial, and the record does not say which
share of requests failed.
"""

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from sim.foundation.errors import ScenarioError, UsageError
from sim.foundation.schema import nearest

COLUMNS = ("start_utc", "minutes", "severity", "products", "scope")
DAY = timedelta(days=1)

HOLE_DAYS = 60
"""A longer silence within a window is a hole in the record, not good fortune."""

MINUTES_MAX = 366 * 24 * 60
"""Longest time that an incident may stay open; the longest on record is 37 days."""


@dataclass(frozen=True)
class Window:
    """A time in which every incident was recorded; *end* is outside."""

    start: datetime
    end: datetime

    @property
    def days(self) -> int:
        """Whole days."""
        return (self.end - self.start) // DAY


@dataclass(frozen=True)
class PageIncident:
    """One incident of a status page, which may name several products."""

    start: datetime
    open_minutes: int
    severity: str
    products: frozenset[str]


@dataclass(frozen=True)
class IncidentRecord:
    """The incidents of the observed windows, by start."""

    windows: tuple[Window, ...]
    incidents: tuple[PageIncident, ...]

    @property
    def days(self) -> int:
        """Observed days."""
        return sum(window.days for window in self.windows)

    @property
    def products(self) -> tuple[str, ...]:
        """Every product that some incident names."""
        return tuple(sorted({product for incident in self.incidents for product in incident.products}))

    def touching(self, products: Collection[str]) -> tuple[PageIncident, ...]:
        """Return the incidents that name at least one of *products*, each once: a common cause is one incident.

        Raises
        ------
        UsageError
            No product, or one that no incident names: its rate is unknown, not zero.
        """
        if not products:
            raise UsageError("products=[] must name at least one product of the record")
        for product in products:
            if product not in self.products:
                raise UsageError(f'products: "{product}" is not in the record; {nearest(product, self.products)}')
        return tuple(incident for incident in self.incidents if incident.products & set(products))

    def during(self, windows: Sequence[Window]) -> "IncidentRecord":
        """Return the record of *windows* only, which must lie within the observed ones."""
        inside = [one for one in self.incidents if any(window.start <= one.start < window.end for window in windows)]
        return IncidentRecord(tuple(windows), tuple(inside))


def read_incidents(path: str | Path) -> IncidentRecord:
    """Read a record of incidents.

    Raises
    ------
    ScenarioError
        The file is missing or empty, or a line breaks a rule; the message says which in one line.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path.name}: cannot be read as UTF-8 text ({type(error).__name__})") from error
    windows = _windows(lines, path.name)
    table = [(number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    if not table or tuple(table[0][1].split(",")) != COLUMNS:
        raise ScenarioError(f"{path.name}: must have the header {','.join(COLUMNS)}")
    rows = [_incident(line, f"{path.name} line {number}", windows) for number, line in table[1:]]
    if not rows:
        raise ScenarioError(f"{path.name}: has no incident; without one no rate can be estimated")
    for (number, line), (_, before) in zip(table[2:], table[1:-1], strict=True):
        if line == before:
            raise ScenarioError(f"{path.name} line {number}: repeats the line before it; remove one")
    record = IncidentRecord(windows, tuple(sorted(rows, key=lambda row: row.start)))
    _refuse_holes(record, path.name)
    return record


def _windows(lines: list[str], name: str) -> tuple[Window, ...]:
    found: list[Window] = []
    for number, line in enumerate(lines, 1):
        words = line.removeprefix("#").split()
        if not line.startswith("#") or words[:1] != ["observed"]:
            continue
        place = f"{name} line {number}"
        if len(words) != 3:
            raise ScenarioError(f"{place}: must be # observed FIRST_DAY DAY_AFTER_THE_LAST")
        window = Window(_time(words[1], place), _time(words[2], place))
        if window.end <= window.start or (found and window.start < found[-1].end):
            raise ScenarioError(f"{place}: a window must end after it starts, and start after the one before it ends")
        found.append(window)
    if not found:
        raise ScenarioError(f"{name}: must say when it was observed (# observed 2026-01-01 2026-08-08)")
    return tuple(found)


def _incident(line: str, place: str, windows: tuple[Window, ...]) -> PageIncident:
    cells = next(csv.reader([line]))
    if len(cells) != len(COLUMNS) or not all(cells):
        raise ScenarioError(f"{place}: must have all of {', '.join(COLUMNS)}")
    start, minutes = _time(cells[0], place), _minutes(cells[1], place)
    if not any(window.start <= start < window.end for window in windows):
        raise ScenarioError(f"{place}: start_utc={cells[0]} must lie in an observed window")
    products = cells[3].split("+")
    if not all(products):
        raise ScenarioError(f"{place}: products={cells[3]} must be names with one + between them")
    return PageIncident(start, minutes, cells[2], frozenset(products))


def _time(text: str, place: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ScenarioError(f"{place}: {text!r} must be a time such as 2026-01-31T10:37, in UTC") from error
    if found.tzinfo is not None:
        raise ScenarioError(f"{place}: {text!r} must have no offset; times are in UTC")
    return found


def _minutes(text: str, place: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ScenarioError(f"{place}: minutes={text} must be a whole number >= 0")
    if int(text) > MINUTES_MAX:
        raise ScenarioError(f"{place}: minutes={text} must be <= {MINUTES_MAX:,}, a year: is it in seconds?")
    return int(text)


def _refuse_holes(record: IncidentRecord, name: str) -> None:
    """Refuse a silence that is longer than HOLE_DAYS."""
    for window in record.windows:
        starts = [one.start for one in record.incidents if window.start <= one.start < window.end]
        times = [window.start, *starts, window.end]
        for before, after in pairwise(times):
            if (after - before) / DAY > HOLE_DAYS:
                raise ScenarioError(
                    f"{name}: no incident from {before:%Y-%m-%d} to {after:%Y-%m-%d}, over {HOLE_DAYS} days; "
                    "if the record has a hole there, end the observed window before it"
                )
