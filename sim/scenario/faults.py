"""Faults of a scenario: an instance of the system that fails, hangs, slows down or loses its memory for some time.

A fault is data: any instance of any component can have one, and a component adds nothing for it. How it changes the
steps of a route is in :mod:`sim.scenario.injection`.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sim.foundation.schema import Fraction, NotNegative, Positive, Table

Kind = Literal["outage", "hang", "slow", "errors", "stall", "deploy", "clock"]

Error = Literal["error", "overloaded", "refused", "timeout", "too_large"]

REPEATS_MAX = 10_000
"""Most windows of a fault that is repeated."""

DEPLOY = "deploy"
CLOCK = "clock"

INSTANTS = (DEPLOY, CLOCK)
"""Kinds that take no time: they happen at an instant."""

DEPLOYS_MAX = 50
"""Most deploys of a fault: each is a branch in the steps of every operation of the object."""


class Fault(Table):
    """A fault of one instance, scheduled (`at_s`), repeated (`at_s` and `every_s`) or random (`mean_between_s`)."""

    instance: Annotated[str, Field(min_length=1)]
    """Instance of the system, or a component: all its instances."""
    together_with: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Further instances, or components, that fail in the same windows: a region, a zone. Without it each instance of a
    component has random windows of its own."""
    kind: Kind
    """`outage`: requests fail at once. `hang`: they get no answer until the window ends. `slow`: its times are
    multiplied by `factor`. `errors`: a `share` of requests fails. `stall`: its servers stand still and the queue builds
    up. `deploy`: every object loses its memory and starts cold once. `clock`: the clock that its alarms are set by is
    put on by `step_s`."""
    at_s: NotNegative | None = None
    """Start of the first window, from the start of the run."""
    duration_s: Positive | None = None
    """Length of a window; a deploy and a step of a clock have none."""
    every_s: Positive | None = None
    """Time from the start of one window to the start of the next, until the run ends; by default there is one."""
    mean_between_s: Positive | None = None
    """Random windows: mean time from the end of one to the start of the next (exponential)."""
    mean_length_s: Positive | None = None
    """Mean length of random windows (exponential)."""
    factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    """Factor of a `slow` fault."""
    share: Annotated[Fraction, Field(gt=0)] | None = None
    """Share of requests that fail with a fault of kind `errors`; with `hang` that of requests without an answer, by
    default all."""
    step_s: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Seconds by which a `clock` is put on, or back if negative: alarms that are set ring so much earlier, or later."""
    error: Error = "error"
    """Outcome of a request that fails by it."""
    keys: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Keys that it affects; by default all."""
    share_of_instances: Annotated[Fraction, Field(gt=0)] | None = None
    """Share of the objects that it affects, rounded up: a lost shard, a region. They are the first ones, which with a
    Zipf exponent serve the most popular keys: the worst case."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.at_s is None) == (self.mean_between_s is None):
            raise ValueError("needs either at_s or mean_between_s")
        if (self.mean_between_s is None) != (self.mean_length_s is None):
            raise ValueError("needs mean_between_s and mean_length_s together")
        if self.kind in INSTANTS and (self.at_s is None or self.duration_s is not None):
            raise ValueError(f"with kind={self.kind} needs at_s and no duration_s: it takes no time")
        if self.kind == CLOCK and (not self.step_s or self.every_s is not None):
            raise ValueError("with kind=clock needs step_s, not 0, and no every_s: a clock is put on once")
        if self.kind != CLOCK and self.step_s is not None:
            raise ValueError(f"with kind={self.kind} must not hold step_s")
        if self.kind not in INSTANTS and self.at_s is not None and self.duration_s is None:
            raise ValueError("needs duration_s beside at_s")
        if self.at_s is None and (self.duration_s is not None or self.every_s is not None):
            raise ValueError("must not hold duration_s or every_s beside mean_between_s")
        for key, kind in (("factor", "slow"), ("share", "errors")):
            if key == "share" and self.kind == "hang":
                continue
            if (getattr(self, key) is not None) != (self.kind == kind):
                raise ValueError(f"with kind={self.kind} {'needs' if self.kind == kind else 'must not hold'} {key}")
        if self.keys and self.share_of_instances is not None:
            raise ValueError("must not hold both keys and share_of_instances")
        return self

    def spans_s(self, run_s: float) -> tuple[tuple[float, float], ...]:
        """Return the scheduled windows in a run whose arrivals last *run_s*; a deploy's have length 0.

        A window that a repetition starts before the end of the run, and that would end after it, is cut there.
        """
        if self.at_s is None:
            return ()
        length_s = self.duration_s or 0.0
        spans, at_s, number = [(self.at_s, self.at_s + length_s)], self.at_s, 1
        while self.every_s is not None and number < REPEATS_MAX and (at_s := self.at_s + number * self.every_s) < run_s:
            spans.append((at_s, min(at_s + length_s, run_s)))
            number += 1
        return tuple(spans)


def time_problems(fault: Fault, run_s: float | None) -> Iterator[str]:
    """Yield what is wrong with the times of one fault, without its place; *run_s* is None if it is not known before."""
    if fault.every_s is not None and fault.duration_s is not None and fault.every_s <= fault.duration_s:
        yield f"every_s={fault.every_s:g} must be > duration_s={fault.duration_s:g}"
    if run_s is None:
        if fault.every_s is not None or fault.at_s is None:
            yield "needs a run of known length: a closed loop has none, so give at_s and duration_s"
        return
    if fault.at_s is None:
        return
    if fault.at_s >= run_s:
        yield f"at_s={fault.at_s:g} must be < {run_s:g}, the end of the arrivals"
    elif fault.duration_s is not None and fault.at_s + fault.duration_s > run_s:
        yield f"at_s + duration_s = {fault.at_s + fault.duration_s:g} must be <= {run_s:g}, the end of the arrivals"
    most = DEPLOYS_MAX if fault.kind == DEPLOY else REPEATS_MAX
    if fault.every_s is not None and (run_s - fault.at_s) / fault.every_s > most:
        yield f"every_s={fault.every_s:g} makes more than {most} windows in {run_s:g} s"


def overlapping(one: Fault, other: Fault, *, run_s: float | None) -> bool:
    """Return whether two faults of one kind and instance are, at some time, both active; random ones may always be.

    Two steps of one clock always are: an alarm may be set before both.
    """
    if one.at_s is None or other.at_s is None or one.kind == CLOCK:
        return True
    end_s = float("inf") if run_s is None else run_s
    spans = sorted((*one.spans_s(end_s), *other.spans_s(end_s)))
    return any(after[0] < before[1] or after[0] == before[0] for before, after in pairwise(spans))
