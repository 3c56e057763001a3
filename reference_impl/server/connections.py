"""HTTP/1.1 connections: uvicorn's protocol, with an end to every wait for a client.

uvicorn parses (with h11), runs the application and keeps connections open between requests. Added here: limits on the
time of a head and of an answer (:mod:`reference_impl.server.stalls`), answers that a refused client gets to see,
refusals in JSON, and the head that uvicorn has parsed for a WebSocket instead of its text.
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
"""Enough for tens of thousands of idle clients beside the databases of the objects."""
UNREAD = (h11.SEND_BODY, h11.ERROR)
"""States of a client that is in the middle of a request."""


class ClosingTransport:
    """A transport that lets its protocol decide how to close it.

    uvicorn closes a connection right behind the last answer. With a client that still sends, that destroys the answer.

    Parameters
    ----------
    transport
        asyncio's own.
    protocol
        Closes it.
    """

    def __init__(self, transport: asyncio.Transport, protocol: "ArrivalProtocol") -> None:
        self._transport = transport
        self._protocol = protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        """Let the protocol close it."""
        self._protocol.hang_up()

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._protocol.is_hanging_up or self._transport.is_closing()


class ArrivalProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 that notes when the bytes of a request arrived, and waits for no client without end.

    Parameters
    ----------
    *arguments, **options
        As uvicorn gives them.
    limits
        How long clients may take.
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
        """Whether the connection is over but for a client that may still be sending."""
        return self._farewell is not None

    # --- asyncio ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take the connection; without a first byte it is closed like one without a next request."""
        self._socket = transport
        super().connection_made(cast("asyncio.Transport", ClosingTransport(transport, self)))
        self._close_when_idle()

    def data_received(self, data: bytes) -> None:
        """Take what arrived."""
        self.app_state[ARRIVED_MS] = self.loop.time() * 1_000
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all watching; nobody is there any more."""
        self._answer.stop()
        self._stop_head_timer()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def pause_writing(self) -> None:
        """Watch whether the client takes its answer."""
        super().pause_writing()
        self._answer.start()

    def resume_writing(self) -> None:
        """Watch no longer: little is left."""
        super().resume_writing()
        if not self._socket.is_closing():
            self._answer.stop()

    # --- uvicorn ------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """Go on with the next request, which may be here in part."""
        super().on_response_complete()
        self._watch_head()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; one whose answer is still leaving is not idle."""
        if self._socket.get_write_buffer_size():
            self._answer.start()
            self._close_when_idle()
        else:
            super().timeout_keep_alive_handler()

    def shutdown(self) -> None:
        """End with the server."""
        if self._farewell is None:
            super().shutdown()
        else:
            self._farewell.cut()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP in JSON, as everything is refused, and hang up."""
        self._refuse(RequestError(400, "bad_http", msg))

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the connection to the protocol for WebSockets, with the parsed head and what came behind it."""
        self.connections.discard(self)
        factory: Any = self.ws_protocol_class
        protocol = factory(self.config, self.server_state, self.app_state)
        protocol.connection_made(self._socket)
        self._socket.set_protocol(protocol)
        protocol.open(read_head(dict(self.scope), is_upgrade=True), self.conn.trailing_data[0])

    # --- the end ------------------------------------------------------------------------------

    def hang_up(self) -> None:
        """Close the connection; a client in the middle of a request gets to see the answer first."""
        if self.is_hanging_up or self._socket.is_closing():
            return
        self._stop_head_timer()
        self._unset_keepalive_if_required()
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            # The application waits for a body that nobody reads any more.
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
        # In the middle of an answer nothing else can be said.
        if cycle is None or cycle.response_complete or not cycle.response_started:
            body = error_response(error).body
            reason = HTTPStatus(error.status).phrase
            head = f"HTTP/1.1 {error.status} {reason}\r\n{BAD_HTTP_HEADERS}content-length: {len(body)}\r\n\r\n"
            self._socket.write(head.encode() + body)
        self.hang_up()

    def _answer_stalled(self) -> None:
        # An answer that has left does not move either.
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
            # An answer may just have begun the time of an idle connection, which this one is not.
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
    """Return the head of a request as ASGI tells it, without a body; several headers of one name become one list.

    Unless the connection *is_upgrade*, it cannot become another protocol any more, and an ``upgrade`` is not handed on
    (RFC 9110, 7.8: it may be ignored).
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if is_upgrade or name != "upgrade":
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Request(scope["method"], scope["path"], read_query(scope["query_string"].decode("latin-1")), headers)


def unsent_bytes(transport: asyncio.Transport) -> int:
    """Return how much of what was written the client has not received.

    The system takes some megabytes at once and then nothing until a good part of them has left, so the buffer of the
    process alone says little about a slow client. Where the system does not tell, it has to do.
    """
    queued = 0
    with contextlib.suppress(OSError, ValueError):
        socket = transport.get_extra_info("socket")
        (queued,) = struct.unpack("i", fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4)))
    return transport.get_write_buffer_size() + queued


def raise_descriptor_limit() -> None:
    """Let the process open as many files and sockets as the system grants it.

    The limit that a process is started with is often 1,024, which a thousand idle clients use up.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    granted = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_WANTED)
    if soft != resource.RLIM_INFINITY and soft < granted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
