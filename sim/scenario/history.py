"""How many requests came on each of the last days: a CSV file of dates and counts."""

import csv
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.foundation.errors import ScenarioError
from sim.foundation.schema import PAGE

DATES = ("date", "day", "timestamp")
COUNTS = ("count", "requests")

DAYS_MIN, DAYS_MAX = 14, 20_000
"""Two weeks at least, to separate the trend from the weekly cycle; the maximum bounds the input."""

COUNT_MAX = 10**15


@dataclass(frozen=True)
class History:
    """Daily counts in order of time.

    Attributes
    ----------
    name : str
        Of the file, for messages.
    first : date
        Day 0.
    days : ndarray, shape (n,)
        Days since the first; a day that is missing is absent.
    count : ndarray, shape (n,)
        Requests of the day, above 0.
    notes : tuple of str
        What was done to the file's rows.
    """

    name: str
    first: date
    days: NDArray[np.int64]
    count: NDArray[np.float64]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of days with requests."""
        return len(self.days)


def read_history(path: str | Path) -> History:
    """Read daily counts.

    Parameters
    ----------
    path : str or Path
        UTF-8, comma separated, with a header that names ``date`` (YYYY-MM-DD) and ``count``.

    Raises
    ------
    ScenarioError
        The file is missing, lacks a column, has a wrong cell, or covers less than two weeks.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            counts = _counts(csv.reader(lines, strict=True), path.name)
    except FileNotFoundError:
        raise ScenarioError(f"{path} does not exist ({PAGE})") from None
    except OSError as error:
        raise ScenarioError(f"{path} cannot be read: {error.strerror} ({PAGE})") from None
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{path} is not UTF-8 text, at byte {error.start} ({PAGE})") from None
    except csv.Error as error:
        raise ScenarioError(f"{path.name} is not CSV: {error} ({PAGE})") from None
    return _history(counts, path.name)


def _counts(rows: Any, name: str) -> dict[date, float]:
    """The count of each day, in order of the file."""
    header = [title.strip().lower() for title in next(rows, [])]
    places = [next((header.index(title) for title in titles if title in header), None) for titles in (DATES, COUNTS)]
    if None in places:
        shown = ", ".join(header)[:80] or "nothing"
        raise ScenarioError(f"{name}:1 must have the columns date and count; it has: {shown} ({PAGE})")
    counts: dict[date, float] = {}
    for row in rows:
        where = f"{name}:{rows.line_num}"
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            raise ScenarioError(f"{where} has {len(row)} cells, must have {len(header)} as its header ({PAGE})")
        day, count = _day(row[places[0] or 0].strip(), where), _count(row[places[1] or 0].strip(), where)
        if day in counts:
            raise ScenarioError(f"{where} date={day} comes twice ({PAGE})")
        counts[day] = count
        if len(counts) > DAYS_MAX:
            raise ScenarioError(f"{where} a history must have <= {DAYS_MAX:,} days ({PAGE})")
    return counts


def _day(text: str, where: str) -> date:
    try:
        return date.fromisoformat(text[:10] if text[10:11] in ("T", " ") else text)
    except ValueError:
        raise ScenarioError(f'{where} date="{text[:40]}" must be a day such as 2026-11-02 ({PAGE})') from None


def _count(text: str, where: str) -> float:
    try:
        count = float(text)
    except ValueError:
        raise ScenarioError(f'{where} count="{text[:40]}" must be a number ({PAGE})') from None
    if not 0 <= count <= COUNT_MAX:
        raise ScenarioError(f"{where} count={text[:40]} must be >= 0 and <= {COUNT_MAX:,} ({PAGE})")
    return count


def _history(counts: dict[date, float], name: str) -> History:
    notes = []
    days = sorted(day for day, count in counts.items() if count > 0)
    if list(counts) != sorted(counts):
        notes.append(f"{name} is not in order of time: it was sorted")
    if silent := len(counts) - len(days):
        notes.append(f"{name} has {silent} days without a request: they were left out")
    if len(days) < DAYS_MIN:
        raise ScenarioError(f"{name} has {len(days)} days with requests, must have >= {DAYS_MIN} ({PAGE})")
    day = np.array([(one - days[0]).days for one in days], dtype=np.int64)
    if missing := int(day[-1]) + 1 - len(days) - silent:
        notes.append(f"{name} lacks {missing} days between its first and its last")
    count = np.array([counts[one] for one in days], dtype=np.float64)
    return History(name, days[0], day, count, tuple(notes))
