"""Clients that stop in the middle: every wait for one ends, and nobody else notices.

Goal: no client can hold a connection by doing nothing, or next to nothing, and none that goes on slowly is cut off.
Method: the limits as they are, on an event loop that skips the time in which nothing happens; raw bytes on real
sockets. The rule for transfers is compared with its definition by Hypothesis.
"""

import asyncio
import itertools
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.messages import Request
from reference_impl.server.stalls import Limits, Progress
from tests.reference_impl.server.test_websocket import client_frame
from tests.support.serving import Served, gone, serving
from tests.support.skipping_time import SkippingLoop
from tests.support.wire import (
    HEALTH,
    UPGRADE,
    Address,
    Answer,
    ask,
    head_bytes,
    now_s,
    read_answer,
    statuses,
    until_closed,
)

LIMITS = Limits()
ADAPTER = "/loras/lora-1/adapter.safetensors"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A deployment in a time that is skipped."""
    with serving(tmp_path, loop_factory=SkippingLoop) as running:
        yield running


async def trickle(writer: asyncio.StreamWriter, data: bytes, *, every_s: float) -> None:
    """Send one byte after the other, slowly, for as long as the connection is there."""
    for byte in data:
        if writer.is_closing():
            return
        writer.write(bytes([byte]))
        await asyncio.sleep(every_s)


# --- heads -----------------------------------------------------------------------------------


def test_a_client_that_never_speaks_is_left(served: Served) -> None:
    async def say_nothing() -> tuple[bytes, float]:
        reader, writer = await asyncio.open_connection(*served.address)
        try:
            return await until_closed(reader)
        finally:
            writer.close()

    received, took_s = served.run(say_nothing())
    assert received == b""
    assert took_s >= LIMITS.keep_alive_s - 1


@pytest.mark.parametrize("before", [b"", HEALTH], ids=["first", "second"])
@pytest.mark.parametrize("every_s", [0.5, 3.0, 1_000.0], ids=["bytes", "slow bytes", "one byte"])
def test_a_head_that_does_not_end_is_refused(served: Served, before: bytes, every_s: float) -> None:
    async def dawdle() -> tuple[bytes, float]:
        reader, writer = await asyncio.open_connection(*served.address)
        writer.write(before)
        sending = asyncio.create_task(trickle(writer, b"GET /health HTTP/1.1\r\n" + b"x" * 300, every_s=every_s))
        try:
            return await until_closed(reader)
        finally:
            sending.cancel()
            writer.close()

    received, took_s = served.run(dawdle())
    head, _, body = received.rpartition(b"\r\n\r\n")
    assert received.count(b"HTTP/1.1 ") == 1 + bool(before)
    assert b"HTTP/1.1 408 Request Timeout\r\n" in head
    assert b'"code":"slow_head"' in body
    assert LIMITS.head_s - 1 <= took_s
    served.run(gone(served))


def test_a_slow_head_in_time_is_served(served: Served) -> None:
    async def hurry() -> Answer:
        reader, writer = await asyncio.open_connection(*served.address)
        try:
            await trickle(writer, HEALTH, every_s=LIMITS.head_s / 2 / len(HEALTH))
            return await read_answer(reader)
        finally:
            writer.close()

    assert served.run(hurry()).status == 200


def test_an_idle_connection_is_kept_for_its_time_and_then_closed(served: Served) -> None:
    async def rest() -> tuple[bytes, float]:
        reader, writer = await asyncio.open_connection(*served.address)
        try:
            for _ in range(3):
                writer.write(HEALTH)
                assert (await read_answer(reader)).status == 200
                await asyncio.sleep(LIMITS.keep_alive_s / 2)
            return await until_closed(reader)
        finally:
            writer.close()

    received, took_s = served.run(rest())
    assert received == b""
    assert took_s >= LIMITS.keep_alive_s / 2 - 1


# --- bodies ----------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["content-length: 60000", "transfer-encoding: chunked"])
@pytest.mark.parametrize("every_s", [0.1, 1_000.0], ids=["trickles", "rests"])
def test_a_body_that_stalls_is_refused(served: Served, framing: str, every_s: float) -> None:
    async def dawdle() -> tuple[bytes, float]:
        reader, writer = await asyncio.open_connection(*served.address)
        part = b"{" * 100 if framing.startswith("content") else b"64\r\n" + b"{" * 100 + b"\r\n"
        writer.write(head_bytes(Request("POST", "/log"), framing) + part)
        rest = b"[" * 59_000 if framing.startswith("content") else b"1\r\n[\r\n" * 10_000
        sending = asyncio.create_task(trickle(writer, rest, every_s=every_s))
        try:
            return await until_closed(reader)
        finally:
            sending.cancel()
            writer.close()

    received, took_s = served.run(dawdle())
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"slow_body"' in received
    assert took_s >= LIMITS.rest_s - 1
    served.run(gone(served))


def test_a_slow_body_that_moves_is_taken(served: Served) -> None:
    async def go_on() -> int:
        reader, writer = await asyncio.open_connection(*served.address)
        try:
            writer.write(head_bytes(Request("PUT", ADAPTER), "content-length: 100000"))
            for _ in range(100):
                writer.write(b"x" * 1_000)
                await asyncio.sleep(1.0)
            return (await read_answer(reader)).status
        finally:
            writer.close()

    assert served.run(go_on()) == 200


def test_a_refused_client_that_sends_for_ever_is_cut_in_the_end(served: Served) -> None:
    async def send_on() -> float:
        reader, writer = await asyncio.open_connection(*served.address)
        try:
            writer.write(head_bytes(Request("PUT", "/nowhere"), "content-length: 90000000"))
            assert (await read_answer(reader)).status == 404
            began_s = now_s()
            while not writer.is_closing():
                writer.write(b"x" * 100)
                await asyncio.sleep(0.5)
            return now_s() - began_s
        finally:
            writer.close()

    assert LIMITS.linger_s - 1 <= served.run(send_on())
    served.run(gone(served))


def test_a_refused_client_that_falls_silent_is_cut_sooner(served: Served) -> None:
    async def fall_silent() -> float:
        reader, writer = await asyncio.open_connection(*served.address)
        try:
            writer.write(head_bytes(Request("PUT", "/nowhere"), "content-length: 90000000"))
            assert (await read_answer(reader)).status == 404
            began_s = now_s()
            await gone(served)
            return now_s() - began_s
        finally:
            writer.close()

    assert served.run(fall_silent()) < LIMITS.linger_s


# --- answers ---------------------------------------------------------------------------------


def small_window(address: Address) -> socket.socket:
    """A connection that takes little at a time."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.connect(address)
    connection.setblocking(False)
    return connection


