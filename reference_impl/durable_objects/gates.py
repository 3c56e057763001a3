"""The input gate and the output gate of a Durable Object, and how an event passes them.

::

    event ──► queue (input gate) ─► inside: one at a time ──► leaves ──► output gate ──► reply
                     ▲                │ outside(): commit, release the object, wait for the output gate,
                     └────────────────┘            call another service, rejoin the queue

- *Input gate*: at most one event is inside the object at a time. An event stays inside while it waits for the object's
  own storage; while it waits for anything else it is outside, and other events may run.
- *Output gate*: whatever leaves the object (a reply, a call to another service, a message on a socket) waits until
  every earlier commit is durable. The object itself does not wait.
- A *critical section* (:meth:`Event.block_concurrency_while`, :meth:`Event.transaction`) keeps the
  input gate closed even while it waits outside; the former may last 30 s at most.
- A reset ends the object's *generation*: an event that returns from outside after a reset is refused, and the storage
  that it holds is fenced.

Sources
-------
Durable Objects: input and output gates, ``blockConcurrencyWhile`` (30 s), reset messages.
"""

import inspect
import math
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

from reference_impl.durable_objects.shared_turns import SharedTurns
from reference_impl.durable_objects.sockets import SERVICE_RESTART, Sockets
from reference_impl.durable_objects.storage import Storage
from reference_impl.durable_objects.transactions import Transaction
from reference_impl.errors import ImplError, PlatformError
from reference_impl.timing.clock import Waiter
from reference_impl.timing.stopwatch import Stage, Station, Stopwatch
from reference_impl.timing.tape import Tape

Returned = TypeVar("Returned")

CRITICAL_SECTION_MS_MAX = 30_000.0


class ResetError(PlatformError):
    """The object was reset while it handled this event; a retry reaches a new instance."""

    code = "object_reset"
    retryable = True


class Activation:
    """The activation of one object: its queue, and its state in memory.

    Parameters
    ----------
    queue
        The input gate.
    sockets
        Its hibernatable sockets.
    turns
        Which requests share a turn.
    queue_category
        The time category of the wait in *queue*.
    """

    def __init__(self, queue: Station, sockets: Sockets, *, turns: SharedTurns, queue_category: str) -> None:
        self.queue = queue
        self.turns = turns
        self.queue_category = queue_category
        self.instance: Any = None
        self.state: Any = None
        self.storage: Storage | None = None
        self.idle_since_ms = -math.inf
        self.deploys = 0
        """Number of deployments that it has been started after."""
        self.events = 0
        """Number of events that have entered and are not done, inside or outside."""
        self.critical_sections = 0
        self.generation = 0
        self.sockets = sockets
        sockets.mark = self._commits_awaited
        self.retired: ImplError | None = None
        """Why this activation is no longer the object's, or None; no event may enter a retired activation."""

    def _commits_awaited(self) -> int:
        return 0 if self.storage is None else self.storage.commits_awaited

    def reset(self, error: ImplError) -> None:
        """Discard the instance in memory and fence its storage, so that code of the old instance cannot write."""
        self.generation += 1
        self.critical_sections = 0
        self.instance = self.state = None
        self.sockets.discard()
        if self.storage is not None:
            self.storage.fence(error)
            self.storage = None

    def give_up_failed_disk(self) -> None:
        """Reset the object if its disk failed, even if its code caught the error: memory may hold lost writes."""
        if self.storage is not None and self.storage.failure is not None:
            self.reset(self.storage.failure)

    def retire(self, error: ImplError) -> None:
        """Reset, and refuse every further event."""
        self.retired = error
        self.reset(error)
        self.sockets.break_off(SERVICE_RESTART, str(error))


