"""The OpenAPI description of the brief's API, built from the same limits that the code checks.

It is served at ``/openapi.json``. A fuzzer generates requests from it and checks the responses against it
(``tests/reference_impl/workers/test_openapi.py``). Every operation names the scope that its key must have. A key is
optional in the description, because a deployment without keys requires none.

Sources
-------
OpenAPI specification 3.1.
"""

from collections.abc import Mapping
from typing import Any

from reference_impl import validation
from reference_impl.ledger import events
from reference_impl.ledger.charge import PRICE_MICROUSD_PER_TOKEN
from reference_impl.synapse.consensus import ROUNDS_MAX
from reference_impl.synapse.synapse import PROMPT_CHARACTERS_MAX

Node = dict[str, Any]

NAME: Node = {"type": "string", "pattern": f"^{validation.NAME.pattern}$"}
LORA_NAME: Node = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$"}
MICROUSD: Node = {"type": "integer", "minimum": 0}

REFUSALS = {
    304: "The client has the adapter already.",
    400: "The request is malformed; the message names the field, its value and its rule.",
    401: "The deployment has keys and the request has none that it knows.",
    402: "The account may not owe more.",
    403: "The key is for another organisation or another kind of request.",
    404: "There is no such route or object.",
    405: "The route has no such method.",
    408: "The body stopped in the middle.",
    409: "The event's name is taken by another event.",
    412: "The adapter is not the one that the client asked for.",
    413: "The body, or the answer for the tunnel, is too large.",
    416: "The adapter is shorter than the range that was asked for.",
    426: "The route is a WebSocket; send `upgrade: websocket`.",
    429: "One key is written more than once a second.",
    503: "A part is overloaded; do not retry at once.",
}


def _object(**properties: Node) -> Node:
    return {"type": "object", "properties": properties, "required": list(properties)}


ERROR = _object(success={"const": False}, error=_object(code={"type": "string"}, message={"type": "string"}))
USAGE_EVENT = {
    **_object(
        event_id=NAME,
        organization_id=NAME,
        user_id=NAME,
        model={"enum": sorted(PRICE_MICROUSD_PER_TOKEN)},
        tokens_in={"type": "integer", "minimum": 0, "maximum": events.TOKENS_MAX},
        tokens_out={"type": "integer", "minimum": 0, "maximum": events.TOKENS_MAX},
        event_time_ms={"type": "integer", "minimum": 0, "maximum": events.DATE_MS_MAX},
    ),
    "additionalProperties": False,
}
RECEIPT = _object(
    success={"const": True},
    charge_microusd=MICROUSD,
    balance_microusd=MICROUSD,
    duplicate={"type": "boolean"},
)
BALANCE = _object(
    success={"const": True},
    balance_microusd=MICROUSD,
    events_pending={"type": "integer", "minimum": 0},
)
FLUSHED = _object(success={"const": True}, events_flushed={"type": "integer", "minimum": 0})
FOUND = _object(success={"const": True}, loras={"type": "array", "items": {"type": "object"}})
STORED = _object(
    success={"const": True},
    id={"type": "string"},
    size_bytes={"type": "integer", "minimum": 1},
    etag={"type": "string"},
)


def _json(schema: Node) -> Node:
    return {"application/json": {"schema": schema}}


def _parameter(name: str, schema: Node, *, place: str = "query", required: bool = True) -> Node:
    return {"name": name, "in": place, "required": required, "schema": schema}


def _operation(summary: str, answer: Node, *refusals: int, scope: str, **more: Any) -> Node:
    responses: Node = {"200": {"description": summary, "content": answer}}
    with_body = (408, 413) if "requestBody" in more else ()
    for status in (400, 401, 403, 405, 503, *with_body, *refusals):
        responses[str(status)] = {"description": REFUSALS[status], "content": _json(ERROR)}
    return {"summary": summary, "responses": responses, "security": [{"key": [scope]}, {}], **more}


BYTES: Node = {"application/octet-stream": {"schema": {"type": "string", "format": "binary", "minLength": 1}}}
ORGANIZATION = [_parameter("organization_id", NAME)]
LORA = _parameter("lora_id", LORA_NAME, place="path")
DOMAIN_OPTIONAL = _parameter("domain", NAME, required=False)
LIMIT = _parameter("limit", {"type": "integer", "minimum": 1, "maximum": 100}, required=False)


