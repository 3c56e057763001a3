"""HTTP/1.1 connections: uvicorn's protocol with time limits and an orderly close.

uvicorn parses requests (with h11), runs the application and keeps connections open between requests. This module adds
time limits on request heads and on responses (:mod:`reference_impl.server.stalls`), a lingering close so that a client
which is refused while it still sends can read the response, error responses in JSON, and the hand-over of a parsed
request head to the WebSocket protocol.
"""

import asyncio
import contextlib
import fcntl
import resource
import struct
import termios
from collections.abc import MutableMapping
from http import HTTPStatus
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from reference_impl.errors import RequestError
from reference_impl.messages import Request, error_response, read_query
from reference_impl.server.stalls import Farewell, Limits, Watch

Scope = MutableMapping[str, Any]

ARRIVED_MS = "arrived_ms"
BAD_HTTP_HEADERS = "content-type: application/json\r\nconnection: close\r\n"
DESCRIPTORS_WANTED = 65_536
"""Enough for tens of thousands of idle clients besides the SQLite files of the objects."""
UNREAD = (h11.SEND_BODY, h11.ERROR)
"""Client states in which part of the request may still be on its way."""


class ClosingTransport:
    """A transport whose ``close()`` is decided by the protocol.

    uvicorn closes the connection right after the last response. If the client is still sending, the kernel answers with
    a reset, and the client never sees that response.

    Parameters
    ----------
    transport
        The transport of asyncio.
    protocol
        The protocol that closes it.
    """

    def __init__(self, transport: asyncio.Transport, protocol: "ArrivalProtocol") -> None:
        self._transport = transport
        self._protocol = protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        """Close through the protocol."""
        self._protocol.hang_up()

    def is_closing(self) -> bool:
        """Whether it is closed or closing."""
        return self._protocol.is_hanging_up or self._transport.is_closing()


class ArrivalProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol with arrival times, time limits and a lingering close.

    Parameters
    ----------
    *arguments, **options
        As uvicorn passes them.
    limits
        Time limits of the connection.
    """

    def __init__(self, *arguments: Any, limits: Limits, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.timeout_keep_alive: Any = limits.keep_alive_s
        self._limits = limits
        self._socket: asyncio.Transport
        self._farewell: Farewell | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._answer = Watch(
            rest_s=limits.rest_s,
            bytes_per_s=limits.bytes_per_s,
            moved_bytes=lambda: -unsent_bytes(self._socket),
            on_stall=self._answer_stalled,
        )

    @property
    def is_hanging_up(self) -> bool:
        """Whether the response is complete and only what the client still sends is discarded."""
        return self._farewell is not None

    # --- asyncio ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Start the keep-alive timer, so that a client which never sends anything is closed too."""
        self._socket = transport
        super().connection_made(cast("asyncio.Transport", ClosingTransport(transport, self)))
        self._close_when_idle()

    def data_received(self, data: bytes) -> None:
        """Note the arrival time, parse, and watch a head that is incomplete."""
        self.app_state[ARRIVED_MS] = self.loop.time() * 1_000
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        self._answer.stop()
        self._stop_head_timer()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def pause_writing(self) -> None:
        """Start to watch whether the client reads its response."""
        super().pause_writing()
        self._answer.start()

    def resume_writing(self) -> None:
        """Stop watching, unless the connection is closing and the rest must still leave."""
        super().resume_writing()
        if not self._socket.is_closing():
            self._answer.stop()

    # --- uvicorn ------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """Continue with the next request, part of which may have arrived already."""
        super().on_response_complete()
        self._watch_head()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; one that is still sending its response is not idle."""
        if self._socket.get_write_buffer_size():
            self._answer.start()
            self._close_when_idle()
        else:
            super().timeout_keep_alive_handler()

    def shutdown(self) -> None:
        """Close because the server stops."""
        if self._farewell is None:
            super().shutdown()
        else:
            self._farewell.cut()

    def send_400_response(self, msg: str) -> None:
        """Answer malformed HTTP with 400 in JSON, like every other error, and close."""
        self._refuse(RequestError(400, "bad_http", msg))

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the connection over to the WebSocket protocol, with the parsed head and any bytes after it."""
        self.connections.discard(self)
        factory: Any = self.ws_protocol_class
        protocol = factory(self.config, self.server_state, self.app_state)
        protocol.connection_made(self._socket)
        self._socket.set_protocol(protocol)
        protocol.open(read_head(dict(self.scope), is_upgrade=True), self.conn.trailing_data[0])

    # --- the end ------------------------------------------------------------------------------

    def hang_up(self) -> None:
        """Close the connection, lingering if the client is in the middle of a request."""
        if self.is_hanging_up or self._socket.is_closing():
            return
        self._stop_head_timer()
        self._unset_keepalive_if_required()
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            # Wake the application, which waits for a body that will not be read.
            cycle.disconnected = True
            cycle.message_event.set()
        if self.conn.their_state in UNREAD or self.conn.trailing_data[0]:
            self._farewell = Farewell(self._socket, self, limits=self._limits)
        else:
            self._socket.close()
            if self._socket.get_write_buffer_size():
                self._answer.start()

    def _refuse(self, error: RequestError) -> None:
        # None before the first request, which uvicorn's annotation leaves out.
        cycle: Any = self.cycle
        # In the middle of a response no other response can be sent.
        if cycle is None or cycle.response_complete or not cycle.response_started:
            body = error_response(error).body
            reason = HTTPStatus(error.status).phrase
            head = f"HTTP/1.1 {error.status} {reason}\r\n{BAD_HTTP_HEADERS}content-length: {len(body)}\r\n\r\n"
            self._socket.write(head.encode() + body)
        self.hang_up()

    def _answer_stalled(self) -> None:
        # A response that has left completely makes no progress either.
        if self._socket.get_write_buffer_size():
            self._socket.abort()

    def _close_when_idle(self) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(self._limits.keep_alive_s, self.timeout_keep_alive_handler)

    # --- the head -----------------------------------------------------------------------------

    def _watch_head(self) -> None:
        is_partial = (
            self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0]) and not self.transport.is_closing()
        )
        if not is_partial:
            self._stop_head_timer()
        elif self._head_timer is None:
            # uvicorn has just started the keep-alive timer, but this connection is not idle.
            self._unset_keepalive_if_required()
            self._head_timer = self.loop.call_later(self._limits.head_s, self._refuse_head)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse_head(self) -> None:
        self._head_timer = None
        rule = f"must end within {self._limits.head_s:g} s of its first byte; send it at once"
        self._refuse(RequestError(408, "slow_head", f"the head of a request {rule}"))


def read_head(scope: Scope, *, is_upgrade: bool) -> Request:
    """Return the head of a request from its ASGI scope, without a body; repeated headers are joined with commas.

    Unless *is_upgrade*, the connection cannot change its protocol any more, so an ``upgrade`` header is dropped (RFC
    9110, 7.8: a server may ignore it).
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if is_upgrade or name != "upgrade":
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Request(scope["method"], scope["path"], read_query(scope["query_string"].decode("latin-1")), headers)


def unsent_bytes(transport: asyncio.Transport) -> int:
    """Return how many of the bytes written the client has not acknowledged.

    The kernel takes some megabytes at once and then nothing until a third of them has left, so with a slow client the
    buffer of the process alone does not shrink for minutes. Where the kernel cannot be asked, it has to suffice.
    """
    queued = 0
    with contextlib.suppress(OSError, ValueError):
        socket = transport.get_extra_info("socket")
        (queued,) = struct.unpack("i", fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4)))
    return transport.get_write_buffer_size() + queued


def raise_descriptor_limit() -> None:
    """Raise the limit on open files to what the system allows, at most :data:`DESCRIPTORS_WANTED`.

    A process often starts with 1,024, which a thousand idle clients use up.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    granted = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_WANTED)
    if soft != resource.RLIM_INFINITY and soft < granted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
