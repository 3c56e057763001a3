"""The device's end of the tunnel: one QUIC connection with mutual TLS, one stream per request, and a heartbeat.

A request is a JSON object on a bidirectional stream that its sender ends; so is the answer. A heartbeat is a datagram
``ping``, answered by ``pong``.
"""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import (
    ConnectionTerminated,
    DatagramFrameReceived,
    QuicEvent,
    StreamDataReceived,
    StreamReset,
)

from sim.runners.load.address import TunnelAddress
from sim.runners.load.messages import HEALTH, Answer, Message

ALPN = "superinstance"
HEARTBEAT_S = 5.0
"""Heartbeat interval, far below the 30 s after which home routers drop a UDP mapping."""

ANSWER_BYTES_MAX = 2 * 2**20
"""Longest answer accepted: twice the tunnel's own response limit."""

HANDSHAKE_S = 10.0


class TunnelProtocol(QuicConnectionProtocol):
    """Collects the answers of one connection, stream by stream."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.waiting: dict[int, tuple[bytearray, asyncio.Future[bytes]]] = {}
        self.pongs = 0
        self.closed_because: str | None = None

    def quic_event_received(self, event: QuicEvent) -> None:
        """Dispatch an event of the connection."""
        if isinstance(event, StreamDataReceived):
            self._receive(event)
        elif isinstance(event, StreamReset):
            self._fail(event.stream_id, f"stream reset with code {event.error_code}")
        elif isinstance(event, DatagramFrameReceived):
            self.pongs += event.data == b"pong"
        elif isinstance(event, ConnectionTerminated):
            self.closed_because = event.reason_phrase or f"code {event.error_code}"
            for stream in list(self.waiting):
                self._fail(stream, self.closed_because)

    async def ask(self, request: bytes) -> bytes:
        """Send *request* on a new stream and wait for the whole answer.

        Raises
        ------
        ConnectionError
            Stream or connection ended first.
        """
        if self.closed_because is not None:
            raise ConnectionError(self.closed_because)
        stream = self._quic.get_next_available_stream_id()
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self.waiting[stream] = (bytearray(), answer)
        self._quic.send_stream_data(stream, request, end_stream=True)
        self.transmit()
        try:
            return await answer
        finally:
            self.waiting.pop(stream, None)

    def beat(self) -> None:
        """Send one heartbeat."""
        self._quic.send_datagram_frame(b"ping")
        self.transmit()

    def _receive(self, event: StreamDataReceived) -> None:
        entry = self.waiting.get(event.stream_id)
        if entry is None:  # Timed out already.
            return
        buffer, answer = entry
        buffer += event.data
        if len(buffer) > ANSWER_BYTES_MAX:
            self._fail(event.stream_id, f"answer is longer than {ANSWER_BYTES_MAX} bytes")
        elif event.end_stream and not answer.done():
            answer.set_result(bytes(buffer))

    def _fail(self, stream: int, reason: str) -> None:
        entry = self.waiting.pop(stream, None)
        if entry is not None and not entry[1].done():
            entry[1].set_exception(ConnectionError(reason))


class QuicSender:
    """Sends messages through the tunnel at *address*; opens a new connection when the old one has ended."""

    def __init__(self, address: TunnelAddress) -> None:
        self.address = address
        self.pings = 0
        self.pongs = 0
        self.reconnections = -1
        self._stack = AsyncExitStack()
        self._connecting = asyncio.Lock()
        self._protocol: TunnelProtocol | None = None
        self._heart: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect, make one request, and start the heartbeat.

        The client's handshake is complete before the server has verified the client's certificate; only an answer
        proves that it was accepted.

        Raises
        ------
        ConnectionError, TimeoutError
            The server cannot be reached, or one of the two certificates is rejected.
        """
        await self.send(HEALTH)
        self._heart = asyncio.create_task(self._beat())

    async def close(self) -> None:
        """Stop the heartbeat and close the connection."""
        if self._heart is not None:
            self._heart.cancel()
        await self._disconnect()

    def facts(self) -> dict[str, Any]:
        """Return the counts of heartbeats and connections, for ``Result.generator``."""
        return {
            "heartbeats": self.pings,
            "heartbeats_answered": self.pongs,
            "tunnel_reconnections": self.reconnections,
        }

    async def send(self, message: Message) -> Answer:
        """Send one message and wait for its answer.

        Raises
        ------
        ConnectionError, TimeoutError
            The tunnel is down, or its answer cannot be read.
        """
        protocol = await self._connected()
        request = {
            "method": message.method,
            "path": message.path,
            "headers": {"content-type": "application/json", **message.headers},
            "body": message.body.decode(),
        }
        raw = await protocol.ask(json.dumps(request, separators=(",", ":")).encode())
        return read_answer(raw)

    async def _connected(self) -> TunnelProtocol:
        async with self._connecting:
            if self._protocol is None or self._protocol.closed_because is not None:
                await self._disconnect()
                self._protocol = await self._connect()
                self.reconnections += 1
            return self._protocol

    async def _connect(self) -> TunnelProtocol:
        configuration = QuicConfiguration(
            alpn_protocols=[ALPN], is_client=True, max_datagram_frame_size=65536,
            server_name=self.address.server_name,
        )  # fmt: skip
        configuration.load_verify_locations(self.address.ca)
        configuration.load_cert_chain(self.address.cert, self.address.key)
        async with asyncio.timeout(HANDSHAKE_S):
            protocol = await self._stack.enter_async_context(
                connect(
                    self.address.host,
                    self.address.port,
                    configuration=configuration,
                    create_protocol=TunnelProtocol,
                )
            )
        assert isinstance(protocol, TunnelProtocol)
        return protocol

    async def _disconnect(self) -> None:
        if self._protocol is not None:
            self.pongs += self._protocol.pongs
            self._protocol = None
        await self._stack.aclose()

    async def _beat(self) -> None:
        while True:
            protocol = self._protocol
            if protocol is not None and protocol.closed_because is None:
                protocol.beat()
                self.pings += 1
            await asyncio.sleep(HEARTBEAT_S)


def read_answer(raw: bytes) -> Answer:
    """Parse the answer in a stream's bytes.

    Raises
    ------
    ConnectionError
        Not a JSON object with a status.
    """
    try:
        answer = json.loads(raw)
        headers = {str(name).lower(): value for name, value in (answer.get("headers") or {}).items()}
        return Answer(int(answer["status"]), str(headers.get("server-timing", "")), len(raw))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ConnectionError(f"tunnel answer {raw[:60]!r} must be JSON with a status") from None
