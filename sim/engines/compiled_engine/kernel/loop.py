"""The event loop: take the next event, run the flow that it wakes until it waits again, repeat.

A run may pause between any two instructions, for Ctrl-C or for more memory, and resume later: all its state is in the
tables.
"""

from math import inf
from typing import Any

from sim.engines.compiled_engine.kernel import layout as k
from sim.engines.compiled_engine.kernel.agenda import next_event, next_sequence, set_after
from sim.engines.compiled_engine.kernel.instructions import execute
from sim.engines.compiled_engine.kernel.jit import jit, jit_cached
from sim.engines.compiled_engine.kernel.reach import arrival_ms_at, next_request_at, server_at, think_ms_at, token_at
from sim.engines.compiled_engine.kernel.servers import ring_alarm
from sim.engines.compiled_engine.kernel.timers import ring
from sim.engines.compiled_engine.kernel.tokens import new_token, next_started

DONE, TURNS_SPENT, NO_ROOM = range(3)
"""Why the machine stopped."""

ROOM = 2
"""Free entries that the heap must have: one event, or one flow until it waits, adds at most one."""


@jit_cached
def machine(world: Any, turns: Any) -> Any:
    """Run until everything has ended, or *turns* flows and events were executed, or a table is full.

    Parameters
    ----------
    world : ndarray of WORLD, shape (1,)
    turns : int
    """
    w = world[0]
    for _ in range(turns):
        if w.events_count + ROOM > w.events_room or w.free_tokens == 0:
            return NO_ROOM
        if w.running == k.NONE:
            if w.urgent_count > 0:
                w.running = next_started(w)
            else:
                kind, index, number = next_event(w)
                if kind == k.NONE:
                    return DONE
                w.running = happen(w, kind, index, number)
        if w.running != k.NONE:
            if not walk(w, token_at(w, w.running)):
                return NO_ROOM
            w.running = k.NONE
    return TURNS_SPENT


@jit
def walk(w: Any, token: Any) -> Any:
    """Run a token until it waits or ends; return false when there is no room for the flows that it starts."""
    pc = token.pc
    while pc >= 0:
        pc = execute(w, token, pc)
    return pc == k.NONE


@jit
def happen(w: Any, kind: Any, index: Any, number: Any) -> Any:
    """Execute an event; return the index of the token that runs now, or NONE."""
    if kind == k.WAKE:
        return index
    if kind == k.ARRIVE:
        return arrive(w, index)
    if kind == k.TIMEOUT:
        ring(w, index)
    elif kind == k.ALARM:
        ring_alarm(w, server_at(w, index), number)
    else:
        think(w, next_request_at(w, index).value)
    return k.NONE


@jit
def arrive(w: Any, index: Any) -> Any:
    """Start a request: the next of the schedule, or that of a user whose think time is over."""
    request = index
    if index == k.NONE:
        request = w.arrived
        w.arrived += 1
        w.arrival_ms_next = arrival_ms_at(w, w.arrived).value if w.arrived < w.requests else inf
        w.arrival_sequence = next_sequence(w)
    else:
        arrival_ms_at(w, request).value = w.now_ms
    return new_token(w, request, 0, k.MAIN, 0).index


@jit
def think(w: Any, request: Any) -> None:
    """Start the think time of a closed loop's user before *request*, if there is one."""
    if request != k.NONE:
        set_after(w, think_ms_at(w, request).value, k.ARRIVE, request)
