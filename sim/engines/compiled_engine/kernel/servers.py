"""Servers behind queues: :mod:`sim.engines.simpy_engine.stations` as records, with the same arithmetic.

A waiting list is a linked list through the tokens, one per priority level; the jobs of a processor-sharing server form
a skew heap through the tokens. So queues need no memory of their own.

Sources
-------
Sleator and Tarjan, "Self-adjusting heaps", SIAM J. Comput. 15, 1986 (skew heap).
"""

from typing import Any

from sim.engines.compiled_engine.kernel import layout as k
from sim.engines.compiled_engine.kernel.agenda import next_sequence, push_event, set_soon
from sim.engines.compiled_engine.kernel.jit import jit, jit_apart
from sim.engines.compiled_engine.kernel.reach import key_at, list_at, token_at


@jit
def place_of(w: Any, first: Any, instances: Any, request: Any) -> Any:
    """Return the instance that a request's key selects."""
    return first if instances == 1 else first + key_at(w, request).value % instances


@jit
def advance(w: Any, server: Any) -> None:
    """Add the time since the last change to the integrals."""
    span = w.now_ms - server.last_ms
    if span <= 0.0:
        return
    server.busy_total_ms += server.busy * span
    server.queue_total_ms += server.waiting * span
    if server.last_ms < w.horizon_ms:
        clipped = min(w.now_ms, w.horizon_ms) - server.last_ms
        server.busy_ms += server.busy * clipped
        server.queue_ms += server.waiting * clipped
    server.last_ms = w.now_ms


# ---------------------------------------------------------------- in order of arrival, or by priority


@jit
def take(w: Any, server: Any) -> None:
    """Occupy a free server."""
    advance(w, server)
    server.busy += 1
    server.free -= 1
    server.idle_ms = w.now_ms - server.released_ms


@jit
def join_queue(w: Any, server: Any, token: Any, level: Any) -> None:
    """Wait at the end of the list of a priority level; at its head, where the newest is served first."""
    advance(w, server)
    server.waiting += 1
    waiting = list_at(w, server.lists + level)
    if server.newest_first and waiting.head != k.NONE:
        token.next = waiting.head
        waiting.head = token.index
        return
    append(w, waiting, token)


@jit
def append(w: Any, waiting: Any, token: Any) -> None:
    """Add a token at the end of a list."""
    token.next = k.NONE
    if waiting.head == k.NONE:
        waiting.head = token.index
    else:
        token_at(w, waiting.tail).next = token.index
    waiting.tail = token.index


@jit
def first_waiting(w: Any, place: Any) -> Any:
    """Take the first token of the first list that has one, from *place* on, out of it; return the token's number."""
    while list_at(w, place).head == k.NONE:
        place += 1
    waiting = list_at(w, place)
    index = waiting.head
    waiting.head = token_at(w, index).next
    return index


@jit_apart
def gather(w: Any, server: Any, at_most: Any) -> Any:
    """Serve what waits, at most *at_most* requests (0: all), before what arrives later; return their number."""
    count = 0
    place = server.lists + 1
    while place < server.lists + server.levels and (at_most == 0 or count < at_most):
        if list_at(w, place).head == k.NONE:
            place += 1
        else:
            append(w, list_at(w, server.lists), token_at(w, first_waiting(w, place)))
            count += 1
    return count


@jit
def release(w: Any, server: Any) -> None:
    """Pass the server to the request whose turn it is, or leave it idle."""
    advance(w, server)
    server.served += 1
    server.released_ms = w.now_ms
    if server.waiting == 0:
        server.busy -= 1
        server.free += 1
        return
    server.waiting -= 1
    server.idle_ms = 0.0
    set_soon(w, k.WAKE, first_waiting(w, server.lists))


# ---------------------------------------------------------------- processor sharing


@jit
def speed(server: Any) -> Any:
    """Return the speed of the virtual clock with the jobs present."""
    return min(1.0, server.servers / server.present)


@jit
def advance_shared(w: Any, server: Any) -> None:
    """Move the virtual clock, and the meter, to the present."""
    if server.present > 0:
        server.clock_ms += (w.now_ms - server.last_ms) * speed(server)
    server.busy = min(server.servers, server.present)
    advance(w, server)
    server.last_ms = w.now_ms


@jit
def plan(w: Any, server: Any) -> None:
    """Schedule the next completion; an earlier schedule is ignored when its time comes."""
    server.alarm = k.NONE
    if server.present == 0:
        return
    left_ms = max(0.0, token_at(w, server.jobs).end_ms - server.clock_ms) / speed(server)
    server.alarm = next_sequence(w)
    push_event(w, w.now_ms + left_ms, server.alarm, k.ALARM, server.index)


@jit_apart
def add_job(w: Any, server: Any, token: Any, work_ms: Any) -> None:
    """Add a token's work to the jobs in service."""
    advance_shared(w, server)
    token.end_ms = server.clock_ms + work_ms
    token.order = next_sequence(w)
    token.left = token.right = k.NONE
    server.jobs = merge(w, server.jobs, token.index)
    server.present += 1
    plan(w, server)


@jit_apart
def ring_alarm(w: Any, server: Any, number: Any) -> None:
    """Complete the job that ends first, unless this alarm is outdated."""
    if server.alarm != number:
        return
    advance_shared(w, server)
    job = token_at(w, server.jobs)
    server.clock_ms = job.end_ms
    server.jobs = merge(w, job.left, job.right)
    server.present -= 1
    server.served += 1
    set_soon(w, k.WAKE, job.index)
    plan(w, server)


@jit
def ends_before(w: Any, one: Any, other: Any) -> Any:
    """Return whether job *one* ends before job *other*."""
    a, b = token_at(w, one), token_at(w, other)
    return a.end_ms < b.end_ms or (a.end_ms == b.end_ms and a.order < b.order)


@jit_apart
def merge(w: Any, one: Any, other: Any) -> Any:
    """Merge two skew heaps: walk down the right spines, swapping left and right children."""
    if one == k.NONE:
        return other
    if other == k.NONE:
        return one
    if ends_before(w, other, one):
        one, other = other, one
    top = one
    while token_at(w, one).right != k.NONE:
        job = token_at(w, one)
        following = job.right
        if ends_before(w, other, following):
            following, other = other, following
        job.right = job.left
        job.left = following
        one = following
    job = token_at(w, one)
    job.right = job.left
    job.left = other
    return top
