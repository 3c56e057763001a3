"""The instructions of the machine, which mirror the methods of ``sim/engines/simpy_engine/engine.py``.

Each function executes one instruction for one token. It returns the token's next instruction, or NONE when it waits or
has ended, or FULL when there is no room for the flows that it starts.
"""

from typing import Any

from sim.engines.compiled_engine.kernel import layout as k
from sim.engines.compiled_engine.kernel.agenda import set_after
from sim.engines.compiled_engine.kernel.attempts import try_again
from sim.engines.compiled_engine.kernel.conditions import attribute, holds, mark, sampled
from sim.engines.compiled_engine.kernel.distributions import child_context
from sim.engines.compiled_engine.kernel.jit import jit
from sim.engines.compiled_engine.kernel.reach import (
    attempts_at,
    counter_at,
    frame_at,
    jump_at,
    latch_at,
    route_at,
    server_at,
    step_at,
)
from sim.engines.compiled_engine.kernel.servers import add_job, gather, join_queue, place_of, release, take
from sim.engines.compiled_engine.kernel.timers import set_timer
from sim.engines.compiled_engine.kernel.tokens import add_time, end, open_join, start_child, start_follower

FULL = -2


@jit
def execute(w: Any, token: Any, pc: Any) -> Any:
    """Execute one instruction."""
    step = step_at(w, pc)
    if step.op < k.FIRST_AT_ONCE:
        return take_time(w, token, pc)
    if step.op < k.FIRST_JOIN:
        return take_no_time(w, token, pc)
    return meet(w, token, pc)


# ---------------------------------------------------------------- steps that take time


@jit
def take_time(w: Any, token: Any, pc: Any) -> Any:
    """Execute an instruction that takes time: queues, delays and service."""
    step = step_at(w, pc)
    op = step.op
    if op == k.SLEEP:
        return sleep(w, token, pc)
    if op == k.SLEPT:
        add_time(w, token, step.category, token.duration_ms)
        return pc + 1
    if op == k.WORKED:
        add_time(w, token, step.category, w.now_ms - token.began_ms)
        return pc + 1
    server = server_at(w, place_of(w, step.first, step.instances, token.request))
    if op == k.SEIZE:
        return seize(w, token, pc, server)
    if op == k.WORK:
        return work(w, token, pc, server)
    if op == k.WAITED:
        waited_ms = w.now_ms - token.began_ms
        server.waited_ms += waited_ms
        add_time(w, token, step.category, waited_ms)
        return pc + 1
    if op == k.SERVED:
        add_time(w, token, step.category, token.duration_ms)
    release(w, server)
    return pc + 1


@jit
def seize(w: Any, token: Any, pc: Any, server: Any) -> Any:
    """Occupy a server, or wait for one, unless the queue is full."""
    step = step_at(w, pc)
    if server.free > 0:
        take(w, server)
        return pc + 2
    if server.waiting >= server.limit:
        server.refused += 1
        token.error = step.error
        return step.fail
    token.began_ms = w.now_ms
    token.pc = pc + 1
    join_queue(w, server, token, step.level)
    return k.NONE


@jit
def sleep(w: Any, token: Any, pc: Any) -> Any:
    """Wait for a sampled time."""
    token.began_ms = w.now_ms
    token.duration_ms = sampled(w, token, step_at(w, pc))
    token.pc = pc + 1
    set_after(w, token.duration_ms, k.WAKE, token.index)
    return k.NONE


@jit
def work(w: Any, token: Any, pc: Any, server: Any) -> Any:
    """Add work to a processor-sharing server."""
    token.began_ms = w.now_ms
    token.pc = pc + 1
    add_job(w, server, token, sampled(w, token, step_at(w, pc)))
    return k.NONE


# ---------------------------------------------------------------- steps that take no time


