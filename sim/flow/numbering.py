"""Give every use of a random stream a stream of its own.

Two steps on one path that name the same stream would give a request the same random number twice: two reads of a
database would take exactly the same time. So uses are numbered along each path: the first ``d1.read`` keeps its name,
the second becomes ``d1.read#2``. Steps marked ``shared`` keep the plain name and share its random number; the other
uses of such a name start at ``#2``.

Numbers are static, so every engine sees the same ones. Counting continues through steps in sequence and through the
flows of a ``Parallel``. The alternatives of a ``Branch`` or ``Match`` each start from the count before them, since a
request takes only one; after them the largest count applies. Counting continues into the bodies of ``Attempt``,
``Hedge`` and ``Repeat``, since their first iteration draws in the surrounding context; later iterations have contexts,
and so random numbers, of their own (:func:`sim.randomness.streams.child_context`). A spawned flow always has its own
context and starts counting anew, except for its own name, from which the delay until its start is drawn.
"""

from dataclasses import replace
from typing import Any, TypeVar

from sim.flow.conditions import AttributeOver, Chance, Condition, CountAtLeast, Drained, During, Idle, Waiting, Within
from sim.flow.inspection import unknown, walk
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
    Step,
    Transfer,
)

Part = TypeVar("Part")

MARK = "#"
"""Separator of a stream's name and the number of its use; no name may contain it."""

Uses = dict[str, int]
"""How often each stream has been used on the path so far."""


def numbered(flow: Flow) -> Flow:
    """Return *flow* with numbered streams; parts that do not change are the same objects.

    Parameters
    ----------
    flow : Flow
        Must be checked. One that is numbered already is returned as it is.
    """
    numbering = _Numbering(flow)
    return numbering.flow(flow, dict(numbering.taken))


def plain_name(stream: str) -> str:
    """Return a stream's name without the number of its use."""
    return stream.partition(MARK)[0]


class _Numbering:
    """One pass over one flow.

    Attributes
    ----------
    taken : dict of str to int
        One use of each stream that is shared anywhere: the starting point of a count.
    """

    def __init__(self, flow: Flow) -> None:
        drawing = (part for part in walk(flow) if isinstance(part, Delay | Serve | Chance))
        self.taken: Uses = {part.stream: 1 for part in drawing if part.shared}
        self._known: dict[Any, Any] = {}

    def flow(self, steps: Flow, uses: Uses) -> Flow:
        """Number *steps* in order, counting on in *uses*."""
        return _same_or(steps, tuple(self._step(step, uses) for step in steps))

    def _step(self, step: Step, uses: Uses) -> Step:
        match step:
            case Delay() | Serve():
                return self._named(step, uses)
            case Transfer() | Count() | Reset() | Move() | Gather() | Mark() | Custom():
                return step
            case Guard():
                return _changed(step, condition=self._condition(step.condition, uses))
            case Branch():
                condition = self._condition(step.condition, uses)
                then, otherwise = self._alternatives((step.then, step.otherwise), uses)
                return _changed(step, condition=condition, then=then, otherwise=otherwise)
            case Match():
                flows = self._alternatives(tuple(flow for _, flow in step.routes), uses)
                pairs = zip(step.routes, flows, strict=True)
                routes = tuple(route if route[1] is flow else (route[0], flow) for route, flow in pairs)
                return _changed(step, routes=_same_or(step.routes, routes))
            case Hold():
                return _changed(step, steps=self.flow(step.steps, uses))
            case Finally():
                return _changed(step, steps=self.flow(step.steps, uses), after=self.flow(step.after, uses))
            case Hedge() | Attempt():
                named: Step = self._named(step, uses)
                return _changed(named, steps=self.flow(step.steps, uses))
            case Repeat():
                named = self._named(step, uses)
                condition = self._condition(step.condition, uses)
                return _changed(named, condition=condition, steps=self.flow(step.steps, uses))
            case Parallel():
                named = self._named(step, uses)
                flows = tuple(self.flow(steps, uses) for steps in step.flows)
                return _changed(named, flows=_same_or(step.flows, flows))
            case Spawn():
                named = self._named(step, uses)
                afresh = {**self.taken, step.stream: uses[step.stream]}
                return _changed(named, steps=self.flow(step.steps, afresh))
            case _:
                raise unknown(step, "sim.flow.numbering")

    def _condition(self, condition: Condition, uses: Uses) -> Condition:
        match condition:
            case Chance():
                return self._named(condition, uses)
            case Idle() | Waiting() | CountAtLeast() | AttributeOver() | During() | Within() | Drained():
                return condition
            case _:
                raise unknown(condition, "sim.flow.numbering")

    def _alternatives(self, flows: tuple[Flow, ...], uses: Uses) -> tuple[Flow, ...]:
        """Number alternative flows: each counts from here, and the largest counts apply afterwards."""
        before, numbered_flows = dict(uses), []
        for steps in flows:
            here = dict(before)
            numbered_flows.append(self.flow(steps, here))
            for stream, count in here.items():
                uses[stream] = max(uses.get(stream, 0), count)
        return tuple(numbered_flows)

    def _named(self, part: Part, uses: Uses) -> Part:
        """Count one use of the part's stream, and name it after its number; a shared one keeps its name."""
        drawing: Any = part
        if getattr(drawing, "shared", False):
            return part
        stream = drawing.stream
        uses[stream] = number = uses.get(stream, 0) + 1
        if number == 1:
            return part
        # A step that several routes share is one object afterwards, too: an engine draws once for each object.
        key = id(part), f"{stream}{MARK}{number}"
        named: Part = self._known.setdefault(key, _changed(part, stream=key[1]))
        return named


def _changed(part: Part, **fields: Any) -> Part:
    """Return *part* with other fields; the same object if none differs."""
    whole: Any = part
    differ = {name: value for name, value in fields.items() if value is not getattr(whole, name)}
    changed: Part = replace(whole, **differ) if differ else part
    return changed


def _same_or(old: tuple[Part, ...], new: tuple[Part, ...]) -> tuple[Part, ...]:
    """Return *old* if *new* holds the same objects, else *new*."""
    return old if all(one is other for one, other in zip(old, new, strict=True)) else new
