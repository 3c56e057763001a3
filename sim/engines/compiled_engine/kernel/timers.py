"""Time-outs and hedges: timers that expire for a join, unless it was decided earlier.

All timers of one step have the same duration, so they are in a *timer queue* in the order in which they were set, and
only the first is in the heap. Most are cancelled: they are skipped when they reach the front.
"""

from typing import Any

from sim.engines.compiled_engine.kernel import layout as k
from sim.engines.compiled_engine.kernel.agenda import next_sequence, push_event
from sim.engines.compiled_engine.kernel.jit import jit, jit_apart
from sim.engines.compiled_engine.kernel.reach import step_at, timer_at, timer_queue_at, token_at
from sim.engines.compiled_engine.kernel.tokens import decide, start_child

TIMED_OUT = 1
"""Index of ``timeout`` in :data:`sim.flow.OUTCOMES`."""


@jit_apart
def set_timer(w: Any, place: Any, after_ms: Any, token: Any) -> None:
    """Set a timer of *after_ms*, the same for all timers of a queue, for the join of *token*."""
    timer_queue, index = timer_queue_at(w, place), w.free_timer
    timer = timer_at(w, index)
    w.free_timer = timer.next
    timer.time_ms = w.now_ms + after_ms
    timer.sequence = next_sequence(w)
    timer.token = token.index
    timer.join = token.join
    timer.next = k.NONE
    if timer_queue.head == k.NONE:
        timer_queue.head = index
        push_event(w, timer.time_ms, timer.sequence, k.TIMEOUT, place)
    else:
        timer_at(w, timer_queue.tail).next = index
    timer_queue.tail = index


@jit_apart
def ring(w: Any, place: Any) -> None:
    """Let the first timer of a queue expire; then the next one that is not cancelled moves up."""
    timer_queue = timer_queue_at(w, place)
    timer = timer_at(w, timer_queue.head)
    token, join = token_at(w, timer.token), timer.join
    drop_first_timer(w, timer_queue)
    if token.join == join:
        step = step_at(w, token.pc - 1)
        if step.op == k.TRY:
            decide(w, token, TIMED_OUT, k.NONE)
        else:
            token.flows += 1
            start_child(w, token, 1, step.key, step.goto)
    while timer_queue.head != k.NONE:
        timer = timer_at(w, timer_queue.head)
        if token_at(w, timer.token).join == timer.join:
            push_event(w, timer.time_ms, timer.sequence, k.TIMEOUT, place)
            return
        w.end_ms = max(w.end_ms, timer.time_ms)
        drop_first_timer(w, timer_queue)


@jit
def drop_first_timer(w: Any, timer_queue: Any) -> None:
    """Free the first timer of a queue."""
    index = timer_queue.head
    timer = timer_at(w, index)
    timer_queue.head = timer.next
    timer.next = w.free_timer
    w.free_timer = index
