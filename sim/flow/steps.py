"""The way of a request through a deployment, told as a few steps.

A *Flow* is a tuple of steps that a request walks through in order: it waits at a station, is delayed on a wire, takes a
branch, fails at a guard, is tried again. A component (``sim/models``) writes its Flow once; an engine
(``sim/engines``) executes it. This file holds the vocabulary only: no clock, no queue, no random number.

Three conventions keep a Flow short:

* A random step names its *stream* of random numbers, ``"component.what"``. The part before the dot is the *time
  category* that the time is attributed to (column ``component_ms``), unless ``category=`` says otherwise. Every use of
  a name on a request's path has a stream of its own (:mod:`sim.flow.numbering`); steps that are ``shared`` take the
  same draw: that is how one round trip is split in two halves.
* Times are a law in ms, or a :class:`Time` when the law is scaled or grows with a counter or an attribute.
* State (``sim/flow/state.py``) is declared by value, where it is used; one name means one thing.

What the steps mean where it could be doubted:

* Stations serve in order of arrival. At one instant, what was scheduled first happens first.
* A failed step ends its Flow at once; servers held on the way are released; the failure travels up to the
  nearest :class:`Attempt` or :class:`Parallel`, or ends the request with the error as its outcome.
* Work that nobody waits for any more goes on: a timed-out attempt keeps its place in every queue.
* Categories follow the critical path: where several flows ran at once, the time of the one that decided the join
  counts, and an attempt that timed out is attributed to waiting in the client. So the categories of a request add up
  to its latency.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Never, TypeVar, get_args

from sim.errors import ModelError
from sim.flow.conditions import (
    ZERO,
    AttributeOver,
    Chance,
    Condition,
    CountAtLeast,
    Drained,
    During,
    Idle,
    Time,
    Waiting,
)
from sim.flow.state import (
    OUTCOMES,
    Attribute,
    Bucket,
    Counter,
    Latch,
    Link,
    RetryBudget,
    Station,
    above_zero,
    not_negative,
    number,
    whole,
)
from sim.randomness.distributions import AnyLaw

__all__ = [
    "OUTCOMES", "ZERO", "Attempt", "Attribute", "AttributeOver", "Branch", "Bucket", "Chance", "Condition",
    "Count", "CountAtLeast", "Counter", "Custom", "Delay", "Drained", "During", "Flow", "Guard", "Hedge",
    "Hold", "Idle", "Latch", "Link", "Match", "Move", "Parallel", "Repeat", "Reset", "RetryBudget", "Serve", "Spawn",
    "State", "Station", "Step", "StepTable", "Time", "Transfer", "Waiting", "as_time", "categories", "category_of",
    "flows_of", "instances", "states", "unknown", "walk",
]  # fmt: skip

Handler = TypeVar("Handler", bound=Callable[..., Any])

State = Station | Link | Counter | Latch | Bucket | RetryBudget
"""Everything that is remembered between requests."""


@dataclass(frozen=True)
class Delay:
    """Pure latency: as many requests at once as there are."""

    time: AnyLaw | Time
    stream: str
    category: str = ""
    shared: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class Serve:
    """Wait for one of the station's servers, hold it for the time. The wait is attributed to ``<station>_queue``."""

    station: Station
    time: AnyLaw | Time
    stream: str
    category: str = ""
    priority: int = 0
    shared: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class Hold:
    """Keep one of the station's servers across nested *steps*. The wait is attributed to ``<station>_queue``."""

    station: Station
    steps: "Flow"
    priority: int = 0


@dataclass(frozen=True)
class Transfer:
    """Send the request's *size* over *link*."""

    link: Link
    category: str
    size: Attribute = "size_bytes"


@dataclass(frozen=True)
class Branch:
    """One of two ways, by chance or by state."""

    condition: Condition
    then: "Flow"
    otherwise: "Flow" = ()


@dataclass(frozen=True)
class Match:
    """One of several ways, by the request's *route*; a route that is not listed passes through."""

    routes: tuple[tuple[str, "Flow"], ...]


@dataclass(frozen=True)
class Parallel:
    """Walk all *flows* at once; go on when *need* of them have succeeded. Fails when that has become impossible."""

    flows: tuple["Flow", ...]
    need: int
    stream: str

    def __post_init__(self) -> None:
        if not 1 <= number(self, "need") <= len(self.flows):
            raise ModelError(
                f"need={self.need} must be between 1 and the number of flows, {len(self.flows)} ({self.stream})"
            )


@dataclass(frozen=True)
class Hedge:
    """Walk *steps*; if they have not ended *after_ms* later, walk a second copy; the first success wins."""

    steps: "Flow"
    after_ms: float
    stream: str

    def __post_init__(self) -> None:
        not_negative(self, "after_ms")


@dataclass(frozen=True)
class Guard:
    """Fail with *error* when the condition is true."""

    condition: Condition
    error: str


@dataclass(frozen=True)
class Count:
    """Add *by* (a number, or an attribute of the request) to the counter; it stops at 0."""

    counter: Counter
    by: float | Attribute = 1.0


@dataclass(frozen=True)
class Reset:
    """Set the counter to 0."""

    counter: Counter


@dataclass(frozen=True)
class Move:
    """Add all that *counter* holds to *into*, and set it to 0: what is sealed now is told from what comes later."""

    counter: Counter
    into: Counter

    def __post_init__(self) -> None:
        if self.counter.name == self.into.name:
            raise ModelError(f"Move.into={self.into.name!r} must be another counter than the one that is emptied")


