"""Arrivals that really happened: a CSV file with one row a request.

The one column that must be there is the time, either ``arrival_ms`` (a number) or ``timestamp`` (ISO 8601, up to nine
digits of a second). ``route``, ``key``, ``size_bytes``, ``tokens_in`` and ``tokens_out`` may be there; what is not
comes from the scenario's distributions. The columns ``ContextTokens`` and ``GeneratedTokens`` of the Azure LLM
inference traces are ``tokens_in`` and ``tokens_out``. Case does not matter; other columns are passed over.

Sources
-------
Azure Public Dataset, AzureLLMInferenceDataset2023 (column names; 100 ns timestamps).
Künsch, "The jackknife and the bootstrap for general stationary observations", Ann. Statist. 17, 1989 (blocks).
"""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import lru_cache, partial
from math import ceil, isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.errors import ScenarioError
from sim.randomness.streams import stream_key, uniforms
from sim.schema import PAGE, nearest

TIMES = ("arrival_ms", "timestamp")
NUMBERS = ("key", "size_bytes", "tokens_in", "tokens_out")
COLUMNS = (*TIMES, "route", *NUMBERS)
ALIASES = {"contexttokens": "tokens_in", "generatedtokens": "tokens_out"}

ROWS_MAX = 10_000_000
"""A bound on every trace that is read."""

NUMBER_MAX = 2**53
"""Largest number in a cell: beyond it whole numbers are rounded."""

STAMP = re.compile(r"((?:19|20|21)\d\d-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?(Z|[+-]\d\d:\d\d)?")

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Trace:
    """Recorded arrivals; the first row is time 0.

    Attributes
    ----------
    name : str
        Of the file, for messages.
    arrival_ms : ndarray, shape (n,)
        Not falling.
    duration_ms : float
        From the first row to one mean gap after the last.
    route_code : ndarray or None, shape (n,)
        Position among the scenario's routes.
    key, size_bytes, tokens_in, tokens_out : ndarray or None, shape (n,)
        None where the file has no such column.
    """

    name: str
    arrival_ms: NDArray[np.float64]
    duration_ms: float
    route_code: NDArray[np.int16] | None = None
    key: IntArray | None = None
    size_bytes: IntArray | None = None
    tokens_in: IntArray | None = None
    tokens_out: IntArray | None = None

    def __len__(self) -> int:
        """Return the number of requests."""
        return len(self.arrival_ms)

    def clipped(self, start_s: float, end_s: float | None) -> "Trace":
        """Return what arrived in [start_s, end_s), with start_s as the new time 0.

        Raises
        ------
        ScenarioError
            Nothing did.
        """
        start_ms, end_ms = start_s * 1000, np.inf if end_s is None else end_s * 1000
        inside = (self.arrival_ms >= start_ms) & (self.arrival_ms < end_ms)
        if not inside.any():
            raise ScenarioError(
                f"workload.arrivals clips {self.name} to [{start_s:g}, {end_ms / 1000:g}) s, where no row is: "
                f"it is {self.duration_ms / 1000:g} s long ({PAGE})"
            )
        kept = self._rows(np.flatnonzero(inside))
        length_ms = min(end_ms, self.duration_ms) - start_ms
        return replace(kept, arrival_ms=kept.arrival_ms - start_ms, duration_ms=length_ms)

    def resampled(self, seed: int) -> "Trace":
        """Return as many rows, in blocks drawn with replacement: gaps and tokens keep their company.

        A block is n**(1/3) rows long, the rate of growth that suits block bootstraps.
        """
        count = len(self)
        block = ceil(count ** (1 / 3))
        draws = uniforms(stream_key(seed, "workload.arrivals.resample"), np.arange(ceil(count / block)))
        start = (draws * (count - block + 1)).astype(np.int64)
        rows = (start[:, None] + np.arange(block)).reshape(-1)[:count]
        gap_ms = np.diff(self.arrival_ms, append=self.duration_ms)[rows]
        end_ms = np.cumsum(gap_ms)
        return replace(self._rows(rows), arrival_ms=end_ms - gap_ms, duration_ms=float(end_ms[-1]))

    def scaled(self, factor: float) -> "Trace":
        """Return all gaps multiplied by *factor*."""
        return replace(self, arrival_ms=self.arrival_ms * factor, duration_ms=self.duration_ms * factor)

    def _rows(self, rows: IntArray) -> "Trace":
        columns = {name: getattr(self, name) for name in ("route_code", *NUMBERS)}
        kept: dict[str, Any] = {name: None if column is None else column[rows] for name, column in columns.items()}
        return replace(self, arrival_ms=self.arrival_ms[rows], **kept)


