"""Validation of a whole Flow before a run; single values are checked where a part is built (:mod:`sim.flow.parts`).

A flow that passes cannot hang an engine: loops have a bound, and no request can wait for itself.
"""

from collections.abc import Iterator
from typing import Any, get_args

from sim.flow.inspection import flows_of, states, walk
from sim.flow.numbering import MARK
from sim.flow.steps import (
    Attempt,
    Custom,
    Finally,
    Flow,
    Guard,
    Hedge,
    Hold,
    Parallel,
    Repeat,
    Serve,
    Spawn,
    State,
    Step,
)
from sim.foundation.errors import ModelError

TURNS_MAX = 20_000_000
"""Most iterations that nested loops and nested retries may take together."""

NOT_AFTER = (Serve, Hold, Guard, Attempt, Parallel, Hedge, Spawn, Custom)
"""Steps that a request cannot take on its way back: they may fail, wait for a server, or start flows."""


def check(flow: Flow) -> None:
    """Refuse a Flow that no engine could execute: empty, unbounded, or with conflicting declarations of one name.

    Raises
    ------
    ModelError
        One line that names the part and the rule.
    """
    if not flow:
        raise ModelError("flow=() must have at least one step")
    if not isinstance(flow, tuple):
        raise ModelError(f"flow={flow!r} must be a tuple of steps of sim/flow/steps.py")
    _check_steps(flow, turns=1)
    for kind in get_args(State):
        states(flow, kind)
    for part in walk(flow):
        if MARK in getattr(part, "stream", ""):
            raise ModelError(
                f"{type(part).__name__}.stream={part.stream!r} must not contain {MARK!r} (it numbers uses)"
            )
    _check_order(flow)


def _check_steps(steps: Any, *, turns: int) -> None:
    """Refuse anything that is not a step, and nested loops that could run practically for ever."""
    for step in steps if isinstance(steps, tuple) else (steps,):
        if not isinstance(step, Step):
            raise ModelError(f"{step!r} is no step; a flow is a tuple of steps of sim/flow/steps.py")
        inner = turns
        if isinstance(step, Repeat | Attempt):
            inner *= step.limit if isinstance(step, Repeat) else step.retries + 1
            if inner > TURNS_MAX:
                raise ModelError(
                    f"{type(step).__name__}({step.stream!r}) may take {inner} turns; "
                    f"loops and tries together must take <= {TURNS_MAX}"
                )
        for inner_steps in flows_of(step):
            _check_steps(inner_steps, turns=inner)
        if isinstance(step, Finally):
            _check_after(step)


def _check_after(step: Finally) -> None:
    """Refuse a way back that could fail itself: one failure is under way already."""
    for part in walk(step.after):
        if isinstance(part, NOT_AFTER):
            raise ModelError(
                f"Finally.after holds {type(part).__name__}, must hold only steps that neither fail, nor wait for a "
                "server, nor start flows; do that in Finally.steps"
            )


def _check_order(flow: Flow) -> None:
    """Refuse stations that are held in a cycle: requests could wait for each other, or one for itself, for ever.

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
                f"Hold(station={start!r}) waits, while it holds, for what may wait for {start!r}: a deadlock; "
                "wait outside the Hold, or bound the wait by an Attempt with a timeout"
            )


def _waits(flow: Flow, held: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of a station that is held and a station that a request waits for while holding it."""
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