class Event:
    """One request, alarm or message that an object handles.

    *shares* says whether it may share a turn with other requests. *wrote* says whether the event stored something; its
    reply then waits for the output gate's sampled time.
    """

    def __init__(self, activation: Activation, stopwatch: Stopwatch, *, shares: bool = False) -> None:
        self._activation = activation
        self._generation = activation.generation
        self._is_inside = False
        self._commits = 0
        self.stopwatch = stopwatch
        self.has_begun = False
        self.wrote = False
        self._shares = shares
        self._further_ms: float | None = 0.0

    @property
    def is_carried(self) -> bool:
        """Whether the turn of another request does the event's work."""
        return self._further_ms is None

    def work_ms(self, tape: Tape) -> float:
        """Draw the time of the event's work; 0 if another request's turn does it."""
        return 0.0 if self.is_carried else self.stopwatch.draw_ms(tape)

    def rest_of_turn_ms(self, collection: Tape) -> float:
        """Return how long the event holds the object after its work: for others of its turn, and a collection."""
        if not self._shares:
            return 0.0
        collection_ms = self.stopwatch.draw_ms(collection) if self._activation.turns.collects() else 0.0
        return (self._further_ms or 0.0) + collection_ms

    def stage(self, component: str, drawn_ms: float = 0.0) -> "ObjectStage":
        """Return a context in which real work holds the object for at least the sampled time."""
        return ObjectStage(self, component, drawn_ms)

    async def outside(self, awaitable: Awaitable[Returned]) -> Returned:
        """Release the object, wait for *awaitable*, and rejoin at the end of the queue.

        Raises
        ------
        ResetError
            If the object was reset meanwhile.
        """
        keeps = self._activation.critical_sections > 0
        try:
            self._end_turn()
            if not keeps:
                self.leave()
            await self.pass_output_gate()
        except BaseException:
            # It was never started, and never will be.
            if inspect.iscoroutine(awaitable):
                awaitable.close()
            raise
        try:
            returned = await awaitable
        except Exception:
            if not keeps:
                await self._come_back()
            raise
        if not keeps:
            await self._come_back()
        self._check_generation()
        return returned

    async def block_concurrency_while(self, closure: Callable[[], Coroutine[Any, Any, Returned]]) -> Returned:
        """Run *closure* with the input gate closed, even while it waits outside.

        Raises
        ------
        ResetError
            If it takes more than 30 s, or the object was reset meanwhile.
        Exception
            Whatever *closure* raised. After this, as after 30 s, the object is reset.
        """
        clock = self.stopwatch.clock
        ended = clock.waiter()
        results: list[Returned] = []
        failures: list[Exception] = []

        async def run() -> None:
            try:
                results.append(await closure())
            except Exception as error:  # noqa: BLE001  # raised again in the task that gave the closure
                failures.append(error)
            _set(ended)

        async def give_up() -> None:
            await clock.sleep_until_ms(clock.now_ms() + CRITICAL_SECTION_MS_MAX)
            _set(ended)

        self._activation.critical_sections += 1
        clock.spawn(run())
        clock.spawn(give_up())
        await ended
        self._check_generation()
        self._activation.critical_sections -= 1
        if results:
            return results[0]
        error = failures[0] if failures else ResetError("a critical section waited for more than 30 s; ask again")
        self._activation.reset(ResetError(f"a critical section failed: {error}"))
        # The event itself caused the reset; it has no turn left to end.
        self.has_begun = False
        raise error

    async def transaction(self, closure: Callable[[Transaction], Coroutine[Any, Any, Returned]]) -> Returned:
        """Run *closure* as one transaction, with the input gate closed.

        It is rolled back if *closure* raises, or calls :meth:`Transaction.rollback` on its argument.
        """
        activation, storage = self._activation, self._activation.storage
        assert storage is not None, "an awake object has its storage"
        activation.critical_sections += 1
        try:
            with storage.transaction() as transaction:
                returned = await closure(transaction)
        finally:
            # After a reset the critical sections of the old instance no longer count.
            if activation.storage is storage:
                activation.critical_sections -= 1
        self._check_generation()
        return returned

    # --- entering and leaving ------------------------------------------------------------------

    async def enter(self) -> None:
        """Wait in the queue for the object; a full queue refuses the event."""
        turns = self._activation.turns
        if self._shares:
            await self.stopwatch.catch_up()  # It has arrived only now.
            turns.arrive()
        try:
            waited_ms = await self._activation.queue.acquire(self.stopwatch)
        except BaseException:
            if self._shares:
                turns.give_up()
            raise
        self._is_inside = True
        self._activation.events += 1
        if self._shares:
            await self._begin_turn()
        else:
            turns.pass_by()
        if self._activation.retired is not None:
            self.done()
            raise self._activation.retired
        self._generation = self._activation.generation
        self.stopwatch.spend(self._activation.queue_category, waited_ms)

    async def _begin_turn(self) -> None:
        try:
            self._further_ms = await self._activation.turns.begin(self._activation.queue, self.stopwatch)
        except BaseException:
            self.done()
            raise

    def begin(self) -> None:
        """Start to track the event's own writes; the object must be in memory."""
        assert self._activation.storage is not None, "an awake object has its storage"
        self._generation = self._activation.generation
        self._commits = self._activation.storage.commits
        self.has_begun = True

    def end(self) -> bool:
        """Commit the last turn, admit the next event, and return whether the output gate is still closed.

        A reply that is an error passes here too: it may depend on earlier writes.

        Raises
        ------
        ResetError
            If the object was reset meanwhile: the event's answer may no longer be true.
        """
        storage = self._end_turn()
        self.leave()
        return not storage.is_confirmed or self._activation.sockets.has_posted

    async def pass_output_gate(self) -> None:
        """Wait until every commit is durable, then release the messages that wait for it."""
        activation = self._activation
        storage = activation.storage
        assert storage is not None, "an event passes the gate of the object that it was in"
        if not storage.is_confirmed:
            await storage.confirm()
        if activation.storage is storage:
            activation.sockets.release(storage.confirmed)

    def leave(self) -> None:
        """Admit the next event, unless this one has left already."""
        if self._is_inside:
            self._is_inside = False
            self._activation.idle_since_ms = self.stopwatch.planned_ms
            self._activation.queue.release(self.stopwatch)

    def done(self) -> None:
        """Leave the object; the event is finished."""
        self.leave()
        self._activation.events -= 1

    def end_turn(self) -> None:
        """Commit the writes since the last wait."""
        self._end_turn()

    def _end_turn(self) -> Storage:
        self._check_generation()
        storage = self._activation.storage
        assert storage is not None, "an awake object has its storage"
        storage.end_turn()
        self.wrote = self.wrote or storage.commits > self._commits
        return storage

    async def _come_back(self) -> None:
        # An event that was inside already is never refused.
        await self._activation.queue.acquire(self.stopwatch, bounded=False)
        self._is_inside = True
        self._check_generation()
        assert self._activation.storage is not None, "the generation is the same"
        # Writes of other events meanwhile are not this event's.
        self._commits = self._activation.storage.commits

    def _check_generation(self) -> None:
        if self._activation.retired is not None:
            raise self._activation.retired
        if self._activation.generation != self._generation:
            raise ResetError("the object was reset while this event waited; ask again")


class ObjectStage(Stage):
    """A stage inside an object; its end is a wait, so it commits the turn's writes."""

    def __init__(self, event: Event, component: str, drawn_ms: float) -> None:
        super().__init__(event.stopwatch, component, drawn_ms)
        self._event = event

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Writes before an error stand; a failed disk raises here too.
        if error is None or isinstance(error, ImplError):
            self._event.end_turn()
        await super().__aexit__(kind, error, trace)


def _set(waiter: Waiter) -> None:
    if not waiter.done():
        waiter.set_result(None)
