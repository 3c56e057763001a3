"""Time and power: the scheduler that runs everything, and the process that the plug is pulled on.

Nothing here waits for the machine. The scheduler keeps a line of tasks that can run and a heap of what is due later;
with several tasks ready, the schedule's own random numbers choose which goes first. All tasks of the process die with
it, at the very place where they wait.
"""

import heapq
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from random import Random
from types import coroutine
from typing import Any

from reference_impl.timing.faults import Faults
from reference_impl.volumes.disks import StorageFailedError

GONE: Any = object()
"""Owns the tasks that have ended."""
NO_STATEMENT = frozenset({"turn", "sink", "committed"})
"""Steps that are no statement of the object's."""
UNIX_MS_START = 1_795_000_000_000
TURNS_MAX = 200_000
"""A bound on the turns of one schedule, far above any real one: what spins for ever is a defect."""


class PowerCutError(BaseException):
    """The process is dead. No ``except Exception`` of the code under test can go on after it."""


class StuckError(AssertionError):
    """The schedule does not end."""


class SimWaiter:
    """Something to wait for, as :class:`reference_impl.timing.clock.Waiter` asks."""

    __slots__ = ("_is_set", "_scheduler", "_tasks")

    def __init__(self, scheduler: "Scheduler") -> None:
        self._scheduler = scheduler
        self._is_set = False
        self._tasks: list[Coroutine[Any, Any, Any]] = []

    def done(self) -> bool:
        """Whether it was set."""
        return self._is_set

    def set_result(self, result: None = None, /) -> None:
        """Let everyone who waits go on."""
        self._is_set = True
        self._scheduler.ready.extend(self._tasks)

    def set_once(self) -> None:
        """Let everyone go on, unless that has happened."""
        if not self._is_set:
            self.set_result()

    def park(self, task: Coroutine[Any, Any, Any]) -> None:
        """Add *task* to those who wait."""
        self._tasks.append(task)

    def __await__(self) -> Generator[Any, None, None]:
        if not self._is_set:
            yield self


class SimTimer:
    """An action that is due at a moment, as :class:`reference_impl.timing.clock.Timer` asks."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Let it not happen."""
        self._action = None

    def strike(self) -> None:
        """Let it happen."""
        if self._action is not None:
            self._action()


class Scheduler:
    """Runs tasks and timers in virtual time.

    Parameters
    ----------
    rng
        Chooses among the tasks that can run.
    """

    def __init__(self, rng: Random) -> None:
        self.now_ms = 0.0
        self.ready: list[Coroutine[Any, Any, Any]] = []
        self._rng = rng
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_count = 0
        self._owners: dict[Coroutine[Any, Any, Any], Process | None] = {}

    def waiter(self) -> SimWaiter:
        """Return a new thing to wait for."""
        return SimWaiter(self)

    def spawn(self, task: Coroutine[Any, Any, Any], owner: "Process | None" = None) -> None:
        """Run *task*; it dies with its *owner*."""
        self._owners[task] = owner
        self.ready.append(task)

    def call_at(self, at_ms: float, action: Callable[[], None]) -> None:
        """Call *action* at a moment."""
        self._timer_count += 1
        heapq.heappush(self._timers, (at_ms, self._timer_count, action))

    def call_in(self, delay_ms: float, action: Callable[[], None]) -> None:
        """Call *action* after a time."""
        self._timer_count += 1
        heapq.heappush(self._timers, (self.now_ms + delay_ms, self._timer_count, action))

    async def sleep_until(self, at_ms: float) -> None:
        """Wait until a moment."""
        if at_ms > self.now_ms:
            await _moment(at_ms)

    def timer(self, at_ms: float, action: Callable[[], None]) -> "SimTimer":
        """Call *action* at a moment, unless that is cancelled."""
        timer = SimTimer(action)
        self.call_at(at_ms, timer.strike)
        return timer

    def kill(self, owner: "Process") -> None:
        """End all tasks of *owner* where they wait."""
        dead = [task for task, its in self._owners.items() if its is owner]
        for task in dead:
            del self._owners[task]
        for task in dead:
            task.close()

    def run(self, until_ms: float) -> None:
        """Run whatever is due up to a moment."""
        ready, timers = self.ready, self._timers
        chance, turn, earliest = self._rng.random, self._turn, heapq.heappop
        for _ in range(TURNS_MAX):
            if ready:
                turn(ready.pop() if len(ready) == 1 else ready.pop(int(chance() * len(ready))))
            elif timers and timers[0][0] <= until_ms:
                at_ms, _, action = earliest(timers)
                if at_ms > self.now_ms:
                    self.now_ms = at_ms
                action()
            else:
                self.now_ms = max(self.now_ms, until_ms)
                return
        raise StuckError(f"more than {TURNS_MAX} turns in one schedule")

    def close(self) -> None:
        """End everything."""
        tasks = list(self._owners)
        self._owners.clear()
        self._timers.clear()
        for task in tasks:
            task.close()

    def _turn(self, task: Coroutine[Any, Any, Any]) -> None:
        owner = self._owners.get(task, GONE)
        if owner is GONE:
            return
        try:
            if owner is not None:
                owner.step("turn")
            wanted = task.send(None)
        except StopIteration:
            self._owners.pop(task, None)
        except PowerCutError:
            if self._owners.pop(task, None) is not None:
                task.close()
            assert owner is not None, "only a process has a plug"
            owner.died()
        else:
            if type(wanted) is float:
                self.call_at(wanted, partial(self.ready.append, task))
            else:
                wanted.park(task)


