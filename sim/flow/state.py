"""What a deployment remembers between requests: servers and their queues, wires, counters, alarms, tokens.

Everything here is a declaration: a name, a size, and how many *instances* there are. A request's key modulo
``instances`` selects its own, so one Durable Object an organisation is ``Station("durable_objects", instances=200)``.
"""

from typing import Literal, get_args

from sim.flow.parts import AtLeastOne, Name, NaturalNumber, NotNegative, Positive, PositiveNumber, part

Failure = Literal["timeout", "overloaded", "too_large", "refused", "error", "skipped", "aborted"]
"""How a request can fail. ``skipped`` and ``aborted`` are the load generator's own."""

OUTCOMES: tuple[str, ...] = ("ok", *get_args(Failure))
"""How a request can end."""

Attribute = Literal["key", "size_bytes", "tokens_in", "tokens_out"]
"""The numbers that a request carries and a step may read."""

ATTRIBUTES = ", ".join(get_args(Attribute))

Discipline = Literal["fcfs", "priority", "ps"]
"""Who is served next; see :class:`Station`."""


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
    discipline : {"fcfs", "priority", "ps"}
        In order of arrival; lowest ``priority`` first; or all at once, sharing the servers' speed (processor sharing).
    error : str
        Outcome of a request that finds the queue full.
    """

    name: Name
    servers: PositiveNumber = 1
    instances: PositiveNumber = 1
    queue_limit: NaturalNumber | None = None
    discipline: Discipline = "fcfs"
    error: Failure = "overloaded"


@part
class Link:
    """A wire of *bytes_per_s*: each transfer has it alone, or, if ``shared``, all under way share it fairly."""

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
class Latch:
    """A flag that is set while a spawned flow has not started yet: an object's one alarm."""

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
    """Retries paid by first attempts: each of those adds *ratio*, up to *burst*; a retry costs 1. Starts full."""

    name: Name
    ratio: NotNegative
    burst: AtLeastOne = 10.0
