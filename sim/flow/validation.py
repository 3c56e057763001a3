"""Whether a Flow can be executed at all: what would hang, or mean nothing, is refused before the run.

Nothing that passes here can keep an engine busy for ever: loops have a bound, and no request can wait for itself.
"""

from collections.abc import Iterator
from math import isfinite
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from sim.errors import ModelError, UsageError
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
from sim.flow.kinds import check_kinds
from sim.randomness.distributions import LARGEST

if TYPE_CHECKING:
    from sim.scenario.schedule import Schedule

TURNS_MOST = 20_000_000
"""Turns that nested loops, and tries of nested callers, may take together."""

NUMBERS = tuple(name for name in get_args(Attribute) if name != "route")
"""Attributes that one can calculate with; a route is a name, for :class:`Match`."""


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


def check_schedule(flow: Flow, schedule: "Schedule") -> None:
    """Refuse a schedule that *flow* cannot be played on: a time or a size that is none, a route without a name.

    Raises
    ------
    UsageError
        The column, the place and the value.
    """
    read = {getattr(part, name, None) for part in walk(flow) for name in ("of", "size")}
    columns = {name: getattr(schedule, name) for name in NUMBERS if name in read}
    columns["route_code"] = schedule.route_code
    columns |= {"arrival_ms": schedule.arrival_ms} if schedule.user is None else {"think_ms": schedule.think_ms}
    for name, column in columns.items():
        most = len(schedule.routes) - 1 if name == "route_code" else LARGEST
        if not (column.min() >= 0 and column.max() <= most):
            place = int(np.argmin((column >= 0) & (column <= most)))
            raise UsageError(f"schedule.{name}[{place}]={column[place]:g} must be between 0 and {most:g}")


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
                    f"{type(step).__name__}({step.site!r}) may take {inner} turns; "
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
        raise ModelError(f"Repeat({part.site!r}) must repeat at least one step")
    if isinstance(part, Guard | Station) and part.error not in OUTCOMES[1:]:
        raise ModelError(f"error={part.error!r} must be one of {', '.join(OUTCOMES[1:])}")
    if isinstance(part, Count) and not isinstance(part.by, str) and not isfinite(part.by):
        raise ModelError(f"Count.by={part.by} must be finite ({part.counter.name})")
    if isinstance(part, Attempt) and not set(part.final) <= set(OUTCOMES[1:]):
        raise ModelError(f"Attempt.final={part.final!r} must hold none but {', '.join(OUTCOMES[1:])} ({part.site})")
    if isinstance(part, Custom) and not callable(part.process):
        raise ModelError(f"Custom.process={part.process!r} must be a function of the environment and the request")
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
