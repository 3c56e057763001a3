"""Durable Objects: one single-threaded object per key (or shard), which handles one event at a time.

A request travels to the object, waits in its queue, starts it if it was evicted, does its work, and, after a write, is
answered only when the write is durable: the *output gate* holds the answer back, not the object. An object that was
idle for long enough is evicted and must be started again, while its next request, and all behind it, wait.

Two things that the open-source runtime does may be said of an object, and are absent by default since the provider
publishes neither. Requests that wait when the object becomes free share one *turn* of its event loop: they are handled
and committed together, and answered at its end, so that a request costs less under load than alone. A turn may have
room for some only, the newest first, after it has taken in all that came. And the isolate stops to collect garbage,
after so many requests and not after so much time.

Sources
-------
Durable Objects limits, lifecycle and "rules of Durable Objects" pages. The output gate's 10-13 ms
were measured by one user (lumenize.com). The start time has no published figure (an assumption of the scenario).
Turns and collections: measured on the open-source runtime (docs/FIDELITY_WORKERD.md).
"""

from collections.abc import Callable
from dataclasses import replace
from math import ceil, inf, isinf
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from sim.flow import (
    ZERO,
    Branch,
    Count,
    CountAtLeast,
    Counter,
    Delay,
    Finally,
    Flow,
    Gather,
    Guard,
    Hold,
    Idle,
    Move,
    Repeat,
    Reset,
    Station,
    Time,
    Waiting,
)
from sim.flow.state import Discipline
from sim.foundation.errors import ScenarioError
from sim.foundation.schema import Count as Number
from sim.foundation.schema import NotNegative, Positive, Table, count_or
from sim.models.billing import GB, Call, Runaway, StorageLimit, Usage, meter, per_million, storage
from sim.models.component import Component, Instance, Operation, Tier
from sim.randomness.distributions import Distribution

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


INTAKES_MAX = 100
"""Times that a turn takes in what came meanwhile; the time that remains is too short by then to matter."""

Shards = Annotated[Number | Literal["per_key"], count_or("per_key")]


class DurableObjects(Table):
    """A namespace of single-threaded objects, each with the state of its keys."""

    shards: Shards
    """Number of objects that share the keys, or ``"per_key"`` for one object per key."""
    rtt_ms: Distribution
    """Round trip between the Worker and the object."""
    cold_start_ms: Distribution
    """Time to start an object that is not in memory; it holds the object."""
    evict_idle_ms: Positive
    """Idle time after which an object is evicted from memory."""
    output_gate_ms: Distribution
    """Time until a write is durable and its answer may leave; the object serves others meanwhile."""
    queue_limit: Number
    """Most requests that may wait for one object; a further one fails as overloaded."""
    read_ms: Distribution
    """Work of a request that reads the object's state; it holds the object."""
    write_ms: Distribution
    """Work of a request that changes the object's state; it holds the object."""
    coalesced_ms: NotNegative | None = None
    """Requests that wait when the object becomes free share a turn: it takes the work of the first, and this for each
    further one; all are answered at its end. Without it every request has a turn of its own."""
    turn_requests_max: Number | None = None
    """Most requests of one turn; without it, all that wait."""
    turn_order: Literal["oldest", "newest"] | None = None
    """Where not all that wait share the next turn: those that came first do, as without it, or those that came last."""
    intake_ms: NotNegative | None = None
    """The part of ``coalesced_ms`` that a request takes when it is taken in, before those that wait share a turn."""
    collection_every_requests: Number | None = None
    """Requests of one object after which its isolate collects garbage; without it, never."""
    collection_ms: Distribution | None = None
    """Time of a collection, which holds the object; needed with ``collection_every_requests``."""
    storage: Literal["sqlite", "kv"] = "sqlite"
    """Back end of the objects' storage; the older ``kv`` has no SQL, and meters of its own."""
    sqlite_value_bytes_max: Number | None = None
    """Largest stored value on the SQLite back end, with its key; no limit without it."""
    kv_value_bytes_max: Number | None = None
    """Largest stored value on the key-value back end; no limit without it."""
    kv_unit_bytes: Number | None = None
    """What one unit of the key-value back end's bill writes; without it a value is one unit, and a growing log none."""