@pytest.fixture
def large(served: Served) -> int:
    """The size of an adapter that fits into no system's buffers."""
    size = 12_000_000
    assert served.run(ask(served.address, Request("PUT", ADAPTER), body=b"x" * size)).status == 200
    served.run(gone(served))
    return size


@pytest.mark.parametrize("more", [[], ["connection: close"]], ids=["kept", "closed"])
def test_a_client_that_does_not_take_its_answer_is_cut(served: Served, large: int, more: list[str]) -> None:
    async def look_away() -> None:
        with small_window(served.address) as connection:
            await asyncio.get_running_loop().sock_sendall(connection, head_bytes(Request("GET", ADAPTER), *more))
            while not served.connections:  # noqa: ASYNC110  # see gone()
                await asyncio.sleep(0)
            await gone(served)

    served.run(look_away())


@pytest.mark.parametrize("more", [[], ["connection: close"]], ids=["kept", "closed"])
def test_a_client_that_takes_its_answer_slowly_gets_all_of_it(served: Served, large: int, more: list[str]) -> None:
    async def take_slowly() -> int:
        loop, taken = asyncio.get_running_loop(), 0
        with small_window(served.address) as connection:
            await loop.sock_sendall(connection, head_bytes(Request("GET", ADAPTER), *more))
            # For longer than an idle connection is kept the client takes so little that the kernel's buffer stays
            # nearly full, and the buffer of the process does not shrink at all.
            for turn in itertools.count():
                part = await loop.sock_recv(connection, 3_000 if turn < 100 else 1_000_000)
                assert part, f"cut after {taken} bytes"
                taken += len(part)
                if taken >= large:
                    return taken
                await asyncio.sleep(1.0 if turn < 100 else 0)
        raise AssertionError

    assert served.run(take_slowly()) >= large


# --- many ------------------------------------------------------------------------------------


def test_hundreds_of_slow_clients_stop_nobody_and_are_all_gone_in_the_end(served: Served) -> None:
    beginnings = [
        b"GET /hea",
        head_bytes(Request("POST", "/log"), "content-length: 1000") + b"{",
        head_bytes(Request("PUT", ADAPTER), "content-length: 90000000") + b"x" * 1_000,
        head_bytes(Request("GET", "/synapse/s/socket", headers=UPGRADE)) + client_frame(1, b"half", final=False),
    ]

    async def attack(n: int) -> bytes:
        reader, writer = await asyncio.open_connection(*served.address)
        writer.write(beginnings[n % len(beginnings)])
        sending = asyncio.create_task(trickle(writer, b"x" * 100, every_s=7.0))
        try:
            return (await until_closed(reader))[0]
        finally:
            sending.cancel()
            writer.close()

    async def scene() -> None:
        attacks = [asyncio.create_task(attack(n)) for n in range(200)]
        while served.connections < 200:  # noqa: ASYNC110  # see gone()
            await asyncio.sleep(0)
        began_s = now_s()
        for n in range(50):
            path = f"/loras/lora-{n}/adapter.safetensors"
            answer = await ask(served.address, Request("PUT", path), body=b"x" * 9_000)
            assert answer.status == 200
        assert now_s() - began_s < LIMITS.head_s, "all this time the attackers were there"
        received = await asyncio.gather(*attacks)
        assert [data.split(maxsplit=2)[1] for data in received] == [b"408", b"408", b"408", b"101"] * 50
        await gone(served)

    served.run(scene())


# --- the rule --------------------------------------------------------------------------------


@given(
    looks=st.lists(st.tuples(st.floats(0.1, 100), st.integers(0, 100_000)), min_size=1, max_size=20),
    bytes_per_s=st.sampled_from([0.0, 1.0, 500.0]),
)
def test_a_transfer_has_stalled_if_nothing_moved_or_too_little(
    looks: list[tuple[float, int]], bytes_per_s: float
) -> None:
    progress = Progress(bytes_per_s=bytes_per_s, now_s=1_000.0, moved_bytes=-7)
    now, moved = 1_000.0, -7
    for took_s, more in looks:
        now, moved = now + took_s, moved + more
        assert progress.has_stalled(now, moved) == (more == 0 or (moved + 7) < bytes_per_s * (now - 1_000.0))


def test_pipelined_requests_are_all_answered(served: Served) -> None:
    assert served.run(statuses(served.address, HEALTH * 5 + HEALTH[:-2] + b"connection: close\r\n\r\n")) == [200] * 6
