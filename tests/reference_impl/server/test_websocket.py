"""WebSocket frames: every rule of the protocol, whatever way the bytes are cut.

Goal: messages come out as they went in, and a broken rule is told by the right close code. Method: a client's encoder
written here, apart from the code under test; Hypothesis draws messages, cuts and fragments. The real connection is
tried with aiohttp in ``test_contract.py``.
"""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.messages import Message
from reference_impl.server.websocket import Closed, Frames, accept_key, encode, unmask

MASK = b"\x11\x22\x33\x44"


def client_frame(opcode: int, payload: bytes, *, final: bool = True, mask: bytes = MASK, reserved: int = 0) -> bytes:
    """A client's frame, byte by byte as the standard draws it."""
    head = bytearray([(0x80 if final else 0) | reserved | opcode])
    size = len(payload)
    if size < 126:
        head.append(0x80 | size)
    elif size < 65_536:
        head.append(0x80 | 126)
        head += size.to_bytes(2, "big")
    else:
        head.append(0x80 | 127)
        head += size.to_bytes(8, "big")
    return bytes(head) + mask + bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))


def server_payload(frame: bytes) -> tuple[int, bytes]:
    """Opcode and payload of one whole server's frame."""
    assert frame[0] & 0x80
    assert not frame[1] & 0x80
    start = {126: 4, 127: 10}.get(frame[1], 2)
    size = frame[1] if start == 2 else int.from_bytes(frame[2:start], "big")
    assert len(frame) == start + size
    return frame[0] & 0x0F, frame[start:]


messages = st.text(max_size=40) | st.binary(max_size=40)


@given(sent=st.lists(messages, max_size=5), cuts=st.lists(st.integers(0, 400), max_size=8), parts=st.integers(1, 4))
def test_messages_come_out_as_they_went_in(sent: list[Message], cuts: list[int], parts: int) -> None:
    stream = b""
    for message in sent:
        content = message.encode() if isinstance(message, str) else message
        size = -(-len(content) // parts) or 1
        chunks = [content[n : n + size] for n in range(0, len(content), size)] or [b""]
        for n, chunk in enumerate(chunks):
            opcode = 0 if n else 1 if isinstance(message, str) else 2
            stream += client_frame(opcode, chunk, final=n == len(chunks) - 1)
            # A ping between the parts of a message disturbs nothing.
            stream += client_frame(9, b"?")
    frames = Frames()
    received: list[Message | Closed] = []
    for start, end in pairwise(sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})):
        received += frames.receive(stream[start:end])
    assert received == sent
    assert set(frames.to_send().split(b"\x8a\x01?")) <= {b""}


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536, 200_000])
def test_every_length_is_written_and_read(size: int) -> None:
    content = bytes(n % 251 for n in range(size))
    frames = Frames()
    assert frames.receive(client_frame(2, content)) == [content]
    frames.send(content)
    assert server_payload(frames.to_send()) == (2, content)


@given(payload=st.binary(max_size=100), mask=st.binary(min_size=4, max_size=4))
def test_unmasking_is_byte_by_byte(payload: bytes, mask: bytes) -> None:
    assert unmask(payload, mask) == bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (encode(1, b"unmasked"), 1002),
        (client_frame(1, b"x", reserved=0x40), 1002),
        (client_frame(3, b"x"), 1002),
        (client_frame(11, b"x"), 1002),
        (client_frame(9, b"x" * 126), 1002),
        (client_frame(9, b"x", final=False), 1002),
        (client_frame(0, b"x"), 1002),
        (client_frame(1, b"x", final=False) + client_frame(1, b"y"), 1002),
        (client_frame(1, b"\xff"), 1007),
        (client_frame(1, "é".encode()[:1]), 1007),
        (client_frame(2, b"x" * 101), 1009),
        (client_frame(2, b"x" * 60, final=False) + client_frame(0, b"x" * 41), 1009),
        (client_frame(8, b"\x03"), 1002),
        (client_frame(8, (1005).to_bytes(2, "big")), 1002),
        (client_frame(8, (999).to_bytes(2, "big")), 1002),
        (client_frame(8, (1000).to_bytes(2, "big") + b"\xff"), 1007),
    ],
)
def test_a_broken_rule_ends_the_connection_with_its_code(data: bytes, code: int) -> None:
    frames = Frames(message_bytes_max=100)
    received = frames.receive(data)
    assert isinstance(received[-1], Closed)
    assert received[-1].close_code == code
    opcode, payload = server_payload(frames.to_send())
    assert (opcode, int.from_bytes(payload[:2], "big")) == (8, code)
    # Nothing more is read.
    assert frames.receive(client_frame(1, b"more")) == []


def test_a_length_that_nobody_will_send_is_refused_at_once() -> None:
    head = bytes([0x82, 0x80 | 127]) + (2**62).to_bytes(8, "big")
    assert Frames().receive(head)[0] == Closed(1009, "a message of more than 33554432 bytes")


@pytest.mark.parametrize(("payload", "closed"), [(b"", Closed(1005)), (b"\x0f\xa0bye", Closed(4000, "bye"))])
def test_a_close_is_answered_by_a_close(payload: bytes, closed: Closed) -> None:
    frames = Frames()
    assert frames.receive(client_frame(8, payload) + client_frame(1, b"after the end")) == [closed]
    assert server_payload(frames.to_send()) == (8, payload[:2])
    frames.send("too late")
    frames.close(1000)
    assert frames.to_send() == b""


def test_a_pong_is_taken_and_not_answered() -> None:
    frames = Frames()
    assert frames.receive(client_frame(10, b"x")) == []
    assert frames.to_send() == b""


def test_the_answer_to_the_handshake_is_the_standard_s() -> None:
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
