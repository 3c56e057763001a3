"""Change the steps of a route so that its instances have the scenario's faults.

Faults follow from what a component's steps are, so no component knows of them: an operation that touches a faulted
instance fails or hangs before its first step; a time that is attributed to the instance runs at another pace; a server
that stands still is held meanwhile; where a step asks whether an object was idle, a deploy makes it cold once; and an
alarm that is set when a clock is put on, or back, rings earlier or later.
Random steps that a fault does not touch keep their streams, so a comparison with and without it is paired.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass, replace
from math import ceil, inf
from typing import TYPE_CHECKING, Any

from sim.flow import (
    ELASTIC,
    ZERO,
    Branch,
    Chance,
    Count,
    CountAtLeast,
    Counter,
    Delay,
    Flow,
    Guard,
    Hold,
    Idle,
    Pace,
    Renewal,
    Reset,
    Serve,
    Spawn,
    Station,
    Time,
    Transfer,
    Windows,
    Within,
    as_time,
    category_of,
    walk,
)
from sim.models.component import Instance, cpu_category
from sim.randomness.distributions import Constant
from sim.scenario.faults import CLOCK, DEPLOY, Fault

if TYPE_CHECKING:
    from sim.scenario.system import System

MS_PER_S = 1_000.0

AT_ENTRY = ("outage", "hang", "errors")
"""Kinds of faults that a request meets before the operation's first step."""


@dataclass(frozen=True)
class Injected:
    """One fault of one instance, with its windows.

    Attributes
    ----------
    fault : Fault
    name : str
        The instance's.
    windows : Windows
    stream : str
        Prefix of its random numbers: it depends on the instance and kind, not on the place in the file.
    """

    fault: Fault
    name: str
    windows: Windows
    stream: str


def injected(faults: Iterable[Fault], system: "System", *, run_s: float | None) -> tuple[Injected, ...]:
    """Return every fault of every instance; a fault of a component is one of each of its instances."""
    found: list[Injected] = []
    times = ""
    for fault in faults:
        for instance in concerned(fault, system):
            number = 1 + sum(one.name == instance.name and one.fault.kind == fault.kind for one in found)
            stream = f"fault.{instance.name}.{fault.kind}.{number}"
            # Those that fail together do so at the times of the first of them.
            together = bool(fault.together_with) and bool(found) and found[-1].fault is fault
            drawn_by = times if together else stream
            found.append(Injected(fault, instance.name, _windows(fault, instance, drawn_by, run_s), stream))
            times = drawn_by
    return tuple(found)


def concerned(fault: Fault, system: "System") -> tuple[Instance, ...]:
    """Return the instances that a fault names, each once."""
    named = (one for name in (fault.instance, *fault.together_with) for one in named_by(name, system))
    return tuple({one.name: one for one in named}.values())


def named_by(name: str, system: "System") -> tuple[Instance, ...]:
    """Return the instances of a name: one, or all of a component."""
    return (system.instances[name],) if name in system.instances else system.of(name)


def with_faults(flow: Flow, touched: Iterable[str], *, faults: Iterable[Injected]) -> Flow:
    """Return the steps of an operation, or of an entry, with the faults of the instances that it touches."""
    mine = [one for one in faults if one.name in set(touched)]
    before: Flow = ()
    for one in mine:
        if one.fault.kind in AT_ENTRY:
            before += _at_entry(one)
        elif one.fault.kind == "slow":
            flow = _slowed(flow, one)
        elif one.fault.kind == "stall":
            flow = _stalled(flow, one)
        elif one.fault.kind == CLOCK:
            flow = _stepped(flow, one)
        else:
            flow = _deployed(flow, one)
    return (*before, *flow)


