"""Fault schedules of the whole deployment: the same plans, faults and auditor, with Worker, D1 and meter around it.

Slower than :mod:`tests.faults.schedule` and for that reason played less; what it adds is the way in (route,
checks, retries of the Worker) and the way out (the statements that store a batch in D1 and in the meter).
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from reference_impl.d1.database import Database
from reference_impl.d1.migrations import migrate
from reference_impl.d1.settings import D1Settings
from reference_impl.deployment import Deployment
from reference_impl.deployment_file import Specification
from reference_impl.durable_objects.gates import Event
from reference_impl.durable_objects.state import State
from reference_impl.ledger.billing import BillingLedger, UsageSink
from reference_impl.ledger.meter import Meter
from reference_impl.ledger.policy import Batch
from reference_impl.ledger.usage_table import UsageTable
from reference_impl.messages import Request, Response
from reference_impl.server.app import migration_files
from reference_impl.sqlite.engines import Engine, StdlibEngine
from reference_impl.timing.faults import Faults
from reference_impl.timing.stopwatch import Stopwatch
from reference_impl.volumes.disks import Disk
from reference_impl.volumes.volumes import MemoryVolumes
from reference_impl.workers.superinstance import seed_rows
from tests.faults.clients import Delivery, request_of
from tests.faults.plan import Plan
from tests.faults.schedule import LEDGER_TABLE, OBJECTS_TABLE, Schedule
from tests.faults.sinks import SimSink
from tests.faults.world import UNIX_MS_START, Process, Scheduler, SimTimer, SimWaiter
from tests.support.world import settings

MIGRATIONS = migration_files()


def specification_of(seed: int) -> Specification:
    """Return what is deployed in one schedule: what it draws, the pauses of the Worker's retries, is of its seed."""
    system = {"durable_objects": {**OBJECTS_TABLE, "shards": 1}, "ledger": LEDGER_TABLE}
    return Specification.read({"seed": seed, "api": "superinstance", "system": system}, keeps_plan=False)


class FaultyVolumes(MemoryVolumes):
    """Volumes whose objects are on a disk of the schedule, and whose databases outlive the process."""

    def __init__(self, disk: Disk, engines: dict[tuple[str, str], StdlibEngine]) -> None:
        super().__init__()
        self._disk = disk
        self._engines = engines

    def disk(self, instance: str) -> Any:
        """Return the schedule's disk for the ledgers."""
        return self._disk if instance == "durable_objects" else super().disk(instance)


class WorldClock:
    """The clock of what is outside of the process and never dies with it."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.faults: Faults | None = None
        self._scheduler = scheduler

    def now_ms(self) -> float:
        """Milliseconds since the world began."""
        return self._scheduler.now_ms

    def unix_ms(self) -> int:
        """Return the right date."""
        return UNIX_MS_START + int(self._scheduler.now_ms)

    async def sleep_until_ms(self, at_ms: float) -> None:
        """Wait until *at_ms*."""
        await self._scheduler.sleep_until(at_ms)

    def waiter(self) -> SimWaiter:
        """Return a new thing to wait for."""
        return SimWaiter(self._scheduler)

    def call_at_ms(self, at_ms: float, action: Callable[[], None]) -> SimTimer:
        """Call *action* at *at_ms*."""
        return self._scheduler.timer(at_ms, action)

    def spawn(self, task: Coroutine[Any, Any, None]) -> None:
        """Run *task*."""
        self._scheduler.spawn(task)


class SqlBooks:
    """What D1 and the meter have stored, read by SQL; the faces of :class:`tests.faults.sinks.Books`."""

    def __init__(self, d1: Engine, meter: Engine) -> None:
        self._d1 = d1
        self._meter = meter

    @property
    def rows(self) -> list[Any]:
        """The rows of D1."""
        return list(self._d1.execute("SELECT id FROM usage_events").values)

    def row_sums(self) -> dict[str, int]:
        """Return D1's sum of every organisation (microusd)."""
        query = "SELECT organization_id, sum(charge_microusd) FROM usage_events GROUP BY organization_id"
        return {str(name): int(microusd) for name, microusd in self._d1.execute(query).values}

    def meter_sums(self) -> dict[str, int]:
        """Return the meter's sum of every organisation (microusd)."""
        query = "SELECT organization_id, sum(value_microusd) FROM meter_events GROUP BY organization_id"
        return {str(name): int(microusd) for name, microusd in self._meter.execute(query).values}


