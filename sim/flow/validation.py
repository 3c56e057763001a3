"""Whether a Flow can be executed at all: what would hang, or mean nothing, is refused before the run.

Nothing that passes here can keep an engine busy for ever: loops have a bound, and no request can wait for itself.
"""

from collections.abc import Iterator
from functools import cache
from math import isfinite
from numbers import Real
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from sim.errors import ModelError
from sim.flow import (
    OUTCOMES,
    Attempt,
    Attribute,
    Count,
    Custom,
    Flow,
    Guard,
    Hold,
    Idle,
    Repeat,
    Serve,
    Spawn,
    State,
    Station,
    Step,
    flows_of,
    states,
    walk,
)
from sim.flow.numbering import MARK
from sim.randomness.distributions import AnyLaw

NUMBERS = tuple(name for name in get_args(Attribute) if name != "route")
"""Attributes that one can calculate with; a route is a name, for :class:`Match`."""

TURNS_MOST = 20_000_000
"""Turns that nested loops, and tries of nested callers, may take together."""


def check(flow: Flow) -> None:
    """Refuse a Flow that no engine could execute: empty, endless, or with one name for two things.

    Raises
    ------
    ModelError
        One line that names the part and the rule.
    """
    if not flow:
        raise ModelError("flow=() must have at least one step")
    if not isinstance(flow, tuple):
        raise ModelError(f"flow={flow!r} must be a tuple of steps of sim/flow/steps.py")
    parts = {id(part): part for part in walk(flow)}.values()
    for part in parts:
        check_kinds(part)
    _check_steps(flow, turns=1)
    for kind in get_args(State):
        states(flow, kind)
    for part in parts:
        _check_part(part)
    _check_order(flow)


def _check_steps(steps: Any, *, turns: int) -> None:
    """Refuse what is no step, and loops in loops that could keep one request busy for ever."""
    for step in steps if isinstance(steps, tuple) else (steps,):
        if not isinstance(step, Step):
            raise ModelError(f"{step!r} is no step; a flow is a tuple of steps of sim/flow/steps.py")
        inner = turns
        if isinstance(step, Repeat | Attempt):
            inner *= step.limit if isinstance(step, Repeat) else step.retries + 1
            if inner > TURNS_MOST:
                raise ModelError(
                    f"{type(step).__name__}({step.stream!r}) may take {inner} turns; "
                    f"loops and tries together must take <= {TURNS_MOST}"
                )
        for inner_steps in flows_of(step):
            _check_steps(inner_steps, turns=inner)


def _check_part(part: Any) -> None:
    """Refuse a part that means nothing where it stands."""
    if isinstance(part, Hold | Idle) and part.station.discipline == "ps":
        raise ModelError(
            f"{type(part).__name__}(station={part.station.name!r}) must not hold a processor-sharing station; use Serve"
        )
    if isinstance(part, Repeat) and not part.steps:
        raise ModelError(f"Repeat({part.stream!r}) must repeat at least one step")
    if isinstance(part, Guard | Station) and part.error not in OUTCOMES[1:]:
        raise ModelError(f"error={part.error!r} must be one of {', '.join(OUTCOMES[1:])}")
    if isinstance(part, Count) and not isinstance(part.by, str) and not isfinite(part.by):
        raise ModelError(f"Count.by={part.by} must be finite ({part.counter.name})")
    if isinstance(part, Attempt) and not set(part.final) <= set(OUTCOMES[1:]):
        raise ModelError(f"Attempt.final={part.final!r} must hold none but {', '.join(OUTCOMES[1:])} ({part.stream})")
    if isinstance(part, Custom) and not callable(part.process):
        raise ModelError(f"Custom.process={part.process!r} must be a function of the environment and the request")
    if MARK in getattr(part, "stream", ""):
        raise ModelError(f"{type(part).__name__}.stream={part.stream!r} must not contain {MARK!r} (it numbers uses)")
    for name in ("of", "by", "size", "attribute"):
        attribute = getattr(part, name, None)
        if isinstance(attribute, str) and attribute not in NUMBERS:
            raise ModelError(f"{type(part).__name__}.{name}={attribute!r} must be one of {', '.join(NUMBERS)}")


