"""Flows of control: requests, their attempts and copies, background flows; and the joins at which they meet.

A token that started children waits in a *join* with a unique number. Children and timers carry that number: when the
join is decided the token's number is cleared, so a later report has no effect. Numbers are never reused, so a token can
be reused as soon as its flow has ended.
"""

from typing import Any

from sim.engines.compiled_engine.kernel import layout as k
from sim.engines.compiled_engine.kernel.agenda import next_sequence, set_soon
from sim.engines.compiled_engine.kernel.distributions import child_context
from sim.engines.compiled_engine.kernel.jit import jit, jit_apart
from sim.engines.compiled_engine.kernel.reach import (
    accumulator_at,
    arrival_ms_at,
    attributed_at,
    follower_at,
    latency_ms_at,
    outcome_at,
    token_at,
    urgent_at,
)


@jit
def new_token(w: Any, request: Any, context: Any, kind: Any, pc: Any) -> Any:
    """Return a token, from the list of free ones, for a flow that begins at instruction *pc*."""
    token = token_at(w, w.free_token)
    w.free_token = token.next
    w.free_tokens -= 1
    token.request = request
    token.context = context
    token.kind = kind
    token.pc = pc
    token.error = 0
    token.join = 0
    return token


@jit
def start(w: Any, token: Any) -> None:
    """Make a token run as soon as the current one pauses."""
    urgent_at(w, (w.urgent_head + w.urgent_count) & (w.urgent_room - 1)).value = token.index
    w.urgent_count += 1


@jit
def next_started(w: Any) -> Any:
    """Return the index of the token that was started first and has not run yet."""
    index = urgent_at(w, w.urgent_head).value
    w.urgent_head = (w.urgent_head + 1) & (w.urgent_room - 1)
    w.urgent_count -= 1
    return index


@jit_apart
def start_child(w: Any, parent: Any, branch: Any, key: Any, pc: Any) -> None:
    """Start a flow that reports to *parent*'s join."""
    child = new_token(w, parent.request, child_context(parent.context, key, branch), k.CHILD, pc)
    child.parent = parent.index
    child.branch = branch
    child.parent_join = parent.join
    for category in range(w.categories):
        accumulator_at(w, child.index * w.categories + category).value = 0.0
    start(w, child)


@jit
def start_follower(w: Any, parent: Any, key: Any, pc: Any, counts: Any) -> None:
    """Start a flow that nobody waits for; how it ends is added to *counts*."""
    follower = new_token(w, parent.request, child_context(parent.context, key, 1), k.FOLLOWER, pc)
    follower.branch = counts
    start(w, follower)


@jit
def open_join(w: Any, token: Any, flows: Any, need: Any) -> None:
    """Wait for *need* successes among *flows* children."""
    token.join = next_sequence(w)
    token.flows = flows
    token.need = need
    token.failures = 0
    token.successes = 0


@jit
def add_time(w: Any, token: Any, category: Any, spent_ms: Any) -> None:
    """Attribute time: in the record for a request, in its accumulators for a child, nowhere for a background flow."""
    if token.kind == k.MAIN:
        attributed_at(w, category * w.requests + token.request).value += spent_ms
    elif token.kind == k.CHILD:
        accumulator_at(w, token.index * w.categories + category).value += spent_ms


@jit
def end(w: Any, token: Any) -> None:
    """End a flow: record or report it, and free its token."""
    if token.kind == k.MAIN:
        request = token.request
        latency_ms_at(w, request).value = w.now_ms - arrival_ms_at(w, request).value
        outcome_at(w, request).value = token.error
        if w.closed:
            set_soon(w, k.ANSWERED, request)
    elif token.kind == k.CHILD:
        report(w, token)
    else:
        follower_at(w, token.branch + token.error).value += 1
    token.next = w.free_token
    w.free_token = token.index
    w.free_tokens += 1


@jit
def report(w: Any, child: Any) -> None:
    """Report a child's end to its parent, which may decide the join."""
    parent = token_at(w, child.parent)
    if parent.join != child.parent_join:
        return
    if child.error:
        parent.failures += 1
    else:
        parent.successes += 1
    if parent.successes >= parent.need or parent.flows - parent.failures < parent.need:
        for category in range(w.categories):
            spent_ms = accumulator_at(w, child.index * w.categories + category).value
            if spent_ms != 0.0:
                add_time(w, parent, category, spent_ms)
        decide(w, parent, child.error, child.branch)


@jit
def decide(w: Any, token: Any, error: Any, branch: Any) -> None:
    """Wake the token that waits in a join; *branch* is the child that decided, NONE a time-out."""
    token.join = 0
    token.error = error
    token.decided_by = branch
    set_soon(w, k.WAKE, token.index)
