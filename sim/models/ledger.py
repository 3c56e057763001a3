"""An organisation's usage ledger in a Durable Object: append events, read the balance, flush to D1 by an alarm.

``hardened`` stores one row per event, so every append costs the same. An alarm, set by the first pending event, seals
the pending events and reads them in chunks, holding the object for each chunk (hazard H70), and writes each chunk to D1
while the object serves others. ``seed`` rewrites the whole log as one value, so the cost of an append grows with the
log (hazard H3). Nothing ever truncates it: once the log has reached the limit of a stored value, every further append
does its work and fails (hazard H1).

Sources
-------
Hazards H1, H3 and H70. About 410 transactions a second of one object were measured by one user (lumenize.com); 7 us a
flushed row on the open-source runtime. Rows of an append, of a flush and of an alarm: counted on the reference's own
SQL (:mod:`sim.models.metered`); a flush of more events than a chunk has, or of several keys in one object, moves a few
rows more.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import inf, isfinite
from typing import Literal

import numpy as np

from sim.flow import ZERO, Count, CountAtLeast, Counter, Delay, Flow, Guard, Latch, Move, Repeat, Spawn, Time
from sim.foundation.errors import ScenarioError
from sim.foundation.schema import Count as Number
from sim.foundation.schema import NotNegative, Positive, Table
from sim.models import durable_objects
from sim.models.billing import GB, SECONDS_PER_MONTH, Call, Demand, StorageLimit, Usage
from sim.models.component import Component, Instance, NoParameters, Operation, Tier
from sim.models.metered import rows_of
from sim.randomness.distributions import Constant, Distribution

LOG_KEY_BYTES = len("usageLog")
LOG_HEAD_BYTES = 1
"""Bytes of the log besides its events and their separators: two brackets, and one separator less than events."""

CHUNKS_MAX = 1_000_000
"""Upper limit on the chunks of one flush, far above any real one, so that every loop ends."""


class Ledger(Table):
    """The usage ledger inside each object of a namespace."""

    objects: str = "durable_objects"
    """The namespace of its objects."""
    database: str = "d1"
    """The database that it flushes to."""
    policy: Literal["seed", "hardened"]
    """``seed``: the whole log is one value, rewritten with every event. ``hardened``: a row per event, and flushes."""
    write_ms: Distribution
    """Append of one event; it holds the object."""
    read_ms: Distribution
    """Read of a balance; it holds the object."""
    append_us_per_event: NotNegative
    """Additional time of an append for each event already in the log (policy ``seed``)."""
    event_bytes: Number
    """Size of one stored event."""
    flush_interval_s: Positive
    """Time from the first pending event to the alarm that flushes it."""
    flush_row_us: NotNegative
    """Time for which the flush holds the object, per row."""
    flush_chunk_rows: Number
    """Rows of one chunk; between chunks the object serves others."""


def append(ledger: Instance, _: NoParameters) -> Flow:
    """Store one usage event of the request's key."""
    return durable_objects.call(_objects(ledger), work=_append(ledger), writes=True)


def balance(ledger: Instance, _: NoParameters) -> Flow:
    """Read the balance of the request's key."""
    work = (Delay(ledger.table.read_ms, ledger.stream("read")),)
    return durable_objects.call(_objects(ledger), work=work, writes=False)


def flush(ledger: Instance, _: NoParameters) -> Flow:
    """Flush the ledger of the request's key now, and wait until D1 has stored it."""
    return durable_objects.around(_objects(ledger), _flush(ledger))