def no_effect(fault: Fault, instance: Instance, *, flow: Flow) -> str:
    """Return why a fault of *instance* cannot be shown in *flow*, all steps of the scenario; empty if it can."""
    parts = list(walk(flow))
    stations = {part.name for part in parts if isinstance(part, Station) and part.servers < ELASTIC}
    idle = {part.station.name for part in parts if isinstance(part, Idle)}
    timed = {category_of(part) for part in parts if isinstance(part, Delay | Serve)}
    timed |= {part.category for part in parts if isinstance(part, Transfer) and not part.link.shared}
    if fault.kind == "stall" and instance.name not in stations:
        return "has no servers that could stand still; use kind=hang"
    if fault.kind == CLOCK and not any(_alarm_ms(part, instance.name) for part in parts if isinstance(part, Spawn)):
        return "sets no alarm by a clock"
    if fault.kind == DEPLOY and instance.name not in idle:
        return "keeps no objects in memory that a deploy could put out"
    if fault.kind == "slow" and not timed & _categories(instance.name):
        return "takes no time of its own that could be longer"
    return ""


def _windows(fault: Fault, instance: Instance, stream: str, run_s: float | None) -> Windows:
    keys, modulus = tuple(sorted(set(fault.keys))), 0
    if fault.share_of_instances is not None and instance.station is not None:
        modulus = instance.station.instances
        keys = tuple(range(ceil(fault.share_of_instances * modulus)))
    if fault.mean_between_s is not None and fault.mean_length_s is not None and run_s is not None:
        mean_ms = fault.mean_between_s * MS_PER_S, fault.mean_length_s * MS_PER_S
        return Windows(keys=keys, instances=modulus, random=Renewal(stream, *mean_ms, until_ms=run_s * MS_PER_S))
    spans = fault.spans_s(inf if run_s is None else run_s)
    return Windows(tuple((start_s * MS_PER_S, end_s * MS_PER_S) for start_s, end_s in spans), keys, modulus)


def _categories(name: str) -> set[str]:
    return {name, cpu_category(name)}


def _at_entry(one: Injected) -> Flow:
    """The steps before an operation: a failure at once, one for a share of requests, or a wait without an answer."""
    fault, active = one.fault, Within(one.windows)
    if fault.kind == "outage":
        return (Guard(active, fault.error),)
    if fault.kind == "hang":
        wait: Flow = (Delay(replace(ZERO, paces=(Pace(one.windows, 0.0),)), f"{one.stream}.hang", category=one.name),)
        if fault.share is not None:
            wait = (Branch(Chance(fault.share, f"{one.stream}.hangs"), wait),)
        return (Branch(active, wait),)
    assert fault.share is not None, "the table checks that there is one"
    return (Branch(active, (Guard(Chance(fault.share, f"{one.stream}.fails"), fault.error),)),)


def _slowed(flow: Flow, one: Injected) -> Flow:
    """Every time of the instance, multiplied while the windows are open; a shared link keeps its speed."""
    assert one.fault.factor is not None, "the table checks that there is one"
    pace, mine = Pace(one.windows, 1.0 / one.fault.factor), _categories(one.name)

    def change(step: Any) -> Flow:
        if isinstance(step, Delay | Serve) and category_of(step) in mine:
            return (_paced(step, pace),)
        if isinstance(step, Transfer) and step.category in mine and not step.link.shared:
            time = Time(ZERO.distribution, each_ms=MS_PER_S / step.link.bytes_per_s, of=step.size, paces=(pace,))
            return (Delay(time, f"{one.stream}.transfer", category=step.category),)
        return (step,)

    return rewritten(flow, change)


def _stalled(flow: Flow, one: Injected) -> Flow:
    """The servers of the instance stand still: what they hold waits, and so does everyone behind it."""
    pace = Pace(one.windows, 0.0)
    still = Branch(
        Within(one.windows),
        (Delay(replace(ZERO, paces=(pace,)), f"{one.stream}.still", category=one.name),),
    )

    def inside(step: Any) -> Flow:
        return (_paced(step, pace),) if isinstance(step, Delay | Serve) else (step,)

    def change(step: Any) -> Flow:
        if isinstance(step, Serve) and step.station.name == one.name:
            return (_paced(step, pace),)
        if isinstance(step, Hold) and step.station.name == one.name:
            return (replace(step, steps=(still, *rewritten(step.steps, inside))),)
        return (step,)

    return rewritten(flow, change)


