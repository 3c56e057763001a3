"""The device tunnel: one QUIC connection, one stream a request, one message each way.

A device opens a stream, writes one request as JSON and ends it; the answer comes back the same way.
This module is what happens between the bytes: it knows messages and sizes, and nothing of sockets or certificates
(see :mod:`reference_impl.server.quic`); how many streams are served at once is :mod:`reference_impl.tunnel.streams`.

::

    {"method", "path", "headers", "body"}  ──►  Worker  ──►  {"status", "headers", "body"}

A body that is no UTF-8 text travels as base64 with ``"encoding": "base64"``. An answer that is too
large for the tunnel is refused with a small one, status 413, code ``response_too_large``: the
device learns why, where the brief's tunnel only breaks off. A heartbeat is the datagram ``ping``,
answered ``pong``, so that *sent* and *received* are not the same word.

Sources
-------
The brief reads at most 1 MiB of an answer. Hazards H38 (unacknowledged heartbeat) and H42 (response
limit).
"""

import base64
import json
from collections.abc import Awaitable, Callable
from urllib.parse import unquote

from reference_impl.errors import ImplError, PeerError, PlatformError, RequestError
from reference_impl.messages import Request, Response, error_response, read_query
from reference_impl.timing.stopwatch import HeadStart, Stopwatch

REQUEST_BYTES_MAX = 1_048_576
"""One request; the windows of a QUIC connection are of this size too."""
PING = b"ping"
PONG = b"pong"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")

Handler = Callable[[Request, Stopwatch], Awaitable[tuple[Response, int | None]]]


class ResponseTooLargeError(PlatformError):
    """The answer does not fit into the tunnel."""

    status = 413
    code = "response_too_large"


class Tunnel:
    """The deployment's end of all device connections: bytes in, bytes out.

    Parameters
    ----------
    handler
        Serves one request, and says the most that its answer may weigh (None: no bound).
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.head_start = HeadStart()

    async def serve(self, message: bytes, stopwatch: Stopwatch) -> bytes:
        """Answer one message; every fault of the device is an answer too."""
        try:
            request = read_request(message)
        except ImplError as error:
            return write_response(error_response(error))
        response, limit_bytes = await self._handler(request, stopwatch)
        return _pack(response, limit_bytes)

    def heartbeat(self, datagram: bytes) -> bytes | None:
        """Return the answer to a datagram: ``pong`` to ``ping``, nothing to anything else."""
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
"""Routes of the operator, not of the deployment: no platform latency is put on them."""


def read_request(message: bytes) -> Request:
    """Read one request.

    Raises
    ------
    PeerError
        400, if the message is no JSON object with the four fields.
    RequestError
        413, if it is too large; 405, if its method is none.
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
    """Return *response* as one message."""
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
