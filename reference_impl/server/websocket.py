"""WebSocket frames, server side: from bytes to messages and back, without a socket in sight.

Rules of this file:

1. Bytes come in at :meth:`Frames.receive`, whole messages and the end come out of it; what must be
   answered at once (pongs, the close frame) waits in :meth:`Frames.to_send`.
2. A client's frame is masked, a server's is not. Control frames are short and never in parts.
3. Whoever breaks a rule is told which by the close code, and nothing more is read.

Sources
-------
RFC 6455: 1.3 (opening handshake), 5.2 (frames), 5.4 (fragments), 5.5 (control frames), 7.4 (close codes),
8.1 (text is UTF-8).
"""

import base64
import hashlib
from dataclasses import dataclass

from reference_impl.durable_objects.sockets import MESSAGE_BYTES_MAX
from reference_impl.errors import PeerError
from reference_impl.messages import Message

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FINAL = 0x80
RESERVED = 0x70
MASKED = 0x80
CONTROL_BYTES_MAX = 125
LENGTH_16, LENGTH_64 = 126, 127

PROTOCOL_ERROR, INVALID_DATA, TOO_LARGE, NO_STATUS = 1002, 1007, 1009, 1005
CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})
PRIVATE_CLOSE_CODES = range(3_000, 5_000)


@dataclass(frozen=True)
class Closed:
    """The connection's end: what the client said, or why it was broken off."""

    close_code: int
    reason: str = ""


@dataclass(frozen=True)
class Frame:
    """One frame of a client, unmasked."""

    op_code: int
    is_final: bool
    payload: bytes


class BrokenRuleError(PeerError):
    """The client broke a rule of the protocol."""

    def __init__(self, close_code: int, reason: str) -> None:
        super().__init__(reason)
        self.close_code = close_code


class Frames:
    """One connection after its handshake.

    Parameters
    ----------
    message_bytes_max
        A longer message ends the connection with code 1009.
    """

    def __init__(self, *, message_bytes_max: int = MESSAGE_BYTES_MAX) -> None:
        self._message_bytes_max = message_bytes_max
        self._received = bytearray()
        self._to_send = bytearray()
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._opcode = 0
        self._has_sent_close = False
        self.is_over = False

    def receive(self, data: bytes) -> list[Message | Closed]:
        """Take bytes of the client; return whole messages, and the end if it came."""
        if self.is_over:
            return []
        self._received += data
        found: list[Message | Closed] = []
        try:
            while (frame := self._next_frame()) is not None:
                message = self._take(frame)
                if message is not None:
                    found.append(message)
                if isinstance(message, Closed):
                    break
        except BrokenRuleError as error:
            self.close(error.close_code, str(error))
            self.is_over = True
            found.append(Closed(error.close_code, str(error)))
        return found

    def send(self, message: Message) -> None:
        """Send one message, in one frame."""
        if self._has_sent_close:
            return
        if isinstance(message, str):
            self._to_send += encode(TEXT, message.encode())
        else:
            self._to_send += encode(BINARY, message)

    def close(self, code: int, reason: str = "") -> None:
        """Send the close frame, once."""
        if not self._has_sent_close:
            self._has_sent_close = True
            payload = code.to_bytes(2) + reason.encode()[: CONTROL_BYTES_MAX - 2] if code != NO_STATUS else b""
            self._to_send += encode(CLOSE, payload)

    def to_send(self) -> bytes:
        """Return the bytes that are to be sent now, and forget them."""
        data = bytes(self._to_send)
        self._to_send.clear()
        return data

    # --- frames ------------------------------------------------------------------------------

    def _next_frame(self) -> Frame | None:
        received = self._received
        if len(received) < 2:
            return None
        first, second = received[0], received[1]
        opcode, length, start = first & 0x0F, second & 0x7F, 2
        if length in (LENGTH_16, LENGTH_64):
            start += 2 if length == LENGTH_16 else 8
            if len(received) < start:
                return None
            length = int.from_bytes(received[2:start])
        self._check(first, second, length=length)
        end = start + 4 + length
        if len(received) < end:
            return None
        payload = unmask(bytes(received[start + 4 : end]), bytes(received[start : start + 4]))
        del received[:end]
        return Frame(opcode, bool(first & FINAL), payload)

    def _check(self, first: int, second: int, *, length: int) -> None:
        opcode = first & 0x0F
        if first & RESERVED or opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise BrokenRuleError(PROTOCOL_ERROR, f"a frame begins with {first:#x}")
        if not second & MASKED:
            raise BrokenRuleError(PROTOCOL_ERROR, "a client's frame must be masked")
        if opcode >= CLOSE:
            if length > CONTROL_BYTES_MAX or not first & FINAL:
                raise BrokenRuleError(PROTOCOL_ERROR, "a control frame is short and in one part")
        elif (opcode == CONTINUATION) != bool(self._opcode):
            raise BrokenRuleError(PROTOCOL_ERROR, "a message is continued that did not begin, or begins in another")
        if self._parts_bytes + length > self._message_bytes_max:
            raise BrokenRuleError(TOO_LARGE, f"a message of more than {self._message_bytes_max} bytes")

    def _take(self, frame: Frame) -> Message | Closed | None:
        if frame.op_code == PING:
            self._to_send += encode(PONG, frame.payload) if not self._has_sent_close else b""
            return None
        if frame.op_code == PONG:
            return None
        if frame.op_code == CLOSE:
            return self._take_close(frame.payload)
        self._opcode = self._opcode or frame.op_code
        self._parts.append(frame.payload)
        self._parts_bytes += len(frame.payload)
        if not frame.is_final:
            return None
        content, opcode = b"".join(self._parts), self._opcode
        self._parts, self._parts_bytes, self._opcode = [], 0, 0
        return read_text(content) if opcode == TEXT else content

    def _take_close(self, payload: bytes) -> Closed:
        self.is_over = True
        if not payload:
            self.close(NO_STATUS)
            return Closed(NO_STATUS)
        code = int.from_bytes(payload[:2])
        if len(payload) < 2 or (code not in CLOSE_CODES and code not in PRIVATE_CLOSE_CODES):
            raise BrokenRuleError(PROTOCOL_ERROR, f"{code} is no close code")
        reason = read_text(payload[2:])
        self.close(code)
        return Closed(code, reason)


def accept_key(key: str) -> str:
    """Return the answer to the key of an opening handshake."""
    return base64.b64encode(hashlib.sha1(key.encode() + MAGIC, usedforsecurity=False).digest()).decode()


def encode(opcode: int, payload: bytes) -> bytes:
    """Return a server's frame."""
    size_bytes = len(payload)
    if size_bytes <= CONTROL_BYTES_MAX:
        length = bytes([size_bytes])
    elif size_bytes < 1 << 16:
        length = bytes([LENGTH_16]) + size_bytes.to_bytes(2)
    else:
        length = bytes([LENGTH_64]) + size_bytes.to_bytes(8)
    return bytes([FINAL | opcode]) + length + payload


def unmask(payload: bytes, mask: bytes) -> bytes:
    """Return *payload* with every byte combined with its byte of the four of *mask*."""
    size_bytes = len(payload)
    # One large number is combined faster than many small ones.
    repeated = (mask * (size_bytes // 4 + 1))[:size_bytes]
    return (int.from_bytes(payload) ^ int.from_bytes(repeated)).to_bytes(size_bytes)


def read_text(content: bytes) -> str:
    """Return *content* as text.

    Raises
    ------
    BrokenRuleError
        If it is no UTF-8.
    """
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise BrokenRuleError(INVALID_DATA, "text must be UTF-8") from None
