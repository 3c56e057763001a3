"""Faults that a scenario asks for: when an instance fails, hangs, slows down, stands still or loses its memory.

The windows are those of the scenario, in milliseconds from the start of its schedule. When that was is told by its
first requests: the file names when each of them is due, and the earliest start that their arrivals allow counts. Work
that no request stands for, an alarm or a delivery, meets the windows that are for all keys.

=========  ==============================================================================================
outage     a call fails at once, before it has done anything
hang       a call, or a share of them, waits until the window ends
errors     a share of the calls fails
slow       each time of the instance is multiplied while the window is open
stall      its servers stand still: who holds one waits, and everyone behind
deploy     each object starts cold once, when it is next used
=========  ==============================================================================================
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from reference_impl.errors import LimitError, PlatformError
from reference_impl.timing.tape import Tape

KINDS = ("outage", "hang", "errors", "slow", "stall", "deploy")
STATUS = {"error": 500, "overloaded": 503, "timeout": 504, "refused": 429, "too_large": 413}
"""Status of a call that fails by a fault, by the name of its outcome."""

Spans = Sequence[tuple[float, float]]
"""Windows: start (included) and end (not), in ms."""


class Watch(Protocol):
    """What a call is delayed by: the part of a stopwatch that faults use."""

    planned_ms: float
    key: int | None
    is_paced: bool

    def draw_ms(self, tape: Tape) -> float:
        """Return a number of a tape."""
        ...

    def spend(self, category: str, duration_ms: float) -> None:
        """Attribute time to a category."""
        ...


class InjectedError(PlatformError):
    """A call failed by a fault of the scenario."""

    code = "fault"

    def __init__(self, fault: "Fault") -> None:
        super().__init__(f"{fault.name} has a fault of the scenario: {fault.kind}")
        self.status = STATUS[fault.error]


class FinalInjectedError(LimitError):
    """The same, for outcomes after which nobody tries again."""

    code = "fault"

    def __init__(self, fault: "Fault") -> None:
        super().__init__(f"{fault.name} has a fault of the scenario: {fault.kind}")
        self.status = STATUS[fault.error]


@dataclass(frozen=True)
class Fault:
    """One fault of one instance.

    Parameters
    ----------
    name, kind
        The instance, and one of :data:`KINDS`.
    spans
        When it is active, sorted.
    keys, instances
        Affected are requests whose key modulo *instances* (0: the key itself) is among *keys*; none: all.
    factor
        Of a slow fault.
    share
        Share of the calls that fail or hang.
    error
        Outcome of those that fail.
    lot
        Uniform numbers that decide which calls do.
    """

    name: str
    kind: str
    spans: Spans
    keys: frozenset[int] = frozenset()
    instances: int = 0
    factor: float = 1.0
    share: float = 1.0
    error: str = "error"
    lot: Tape | None = None

    def concerns(self, key: int | None) -> bool:
        """Return whether it is for requests with *key*."""
        if not self.keys:
            return True
        return key is not None and (key % self.instances if self.instances else key) in self.keys

    def end_at(self, at_ms: float) -> float | None:
        """Return the end of the window that is open at a time, or None."""
        return next((end for start, end in self.spans if start <= at_ms < end), None)


@dataclass
class Faults:
    """All faults of a deployment, and the start of the schedule that they are timed by.

    Parameters
    ----------
    faults
        In the order of the scenario.
    due_ms
        When the first requests are due, by their numbers.
    """

    faults: Sequence[Fault]
    due_ms: Sequence[float]
    began_ms: float = field(default=math.inf, init=False)
    """Start of the schedule on the deployment's clock; not before the first request."""

    def hear(self, number: int, arrived_ms: float) -> None:
        """Learn from the arrival of request *number* when the schedule began."""
        if number < len(self.due_ms):
            self.began_ms = min(self.began_ms, arrived_ms - self.due_ms[number])

    def meet(self, names: Iterable[str], watch: Watch) -> None:
        """Let a call of instances meet their faults: it fails, or its planned time moves to the end of a hang.

        Raises
        ------
        InjectedError
            An outage, or one of the errors.
        FinalInjectedError
            The same, if nobody tries again after such an outcome.
        """
        for fault in self._of(names, watch, kinds=("outage", "hang", "errors")):
            end_ms = fault.end_at(watch.planned_ms - self.began_ms)
            if end_ms is None or (fault.lot is not None and watch.draw_ms(fault.lot) >= fault.share):
                continue
            if fault.kind != "hang":
                raise (FinalInjectedError if fault.error in ("refused", "too_large") else InjectedError)(fault)
            self.wait(watch, fault.name, end_ms=end_ms)

    def stand_still(self, name: str, watch: Watch) -> None:
        """Let a call that holds a server of *name* wait while the servers stand still."""
        for fault in self._of((name,), watch, kinds=("stall",)):
            end_ms = fault.end_at(watch.planned_ms - self.began_ms)
            if end_ms is not None:
                self.wait(watch, name, end_ms=end_ms)

    def wait(self, watch: Watch, name: str, *, end_ms: float) -> None:
        """Move a call's planned time to the end of a window."""
        until_ms = end_ms + self.began_ms
        watch.spend(name, until_ms - watch.planned_ms)
        watch.planned_ms = until_ms

    def paced_ms(self, category: str, work_ms: float, *, watch: Watch, held: Sequence[str]) -> float:
        """Return how long a time takes from the planned moment on, with what its instance and its servers suffer.

        Parameters
        ----------
        category
            Time category of the work: the name of its instance.
        work_ms
            How long it takes without faults.
        watch
            Of the call.
        held
            Instances of which the call holds a server.
        """
        paces = [
            (start + self.began_ms, end + self.began_ms, 1.0 / fault.factor if fault.kind == "slow" else 0.0)
            for fault in self._of((category, *held), watch, kinds=("slow", "stall"))
            if (fault.name == category if fault.kind == "slow" else fault.name in held)
            for start, end in fault.spans
        ]
        at_ms, left_ms = watch.planned_ms, work_ms
        while True:
            speed = math.prod(pace for start, end, pace in paces if start <= at_ms < end)
            edges = [edge for start, end, _ in paces for edge in (start, end) if edge > at_ms]
            change_ms = min(edges, default=math.inf)
            if speed and at_ms + left_ms / speed <= change_ms:
                return (at_ms - watch.planned_ms) + left_ms / speed
            left_ms = max(0.0, left_ms - (change_ms - at_ms) * speed)
            at_ms = change_ms

    def deploys(self, name: str, watch: Watch) -> int:
        """Return how many deployments of an instance have happened for a call."""
        at_ms = watch.planned_ms - self.began_ms
        return sum(start <= at_ms for one in self._of((name,), watch, kinds=("deploy",)) for start, _ in one.spans)

    def _of(self, names: Iterable[str], watch: Watch, *, kinds: tuple[str, ...]) -> Iterable[Fault]:
        if not watch.is_paced or math.isinf(self.began_ms):
            return ()
        wanted = frozenset(names)
        return [one for one in self.faults if one.kind in kinds and one.name in wanted and one.concerns(watch.key)]
