"""Requests and responses as a Worker sees them: bytes with headers, no socket in sight."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from reference_impl.durable_objects.sockets import Pair
from reference_impl.errors import ImplError

ENCODER = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True)
class Request:
    """One request.

    Parameters
    ----------
    method, path
        As on the request line; *path* is decoded and has no query.
    query
        The first value of every query parameter.
    headers
        Names in lower case.
    body
        The whole body.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Response:
    """One response; header names in lower case. With *web_socket* and status 101 the connection goes on as one."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    web_socket: Pair | None = None


def read_query(text: str) -> dict[str, str]:
    """Return the first value of every parameter of a query string."""
    return dict(reversed(parse_qsl(text, keep_blank_values=True)))


def json_response(content: Mapping[str, Any], *, status: int = 200) -> Response:
    """Return *content* as a JSON response."""
    body = ENCODER.encode(content).encode()
    return Response(status, body, {"content-type": "application/json"})


def error_response(error: ImplError) -> Response:
    """Return *error* as the JSON body that every refusal has."""
    content = {"success": False, "error": {"code": error.code, "message": str(error)}}
    return json_response(content, status=error.status)
