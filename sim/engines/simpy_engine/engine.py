"""Execute a Flow with SimPy: the reference semantics of every step.

Each request is a SimPy process that walks its steps. Each method below implements one step of ``sim/flow/steps.py``;
read them side by side. This engine favours clarity over speed; the compiled engine gives the same latency for every
request, faster.

The order of events at one instant is part of the semantics: SimPy's own, first scheduled, first served.
"""

from collections.abc import Callable, Generator
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
from simpy import Event
from simpy.events import Timeout

from sim import flow as f
from sim.engines.checks import check_ended, check_little, check_memory, check_schedule
from sim.engines.recording import UNFINISHED, Recording, follower_uses
from sim.engines.simpy_engine.clock import Clock
from sim.engines.simpy_engine.draws import NUMBERS_PER_DRAW, drawing_steps
from sim.engines.simpy_engine.memory import Memory
from sim.engines.simpy_engine.stations import Instance
from sim.engines.simpy_engine.token import FlowFailed, Join, Token
from sim.flow.numbering import numbered, plain_name
from sim.flow.validation import check
from sim.randomness.streams import checked_seed, child_context, uniform

if TYPE_CHECKING:
    from sim.scenario.schedule import Schedule

Walk = Generator[Event, Any, None]

OUTCOME_CODE = {name: code for code, name in enumerate(f.OUTCOMES)}

BYTES_PER_INSTANCE = 1100
"""Memory of a station's queue and meter (measured, rounded up); other state needs less."""

DOUBLINGS_MAX = 1000
"""Most doublings of the back-off: beyond it 2.0**number would overflow; its maximum is reached long before."""


def simulate(flow: f.Flow, schedule: "Schedule", *, seed: int) -> Recording:
    """Play *schedule* on *flow*.

    Parameters
    ----------
    flow : Flow
    schedule : Schedule
        n requests.
    seed : int
        Chooses every random number.

    Returns
    -------
    Recording
        Arrays of shape (n,); byte-equal for equal arguments.

    Raises
    ------
    ModelError
        The flow cannot be executed.
    UsageError
        No valid seed, too little memory for the record, or a schedule with values that are no times or sizes.
    """
    seed = checked_seed(seed)
    check(flow)
    check_schedule(flow, schedule)
    flow = f.settled(numbered(flow), seed)
    numbers = len(f.categories(flow)) + NUMBERS_PER_DRAW * len(drawing_steps(flow))
    check_memory(len(schedule), numbers, instances=f.instances(flow), bytes_per_instance=BYTES_PER_INSTANCE)
    return _Simulation(flow, schedule, seed=seed).run()


