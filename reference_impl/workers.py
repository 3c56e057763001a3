"""The Worker: the code at the edge that every request meets first.

``fetch(request, env, ctx=ctx)`` takes what a Worker's own handler takes. *env* holds the bindings (D1 ``DB``,
R2 ``STORAGE``, the ledgers ``BILLING_LEDGER``), *ctx* the isolate that runs it. Parsing and checking
use the CPU and hold an isolate; waiting for a binding does not.

=======  ================================  ==============================================
POST     /log                              one usage event to its organisation's ledger
GET      /balance?organization_id=         what the organisation owes
POST     /flush?organization_id=           flush its ledger to D1 now
GET      /loras?domain=&limit=             adapters of a domain, most downloaded first
PUT      /loras/{id}/adapter.safetensors   store an adapter, then list it
GET      /loras/{id}/adapter.safetensors   fetch an adapter
=======  ================================  ==============================================

Sources
-------
Body limit: 100,000,000 bytes (Workers limits, Free and Pro). Routes: docs of this repository.
"""

import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from reference_impl import validate
from reference_impl.access import Gatekeeper
from reference_impl.clock import Clock
from reference_impl.d1 import D1Binding
from reference_impl.durable_objects import Namespace
from reference_impl.errors import ImplError, RequestError
from reference_impl.messages import Request, Response, error_response, json_response
from reference_impl.pace import WorkersPace
from reference_impl.r2 import R2Binding, adapter_key
from reference_impl.retries import Retrier
from reference_impl.stopwatch import Station, Stopwatch

BODY_BYTES_MAX = 100_000_000
"""An upload."""
JSON_BODY_BYTES_MAX = 65_536
"""A body that is parsed: a usage event has a few hundred bytes."""
SEARCH_ROWS_MAX = 100
SYSTEM_USER = "system"
DEFAULT_DOMAIN = "code"
LORA_PATH = re.compile(r"/loras/([^/]+)/adapter\.safetensors")
NUMBERED_ORGANIZATION = re.compile(r"org-([0-9]{1,18})")


class LedgerBinding:
    """The ledgers as one request sees them.

    Parameters
    ----------
    namespace
        The ledgers.
    stopwatch
        The request's stopwatch.
    retrier
        Repeats what the platform says may be repeated: an object was reset under the request.
    """

    def __init__(self, namespace: Namespace, stopwatch: Stopwatch, *, retrier: Retrier) -> None:
        self._namespace = namespace
        self._stopwatch = stopwatch
        self._retrier = retrier

    async def fetch(self, organization_id: str, request: Request) -> Response:
        """Send *request* to the organisation's ledger and bring its answer back."""
        pace = self._namespace.pace
        half_rtt_ms = pace.rtt_ms.draw() / 2
        object_id = self._namespace.id_from_name(object_name(organization_id, pace.shards))
        self._stopwatch.delay("durable_objects", half_rtt_ms)
        response = await self._retrier.call(
            lambda: self._namespace.deliver(object_id, request, stopwatch=self._stopwatch)
        )
        self._stopwatch.delay("durable_objects", half_rtt_ms)
        return response


@dataclass(frozen=True)
class Env:
    """The bindings of one request, under the brief's names; without *ACCESS* everybody may ask anything."""

    DB: D1Binding
    STORAGE: R2Binding
    BILLING_LEDGER: LedgerBinding
    ACCESS: Gatekeeper | None = None


class Isolates:
    """The isolates of the deployment: so many requests use a CPU at once.

    Parameters
    ----------
    clock
        The deployment's clock.
    pace
        How many there are, CPU time, how often one starts cold and how long that takes.
    """

    def __init__(self, clock: Clock, pace: WorkersPace) -> None:
        self._station = Station(clock, "workers", servers=pace.isolates)
        self._pace = pace

    @asynccontextmanager
    async def compute(self, stopwatch: Stopwatch) -> AsyncIterator[None]:
        """Hold one isolate; the work inside counts as CPU time."""
        pace = self._pace
        if pace.chance.draw() < pace.cold_fraction:
            # A start delays this request only; the isolates that run serve others meanwhile.
            stopwatch.delay("workers", pace.cold_start_ms.draw())
        async with self._station.hold(stopwatch, "workers_queue"):
            stage = stopwatch.stage("workers", pace.cpu_ms.draw())
            try:
                async with stage:
                    yield
            finally:
                stopwatch.spend("worker_cpu", stage.took_ms)


@dataclass(frozen=True)
class Context:
    """What runs one request."""

    isolates: Isolates
    stopwatch: Stopwatch

    def compute(self) -> AbstractAsyncContextManager[None]:
        """Return the context in which an isolate's CPU is used."""
        return self.isolates.compute(self.stopwatch)


Action = Callable[[Env], Awaitable[Response]]


