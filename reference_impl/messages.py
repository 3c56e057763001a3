"""Requests, responses and WebSocket messages as a Worker sees them, independent of sockets."""

import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from reference_impl.errors import ImplError, PlatformError

ENCODER = json.JSONEncoder(separators=(",", ":"))


Message = str | bytes


Bring = Callable[[Message], Coroutine[Any, Any, None]]


HangUp = Callable[[int, str], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Sent:
    """An item sent to the client: a message, or the close of the connection if *close_code* is set."""

    message: Message = ""
    close_code: int | None = None
    reason: str = ""


class Pair:
    """The client's end of a WebSocket, between an adapter (the connection) and the object that accepted it.

    Messages that are sent before an adapter is attached are buffered.
    """

    def __init__(self) -> None:
        self._waiting: list[Sent] = []
        self._take: Callable[[Sent], None] | None = None
        self._bring: Bring | None = None
        self._hang_up: HangUp | None = None

    def attach(self, take: Callable[[Sent], None]) -> None:
        """Pass everything sent, including what is buffered, to *take*."""
        self._take = take
        waiting, self._waiting = self._waiting, []
        for sent in waiting:
            take(sent)

    def bind(self, bring: Bring, hang_up: HangUp) -> None:
        """Connect the object that accepted the socket: it receives the client's messages from now on."""
        self._bring = bring
        self._hang_up = hang_up

    async def bring(self, message: Message) -> None:
        """Deliver the client's *message* to the object.

        Raises
        ------
        PlatformError
            If no object has accepted the socket.
        """
        if self._bring is None:
            raise PlatformError("nobody has accepted this WebSocket; accept it before it is answered")
        await self._bring(message)

    async def hang_up(self, code: int, reason: str = "") -> None:
        """Notify the object that the client is gone."""
        if self._hang_up is not None:
            await self._hang_up(code, reason)

    def give(self, sent: Sent) -> None:
        """Send to the client."""
        if self._take is None:
            self._waiting.append(sent)
        else:
            self._take(sent)


@dataclass(frozen=True)
class Request:
    """One request.

    Parameters
    ----------
    method, path
        As on the request line; *path* is decoded and has no query.
    query
        Query parameters; of repeated ones the first value.
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
    """One response; header names in lower case. With status 101 the connection continues as *web_socket*."""

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
    response = json_response(content, status=error.status)
    response.headers.update(error.headers)
    return response


def without_body(response: Response) -> Response:
    """Return the response to a HEAD request, given that to GET: the same headers, without the body."""
    length = {} if response.status == 304 else {"content-length": str(len(response.body))}
    return Response(response.status, b"", {**response.headers, **length})
