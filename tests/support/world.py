"""A whole deployment in memory under a virtual clock, and the requests that the tests send to it."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from reference_impl.deployment import Deployment
from reference_impl.deployment_file import Specification
from reference_impl.durable_objects.part import RouteObjects
from reference_impl.ledger.charge import Usage
from reference_impl.ledger.part import Ledgers
from reference_impl.ledger.policy import UsageEvent
from reference_impl.messages import Request, Response
from reference_impl.r2.bucket import Bucket
from reference_impl.sqlite.engines import StdlibEngine
from reference_impl.tables import Table, read_table
from reference_impl.timing.clock import VirtualClock
from reference_impl.timing.stopwatch import Stopwatch
from reference_impl.volumes.disks import MemoryDisk, SqliteDatabase, memory_database
from reference_impl.volumes.stores import MemoryStore
from reference_impl.volumes.volumes import MemoryVolumes
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
    volumes: MemoryVolumes
    deployment: Deployment

    @property
    def engine(self) -> StdlibEngine:
        """D1's SQLite."""
        return self.volumes.engine("d1", "database")

    @property
    def disk(self) -> MemoryDisk:
        """The ledgers' disk."""
        return self.volumes.disk("durable_objects")

    @property
    def store(self) -> MemoryStore:
        """R2's objects."""
        return self.volumes.store("r2")

    @property
    def objects(self) -> RouteObjects:
        """The namespace that the ledgers live in."""
        found: RouteObjects = self.deployment.instances["durable_objects"]
        return found

    @property
    def ledgers(self) -> Ledgers:
        """The ledgers."""
        found: Ledgers = self.deployment.instances["ledger"]
        return found

    @property
    def bucket(self) -> Bucket:
        """R2's bucket."""
        found: Bucket = self.deployment.instances["r2"]
        return found

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
def world(
    system: dict[str, Any] | None = None, *, access: Gatekeeper | None = None, counts_rows: bool = False
) -> Iterator[World]:
    """Build the brief's deployment in memory; *system* None is full speed, *access* None lets everybody ask."""
    content = {"api": "superinstance", "system": system}
    specification = Specification.full_speed() if system is None else Specification.read(content)
    with world_of(specification, access=access, counts_rows=counts_rows) as made:
        yield made


@contextmanager
def world_of(
    specification: Specification, *, access: Gatekeeper | None = None, counts_rows: bool = False
) -> Iterator[World]:
    """Build a deployment in memory."""
    clock = VirtualClock(unix_ms_start=EVENT_TIME_MS)
    with closing(MemoryVolumes()) as volumes, closing(clock):
        deployment = Deployment(
            specification,
            volumes,
            clock=clock,
            migrations=migration_files(),
            access=access,
            counts_rows=counts_rows,
        )
        yield World(clock, volumes, deployment)


Settings = TypeVar("Settings")


def settings(read: Callable[[Table], Settings], entries: dict[str, Any] | None = None, *, seed: int = 0) -> Settings:
    """Return the settings of a component as *read* finds them in its table; without *entries*, nothing takes time."""
    return read_table(read, Table("system.one", entries or {}, name="one", seed=seed))


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