async def fetch(request: Request, env: Env, *, ctx: Context) -> Response:
    """Answer one request; every refusal is a JSON answer too."""
    try:
        async with ctx.compute():
            action = route(request)
        return await action(env)
    except ImplError as error:
        return error_response(error)


def route(request: Request) -> Action:
    """Find out what *request* asks for and check everything about it.

    Raises
    ------
    RequestError
        404 for an unknown path, 405 for a wrong method, 413 for a large body, 400 for bad input.
    """
    lora = LORA_PATH.fullmatch(request.path)
    routes = LORA_ROUTES if lora else ROUTES.get(request.path)
    if routes is None:
        raise RequestError(404, "not_found", f"no route {request.path[:80]!r}")
    if request.method not in routes:
        allowed = ", ".join(routes)
        raise RequestError(405, "method_not_allowed", f"{request.method[:20]}: use {allowed}")
    return routes[request.method](request, validate.name("lora", lora.group(1)) if lora else "")


def object_name(organization_id: str, shards: int | None) -> str:
    """Return the name of the ledger that an organisation belongs to.

    Parameters
    ----------
    organization_id
        ``org-7`` has the key 7; any other name has a key made from its letters.
    shards
        How many ledgers share all organisations; None gives each its own.
    """
    if shards is None:
        return organization_id
    numbered = NUMBERED_ORGANIZATION.fullmatch(organization_id)
    key = int(numbered.group(1)) if numbered else zlib.crc32(organization_id.encode())
    return f"shard-{key % shards}"


def _log(request: Request, _: str) -> Action:
    if len(request.body) > JSON_BODY_BYTES_MAX:
        rule = f"at most {JSON_BODY_BYTES_MAX}"
        raise RequestError(413, "body_too_large", f"a body of {len(request.body)} bytes; {rule}")
    event = validate.usage_event(request.body)
    return _ask_ledger(event.organization_id, request)


def _to_ledger(request: Request, _: str) -> Action:
    organization_id = validate.name("organization_id", request.query.get("organization_id"))
    return _ask_ledger(organization_id, request)


def _ask_ledger(organization_id: str, request: Request) -> Action:
    async def ask(env: Env) -> Response:
        if env.ACCESS is not None:
            env.ACCESS.check(request, organization_id)
        return await env.BILLING_LEDGER.fetch(organization_id, request)

    return ask


def _search(request: Request, _: str) -> Action:
    domain = validate.name("domain", request.query.get("domain"))
    limit_text = request.query.get("limit", "20")
    limit = validate.whole_number_text("limit", limit_text, at_least=1, at_most=SEARCH_ROWS_MAX)

    async def search(env: Env) -> Response:
        statement = env.DB.prepare(
            "SELECT id, name, domain, base_model, version, price_cents, downloads FROM loras "
            "WHERE domain = ? AND is_public = 1 ORDER BY downloads DESC, id LIMIT ?"
        )
        found = await statement.bind(domain, limit).all()
        return json_response({"success": True, "loras": found.results})

    return search


def _upload(request: Request, lora_id: str) -> Action:
    if not request.body:
        raise RequestError(400, "empty_body", "an adapter must have at least 1 byte")
    domain = validate.name("domain", request.query.get("domain", DEFAULT_DOMAIN))
    key = adapter_key(lora_id)

    async def upload(env: Env) -> Response:
        # The object first: a row must never name an object that is not there.
        stored = await env.STORAGE.put(key, request.body)
        statement = env.DB.prepare(
            "INSERT INTO loras (id, owner_id, name, domain, base_model, r2_key, version, is_public) "
            "VALUES (?1, ?2, ?1, ?3, 'unknown', ?4, ?5, 1) "
            "ON CONFLICT (id) DO UPDATE SET domain = excluded.domain, version = excluded.version"
        )
        await statement.bind(lora_id, SYSTEM_USER, domain, key, stored.etag).run()
        return json_response({"success": True, "id": lora_id, "size_bytes": stored.size_bytes, "etag": stored.etag})

    return upload


def _download(request: Request, lora_id: str) -> Action:  # noqa: ARG001  # one signature for all
    key = adapter_key(lora_id)

    async def download(env: Env) -> Response:
        found = await env.STORAGE.get(key)
        if found is None:
            raise RequestError(404, "not_found", f"there is no adapter {lora_id!r}")
        stored, content = found
        headers = {"content-type": "application/octet-stream", "etag": f'"{stored.etag}"'}
        return Response(200, content, headers)

    return download


Route = Callable[[Request, str], Action]
ROUTES: Mapping[str, Mapping[str, Route]] = {
    "/log": {"POST": _log},
    "/balance": {"GET": _to_ledger},
    "/flush": {"POST": _to_ledger},
    "/loras": {"GET": _search},
}
LORA_ROUTES: Mapping[str, Route] = {"GET": _download, "PUT": _upload}
