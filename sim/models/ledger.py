"""An organisation's ledger: usage events are appended, a balance is kept, and an alarm carries both to D1.

``hardened`` stores one row an event, so every append costs the same. An alarm, set by the first pending event, seals
what is pending and reads it in chunks, holding the object for each chunk (hazard H70), and writes each chunk to D1
while the object serves others. ``seed`` rewrites the whole log as one value, so an append costs more the longer the log
is (hazard H3), and nothing ever shortens it.

Sources
-------
Hazards H1, H3 and H70. About 410 transactions a second of one object were measured by one user (lumenize.com); 7 us a
flushed row on the open-source runtime.
"""

from sim.flow import ZERO, Count, CountAtLeast, Counter, Delay, Flow, Latch, Move, Repeat, Spawn, Station, Time
from sim.models import durable_objects
from sim.randomness.distributions import Constant
from sim.scenario.system import DurableObjects, Ledger

CHUNKS_MOST = 1_000_000
"""A bound on the chunks of one flush, far above any real one: every loop ends."""


def append(ledger: Ledger, objects: DurableObjects, *, place: Station, store: Flow) -> Flow:
    """What the object does with one usage event.

    Parameters
    ----------
    ledger : Ledger
    objects, place
        Where the ledger lives; its alarm comes back there.
    store : Flow
        One write to D1, for a flushed chunk.
    """
    if ledger.policy == "seed":
        log = Counter("ledger_log", instances=place.instances)
        rewrite = Time(ledger.write_ms, each_ms=ledger.append_us_per_event / 1000, of=log)
        return (Delay(rewrite, "ledger.write"), Count(log))
    pending = Counter("ledger_pending", instances=place.instances)
    alarm = Spawn(
        flush(ledger, objects, place=place, store=store),
        "ledger.alarm",
        after=Constant(value=ledger.flush_interval_s * 1000),
        once=Latch("ledger_alarm", instances=place.instances),
    )
    return (Delay(ledger.write_ms, "ledger.write"), Count(pending), alarm)


def read(ledger: Ledger) -> Flow:
    """What the object does to tell a balance."""
    return (Delay(ledger.read_ms, "ledger.read"),)


def flush(ledger: Ledger, objects: DurableObjects, *, place: Station, store: Flow) -> Flow:
    """The alarm's work: what is pending when it rings goes, chunk after chunk, out of the object and into D1."""
    pending = Counter("ledger_pending", instances=place.instances)
    sealed = Counter("ledger_sealed", instances=place.instances)
    rows_ms = Time(ZERO.distribution, each_ms=ledger.flush_row_us / 1000, of=sealed, at_most=ledger.flush_chunk_rows)
    collect = (Delay(rows_ms, "ledger.flush"), Count(sealed, by=-ledger.flush_chunk_rows))
    chunk = (*durable_objects.held(objects, place, work=collect), *store)
    # Without the seal a busy object would never be done: while one chunk is stored, the next event comes.
    seal = Move(pending, into=sealed)
    return (seal, Repeat(CountAtLeast(sealed, 1), chunk, "ledger.flush_chunk", limit=CHUNKS_MOST))
