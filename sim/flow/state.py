"""What a deployment remembers between requests: servers and their queues, wires, counters, alarms, tokens.

Everything here is a declaration: a name, a size, and how many *instances* there are. A request's key modulo
``instances`` selects its own, so one Durable Object an organisation is ``Station("durable_objects", instances=200)``.
"""

from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

from sim.errors import ModelError

OUTCOMES = ("ok", "timeout", "overloaded", "too_large", "refused", "error", "skipped", "aborted")
"""How a request can end. ``skipped`` and ``aborted`` are the load generator's own."""

Attribute = Literal["route", "key", "size_bytes", "tokens_in", "tokens_out"]
"""What a request carries and a step may read."""

Discipline = Literal["fcfs", "priority", "ps"]
"""Who is served next; see :class:`Station`."""


WHOLE_MOST = 2**53
"""Beyond it not every whole number has a float of its own, and 2**63 is no number of the compiled machine."""


def number(part: Any, name: str) -> Any:
    """The field *name* of a part, which must be a number."""
    value = getattr(part, name)
    if not isinstance(value, Real):
        raise ModelError(f"{type(part).__name__}.{name}={value!r} must be a number{_where(part)}")
    return value


def at_least(part: Any, name: str, *, low: float) -> None:
    """Refuse a part whose field *name* is below *low*."""
    value = number(part, name)
    if not value >= low:
        raise ModelError(f"{type(part).__name__}.{name}={value} must be >= {low}{_where(part)}")


def _where(part: Any) -> str:
    """The name or stream of a part that has one, in brackets."""
    label = getattr(part, "name", None) or getattr(part, "stream", None)
    return f" ({label})" if label else ""


def whole(part: Any, name: str, *, low: int) -> None:
    """Refuse a part whose field *name* is no whole number, or below *low*."""
    at_least(part, name, low=low)
    value = getattr(part, name)
    if value % 1 != 0:
        raise ModelError(f"{type(part).__name__}.{name}={value} must be a whole number{_where(part)}")
    if value > WHOLE_MOST:
        raise ModelError(f"{type(part).__name__}.{name}={value} must be <= {WHOLE_MOST}{_where(part)}")


def above_zero(part: Any, name: str) -> None:
    """Refuse a part whose field *name* is not positive and finite."""
    value = number(part, name)
    if not 0 < value < float("inf"):
        raise ModelError(f"{type(part).__name__}.{name}={value} must be > 0 and finite{_where(part)}")


def not_negative(part: Any, name: str) -> None:
    """Refuse a part whose field *name* is negative, infinite or not a number."""
    value = number(part, name)
    if not 0 <= value < float("inf"):
        raise ModelError(f"{type(part).__name__}.{name}={value} must be >= 0 and finite{_where(part)}")


@dataclass(frozen=True)
class Station:
    """Servers behind one queue.

    Attributes
    ----------
    name : str
    servers : int
        Requests served at once by one instance.
    instances : int
        Independent copies; a request's key modulo this number selects its own.
    queue_limit : int or None
        Most requests waiting in one instance; a further one fails with *error*.
    discipline : {"fcfs", "priority", "ps"}
        In order of arrival; lowest ``priority`` first; or all at once, sharing the servers' speed (processor sharing).
    error : str
        Outcome of a request that finds the queue full.
    """

    name: str
    servers: int = 1
    instances: int = 1
    queue_limit: int | None = None
    discipline: Discipline = "fcfs"
    error: str = "overloaded"

    def __post_init__(self) -> None:
        whole(self, "servers", low=1)
        whole(self, "instances", low=1)
        if self.queue_limit is not None:
            whole(self, "queue_limit", low=0)
        if self.discipline not in get_args(Discipline):
            names = ", ".join(get_args(Discipline))
            raise ModelError(f"Station.discipline={self.discipline!r} must be one of {names} ({self.name})")


@dataclass(frozen=True)
class Link:
    """A wire of *bytes_per_s*: each transfer has it alone, or, if ``shared``, all under way share it fairly."""

    name: str
    bytes_per_s: float
    shared: bool = False
    instances: int = 1

    def __post_init__(self) -> None:
        above_zero(self, "bytes_per_s")
        whole(self, "instances", low=1)


@dataclass(frozen=True)
class Counter:
    """A number that grows with traffic: events in an object's log, rows in a table. Never below 0."""

    name: str
    instances: int = 1

    def __post_init__(self) -> None:
        whole(self, "instances", low=1)


@dataclass(frozen=True)
class Latch:
    """A flag that is set while a spawned flow has not started yet: an object's one alarm."""

    name: str
    instances: int = 1

    def __post_init__(self) -> None:
        whole(self, "instances", low=1)


@dataclass(frozen=True)
class Bucket:
    """A token bucket: fills with *per_s* tokens a second up to *burst*, starts full."""

    name: str
    per_s: float
    burst: float
    instances: int = 1

    def __post_init__(self) -> None:
        above_zero(self, "per_s")
        at_least(self, "burst", low=1)
        whole(self, "instances", low=1)


@dataclass(frozen=True)
class RetryBudget:
    """Retries paid by first attempts: each of those adds *ratio*, up to *burst*; a retry costs 1. Starts full."""

    name: str
    ratio: float
    burst: float = 10.0

    def __post_init__(self) -> None:
        not_negative(self, "ratio")
        at_least(self, "burst", low=1)
