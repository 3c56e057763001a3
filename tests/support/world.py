"""A whole deployment in memory under a virtual clock, and the requests that the tests send to it."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reference_impl.d1.migrations import migrate
from reference_impl.deployment import Deployment, Parts
from reference_impl.durable_objects.disks import MemoryDisk, SqliteDatabase, memory_database
from reference_impl.ledger.charge import Usage
from reference_impl.ledger.policy import UsageEvent
from reference_impl.messages import Request, Response
from reference_impl.r2.bucket import MemoryStore
from reference_impl.sqlite.engines import StdlibEngine
from reference_impl.timing.clock import VirtualClock
from reference_impl.timing.pace import Pace
from reference_impl.timing.stopwatch import Stopwatch
from reference_impl.workers.access import Gatekeeper

MIGRATIONS = Path(__file__).parents[2] / "deploy" / "migrations"
EVENT_TIME_MS = 1_795_000_000_000


def migration_files() -> dict[str, str]:
    """Return the repository's migrations."""
    return {path.name: path.read_text() for path in sorted(MIGRATIONS.glob("*.sql"))}


def memory_engine() -> StdlibEngine:
    """Return an empty database in memory."""
    return StdlibEngine(sqlite3.connect(":memory:", isolation_level=None))


@dataclass
class World:
    """A deployment with everything that it stands on."""

    clock: VirtualClock
    engine: StdlibEngine
    disk: MemoryDisk
    store: MemoryStore
    deployment: Deployment

    def ask(self, request: Request) -> tuple[Response, Stopwatch]:
        """Send one request over HTTP and let it run to its end."""
        stopwatch = self.deployment.stopwatch()
        response = self.clock.run(self.deployment.serve_http(request, stopwatch))[0]
        return response, stopwatch

    async def ask_at(self, at_ms: float, request: Request) -> tuple[Response, Stopwatch]:
        """Send one request at a moment."""
        await self.clock.sleep_until_ms(at_ms)
        stopwatch = self.deployment.stopwatch()
        return await self.deployment.serve_http(request, stopwatch), stopwatch

    def json(self, request: Request) -> dict[str, Any]:
        """Send one request and return the JSON of its answer."""
        content: dict[str, Any] = json.loads(self.ask(request)[0].body)
        return content

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query on D1."""
        return [tuple(row) for row in self.engine.execute(sql).values]


@contextmanager
def world(pace: dict[str, Any] | None = None, *, access: Gatekeeper | None = None) -> Iterator[World]:
    """Build a deployment in memory; *pace* None is full speed, *access* None lets everybody ask."""
    clock = VirtualClock(unix_ms_start=EVENT_TIME_MS)
    engine, disk, store, meter = memory_engine(), MemoryDisk(), MemoryStore(), memory_engine()
    migrate(engine, migration_files())
    synapse_disk = MemoryDisk()
    speed = Pace.none() if pace is None else Pace.from_mapping(pace)
    deployment = Deployment(Parts(engine, disk, store, meter, synapse_disk), clock=clock, pace=speed, access=access)
    try:
        yield World(clock, engine, disk, store, deployment)
    finally:
        clock.close()
        engine.close()
        meter.close()
        disk.unmount()
        synapse_disk.unmount()


def log_request(event_id: str = "event-1", /, **changes: Any) -> Request:
    """Return ``POST /log`` with one usage event; *changes* replace fields."""
    return Request("POST", "/log", body=json.dumps(event(event_id, **changes)).encode())


def event(event_id: str = "event-1", /, **changes: Any) -> dict[str, Any]:
    """Return the fields of one usage event."""
    return {
        "event_id": event_id,
        "organization_id": "org-7",
        "user_id": "user-7",
        "model": "sonnet",
        "tokens_in": 278,
        "tokens_out": 218,
        "event_time_ms": EVENT_TIME_MS,
        **changes,
    }


def flush_request(organization_id: str = "org-7") -> Request:
    """Return ``POST /flush``."""
    return Request("POST", "/flush", {"organization_id": organization_id})


def balance_request(organization_id: str = "org-7") -> Request:
    """Return ``GET /balance``."""
    return Request("GET", "/balance", {"organization_id": organization_id})


@contextmanager
def memory_disk() -> Iterator[SqliteDatabase]:
    """Open one object's disk."""
    database = memory_database()
    try:
        yield database
    finally:
        database.close()


def usage_event(name: str, organization: str = "org-1", *, tokens: int = 500) -> UsageEvent:
    """Return a usage event as a ledger policy takes it."""
    usage = Usage("sonnet", tokens, tokens, EVENT_TIME_MS)
    return UsageEvent(name, organization, "user-1", usage)
