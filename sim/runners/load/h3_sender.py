"""The HTTP/3 client of the load driver: a few QUIC connections, one stream for each request.

The same messages as over HTTP/1.1, and the same plainness: no cookies, no redirects, no retries but the scenario's,
bodies of answers are counted and discarded. A request goes to the connection with the fewest requests under way; a
connection that has ended is opened anew by the next request, which then waits for the handshake.

Sources
-------
RFC 9114 (HTTP/3), RFC 9000 (streams that a peer does not allow yet wait in the connection).
"""

import asyncio
import os
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamReset

from sim.runners.load.messages import HEALTH, THROTTLING, Answer, Message, retry_after_s, upload_parts

CONNECTIONS = 8
"""Unless fewer are asked for: a connection carries a hundred requests at a time, as a server allows by default."""

HANDSHAKE_S = 10.0

CANCELLED = 0x10C
"""Error code of a request that nobody waits for any more (H3_REQUEST_CANCELLED)."""

AUTHORITIES = "SSL_CERT_FILE"
"""Environment variable with the file of trusted authorities, as HTTP/1.1's TLS reads it; else those of certifi."""


@dataclass
class Waiting:
    """An answer that is being received."""

    ended: asyncio.Future[Answer]
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body_bytes: int = 0

    def take(self, event: H3Event) -> None:
        """Take a part of the answer."""
        if isinstance(event, HeadersReceived) and not _is_interim(event):
            self.headers = self.headers or dict(event.headers)  # Trailers are no status.
        elif isinstance(event, DataReceived):
            self.body_bytes += len(event.data)

    def end(self) -> None:
        """Set the answer, which is whole."""
        if self.ended.done():
            return
        try:
            status = int(self.headers[b":status"])
        except (KeyError, ValueError):
            self.ended.set_exception(ConnectionError("the answer is no HTTP/3: it has no status"))
            return
        asked = self.headers.get(b"retry-after", b"").decode("latin-1") if status in THROTTLING else ""
        pause_s = retry_after_s(asked, now_s=time.time()) if asked else 0.0
        timing = self.headers.get(b"server-timing", b"").decode("latin-1")
        self.ended.set_result(Answer(status, timing, self.body_bytes, pause_s))


def _is_interim(event: HeadersReceived) -> bool:
    return dict(event.headers).get(b":status", b"").startswith(b"1")


class H3Protocol(QuicConnectionProtocol):
    """One connection: requests and their answers, by stream."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.waiting: dict[int, Waiting] = {}
        self.closed_because: str | None = None

    def quic_event_received(self, event: QuicEvent) -> None:
        """Dispatch an event of the connection."""
        if isinstance(event, ConnectionTerminated):
            self.closed_because = event.reason_phrase or f"connection closed with code {event.error_code}"
            for stream in list(self.waiting):
                self._fail(stream, self.closed_because)
        elif isinstance(event, StreamReset):
            self._fail(event.stream_id, f"stream reset with code {event.error_code}")
        for part in self.http.handle_event(event):
            if isinstance(part, HeadersReceived | DataReceived) and part.stream_id in self.waiting:
                waiting = self.waiting[part.stream_id]
                waiting.take(part)
                if part.stream_ended:
                    waiting.end()

    async def ask(self, headers: list[tuple[bytes, bytes]], body: "list[memoryview | bytes]") -> Answer:
        """Send a request on a new stream and wait for the whole answer.

        Raises
        ------
        ConnectionError
            Stream or connection ended first, or the answer has no status.
        """
        if self.closed_because is not None:
            raise ConnectionError(self.closed_because)
        stream = self._quic.get_next_available_stream_id()
        waiting = self.waiting[stream] = Waiting(self._loop.create_future())
        self.http.send_headers(stream, headers, end_stream=not body)
        for number, part in enumerate(body, start=1):
            self.http.send_data(stream, bytes(part), end_stream=number == len(body))
        self.transmit()
        try:
            return await waiting.ended
        finally:
            del self.waiting[stream]
            if waiting.ended.cancelled() and self.closed_because is None:
                self._quic.stop_stream(stream, CANCELLED)
                self.transmit()

    def _fail(self, stream: int, reason: str) -> None:
        waiting = self.waiting.get(stream)
        if waiting is not None and not waiting.ended.done():
            waiting.ended.set_exception(ConnectionError(reason))


class Line:
    """One of the connections, opened when it is needed."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.under_way = 0
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._protocol: H3Protocol | None = None

    async def opened(self) -> H3Protocol:
        """Return the open connection.

        Raises
        ------
        ConnectionError, TimeoutError
            The server cannot be reached, or its certificate does not fit.
        """
        async with self._opening:
            if self._protocol is None or self._protocol.closed_because is not None:
                await self.close()
                self._protocol = await self._connect()
            return self._protocol

    async def close(self) -> None:
        """Close the connection."""
        self._protocol = None
        await self._stack.aclose()

    async def _connect(self) -> H3Protocol:
        configuration = QuicConfiguration(alpn_protocols=H3_ALPN, is_client=True, server_name=self.host)
        authorities = os.environ.get(AUTHORITIES)
        if authorities:
            configuration.load_verify_locations(authorities)
        made: list[H3Protocol] = []

        def create(*args: Any, **kwargs: Any) -> H3Protocol:
            made.append(H3Protocol(*args, **kwargs))
            return made[0]

        try:
            async with asyncio.timeout(HANDSHAKE_S):
                connecting = connect(self.host, self.port, configuration=configuration, create_protocol=create)
                await self._stack.enter_async_context(connecting)
        except ConnectionError:
            # The protocol knows why, aioquic's exception does not.
            said = made[0].closed_because if made else None
            raise ConnectionError(said or "the handshake failed") from None
        return made[0]


