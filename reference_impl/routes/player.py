"""The player: executes the steps of a route on the instances of a deployment, for one request.

A step is evaluated from the outside in: its probability, spawning, attempts with a timeout, hedged copies, repetitions,
and finally the operation or the group. Concurrent work runs on branches (:mod:`reference_impl.timing.branches`); the
request takes over the time of the branch that lets it continue. Back-off, and the time of attempts that timed out, are
attributed to the time category ``client``.

A preparation request executes every step whatever its probability, waits for spawned steps, and ignores policies.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reference_impl.errors import CallTimeoutError, ImplError, LimitError, RequestError
from reference_impl.messages import Response, json_response
from reference_impl.parts import Call
from reference_impl.routes.steps import Step
from reference_impl.timing.branches import Branch, Branches
from reference_impl.timing.clock import Clock
from reference_impl.timing.stopwatch import Stopwatch

CLIENT = "client"
"""The time category of back-off and of attempts that timed out."""
FINAL = (RequestError, LimitError)
"""Errors of the call itself, which a retry cannot mend."""
LOG = logging.getLogger(__name__)

Answer = Response | None
"""The response of a step; None if it has none."""
Work = Callable[[Stopwatch], Awaitable[Answer]]


class Player:
    """Executes the steps of routes.

    Parameters
    ----------
    instances
        All instances, by name.
    clock
        The deployment's clock.
    touched
        Those that a call of an instance touches, by its name: itself, and those that it is linked to.
    """

    def __init__(self, instances: Mapping[str, Any], clock: Clock, *, touched: Mapping[str, Sequence[str]]) -> None:
        self._instances = instances
        self._clock = clock
        self._touched = touched

    async def play(self, steps: Sequence[Step], call: Call) -> Response:
        """Execute *steps* in order and return the last response of any of them.

        Raises
        ------
        ImplError
            The error of the first step that failed.
        """
        answer = await self._in_order(steps, call)
        return json_response({"success": True}) if answer is None else answer

    async def _in_order(self, steps: Sequence[Step], call: Call) -> Answer:
        answer = None
        for step in steps:
            answer = await self._step(step, call) or answer
        return answer

    async def _step(self, step: Step, call: Call) -> Answer:
        if call.prepares:
            return await self._repeated(step, call) if step.chance_share else None
        if step.chance_share < 1 and _decision(step, call) >= step.chance_share:
            return None
        if step.is_spawned:
            spawned = call.stopwatch.fork()
            _copy(step, call, "spawn", branch=1, stopwatch=spawned)
            self._clock.spawn(self._unattended(step, replace(call, stopwatch=spawned)))
            return None
        return await self._attempts(step, call)

    async def _unattended(self, step: Step, call: Call) -> None:
        """Execute a spawned step; a failure is logged and not raised."""
        try:
            await self._attempts(step, call)
        except ImplError as error:
            LOG.info("a spawned step of route %s failed: %s", call.route, error)
        except Exception:
            LOG.exception("a spawned step of route %s failed by a defect", call.route)

    async def _attempts(self, step: Step, call: Call) -> Answer:
        """Execute a step with the retries of its policy."""
        draws = call.stopwatch.draws
        for retry in range(step.policy.retries + 1):
            try:
                return await self._attempt(step, call)
            except FINAL:
                raise
            except ImplError:
                if retry == step.policy.retries:
                    raise
                call.stopwatch.delay(CLIENT, step.policy.pause_ms(retry))
            finally:
                call.stopwatch.draws = draws
            _copy(step, call, "attempt", branch=retry + 1, stopwatch=call.stopwatch)
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, step: Step, call: Call) -> Answer:
        """Execute one attempt of a step; after the timeout abandon it without cancelling it."""
        timeout_ms, stopwatch = step.policy.timeout_ms, call.stopwatch
        if timeout_ms is None:
            return await self._hedged(step, call)
        branches: Branches[Answer] = Branches(stopwatch)
        branches.start(_beside(self._hedged, step, call), stopwatch.fork())
        ended = await branches.next_ended(before_ms=stopwatch.planned_ms + timeout_ms)
        if ended is None:
            stopwatch.delay(CLIENT, timeout_ms)
            raise CallTimeoutError(f"{_spoken(step)} took more than {timeout_ms:g} ms; what it began goes on")
        return _joined(ended, stopwatch)

    async def _hedged(self, step: Step, call: Call) -> Answer:
        """Execute a step; after the hedging delay start a second copy, and take the first success."""
        hedge_ms, stopwatch = step.policy.hedge_ms, call.stopwatch
        if hedge_ms is None:
            return await self._repeated(step, call)
        branches: Branches[Answer] = Branches(stopwatch)
        branches.start(_beside(self._repeated, step, call), stopwatch.fork())
        ended = await branches.next_ended(before_ms=stopwatch.planned_ms + hedge_ms)
        if ended is None:
            second = stopwatch.fork()
            _copy(step, call, "hedge", branch=1, stopwatch=second)
            second.delay(CLIENT, hedge_ms)
            branches.start(_beside(self._repeated, step, call), second)
            ended = await branches.next_ended()
            if ended is not None and ended.error is not None:
                ended = await branches.next_ended()
        assert ended is not None, "without a moment to give up, some branch ends"
        return _joined(ended, stopwatch)

    async def _repeated(self, step: Step, call: Call) -> Answer:
        """Execute all repetitions of a step, in order or concurrently."""
        first = call.repetition_index * step.times
        calls = [replace(call, repetition_index=first + n) for n in range(step.times)]
        if step.is_parallel:
            works = [work for one in calls for work in self._works(step, one)]
            if len(works) > 1:
                forks = [call.stopwatch.fork() for _ in works]
                for branch, fork in enumerate(forks[1:], start=1):
                    _copy(step, call, "parallel", branch=branch, stopwatch=fork)
                return await self._at_once(works, forks, call.stopwatch)
        answer = None
        for one in calls:
            answer = await self._once(step, one) or answer
        return answer

    async def _once(self, step: Step, call: Call) -> Answer:
        if step.operation is None:
            return await self._in_order(step.steps, call)
        instance = self._instances[step.instance]
        draws = call.stopwatch.draws
        if draws is not None and call.numbers is not None:
            call.stopwatch.draws = draws.for_use(call.numbers.uses[step.index, call.repetition_index])
        if self._clock.faults is not None:
            self._clock.faults.meet(self._touched[step.instance], call.stopwatch)
        asked = replace(call, step_index=step.index, parameters=step.parameters)
        return await step.operation.run(instance, asked)

    def _works(self, step: Step, call: Call) -> list[Work]:
        """Return the concurrent work of one repetition of a parallel step."""
        if step.operation is not None:
            return [_beside(self._once, step, call)]
        return [_beside(self._step, inner, call) for inner in step.steps]

    async def _at_once(self, works: Sequence[Work], forks: Sequence[Stopwatch], stopwatch: Stopwatch) -> Answer:
        """Run *works* concurrently: raise the first failure, or continue at the end of the last success."""
        branches: Branches[Answer] = Branches(stopwatch)
        for work, fork in zip(works, forks, strict=True):
            branches.start(work, fork)
        ended: list[Branch[Answer]] = []
        while len(ended) < len(works):
            branch = await branches.next_ended()
            assert branch is not None, "without a moment to give up, some branch ends"
            if branch.error is not None:
                return _joined(branch, stopwatch)
            ended.append(branch)
        _joined(max(ended, key=lambda branch: branch.stopwatch.planned_ms), stopwatch)
        answers = [branch.returned for branch in sorted(ended, key=lambda branch: branch.number)]
        return next((answer for answer in reversed(answers) if answer is not None), None)


def _beside(do: Callable[[Step, Call], Awaitable[Answer]], step: Step, call: Call) -> Work:
    """Return a function that executes *step* with the stopwatch of a branch."""
    return lambda stopwatch: do(step, replace(call, stopwatch=stopwatch))


def _decision(step: Step, call: Call) -> float:
    """Return the uniform number that decides whether *step* is executed."""
    draws = call.stopwatch.draws
    if draws is None or call.numbers is None:
        return step.chance.draw()
    return draws.decision(call.numbers.decision(step, call.repetition_index))


def _copy(step: Step, call: Call, what: str, *, branch: int, stopwatch: Stopwatch) -> None:
    """Let *stopwatch* look up the values of copy number *branch* of a step."""
    if stopwatch.draws is not None and call.numbers is not None:
        stopwatch.draws = stopwatch.draws.inner(call.numbers.copy(step, what), branch=branch)


def _joined(branch: Branch[Answer], stopwatch: Stopwatch) -> Answer:
    """Continue at the time at which *branch* ended: return its result or raise its error."""
    stopwatch.join(branch.stopwatch)
    if branch.error is not None:
        raise branch.error
    return branch.returned


def _spoken(step: Step) -> str:
    return "a group of steps" if step.operation is None else f"a call of {step.instance}"
