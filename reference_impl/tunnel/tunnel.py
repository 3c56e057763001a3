"""The device tunnel: requests and responses as JSON messages, one pair on each QUIC stream.

A device opens a stream, writes one request as JSON and ends the stream; the response comes back the same way.
This module parses and builds the messages. Sockets and certificates are in :mod:`reference_impl.server.quic`, and the
limit on concurrent streams is in :mod:`reference_impl.tunnel.streams`.

::

    {"method", "path", "headers", "body"}  ──►  Worker  ──►  {"status", "headers", "body"}

A body that is not UTF-8 text is sent as base64 with ``"encoding": "base64"``. A response that is too
large for the tunnel is replaced by an error, status 413, code ``response_too_large``, so that the
device learns why; the brief's tunnel only closes the stream. A heartbeat is the datagram ``ping``. It is
answered with ``pong``, so a device can tell that its heartbeat was received and not only sent.

Sources
-------
The brief reads at most 1 MiB of a response. Hazards H38 (unacknowledged heartbeat) and H42 (response
limit): docs/HAZARDS.md.
"""

import base64
import json
from collections.abc import Awaitable, Callable
from urllib.parse import unquote

from reference_impl.errors import ImplError, PeerError, PlatformError, RequestError
from reference_impl.messages import Request, Response, error_response, read_query
from reference_impl.timing.stopwatch import HeadStart, Stopwatch

REQUEST_BYTES_MAX = 1_048_576
"""Size limit of a request; the flow-control windows of a QUIC connection have this size too."""
PING = b"ping"
PONG = b"pong"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")

Handler = Callable[[Request, Stopwatch], Awaitable[tuple[Response, int | None]]]


class ResponseTooLargeError(PlatformError):
    """The response exceeds the tunnel's size limit."""

    status = 413
    code = "response_too_large"


class Tunnel:
    """The server's end of all device connections, without sockets: messages in, messages out.

    Parameters
    ----------
    handler
        Serves one request; returns the response and its size limit (None: no limit).
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.head_start = HeadStart()

    async def serve(self, message: bytes, stopwatch: Stopwatch) -> bytes:
        """Answer one message; an invalid message is answered with an error."""
        try:
            request = read_request(message)
        except ImplError as error:
            return write_response(error_response(error))
        response, limit_bytes = await self._handler(request, stopwatch)
        return _pack(response, limit_bytes)

    def heartbeat(self, datagram: bytes) -> bytes | None:
        """Return the reply to a datagram: ``pong`` to ``ping``, None to anything else."""
        return PONG if datagram == PING else None


def _pack(response: Response, limit_bytes: int | None) -> bytes:
    packed = write_response(response)
    if limit_bytes is None or len(packed) <= limit_bytes:
        return packed
    refusal = ResponseTooLargeError(
        f"an answer of {len(packed)} bytes; the tunnel carries at most {limit_bytes}; fetch it over HTTP"
    )
    kept = {k: v for k, v in response.headers.items() if k == "server-timing"}
    response = error_response(refusal)
    response.headers.update(kept)
    return write_response(response)


UNPACED = ("/health", "/metrics", "/openapi.json")
"""Routes of the operator, not of the deployment; no platform latency is added to them."""


def read_request(message: bytes) -> Request:
    """Parse one request message.

    Raises
    ------
    PeerError
        400, if the message is not a JSON object with the four fields.
    RequestError
        413, if it is too large; 405, if the method is unknown.
    """
    if len(message) > REQUEST_BYTES_MAX:
        raise RequestError(
            413,
            "request_too_large",
            f"a request of {len(message)} bytes; the tunnel takes at most {REQUEST_BYTES_MAX}",
        )
    try:
        fields = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise PeerError(f"the message is no JSON: {error}") from None
    if not isinstance(fields, dict):
        raise PeerError("the message must be a JSON object")
    headers, path = fields.get("headers", {}), fields.get("path")
    if not isinstance(path, str) or not path.startswith("/"):
        raise PeerError(f"path={ascii(path)[:80]} must be a text that begins with /")
    if not isinstance(headers, dict) or not all(isinstance(v, str) for v in headers.values()):
        raise PeerError("headers must be an object of texts")
    if fields.get("method") not in METHODS:
        shown = ascii(fields.get("method"))[:80]
        raise RequestError(405, "bad_method", f"method={shown} must be one of {', '.join(METHODS)}")
    raw_path, _, raw_query = path.partition("?")
    return Request(
        fields["method"],
        unquote(raw_path),
        read_query(raw_query),
        # A stream of the tunnel cannot become a WebSocket.
        {name.lower(): value for name, value in headers.items() if name.lower() != "upgrade"},
        _read_body(fields),
    )


def write_response(response: Response) -> bytes:
    """Return *response* as a message."""
    fields = {"status": response.status, "headers": response.headers}
    try:
        fields["body"] = response.body.decode()
    except UnicodeDecodeError:
        fields["body"] = base64.b64encode(response.body).decode()
        fields["encoding"] = "base64"
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()


def _read_body(fields: dict[str, object]) -> bytes:
    body = fields.get("body", "")
    if not isinstance(body, str):
        raise PeerError(f"body={ascii(body)[:80]} must be a text")
    try:
        if fields.get("encoding") == "base64":
            return base64.b64decode(body, validate=True)
        return body.encode()
    except ValueError:
        raise PeerError("body is neither UTF-8 text nor base64") from None
