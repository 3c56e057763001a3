"""WebSocket connections: every rule of the protocol, however the bytes are cut.

Goal: messages come out as they went in, and a broken rule is answered with the right close code. Method: a client's
encoder and a reader of a server's frames written here, apart from the code under test and from wsproto; Hypothesis
draws messages, fragments, pings and cuts. The real connection is tried with aiohttp in ``test_contract.py``.
"""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.messages import Message
from reference_impl.server.websocket import Closed, WebSocket, accept_key

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


def server_frame(opcode: int, payload: bytes) -> bytes:
    """A server's frame, byte by byte as the standard draws it."""
    masked = client_frame(opcode, payload, mask=bytes(4))
    head = {126: 4, 127: 10}.get(masked[1] & 0x7F, 2)
    return bytes([masked[0], masked[1] & 0x7F]) + masked[2:head] + masked[head + 4 :]


def server_frames(data: bytes) -> list[tuple[int, bytes]]:
    """Opcode and payload of whole, final server's frames."""
    found = []
    while data:
        assert data[0] & 0xF0 == 0x80, "final, nothing reserved"
        start = {126: 4, 127: 10}.get(data[1], 2)
        size = data[1] if start == 2 else int.from_bytes(data[2:start], "big")
        assert not data[1] & 0x80, "not masked"
        assert len(data) >= start + size
        found.append((data[0] & 0x0F, data[start : start + size]))
        data = data[start + size :]
    return found


def server_payload(frame: bytes) -> tuple[int, bytes]:
    """Opcode and payload of the one frame there is."""
    (found,) = server_frames(frame)
    return found


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    """*stream* cut at some places."""
    places = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})
    return [stream[start:end] for start, end in pairwise(places)]


messages = st.text(max_size=40) | st.binary(max_size=40) | st.binary(min_size=120, max_size=140)
cut_places = st.lists(st.integers(0, 500), max_size=20)


@st.composite
def fragmented(draw: st.DrawFn, message: Message) -> tuple[bytes, list[bytes]]:
    """The frames of one message in any fragments, with pings and pongs between them; and what the pings say."""
    content = message.encode() if isinstance(message, str) else message
    stream, pings = b"", []
    fragments = pieces(content, draw(cut_places)) or [b""]
    for n, fragment in enumerate(fragments):
        opcode = 0 if n else 1 if isinstance(message, str) else 2
        mask = draw(st.binary(min_size=4, max_size=4))
        stream += client_frame(opcode, fragment, final=n == len(fragments) - 1, mask=mask)
        control = draw(st.none() | st.tuples(st.sampled_from([9, 10]), st.binary(max_size=125)))
        if control is not None:
            stream += client_frame(*control)
            pings += [control[1]] if control[0] == 9 else []
    return stream, pings


@given(data=st.data(), sent=st.lists(messages, max_size=5), cuts=cut_places)
def test_messages_come_out_as_they_went_in(data: st.DataObject, sent: list[Message], cuts: list[int]) -> None:
    drawn = [data.draw(fragmented(message)) for message in sent]
    socket = WebSocket()
    received: list[Message | Closed] = []
    for piece in pieces(b"".join(stream for stream, _ in drawn), cuts):
        received += socket.receive(piece)
    assert received == sent
    assert [type(message) for message in received] == [type(message) for message in sent]
    assert not socket.is_in_message
    assert server_frames(socket.to_send()) == [(10, ping) for _, pings in drawn for ping in pings]


@given(sent=st.lists(st.text(max_size=200) | st.binary(max_size=200), max_size=5))
def test_what_is_sent_is_one_frame_a_message(sent: list[Message]) -> None:
    socket = WebSocket()
    for message in sent:
        socket.send(message)
    expected = [(1, m.encode()) if isinstance(m, str) else (2, m) for m in sent]
    assert server_frames(socket.to_send()) == expected
    assert socket.to_send() == b""