def read_trace(path: str | Path, *, routes: Sequence[str] = ()) -> Trace:
    """Read a CSV file of arrivals.

    Parameters
    ----------
    path : str or Path
        UTF-8, comma separated, with a header.
    routes : sequence of str
        What the column ``route`` may hold.

    Returns
    -------
    Trace

    Raises
    ------
    ScenarioError
        The file is missing, empty, lacks a time, or has a wrong cell (with file, line and column).
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            return _read(csv.reader(lines, strict=True), path.name, routes=routes)
    except FileNotFoundError:
        raise ScenarioError(f"{path} does not exist ({PAGE})") from None
    except OSError as error:
        raise ScenarioError(f"{path} cannot be read: {error.strerror} ({PAGE})") from None
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{path} is not UTF-8 text, at byte {error.start} ({PAGE})") from None


def _read(rows: Any, name: str, *, routes: Sequence[str]) -> Trace:
    parsers: dict[str, Callable[[str], Any]] = {**PARSERS, "route": partial(_route, routes=routes)}
    try:
        header = next(rows, None)
        if not header:
            raise ScenarioError(f"{name} is empty; its first line must name the columns ({PAGE})")
        columns = _columns(header, name)
        cells: dict[str, list[Any]] = {column: [] for column in columns}
        lines: list[int] = []
        for row in _filled(rows, name, width=len(header)):
            lines.append(rows.line_num)
            for column, place in columns.items():
                where = f"{name}:{rows.line_num}"
                cells[column].append(_cell(row[place].strip(), parsers[column], column=column, where=where))
    except csv.Error as error:
        raise ScenarioError(f"{name}:{rows.line_num} is not CSV: {error} ({PAGE})") from None
    if not lines:
        raise ScenarioError(f"{name} holds no row below its header ({PAGE})")
    return _trace(cells, lines, name=name)


def _filled(rows: Any, name: str, *, width: int) -> Iterator[list[str]]:
    """Rows that are not blank, each as wide as the header."""
    for number, row in enumerate(rows):
        if number >= ROWS_MAX:
            raise ScenarioError(f"{name}:{rows.line_num} a trace must have <= {ROWS_MAX:,} rows ({PAGE})")
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != width:
            raise ScenarioError(
                f"{name}:{rows.line_num} has {len(row)} cells, must have {width} as its header ({PAGE})"
            )
        yield row


def _columns(header: list[str], name: str) -> dict[str, int]:
    """Place of each column that is understood; a near miss is an error, anything else is passed over."""
    columns: dict[str, int] = {}
    for place, title in enumerate(header):
        word = title.strip().lower()
        column = ALIASES.get(word, word)
        if column in columns:
            raise ScenarioError(f"{name}:1 names the column {column} twice ({PAGE})")
        if column in COLUMNS:
            columns[column] = place
        elif close := get_close_matches(column, COLUMNS, n=1, cutoff=0.8):
            raise ScenarioError(f'{name}:1 column "{title.strip()}" is not known; did you mean {close[0]}? ({PAGE})')
    times = [column for column in TIMES if column in columns]
    if len(times) != 1:
        rule = "must have one of" if not times else "must not have both of"
        shown = ", ".join(title.strip() for title in header)[:80]
        raise ScenarioError(f"{name}:1 {rule} the columns {' and '.join(TIMES)}; it has: {shown} ({PAGE})")
    return columns


def _cell(text: str, parse: Callable[[str], Any], *, column: str, where: str) -> Any:
    """One cell's value; times in ns when they are stamps, in ms when they are numbers."""
    try:
        return parse(text)
    except ValueError as error:
        raise ScenarioError(f'{where} {column}="{text[:40]}" {error} ({PAGE})') from None