QUESTION: Node = {
    "type": "object",
    "properties": {
        "request_id": NAME,
        "prompt": {"type": "string", "minLength": 1, "maxLength": PROMPT_CHARACTERS_MAX, "pattern": r"\S"},
        "lora_id": {"anyOf": [NAME, {"type": "null"}]},
    },
    "required": ["request_id", "prompt"],
    "additionalProperties": False,
}
SESSION = {
    **_object(success={"const": True}, status={"enum": ["idle", "running", "agreed", "arbitrated"]}),
    "properties": {
        "success": {"const": True},
        "status": {"enum": ["idle", "running", "agreed", "arbitrated"]},
        "request_id": {"type": "string"},
        "rounds": {"type": "integer", "minimum": 0, "maximum": ROUNDS_MAX},
        "score_share": {"type": "number", "minimum": 0, "maximum": 1},
        "response": {"type": ["string", "null"]},
        "sources": {"type": "array", "items": {"type": "string"}},
        "last_seq": {"type": "integer", "minimum": 0},
    },
}
SESSION_ID = [_parameter("session_id", NAME, place="path")]


def _body(content: Node) -> Node:
    return {"required": True, "content": content}


def _with_running(operation: Node) -> Node:
    operation["responses"]["202"] = {"description": "The question is being answered.", "content": _json(SESSION)}
    return operation


def _upgrade(**more: Any) -> Node:
    operation = _operation("Everything that the council says.", {}, 426, scope="council", **more)
    del operation["responses"]["200"]
    operation["responses"]["101"] = {"description": "The connection goes on as a WebSocket."}
    return operation


def _download() -> Node:
    operation = _operation("The adapter.", BYTES, 404, 412, 416, scope="download", parameters=[LORA])
    operation["responses"]["206"] = {"description": "The range of the adapter that was asked for.", "content": BYTES}
    operation["responses"]["304"] = {"description": REFUSALS[304]}
    return operation


PATHS: Mapping[str, Node] = {
    "/log": {
        "post": _operation(
            "One usage event is charged, once.",
            _json(RECEIPT),
            *(402, 409),
            scope="write",
            requestBody=_body(_json(USAGE_EVENT)),
        )
    },
    "/balance": {
        "get": _operation("What the organisation owes.", _json(BALANCE), scope="read", parameters=ORGANIZATION)
    },
    "/flush": {
        "post": _operation(
            "The ledger's pending events are in D1.", _json(FLUSHED), scope="flush", parameters=ORGANIZATION
        )
    },
    "/loras": {
        "get": _operation(
            "Adapters of a domain, most downloaded first.",
            _json(FOUND),
            scope="download",
            parameters=[_parameter("domain", NAME), LIMIT],
        )
    },
    "/loras/{lora_id}/adapter.safetensors": {
        "get": _download(),
        "put": _operation(
            "The adapter is stored and listed.",
            _json(STORED),
            429,
            scope="upload",
            parameters=[LORA, DOMAIN_OPTIONAL],
            requestBody=_body(BYTES),
        ),
    },
    "/synapse/{session_id}/state": {
        "get": _operation("How far the council is.", _json(SESSION), scope="council", parameters=SESSION_ID)
    },
    "/synapse/{session_id}/consensus": {
        "post": _with_running(
            _operation(
                "The council's answer.",
                _json(SESSION),
                409,
                scope="council",
                parameters=SESSION_ID,
                requestBody=_body(_json(QUESTION)),
            )
        )
    },
    "/synapse/{session_id}/socket": {"get": _upgrade(parameters=SESSION_ID)},
}

DESCRIPTION: Mapping[str, Any] = {
    "openapi": "3.1.0",
    "info": {
        "title": "Headroom reference deployment",
        "version": "0.1.0",
        "description": "HEAD is answered wherever GET is, without the body.",
    },
    "paths": PATHS,
    "components": {
        "securitySchemes": {
            "key": {
                "type": "http",
                "scheme": "bearer",
                "description": "A key of the operator's; asked for only where the deployment has keys.",
            }
        }
    },
}
