"""Durable Objects: for every name one small single-threaded server that owns its own disk.

::

    stub ── rtt/2 ──► line ──► object (one event at a time) ──► output gate ── rtt/2 ──► caller
                                  │ storage: private database, transactions, alarm
                                  └ outside(): lets go of the object while it waits for others

- One event at a time: the *input gate* is a line before the object, first come first served. An
  event that waits for something else than its own storage does so in :meth:`Event.outside`, and
  others may run meanwhile.
- A reply leaves only when what it tells is durable: the *output gate*. Storage commits inside the
  event, so what remains of the gate is the platform's acknowledgement time; the object is not
  held during it.
- An object that nobody used for the eviction time leaves memory; its disk stays. The next event
  pays the cold start and finds whatever was stored.
- One alarm an object: kept on disk, rung at least once, again after 2, 4, 8 … s if it fails.

Sources
-------
Durable Objects lifecycle, limits and alarms (alarm retries: start 2 s, factor 2, 6 attempts).
"""

import hashlib
import math
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from reference_impl.clock import Clock
from reference_impl.errors import ImplError, RequestError
from reference_impl.messages import Request, Response
from reference_impl.object_storage import (
    ALARM_KEY,
    SQLITE_LIMITS,
    Disk,
    Storage,
    StorageLimits,
    no_step,
)
from reference_impl.pace import DurableObjectsPace
from reference_impl.stopwatch import Stage, Station, Stopwatch

Returned = TypeVar("Returned")

ALARM_RETRY_MS = 2_000.0
ALARM_RETRIES_MAX = 6
OPEN_OBJECTS_MAX = 256
"""Objects with open files at once; the ones idle longest are closed first, unseen by callers."""

INDEX_TABLE = """
CREATE TABLE IF NOT EXISTS objects (id TEXT PRIMARY KEY, name TEXT, alarm_unix_ms INTEGER)
"""


class DurableObject(Protocol):
    """What a class must offer to be run as a Durable Object."""

    async def fetch(self, request: Request, event: "Event") -> Response:
        """Answer one request; the object is held."""
        ...

    async def alarm(self, event: "Event") -> None:
        """Do what the alarm was set for; the object is held."""
        ...


class State:
    """What an object is given when it starts: its identity, its disk and its alarm."""

    def __init__(self, namespace: "Namespace", object_id: str, storage: Storage) -> None:
        self.id = object_id
        self.storage = storage
        self._namespace = namespace
        self._alarm_unix_ms: int | None = storage.get(ALARM_KEY)
        self._is_ringing = False

    def alarm_unix_ms(self) -> int | None:
        """Return the date of the alarm that is set; one that is just ringing does not count."""
        return None if self._is_ringing else self._alarm_unix_ms

    def set_alarm(self, at_unix_ms: int) -> None:
        """Set the object's one alarm; an earlier one is replaced."""
        # The bell is told first: one that rings for nothing is harmless, a lost one is not.
        self._namespace.ring_at(self.id, at_unix_ms)
        self.storage.put(ALARM_KEY, at_unix_ms)
        self._alarm_unix_ms = at_unix_ms
        self._is_ringing = False

    def begin_alarm(self, at_unix_ms: int) -> bool:
        """Tell whether the alarm of that date is still the one that is set, and ring it."""
        self._is_ringing = self._alarm_unix_ms == at_unix_ms
        return self._is_ringing

    def end_alarm(self) -> None:
        """Clear the alarm that rang, unless a new one was set meanwhile."""
        if self._is_ringing:
            self.storage.delete(ALARM_KEY)
            self._alarm_unix_ms = None
            self._is_ringing = False


