"""HTTP: from ASGI, which uvicorn speaks, to the Worker's requests and back."""

import sys
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from reference_impl.deployment import Deployment
from reference_impl.errors import ImplError, RequestError
from reference_impl.messages import Request, Response, error_response, read_query
from reference_impl.tunnel.tunnel import UNPACED
from reference_impl.workers.worker import BODY_BYTES_MAX

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


ARRIVED_MS = "arrived_ms"
BAD_HTTP_HEADERS = "content-type: application/json\r\nconnection: close\r\n"


class ArrivalProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 that notes when the bytes of a request arrived, before it parses them."""

    def data_received(self, data: bytes) -> None:
        """Take what arrived."""
        self.app_state[ARRIVED_MS] = self.loop.time() * 1_000
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP in JSON, as everything is refused, and hang up."""
        # None before the first request, which uvicorn's annotation leaves out.
        cycle: Any = self.cycle
        # In the middle of an answer nothing else can be said.
        if cycle is None or cycle.response_complete or not cycle.response_started:
            body = error_response(RequestError(400, "bad_http", msg)).body
            head = f"HTTP/1.1 400 Bad Request\r\n{BAD_HTTP_HEADERS}content-length: {len(body)}\r\n\r\n"
            self.transport.write(head.encode() + body)
        self.transport.close()


class HttpApp:
    """The ASGI application around a deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        arrived_ms = scope.get("state", {}).get(ARRIVED_MS)
        stopwatch = self._deployment.stopwatch(started_ms=arrived_ms)
        try:
            request = await read_request(scope, receive)
        except ImplError as error:
            await _send(send, error_response(error))
            return
        try:
            response = await self._deployment.serve_http(request, stopwatch)
        except Exception:  # noqa: BLE001  # the last door: a defect is told to the operator, not the client
            traceback.print_exc(file=sys.stderr)
            response = error_response(ImplError("a defect of the deployment; see its log"))
        await _send(send, response)
        if request.path not in UNPACED:
            self._deployment.departed(stopwatch)


async def read_request(scope: Scope, receive: Receive) -> Request:
    """Read one request with its whole body.

    Raises
    ------
    RequestError
        413, if the body is larger than a Worker takes; 400, if the client went away.
    """
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    announced = headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > BODY_BYTES_MAX:
        raise _too_large(announced)
    return Request(
        scope["method"],
        scope["path"],
        read_query(scope["query_string"].decode("latin-1")),
        headers,
        await _read_body(receive),
    )


async def _read_body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size_bytes = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestError(400, "disconnected", "the client went away")
        part = message.get("body", b"")
        size_bytes += len(part)
        if size_bytes > BODY_BYTES_MAX:
            raise _too_large(f"{size_bytes} or more")
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def _too_large(found: str) -> RequestError:
    rule = f"at most {BODY_BYTES_MAX}; upload in parts"
    return RequestError(413, "body_too_large", f"a body of {found} bytes; {rule}")


async def _send(send: Send, response: Response) -> None:
    headers = [(b"content-length", str(len(response.body)).encode())]
    headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers.items()]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
