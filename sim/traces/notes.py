"""What is said aloud about a trace: what its columns, times and keys were taken for, and what was done to its rows."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.traces.formats import Roles
from sim.traces.numbers import unit_of_name
from sim.traces.opening import Source
from sim.traces.times import Clock
from sim.traces.trace import Trace

WIDTHS_NS = (60_000_000_000, 1_000_000_000, 100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 1_000)
"""What stamps are cut to, from a minute down."""

SECOND_NS = 1_000_000_000

WORDS: dict[float, str] = {60_000: "whole minutes", 1_000: "whole seconds", 1: "whole ms"}

UNITS = ((86_400_000, "days"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))

HOLE_GAPS, HOLE_MS, HOLE_ROWS = 100, 60_000, 100
"""A gap of a hundred mean gaps, and of a minute, in a file of a hundred rows is a hole."""


@dataclass(frozen=True)
class Taken:
    """What was found out while a file was read."""

    source: Source
    roles: Roles
    clock: Clock
    others: int
    unsorted_rows: int
    width_ns: int


def resolution_ns(times: NDArray[np.int64], *, number_ns: int = 0) -> int:
    """Return the width of stamps that are coarser than the traffic, else 0.

    They are when several requests share a stamp, and stamps are of whole seconds or wider than the mean gap.

    Parameters
    ----------
    times : ndarray of int64, shape (n,)
        Sorted, in ns.
    number_ns : int
        Unit of times that are numbers since a start of their own: the only width that they can have. 0 for stamps.
    """
    gaps = np.diff(times)
    if not (gaps == 0).any():
        return 0
    from_start = times - times[0] if number_ns else times
    candidates = (number_ns,) if number_ns else WIDTHS_NS
    width = next((width for width in candidates if not (from_start % width).any()), 0)
    mean_gap = (times[-1] - times[0]) / len(gaps)
    return width if width >= SECOND_NS or mean_gap < width else 0


def notes_of(trace: Trace, taken: Taken, *, skipped: str) -> tuple[str, ...]:
    """Return everything that must be said of a trace, a sentence each."""
    return tuple(f"{trace.name}: {note}" for note in _notes(trace, taken, skipped=skipped))


def _notes(trace: Trace, taken: Taken, *, skipped: str) -> Iterator[str]:
    roles, clock = taken.roles, taken.clock
    parts = [f"{role} = {name}{_unit(role, roles)}" for role, name in roles.columns.items()]
    if roles.ended:
        parts.append(f"end of WebSockets = {roles.ended}")
    if clock.taken != "stamps":
        parts[0] += f" ({clock.taken})"
    yield f"read as {roles.format.name}, {len(trace):,} requests in {_length(trace.duration_ms)}: {', '.join(parts)}"
    if clock.naive:
        yield f"stamps name no time zone; taken as {clock.zone or 'UTC'}"
    if taken.others:
        kept = [f"{column}={value}" for column, value in roles.only] or [f"a {roles.columns['path']}"]
        yield f"{taken.others:,} rows are no requests (only those with {' and '.join(kept)} are) and were left out"
    if skipped:
        yield skipped
    if taken.unsorted_rows:
        yield f"rows were not in order of time ({taken.unsorted_rows:,} came before the one above them): sorted"
    if trace.resolution_ms:
        width = WORDS.get(round(trace.resolution_ms, 9), f"multiples of {trace.resolution_ms:g} ms")
        yield f"stamps are {width}, coarser than the traffic: requests are spread uniformly within them, by the seed"
    yield from _carried(trace)
    yield from _hole(trace)
    if unused := (*roles.unused, *taken.source.behind):
        yield f"columns not used: {', '.join(unused)}"


def _unit(role: str, roles: Roles) -> str:
    """The unit that a column of latencies was taken to have, where its name does not say it."""
    if role != "latency" or unit_of_name(roles.columns[role]):
        return ""
    return f" ({roles.latency_unit})"


def _carried(trace: Trace) -> Iterator[str]:
    """What the rows carry, and do not."""
    if trace.key is not None:
        yield f"{trace.keys:,} distinct keys"
    for name, column in (("key", trace.key), ("size", trace.size_bytes)):
        if column is not None and (missing := int((column < 0).sum())):
            yield f"{missing:,} rows name no {name}; it is drawn from the scenario"
    if trace.status is not None and (failed := int((trace.status >= 500).sum())):
        yield f"{failed:,} rows are answers with a status of 500 or more; they are played like the others"


def _hole(trace: Trace) -> Iterator[str]:
    gaps = np.diff(trace.arrival_ms)
    widest = int(np.argmax(gaps))
    if len(trace) >= HOLE_ROWS and gaps[widest] > max(HOLE_MS, HOLE_GAPS * gaps.mean()):
        start = _length(float(trace.arrival_ms[widest]))
        yield f"no row for {_length(float(gaps[widest]))} after {start}: a hole, or no traffic; the mean rate counts it"


def _length(ms: float) -> str:
    """A length of time in the unit that suits it."""
    size, unit = next(((size, unit) for size, unit in UNITS if ms >= size), (1, "ms"))
    return f"{ms / size:.4g} {unit}"
