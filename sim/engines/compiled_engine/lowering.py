"""Translate a Flow into instructions of the compiled machine.

Steps become linear code with jumps; concurrent flows (attempts, copies, background flows) become separate bodies that
end in ``END``. The instruction of a step that may fail holds the address at which the failure goes on: there held
servers are released, and the ways back taken that the step is inside of.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim import flow as f
from sim.engines.compiled_engine.kernel import layout as k
from sim.engines.compiled_engine.placement import SHARED, Placement
from sim.engines.compiled_engine.tables import ATTRIBUTES, Tables, rows
from sim.flow.numbering import plain_name
from sim.foundation.errors import ModelError
from sim.randomness.streams import stream_key

OUTCOME_CODE = {name: code for code, name in enumerate(f.OUTCOMES)}

NEUTRAL = {"goto": k.NONE, "fail": k.NONE, "first": k.NONE, "instances": 1, "time": k.NONE, "timer_queue": k.NONE}
"""Operands that a step does not use."""

Leaving = tuple[Callable[[], None], ...]
"""What a failure leaves on its way out, the outermost first: each writes the instructions that do so."""


@dataclass(frozen=True)
class Program:
    """A Flow lowered to instructions and tables.

    Attributes
    ----------
    code, jumps : ndarray, shapes (instructions,) and (jumps,)
        A request starts at instruction 0.
    tables : Tables
    placement : Placement
    slots : int
        Deepest nesting of loops and attempts in one flow of control.
    timer_queues : int
        Steps that set timers.
    starts_max : int
        Largest number of flows that one instruction starts.
    followers : tuple of str
        Names of the steps that start background flows, in the order of their counts.
    """

    code: NDArray[np.void]
    jumps: NDArray[np.int64]
    tables: Tables
    placement: Placement
    slots: int
    timer_queues: int
    starts_max: int
    followers: tuple[str, ...]


def lower(flow: f.Flow, routes: tuple[str, ...], *, seed: int) -> Program:
    """Translate *flow* into a program.

    Parameters
    ----------
    flow : Flow
        Checked.
    routes : tuple of str
        Names of the schedule's routes, in the order of their codes.
    seed : int

    Raises
    ------
    ModelError
        The flow contains a ``Custom`` step, which only the simpy engine can execute.
    """
    return _Writer(flow, routes, seed=seed).program()


class _Writer:
    """Emits one body after the other; a body may request further ones."""

    def __init__(self, flow: f.Flow, routes: tuple[str, ...], *, seed: int) -> None:
        self.flow, self.routes, self.seed = flow, routes, seed
        self.categories = {name: place for place, name in enumerate(f.categories(flow))}
        self.placement = Placement(flow)
        self.tables = Tables(self.placement, seed=seed)
        self.code: list[dict[str, Any]] = []
        self.jumps: list[int] = []
        self.bodies: list[tuple[Callable[[int], None], f.Flow, f.Spawn | None]] = []
        self.leaving: Leaving = ()
        self.failing: list[tuple[dict[str, Any], Leaving]] = []
        self.depth = self.slots = self.timer_queues = 0
        self.followers: dict[str, int] = {}
        self.starts_max = 1
        handlers: dict[type, Callable[[Any], None]] = {
            f.Delay: self._delay,
            f.Serve: self._serve,
            f.Hold: self._hold,
            f.Finally: self._finally,
            f.Transfer: self._transfer,
            f.Branch: self._branch,
            f.Match: self._match,
            f.Repeat: self._repeat,
            f.Parallel: self._parallel,
            f.Hedge: self._hedge,
            f.Attempt: self._attempt,
            f.Guard: self._guard,
            f.Count: self._count,
            f.Reset: self._reset,
            f.Move: self._move,
            f.Gather: self._gather,
            f.Mark: self._mark,
            f.Spawn: self._spawn,
            f.Custom: self._custom,
        }
        self.write = f.StepTable("the compiled engine", handlers)

    def program(self) -> Program:
        """Write the flow, then all bodies that it requested."""
        self._body(self.flow, None)
        while self.bodies:
            patch, steps, spawn = self.bodies.pop()
            patch(self._body(steps, spawn))
        jumps = np.array(self.jumps, dtype=np.int64)
        code = rows(self.code, k.INSTRUCTION)
        sizes = (self.slots, self.timer_queues, self.starts_max)
        return Program(code, jumps, self.tables, self.placement, *sizes, tuple(self.followers))

    # ------------------------------------------------------------ bodies

    def _body(self, steps: f.Flow, spawn: f.Spawn | None) -> int:
        """Write a flow of control of its own; a spawned one first waits, then clears its latch. Return its address."""
        entry = len(self.code)
        self.leaving, self.failing, self.depth = (), [], 0
        if spawn is not None:
            self._add(k.SLEEP, time=self.tables.time(spawn.after, spawn.stream))
            if spawn.once is not None:
                self._add(k.UNLATCH, **self.placement.of(spawn.once))
        self._steps(steps)
        exits: dict[Leaving, int] = {(): len(self.code)}
        self._add(k.END)
        for instruction, leaving in self.failing:
            instruction["fail"] = self._exit(leaving, exits)
        return entry

    def _exit(self, leaving: Leaving, exits: dict[Leaving, int]) -> int:
        """Return the address where a failure goes on: what is innermost is left first."""
        if leaving not in exits:
            outer = self._exit(leaving[:-1], exits)
            exits[leaving] = len(self.code)
            leaving[-1]()
            self._add(k.JUMP, goto=outer)
        return exits[leaving]

    def _inside(self, steps: f.Flow, leave: Callable[[], None]) -> None:
        """Write *steps*, of which a failure is left by what *leave* writes."""
        outside = self.leaving
        self.leaving = (*outside, leave)
        self._steps(steps)
        self.leaving = outside

    def _steps(self, steps: f.Flow) -> None:
        for step in steps:
            self.write[type(step)](step)

    def _add(self, op: int, **operands: Any) -> dict[str, Any]:
        instruction = {**NEUTRAL, "op": op, **operands}
        self.code.append(instruction)
        return instruction

    def _add_failing(self, op: int, **operands: Any) -> dict[str, Any]:
        instruction = self._add(op, **operands)
        self.failing.append((instruction, self.leaving))
        return instruction

    def _start(self, instruction: dict[str, Any], steps: f.Flow, spawn: f.Spawn | None = None) -> None:
        """Request a body that *instruction* starts."""
        self.bodies.append((lambda entry: instruction.update(goto=entry), steps, spawn))

    def _slot(self) -> int:
        self.slots = max(self.slots, self.depth + 1)
        return self.depth

    def _timer_queue(self) -> int:
        self.timer_queues += 1
        return self.timer_queues - 1

    # ------------------------------------------------------------ steps that take time

    def _delay(self, step: f.Delay) -> None:
        self._add(k.SLEEP, time=self.tables.time(step.time, step.stream))
        self._add(k.SLEPT, category=self.categories[f.category_of(step)])

    def _serve(self, step: f.Serve) -> None:
        time, category = self.tables.time(step.time, step.stream), self.categories[f.category_of(step)]
        place = self.placement.of(step.station)
        if step.station.discipline == SHARED:
            self._add(k.WORK, time=time, **place)
            self._add(k.WORKED, category=category)
        else:
            self._seize(step)
            self._add(k.SLEEP, time=time)
            self._add(k.SERVED, category=category, **place)

    def _seize(self, step: f.Serve | f.Hold) -> None:
        station = step.station
        place = self.placement.of(station)
        level = self.placement.levels[station.name].index(step.priority if station.discipline == "priority" else 0)
        self._add_failing(k.SEIZE, level=1 + level, error=OUTCOME_CODE[station.error], **place)
        self._add(k.WAITED, category=self.categories[f.queue_category(station)], **place)

    def _hold(self, step: f.Hold) -> None:
        def release() -> None:
            self._add(k.RELEASE, **self.placement.of(step.station))

        self._seize(step)
        self._inside(step.steps, release)
        release()

    def _finally(self, step: f.Finally) -> None:
        depth = self.depth

        def way_back() -> None:
            self.depth = depth
            self._steps(step.after)

        self._inside(step.steps, way_back)
        way_back()

    def _transfer(self, step: f.Transfer) -> None:
        place = self.placement.of(step.link) if step.link.shared else {}
        operands = {"attribute": ATTRIBUTES[step.size], "amount": step.link.bytes_per_s, **place}
        self._add(k.WORK if step.link.shared else k.SLEEP, **operands)
        self._add(k.WORKED, category=self.categories[step.category])

    # ------------------------------------------------------------ branches and loops

    def _branch(self, step: f.Branch) -> None:
        branch = self._add(k.BRANCH, condition=self.tables.condition(step.condition))
        self._steps(step.then)
        jump = self._add(k.JUMP)
        branch["goto"] = len(self.code)
        self._steps(step.otherwise)
        jump["goto"] = len(self.code)

    def _match(self, step: f.Match) -> None:
        ways = dict(step.routes)
        row = len(self.jumps)
        self.jumps.extend([k.NONE] * len(self.routes))
        self._add(k.MATCH, first=row)
        ends = []
        for code, route in enumerate(self.routes):
            if route in ways:
                self.jumps[row + code] = len(self.code)
                self._steps(ways[route])
                ends.append(self._add(k.JUMP))
        for end in ends:
            end["goto"] = len(self.code)
        for code, route in enumerate(self.routes):
            if route not in ways:
                self.jumps[row + code] = len(self.code)

    def _repeat(self, step: f.Repeat) -> None:
        slot = self._slot()
        self._add(k.LOOP, slot=slot)
        again = len(self.code)
        key, condition = stream_key(self.seed, step.stream), self.tables.condition(step.condition)
        turn = self._add(k.TURN, slot=slot, times=step.limit, key=key, condition=condition)
        self.depth += 1
        self._inside(step.steps, partial(self._leave_loop, slot))
        self.depth -= 1
        self._add(k.NEXT, slot=slot, goto=again)
        turn["goto"] = len(self.code)

    def _leave_loop(self, slot: int) -> None:
        """Write a turn of none: it goes back to the random numbers from before the loop."""
        self._add(k.TURN, slot=slot, times=0, goto=len(self.code) + 1)

    # ------------------------------------------------------------ fork and join

    def _parallel(self, step: f.Parallel) -> None:
        row = len(self.jumps)
        self.jumps.extend([k.NONE] * len(step.flows))
        self.starts_max = max(self.starts_max, len(step.flows))
        key = stream_key(self.seed, step.stream)
        self._add(k.FORK, first=row, times=len(step.flows), need=step.need, key=key)
        self._add_failing(k.JOINED)
        for branch, steps in enumerate(step.flows):
            self.bodies.append((partial(self.jumps.__setitem__, row + branch), steps, None))

    def _hedge(self, step: f.Hedge) -> None:
        key, client = stream_key(self.seed, step.stream), self.categories["client"]
        self._start(self._add(k.HEDGE, key=key, timer_queue=self._timer_queue(), amount=step.after_ms), step.steps)
        self._add_failing(k.HEDGED, category=client, amount=step.after_ms)

    def _attempt(self, step: f.Attempt) -> None:
        key, client, slot = stream_key(self.seed, step.stream), self.categories["client"], self._slot()
        budget = {} if step.budget is None else self.placement.of(step.budget)
        timer_queue = {} if step.timeout_ms is None else {"timer_queue": self._timer_queue(), "amount": step.timeout_ms}
        final = sum(1 << OUTCOME_CODE[error] for error in set(step.final) & set(f.OUTCOMES))
        self._add(k.ATTEMPT, slot=slot, **budget)
        again = len(self.code)
        self._start(self._add(k.TRY, slot=slot, key=key, **timer_queue), step.steps)
        judge = self._add_failing(
            k.TRIED,
            slot=slot,
            category=client,
            times=step.retries,
            final=final,
            key=key,
            jitter=step.jitter,
            backoff_ms=step.backoff_ms,
            backoff_ms_max=step.backoff_max_ms,
            **budget,
        )
        self._add(k.RETRY, slot=slot, category=client, goto=again)
        judge["goto"] = len(self.code)

    def _spawn(self, step: f.Spawn) -> None:
        place = {} if step.once is None else self.placement.of(step.once)
        counts = len(OUTCOME_CODE) * self.followers.setdefault(plain_name(step.stream), len(self.followers))
        spawn = self._add(k.SPAWN, key=stream_key(self.seed, step.stream), slot=counts, **place)
        self._start(spawn, step.steps, step)

    # ------------------------------------------------------------ steps that take no time

    def _guard(self, step: f.Guard) -> None:
        condition = self.tables.condition(step.condition)
        self._add_failing(k.GUARD, condition=condition, error=OUTCOME_CODE[step.error])

    def _count(self, step: f.Count) -> None:
        by = {"attribute": ATTRIBUTES[step.by]} if isinstance(step.by, str) else {"amount": step.by}
        self._add(k.COUNT, **by, **self.placement.of(step.counter))

    def _reset(self, step: f.Reset) -> None:
        self._add(k.RESET, **self.placement.of(step.counter))

    def _move(self, step: f.Move) -> None:
        into = self.placement.of(step.into)
        self._add(k.MOVE, goto=into["first"], times=into["instances"], **self.placement.of(step.counter))

    def _gather(self, step: f.Gather) -> None:
        into = self.placement.of(step.into)
        most = {} if step.at_most is None else {"need": step.at_most}
        self._add(k.GATHER, goto=into["first"], times=into["instances"], **most, **self.placement.of(step.station))

    def _mark(self, step: f.Mark) -> None:
        place = self.placement.of
        at = {} if step.at is None else {"goto": place(step.at)["first"], "times": place(step.at)["instances"]}
        self._add(k.MARK, **at, **place(step.stamp))

    def _custom(self, step: f.Custom) -> None:
        raise ModelError(
            f"Custom(category={step.category!r}) is a SimPy process, which the compiled engine cannot execute; "
            'run it on="simpy"'
        )