@dataclass(frozen=True)
class Spawn:
    """Start *steps* that nobody waits for, *after* a time; with *once*, only if no earlier one is still to start."""

    steps: "Flow"
    stream: str
    after: AnyLaw | Time = ZERO
    once: Latch | None = None


@dataclass(frozen=True)
class Repeat:
    """Walk *steps* while the condition is true, at most *limit* times; each turn has luck of its own."""

    condition: Condition
    steps: "Flow"
    stream: str
    limit: int

    def __post_init__(self) -> None:
        whole(self, "limit", low=1)


@dataclass(frozen=True)
class Attempt:
    """A caller's policy: try *steps*, give up on a try after *timeout_ms*, try again up to *retries* times.

    Before retry number k (from 1) the caller waits ``min(backoff_max_ms, backoff_ms * 2**(k-1))``, times a uniform
    number with full *jitter*. A retry that the *budget* does not pay is not made. Waiting is attributed to ``client``.
    The outcome of a request whose last try timed out is ``timeout``; errors in *final* are not tried again.
    """

    steps: "Flow"
    stream: str
    timeout_ms: float | None = None
    retries: int = 0
    backoff_ms: float = 0.0
    backoff_max_ms: float = 60_000.0
    jitter: bool = False
    budget: RetryBudget | None = None
    final: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        whole(self, "retries", low=0)
        if self.retries > RETRIES_MOST:
            raise ModelError(f"Attempt.retries={self.retries} must be <= {RETRIES_MOST} ({self.stream})")
        not_negative(self, "backoff_ms")
        not_negative(self, "backoff_max_ms")
        if self.timeout_ms is not None:
            above_zero(self, "timeout_ms")


@dataclass(frozen=True)
class Custom:
    """A SimPy process of the user's own: called with the environment and a view of the request; simpy engine only."""

    process: Any
    category: str


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

RETRIES_MOST = 10_000
"""Retries of one :class:`Attempt`."""


# ---------------------------------------------------------------- looking at a Flow


def as_time(time: AnyLaw | Time) -> Time:
    """A law as a :class:`Time`."""
    return time if isinstance(time, Time) else Time(time)


def category_of(step: Delay | Serve) -> str:
    """The category that a step's time is attributed to: what it says, or the stream up to its dot."""
    return step.category or step.stream.partition("#")[0].partition(".")[0]


def walk(part: Any) -> Iterator[Any]:
    """Every step, condition, time and piece of state in *part*, parents before children, in the order of writing."""
    inside = part
    if not isinstance(part, tuple):
        yield part
        inside = [getattr(part, name) for name in part.__dataclass_fields__]
    for item in inside:
        if isinstance(item, tuple) or hasattr(item, "__dataclass_fields__"):
            yield from walk(item)


def categories(flow: Flow) -> tuple[str, ...]:
    """Names of all categories that *flow* can attribute time to, sorted."""
    names: set[str] = set()
    for part in walk(flow):
        if isinstance(part, Delay | Serve):
            names.add(category_of(part))
        if isinstance(part, Serve | Hold):
            names.add(f"{part.station.name}_queue")
        if isinstance(part, Transfer | Custom):
            names.add(part.category)
        if isinstance(part, Attempt | Hedge):
            names.add("client")
    return tuple(sorted(names))


def states(flow: Flow, kind: Any) -> tuple[Any, ...]:
    """All stations (or links, counters, ...) in *flow*, by name; one name must mean one thing.

    Raises
    ------
    ModelError
        Two different declarations share a name.
    """
    found: dict[str, Any] = {}
    for part in walk(flow):
        if type(part) is kind:
            known = found.setdefault(part.name, part)
            if known != part:
                raise ModelError(
                    f"{kind.__name__} {part.name!r} is declared twice with different values; declare it once"
                )
    return tuple(found[name] for name in sorted(found))


def instances(flow: Flow) -> int:
    """Instances of all state in *flow* together: what a run must remember, however few requests come."""
    return sum(getattr(part, "instances", 1) for kind in get_args(State) for part in states(flow, kind))


def flows_of(step: Step) -> tuple[Flow, ...]:
    """The flows that *step* is made of; none for a simple step."""
    match step:
        case Hold() | Hedge() | Spawn() | Repeat() | Attempt():
            return (step.steps,)
        case Branch():
            return (step.then, step.otherwise)
        case Match():
            return tuple(way for _, way in step.routes)
        case Parallel():
            return step.flows
        case Delay() | Serve() | Transfer() | Guard() | Count() | Reset() | Move() | Custom():
            return ()
        case _:
            raise unknown(step, "sim.flow")


class StepTable(dict[type, Handler]):
    """What an interpreter of flows does with each kind of step; it has an entry for every kind.

    Parameters
    ----------
    interpreter : str
        Its name, for errors.
    handlers : mapping of type to callable

    Raises
    ------
    ModelError
        Looked up for what is no step.
    """

    def __init__(self, interpreter: str, handlers: Mapping[type, Handler]) -> None:
        super().__init__(handlers)
        self.interpreter = interpreter
        forgotten = set(get_args(Step)) - self.keys()
        assert not forgotten, f"{interpreter} must interpret {forgotten}"

    def __missing__(self, kind: type) -> Never:
        raise _unknown(kind, self.interpreter)


def unknown(part: Never, interpreter: str) -> ModelError:
    """Make the error of a step or condition that *interpreter* does not know.

    It is raised behind a ``match`` of every kind, so that the type checker proves that none was forgotten.
    """
    return _unknown(type(part), interpreter)


def _unknown(kind: type, interpreter: str) -> ModelError:
    return ModelError(f"{kind.__name__} is unknown to {interpreter}; steps and conditions are those of sim.flow")