def _template() -> bytes:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    engine = StdlibEngine(connection)
    migrate(engine, MIGRATIONS)
    seed_rows(engine)
    try:
        return connection.serialize()
    finally:
        connection.close()


D1_TEMPLATE = _template()


class CountedLedger(BillingLedger):
    """A ledger that counts how often each request comes in; the stopwatch goes with a request through all attempts."""

    attempts: Counter[Stopwatch]

    async def fetch(self, request: Request, event: Event) -> Response:
        """Count, and answer."""
        self.attempts[event.stopwatch] += 1
        return await super().fetch(request, event)


class WholeSchedule(Schedule):
    """One schedule of the whole deployment."""

    def __init__(self, plan: Plan) -> None:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        connection.deserialize(D1_TEMPLATE)
        self._d1 = StdlibEngine(connection)
        self._meter_engine = StdlibEngine(sqlite3.connect(":memory:", isolation_level=None))
        self._specification = specification_of(plan.seed)
        self._attempts: Counter[Stopwatch] = Counter()
        self._carried: list[tuple[Delivery, Stopwatch]] = []
        # The meter makes its table before anybody looks.
        meter = Meter(self._meter_engine)
        super().__init__(plan, books=SqlBooks(self._d1, self._meter_engine))
        engines = {("d1", "database"): self._d1, ("ledger", "meter"): self._meter_engine}
        self._volumes = FaultyVolumes(self._disk, engines)
        self._world = WorldClock(self._scheduler)
        table = UsageTable(Database(self._d1, clock=self._world, settings=settings(D1Settings.read)))
        self._outside: tuple[UsageSink, ...] = (table, meter)
        self._deployment: Deployment

    def _start_server(self) -> None:
        self._deployment = Deployment(
            self._specification,
            self._volumes,
            clock=self._process,
            migrations=MIGRATIONS,
            on_step=self._process.step,
        )
        self._namespace = self._deployment.instances["durable_objects"]
        self._namespace._build = self._build_whole
        self._object_id = self._namespace.id_from_name("shard-0")

    def _take_apart(self) -> None:
        self._d1.close()
        self._meter_engine.close()
        self._volumes.close()
        super()._take_apart()

    def _build_whole(self, state: State) -> BillingLedger:
        ledger = self._ledger(state, [self._faulty(sink) for sink in self._outside], kind=CountedLedger)
        assert isinstance(ledger, CountedLedger)
        ledger.attempts = self._attempts
        return ledger

    def _faulty(self, sink: UsageSink) -> SimSink:
        def store(batch: Batch) -> None:
            self._scheduler.spawn(sink.store(batch, Stopwatch(self._world, keeps_plan=False)))

        return SimSink(self._scheduler, self._process, apply=store, next_fault=self._sink_fault)

    def _happened(self) -> list[Delivery]:
        """Return what clients saw, and what the Worker may have done before it saw its own answer.

        The Worker repeats what an object that was reset could not answer. Who is told of a duplicate may then have sent
        the event once: an attempt came before the one that was answered, and nobody knows when it took effect.
        """
        attempts = [
            Delivery(delivery.op, delivery.began_ms)
            for delivery, stopwatch in self._carried
            if self._attempts[stopwatch] > 1 and delivery.answer is not None and delivery.answer.get("duplicate")
        ]
        return [*self.history, *attempts]

    async def _serve(
        self, process: Process, delivery: Delivery, *, reply: Callable[[Delivery, int, bytes], None]
    ) -> None:
        stopwatch = self._deployment.stopwatch()
        self._carried.append((delivery, stopwatch))
        response = await self._deployment.serve_http(request_of(delivery.op), stopwatch)
        reply(delivery, response.status, response.body)


def run(plan: Plan) -> Schedule:
    """Play *plan* on the whole deployment and return the schedule; see :meth:`Schedule.run`."""
    schedule = WholeSchedule(plan)
    schedule.run()
    return schedule
