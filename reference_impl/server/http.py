"""The HTTP adapter: an ASGI application that translates between uvicorn and the deployment.

Admission is decided on the request head: the route exists, the key is valid for it, and the announced body is not too
long (:mod:`reference_impl.workers.admission`). A refused request is answered without reading its body and the
connection is closed, so that no client can make the deployment read 100 MB by sending them to an unknown path.
With ``expect: 100-continue`` the client receives 100 only if its body is wanted.
"""

import asyncio
import sys
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import replace
from functools import partial
from typing import Any

import uvicorn

from reference_impl.deployment import Deployment
from reference_impl.errors import ImplError, RequestError
from reference_impl.messages import Request, Response, error_response
from reference_impl.server.connections import ARRIVED_MS, ArrivalProtocol, Scope, read_head
from reference_impl.server.sockets import SocketProtocol
from reference_impl.server.stalls import Limits, Watch
from reference_impl.tunnel.tunnel import UNPACED

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

SHUTDOWN_S = 2
WITHOUT_BODY = (204, 304)
"""Statuses without a body; their content-length, if any, is that of the response they stand for (RFC 9110, 8.6)."""


class HttpApp:
    """The ASGI application around a deployment.

    Parameters
    ----------
    deployment
        Answers the requests.
    limits
        Time limits of a request body.
    """

    def __init__(self, deployment: Deployment, *, limits: Limits) -> None:
        self._deployment = deployment
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        arrived_ms = scope.get("state", {}).get(ARRIVED_MS)
        stopwatch = self._deployment.stopwatch(started_ms=arrived_ms)
        head = read_head(scope, is_upgrade=False)
        is_read = not announces_body(head)
        try:
            try:
                request = await self._read(head, receive)
                is_read = True
            except ImplError as refusal:
                response = await self._deployment.serve_http(head, stopwatch, refusal=refusal)
            else:
                response = await self._deployment.serve_http(request, stopwatch)
        except Exception:  # noqa: BLE001  # the outermost handler: a defect goes to the operator's log, not to the client
            traceback.print_exc(file=sys.stderr)
            response = error_response(ImplError("a defect of the deployment; see its log"))
        if not is_read:
            # The next request would begin after a body that is not read.
            response.headers["connection"] = "close"
        await _send(send, response)
        if head.path not in UNPACED:
            self._deployment.departed(stopwatch)

    async def _read(self, head: Request, receive: Receive) -> Request:
        """Admit *head* and read the body."""
        if "content-length" in head.headers and "transfer-encoding" in head.headers:
            raise RequestError(400, "two_lengths", "content-length and transfer-encoding are both there; send one")
        bytes_max = self._deployment.admit(head)
        if not announces_body(head):
            return head
        return replace(head, body=await read_body(receive, bytes_max=bytes_max, limits=self._limits))


def announces_body(head: Request) -> bool:
    """Whether a body follows the head."""
    return "transfer-encoding" in head.headers or head.headers.get("content-length", "0").strip("0") != ""


async def read_body(receive: Receive, *, bytes_max: int, limits: Limits) -> bytes:
    """Read the body of a request.

    Raises
    ------
    RequestError
        413, if it has more than *bytes_max* bytes; 408, if it stalls; 400, if the client disconnects.
    """
    body = Body(bytes_max)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as timeout:
            watch = Watch(
                rest_s=limits.rest_s,
                bytes_per_s=limits.bytes_per_s,
                moved_bytes=lambda: body.size_bytes,
                on_stall=lambda: timeout.reschedule(loop.time()),
            )
            watch.start()
            try:
                return await body.read(receive)
            finally:
                watch.stop()
    except TimeoutError:
        rule = f"must not rest for {limits.rest_s:g} s, nor be slower than {limits.bytes_per_s:g} bytes/s"
        raise RequestError(408, "slow_body", f"the body stopped after {body.size_bytes} bytes; it {rule}") from None


class Body:
    """The body of one request while it arrives.

    Parameters
    ----------
    bytes_max
        Largest length.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._parts: list[bytes] = []
        self.size_bytes = 0

    async def read(self, receive: Receive) -> bytes:
        """Read to the end and return the whole body."""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RequestError(400, "disconnected", "the client went away")
            part = message.get("body", b"")
            self._parts.append(part)
            self.size_bytes += len(part)
            if self.size_bytes > self._bytes_max:
                rule = f"at most {self._bytes_max} here"
                raise RequestError(413, "body_too_large", f"a body of {self.size_bytes} bytes or more; {rule}")
            if not message.get("more_body"):
                return b"".join(self._parts)


async def _send(send: Send, response: Response) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers.items()]
    if "content-length" not in response.headers and response.status not in WITHOUT_BODY:
        headers.insert(0, (b"content-length", str(len(response.body)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


def http_config(deployment: Deployment, *, limits: Limits) -> uvicorn.Config:
    """Return the uvicorn configuration that serves *deployment*."""
    # uvicorn's types know only its own protocols.
    return uvicorn.Config(
        HttpApp(deployment, limits=limits),
        http=partial(ArrivalProtocol, limits=limits),  # type: ignore[arg-type]  # see above
        ws=partial(SocketProtocol, deployment=deployment, limits=limits),  # type: ignore[arg-type]  # see above
        log_level="error",
        access_log=False,
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