class Write(Table):
    """The parameters of a write."""

    rows_written: NotNegative = 1.0
    """Rows written in the object's storage; an index entry counts as a row. With ``kv``, keys that are put."""
    stored_bytes: NotNegative = 0.0
    """Bytes by which the object's storage grows. With ``kv`` they are the values of its keys, in equal parts."""


class Read(Table):
    """The parameters of a read."""

    rows_read: NotNegative = 1.0
    """Rows read in the object's storage. With ``kv``, units of the bill: a key whose value fits one is one."""


def station(objects: Instance) -> Station:
    """Return the objects: one server each, as many as there are shards (one per key with ``per_key``)."""
    table: DurableObjects = objects.table
    shards = objects.keys if table.shards == "per_key" else table.shards
    order: Discipline = "lcfs" if table.turn_order == "newest" else "fcfs"
    return Station(objects.name, servers=1, instances=shards, queue_limit=table.queue_limit, discipline=order)


def value_bytes_max(objects: Instance, *, key_bytes: int) -> float:
    """Return the largest value under a key of *key_bytes*, which only SQLite counts with it; infinite for no limit."""
    table: DurableObjects = objects.table
    if table.storage == "kv":
        return inf if table.kv_value_bytes_max is None else table.kv_value_bytes_max
    return inf if table.sqlite_value_bytes_max is None else table.sqlite_value_bytes_max - key_bytes


def held(objects: Instance, *, work: Flow, evict_idle_ms: float | None = None) -> Flow:
    """Hold the object for *work*, after starting it if it was evicted.

    Parameters
    ----------
    objects : Instance
    work : Flow
    evict_idle_ms : float, optional
        Idle time until eviction, by default the table's; infinite for an object that is never evicted.
    """
    place = station(objects)
    idle_ms = objects.table.evict_idle_ms if evict_idle_ms is None else evict_idle_ms
    # What shares no turn may have waited, and been gathered, among requests that do.
    passes = () if objects.table.coalesced_ms is None else (Count(_turn(objects), by=-1),)
    return (Hold(place, (*passes, *_start(objects, idle_ms), *work)),)


def _start(objects: Instance, idle_ms: float) -> Flow:
    """Start the object if it was evicted; do so inside a hold."""
    if isinf(idle_ms):
        return ()
    start = Delay(objects.table.cold_start_ms, objects.stream("cold_start"))
    return (Branch(Idle(station(objects), idle_ms), (start,)),)


def _turn(objects: Instance) -> Counter:
    """Return the requests of the running turn that have yet to pass."""
    return Counter(f"{objects.name}_turn", instances=station(objects).instances)


def _in_turns(objects: Instance, work: Flow) -> Flow:
    """Share the object's turns: the first request of a turn holds it for all that wait, the others pass at its end."""
    table: DurableObjects = objects.table
    intake_ms = table.intake_ms or 0.0
    if intake_ms > (table.coalesced_ms or 0.0):
        name = f"system.{objects.name}.intake_ms"
        rule = f"must be <= coalesced_ms={table.coalesced_ms:g}, of which it is a part"
        raise ScenarioError(f"{name}={intake_ms:g} {rule} (scenarios/README.md)")
    place = station(objects)
    turn = _turn(objects)
    most = None if table.turn_requests_max is None else table.turn_requests_max - 1
    together = () if most == 0 else (Gather(place, into=turn, at_most=most),)
    each_ms = (table.coalesced_ms or 0.0) - intake_ms
    further = Delay(Time(ZERO.distribution, each_ms=each_ms, of=turn), objects.stream("further"))
    came, taken = _intake(objects, place)
    first = (*taken, *together, *_start(objects, table.evict_idle_ms), *work, further)
    done = tuple(step for step in work if not isinstance(step, Delay))
    return (*came, Hold(place, (Branch(CountAtLeast(turn, 1), (Count(turn, by=-1), *done), first),)))