def _append(ledger: Instance) -> Flow:
    """Return the object's work for one usage event."""
    table: Ledger = ledger.table
    instances = durable_objects.station(_objects(ledger)).instances
    if table.policy == "seed":
        log = Counter(f"{ledger.name}_log", instances=instances)
        rewrite = Time(table.write_ms, each_ms=table.append_us_per_event / 1000, of=log)
        most = events_max(ledger)
        full = (Guard(CountAtLeast(log, most), "error"),) if isfinite(most) else ()
        return (Delay(rewrite, ledger.stream("write")), *full, Count(log))
    if _objects(ledger).table.storage == "kv":
        where = f"system.{table.objects}.storage='kv'"
        raise ScenarioError(f'{where} has no SQL, which the hardened ledger needs; use "sqlite" (scenarios/README.md)')
    alarm = Spawn(
        _flush(ledger),
        ledger.stream("alarm"),
        after=Constant(value=table.flush_interval_s * 1000),
        once=Latch(f"{ledger.name}_alarm", instances=instances),
    )
    return (Delay(table.write_ms, ledger.stream("write")), Count(_pending(ledger)), alarm)


def events_max(ledger: Instance) -> float:
    """Return how many events the log of the policy ``seed`` holds: floor((limit - head) / event), or infinity."""
    limit_bytes = durable_objects.value_bytes_max(_objects(ledger), key_bytes=LOG_KEY_BYTES)
    return max(0.0, limit_bytes - LOG_HEAD_BYTES) // ledger.table.event_bytes if isfinite(limit_bytes) else inf


def _flush(ledger: Instance) -> Flow:
    """Return the alarm's work: flush the events pending when it fires, chunk by chunk, to D1."""
    table, pending = ledger.table, _pending(ledger)
    sealed = Counter(f"{ledger.name}_sealed", instances=pending.instances)
    rows_ms = Time(ZERO.distribution, each_ms=table.flush_row_us / 1000, of=sealed, at_most=table.flush_chunk_rows)
    collect = (Delay(rows_ms, ledger.stream("flush")), Count(sealed, by=-table.flush_chunk_rows))
    store = ledger.linked("database").flow("write")
    chunk = (*durable_objects.held(_objects(ledger), work=collect), *store)
    # Without the seal the flush of a busy object would never end: new events arrive while a chunk is stored.
    seal = Move(pending, into=sealed)
    return (seal, Repeat(CountAtLeast(sealed, 1), chunk, ledger.stream("flush_chunk"), limit=CHUNKS_MAX))


def _pending(ledger: Instance) -> Counter:
    return Counter(f"{ledger.name}_pending", instances=durable_objects.station(_objects(ledger)).instances)


def _objects(ledger: Instance) -> Instance:
    """Return the namespace, numbered as the ledger's own use of it."""
    return replace(ledger.linked("objects"), use_number=ledger.use_number)


def append_usage(ledger: Instance, call: Call) -> Usage:  # noqa: ARG001  # one signature for all
    """Return the usage of an append: one request to the object, its rows, and the rows that the flush writes to D1."""
    objects = ledger.linked("objects")
    active_ms = ledger.table.write_ms.expected() + objects.table.output_gate_ms.expected()
    rows = _rows(ledger, "append")
    if objects.table.storage == "kv":  # Billed by units of what is written: those of a month, see write_units.
        rows = {"rows_read": 0, "rows_written": 0}
    flushed = 1 if ledger.table.policy == "hardened" else 0
    flush, to_d1 = rows_of("ledger.hardened.flush"), rows_of("ledger.hardened.flush_d1")
    request = durable_objects.call_usage(
        active_ms,
        rows_read=rows["rows_read"] + flushed * flush["rows_read_per_event"],
        rows_written=rows["rows_written"] + flushed * flush["rows_written_per_event"],
    )
    stored_gb = ledger.table.event_bytes / GB
    return Usage(
        {**request.amounts, "d1.rows_written": float(flushed * to_d1["rows_written_per_event"])},
        stored_gb={"durable_objects.storage": stored_gb, "d1.storage": stored_gb * flushed},
    )


def balance_usage(ledger: Instance, call: Call) -> Usage:  # noqa: ARG001  # one signature for all
    """Return the usage of a balance: one request to the object, and the rows that it reads."""
    return durable_objects.call_usage(ledger.table.read_ms.expected(), **_rows(ledger, "balance"))


