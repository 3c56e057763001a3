"""HTTP by hand: bytes that no client library would send, and answers as they come."""

import asyncio
from dataclasses import dataclass

from reference_impl.messages import Request

Address = tuple[str, int]
HEALTH = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"

UPGRADE = {
    "connection": "upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}
"""Headers of a WebSocket's opening request."""


@dataclass
class Answer:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes


def head_bytes(head: Request, *more: str) -> bytes:
    """A head as it is written down, with *more* lines."""
    query = "&".join(f"{name}={value}" for name, value in head.query.items())
    lines = [f"{head.method} {head.path}?{query} HTTP/1.1", "host: x", *more]
    lines += [f"{name}: {value}" for name, value in head.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


async def read_answer(reader: asyncio.StreamReader, *, method: str = "GET") -> Answer:
    """Read one answer; to a HEAD, and with 304, there is no body."""
    status = int((await reader.readline()).split()[1])
    headers = {}
    while (line := await reader.readline()) != b"\r\n":
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    size = 0 if method == "HEAD" or status == 304 else int(headers.get("content-length", "0"))
    return Answer(status, headers, await reader.readexactly(size))


async def ask(address: Address, head: Request, *, body: bytes = b"") -> Answer:
    """Ask once, on a connection of its own, and see that the next request on it is understood."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(head_bytes(head, *([f"content-length: {len(body)}"] if body else [])) + body)
        answer = await read_answer(reader, method=head.method)
        writer.write(HEALTH)
        assert (await read_answer(reader)).status == 200
        return answer
    finally:
        writer.close()


async def exchange(address: Address, *parts: bytes) -> bytes:
    """Send some bytes on a connection of their own and read until the server closes it."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        for part in parts:
            writer.write(part)
        return await reader.read()
    finally:
        writer.close()


async def statuses(address: Address, *parts: bytes) -> list[int]:
    """Send some bytes; return the statuses of all answers until the server closes the connection."""
    received = await exchange(address, *parts)
    return [int(piece.split(maxsplit=1)[0]) for piece in received.split(b"HTTP/1.1 ")[1:]]


def now_s() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()


async def until_closed(reader: asyncio.StreamReader) -> tuple[bytes, float]:
    """What comes until the server closes, and how long that takes."""
    began_s = now_s()
    try:
        received = await reader.read()
    except ConnectionResetError:
        received = b""
    return received, now_s() - began_s
