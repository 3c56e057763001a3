"""One object, one thread: everything that touches an organisation's state passes through it, one event at a time.

A request travels to the object, waits for its turn, finds it asleep or awake, does its work, and, if it wrote, is
answered only when the write is durable: the *output gate* holds the answer back, not the object. An object that was
idle for long was evicted and must be started anew, while its next request, and all behind it, wait.

Sources
-------
Durable Objects limits, lifecycle and "rules of Durable Objects" pages. The output gate's 10-13 ms
were measured by one user (lumenize.com). The start time has no published figure (an assumption of the scenario).
"""

from sim.flow import Branch, Delay, Flow, Hold, Idle, Station, Time
from sim.scenario.system import DurableObjects


def station(objects: DurableObjects, keys: int) -> Station:
    """The objects: one server each, as many as there are shards (one a key with ``per_org``)."""
    shards = keys if objects.shards == "per_org" else objects.shards
    return Station("durable_objects", servers=1, instances=shards, queue_limit=objects.queue_limit)


def held(objects: DurableObjects, place: Station, *, work: Flow) -> Flow:
    """Have the object to oneself for *work*, after waking it if it was evicted."""
    start = Delay(objects.cold_start_ms, "durable_objects.cold_start")
    wake = Branch(Idle(place, objects.evict_idle_ms), (start,))
    return (Hold(place, (wake, *work)),)


def flow(objects: DurableObjects, place: Station, *, work: Flow, writes: bool) -> Flow:
    """Travel to the object, be served by it, travel back.

    Parameters
    ----------
    objects : DurableObjects
    place : Station
        From :func:`station`.
    work : Flow
        What the object does for this request, alone.
    writes : bool
        Whether the answer waits behind the output gate.
    """
    half = Delay(Time(objects.rtt_ms, scale=0.5), "durable_objects.rtt", shared=True)
    gate = (Delay(objects.output_gate_ms, "durable_objects.output_gate"),) if writes else ()
    return (half, *held(objects, place, work=work), *gate, half)