def flush_usage(ledger: Instance, call: Call) -> Usage:  # noqa: ARG001  # one signature for all
    """Return the usage of a flush: one request, active until D1 has written; its rows are counted by the appends."""
    if ledger.table.policy != "hardened":
        return durable_objects.call_usage(0.0)
    return _flush_usage(ledger, rows_of("ledger.hardened.flush")["rows_written"])


def alarms(ledger: Instance, demand: Demand) -> Usage:
    """Return the usage of a month's flush alarms, each a request to its object; setting it is a row, too.

    An object's cycle is the flush interval plus the time until its next event; with Poisson events of rate λ its mean
    is ``interval + 1/λ``. Events are divided among the objects by the popularity of the keys.
    """
    if ledger.table.policy != "hardened":
        return _kv_writes(ledger, demand)
    rate_per_s = demand.calls_per_month.get("append", 0.0) / SECONDS_PER_MONTH * demand.key_share
    objects = durable_objects.station(_objects(ledger)).instances
    by_object = np.bincount(np.arange(rate_per_s.size) % objects, weights=rate_per_s)
    per_month = (by_object / (1 + by_object * ledger.table.flush_interval_s)).sum() * SECONDS_PER_MONTH
    one = _flush_usage(
        ledger, rows_of("ledger.hardened.flush")["rows_written"] + rows_of("ledger.set_alarm")["rows_written"]
    )
    return Usage({name: amount * float(per_month) for name, amount in one.amounts.items()})


def write_units(ledger: Instance, events: float) -> float:
    """Return the units that *events* appends of one key write on the key-value back end: ``sum of ceil(n B / unit)``.

    After the append that the value's limit refuses, nothing is written any more.
    """
    unit_bytes = _objects(ledger).table.kv_unit_bytes
    if unit_bytes is None:
        return 0.0
    count = np.arange(1, int(min(events, events_max(ledger))) + 1)
    return float(np.ceil((count * ledger.table.event_bytes + LOG_HEAD_BYTES) / unit_bytes).sum())


def _kv_writes(ledger: Instance, demand: Demand) -> Usage:
    """Return the units that a month's appends write on the key-value back end, each of them the whole log."""
    if _objects(ledger).table.storage != "kv":
        return Usage()
    events = demand.calls_per_month.get("append", 0.0) * demand.key_share
    # Many keys have as many events as others; each number is summed once.
    counts, often = np.unique(np.minimum(np.floor(events), events_max(ledger)), return_counts=True)
    units = sum(write_units(ledger, count) * times for count, times in zip(counts, often, strict=True))
    return Usage({"durable_objects.kv_write_units": float(units)})


def _is_one_value(ledger: Ledger) -> bool:
    """Whether the whole log is one value of its object."""
    return ledger.policy == "seed"


def _flush_usage(ledger: Instance, rows_written: float) -> Usage:
    """Return the usage of one flush: a request to the object, active while D1 writes, and its rows."""
    database = ledger.linked("database").table
    active_ms = database.rtt_ms.expected() + database.write_ms.expected()
    rows_read = rows_of("ledger.hardened.flush")["rows_read"]
    return durable_objects.call_usage(active_ms, rows_read=rows_read, rows_written=rows_written)


def _rows(ledger: Instance, operation: str) -> Mapping[str, int]:
    """Rows of one operation under the ledger's policy."""
    return rows_of(f"ledger.{ledger.table.policy}.{operation}")


COMPONENT = Component(
    name="ledger",
    label="ledger",
    colour="#009e73",
    tier=Tier.STATE,
    table=Ledger,
    operations={
        "append": Operation(append, usage=append_usage, services=("durable_objects",)),
        "balance": Operation(balance, usage=balance_usage, services=("durable_objects",), reads=True),
        "flush": Operation(flush, usage=flush_usage, services=("durable_objects", "d1")),
    },
    links={"objects": "durable_objects", "database": "d1"},
    background=alarms,
    limits=(
        StorageLimit(
            "durable_objects.storage",
            "durable_objects.limits.key_plus_value_bytes_sqlite",
            "a value",
            per="key",
            applies=_is_one_value,
        ),
    ),
)