def _check_order(flow: Flow) -> None:
    """Refuse stations that are held in a circle: requests could wait for each other, or one for itself, for ever.

    Sources
    -------
    Coffman, Elphick and Shoshani, "System deadlocks", ACM Comput. Surv. 3, 1971 (circular wait).
    """
    after: dict[str, set[str]] = {}
    for held, wanted in _waits(flow, frozenset()):
        after.setdefault(held, set()).add(wanted)
    for start in sorted(after):
        reached, ways = set[str](), [start]
        while ways:
            for station in after.get(ways.pop(), set()) - reached:
                reached.add(station)
                ways.append(station)
        if start in reached:
            raise ModelError(
                f"Hold(station={start!r}) waits, while it holds, for what may wait for {start!r}: nobody would ever go "
                "on; wait outside the Hold, or bound the wait by an Attempt with a timeout"
            )


def _waits(flow: Flow, held: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Pairs of a station that is held and one that is waited for meanwhile."""
    for step in flow:
        if isinstance(step, Serve | Hold) and step.station.discipline != "ps":
            yield from ((name, step.station.name) for name in held)
        inside = held
        if isinstance(step, Hold):
            inside = held | {step.station.name}
        elif isinstance(step, Spawn) or (isinstance(step, Attempt) and step.timeout_ms is not None):
            inside = frozenset()
        for inner in flows_of(step):
            yield from _waits(inner, inside)


# ---------------------------------------------------------------- kinds of values

LAWS = get_args(AnyLaw)

WORDS = {float: "a number", int: "a whole number", str: "a text", Flow: "a tuple of steps", type(None): "None"}
"""How kinds are spoken of that have no name of ours."""


def check_kinds(part: Any) -> None:
    """Refuse a dataclass that holds, in some field, what its annotation does not allow.

    Raises
    ------
    ModelError
        The field, the value, and what it must be.
    """
    for name, kind in _fields(part.__class__).items():
        value = getattr(part, name)
        if not fits(value, kind):
            label = getattr(part, "stream", None) or getattr(part, "name", None)
            where = f" ({label})" if isinstance(label, str) and name not in ("stream", "name") else ""
            raise ModelError(f"{type(part).__name__}.{name}={value!r} must be {spoken(kind)}{where}")


def fits(value: Any, kind: Any) -> bool:
    """Whether *value* is what the annotation *kind* allows; NaN is no number."""
    inside = get_args(kind)
    if kind in (int, float):
        number = isinstance(value, Real) and bool(value == value)
        return number and (kind is float or bool(value % 1 == 0))
    if get_origin(kind) in (Union, UnionType):
        return any(fits(value, one) for one in inside)
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in inside
    if get_origin(kind) is tuple:
        if not isinstance(value, tuple):
            return False
        wanted = inside[:1] * len(value) if inside[-1] is Ellipsis else inside
        return len(value) == len(wanted) and all(map(fits, value, wanted))
    return kind is Any or isinstance(value, kind)


def spoken(kind: Any) -> str:
    """An annotation in words: ``a law or Time``."""
    inside = get_args(kind)
    if kind in WORDS:
        return WORDS[kind]
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(spoken, inside)))
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(inside)
    if get_origin(kind) is tuple:
        several = inside[-1] is Ellipsis
        return f"a tuple, each entry {spoken(inside[0])}" if several else f"({', '.join(map(spoken, inside))})"
    return "a law" if kind in LAWS else str(kind.__name__)


@cache
def _fields(kind: type) -> dict[str, Any]:
    """A dataclass's fields and their annotations, as objects."""
    return get_type_hints(kind)