class Event:
    """One request or alarm while it is inside an object.

    Set *wrote* where the reply tells of something stored: it then waits at the output gate.
    """

    def __init__(self, resident: "Resident", stopwatch: Stopwatch) -> None:
        self._resident = resident
        self._is_inside = False
        self.stopwatch = stopwatch
        self.wrote = False

    def stage(self, component: str, drawn_ms: float = 0.0) -> Stage:
        """Return the context in which real work holds the object for a drawn time."""
        return self.stopwatch.stage(component, drawn_ms)

    async def outside(self, awaitable: Awaitable[Returned]) -> Returned:
        """Let go of the object, wait for *awaitable*, and come back at the end of the line."""
        self.leave()
        try:
            returned = await awaitable
        except Exception:
            await self._come_back()
            raise
        await self._come_back()
        return returned

    def leave(self) -> None:
        """Let the next event in, unless this one has left already."""
        if self._is_inside:
            self._is_inside = False
            self._resident.idle_since_ms = self.stopwatch.planned_ms
            self._resident.line.release(self.stopwatch)

    async def enter(self) -> None:
        """Wait for the object, as the others do; a full line refuses."""
        waited_ms = await self._resident.line.acquire(self.stopwatch)
        self._is_inside = True
        self.stopwatch.spend("durable_objects_queue", waited_ms)

    async def _come_back(self) -> None:
        # Who was inside already is never refused.
        await self._resident.line.acquire(self.stopwatch, bounded=False)
        self._is_inside = True


class Resident:
    """The place of one object: its line, and, while it is in memory, the object itself."""

    def __init__(self, line: Station) -> None:
        self.line = line
        self.state: State | None = None
        self.instance: DurableObject | None = None
        self.idle_since_ms = -math.inf


