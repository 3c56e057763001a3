"""Retries: evaluate an attempt that has ended, back off, and try again while retries and budget are left."""

from typing import Any

from sim.engines.compiled_engine.kernel import layout as k
from sim.engines.compiled_engine.kernel.agenda import set_after
from sim.engines.compiled_engine.kernel.distributions import uniform
from sim.engines.compiled_engine.kernel.jit import jit, jit_apart
from sim.engines.compiled_engine.kernel.reach import budget_at, frame_at, step_at
from sim.engines.compiled_engine.kernel.tokens import add_time

DOUBLINGS_MAX = 1000
"""Most doublings of the back-off: beyond it 2.0**number would overflow; its maximum is reached long before."""


@jit_apart
def try_again(w: Any, token: Any, pc: Any) -> Any:
    """Start or evaluate an attempt, or resume after a back-off; return the next instruction, NONE for a back-off."""
    step = step_at(w, pc)
    frame = frame_at(w, token.index * w.slots + step.slot)
    if step.op == k.ATTEMPT:
        frame.number = 0
        if step.first != k.NONE:
            budget = budget_at(w, step.first)
            budget.left = min(budget.burst, budget.left + budget.ratio)
        return pc + 1
    if step.op == k.RETRY:
        add_time(w, token, step.category, token.duration_ms)
        frame.number += 1
        return step.goto
    if token.decided_by == k.NONE:
        add_time(w, token, step.category, w.now_ms - token.began_ms)
    if token.error == 0:
        return step.goto
    if frame.number == step.times or (step.final >> token.error) & 1 or not withdraw(w, step.first):
        return step.fail
    token.error = 0
    token.duration_ms = pause_ms(token, step, frame.number)
    token.pc = pc + 1
    set_after(w, token.duration_ms, k.WAKE, token.index)
    return k.NONE


@jit
def pause_ms(token: Any, step: Any, number: Any) -> Any:
    """Return the back-off before retry *number* + 1."""
    longest_ms = min(step.backoff_ms_max, step.backoff_ms * 2.0 ** min(number, DOUBLINGS_MAX))
    if step.jitter:
        return longest_ms * uniform(step.key, token.request, token.context, number + 1)
    return longest_ms


@jit
def withdraw(w: Any, place: Any) -> Any:
    """Withdraw a retry from the budget, if there is one; return whether it is allowed."""
    if place == k.NONE:
        return True
    budget = budget_at(w, place)
    if budget.left < 1.0:
        return False
    budget.left -= 1.0
    return True
