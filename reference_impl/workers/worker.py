"""The Worker: the code at the edge that serves the brief's API.

``fetch(request, env, ctx=ctx)`` has the signature of a Worker's handler. *env* holds the bindings (D1 ``DB``,
R2 ``STORAGE``, the ledgers ``BILLING_LEDGER``), *ctx* the isolates that run it. Parsing and validation
use the CPU and hold an isolate; waiting for a binding does not.

=======  ================================  ==============================================
POST     /log                              store a usage event in its organisation's ledger
GET      /balance?organization_id=         return the amount that the organisation owes
POST     /flush?organization_id=           flush its ledger to D1 now
GET      /loras?domain=&limit=             list the adapters of a domain, most downloaded first
PUT      /loras/{id}/adapter.safetensors   store an adapter, then list it
GET      /loras/{id}/adapter.safetensors   fetch an adapter; ranges and conditional requests are supported
POST     /synapse/{session}/consensus      put a question to the session's council
GET      /synapse/{session}/state          return the state of the session
GET      /synapse/{session}/socket         subscribe to the session (WebSocket)
=======  ================================  ==============================================

HEAD is answered wherever GET is. :data:`ROUTES` and :data:`NAMED_ROUTES` give each route's scope and body limit, which
are checked first (:mod:`reference_impl.workers.admission`).
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from reference_impl import validation
from reference_impl.errors import ImplError, RequestError
from reference_impl.ledger import events
from reference_impl.messages import Request, Response, error_response, json_response, without_body
from reference_impl.r2 import conditions
from reference_impl.synapse.synapse import read_question
from reference_impl.timing.stopwatch import Stopwatch
from reference_impl.workers.admission import (
    JSON_BODY_BYTES_MAX,
    PROMPT_BODY_BYTES_MAX,
    Terms,
    check,
    check_method,
    no_route,
)
from reference_impl.workers.bindings import Env
from reference_impl.workers.isolates import Isolates
from reference_impl.workers.keys import adapter_key

SEARCH_ROWS_MAX = 100
SYSTEM_USER = "system"
DEFAULT_DOMAIN = "code"


@dataclass(frozen=True)
class Context:
    """The execution context of one request: the isolates that run it, and its stopwatch."""

    isolates: Isolates
    stopwatch: Stopwatch

    def compute(self) -> AbstractAsyncContextManager[None]:
        """Return a context in which an isolate's CPU is used."""
        return self.isolates.compute(self.stopwatch)


Action = Callable[[Env], Awaitable[Response]]


async def fetch(request: Request, env: Env, *, ctx: Context) -> Response:
    """Answer one request; errors are JSON responses too."""
    try:
        async with ctx.compute():
            check(request, find(request)[0].terms, access=env.ACCESS)
            action = route(request)
        response = await action(env)
    except ImplError as error:
        response = error_response(error)
    return without_body(response) if request.method == "HEAD" else response


def find_terms(head: Request) -> Terms | None:
    """Return the terms of the route that *head* matches; None if the API has no such path.

    Raises
    ------
    RequestError
        405 for a wrong method, 400 for a bad name in the path.
    """
    return None if _methods(head.path) is None else find(head)[0].terms


def route(request: Request) -> Action:
    """Find the route of *request*, validate the request and return the action that answers it.

    Raises
    ------
    RequestError
        404 for an unknown path, 405 for a wrong method, 400 for bad input.
    """
    found, name = find(request)
    return found.handler(request, name)


def has_path(path: str) -> bool:
    """Return whether *path* belongs to the API, for any method."""
    return _methods(path) is not None


def find(head: Request) -> tuple["Route", str]:
    """Return the route that *head* matches, and the name in its path.

    Raises
    ------
    RequestError
        404 for an unknown path, 405 for a wrong method, 400 for a bad name in the path.
    """
    methods = _methods(head.path)
    if methods is None:
        raise no_route(head)
    routes, field, raw_name = methods
    found = routes[check_method(head, routes)]
    return found, validation.name(field, raw_name) if field else ""