def _intake(objects: Instance, place: Station) -> tuple[Flow, Flow]:
    """Return what counts a request that comes, and the time of taking in all that came but one, whose turn has it."""
    each_ms = objects.table.intake_ms
    if not each_ms:
        return (), ()
    come = Counter(f"{objects.name}_come", instances=place.instances)
    taken = Counter(f"{objects.name}_taken_in", instances=place.instances)
    take_in = Delay(Time(ZERO.distribution, each_ms=each_ms, of=taken), objects.stream("intake"))
    again = Repeat(
        CountAtLeast(come, 1), (Reset(taken), Move(come, into=taken), take_in), objects.stream("intakes"), INTAKES_MAX
    )
    # A request that the full queue refuses must not be counted, so it is refused here, as the station would.
    return (Guard(Waiting(place, objects.table.queue_limit), place.error), Count(come)), (Count(come, by=-1), again)


def _refuse_half_a_turn(objects: Instance) -> None:
    """Refuse what says how turns are shared where they are not; the oldest first is served without turns, too."""
    table: DurableObjects = objects.table
    said = [name for name in ("turn_requests_max", "turn_order", "intake_ms") if getattr(table, name) is not None]
    if table.turn_order == "oldest":
        said.remove("turn_order")
    if said and table.coalesced_ms is None:
        where = f"system.{objects.name}."
        raise ScenarioError(f"{where}{said[0]} must be given with {where}coalesced_ms (scenarios/README.md)")


def _collection(objects: Instance) -> Flow:
    """Stop to collect garbage, if it is time; do so inside a hold."""
    table: DurableObjects = objects.table
    if table.collection_every_requests is None and table.collection_ms is None:
        return ()
    if table.collection_every_requests is None or table.collection_ms is None:
        where = f"system.{objects.name}.collection_"
        rule = f"{where}every_requests and {where}ms must be given together"
        raise ScenarioError(f"{rule} (scenarios/README.md)")
    since = Counter(f"{objects.name}_collection", instances=station(objects).instances)
    stop = (Reset(since), Delay(table.collection_ms, objects.stream("collection")))
    return (Count(since), Branch(CountAtLeast(since, table.collection_every_requests), stop))


def call(objects: Instance, *, work: Flow, writes: bool) -> Flow:
    """Travel to the object, be served by it, travel back.

    Parameters
    ----------
    objects : Instance
    work : Flow
        Work for which the request holds the object.
    writes : bool
        Whether the answer waits behind the output gate.
    """
    work = (*work, *_collection(objects))
    _refuse_half_a_turn(objects)
    gate = (Delay(objects.table.output_gate_ms, objects.stream("output_gate")),) if writes else ()
    inner = held(objects, work=work) if objects.table.coalesced_ms is None else _in_turns(objects, work)
    return around(objects, (*inner, *gate))


def around(objects: Instance, inner: Flow) -> Flow:
    """Travel to the object, *inner*, travel back."""
    half = Delay(Time(objects.table.rtt_ms, scale=0.5), objects.stream("rtt"), shared=True)
    return (half, Finally(inner, (half,)))


def read(objects: Instance, _: Read) -> Flow:
    """Read the state of the request's key."""
    return call(objects, work=(Delay(objects.table.read_ms, objects.stream("read")),), writes=False)


def write(objects: Instance, _: Write) -> Flow:
    """Change the state of the request's key."""
    return call(objects, work=(Delay(objects.table.write_ms, objects.stream("write")),), writes=True)


def call_usage(active_ms: float, **rows: float) -> Usage:
    """Return the usage of a request that keeps an object active for *active_ms* and reads or writes *rows*."""
    counted = {f"durable_objects.{name}": amount for name, amount in rows.items()}
    return Usage({"durable_objects.requests": 1.0, "durable_objects.duration": active_ms / 1000, **counted})


def read_usage(objects: Instance, call: Call) -> Usage:
    """Return the usage of a read: one request, its duration, and the rows that it reads."""
    rows = call.parameters.rows_read
    read = {"kv_read_units": rows} if objects.table.storage == "kv" else {"rows_read": rows}
    return call_usage(objects.table.read_ms.expected(), **read)


