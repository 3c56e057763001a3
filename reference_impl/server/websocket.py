"""The server's end of a WebSocket connection after its handshake, without a socket: bytes in, messages out and back.

wsproto reads and writes the frames. This module adds what the platform needs: whole messages, a length limit that is
checked before the message arrives, and one :class:`Closed` for every way in which a connection ends. No extension is
negotiated, so messages are not compressed.

Sources
-------
RFC 6455: 1.3 (opening handshake), 5 (frames), 7.4 (close codes), 8.1 (text is UTF-8). Limit: Durable Objects, received
messages of 32 MiB.
"""

from dataclasses import dataclass

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits
from wsproto.utilities import generate_accept_token

from reference_impl.durable_objects.sockets import MESSAGE_BYTES_MAX
from reference_impl.messages import Message

DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION)


@dataclass(frozen=True)
class Closed:
    """The end of a connection: the client's close frame, or the rule that it broke."""

    close_code: int
    reason: str = ""


class MessageLimit(Extension):
    """A limit on the length of a message, checked against the length in each frame's head.

    It is written as an extension, which is wsproto's hook into incoming frames; it is never offered to the client.

    Parameters
    ----------
    message_bytes_max
        Length of the longest message.
    """

    name = "headroom-message-limit"

    def __init__(self, message_bytes_max: int) -> None:
        self._message_bytes_max = message_bytes_max
        self._received_bytes = 0
        self._is_data = False

    def enabled(self) -> bool:
        """Whether wsproto calls it: always."""
        return True

    def offer(self) -> bool:
        """Whether it is offered to the client: never."""
        return False

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        """Check the announced length; wsproto calls this again for a head that arrives in pieces."""
        self._is_data = opcode in DATA
        if self._is_data:
            if opcode is not Opcode.CONTINUATION:
                self._received_bytes = 0
            if self._received_bytes + payload_length > self._message_bytes_max:
                return CloseReason.MESSAGE_TOO_BIG
        return RsvBits(False, False, False)  # noqa: FBT003  # wsproto's tuple

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes:
        """Count the bytes received of the message."""
        if self._is_data:
            self._received_bytes += len(data)
        return data


class WebSocket:
    """The server's end of one connection.

    Parameters
    ----------
    message_bytes_max
        Length of the longest message; a longer one ends the connection with code 1009.
    """

    def __init__(self, *, message_bytes_max: int = MESSAGE_BYTES_MAX) -> None:
        self._message_bytes_max = message_bytes_max
        self._connection = Connection(ConnectionType.SERVER, [MessageLimit(message_bytes_max)])
        self._to_send = bytearray()
        self._text_parts: list[str] = []
        self._bytes_parts: list[bytes | bytearray] = []
        self._is_in_message = False
        self.received_bytes = 0
        """Bytes received in total, as a measure of progress."""
        self.is_over = False
        """Whether the client has closed or broken a rule; nothing more is read."""

    @property
    def is_open(self) -> bool:
        """Whether messages can still be sent."""
        return not self.is_over and self._connection.state is ConnectionState.OPEN

    @property
    def is_in_message(self) -> bool:
        """Whether a message has begun to arrive and has not ended."""
        return self._is_in_message and not self.is_over

    def receive(self, data: bytes) -> list[Message | Closed]:
        """Process bytes from the client; return complete messages, and the end if it was among them."""
        if self.is_over:
            return []
        self.received_bytes += len(data)
        self._connection.receive_data(data)
        found: list[Message | Closed] = []
        for event in self._connection.events():
            if isinstance(event, CloseConnection):
                found.append(self._end(event))
                break
            if not self.is_open:
                # RFC 6455, 1.4: after sending a close frame, further data may be discarded.
                continue
            if isinstance(event, Ping):
                self._send(event.response())
            elif isinstance(event, TextMessage | BytesMessage):
                found += self._gather(event)
        return found

    def send(self, message: Message) -> None:
        """Send one message in one frame; do nothing once the connection is closing."""
        if self.is_open:
            self._send(TextMessage(message) if isinstance(message, str) else BytesMessage(message))

    def close(self, code: int, reason: str = "") -> None:
        """Send the close frame, once; a long *reason* is truncated."""
        if self.is_open:
            self._send(CloseConnection(code, reason))

    def to_send(self) -> bytes:
        """Return and forget the bytes to be sent."""
        data = bytes(self._to_send)
        self._to_send.clear()
        return data

    def _send(self, event: Event) -> None:
        self._to_send += self._connection.send(event)

    def _gather(self, event: TextMessage | BytesMessage) -> list[Message]:
        # A client may send any number of empty fragments.
        if event.data and isinstance(event, TextMessage):
            self._text_parts.append(event.data)
        elif event.data and isinstance(event, BytesMessage):
            self._bytes_parts.append(event.data)
        self._is_in_message = not event.message_finished
        if self._is_in_message:
            return []
        text, content = "".join(self._text_parts), b"".join(self._bytes_parts)
        self._text_parts, self._bytes_parts = [], []
        return [text if isinstance(event, TextMessage) else content]

    def _end(self, event: CloseConnection) -> Closed:
        self._text_parts, self._bytes_parts = [], []
        state, reason = self._connection.state, event.reason or ""
        if state is ConnectionState.REMOTE_CLOSING:
            self._send(CloseConnection(event.code))
        elif state is ConnectionState.OPEN:
            # wsproto reports a broken rule as a close, too.
            if event.code == CloseReason.MESSAGE_TOO_BIG:
                reason = f"a message of more than {self._message_bytes_max} bytes"
            self._send(CloseConnection(event.code, reason))
        self.is_over = True
        return Closed(int(event.code), reason)


def accept_key(key: str) -> str:
    """Return the ``Sec-WebSocket-Accept`` for the key of an opening handshake."""
    return generate_accept_token(key.encode()).decode()