def _number_ms(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError("must be a number") from None
    if not isfinite(number):
        raise ValueError("must be a finite number")
    if abs(number) > NUMBER_MAX:
        raise ValueError(f"must lie within {NUMBER_MAX} of 0")
    return number


def _stamp_ns(text: str) -> int:
    parts = STAMP.fullmatch(text)
    if not parts:
        raise ValueError("must be a time such as 2023-11-16 18:17:03.9799600")
    day, clock, digits, zone = parts.groups()
    return _second(f"{day} {clock}", zone or "Z") * 1_000_000_000 + int((digits or "0").ljust(9, "0"))


@lru_cache(maxsize=1024)
def _second(text: str, zone: str) -> int:
    """Whole seconds since 1970; cached, since neighbours share them."""
    moment = datetime.fromisoformat(text + zone.replace("Z", "+00:00"))
    return int(moment.astimezone(UTC).timestamp())


def _whole(text: str) -> int:
    if not re.fullmatch(r"[+-]?\d+(\.0*)?", text):
        raise ValueError("must be a whole number")
    number = int(text.partition(".")[0])
    if not 0 <= number <= NUMBER_MAX:
        raise ValueError("must be >= 0" if number < 0 else f"must be <= {NUMBER_MAX}")
    return number


def _route(text: str, *, routes: Sequence[str]) -> int:
    if text not in routes:
        raise ValueError(f"is not a route; {nearest(text, routes)}")
    return routes.index(text)


def _label(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


PARSERS: dict[str, Callable[[str], Any]] = {
    "arrival_ms": _number_ms,
    "timestamp": _stamp_ns,
    "key": _label,
    "size_bytes": _whole,
    "tokens_in": _whole,
    "tokens_out": _whole,
}
"""How a cell of each column is read; each says in words what is wrong."""


def _trace(cells: dict[str, list[Any]], lines: list[int], *, name: str) -> Trace:
    column = next(column for column in TIMES if column in cells)
    times = np.array(cells[column])
    falls = np.flatnonzero(np.diff(times) < 0)
    if len(falls):
        line, before = lines[falls[0] + 1], lines[falls[0]]
        raise ScenarioError(f"{name}:{line} {column} must not be before that of line {before}: sort the file ({PAGE})")
    arrival_ms = (times - times[0]) / (1.0 if column == "arrival_ms" else 1e6)
    mean_gap_ms = arrival_ms[-1] / max(len(lines) - 1, 1)
    numbers = {key: np.array(cells[key], dtype=np.int64) for key in NUMBERS[1:] if key in cells}
    return Trace(
        name,
        arrival_ms,
        duration_ms=max(float(arrival_ms[-1] + mean_gap_ms), 1.0),
        route_code=np.array(cells["route"], dtype=np.int16) if "route" in cells else None,
        key=_keys(cells["key"]) if "key" in cells else None,
        **numbers,
    )


def _keys(labels: list[str]) -> IntArray:
    """Numbers (``7`` or ``org-7``) as they are; any other labels numbered in order of appearance."""
    digits = [label.removeprefix("org-") for label in labels]
    if all(re.fullmatch(r"\d{1,15}", text) for text in digits):
        return np.array([int(text) for text in digits], dtype=np.int64)
    number = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    return np.array([number[label] for label in labels], dtype=np.int64)
