"""WebSockets: from uvicorn's upgraded connections to the deployment's sockets and back.

uvicorn hands a connection that asks for an upgrade to this protocol, opening request and all. The
deployment answers that request like any other; if it answers 101, frames follow.
"""

import asyncio
import re
import sys
import traceback
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from uvicorn.config import Config
from uvicorn.server import ServerState

from reference_impl.deployment import Deployment
from reference_impl.durable_objects.sockets import ABNORMAL_CLOSURE, SERVICE_RESTART
from reference_impl.errors import ImplError, RequestError
from reference_impl.messages import Pair, Request, Response, Sent, error_response, read_query
from reference_impl.server.websocket import Closed, Frames, accept_key

HEAD_BYTES_MAX = 65_536
VERSION = "13"
KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
"""16 bytes in base64."""
INTERNAL_ERROR = 1011
BACKLOG_BYTES_MAX = 4 * 1_024 * 1_024
"""What may wait for a listener that does not read; one that falls further behind is cut off."""
QUEUED_MAX = 256
"""Messages of one client that may wait for the object; then nothing more is read."""


class SocketProtocol(asyncio.Protocol):
    """One upgraded connection.

    Parameters
    ----------
    config, server_state, app_state
        As uvicorn gives them.
    deployment
        Answers the opening request.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        deployment: Deployment,
    ) -> None:
        self._connections = server_state.connections
        self._deployment = deployment
        self._head = bytearray()
        self._early = b""
        self._frames: Frames | None = None
        self._pair: Pair | None = None
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self._transport: asyncio.Transport

    # --- asyncio ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        assert isinstance(transport, asyncio.Transport), "a TCP connection"
        self._transport = transport
        # uvicorn counts whom it must wait for at its end; its type knows only its own protocols.
        self._connections.add(self)  # type: ignore[arg-type]  # see above

    def data_received(self, data: bytes) -> None:
        """Take bytes: the opening request first, frames after it."""
        if self._frames is not None:
            self._take(self._frames.receive(data))
            return
        if self._head.endswith(b"\r\n\r\n"):
            # Frames that come before the answer wait for it.
            self._early += data
            return
        self._head += data
        if b"\r\n\r\n" in self._head:
            head, _, self._early = bytes(self._head).partition(b"\r\n\r\n")
            self._head = bytearray(head + b"\r\n\r\n")
            self._deployment.clock.spawn(self._open(head))
        elif len(self._head) > HEAD_BYTES_MAX:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the object that the client is gone."""
        self._connections.discard(self)
        if self._pair is not None:
            self._queue.put_nowait(Closed(ABNORMAL_CLOSURE))

    def eof_received(self) -> None:
        """Close, as the client did."""

    def shutdown(self) -> None:
        """End with the server: the client is to connect again."""
        if self._frames is not None:
            self._frames.close(SERVICE_RESTART, "the server restarts")
            self._flush()
        self._transport.close()

    # --- opening ------------------------------------------------------------------------------

    async def _open(self, head: bytes) -> None:
        try:
            request = read_upgrade(head)
            response = await self._deployment.serve_http(request, self._deployment.stopwatch())
        except ImplError as error:
            response = error_response(error)
        except Exception:  # noqa: BLE001  # the last door, as in reference_impl.server.http
            traceback.print_exc(file=sys.stderr)
            response = error_response(ImplError("a defect of the deployment; see its log"))
        if response.status != HTTPStatus.SWITCHING_PROTOCOLS or response.web_socket is None:
            self._refuse(response)
            return
        accepted = [
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-accept", accept_key(request.headers["sec-websocket-key"])),
        ]
        self._write_head(response.status, accepted)
        self._frames = Frames()
        self._pair = response.web_socket
        self._pair.attach(self._give)
        self._deployment.clock.spawn(self._bring_all(self._pair))
        self._take(self._frames.receive(self._early))

    def _refuse(self, response: Response) -> None:
        headers = [("content-length", str(len(response.body))), ("connection", "close"), *response.headers.items()]
        self._write_head(response.status, headers)
        self._transport.write(response.body)
        self._transport.close()

    def _write_head(self, status: int, headers: list[tuple[str, str]]) -> None:
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers)]
        self._transport.write("\r\n".join([*lines, "", ""]).encode("latin-1"))

    # --- frames -------------------------------------------------------------------------------

    def _take(self, received: list[Any]) -> None:
        for message in received:
            self._queue.put_nowait(message)
        self._flush()
        if self._queue.qsize() > QUEUED_MAX:
            self._transport.pause_reading()

    async def _bring_all(self, pair: Pair) -> None:
        """Bring the client's messages to the object, one after the other, until its end."""
        while True:
            message = await self._queue.get()
            if self._queue.qsize() == QUEUED_MAX // 2:
                self._transport.resume_reading()
            try:
                if isinstance(message, Closed):
                    await pair.hang_up(message.close_code, message.reason)
                    break
                await pair.bring(message)
            except ImplError as error:
                # The object could not take it; the client connects again and asks for what it missed.
                self._end(SERVICE_RESTART, str(error))
            except Exception:  # noqa: BLE001  # the last door, as above
                traceback.print_exc(file=sys.stderr)
                self._end(INTERNAL_ERROR, "a defect of the deployment; see its log")
        self._transport.close()

    def _give(self, sent: Sent) -> None:
        if self._frames is None or self._transport.is_closing():
            return
        if sent.close_code is None:
            self._frames.send(sent.message)
            self._flush()
        else:
            self._end(sent.close_code, sent.reason)
        if self._transport.get_write_buffer_size() > BACKLOG_BYTES_MAX:
            self._transport.abort()

    def _end(self, code: int, reason: str) -> None:
        assert self._frames is not None, "only an open connection ends"
        self._frames.close(code, reason)
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        assert self._frames is not None, "only an open connection sends frames"
        data = self._frames.to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)


def read_upgrade(head: bytes) -> Request:
    """Read the opening request.

    Raises
    ------
    RequestError
        400, if it is none that a WebSocket can be opened with.
    """
    request_line, *lines = head.decode("latin-1").split("\r\n")
    method, _, rest = request_line.partition(" ")
    path, _, query = rest.rpartition(" ")[0].partition("?")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    if headers.get("sec-websocket-version") != VERSION or not KEY.fullmatch(headers.get("sec-websocket-key", "")):
        raise RequestError(400, "bad_handshake", f"a WebSocket opens with version {VERSION} and a key of 16 bytes")
    return Request(method, unquote(path), read_query(query), headers)
