"""The steps of a request's path through a deployment.

A *Flow* is a tuple of steps that a request walks through in order: it waits at a station, is delayed on a wire, takes a
branch, fails at a guard, is retried. A component (``sim/models``) writes its Flow once; an engine
(``sim/engines``) executes it. This file holds the vocabulary only: no clock, no queue, no random number.

Three conventions keep a Flow short:

* A random step names its *stream* of random numbers, ``"component.what"``. The part before the dot is the *time
  category* that the time is attributed to (column ``component_ms``), unless ``category=`` says otherwise. Every use of
  a name on a request's path has a stream of its own (:mod:`sim.flow.numbering`); steps that are ``shared`` take the
  same draw: that is how one round trip is split in two halves.
* A time is a distribution in ms, or a :class:`Time` when it is scaled or grows with a counter or an attribute.
* State (``sim/flow/state.py``) is declared by value, where it is used; one name means one thing.

Semantics, where they might be unclear:

* Stations serve in order of arrival. At one instant, what was scheduled first happens first.
* A failed step ends its Flow at once; servers held on the way are released; the failure travels up to the
  nearest :class:`Attempt` or :class:`Parallel`, or ends the request with the error as its outcome.
* Abandoned work goes on: a timed-out attempt keeps its place in every queue.
* Categories follow the critical path: where several flows ran at once, the time of the one that decided the join
  counts, and an attempt that timed out is attributed to waiting in the client. So the categories of a request add up
  to its latency.
"""

from collections.abc import Callable
from dataclasses import field
from typing import Annotated, Any, get_args

from pydantic import Field

from sim.errors import ModelError
from sim.flow.conditions import ZERO, Condition, Duration, refuse_sharing
from sim.flow.parts import (
    Finite,
    Name,
    NaturalNumber,
    NotNegative,
    Positive,
    PositiveNumber,
    Whole,
    complete,
    kind,
    part,
)
from sim.flow.state import ATTRIBUTES, Attribute, Bucket, Counter, Failure, Latch, Link, RetryBudget, Station

Steps = Annotated["Flow", kind("a tuple of steps")]
SomeSteps = Annotated["Flow", Field(min_length=1), kind("a tuple of at least one step")]
When = Annotated[Condition, kind("a condition of sim/flow/conditions.py")]
Retries = Annotated[NaturalNumber, Field(le=10_000)]

State = Station | Link | Counter | Latch | Bucket | RetryBudget
"""Everything that is remembered between requests."""


@part
class Delay:
    """Pure latency: as many requests at once as there are."""

    time: Duration
    stream: Name
    category: str = ""
    shared: bool = field(default=False, kw_only=True)


@part
class Serve:
    """Wait for one of the station's servers, hold it for the time. The wait is attributed to ``<station>_queue``."""

    station: Station
    time: Duration
    stream: Name
    category: str = ""
    priority: Whole = 0
    shared: bool = field(default=False, kw_only=True)


@part
class Hold:
    """Keep one of the station's servers across nested *steps*. The wait is attributed to ``<station>_queue``."""

    station: Station
    steps: Steps
    priority: Whole = 0

    def __post_init__(self) -> None:
        refuse_sharing(self, self.station)


@part
class Transfer:
    """Send the request's *size* over *link*."""

    link: Link
    category: Name
    size: Attribute = "size_bytes"


@part
class Branch:
    """Take one of two paths, by chance or by state."""

    condition: When
    then: Steps
    otherwise: Steps = ()


@part
class Match:
    """Take one of several paths, by the request's *route*; a route that is not listed passes through."""

    routes: Annotated[tuple[tuple[str, "Flow"], ...], kind("a tuple of pairs (route, tuple of steps)")]


@part
class Parallel:
    """Walk all *flows* at once; go on when *need* of them have succeeded. Fails when that has become impossible."""

    flows: Annotated[tuple["Flow", ...], kind("a tuple of tuples of steps")]
    need: PositiveNumber
    stream: Name

    def __post_init__(self) -> None:
        if self.need > len(self.flows):
            raise ModelError(
                f"Parallel.need={self.need} must be <= {len(self.flows)}, the number of flows ({self.stream})"
            )


@part
class Hedge:
    """Walk *steps*; if they have not ended *after_ms* later, walk a second copy; the first success wins."""

    steps: Steps
    after_ms: NotNegative
    stream: Name


@part
class Guard:
    """Fail with *error* when the condition is true."""

    condition: When
    error: Failure


@part
class Count:
    """Add *by* (a number, or an attribute of the request) to the counter; it stops at 0."""

    counter: Counter
    by: Annotated[Finite | Attribute, kind(f"a finite number or one of {ATTRIBUTES}")] = 1.0


@part
class Reset:
    """Set the counter to 0."""

    counter: Counter


@part
class Move:
    """Add all that *counter* holds to *into*, and set it to 0: what is sealed now stays apart from what comes later."""

    counter: Counter
    into: Counter

    def __post_init__(self) -> None:
        if self.counter.name == self.into.name:
            raise ModelError(f"Move.into={self.into.name!r} must be another counter than the one that is emptied")


@part
class Spawn:
    """Start *steps* in the background, *after* a time; with *once*, only if no earlier one is still to start."""

    steps: Steps
    stream: Name
    after: Duration = ZERO
    once: Latch | None = None


@part
class Repeat:
    """Walk *steps* while the condition is true, at most *limit* times; each turn has random numbers of its own."""

    condition: When
    steps: SomeSteps
    stream: Name
    limit: PositiveNumber


@part
class Attempt:
    """A caller's policy: try *steps*, give up on a try after *timeout_ms*, try again up to *retries* times.

    Before retry number k (from 1) the caller waits ``min(backoff_max_ms, backoff_ms * 2**(k-1))``, times a uniform
    number with full *jitter*. A retry that the *budget* cannot pay for is not made. Waiting is attributed to
    ``client``. The outcome of a request whose last try timed out is ``timeout``; errors in *final* are not tried again.
    """

    steps: Steps
    stream: Name
    timeout_ms: Positive | None = None
    retries: Retries = 0
    backoff_ms: NotNegative = 0.0
    backoff_max_ms: NotNegative = 60_000.0
    jitter: bool = False
    budget: RetryBudget | None = None
    final: Annotated[tuple[Failure, ...], kind("a tuple of outcomes other than ok")] = ()


@part
class Custom:
    """A SimPy process of the user's own: called with the environment and a view of the request; simpy engine only."""

    process: Callable[..., Any]
    category: Name


Step = (
    Delay
    | Serve
    | Hold
    | Transfer
    | Branch
    | Match
    | Parallel
    | Hedge
    | Guard
    | Count
    | Reset
    | Move
    | Spawn
    | Repeat
    | Attempt
    | Custom
)
Flow = tuple[Step, ...]
"""Steps in order."""

complete(get_args(Step))