class Namespace:
    """All objects of one class.

    Parameters
    ----------
    name
        The class's name.
    build
        Makes an object from its :class:`State`.
    clock
        The deployment's clock.
    disk
        Where the objects' databases are.
    pace
        Stage times, eviction time and the bound of each line.
    keeps_plan
        False at full speed, see :class:`reference_impl.stopwatch.Stopwatch`.
    limits
        The storage back end's limits.
    on_step
        Storage hook, see :mod:`reference_impl.object_storage`.
    """

    def __init__(
        self,
        name: str,
        build: Callable[[State], DurableObject],
        *,
        clock: Clock,
        disk: Disk,
        pace: DurableObjectsPace,
        keeps_plan: bool = True,
        limits: StorageLimits = SQLITE_LIMITS,
        on_step: Callable[[str], None] = no_step,
    ) -> None:
        self.name = name
        self.pace = pace
        self.alarms_given_up = 0
        self._build = build
        self._clock = clock
        self._disk = disk
        self._keeps_plan = keeps_plan
        self._limits = limits
        self._on_step = on_step
        self._residents: dict[str, Resident] = {}
        self._open: dict[str, Resident] = {}
        self._index = disk.index()
        self._index.execute(INDEX_TABLE)
        self._known = {row[0] for row in self._index.execute("SELECT id FROM objects")}

    def id_from_name(self, name: str) -> str:
        """Return the id that *name* always has in this namespace (64 hexadecimal digits)."""
        object_id = hashlib.sha256(f"{self.name}/{name}".encode()).hexdigest()
        if object_id not in self._known:
            self._index.execute("INSERT OR IGNORE INTO objects VALUES (?, ?, NULL)", (object_id, name))
            self._known.add(object_id)
        return object_id

    def id_from_string(self, text: str) -> str:
        """Return *text* as an id.

        Raises
        ------
        RequestError
            If it is not an id of an object of this namespace.
        """
        if text not in self._known:
            raise RequestError(400, "bad_id", f"{text[:80]!r} is no object id of {self.name}")
        return text

    def names(self) -> list[str]:
        """Return the names of all objects that were ever used."""
        rows = self._index.execute("SELECT name FROM objects ORDER BY name")
        return [row[0] for row in rows]

    def ring_at(self, object_id: str, at_unix_ms: int) -> None:
        """Ring the object's alarm at a date; it is kept, so that a restart rings it too."""
        self._index.execute("UPDATE objects SET alarm_unix_ms = ? WHERE id = ?", (at_unix_ms, object_id))
        self._clock.spawn(self._ring(object_id, at_unix_ms))

    def resume(self) -> None:
        """Take up the alarms that were set before the restart."""
        rows = self._index.execute("SELECT id, alarm_unix_ms FROM objects WHERE alarm_unix_ms IS NOT NULL")
        for object_id, at_unix_ms in rows.fetchall():
            self._clock.spawn(self._ring(object_id, at_unix_ms))

    def restart(self) -> None:
        """Send every object out of memory, as a deployment of new code does; lines go too."""
        for object_id in self._open:
            self._disk.close(object_id)
        self._open.clear()
        self._residents.clear()

    async def deliver(self, object_id: str, request: Request, *, stopwatch: Stopwatch) -> Response:
        """Bring *request* to the object and return its reply once it may leave.

        Raises
        ------
        OverloadedError
            If the object's line is full.
        """

        async def answer(instance: DurableObject, event: Event) -> Response:
            return await instance.fetch(request, event)

        return await self._enter(object_id, stopwatch, answer)

    async def _enter(
        self,
        object_id: str,
        stopwatch: Stopwatch,
        handle: Callable[[DurableObject, Event], Awaitable[Returned]],
    ) -> Returned:
        resident = self._resident(object_id)
        event = Event(resident, stopwatch)
        await event.enter()
        try:
            returned = await handle(await self._awake(object_id, resident, stopwatch), event)
        except ImplError:
            raise
        except BaseException:
            # Whatever the code held in memory can no longer be trusted: only the disk counts.
            resident.instance = None
            raise
        finally:
            event.leave()
        if event.wrote:
            stopwatch.delay("durable_objects", self.pace.output_gate_ms.draw())
        return returned

    async def _awake(self, object_id: str, resident: Resident, stopwatch: Stopwatch) -> DurableObject:
        idle_ms = stopwatch.planned_ms - resident.idle_since_ms
        if idle_ms > self.pace.evict_idle_ms:
            resident.instance = None
            stopwatch.delay("durable_objects", self.pace.cold_start_ms.draw())
        if resident.instance is None:
            connection = self._disk.open(object_id)
            storage = Storage(connection, limits=self._limits, on_step=self._on_step)
            resident.state = State(self, object_id, storage)
            resident.instance = self._build(resident.state)
        # Taken out and put back: the open objects stay in the order of their last use.
        self._open.pop(object_id, None)
        self._open[object_id] = resident
        if len(self._open) > OPEN_OBJECTS_MAX:
            self._close_idle()
        return resident.instance

    def _resident(self, object_id: str) -> Resident:
        resident = self._residents.get(object_id)
        if resident is None:
            line = Station(self._clock, self.name, queue_limit=self.pace.queue_limit)
            resident = self._residents[object_id] = Resident(line)
        return resident

    def _close_idle(self) -> None:
        # A quarter at a time, so that the search for them is rare.
        longest_idle = list(self._open.items())[: OPEN_OBJECTS_MAX // 4]
        for object_id, resident in longest_idle:
            if resident.line.is_idle:
                resident.instance = None
                del self._open[object_id]
                self._disk.close(object_id)

    async def _ring(self, object_id: str, at_unix_ms: int) -> None:
        for attempt in range(ALARM_RETRIES_MAX + 1):
            delay_ms = at_unix_ms - self._clock.unix_ms()
            if attempt:
                delay_ms = ALARM_RETRY_MS * 2 ** (attempt - 1)
            await self._clock.sleep_until_ms(self._clock.now_ms() + delay_ms)
            try:
                await self._alarm(object_id, at_unix_ms)
            except ImplError:
                continue
            return
        self.alarms_given_up += 1

    async def _alarm(self, object_id: str, at_unix_ms: int) -> None:
        stopwatch = Stopwatch(self._clock, keeps_plan=self._keeps_plan)

        async def ring(instance: DurableObject, event: Event) -> None:
            state = self._residents[object_id].state
            assert state is not None, "an awake object has its state"
            if state.begin_alarm(at_unix_ms):
                await instance.alarm(event)
                state.end_alarm()
                self._index.execute(
                    "UPDATE objects SET alarm_unix_ms = NULL WHERE id = ? AND alarm_unix_ms = ?",
                    (object_id, at_unix_ms),
                )

        await self._enter(object_id, stopwatch, ring)
