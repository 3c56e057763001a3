"""Future events, in the order of the SimPy engine: by time, then by the sequence number assigned when scheduled.

Events are held in four places, because the order of most of them is known in advance:

* *events*: a heap, for events after some duration,
* *soon*: a ring buffer, for events at the current instant,
* the next arrival of the schedule, in the world record,
* *timer queues*: all time-outs of one step have the same duration, so they expire in the order in which they were set;
  only the first of a queue is in the heap, and cancelled ones are skipped.

In addition, *urgent* lists the flows that start as soon as the current one pauses.
"""

from math import inf
from typing import Any

from sim.engines.compiled_engine.kernel import layout as k
from sim.engines.compiled_engine.kernel.jit import jit
from sim.engines.compiled_engine.kernel.reach import event_at, soon_at

CHILDREN = 4
"""Children of a heap node: flatter than a binary heap, and four neighbours share a cache line or two."""


@jit
def next_sequence(w: Any) -> Any:
    """Return the next sequence number."""
    w.sequence_last += 1
    return w.sequence_last


@jit
def set_after(w: Any, duration_ms: Any, kind: Any, index: Any) -> None:
    """Schedule an event after *duration_ms*."""
    time_ms = w.now_ms + duration_ms
    if time_ms > w.now_ms:
        push_event(w, time_ms, next_sequence(w), kind, index)
    else:
        set_soon(w, kind, index)


@jit
def set_soon(w: Any, kind: Any, index: Any) -> None:
    """Schedule an event at the current instant, after all that are scheduled for it already."""
    event = soon_at(w, (w.soon_head + w.soon_count) & (w.soon_room - 1))
    w.soon_count += 1
    fill(event, w.now_ms, next_sequence(w), kind, index)


@jit
def fill(event: Any, time_ms: Any, number: Any, kind: Any, index: Any) -> None:
    """Write an event."""
    event.time_ms = time_ms
    event.sequence = number
    event.kind = kind
    event.index = index


@jit
def copy(event: Any, other: Any) -> None:
    """Copy *other* into *event*."""
    fill(event, other.time_ms, other.sequence, other.kind, other.index)


@jit
def before(one: Any, time_ms: Any, number: Any) -> Any:
    """Whether an event comes before (*time_ms*, *number*)."""
    return one.time_ms < time_ms or (one.time_ms == time_ms and one.sequence < number)


@jit
def push_event(w: Any, time_ms: Any, number: Any, kind: Any, index: Any) -> None:
    """Push an event onto the heap."""
    place = w.events_count
    w.events_count += 1
    while place > 0:
        parent = (place - 1) // CHILDREN
        above = event_at(w, parent)
        if before(above, time_ms, number):
            break
        copy(event_at(w, place), above)
        place = parent
    fill(event_at(w, place), time_ms, number, kind, index)


@jit
def drop_first(w: Any) -> None:
    """Remove the first event from the heap."""
    w.events_count -= 1
    count = w.events_count
    last = event_at(w, count)
    place, child = 0, 1
    while child < count:
        best = event_at(w, child)
        best_place = child
        for other_place in range(child + 1, min(child + CHILDREN, count)):
            other = event_at(w, other_place)
            if before(other, best.time_ms, best.sequence):
                best, best_place = other, other_place
        if before(last, best.time_ms, best.sequence):
            break
        copy(event_at(w, place), best)
        place = best_place
        child = CHILDREN * place + 1
    copy(event_at(w, place), last)


@jit
def next_event(w: Any) -> Any:
    """Advance the clock to the next event; return its kind, index and sequence; kind NONE when none is left."""
    time_ms, number, kind, index = inf, 0, k.NONE, k.NONE
    if w.soon_count > 0:
        soon = soon_at(w, w.soon_head)
        time_ms, number, kind, index = w.now_ms, soon.sequence, soon.kind, soon.index
    if w.arrival_ms_next < time_ms or (w.arrival_ms_next == time_ms and w.arrival_sequence < number):
        time_ms, number, kind, index = w.arrival_ms_next, w.arrival_sequence, k.ARRIVE, k.NONE
    if w.events_count > 0:
        first = event_at(w, 0)
        if before(first, time_ms, number):
            time_ms, number, kind, index = first.time_ms, first.sequence, first.kind, first.index
            drop_first(w)
            w.now_ms = time_ms
            return kind, index, number
    if kind == k.NONE:
        return kind, index, number
    w.now_ms = time_ms
    if kind != k.ARRIVE or index != k.NONE:
        w.soon_head = (w.soon_head + 1) & (w.soon_room - 1)
        w.soon_count -= 1
    return kind, index, number
