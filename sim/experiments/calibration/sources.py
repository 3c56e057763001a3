"""What a calibration reads: saved runs, Workers trace events, logs of D1's meta objects.

A log holds times of single components without the requests around them. Each line is a JSON object: an event of the
Logpush dataset ``workers_trace_events`` (``CPUTimeMs``), or one with the ``meta`` of a D1 result (``duration``, or
``timings.sql_duration_ms``), as ``console.log(JSON.stringify({ meta }))`` writes it.

Sources
-------
Cloudflare Logpush, dataset Workers trace events; D1, return object (``meta``).
"""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sim.foundation.errors import UsageError

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario

Array = NDArray[np.float64]

WHOLE_MS_MEDIAN_MIN = 5.0
"""Times in whole ms below this have two digits of nothing: their distribution is that of rounding."""


@dataclass(frozen=True)
class LogSample:
    """Times of a log.

    Attributes
    ----------
    times_ms : ndarray, shape (n,)
    rows : ndarray, shape (n,), optional
        That each statement read, where the log says so of all, and times are finer than whole ms.
    """

    times_ms: Array
    rows: Array | None = None


def log_samples(path: Path, scenario: "Scenario") -> dict[str, LogSample]:
    """Return the samples of a log, by the path of the distribution that they are of.

    Raises
    ------
    UsageError
        The log cannot be read, holds neither kind of line, or the scenario does not say whose times they are.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for number, entry in _lines(path):
        for name, *value in _times(entry, f"{path.name}:{number}"):
            found.setdefault(name, []).append((value[0], value[1]))
    if not found:
        raise UsageError(f"log {path.name!r} must hold CPUTimeMs or D1's meta.duration on its lines; it has neither")
    return {_place(name, scenario, path): _sample(np.array(values), path) for name, values in found.items()}


def _sample(values: Array, path: Path) -> LogSample:
    times_ms, rows = values.T
    spread_ms = _spread(times_ms, path)
    return LogSample(spread_ms, rows if spread_ms is times_ms and np.isfinite(rows).all() else None)


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    opened = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opened(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, json.loads(line)
    except json.JSONDecodeError:
        raise UsageError(f"log {path.name}:{number} must be a line of JSON") from None
    except (OSError, EOFError, UnicodeDecodeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UsageError(f"log {str(path)!r} cannot be read: {reason}") from None


def _times(entry: Any, place: str) -> Iterator[tuple[str, float, float]]:
    """Yield the times of one line, with the component and the key that they belong to, and the rows read or NaN."""
    if not isinstance(entry, dict):
        raise UsageError(f"log {place} must be a JSON object")
    if "CPUTimeMs" in entry and str(entry.get("EventType", "fetch")) == "fetch":
        yield "workers.cpu_ms", _number(entry["CPUTimeMs"], f"{place}: CPUTimeMs"), nan
    meta = entry.get("meta", entry)
    if not isinstance(meta, dict) or ("timings" not in meta and "duration" not in meta):
        return
    timings = meta.get("timings")
    took = timings.get("sql_duration_ms") if isinstance(timings, dict) else None
    took = meta.get("duration") if took is None else took
    writes = bool(meta.get("rows_written") or meta.get("changed_db") or meta.get("changes"))
    rows = meta.get("rows_read")
    read = float(rows) if isinstance(rows, int | float) and rows >= 0 and not writes else nan
    yield ("d1.write_ms" if writes else "d1.read_ms"), _number(took, f"{place}: meta.duration"), read


def _number(value: Any, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise UsageError(f"{place}={value!r} must be a time in ms, >= 0")
    return float(value)


def _place(name: str, scenario: "Scenario", path: Path) -> str:
    component, _, key = name.partition(".")
    instances = [one.name for one in scenario.system.of(component) if one.name in scenario.reached]
    if len(instances) != 1:
        there = ", ".join(instances) or "none"
        raise UsageError(
            f"log {path.name!r} holds times of {component}, of which the scenario must use one; it has {there}"
        )
    return f"system.{instances[0]}.{key}"


def _spread(values: Array, path: Path) -> Array:
    """Return times in whole ms spread over their ms, and others as they are.

    Raises
    ------
    UsageError
        They are too short for whole ms.
    """
    if not (values == np.rint(values)).all() or np.ptp(values) == 0:
        return values
    if float(np.median(values)) < WHOLE_MS_MEDIAN_MIN:
        raise UsageError(
            f"log {path.name!r} has whole ms with a median of {float(np.median(values)):g}: too coarse for a "
            f"distribution (must be >= {WHOLE_MS_MEDIAN_MIN:g} ms, or with decimals)"
        )
    # Evenly within each ms, without chance: the k-th of m equal values lies at (k + 1/2) / m.
    order = np.argsort(values, kind="stable")
    _, start, count = np.unique(values[order], return_index=True, return_counts=True)
    inside = (np.arange(len(values)) - np.repeat(start, count) + 0.5) / np.repeat(count, count) - 0.5
    return np.maximum(values[order] + inside, 0.0)