class _Simulation:
    """State of one run: the clock, the stations, the counters, and the record."""

    def __init__(self, flow: f.Flow, schedule: "Schedule", *, seed: int) -> None:
        self.flow, self.schedule, self.seed = flow, schedule, seed
        self.env = Clock()
        self.categories = {name: place for place, name in enumerate(f.categories(flow))}
        self.route = [schedule.routes[code] for code in schedule.route_code.tolist()]
        self.horizon_ms = inf if schedule.user is not None else float(schedule.arrival_ms[-1])
        self.memory = Memory(self.env, flow, schedule, seed=seed, horizon_ms=self.horizon_ms)
        self.ways = {id(step): dict(step.routes) for step in f.walk(flow) if isinstance(step, f.Match)}
        requests = len(schedule)
        self.arrival_ms = np.full(requests, np.nan)
        self.latency_ms = np.full(requests, np.nan)
        self.outcome = np.full(requests, UNFINISHED, dtype=np.int8)
        self.attempts = np.ones(requests, dtype=np.int16)
        self.attributed_ms = np.zeros((requests, len(self.categories)))
        spawns = (plain_name(step.stream) for step in f.walk(flow) if isinstance(step, f.Spawn))
        self.followers = {name: [0] * len(f.OUTCOMES) for name in spawns}
        # The handler of a step that takes time, or branches, returns a generator; one that acts at once returns None.
        handlers: dict[type, Callable[[Any, Token], Walk | None]] = {
            f.Delay: self._delay,
            f.Serve: self._serve,
            f.Hold: self._hold,
            f.Finally: self._finally,
            f.Transfer: self._transfer,
            f.Branch: self._branch,
            f.Match: self._match,
            f.Parallel: self._parallel,
            f.Hedge: self._hedge,
            f.Guard: self._guard,
            f.Count: self.memory.count,
            f.Reset: self.memory.reset,
            f.Move: self.memory.move,
            f.Gather: self.memory.gather,
            f.Mark: self.memory.mark,
            f.Spawn: self._spawn,
            f.Repeat: self._repeat,
            f.Attempt: self._attempt,
            f.Custom: self._custom,
        }
        self.handlers = f.StepTable("the simpy engine", handlers)

    # ------------------------------------------------------------ the run

    def run(self) -> Recording:
        """Play all requests, and every spawned flow to its end."""
        if self.schedule.user is None:
            self.env.process(self._arrivals())
        else:
            for requests in self._requests_by_user():
                self.env.process(self._user(requests))
        interrupted = False
        try:
            self.env.run()
        except KeyboardInterrupt:
            interrupted = True
        return self._recording(interrupted=interrupted)

    def _arrivals(self) -> Walk:
        """Start requests at the times of the schedule, independently of earlier ones: an open loop."""
        for request, arrival_ms in enumerate(self.schedule.arrival_ms.tolist()):
            yield self.env.at(arrival_ms)
            self.env.process(self._request(request, None))

    def _user(self, requests: list[int]) -> Walk:
        """Play one user of a closed loop: think, send a request, wait for the answer, think."""
        assert self.schedule.think_ms is not None
        for request in requests:
            yield self.env.timeout(float(self.schedule.think_ms[request]))
            answered = Event(self.env)
            self.env.process(self._request(request, answered))
            yield answered

    def _requests_by_user(self) -> list[list[int]]:
        assert self.schedule.user is not None
        requests: dict[int, list[int]] = {}
        for request, user in enumerate(self.schedule.user.tolist()):
            requests.setdefault(user, []).append(request)
        return [requests[user] for user in sorted(requests)]

    def _request(self, request: int, answered: Event | None) -> Walk:
        """Play one request from its arrival to its end."""
        began = self.env.now
        token = Token(request, 0, len(self.categories), main=True)
        outcome = "ok"
        try:
            yield from self._walk(self.flow, token)
        except FlowFailed as failure:
            outcome = str(failure)
        self.arrival_ms[request] = began
        self.latency_ms[request] = self.env.now - began
        self.outcome[request] = OUTCOME_CODE[outcome]
        self.attributed_ms[request] = token.attributed_ms
        if answered is not None:
            answered.succeed()

    def _walk(self, steps: f.Flow, token: Token) -> Walk:
        for step in steps:
            walk = self.handlers[type(step)](step, token)
            if walk is not None:
                yield from walk

    # ------------------------------------------------------------ steps that take time

    def _delay(self, step: f.Delay, token: Token) -> Walk:
        sampler = self.memory.draws.of(step)
        duration_ms = self.memory.duration_ms(sampler, token)
        yield Timeout(self.env, duration_ms)
        token.attributed_ms[sampler.category] += duration_ms

    def _serve(self, step: f.Serve, token: Token) -> Walk:
        sampler = self.memory.draws.of(step)
        instance = self.memory.station(step.station, token)
        if step.station.discipline == "ps":
            began = self.env.now
            yield from instance.work(self.memory.duration_ms(sampler, token))
            token.attributed_ms[sampler.category] += self.env.now - began
            return
        if instance.free:
            instance.take()
        else:
            yield from self._wait(step, instance, token)
        duration_ms = self.memory.duration_ms(sampler, token)
        yield Timeout(self.env, duration_ms)
        token.attributed_ms[sampler.category] += duration_ms
        instance.release()

    def _hold(self, step: f.Hold, token: Token) -> Walk:
        instance = self.memory.station(step.station, token)
        if instance.free:
            instance.take()
        else:
            yield from self._wait(step, instance, token)
        try:
            yield from self._walk(step.steps, token)
        finally:
            instance.release()

    def _finally(self, step: f.Finally, token: Token) -> Walk:
        failed: FlowFailed | None = None
        try:
            yield from self._walk(step.steps, token)
        except FlowFailed as failure:
            failed = failure
        yield from self._walk(step.after, token)
        if failed is not None:
            raise failed

    def _wait(self, step: f.Serve | f.Hold, instance: Instance, token: Token) -> Walk:
        """Wait in the queue, unless it is full."""
        if instance.meter.waiting >= instance.limit:
            instance.meter.refused += 1
            raise FlowFailed(step.station.error)
        began = self.env.now
        yield instance.join(step.priority)
        waited_ms = self.env.now - began
        instance.meter.waited_ms += waited_ms
        token.attributed_ms[self.categories[f.queue_category(step.station)]] += waited_ms

    def _transfer(self, step: f.Transfer, token: Token) -> Walk:
        size_bytes = self.memory.draws.attribute(step.size, token.request)
        alone_ms = size_bytes / step.link.bytes_per_s * 1000.0
        began = self.env.now
        if step.link.shared:
            yield from self.memory.link(step.link, token).work(alone_ms)
        else:
            yield Timeout(self.env, alone_ms)
        token.attributed_ms[self.categories[step.category]] += self.env.now - began

    def _repeat(self, step: f.Repeat, token: Token) -> Walk:
        base = token.context
        try:
            for turn in range(step.limit):
                token.context = child_context(base, self.memory.stream_keys[step.stream], branch=turn)
                if not self.memory.holds(step.condition, token):
                    break
                yield from self._walk(step.steps, token)
        finally:
            token.context = base

    def _custom(self, step: f.Custom, token: Token) -> Walk:
        began = self.env.now
        yield from step.process(self.env, token)
        token.attributed_ms[self.categories[step.category]] += self.env.now - began

    # ------------------------------------------------------------ steps that run flows side by side

    def _child(self, steps: f.Flow, token: Token, context: int, report: Callable[[Token, str], None]) -> Token:
        """Start *steps* as a process of their own, which reports how it ended."""
        child = Token(token.request, context, len(self.categories), main=False)

        def process() -> Walk:
            error = ""
            try:
                yield from self._walk(steps, child)
            except FlowFailed as failure:
                error = str(failure)
            report(child, error)

        self.env.process(process())
        return child

    def _parallel(self, step: f.Parallel, token: Token) -> Walk:
        join = Join(self.env, need=step.need, flows=len(step.flows))
        for branch, steps in enumerate(step.flows):
            context = child_context(token.context, self.memory.stream_keys[step.stream], branch=branch)
            self._child(steps, token, context, join.report)
        yield join.decided
        self._settle(join, token, late_ms=0.0)

    def _hedge(self, step: f.Hedge, token: Token) -> Walk:
        join = Join(self.env, need=1, flows=1)
        first = self._child(step.steps, token, token.context, join.report)
        timer = Timeout(self.env, step.after_ms)
        began = self.env.now

        def second(_: Event) -> None:
            if not join.decided.triggered:
                join.flows += 1
                context = child_context(token.context, self.memory.stream_keys[step.stream], branch=1)
                self._child(step.steps, token, context, join.report)

        timer.callbacks.append(second)
        yield join.decided
        late_ms = 0.0 if join.child is first else min(step.after_ms, self.env.now - began)
        self._settle(join, token, late_ms=late_ms)

    def _settle(self, join: Join, token: Token, *, late_ms: float) -> None:
        """Attribute the critical path of a join to its parent, and pass a failure on."""
        assert join.child is not None
        for category, spent_ms in enumerate(join.child.attributed_ms):
            token.attributed_ms[category] += spent_ms
        if late_ms:
            token.attributed_ms[self.categories["client"]] += late_ms
        if join.error:
            raise FlowFailed(join.error)

    def _attempt(self, step: f.Attempt, token: Token) -> Walk:
        key, client = self.memory.stream_keys[step.stream], self.categories["client"]
        self.memory.deposit(step.budget)
        for number in range(step.retries + 1):
            if token.main:
                self.attempts[token.request] = number + 1
            began = self.env.now
            join = Join(self.env, need=1, flows=1)
            self._child(step.steps, token, child_context(token.context, key, branch=number), join.report)
            if step.timeout_ms is not None:
                Timeout(self.env, step.timeout_ms).callbacks.append(join.time_out)
            yield join.decided
            if join.child is None:
                token.attributed_ms[client] += self.env.now - began
            else:
                for category, spent_ms in enumerate(join.child.attributed_ms):
                    token.attributed_ms[category] += spent_ms
            if not join.error:
                return
            if number == step.retries or join.error in step.final or not self.memory.withdraw(step.budget):
                raise FlowFailed(join.error)
            pause_ms = min(step.backoff_max_ms, step.backoff_ms * 2.0 ** min(number, DOUBLINGS_MAX))
            if step.jitter:
                pause_ms *= uniform(key, token.request, context=token.context, draw=number + 1)
            yield Timeout(self.env, pause_ms)
            token.attributed_ms[client] += pause_ms

    # ------------------------------------------------------------ steps that branch

    def _branch(self, step: f.Branch, token: Token) -> Walk:
        return self._walk(step.then if self.memory.holds(step.condition, token) else step.otherwise, token)

    def _match(self, step: f.Match, token: Token) -> Walk:
        return self._walk(self.ways[id(step)].get(self.route[token.request], ()), token)

    # ------------------------------------------------------------ steps that take no time

    def _guard(self, step: f.Guard, token: Token) -> None:
        if self.memory.holds(step.condition, token):
            raise FlowFailed(step.error)

    def _spawn(self, step: f.Spawn, token: Token) -> None:
        latch, place = [False], 0
        if step.once is not None:
            latch, place = self.memory.latch(step.once, token)
            if latch[place]:
                return
            latch[place] = True
        context = child_context(token.context, self.memory.stream_keys[step.stream], branch=1)
        follower = Token(token.request, context, len(self.categories), main=False)

        def process() -> Walk:
            yield Timeout(self.env, self.memory.duration_ms(self.memory.draws.of(step), follower))
            latch[place] = False
            outcome = "ok"
            try:
                yield from self._walk(step.steps, follower)
            except FlowFailed as failure:
                outcome = str(failure)
            self.followers[plain_name(step.stream)][OUTCOME_CODE[outcome]] += 1

        self.env.process(process())

    # ------------------------------------------------------------ the record

    def _recording(self, *, interrupted: bool) -> Recording:
        uses = self.memory.uses()
        if not interrupted:
            check_ended(self.outcome, float(self.env.now))
            check_little(uses)
        horizon_ms = self.horizon_ms if self.horizon_ms < inf else self.env.now
        return Recording(
            arrival_ms=self.arrival_ms,
            latency_ms=self.latency_ms,
            outcome=self.outcome,
            attempts=self.attempts,
            categories={name: self.attributed_ms[:, place] for name, place in self.categories.items()},
            stations=uses,
            end_ms=self.env.now,
            horizon_ms=horizon_ms,
            followers=follower_uses(self.followers),
            interrupted=interrupted,
        )
