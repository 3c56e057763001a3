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
POST     /synapse/{session}/consensus      put a question to the session's council
GET      /synapse/{session}/state          how far it is
GET      /synapse/{session}/socket         listen (WebSocket)
=======  ================================  ==============================================

Sources
-------
Body limit: 100,000,000 bytes (Workers limits, Free and Pro). Routes: docs of this repository.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from reference_impl import validation
from reference_impl.errors import ImplError, RequestError
from reference_impl.ledger import events
from reference_impl.messages import Request, Response, error_response, json_response
from reference_impl.synapse.synapse import read_question
from reference_impl.timing.stopwatch import Stopwatch
from reference_impl.workers.bindings import Env
from reference_impl.workers.isolates import Isolates
from reference_impl.workers.keys import adapter_key

BODY_BYTES_MAX = 100_000_000
"""An upload."""
JSON_BODY_BYTES_MAX = 65_536
"""A body that is parsed: a usage event has a few hundred bytes."""
PROMPT_BODY_BYTES_MAX = 1_048_576
"""A question of 100,000 characters, whatever JSON makes of each."""
LEDGER_SCOPES: Mapping[str, str] = {"/log": "write", "/balance": "read", "/flush": "flush"}
"""What a key must be good for."""
SEARCH_ROWS_MAX = 100
SYSTEM_USER = "system"
DEFAULT_DOMAIN = "code"


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
    routes, name = ROUTES.get(request.path), ""
    if routes is None:
        routes, name = _named_route(request.path)
    if routes is None:
        raise RequestError(404, "not_found", f"no route {request.path[:80]!r}")
    if request.method not in routes:
        allowed = ", ".join(routes)
        raise RequestError(405, "method_not_allowed", f"{request.method[:20]}: use {allowed}")
    return routes[request.method](request, name)


def has_path(path: str) -> bool:
    """Whether *path* is one of the API's, whatever the method."""
    return path in ROUTES or any(pattern.fullmatch(path) for pattern, _, _ in NAMED_ROUTES)


def _named_route(path: str) -> tuple["Mapping[str, Route] | None", str]:
    for pattern, field, routes in NAMED_ROUTES:
        found = pattern.fullmatch(path)
        if found:
            return routes, validation.name(field, found.group(1))
    return None, ""


def _log(request: Request, _: str) -> Action:
    _check_json_size(request)
    event = events.usage_event(request.body)
    return _ask_ledger(event.organization_id, request)


def _to_ledger(request: Request, _: str) -> Action:
    organization_id = validation.name("organization_id", request.query.get("organization_id"))
    return _ask_ledger(organization_id, request)


def _check_json_size(request: Request) -> None:
    allowed = PROMPT_BODY_BYTES_MAX if request.path.endswith("/consensus") else JSON_BODY_BYTES_MAX
    if len(request.body) > allowed:
        raise RequestError(413, "body_too_large", f"a body of {len(request.body)} bytes; at most {allowed}")


def _ask_ledger(organization_id: str, request: Request) -> Action:
    async def ask(env: Env) -> Response:
        if env.ACCESS is not None:
            env.ACCESS.check(request, LEDGER_SCOPES[request.path], organization_id=organization_id)
        return await env.BILLING_LEDGER.fetch(organization_id, request)

    return ask


def _search(request: Request, _: str) -> Action:
    domain = validation.name("domain", request.query.get("domain"))
    limit_text = request.query.get("limit", "20")
    limit = validation.whole_number_text("limit", limit_text, at_least=1, at_most=SEARCH_ROWS_MAX)

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
    domain = validation.name("domain", request.query.get("domain", DEFAULT_DOMAIN))
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


def _consensus(request: Request, session_id: str) -> Action:
    _check_json_size(request)
    read_question(request.body)
    return _synapse(request, session_id)


def _synapse(request: Request, session_id: str) -> Action:
    async def ask(env: Env) -> Response:
        if env.ACCESS is not None:
            env.ACCESS.check(request, "council")
        return await env.CLOUD_SYNAPSE.fetch(session_id, request)

    return ask


Route = Callable[[Request, str], Action]
ROUTES: Mapping[str, Mapping[str, Route]] = {
    "/log": {"POST": _log},
    "/balance": {"GET": _to_ledger},
    "/flush": {"POST": _to_ledger},
    "/loras": {"GET": _search},
}
LORA_ROUTES: Mapping[str, Route] = {"GET": _download, "PUT": _upload}
SYNAPSE_ROUTES: Mapping[str, Mapping[str, Route]] = {
    "state": {"GET": _synapse},
    "consensus": {"POST": _consensus},
    "socket": {"GET": _synapse},
}
NAMED_ROUTES: Sequence[tuple[re.Pattern[str], str, Mapping[str, Route]]] = (
    (re.compile(r"/loras/([^/]+)/adapter\.safetensors"), "lora", LORA_ROUTES),
    *((re.compile(rf"/synapse/([^/]+)/{last}"), "session_id", routes) for last, routes in SYNAPSE_ROUTES.items()),
)
"""Paths with a name in them, and what the name is called when it is refused."""
