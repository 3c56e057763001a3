"""A namespace of Durable Objects: for every name one single-threaded object with a private disk.

::

    stub ── rtt/2 ──► queue ─► object (one event at a time) ──► output gate ── rtt/2 ──► caller
                                  │ storage: private database, transactions, alarm
                                  └ outside(): releases the object while it waits for others

- One event at a time, and no reply before the writes that it depends on are durable:
  :mod:`reference_impl.durable_objects.gates`.
- A private disk with the platform's limits: :mod:`reference_impl.durable_objects.storage`.
- An object that is idle for the eviction time is evicted from memory; its disk stays. The next event
  waits for the cold start and finds whatever was stored.
- One alarm an object, stored on disk and delivered at least once: :mod:`reference_impl.durable_objects.alarms`.
- A request that finds the queue full is refused as *overloaded*.
- An unexpected exception in an object's code resets the object: only its disk can be trusted then.

Sources
-------
Durable Objects lifecycle, limits, identifiers and error handling (``retryable``, ``overloaded``).
"""

import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from reference_impl.durable_objects import ids as object_ids
from reference_impl.durable_objects.alarms import AlarmScheduler, no_jitter
from reference_impl.durable_objects.gates import Activation, Event, ResetError
from reference_impl.durable_objects.settings import DurableObjectsSettings
from reference_impl.durable_objects.shared_turns import SharedTurns
from reference_impl.durable_objects.sockets import MESSAGE_BYTES_MAX, MESSAGES_PER_REQUEST, Socket, Sockets
from reference_impl.durable_objects.state import State
from reference_impl.durable_objects.storage import Storage
from reference_impl.durable_objects.turns import no_step
from reference_impl.errors import ImplError, LimitError
from reference_impl.messages import Message, Request, Response, Sent
from reference_impl.timing.clock import Clock
from reference_impl.timing.stopwatch import Station, Stopwatch
from reference_impl.volumes.disks import Disk
from reference_impl.volumes.metered import Billed, MeteredDatabase

Returned = TypeVar("Returned")
Attempt = Callable[[Callable[[], Awaitable[Response]]], Awaitable[Response]]
"""A function that makes the call it is given, perhaps with retries."""

OPEN_OBJECTS_MAX = 256
"""Objects with open files at once; the least recently used are closed first, which callers do not notice."""

INDEX_TABLE = """
CREATE TABLE IF NOT EXISTS objects (id TEXT PRIMARY KEY, name TEXT, alarm_unix_ms INTEGER)
"""
CODE_UPDATED = "Durable Object reset because its code was updated."
ALONE = frozenset({"/flush"})
"""Paths of requests that never share a turn: they are not done in one."""

BROKEN = "the object was reset by a defect of its code; ask again"


async def once(call: Callable[[], Awaitable[Response]]) -> Response:
    """Make *call* once."""
    return await call()


class DurableObject(Protocol):
    """The interface of a class that a namespace can run as a Durable Object."""

    async def fetch(self, request: Request, event: Event) -> Response:
        """Answer one request; no other event runs meanwhile."""
        ...

    async def alarm(self, event: Event) -> None:
        """Handle the alarm; no other event runs meanwhile."""
        ...


class SocketObject(DurableObject, Protocol):
    """A Durable Object that accepts WebSockets."""

    async def web_socket_message(self, socket: Socket, message: Message, *, event: Event) -> None:
        """Handle a client's message; no other event runs meanwhile."""
        ...

    async def web_socket_close(self, socket: Socket, code: int, *, reason: str, event: Event) -> None:
        """Handle the end of a client's connection; no other event runs meanwhile."""
        ...


