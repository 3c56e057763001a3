"""Inspection of a flow: its parts, its state, its time categories; and tables for interpreters of its steps."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Never, TypeVar, get_args

from sim.flow.conditions import Time
from sim.flow.state import Station
from sim.flow.steps import (
    Attempt,
    Branch,
    Count,
    Custom,
    Delay,
    Finally,
    Flow,
    Gather,
    Guard,
    Hedge,
    Hold,
    Mark,
    Match,
    Move,
    Parallel,
    Repeat,
    Reset,
    Serve,
    Spawn,
    State,
    Step,
    Transfer,
)
from sim.foundation.errors import ModelError
from sim.randomness.distributions import AnyDistribution

Handler = TypeVar("Handler", bound=Callable[..., Any])


def as_time(time: AnyDistribution | Time) -> Time:
    """Return a distribution as a :class:`Time`."""
    return time if isinstance(time, Time) else Time(time)


def category_of(step: Delay | Serve) -> str:
    """Return the category that a step's time is attributed to: its own, or the stream's name up to the dot."""
    return step.category or step.stream.partition("#")[0].partition(".")[0]


def queue_category(station: Station) -> str:
    """Return the category that waits at *station* are attributed to."""
    return f"{station.queue or station.name}_queue"


def walk(part: Any) -> Iterator[Any]:
    """Yield every step, condition, time and piece of state in *part*, parents before children, in order."""
    inside = part
    if not isinstance(part, tuple):
        yield part
        inside = [getattr(part, name) for name in part.__dataclass_fields__]
    for item in inside:
        if isinstance(item, tuple) or hasattr(item, "__dataclass_fields__"):
            yield from walk(item)


def categories(flow: Flow) -> tuple[str, ...]:
    """Return the names of all categories that *flow* can attribute time to, sorted."""
    names: set[str] = set()
    for part in walk(flow):
        if isinstance(part, Delay | Serve):
            names.add(category_of(part))
        if isinstance(part, Serve | Hold):
            names.add(queue_category(part.station))
        if isinstance(part, Transfer | Custom):
            names.add(part.category)
        if isinstance(part, Attempt | Hedge):
            names.add("client")
    return tuple(sorted(names))


def states(flow: Flow, kind: Any) -> tuple[Any, ...]:
    """Return all stations (or links, counters, ...) in *flow*, by name.

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
    """Return the number of instances of all state in *flow*, all of which a run must allocate."""
    return sum(getattr(part, "instances", 1) for kind in get_args(State) for part in states(flow, kind))


def flows_of(step: Step) -> tuple[Flow, ...]:
    """Return the flows that *step* is made of; none for a simple step."""
    match step:
        case Hold() | Hedge() | Spawn() | Repeat() | Attempt():
            return (step.steps,)
        case Finally():
            return (step.steps, step.after)
        case Branch():
            return (step.then, step.otherwise)
        case Match():
            return tuple(way for _, way in step.routes)
        case Parallel():
            return step.flows
        case Delay() | Serve() | Transfer() | Guard() | Count() | Reset() | Move() | Gather() | Mark() | Custom():
            return ()
        case _:
            raise unknown(step, "sim.flow")


class StepTable(dict[type, Handler]):
    """An interpreter's table of handlers, with one for every kind of step.

    Parameters
    ----------
    interpreter : str
        Its name, for errors.
    handlers : mapping of type to callable

    Raises
    ------
    ModelError
        The key is not a kind of step.
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

    It is raised after a ``match`` over every kind, so that the type checker proves the match exhaustive.
    """
    return _unknown(type(part), interpreter)


def _unknown(kind: type, interpreter: str) -> ModelError:
    return ModelError(f"{kind.__name__} is unknown to {interpreter}; steps and conditions are those of sim.flow")
