"""From a file to a Trace: its rows put in order of time, with what was taken for what said aloud."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sim.foundation.errors import ScenarioError
from sim.foundation.schema import PAGE, nearest
from sim.traces.blocks import Advance, blocks
from sim.traces.formats import Roles, roles
from sim.traces.keys import numbered
from sim.traces.notes import Taken, notes_of, resolution_ns
from sim.traces.opening import source
from sim.traces.options import UNITS_NS, TraceOptions
from sim.traces.paths import Pattern, Router
from sim.traces.rows import Rows
from sim.traces.times import SINCE_1970, Clock, check_zone, repeated_hour
from sim.traces.trace import Trace

PROGRESS_BYTES = 50_000_000
"""A larger file shows how far its reading has come, on a terminal."""

FALLS_MAX = 1_000
"""Rows out of order that are looked at for the end of summer time."""


def read(
    path: str | Path,
    *,
    names: Sequence[str] = (),
    patterns: Sequence[Pattern] = (),
    options: TraceOptions | None = None,
) -> Trace:
    """Read a file of requests.

    Parameters
    ----------
    path : str or Path
    names : sequence of str
        Routes that rows may name; without any, rows are read without their routes.
    patterns : sequence of Pattern
        Methods and paths of the routes.
    options : TraceOptions, optional

    Returns
    -------
    Trace

    Raises
    ------
    ScenarioError
        The file is missing, of no known form, has a wrong cell (with file, line and column), rows that match no route,
        or all its requests at one instant.
    """
    path = Path(path)
    try:
        status = path.stat()
    except OSError as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise ScenarioError(f"{path} {reason} ({PAGE})") from None
    stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return _read(path, stamp, tuple(names), patterns=tuple(patterns), options=options or TraceOptions())


@lru_cache(maxsize=2)
def _read(
    path: Path,
    stamp: tuple[int, ...],  # noqa: ARG001  # part of what an answer is remembered by
    names: tuple[str, ...],
    *,
    patterns: tuple[Pattern, ...],
    options: TraceOptions,
) -> Trace:
    """Read a file, or give back what was read of it before; *stamp* changes when the file does."""
    check_zone(options.zone)
    found = source(path)
    rows = Rows(found, roles(found, options), names=names, patterns=patterns, options=options)
    with _progress(path) as advance:
        for block in blocks(found, rows.roles.wanted, advance=advance):
            rows.take(block)
    return _trace(rows, options, names=names)


@contextmanager
def _progress(path: Path) -> Iterator[Advance]:
    """Show how much of a large file was read, on a terminal."""
    size = path.stat().st_size
    if size < PROGRESS_BYTES or not sys.stderr.isatty():
        yield lambda _: None
        return
    from tqdm import tqdm

    with tqdm(total=size, unit="B", unit_scale=True, desc=f"reading {path.name}", file=sys.stderr) as bar:
        yield lambda position: bar.update(position - bar.n) and None


def _trace(rows: Rows, options: TraceOptions, *, names: Sequence[str]) -> Trace:
    """The Trace of all rows.

    Raises
    ------
    ScenarioError
        No row is left, rows match no route, or no time passes.
    """
    name, clock = rows.source.name, rows.clock
    _check_rows(rows, options, names=names)
    columns = {role: np.concatenate(rows.parsed.pop(role)) for role in list(rows.parsed)}
    times = columns.pop("time")
    order, unsorted = _order(times, name, clock=clock)
    if order is not None:
        times, columns = times[order], {role: values[order] for role, values in columns.items()}
    span_ns = int(times[-1] - times[0])
    if span_ns == 0:
        held = "one request" if len(times) == 1 else f"{len(times):,} requests, all at one instant"
        raise ScenarioError(f"{name} holds {held}: no rate can be known from an instant ({PAGE})")
    own_start = clock.taken != "stamps" and not clock.taken.endswith(SINCE_1970)
    width_ns = resolution_ns(times, number_ns=UNITS_NS[clock.unit] if own_start else 0)
    arrival_ms = (times - times[0]) / 1e6
    code, latency = columns.get("route_code"), columns.get("latency")
    key, keys = numbered(columns.pop("key", None))
    found = Trace(
        name,
        arrival_ms,
        duration_ms=max(float(arrival_ms[-1]) + max(span_ns / (len(times) - 1), width_ns) / 1e6, 1.0),
        route_code=None if code is None else code.astype(np.int16),
        key=key,
        size_bytes=columns.get("size"),
        tokens_in=columns.get("tokens_in"),
        tokens_out=columns.get("tokens_out"),
        latency_ms=None if latency is None else latency * _latency_ms(rows.roles),
        status=columns.get("status"),
        session_ms=columns.get("session"),
        keys=keys,
        resolution_ms=width_ns / 1e6,
        start_ns=None if own_start else int(times[0]),
    )
    taken = Taken(rows.source, rows.roles, clock, others=rows.others, unsorted_rows=unsorted, width_ns=width_ns)
    return _sealed(found, notes_of(found, taken, skipped=_skipped(rows.router)))


def _latency_ms(kinds: Roles) -> float:
    """One unit of the latency column in ms."""
    return UNITS_NS[kinds.latency_unit] / 1e6


def _skipped(router: Router | None) -> str:
    if router is None or not router.unmatched:
        return ""
    rows = "1 row matches" if router.unmatched == 1 else f"{router.unmatched:,} rows match"
    return f"{rows} no route and {'was' if router.unmatched == 1 else 'were'} skipped: {router.examples()}"


def _check_rows(rows: Rows, options: TraceOptions, *, names: Sequence[str]) -> None:
    """Refuse a file without rows, and one whose rows match no route."""
    name, router = rows.source.name, rows.router
    if not rows.count:
        raise ScenarioError(f"{name} holds no row below its header ({PAGE})")
    if router is None or not router.unmatched:
        return
    said = f"{name} has {router.unmatched:,} of {rows.count:,} rows that match no route: {router.examples()}"
    if options.unmatched == "refuse":
        label = router.examples().split('"')[1]
        near = nearest(label, names) if "/" not in label else 'give a route match = "METHOD /path"'
        raise ScenarioError(f"{said}; {near}, or skip them (--unmatched skip) ({PAGE})")
    if router.unmatched == rows.count:
        raise ScenarioError(f"{said}; none is left ({PAGE})")


def _order(times: NDArray[np.int64], name: str, *, clock: Clock) -> tuple[NDArray[np.int64] | None, int]:
    """The order of time, None if the file has it, and how many rows came before their predecessor."""
    falls = np.flatnonzero(np.diff(times) < 0)
    if not len(falls):
        return None, 0
    if clock.naive and not clock.zone:
        _check_summer_time(times, name, falls=falls)
    return np.argsort(times, kind="stable"), len(falls)


def _check_summer_time(times: NDArray[np.int64], name: str, *, falls: NDArray[np.intp]) -> None:
    """Refuse local times that fall back by an hour where clocks do: sorting would lay two hours on each other."""
    for place in falls[:FALLS_MAX]:
        zone = repeated_hour(int(times[place]), int(times[place + 1]))
        if zone:
            raise ScenarioError(
                f"{name} falls back by an hour where clocks are put back ({zone}): local times of that hour are "
                f"ambiguous; export UTC, or say zone=UTC if they are ({PAGE})"
            )


def _sealed(found: Trace, notes: tuple[str, ...]) -> Trace:
    """The trace with its notes, its arrays read-only: it is given to everyone who asks for the file again."""
    for entry in fields(found):
        value = getattr(found, entry.name)
        if isinstance(value, np.ndarray):
            value.setflags(write=False)
    return replace(found, notes=notes)