def write_usage(objects: Instance, call: Call) -> Usage:
    """Return the usage of a write: one request, its duration until it is durable, and the rows that it writes."""
    active_ms = objects.table.write_ms.expected() + objects.table.output_gate_ms.expected()
    rows, stored_bytes, meter = call.parameters.rows_written, call.parameters.stored_bytes, "durable_objects.storage"
    written = {"rows_written": rows}
    if objects.table.storage == "kv":
        meter = "durable_objects.kv_storage"
        written = {"kv_write_units": rows * value_units(objects, stored_bytes / rows if rows else 0.0)}
    used = call_usage(active_ms, **written)
    return replace(used, stored_gb={meter: stored_bytes / GB}) if stored_bytes else used


def value_units(objects: Instance, value_bytes: float) -> int:
    """Return the units that a value is on the bill of the key-value back end: at least one, of ``kv_unit_bytes``."""
    unit_bytes = objects.table.kv_unit_bytes
    return 1 if unit_bytes is None else max(1, ceil(value_bytes / unit_bytes))


def busy_ms(frame: "pd.DataFrame", objects: Instance) -> "NDArray[np.float64]":
    """Return the busy time of each object in ms, as far as answers report it: that of the components it hosts."""
    inside = [
        f"{other.name}_ms"
        for other in objects.others.values()
        if any(other.linked(key).name == objects.name for key in other.component.links)
    ]
    inside = [column for column in inside if column in frame]  # An instance that no route uses has no column.
    instances = station(objects).instances
    if not inside:
        return np.full(instances, np.nan)
    spent = frame[inside].to_numpy().sum(axis=1)
    return np.bincount(frame["key"].to_numpy() % instances, weights=spent, minlength=instances).astype(np.float64)


def alarm_loop(objects: Instance, fact: Callable[[str], float]) -> Usage:
    """Return the usage per second of objects whose alarm does a write's work and sets itself again at once."""
    each_s = (objects.table.write_ms.expected() + objects.table.output_gate_ms.expected()) / 1000
    looping = station(objects).instances
    alarms_per_s = looping / each_s
    written = "kv_write_units" if objects.table.storage == "kv" else "rows_written"
    return Usage(
        {
            "durable_objects.requests": alarms_per_s * fact("durable_objects.pricing.alarm_invocation_requests"),
            f"durable_objects.{written}": alarms_per_s * fact("durable_objects.pricing.set_alarm_rows_written"),
            "durable_objects.duration": float(looping),
        }
    )


COMPONENT = Component(
    name="durable_objects",
    label="Durable Objects",
    colour="#0072b2",
    tier=Tier.STATE,
    table=DurableObjects,
    operations={
        "read": Operation(read, parameters=Read, usage=read_usage, services=("durable_objects",), reads=True),
        "write": Operation(write, parameters=Write, usage=write_usage, services=("durable_objects",)),
    },
    station=station,
    busy_ms=busy_ms,
    meters=(
        per_million("durable_objects.requests", "requests", fact="requests"),
        meter(
            "durable_objects.websocket_messages", "messages",
            counts_as="durable_objects.requests", divisor="websocket_messages_per_request",
        ),
        meter(
            "durable_objects.duration", "GB-s",
            price="duration_overage_per_million_gb_s", included="duration_gb_s_included_month",
            free="duration_gb_s_free_per_day", scale="duration_gb_per_object", active=True,
        ),
        per_million("durable_objects.rows_read", "rows", fact="sqlite_rows_read"),
        per_million("durable_objects.rows_written", "rows", fact="sqlite_rows_written"),
        per_million("durable_objects.kv_read_units", "units", fact="kv_read_units", free=""),
        per_million("durable_objects.kv_write_units", "units", fact="kv_write_units", free=""),
        storage(
            "durable_objects.storage",
            price="sqlite_storage_overage_per_gb_month", included="sqlite_storage_gb_included",
            free="sqlite_storage_gb_included",
        ),
        storage(
            "durable_objects.kv_storage",
            price="kv_storage_overage_per_gb_month", included="kv_storage_gb_included", free="",
        ),
    ),
    limits=(
        StorageLimit(
            "durable_objects.storage", "durable_objects.limits.storage_bytes_per_object_sqlite", "an object", per="key"
        ),
        StorageLimit(
            "durable_objects.kv_storage", "durable_objects.limits.storage_bytes_account_kv",
            "the account's key-value storage",
        ),
    ),
    runaways=(Runaway("alarm loop", "every object sets its alarm again as soon as it has rung", alarm_loop),),
)  # fmt: skip
