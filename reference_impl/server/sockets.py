"""The WebSocket adapter: joins uvicorn's upgraded connections to the sockets of Durable Objects.

:mod:`reference_impl.server.connections` hands over a connection that asks for an upgrade, with the head of its opening
request. The deployment answers that request like any other; if it answers 101, messages follow.
"""

import asyncio
import contextlib
import re
import socket
import sys
import traceback
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from reference_impl.deployment import Deployment
from reference_impl.durable_objects.sockets import ABNORMAL_CLOSURE, MESSAGE_BYTES_MAX, SERVICE_RESTART
from reference_impl.errors import ImplError, RequestError
from reference_impl.messages import Message, Pair, Request, Response, Sent, error_response
from reference_impl.server.stalls import Farewell, Limits, Watch
from reference_impl.server.websocket import Closed, WebSocket, accept_key

VERSION = "13"
KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
"""16 bytes in base64."""
POLICY_VIOLATION = 1008
INTERNAL_ERROR = 1011
BACKLOG_BYTES_MAX = 4 * 1_024 * 1_024
"""Bytes that may wait for a client that does not read; beyond that the connection is aborted."""
QUEUED_MAX = 256
"""Messages of one client that may wait for the object; beyond that nothing is read."""
QUEUED_BYTES_MAX = MESSAGE_BYTES_MAX
"""The same in bytes (for text, characters): one message of the greatest length."""
EARLY_BYTES_MAX = 65_536
"""Bytes buffered before the opening request is answered; RFC 6455 forbids a client to send any."""
SHUTDOWN_S = 1.0
"""How long a client may take to close when the server stops; less than uvicorn waits for all of them."""
KEEP_ALIVE_OPTIONS = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
"""A client may be silent for days, so only TCP can find out whether it is still there: it probes after 60 s of silence
and gives up a minute later."""