def _methods(path: str) -> tuple["Mapping[str, Route]", str, str] | None:
    if path in ROUTES:
        return ROUTES[path], "", ""
    for pattern, field, routes in NAMED_ROUTES:
        found = pattern.fullmatch(path)
        if found:
            return routes, field, found.group(1)
    return None


def _log(request: Request, _: str) -> Action:
    event = events.usage_event(request.body)
    return _ask_ledger(event.organization_id, request)


def _to_ledger(request: Request, _: str) -> Action:
    organization_id = validation.name("organization_id", request.query.get("organization_id"))
    return _ask_ledger(organization_id, request)


def _ask_ledger(organization_id: str, request: Request) -> Action:
    async def ask(env: Env) -> Response:
        if env.ACCESS is not None:
            env.ACCESS.check_organization(request, organization_id)
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
        # The object first: a row must never refer to an object that does not exist.
        stored = await env.STORAGE.put(key, request.body)
        statement = env.DB.prepare(
            "INSERT INTO loras (id, owner_id, name, domain, base_model, r2_key, version, is_public) "
            "VALUES (?1, ?2, ?1, ?3, 'unknown', ?4, ?5, 1) "
            "ON CONFLICT (id) DO UPDATE SET domain = excluded.domain, version = excluded.version"
        )
        await statement.bind(lora_id, SYSTEM_USER, domain, key, stored.etag).run()
        return json_response({"success": True, "id": lora_id, "size_bytes": stored.size_bytes, "etag": stored.etag})

    return upload


def _download(request: Request, lora_id: str) -> Action:
    key = adapter_key(lora_id)

    async def download(env: Env) -> Response:
        found = await env.STORAGE.get(key)
        if found is None:
            raise RequestError(404, "not_found", f"there is no adapter {lora_id!r}")
        stored, content = found
        validators = conditions.Validators(stored.etag, stored.uploaded_unix_ms)
        return conditions.respond(request, validators, content=content)

    return download


def _consensus(request: Request, session_id: str) -> Action:
    read_question(request.body)
    return _synapse(request, session_id)


def _synapse(request: Request, session_id: str) -> Action:
    async def ask(env: Env) -> Response:
        return await env.CLOUD_SYNAPSE.fetch(session_id, request)

    return ask


Handler = Callable[[Request, str], Action]


@dataclass(frozen=True)
class Route:
    """One method of one path: its handler, and its terms."""

    handler: Handler
    terms: Terms


def _json_route(handler: Handler, scope: str, *, body_bytes_max: int = JSON_BODY_BYTES_MAX) -> Route:
    return Route(handler, Terms(scope, body_bytes_max))


ROUTES: Mapping[str, Mapping[str, Route]] = {
    "/log": {"POST": _json_route(_log, "write")},
    "/balance": {"GET": _json_route(_to_ledger, "read")},
    "/flush": {"POST": _json_route(_to_ledger, "flush")},
    "/loras": {"GET": _json_route(_search, "download")},
}
LORA_ROUTES: Mapping[str, Route] = {
    "GET": _json_route(_download, "download"),
    "PUT": Route(_upload, Terms("upload")),
}
SYNAPSE_ROUTES: Mapping[str, Mapping[str, Route]] = {
    "state": {"GET": _json_route(_synapse, "council")},
    "consensus": {"POST": _json_route(_consensus, "council", body_bytes_max=PROMPT_BODY_BYTES_MAX)},
    "socket": {"GET": _json_route(_synapse, "council")},
}
NAMED_ROUTES: Sequence[tuple[re.Pattern[str], str, Mapping[str, Route]]] = (
    (re.compile(r"/loras/([^/]+)/adapter\.safetensors"), "lora", LORA_ROUTES),
    *((re.compile(rf"/synapse/([^/]+)/{last}"), "session_id", routes) for last, routes in SYNAPSE_ROUTES.items()),
)
"""Patterns of paths that contain a name, and the field that error messages call it."""
