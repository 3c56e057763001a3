"""How a trace is to be read where the file does not say it: ``[workload.trace]``, or ``--columns``."""

from typing import Any, Literal

from sim.foundation.errors import UsageError
from sim.foundation.schema import Table, nearest

Unit = Literal["s", "ms", "us", "ns"]

UNITS_NS: dict[str, int] = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}


class TraceColumns(Table):
    """Which column of the file is what; empty: a column that is not to be used."""

    time: str | None = None
    """When a request came."""
    end: str | None = None
    """When it ended: with ``duration`` it says when it came."""
    duration: str | None = None
    """How long it took, in the unit of ``end``."""
    route: str | None = None
    """Name of a route, or method and path."""
    method: str | None = None
    """HTTP method."""
    path: str | None = None
    """Path or URL; what stands behind ``?`` is never kept."""
    key: str | None = None
    """Organisation, user or room: whatever a key is in the deployment."""
    size: str | None = None
    """Bytes that the request asks for."""
    sent: str | None = None
    """Bytes that the request carries: the size of a PUT, POST or PATCH."""
    latency: str | None = None
    """Measured latency, in ms unless its name ends in another unit."""
    status: str | None = None
    """HTTP status of the answer."""
    tokens_in: str | None = None
    """Tokens that the model read."""
    tokens_out: str | None = None
    """Tokens that the model wrote."""


class TraceOptions(Table):
    """How a trace is to be read where the file does not say it."""

    columns: TraceColumns = TraceColumns()
    """Which column is what; without it the names and the formats of common tools are recognised."""
    unit: Literal["", "s", "ms", "us", "ns"] = ""
    """Unit of times that are numbers; empty: by their names and magnitude."""
    zone: str = ""
    """Time zone of stamps that name none, such as ``Europe/Berlin``; empty: UTC."""
    unmatched: Literal["refuse", "skip"] = "refuse"
    """What becomes of rows that match no route: the file is refused, or they are left out and counted."""


def trace_options(columns: str | None = None, unmatched: str | None = None) -> dict[str, Any]:
    """Return ``[workload.trace]`` as asked for on the command line.

    >>> trace_options("time=ts,key=tenant,unit=s", "skip")
    {'columns': {'time': 'ts', 'key': 'tenant'}, 'unit': 's', 'unmatched': 'skip'}

    Raises
    ------
    UsageError
        A part is not ``NAME=COLUMN``, or its name is not known.
    """
    found: dict[str, Any] = {"columns": {}}
    known = [*TraceColumns.model_fields, "unit", "zone"]
    for part in (columns or "").split(","):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not part.strip():
            continue
        if not equals or name not in known:
            raise UsageError(f"columns={part.strip()!r} must read NAME=COLUMN; {nearest(name, known)}")
        if name in ("unit", "zone"):
            found[name] = value
        else:
            found["columns"][name] = value
    if unmatched is not None:
        found["unmatched"] = unmatched
    return found
