"""A Durable Object that counts, and the means to put questions to it under a virtual clock."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from reference_impl.durable_objects.gates import Event
from reference_impl.durable_objects.namespace import Namespace
from reference_impl.durable_objects.settings import DurableObjectsSettings
from reference_impl.durable_objects.state import State
from reference_impl.durable_objects.storage import Storage
from reference_impl.durable_objects.turns import no_step
from reference_impl.errors import PlatformError
from reference_impl.messages import Request, Response, json_response
from reference_impl.timing.clock import VirtualClock
from reference_impl.timing.stopwatch import Stopwatch
from reference_impl.volumes.disks import MemoryDisk, SqliteDatabase, StorageFailedError
from tests.support.world import settings


class Counter:
    """Counts its requests on its disk; ``/slow`` reads, waits 10 ms inside, then writes."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.in_memory = 0

    async def fetch(self, request: Request, event: Event) -> Response:
        self.in_memory += 1
        if request.path == "/fail":
            raise PlatformError("refused")
        if request.path == "/crash":
            raise ZeroDivisionError
        if request.path == "/alarm":
            self.state.set_alarm(int(request.query["at"]))
        count = self.state.storage.get("count", 0) + 1
        async with event.stage("work", 10):
            if request.path != "/read":
                self.state.storage.put("count", count)
        return json_response({"count": count, "in_memory": self.in_memory})

    async def alarm(self, event: Event) -> None:
        rung: list[float] = self.state.storage.get("rung", [])
        self.state.storage.put("rung", [*rung, event.stopwatch.planned_ms])
        if len(rung) < self.state.storage.get("failures", 0):
            raise PlatformError("not now")


class SlowDatabase(SqliteDatabase):
    """A database whose syncs take time, and fail when its disk does."""

    def __init__(self, database: SqliteDatabase, disk: "SlowDisk") -> None:
        super().__init__(database._connection)
        self._disk = disk

    def sync(self) -> Awaitable[None]:
        """Wait as long as the disk takes."""
        self._disk.syncs += 1
        return self._synced()

    async def _synced(self) -> None:
        clock = self._disk.clock
        await clock.sleep_until_ms(clock.now_ms() + self._disk.sync_ms)
        if self._disk.fails:
            raise StorageFailedError("the disk is broken")


class SlowDisk(MemoryDisk):
    """A disk in memory that takes *sync_ms* to make anything durable."""

    def __init__(self, clock: VirtualClock, sync_ms: float) -> None:
        super().__init__()
        self.clock = clock
        self.sync_ms = sync_ms
        self.syncs = 0
        self.fails = False

    def open(self, object_id: str) -> SqliteDatabase:
        """Open a slow database; the index is as fast as ever."""
        database = super().open(object_id)
        return SlowDatabase(database, self) if object_id and self.sync_ms else database


class Scene:
    """A namespace of counters and the means to talk to it."""

    def __init__(
        self,
        build: Callable[[State], Any],
        *,
        sync_ms: float = 0.0,
        jitter: float = 0.0,
        on_step: Callable[[str], None] = no_step,
        **table: Any,
    ) -> None:
        self.clock = VirtualClock(unix_ms_start=0)
        self.disk = SlowDisk(self.clock, sync_ms)
        self.build = build
        self.settings = settings(DurableObjectsSettings.read, table)
        self.jitter = jitter
        self.on_step = on_step
        self.namespace = self.deploy()

    def deploy(self) -> Namespace:
        """Start the namespace's code anew on the same disk."""
        return Namespace(
            "Counter",
            self.build,
            clock=self.clock,
            disk=self.disk,
            settings=self.settings,
            jitter=lambda: self.jitter,
            on_step=self.on_step,
        )

    def send(self, *paths: str, name: str = "a", **query: str) -> list[Any]:
        """Send requests at the same time; return their answers."""
        return self.clock.run(*self.asked(*paths, name=name, **query))

    def asked(self, *paths: str, name: str = "a", **query: str) -> list[Any]:
        """Return requests to be sent, as coroutines."""
        object_id = self.namespace.id_from_name(name)
        self.stopwatches = [Stopwatch(self.clock) for _ in paths]
        return [
            self.namespace.deliver(object_id, Request("POST", path, query), stopwatch=watch)
            for path, watch in zip(paths, self.stopwatches, strict=True)
        ]

    async def at(self, at_ms: float, path: str, name: str = "a") -> float:
        """Send one request at a moment; return when its answer came."""
        await self.clock.sleep_until_ms(at_ms)
        object_id = self.namespace.id_from_name(name)
        await self.namespace.deliver(object_id, Request("POST", path), stopwatch=Stopwatch(self.clock))
        return self.clock.now_ms()

    def outcomes(self, *asked: Any) -> list[Any]:
        """Run coroutines together; return what each returned or raised."""

        async def outcome(one: Any) -> Any:
            try:
                return await one
            except PlatformError as error:
                return error

        return self.clock.run(*(outcome(one) for one in asked))

    def stored(self, key: str, name: str = "a") -> Any:
        """Read an object's disk from outside."""
        return Storage(self.disk.open(self.namespace.id_from_name(name))).get(key)


@contextmanager
def scene(build: Callable[[State], Any] = Counter, **options: Any) -> Iterator[Scene]:
    """Set the scene; *options* are those of :class:`Scene`, or keys of the namespace's table."""
    made = Scene(build, **options)
    try:
        yield made
    finally:
        made.clock.close()
        made.disk.unmount()