@given(stream=st.binary(max_size=60), cuts=cut_places)
def test_any_bytes_are_answered_alike_however_they_are_cut(stream: bytes, cuts: list[int]) -> None:
    whole, cut = WebSocket(message_bytes_max=50), WebSocket(message_bytes_max=50)
    expected = whole.receive(stream)
    received: list[Message | Closed] = []
    for piece in pieces(stream, cuts):
        received += cut.receive(piece)
    assert received == expected
    assert (cut.to_send(), cut.is_over) == (whole.to_send(), whole.is_over)


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536, 200_000])
def test_every_length_is_written_and_read(size: int) -> None:
    content = bytes(n % 251 for n in range(size))
    socket = WebSocket()
    assert socket.receive(client_frame(2, content)) == [content]
    socket.send(content)
    assert server_payload(socket.to_send()) == (2, content)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (server_frame(1, b"unmasked"), 1002),
        (client_frame(1, b"x", reserved=0x40), 1002),
        (client_frame(3, b"x"), 1002),
        (client_frame(11, b"x"), 1002),
        (client_frame(9, b"x" * 126), 1002),
        (client_frame(9, b"x", final=False), 1002),
        (client_frame(0, b"x"), 1002),
        (client_frame(1, b"x", final=False) + client_frame(1, b"y"), 1002),
        (client_frame(1, b"\xff"), 1007),
        (client_frame(1, "é".encode()[:1]), 1007),
        (client_frame(1, b"\xed\xa0\x80"), 1007),
        (client_frame(1, b"\xc3", final=False) + client_frame(0, b"("), 1007),
        (bytes([0x82, 0x80 | 126, 0, 5]) + MASK, 1002),
        (bytes([0x82, 0x80 | 127, *bytes(7), 5]) + MASK, 1002),
        (client_frame(2, b"x" * 101), 1009),
        (client_frame(2, b"x" * 60, final=False) + client_frame(0, b"x" * 41), 1009),
        (client_frame(8, b"\x03"), 1002),
        (client_frame(8, (1005).to_bytes(2, "big")), 1002),
        (client_frame(8, (999).to_bytes(2, "big")), 1002),
        (client_frame(8, (1006).to_bytes(2, "big")), 1002),
        (client_frame(8, (2999).to_bytes(2, "big")), 1002),
        (client_frame(8, (5000).to_bytes(2, "big")), 1002),
        (client_frame(8, (1000).to_bytes(2, "big") + b"\xff"), 1007),
    ],
)
def test_a_broken_rule_ends_the_connection_with_its_code(data: bytes, code: int) -> None:
    socket = WebSocket(message_bytes_max=100)
    received = socket.receive(data)
    assert isinstance(received[-1], Closed)
    assert received[-1].close_code == code
    opcode, payload = server_payload(socket.to_send())
    assert (opcode, int.from_bytes(payload[:2], "big")) == (8, code)
    # Nothing more is read, and nothing more is said.
    assert socket.receive(client_frame(1, b"more")) == []
    socket.send("more")
    assert socket.to_send() == b""


def test_compression_is_not_negotiated_so_a_compressed_frame_breaks_a_rule() -> None:
    compressed = bytes([0xC1, 0x87]) + MASK + bytes(7)
    assert [type(found) for found in WebSocket().receive(compressed)] == [Closed]


@pytest.mark.parametrize("cut", range(15))
def test_a_length_that_nobody_will_send_is_refused_at_its_head(cut: int) -> None:
    head = bytes([0x82, 0x80 | 127]) + (2**62).to_bytes(8, "big") + MASK
    socket = WebSocket()
    found = socket.receive(head[:cut]) + socket.receive(head[cut:])
    assert found == [Closed(1009, "a message of more than 33554432 bytes")]


@given(sizes=st.lists(st.integers(0, 70), min_size=1, max_size=6), cuts=cut_places)
def test_the_limit_is_on_the_message_and_not_on_its_fragments(sizes: list[int], cuts: list[int]) -> None:
    stream = b"".join(
        client_frame(0 if n else 2, b"x" * size, final=n == len(sizes) - 1) for n, size in enumerate(sizes)
    )
    socket = WebSocket(message_bytes_max=100)
    received: list[Message | Closed] = []
    for piece in pieces(client_frame(2, b"x" * 100) + stream, cuts):
        received += socket.receive(piece)
    assert received[0] == b"x" * 100
    assert received[1:] == (
        [b"x" * sum(sizes)] if sum(sizes) <= 100 else [Closed(1009, "a message of more than 100 bytes")]
    )


@pytest.mark.parametrize(("payload", "closed"), [(b"", Closed(1005)), (b"\x0f\xa0bye", Closed(4000, "bye"))])
def test_a_close_is_answered_by_a_close(payload: bytes, closed: Closed) -> None:
    socket = WebSocket()
    assert socket.receive(client_frame(8, payload) + client_frame(1, b"after the end")) == [closed]
    assert server_payload(socket.to_send()) == (8, payload[:2])
    socket.send("too late")
    socket.close(1000)
    assert socket.to_send() == b""


def test_after_its_own_close_it_waits_for_the_clients_and_takes_nothing_else() -> None:
    socket = WebSocket()
    socket.close(4001, "enough")
    socket.send("too late")
    socket.close(1000)
    assert server_payload(socket.to_send()) == (8, b"\x0f\xa1enough")
    late = client_frame(1, b"did not know") + client_frame(9, b"?") + client_frame(8, b"\x0f\xa1")
    assert socket.receive(late) == [Closed(4001)]
    assert (socket.to_send(), socket.is_over) == (b"", True)


def test_a_long_reason_is_cut_between_characters() -> None:
    socket = WebSocket()
    socket.close(1011, "é" * 100)
    assert server_payload(socket.to_send()) == (8, (1011).to_bytes(2, "big") + ("é" * 61).encode())


def test_a_pong_is_taken_and_not_answered() -> None:
    socket = WebSocket()
    assert socket.receive(client_frame(10, b"x")) == []
    assert socket.to_send() == b""


def test_a_message_is_on_its_way_from_its_first_byte_to_its_last() -> None:
    socket = WebSocket()
    stream = client_frame(1, b"abc", final=False) + client_frame(9, b"?") + client_frame(0, b"")
    seen = [(socket.receive(bytes([byte])), socket.is_in_message)[1] for byte in stream]
    first, last = seen.index(True), len(stream) - 1
    assert seen == [first <= n < last for n in range(len(stream))]
    assert socket.received_bytes == len(stream)


def test_the_answer_to_the_handshake_is_the_standard_s() -> None:
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