class Namespace:
    """All objects of one class.

    Parameters
    ----------
    name
        Name of the instance; also its time category, and part of what its ids are derived from.
    build
        Builds an object from its :class:`State`.
    clock
        The deployment's clock.
    disk
        Where the objects' databases are.
    settings
        Service times, eviction time, queue limit of each object, and the storage back end.
    keeps_plan
        False at full speed, see :class:`reference_impl.timing.stopwatch.Stopwatch`.
    on_step
        Storage hook, see :mod:`reference_impl.durable_objects.storage`.
    jitter
        Returns the jitter of an alarm retry, 0 to 1.
    counts_rows
        Whether the rows that its objects read and write are counted.

    Attributes
    ----------
    billed
        Usage that the provider would have billed so far: ``requests``, and the rows if *counts_rows*.
    """

    def __init__(
        self,
        name: str,
        build: Callable[[State], DurableObject],
        *,
        clock: Clock,
        disk: Disk,
        settings: DurableObjectsSettings,
        keeps_plan: bool = True,
        on_step: Callable[[str], None] = no_step,
        jitter: Callable[[], float] = no_jitter,
        counts_rows: bool = False,
    ) -> None:
        self.name = name
        self.billed = Billed()
        self._counts_rows = counts_rows
        self.settings = settings
        self._build = build
        self._clock = clock
        self._disk = disk
        self._keeps_plan = keeps_plan
        self._on_step = on_step
        self._activations: dict[str, Activation] = {}
        self._open: dict[str, Activation] = {}
        self._index = disk.index()
        self._index.execute(INDEX_TABLE)
        self._known = {row[0] for row in self._index.execute("SELECT id FROM objects").fetchall()}
        self.alarms = AlarmScheduler(clock, self._index, ring=self._alarm, drop=self._drop_alarm, jitter=jitter)

    # --- identities --------------------------------------------------------------------------

    def id_from_name(self, name: str) -> str:
        """Return the id that *name* always has in this namespace (64 hexadecimal digits)."""
        object_id = object_ids.from_name(self.name, name)
        self._register(object_id, name)
        return object_id

    def new_unique_id(self, entropy: bytes) -> str:
        """Return an id that is derived from no name but from 24 bytes of *entropy*."""
        object_id = object_ids.unique(self.name, entropy)
        self._register(object_id, None)
        return object_id

    def id_from_string(self, text: str) -> str:
        """Check that *text* is an id of this namespace and return it.

        Raises
        ------
        RequestError
            If it is not.
        """
        object_id = object_ids.from_string(self.name, text)
        self._register(object_id, None)
        return object_id

    def names(self) -> list[str]:
        """Return the names of all objects that were ever reached by name."""
        rows = self._index.execute("SELECT name FROM objects WHERE name IS NOT NULL ORDER BY name")
        return [row[0] for row in rows.fetchall()]

    # --- life --------------------------------------------------------------------------------

    def resume(self) -> None:
        """Schedule the alarms that were set before a restart."""
        self.alarms.resume()

    def restart(self) -> None:
        """Evict every object and drop its queue, as a deployment of new code does."""
        for object_id, activation in self._activations.items():
            activation.retire(ResetError(CODE_UPDATED))
            self._disk.close(object_id)
        self._open.clear()
        self._activations.clear()

    def evict(self, object_id: str) -> bool:
        """Evict an object from memory if it is idle; return whether it was."""
        activation = self._activations.get(object_id)
        if activation is None or activation.events:
            return False
        activation.reset(ResetError("the object left memory"))
        self._open.pop(object_id, None)
        self._disk.close(object_id)
        return True

    # --- events ------------------------------------------------------------------------------

    async def deliver(self, object_id: str, request: Request, *, stopwatch: Stopwatch) -> Response:
        """Deliver *request* to the object and return its reply once the output gate lets it leave.

        Raises
        ------
        OverloadedError
            If the object's queue is full.
        """
        return await self._enter(
            object_id, stopwatch, lambda it, event: it.fetch(request, event), shares=request.path not in ALONE
        )

    async def ask(self, name: str, request: Request, *, stopwatch: Stopwatch, attempt: Attempt = once) -> Response:
        """Send *request* from the Worker to the object called *name*, and return its answer.

        *attempt* makes the call at the object, perhaps with retries.
        """
        object_id = self.id_from_name(name)
        with self.trip(stopwatch):
            return await attempt(lambda: self.deliver(object_id, request, stopwatch=stopwatch))

    def trip(self, stopwatch: Stopwatch) -> AbstractContextManager[None]:
        """Return the way from the Worker to an object and back, around what happens there."""
        return stopwatch.round_trip(self.name, self.settings.rtt_ms)

    def sockets(self, object_id: str) -> Sockets:
        """Return the WebSockets of an object."""
        return self._activation(object_id).sockets

    async def receive(self, object_id: str, message: Message, *, socket: Socket, stopwatch: Stopwatch) -> None:
        """Deliver a client's message on *socket* to the object; return when the replies to it may leave.

        Raises
        ------
        LimitError
            If the message is larger than 32 MiB.
        OverloadedError
            If the object's queue is full.
        """
        size_bytes = len(message.encode() if isinstance(message, str) else message)
        if size_bytes > MESSAGE_BYTES_MAX:
            raise LimitError(f"a message of {size_bytes} bytes; an object receives at most {MESSAGE_BYTES_MAX}")
        auto_response = self._activation(object_id).sockets.auto_response
        if auto_response is not None and message == auto_response[0]:
            socket.pair.give(Sent(auto_response[1]))
            return

        async def receive(instance: SocketObject, event: Event) -> None:
            await instance.web_socket_message(socket, message, event=event)

        await self._enter(object_id, stopwatch, receive, requests=1.0 / MESSAGES_PER_REQUEST)

    async def _hang_up(self, object_id: str, socket: Socket, code: int, *, reason: str) -> None:
        self._activation(object_id).sockets.drop(socket)

        async def receive(instance: SocketObject, event: Event) -> None:
            await instance.web_socket_close(socket, code, reason=reason, event=event)

        await self._enter(object_id, self._stopwatch(), receive)

    def _stopwatch(self) -> Stopwatch:
        return Stopwatch(self._clock, keeps_plan=self._keeps_plan)

    async def _enter(
        self,
        object_id: str,
        stopwatch: Stopwatch,
        handle: Callable[[Any, Event], Awaitable[Returned]],
        *,
        requests: float = 1.0,
        shares: bool = False,
    ) -> Returned:
        activation = self._activation(object_id)
        self.billed.add("requests", requests)
        event = Event(activation, stopwatch, shares=shares)
        await event.enter()
        try:
            instance = self._awake(object_id, activation, stopwatch)
            event.begin()
            returned = await handle(instance, event)
            rest_ms = event.rest_of_turn_ms(self.settings.collection_ms)
            if rest_ms:
                stopwatch.delay(self.name, rest_ms)
                await stopwatch.catch_up()
            if event.end():
                await event.pass_output_gate()
        except ImplError:
            if event.has_begun and event.end():
                await event.pass_output_gate()
            raise
        except BaseException:
            # The object's memory can no longer be trusted, only its disk.
            activation.reset(ResetError(BROKEN))
            raise
        finally:
            activation.give_up_failed_disk()
            event.done()
        if event.wrote:
            stopwatch.delay(self.name, stopwatch.draw_ms(self.settings.output_gate_ms))
        return returned

    def _awake(self, object_id: str, activation: Activation, stopwatch: Stopwatch) -> DurableObject:
        idle_ms = stopwatch.planned_ms - activation.idle_since_ms
        evict_idle_ms = self.settings.evict_idle_ms
        if activation.sockets:
            hibernates = activation.sockets.hibernates
            evict_idle_ms = min(evict_idle_ms, activation.sockets.hibernate_idle_ms) if hibernates else math.inf
        deploys = 0 if self._clock.faults is None else self._clock.faults.deploys(self.name, stopwatch)
        is_old, activation.deploys = deploys > activation.deploys, max(deploys, activation.deploys)
        if (is_old or idle_ms > evict_idle_ms) and activation.events == 1:
            activation.reset(ResetError(CODE_UPDATED if is_old else "the object left memory"))
            stopwatch.delay(self.name, stopwatch.draw_ms(self.settings.cold_start_ms))
        if activation.instance is None:
            database = self._disk.open(object_id)
            if self._counts_rows:
                database = MeteredDatabase(database, self.billed)
            storage = Storage(database, limits=self.settings.limits, on_step=self._on_step, coalesces=True)
            activation.storage = storage
            activation.state = State(object_id, storage, alarms=self.alarms, sockets=activation.sockets)
            activation.instance = self._build(activation.state)
            storage.end_turn()
        # Removed and inserted again, so that the dictionary is in order of last use.
        self._open.pop(object_id, None)
        self._open[object_id] = activation
        if len(self._open) > OPEN_OBJECTS_MAX:
            self._close_idle()
        instance: DurableObject = activation.instance
        return instance

    def _register(self, object_id: str, name: str | None) -> None:
        if object_id not in self._known:
            self._index.execute("INSERT OR IGNORE INTO objects VALUES (?, ?, NULL)", (object_id, name))
            self._known.add(object_id)

    def _activation(self, object_id: str) -> Activation:
        activation = self._activations.get(object_id)
        if activation is None:
            queue = Station(
                self._clock,
                self.name,
                queue_limit=self.settings.queue_limit,
                newest_first=self.settings.turns.newest_first,
            )
            sockets = Sockets(
                bring=lambda socket, message: self.receive(
                    object_id, message, socket=socket, stopwatch=self._stopwatch()
                ),
                hang_up=lambda socket, code, reason: self._hang_up(object_id, socket, code, reason=reason),
            )
            turns = SharedTurns(self.settings.turns, self.name)
            activation = self._activations[object_id] = Activation(
                queue, sockets, turns=turns, queue_category=f"{self.name}_queue"
            )
        return activation

    def _close_idle(self) -> None:
        # Close a quarter at a time, so that this search is rare.
        longest_idle = list(self._open.items())[: OPEN_OBJECTS_MAX // 4]
        for object_id, _ in longest_idle:
            self.evict(object_id)

    # --- alarms ------------------------------------------------------------------------------

    async def _alarm(self, object_id: str, at_unix_ms: int) -> None:
        await self._for_alarm(object_id, at_unix_ms, is_dropped=False)

    async def _drop_alarm(self, object_id: str, at_unix_ms: int) -> None:
        await self._for_alarm(object_id, at_unix_ms, is_dropped=True)

    async def _for_alarm(self, object_id: str, at_unix_ms: int, *, is_dropped: bool) -> None:
        activation = self._activation(object_id)

        async def ring(instance: DurableObject, event: Event) -> None:
            state: State = activation.state
            if state.begin_alarm(at_unix_ms):
                try:
                    if not is_dropped:
                        await instance.alarm(event)
                except BaseException:
                    state.fail_alarm(at_unix_ms)
                    raise
                state.end_alarm(at_unix_ms)

        await self._enter(object_id, self._stopwatch(), ring)
        # Only now is it durable that the object has no such alarm; until then the scheduler's row must stay.
        if activation.state is not None and not activation.state.has_alarm_of(at_unix_ms):
            self.alarms.clear(object_id, at_unix_ms)
            activation.state.ensure_scheduled()
