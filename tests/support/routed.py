"""Deployments that play routes: two databases, two namespaces, buckets, all in memory under a virtual clock."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from reference_impl.deployment_file import Specification
from reference_impl.durable_objects.storage import Storage
from reference_impl.errors import PlatformError
from reference_impl.messages import Request, Response
from reference_impl.parts import Call, Context, Operation, Part, no_parameters
from reference_impl.registry import register, unregister
from reference_impl.tables import Table
from reference_impl.timing.stopwatch import Stopwatch
from tests.support.world import World, world_of

SYSTEM: dict[str, Any] = {
    "network": {},
    "tunnel": {},
    "workers": {},
    "d1": {},
    "archive": {"component": "d1"},
    "rooms": {"component": "durable_objects"},
    "durable_objects": {},
    "ledger": {},
    "r2": {},
    "media": {"component": "r2"},
}


def route(*steps: Any, method: str = "GET", path: str = "/one", **more: Any) -> dict[str, Any]:
    """Return a route that does *steps*; a text is an operation."""
    entries = [{"use": step} if isinstance(step, str) else step for step in steps]
    return {"request": {"method": method, "path": path}, "steps": entries, **more}


@contextmanager
def routed(
    routes: dict[str, Any], system: dict[str, Any] | None = None, *, seed: int = 0, api: str = ""
) -> Iterator[World]:
    """Build a deployment that plays *routes*."""
    content = {"seed": seed, "api": api, "system": SYSTEM if system is None else system, "routes": routes}
    with world_of(Specification.read(content)) as made:
        yield made


def ask(world: World, path: str = "/one", *, method: str = "GET", **headers: Any) -> tuple[Response, Stopwatch]:
    """Send one request over HTTP, with headers ``headroom-…``, and let everything that it began end."""
    answered = world.ask(request(path, method=method, **headers))
    world.clock.run_until(world.clock.now_ms() + 100_000)
    return answered


def request(path: str = "/one", *, method: str = "GET", body: bytes = b"", **headers: Any) -> Request:
    """Return one request, with headers ``headroom-…``."""
    named = {f"headroom-{name.replace('_', '-')}": str(value) for name, value in headers.items()}
    return Request(method, path, headers=named, body=body)


def rows(w: World, instance: str) -> list[tuple[Any, ...]]:
    """Rows of a database: key, position, and how often each was written."""
    engine = w.volumes.engine(instance, "database")
    if not engine.execute("SELECT 1 FROM sqlite_schema WHERE name = 'headroom_rows'").values:
        return []
    return [tuple(row) for row in engine.execute("SELECT key, position, version FROM headroom_rows").values]


def stored(w: World, namespace: str, *, key: int) -> Storage:
    """Open the disk of the object of the key."""
    object_id = w.deployment.instances[namespace].id_from_name(f"org-{key}")
    return Storage(w.volumes.disk(namespace).open(object_id))


def events(w: World, key: int) -> int:
    """Usage events in the ledger of the key's organisation, flushed ones too."""
    storage = stored(w, "durable_objects", key=key)
    is_there = storage.sql("SELECT 1 FROM sqlite_schema WHERE name = 'events'")
    return int(storage.sql("SELECT count(*) FROM events")[0][0]) if is_there else 0


def state(w: World, namespace: str, *, key: int) -> dict[str, int]:
    """Rows in the object of the key."""
    return {row: value for row, value in stored(w, namespace, key=key).list().items() if row.startswith("row-")}


def objects(w: World, bucket: str = "r2") -> dict[str, bytes]:
    """Objects in a bucket, by key."""
    store = w.volumes.store(bucket)
    found: dict[str, bytes] = {}
    for key in store.keys(""):
        stored_object = w.clock.run(store.get(key))[0]
        found[key] = stored_object[1]
    return found


@dataclass
class Toy:
    """An instance of the toy component: it takes as long as it is told, and fails when it is told to."""

    name: str
    began_ms: list[float] = field(default_factory=list)
    ended_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Orders:
    """What one call of the toy does: how long its calls take, one after the other, and which of them fail."""

    take_ms: list[float]
    fails: list[bool]


def _orders(table: Table) -> Orders:
    return Orders(table.take("take_ms", [1]), table.take("fails", [False]))


def _build(settings: None, context: Context) -> Toy:
    return Toy(context.name)


async def _work(toy: Toy, call: Call) -> None:
    orders: Orders = call.parameters
    turn = len(toy.began_ms)
    async with call.stopwatch.stage(toy.name, orders.take_ms[turn % len(orders.take_ms)]):
        toy.began_ms.append(call.stopwatch.planned_ms)
    toy.ended_ms.append(call.stopwatch.planned_ms)
    if orders.fails[turn % len(orders.fails)]:
        raise PlatformError("told to fail")


TOY = Part("toy", settings=no_parameters, build=_build, operations={"work": Operation(_work, _orders)})


@contextmanager
def toys() -> Iterator[None]:
    """Let the toy be a component for a while."""
    register(TOY)
    try:
        yield
    finally:
        unregister("toy")