class SocketProtocol(asyncio.Protocol):
    """One upgraded connection.

    Parameters
    ----------
    config, server_state, app_state
        As uvicorn passes them.
    deployment
        Answers the opening request.
    limits
        Time limits for messages and for closing.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        deployment: Deployment,
        limits: Limits,
    ) -> None:
        self._connections = server_state.connections
        self._deployment = deployment
        self._limits = limits
        self._early = b""
        self._messages: WebSocket | None = None
        self._pair: Pair | None = None
        self._queue: asyncio.Queue[Message | Closed] = asyncio.Queue()
        self._queued_bytes = 0
        self._farewell: Farewell | None = None
        self._end_timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport

    # --- asyncio ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        assert isinstance(transport, asyncio.Transport), "a TCP connection"
        self._transport = transport
        # uvicorn waits for these connections at shutdown; its annotation knows only its own protocols.
        self._connections.add(self)  # type: ignore[arg-type]  # see above

    def open(self, head: Request, early: bytes) -> None:
        """Answer the opening request *head*; *early* are the bytes that arrived after it."""
        self._early = early
        self._deployment.clock.spawn(self._open(head))

    def data_received(self, data: bytes) -> None:
        """Process bytes, or buffer them until the opening request is answered."""
        if self._messages is not None:
            self._take(data)
            return
        self._early += data
        if len(self._early) > EARLY_BYTES_MAX:
            self._transport.pause_reading()

    def connection_lost(self, error: Exception | None) -> None:
        """Notify the object that the client is gone."""
        self._connections.discard(self)
        self._stop_timers()
        if self._pair is not None:
            self._put(Closed(ABNORMAL_CLOSURE))

    def eof_received(self) -> None:
        """Let asyncio close this half too."""

    def shutdown(self) -> None:
        """Close because the server stops: the client is to reconnect."""
        if self._messages is None:
            self._transport.close()
            return
        self._messages.close(SERVICE_RESTART, "the server restarts")
        self._flush()
        self._leave()
        if self._farewell is not None:
            asyncio.get_running_loop().call_later(SHUTDOWN_S, self._farewell.cut)

    # --- opening ------------------------------------------------------------------------------

    async def _open(self, head: Request) -> None:
        refusal: ImplError | None = None
        try:
            self._deployment.admit(head)
            check_handshake(head)
        except ImplError as error:
            refusal = error
        try:
            response = await self._deployment.serve_http(head, self._deployment.stopwatch(), refusal=refusal)
        except Exception:  # noqa: BLE001  # as in reference_impl.server.http
            traceback.print_exc(file=sys.stderr)
            response = error_response(ImplError("a defect of the deployment; see its log"))
        if response.status == HTTPStatus.SWITCHING_PROTOCOLS and response.web_socket is not None:
            self._accept(head, response.web_socket)
        else:
            self._refuse(head, response)

    def _accept(self, head: Request, pair: Pair) -> None:
        accepted = {
            "upgrade": "websocket",
            "connection": "Upgrade",
            "sec-websocket-accept": accept_key(head.headers["sec-websocket-key"]),
        }
        if not self._transport.is_closing():
            ask_whether_alive(self._transport.get_extra_info("socket"))
        self._write(HTTPStatus.SWITCHING_PROTOCOLS, accepted)
        self._pair = pair
        self._messages = messages = WebSocket()
        self._stall = Watch(
            rest_s=self._limits.rest_s,
            bytes_per_s=self._limits.bytes_per_s,
            moved_bytes=lambda: messages.received_bytes,
            on_stall=lambda: self._end(POLICY_VIOLATION, "a message must not stop in the middle"),
        )
        pair.attach(self._give)
        self._deployment.clock.spawn(self._bring_all(pair))
        if self._transport.is_closing():
            # The client left before connection_lost() had a socket to report.
            self._put(Closed(ABNORMAL_CLOSURE))
        early, self._early = self._early, b""
        self._take(early)

    def _refuse(self, head: Request, response: Response) -> None:
        headers = {"content-length": str(len(response.body)), "connection": "close", **response.headers}
        self._write(response.status, headers, body=b"" if head.method == "HEAD" else response.body)
        self._leave()

    def _write(self, status: int, headers: dict[str, str], *, body: bytes = b"") -> None:
        named = (f"{name}: {value}" for name, value in headers.items())
        lines = [f"HTTP/1.1 {int(status)} {HTTPStatus(status).phrase}", *named, "", ""]
        if not self._transport.is_closing():
            self._transport.write("\r\n".join(lines).encode("latin-1") + body)

    # --- messages -----------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        assert self._messages is not None, "only an open connection takes messages"
        was_open = self._messages.is_open
        for message in self._messages.receive(data):
            self._put(message)
        self._flush()
        if self._messages.is_over and not was_open:
            # The client has answered our close frame.
            self._leave()
        else:
            self._read_on()

    def _read_on(self) -> None:
        """Read on unless the object is behind, and watch a message that is incomplete."""
        if self._queue.qsize() > QUEUED_MAX or self._queued_bytes > QUEUED_BYTES_MAX:
            self._transport.pause_reading()
            self._stall.stop()
            return
        self._transport.resume_reading()
        if self._messages is not None and self._messages.is_in_message:
            self._stall.start()
        else:
            self._stall.stop()

    def _put(self, message: Message | Closed) -> None:
        self._queue.put_nowait(message)
        self._queued_bytes += 0 if isinstance(message, Closed) else len(message)

    async def _bring_all(self, pair: Pair) -> None:
        """Deliver the client's messages to the object in order, then the end of the connection."""
        has_failed = False
        while not isinstance(message := await self._queue.get(), Closed):
            self._queued_bytes -= len(message)
            self._read_on()
            # Nothing is delivered after a gap: the client reconnects and asks for what it missed.
            has_failed = has_failed or not await self._delivered(pair.bring(message))
        await self._delivered(pair.hang_up(message.close_code, message.reason))
        self._leave()

    async def _delivered(self, delivery: Coroutine[Any, Any, None]) -> bool:
        """Whether the object has taken a message; if not, the connection ends."""
        try:
            await delivery
        except ImplError as error:
            self._end(SERVICE_RESTART, str(error))
            return False
        except Exception:  # noqa: BLE001  # as in _open()
            traceback.print_exc(file=sys.stderr)
            self._end(INTERNAL_ERROR, "a defect of the deployment; see its log")
            return False
        return True

    def _give(self, sent: Sent) -> None:
        if self._messages is None or self._transport.is_closing():
            return
        if sent.close_code is None:
            self._messages.send(sent.message)
            self._flush()
        else:
            self._end(sent.close_code, sent.reason)
        if self._transport.get_write_buffer_size() > BACKLOG_BYTES_MAX:
            self._transport.abort()

    # --- the end ------------------------------------------------------------------------------

    def _end(self, code: int, reason: str) -> None:
        """Send a close frame and wait for the client's, but not for long."""
        assert self._messages is not None, "only an open connection ends"
        self._messages.close(code, reason)
        self._flush()
        # The client's close frame may be behind messages that were not read yet.
        self._transport.resume_reading()
        if self._end_timer is None:
            self._end_timer = asyncio.get_running_loop().call_later(self._limits.linger_rest_s, self._leave)

    def _leave(self) -> None:
        self._stop_timers()
        if self._farewell is None and not self._transport.is_closing():
            self._farewell = Farewell(self._transport, self, limits=self._limits)

    def _stop_timers(self) -> None:
        if self._messages is not None:
            self._stall.stop()
        if self._end_timer is not None:
            self._end_timer.cancel()
            self._end_timer = None

    def _flush(self) -> None:
        assert self._messages is not None, "only an open connection sends messages"
        data = self._messages.to_send()
        if data and self._farewell is None and not self._transport.is_closing():
            self._transport.write(data)


def check_handshake(head: Request) -> None:
    """Check that *head* can open a WebSocket.

    Raises
    ------
    RequestError
        400, if the method, version or key is wrong, or the request has a body.
    """
    version, key = head.headers.get("sec-websocket-version"), head.headers.get("sec-websocket-key", "")
    if head.method != "GET" or version != VERSION or not KEY.fullmatch(key):
        rule = f"a WebSocket opens with a GET of version {VERSION} and a key of 16 bytes"
        raise RequestError(400, "bad_handshake", rule)
    if "transfer-encoding" in head.headers or head.headers.get("content-length", "0") != "0":
        raise RequestError(400, "bad_handshake", "a WebSocket opens with a request that has no body")


def ask_whether_alive(connection: socket.socket) -> None:
    """Enable TCP keep-alive, which detects that the other end has vanished."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEP_ALIVE_OPTIONS:
        # A system that lacks one uses its default.
        with contextlib.suppress(AttributeError):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