@coroutine
def _moment(at_ms: float) -> Generator[float, None, None]:
    """Wait until a moment, which :meth:`Scheduler._turn` is told."""
    yield float(at_ms)


class Plug:
    """Counts the steps of all lives of the process, and knows at which of them power or disk fail.

    Parameters
    ----------
    pulled_at
        Steps at which the plug is pulled.
    disk_fails_at
        Steps from which on the next statement fails, once.
    """

    def __init__(self, pulled_at: frozenset[int], disk_fails_at: frozenset[int]) -> None:
        self._pulled_at = pulled_at
        self._disk_fails_at = disk_fails_at
        self._disk_fails = False
        self.steps = 0
        self.next_fault_at = self._next_fault_at()
        """The first step at which anything can go wrong; nothing does before."""

    def strike(self, step: str) -> bool:
        """Tell whether the plug is pulled at this step, which is the one of :attr:`next_fault_at`.

        Raises
        ------
        StorageFailedError
            If the disk fails instead; it fails at the first statement after its moment, once.
        """
        is_pulled = self.steps in self._pulled_at
        self._disk_fails |= not is_pulled and self.steps in self._disk_fails_at
        fails = self._disk_fails and not is_pulled and step not in NO_STATEMENT
        self._disk_fails &= not fails
        self.next_fault_at = self._next_fault_at()
        if fails:
            raise StorageFailedError("the disk did not answer")
        return is_pulled

    def _next_fault_at(self) -> int:
        if self._disk_fails:
            return self.steps + 1
        return min((at for at in self._pulled_at | self._disk_fails_at if at > self.steps), default=0)


class Process:
    """One life of the server's process: the clock of the code that runs in it, and its plug.

    Parameters
    ----------
    scheduler
        Runs its tasks.
    unix_offset_ms
        How wrong its wall clock is; may change while it runs.
    plug
        Counts turns and storage steps and may be pulled at any of them.
    on_commit
        Called after every commit of the object.
    on_death
        Called once, when it is dead.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        unix_offset_ms: int,
        plug: Plug,
        on_commit: Callable[[], None],
        on_death: Callable[["Process"], None],
    ) -> None:
        self.faults: Faults | None = None
        self._scheduler = scheduler
        self._plug = plug
        self._on_commit = on_commit
        self._on_death = on_death
        self.unix_offset_ms = unix_offset_ms
        self.is_alive = True
        self.sleep_until_ms = scheduler.sleep_until

    # --- the clock of :mod:`reference_impl` ----------------------------------------------------

    def now_ms(self) -> float:
        """Milliseconds since the world began."""
        return self._scheduler.now_ms

    def unix_ms(self) -> int:
        """Return what the wall clock says."""
        return UNIX_MS_START + int(self._scheduler.now_ms) + self.unix_offset_ms

    def waiter(self) -> SimWaiter:
        """Return a new thing to wait for."""
        return SimWaiter(self._scheduler)

    def call_at_ms(self, at_ms: float, action: Callable[[], None]) -> SimTimer:
        """Call *action* at a moment, if the process is alive then."""
        return self._scheduler.timer(at_ms, lambda: action() if self.is_alive else None)

    def spawn(self, task: Coroutine[Any, Any, None]) -> None:
        """Run *task* as long as the process lives."""
        if self.is_alive:
            self._scheduler.spawn(task, self)
        else:
            task.close()

    # --- the plug ------------------------------------------------------------------------------

    def step(self, name: str) -> None:
        """Go through one turn or storage step; a dead process goes through none."""
        if not self.is_alive:
            raise PowerCutError
        if name == "committed":
            self._on_commit()
        plug = self._plug
        plug.steps += 1
        if plug.steps == plug.next_fault_at and plug.strike(name):
            self.is_alive = False
            raise PowerCutError

    def died(self) -> None:
        """End what is left of a process whose plug was pulled."""
        self.is_alive = False
        self._scheduler.kill(self)
        self._on_death(self)
