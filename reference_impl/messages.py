"""Requests and responses as a Worker sees them: bytes with headers, no socket in sight."""

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
    """What goes to the client: a message, or (*close_code* set) the end."""

    message: Message = ""
    close_code: int | None = None
    reason: str = ""


class Pair:
    """The client's end: an adapter takes from here what the object sends, and brings what the client sends.

    What is sent before an adapter is there waits for it.
    """

    def __init__(self) -> None:
        self._waiting: list[Sent] = []
        self._take: Callable[[Sent], None] | None = None
        self._bring: Bring | None = None
        self._hang_up: HangUp | None = None

    def attach(self, take: Callable[[Sent], None]) -> None:
        """Give everything sent, up to now and from now on, to *take*."""
        self._take = take
        waiting, self._waiting = self._waiting, []
        for sent in waiting:
            take(sent)

    def bind(self, bring: Bring, hang_up: HangUp) -> None:
        """Let messages of the client go to the object that accepted the socket."""
        self._bring = bring
        self._hang_up = hang_up

    async def bring(self, message: Message) -> None:
        """Bring the client's *message* to the object.

        Raises
        ------
        PlatformError
            If no object has accepted the socket.
        """
        if self._bring is None:
            raise PlatformError("nobody has accepted this WebSocket; accept it before it is answered")
        await self._bring(message)

    async def hang_up(self, code: int, reason: str = "") -> None:
        """Tell the object that the client is gone."""
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
    response = json_response(content, status=error.status)
    response.headers.update(error.headers)
    return response


def without_body(response: Response) -> Response:
    """Return the answer to a HEAD: as to the GET, with the length of the body in place of the body."""
    length = {} if response.status == 304 else {"content-length": str(len(response.body))}
    return Response(response.status, b"", {**response.headers, **length})
