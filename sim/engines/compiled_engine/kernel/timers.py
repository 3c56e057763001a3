"""Time-outs and hedges: clocks that ring for a join, unless it was decided before.

All timers of one step last equally long, so they stand in a *lane* in the order in which they were set, and only the
first is in the heap. Most never matter: they are passed over when they come to the front.
"""

from typing import Any

from sim.engines.compiled_engine.kernel import layout as k
from sim.engines.compiled_engine.kernel.agenda import push_event, ticket
from sim.engines.compiled_engine.kernel.jit import jit, jit_apart
from sim.engines.compiled_engine.kernel.reach import lane_at, step_at, timer_at, token_at
from sim.engines.compiled_engine.kernel.tokens import decide, start_child

TIMED_OUT = 1
"""Place of ``timeout`` in :data:`sim.flow.OUTCOMES`."""


@jit_apart
def set_timer(w: Any, place: Any, after_ms: Any, token: Any) -> None:
    """Ring for the join of *token* after *after_ms*, which is the same for all timers of a lane."""
    lane, index = lane_at(w, place), w.free_timer
    timer = timer_at(w, index)
    w.free_timer = timer.next
    timer.time_ms = w.now_ms + after_ms
    timer.ticket = ticket(w)
    timer.token = token.index
    timer.join = token.join
    timer.next = k.NONE
    if lane.head == k.NONE:
        lane.head = index
        push_event(w, timer.time_ms, timer.ticket, k.LANE, place)
    else:
        timer_at(w, lane.tail).next = index
    lane.tail = index


@jit_apart
def ring(w: Any, place: Any) -> None:
    """The first timer of a lane rings; then the next that still matters moves up."""
    lane = lane_at(w, place)
    timer = timer_at(w, lane.head)
    token, join = token_at(w, timer.token), timer.join
    drop_first_timer(w, lane)
    if token.join == join:
        step = step_at(w, token.pc - 1)
        if step.op == k.TRY:
            decide(w, token, TIMED_OUT, k.NONE)
        else:
            token.flows += 1
            start_child(w, token, 1, step.key, step.goto)
    while lane.head != k.NONE:
        timer = timer_at(w, lane.head)
        if token_at(w, timer.token).join == timer.join:
            push_event(w, timer.time_ms, timer.ticket, k.LANE, place)
            return
        w.end_ms = max(w.end_ms, timer.time_ms)
        drop_first_timer(w, lane)


@jit
def drop_first_timer(w: Any, lane: Any) -> None:
    """Free the first timer of a lane."""
    index = lane.head
    timer = timer_at(w, index)
    lane.head = timer.next
    timer.next = w.free_timer
    w.free_timer = index
