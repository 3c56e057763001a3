"""The steps of a request's path through a deployment.

A *Flow* is a tuple of steps that a request takes in order: it waits at a station, is delayed on a link, takes a
branch, fails at a guard, is retried. A component (``sim/models``) defines its Flow once; an engine
(``sim/engines``) executes it. This module only defines the steps: it has no clock, no queue and no random numbers.

Three conventions:

* A random step names its *stream* of random numbers, ``"component.what"``. The part before the dot is the *time
  category* that the time is attributed to (column ``component_ms``), unless ``category=`` says otherwise. Every use of
  a name on a request's path has a stream of its own (:mod:`sim.flow.numbering`); steps that are ``shared`` use the
  same random number, which is how one round trip is split into two halves.
* A time is a distribution in ms, or a :class:`Time` when it is scaled or grows with a counter or an attribute.
* State (``sim/flow/state.py``) is declared by value, where it is used; two declarations of one name must be equal.

Semantics:

* Stations serve by their discipline, in order of arrival unless another is said. Events at the same instant happen in
  the order in which they were scheduled.
* A failed step ends its Flow at once; servers that it holds are released, and the ways back that it is inside of
  (:class:`Finally`) are taken, the innermost first; then the failure propagates to the nearest :class:`Attempt` or
  :class:`Parallel`, or ends the request with the error as its outcome.
* Abandoned work continues: a timed-out attempt keeps its place in every queue.
* Categories follow the critical path: where several flows ran at once, the time of the one that decided the join
  counts, and an attempt that timed out is attributed to ``client``. So the categories of a request add up to its
  latency.
"""

from collections.abc import Callable
from dataclasses import field
from typing import Annotated, Any, get_args

from pydantic import Field

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
from sim.flow.state import ATTRIBUTES, Attribute, Bucket, Counter, Failure, Latch, Link, RetryBudget, Stamp, Station
from sim.foundation.errors import ModelError

Steps = Annotated["Flow", kind("a tuple of steps")]
SomeSteps = Annotated["Flow", Field(min_length=1), kind("a tuple of at least one step")]
When = Annotated[Condition, kind("a condition of sim/flow/conditions.py")]
Retries = Annotated[NaturalNumber, Field(le=10_000)]

State = Station | Link | Counter | Stamp | Latch | Bucket | RetryBudget
"""State that persists between requests."""


@part
class Delay:
    """Pure latency without a queue: any number of requests at once."""

    time: Duration
    stream: Name
    category: str = ""
    shared: bool = field(default=False, kw_only=True)


@part
class Serve:
    """Wait for one of the station's servers, and hold it for *time*. The wait is attributed to ``<station>_queue``."""

    station: Station
    time: Duration
    stream: Name
    category: str = ""
    priority: Whole = 0
    shared: bool = field(default=False, kw_only=True)


@part
class Hold:
    """Hold one of the station's servers during nested *steps*. The wait is attributed to ``<station>_queue``."""

    station: Station
    steps: Steps
    priority: Whole = 0

    def __post_init__(self) -> None:
        refuse_sharing(self, self.station)


@part
class Finally:
    """Run *steps*, then *after*, also if *steps* fail: an error travels back as an answer does.

    No step of *after* may fail, wait for a server or start a flow (:mod:`sim.flow.validation`).
    """

    steps: Steps
    after: Steps


@part
class Transfer:
    """Send the request's *size* over *link*."""

    link: Link
    category: Name
    size: Attribute = "size_bytes"


@part
class Branch:
    """Take one of two paths, by a condition."""

    condition: When
    then: Steps
    otherwise: Steps = ()


@part
class Match:
    """Take one of several paths, by the request's *route*; a route that is not listed passes through."""

    routes: Annotated[tuple[tuple[str, "Flow"], ...], kind("a tuple of pairs (route, tuple of steps)")]


@part
class Parallel:
    """Run all *flows* concurrently; continue when *need* of them have succeeded, fail when they no longer can."""

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
    """Run *steps*; if they have not ended after *after_ms*, run a second copy too; the first success wins."""

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
    """Add *by* (a number, or an attribute of the request) to the counter, which never falls below 0."""

    counter: Counter
    by: Annotated[Finite | Attribute, kind(f"a finite number or one of {ATTRIBUTES}")] = 1.0


@part
class Reset:
    """Set the counter to 0."""

    counter: Counter


@part
class Move:
    """Add the value of *counter* to *into*, and set it to 0: this seals what has accumulated so far."""

    counter: Counter
    into: Counter

    def __post_init__(self) -> None:
        if self.counter.name == self.into.name:
            raise ModelError(f"Move.into={self.into.name!r} must be another counter than the one that is emptied")


@part
class Gather:
    """Have what waits at *station* served next, in the order in which it would be: at most *at_most*, now and no later.

    What comes afterwards waits until they have been served, even where the newest goes first. *into* grows by how many
    they are.
    """

    station: Station
    into: Counter
    at_most: PositiveNumber | None = None

    def __post_init__(self) -> None:
        refuse_sharing(self, self.station)


@part
class Mark:
    """Set *stamp* to now; with *at*, to what *at* shows, unless it is later already."""

    stamp: Stamp
    at: Stamp | None = None

    def __post_init__(self) -> None:
        if self.at is not None and self.at.name == self.stamp.name:
            raise ModelError(f"Mark.at={self.at.name!r} must be another stamp than the one that is set")


@part
class Spawn:
    """Start *steps* in the background *after* a delay; with *once*, only if no earlier one is still pending."""

    steps: Steps
    stream: Name
    after: Duration = ZERO
    once: Latch | None = None


@part
class Repeat:
    """Repeat *steps* while the condition is true, at most *limit* times; iterations have independent random numbers."""

    condition: When
    steps: SomeSteps
    stream: Name
    limit: PositiveNumber


@part
class Attempt:
    """Try *steps* with a timeout of *timeout_ms* and up to *retries* retries.

    Before retry number k (from 1) the caller waits ``min(backoff_max_ms, backoff_ms * 2**(k-1))``, times a uniform
    number with full *jitter*. A retry that the *budget* does not cover is not made. The pauses are attributed to
    ``client``. The outcome of a request whose last attempt timed out is ``timeout``; errors in *final* are not retried.
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
    """A user's own SimPy process, called with the environment and a view of the request; simpy engine only."""

    process: Callable[..., Any]
    category: Name


Step = (
    Delay
    | Serve
    | Hold
    | Finally
    | Transfer
    | Branch
    | Match
    | Parallel
    | Hedge
    | Guard
    | Count
    | Reset
    | Move
    | Gather
    | Mark
    | Spawn
    | Repeat
    | Attempt
    | Custom
)
Flow = tuple[Step, ...]
"""Steps in order."""

complete(get_args(Step))
