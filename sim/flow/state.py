"""The state of a deployment between requests: servers and their queues, links, counters, stamps, alarms, token buckets.

Everything here is a declaration: a name, a size, and a number of *instances*. A request's key modulo ``instances``
selects its instance, so one Durable Object per organisation is ``Station("durable_objects", instances=200)``.
"""

from typing import Literal, get_args

from sim.flow.parts import AtLeastOne, Name, NaturalNumber, NotNegative, Positive, PositiveNumber, part

Failure = Literal["timeout", "overloaded", "too_large", "refused", "error", "skipped", "aborted", "closed"]
"""Ways in which a request can fail. ``skipped``, ``aborted`` and ``closed`` occur only in the load generator; the
last is a WebSocket session that ended before the answer."""

OUTCOMES: tuple[str, ...] = ("ok", *get_args(Failure))
"""Outcomes of a request."""

Attribute = Literal["key", "size_bytes", "tokens_in", "tokens_out"]
"""Attributes of a request that a step may read."""

ATTRIBUTES = ", ".join(get_args(Attribute))

Discipline = Literal["fcfs", "lcfs", "priority", "ps"]
"""Order of service; see :class:`Station`."""


ELASTIC = 2**40
"""Servers of a station that scales out with its load: more than there are ever requests, so nobody waits."""


@part
class Station:
    """Servers behind one queue.

    Attributes
    ----------
    name : str
    servers : int
        Requests served at once by one instance; :data:`ELASTIC` for one that scales out.
    instances : int
        Independent copies; a request's key modulo this number selects its own.
    queue_limit : int or None
        Most requests waiting in one instance; a further one fails with *error*.
    discipline : {"fcfs", "lcfs", "priority", "ps"}
        In order of arrival; newest first; lowest ``priority`` first; or all at once, sharing the servers' speed
        (processor sharing).
    error : str
        Outcome of a request that finds the queue full.
    queue : str
        Waits are attributed to ``<queue>_queue``; by default to ``<name>_queue``.
    """

    name: Name
    servers: PositiveNumber = 1
    instances: PositiveNumber = 1
    queue_limit: NaturalNumber | None = None
    discipline: Discipline = "fcfs"
    error: Failure = "overloaded"
    queue: str = ""


@part
class Link:
    """A link of *bytes_per_s*, which each transfer has for itself or, if ``shared``, all transfers share fairly."""

    name: Name
    bytes_per_s: Positive
    shared: bool = False
    instances: PositiveNumber = 1


@part
class Counter:
    """A number that grows with traffic: events in an object's log, rows in a table. Never below 0."""

    name: Name
    instances: PositiveNumber = 1


@part
class Stamp:
    """When something last happened; before it has, infinitely long ago."""

    name: Name
    instances: PositiveNumber = 1


@part
class Latch:
    """A flag that is set while a spawned flow has yet to start: a Durable Object's single alarm."""

    name: Name
    instances: PositiveNumber = 1


@part
class Bucket:
    """A token bucket: fills with *per_s* tokens a second up to *burst*, starts full."""

    name: Name
    per_s: Positive
    burst: AtLeastOne
    instances: PositiveNumber = 1


@part
class RetryBudget:
    """A retry budget: a first attempt adds *ratio*, up to *burst*; a retry costs 1. Starts full."""

    name: Name
    ratio: NotNegative
    burst: AtLeastOne = 10.0