class H3Sender:
    """Sends messages to *base_url* over HTTP/3.

    Parameters
    ----------
    base_url : str
        ``https://HOST:PORT``.
    connections_max : int
        Connections at a time; at most :data:`CONNECTIONS`.
    block : memoryview
        Bytes that uploads repeat.
    headers : mapping of str to str
        Sent with every request; they may hold secrets.
    keep_alive : bool
        Whether a connection serves several requests.
    """

    def __init__(
        self,
        base_url: str,
        *,
        connections_max: int,
        block: memoryview,
        headers: Mapping[str, str],
        keep_alive: bool = True,
    ) -> None:
        parts = urlsplit(base_url)
        self.host, self.port = parts.hostname or "", parts.port or 443
        self.prefix = parts.path
        self.block = block
        self.keep_alive = keep_alive
        self.lines = [Line(self.host, self.port) for _ in range(min(connections_max, CONNECTIONS))]
        plain = {"user-agent": "headroom", "accept-encoding": "identity", **headers}
        self._headers = [(name.lower().encode(), value.encode()) for name, value in plain.items()]
        self._authority = parts.netloc.encode()

    async def open(self, *, warm_connections: int) -> None:
        """Open *warm_connections* connections, as far as there are so many.

        Raises
        ------
        ConnectionError, TimeoutError
            The server cannot be reached, or its certificate does not fit.
        """
        if warm_connections:
            await self.send(HEALTH)  # First, and alone: what keeps one from being opened keeps all.
        if self.keep_alive:
            await asyncio.gather(*(line.opened() for line in self.lines[:warm_connections]))

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(line.close() for line in self.lines), return_exceptions=True)

    async def send(self, message: Message) -> Answer:
        """Send one message and read its whole answer.

        Raises
        ------
        ConnectionError, TimeoutError
            The connection failed, or the answer is no HTTP/3.
        """
        if not self.keep_alive:
            line = Line(self.host, self.port)
            try:
                return await self._ask(line, message)
            finally:
                await line.close()
        line = min(self.lines, key=lambda one: one.under_way)
        return await self._ask(line, message)

    async def _ask(self, line: Line, message: Message) -> Answer:
        line.under_way += 1
        try:
            protocol = await line.opened()
            return await protocol.ask(self._head(message), self._body(message))
        finally:
            line.under_way -= 1

    def _head(self, message: Message) -> list[tuple[bytes, bytes]]:
        own = {name.lower(): value for name, value in message.headers.items()}
        if message.upload_bytes:
            own |= {"content-length": str(message.upload_bytes), "content-type": "application/octet-stream"}
        elif message.body:
            own |= {"content-length": str(len(message.body)), "content-type": "application/json"}
        return [
            (b":method", message.method.encode()),
            (b":scheme", b"https"),
            (b":authority", self._authority),
            (b":path", (self.prefix + message.path).encode()),
            *self._headers,
            *((name.encode(), value.encode()) for name, value in own.items()),
        ]

    def _body(self, message: Message) -> "list[memoryview | bytes]":
        if message.upload_bytes:
            return list(upload_parts(self.block, size_bytes=message.upload_bytes))
        return [message.body] if message.body else []
