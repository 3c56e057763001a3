"""WebSocket clients that stop in the middle: they are closed, and the object hears of every end.

Goal: silence is allowed, half a message is not, and a close frame is not waited for without end. Method: as in
``test_stalls.py``.
"""

import asyncio
import struct
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reference_impl.errors import PlatformError
from reference_impl.messages import Message, Pair, Request, Response
from reference_impl.server.sockets import QUEUED_MAX
from reference_impl.server.stalls import Limits
from tests.reference_impl.server.test_websocket import client_frame, server_frames
from tests.support.serving import Served, gone, serving
from tests.support.skipping_time import SkippingLoop
from tests.support.wire import UPGRADE, Address, head_bytes, until_closed

LIMITS = Limits()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A deployment in a time that is skipped."""
    with serving(tmp_path, loop_factory=SkippingLoop) as running:
        yield running


async def open_socket(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a WebSocket and hear its greeting."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(head_bytes(Request("GET", "/synapse/s/socket", headers=UPGRADE)))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    opcode_and_size = await reader.readexactly(2)
    size = opcode_and_size[1]
    if size == 126:
        (size,) = struct.unpack("!H", await reader.readexactly(2))
    assert b'"type":"hello"' in await reader.readexactly(size)
    return reader, writer


def on_socket(served: Served, scene: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> None:
    """Play *scene* on an open WebSocket; in the end nothing is left of it."""

    async def whole() -> None:
        reader, writer = await open_socket(served.address)
        try:
            await scene(reader, writer)
        finally:
            writer.close()
        await gone(served)

    served.run(whole())


def test_a_silent_listener_is_kept(served: Served) -> None:
    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(10 * LIMITS.keep_alive_s / 20)
        await asyncio.sleep(LIMITS.keep_alive_s)
        writer.write(client_frame(9, b"there?"))
        assert server_frames(await reader.readexactly(8)) == [(10, b"there?")]

    on_socket(served, scene)


def test_a_message_that_stops_in_the_middle_ends_the_connection(served: Served) -> None:
    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(client_frame(1, b"half", final=False))
        received, took_s = await until_closed(reader)
        assert server_frames(received)[-1][1][:2] == (1008).to_bytes(2, "big")
        assert took_s >= LIMITS.rest_s - 1

    on_socket(served, scene)


def test_a_client_that_does_not_answer_the_close_is_left(served: Served) -> None:
    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(client_frame(3, b"breaks a rule"))
        received = (await until_closed(reader))[0]
        assert server_frames(received)[-1][1][:2] == (1002).to_bytes(2, "big")

    on_socket(served, scene)


def test_a_client_that_answers_the_close_sees_the_end_at_once(served: Served) -> None:
    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(client_frame(8, (1000).to_bytes(2, "big")))
        received, took_s = await until_closed(reader)
        assert server_frames(received) == [(8, (1000).to_bytes(2, "big"))]
        assert took_s < LIMITS.linger_rest_s

    on_socket(served, scene)


def test_a_client_that_leaves_while_it_is_let_in_is_let_out_again(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An object that never hears of the end keeps the socket.
    ended = []
    hang_up = Pair.hang_up

    async def noting(pair: Pair, code: int, reason: str = "") -> None:
        ended.append(code)
        await hang_up(pair, code, reason)

    async def scene() -> None:
        _, writer = await asyncio.open_connection(*served.address)
        writer.write(head_bytes(Request("GET", "/synapse/s/socket", headers=UPGRADE)))
        writer.transport.abort()
        while not ended:  # noqa: ASYNC110  # see gone()
            await asyncio.sleep(0.1)
        await gone(served)

    serve_http = served.deployment.serve_http

    async def slowly(*arguments: Any, **options: Any) -> Response:
        await asyncio.sleep(1.0)
        return await serve_http(*arguments, **options)

    monkeypatch.setattr(served.deployment, "serve_http", slowly)
    monkeypatch.setattr(Pair, "hang_up", noting)
    served.run(scene())
    assert ended == [1006]


def test_messages_wait_while_the_object_is_behind_and_all_arrive_in_order(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    # More than may wait, sent at once to an object that takes its time: reading pauses, and that is no stall.
    brought: list[Message] = []

    async def slowly(pair: Pair, message: Message) -> None:
        await asyncio.sleep(0.5)
        brought.append(message)

    sent = [f"{n}" for n in range(2 * QUEUED_MAX)]

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(client_frame(1, b"be", final=False))
        await asyncio.sleep(1.0)
        frames = [client_frame(1, message.encode()) for message in sent]
        writer.write(client_frame(0, b"gun") + b"".join(frames) + client_frame(1, b"cut", final=False))
        # Much longer than a message may rest, but it is the server that does not read.
        while len(brought) < QUEUED_MAX - 5:  # noqa: ASYNC110  # nothing else marks it
            await asyncio.sleep(0.5)
        writer.write(client_frame(0, b"ting"))
        writer.write(client_frame(8, b""))
        await until_closed(reader)

    monkeypatch.setattr(Pair, "bring", slowly)
    on_socket(served, scene)
    assert brought == ["begun", *sent, "cutting"]


def test_after_a_message_that_the_object_could_not_take_no_other_is_delivered(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought: list[Message] = []

    async def fail_once(pair: Pair, message: Message) -> None:
        brought.append(message)
        if message == "2":
            raise PlatformError("the object is overloaded")

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for n in range(5):
            writer.write(client_frame(1, str(n).encode()))
        received = (await until_closed(reader))[0]
        assert server_frames(received)[-1][1][:2] == (1012).to_bytes(2, "big")

    monkeypatch.setattr(Pair, "bring", fail_once)
    on_socket(served, scene)
    assert brought == ["0", "1", "2"]