def _deployed(flow: Flow, one: Injected) -> Flow:
    """Where a step asks whether an object was idle, each object is cold once after each deploy."""
    windows, starts = one.windows, [start for start, _ in one.windows.spans]

    def change(step: Any) -> Flow:
        if not (isinstance(step, Branch) and isinstance(step.condition, Idle)):
            return (step,)
        station = step.condition.station
        if station.name != one.name:
            return (step,)
        # The counter holds the number of the last deploy after which the object was started.
        seen, branch = Counter(f"{one.stream}.seen", instances=station.instances), step
        for number, (start, end) in enumerate(zip(starts, [*starts[1:], 1e15], strict=True), 1):
            once = Branch(CountAtLeast(seen, number), (step,), (Reset(seen), Count(seen, number), *step.then))
            branch = Branch(Within(replace(windows, spans=((start, end),))), (once,), (branch,))
        return (branch,)

    return rewritten(flow, change)


def _stepped(flow: Flow, one: Injected) -> Flow:
    """Alarms that are set when the clock is put on ring earlier, those due meanwhile at once; put back, later."""
    assert one.fault.step_s is not None, "the table checks that there is one"
    ((at_ms, _),) = one.windows.spans
    step_ms = one.fault.step_s * MS_PER_S

    def change(step: Any) -> Flow:
        due_ms = _alarm_ms(step, one.name) if isinstance(step, Spawn) else 0.0
        if not due_ms:
            return (step,)
        skipped_ms = min(max(step_ms, 0.0), due_ms)
        begun_ms, rest_ms = at_ms - due_ms, at_ms - due_ms + skipped_ms
        until = Pace(replace(one.windows, spans=((begun_ms, at_ms),)), 0.0)
        at_once = replace(step, after=replace(ZERO, paces=(until,)))
        moved = replace(step, after=Constant(value=due_ms - (skipped_ms or step_ms)))
        later = Branch(Within(replace(one.windows, spans=((rest_ms, at_ms),))), (moved,), (step,))
        return (Branch(Within(replace(one.windows, spans=((begun_ms, rest_ms),))), (at_once,), (later,)),)

    return rewritten(flow, change)


def _alarm_ms(step: Spawn, name: str) -> float:
    """Return after how long an alarm of an instance is due; 0 for work that is spawned at once or by chance."""
    time = as_time(step.after)
    own = step.stream.partition(".")[0] == name and isinstance(time.distribution, Constant) and not time.paces
    return time.scale * time.distribution.expected() if own else 0.0


def _paced(step: Any, pace: Pace) -> Any:
    time = as_time(step.time)
    return replace(step, time=replace(time, paces=(*time.paces, pace)))


def rewritten(flow: Flow, change: Callable[[Any], Flow]) -> Flow:
    """Return *flow* with every step replaced by what *change* makes of it; a step is changed after those in it.

    Parameters
    ----------
    flow : Flow
    change : callable
        Given a step whose own steps were changed already; returns the steps in its place.
    """
    known: dict[int, tuple[Any, Flow]] = {}

    def steps_of(value: Any) -> Any:
        if not isinstance(value, tuple):
            return value
        if value and all(is_dataclass(item) for item in value):
            changed = tuple(new for item in value for new in step_of(item))
        else:
            changed = tuple(steps_of(item) for item in value)
        same = len(changed) == len(value) and all(one is other for one, other in zip(value, changed, strict=True))
        return value if same else changed

    def step_of(step: Any) -> Flow:
        if id(step) not in known:
            new = {field.name: steps_of(getattr(step, field.name)) for field in fields(step)}
            differ = {name: item for name, item in new.items() if item is not getattr(step, name)}
            known[id(step)] = step, change(replace(step, **differ) if differ else step)
        return known[id(step)][1]

    changed: Flow = steps_of(flow)
    return changed