@jit
def take_no_time(w: Any, token: Any, pc: Any) -> Any:
    """Execute an instruction that takes no time: jumps, loops, counters and stamps."""
    step = step_at(w, pc)
    op = step.op
    if op == k.JUMP:
        return step.goto
    if op == k.BRANCH:
        return pc + 1 if holds(w, token, step.condition) else step.goto
    if op == k.MATCH:
        return jump_at(w, step.first + route_at(w, token.request).value).value
    if op == k.GUARD:
        if not holds(w, token, step.condition):
            return pc + 1
        token.error = step.error
        return step.fail
    if op == k.LOOP or op == k.TURN or op == k.NEXT:
        return loop(w, token, pc)
    place = place_of(w, step.first, step.instances, token.request)
    if op == k.UNLATCH:
        latch_at(w, place).value = 0
    elif op == k.MARK:
        mark(w, step, token.request)
    elif op == k.RESET:
        counter_at(w, place).value = 0.0
    elif op == k.GATHER:
        count = gather(w, server_at(w, place), step.need)
        counter_at(w, place_of(w, step.goto, step.times, token.request)).value += count
    elif op == k.MOVE:
        counter_at(w, place_of(w, step.goto, step.times, token.request)).value += counter_at(w, place).value
        counter_at(w, place).value = 0.0
    else:
        by = attribute(w, step.attribute, token.request) if step.attribute else step.amount
        counter_at(w, place).value = max(0.0, counter_at(w, place).value + by)
    return pc + 1


@jit
def loop(w: Any, token: Any, pc: Any) -> Any:
    """Enter a loop, test its condition, or return from an iteration."""
    step = step_at(w, pc)
    frame = frame_at(w, token.index * w.slots + step.slot)
    if step.op == k.LOOP:
        frame.context = token.context
        frame.number = 0
        return pc + 1
    if step.op == k.NEXT:
        frame.number += 1
        return step.goto
    if frame.number < step.times:
        token.context = child_context(frame.context, step.key, frame.number)
        if holds(w, token, step.condition):
            return pc + 1
    token.context = frame.context
    return step.goto


# ---------------------------------------------------------------- fork and join


@jit
def meet(w: Any, token: Any, pc: Any) -> Any:
    """Execute an instruction that forks, joins or ends flows."""
    step = step_at(w, pc)
    op = step.op
    if op == k.END:
        end(w, token)
        return k.NONE
    if op == k.TRIED or op == k.RETRY or op == k.ATTEMPT:
        return try_again(w, token, pc)
    if op == k.JOINED or op == k.HEDGED:
        if op == k.HEDGED and token.decided_by == 1:
            add_time(w, token, step.category, min(step.amount, w.now_ms - token.began_ms))
        return step.fail if token.error else pc + 1
    if w.free_tokens < w.starts_max or w.free_timer == k.NONE:
        token.pc = pc
        return FULL
    if op == k.SPAWN:
        return spawn(w, token, pc)
    return call(w, token, pc)


@jit
def spawn(w: Any, token: Any, pc: Any) -> Any:
    """Start a background flow, unless one is still pending."""
    step = step_at(w, pc)
    if step.first != k.NONE:
        latch = latch_at(w, place_of(w, step.first, step.instances, token.request))
        if latch.value:
            return pc + 1
        latch.value = 1
    start_follower(w, token, step.key, step.goto, step.slot)
    return pc + 1


@jit
def call(w: Any, token: Any, pc: Any) -> Any:
    """Start children and wait for the join."""
    step = step_at(w, pc)
    token.began_ms = w.now_ms
    token.pc = pc + 1
    if step.op == k.FORK:
        open_join(w, token, step.times, step.need)
        for branch in range(step.times):
            start_child(w, token, branch, step.key, jump_at(w, step.first + branch).value)
        return k.NONE
    open_join(w, token, 1, 1)
    branch = 0
    if step.op == k.TRY:
        branch = frame_at(w, token.index * w.slots + step.slot).number
        if token.kind == k.MAIN:
            attempts_at(w, token.request).value = branch + 1
    start_child(w, token, branch, step.key, step.goto)
    if step.timer_queue != k.NONE:
        set_timer(w, step.timer_queue, step.amount, token)
    return k.NONE
