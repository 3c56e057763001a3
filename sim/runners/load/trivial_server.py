"""A server on loopback that answers every HTTP/1.1 request at once: what it measures is the load driver's own floor.

    python -P -m sim.runners.load.trivial_server STALL_AT_REQUEST STALL_S DELAY_S

Its first line on standard output is its port; it ends when standard input does, which the death of its parent brings
too. It can take a fixed time for each answer, and stand still once: what a load generator should say of both is known.
"""

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sim.foundation.errors import RunnerError
from sim.runners.load.children import child_environment

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,12})", re.IGNORECASE)
END_OF_HEAD = b"\r\n\r\n"


class Behaviour:
    """Answers after *delay_s*, and stands still once, at one request of all connections; never if that is 0."""

    def __init__(self, at_request: int = 0, stall_s: float = 0.0, delay_s: float = 0.0) -> None:
        self.at_request, self.stall_s, self.delay_s, self.seen = at_request, stall_s, delay_s, 0

    def count(self, requests: int) -> None:
        """Count requests, and stand still if the one is among them."""
        before, self.seen = self.seen, self.seen + requests
        if before < self.at_request <= self.seen:
            time.sleep(self.stall_s)


class Connection(asyncio.Protocol):
    """One connection: reads heads, skips bodies by their Content-Length, and answers."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.head = b""
        self.body_left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request whose body is complete."""
        answers = 0
        while data:
            if self.body_left:
                skipped = min(self.body_left, len(data))
                self.body_left -= skipped
                data = data[skipped:]
            else:
                self.head += data
                head, end, data = self.head.partition(END_OF_HEAD)
                if not end:
                    break
                self.head = b""
                length = CONTENT_LENGTH.search(head)
                self.body_left = int(length[1]) if length else 0
            answers += self.body_left == 0
        if answers:
            self.behaviour.count(answers)
            if self.behaviour.delay_s:
                asyncio.get_running_loop().call_later(self.behaviour.delay_s, self._answer, answers)
            else:
                self._answer(answers)

    def _answer(self, answers: int) -> None:
        if not self.transport.is_closing():
            self.transport.write(ANSWER * answers)


@contextmanager
def trivial_server(
    *, stall_at_request: int = 0, stall_s: float = 0.0, delay_s: float = 0.0, processor: int | None = None
) -> Iterator[str]:
    """Yield the address of such a server in a process of its own; it ends with the context.

    Parameters
    ----------
    stall_at_request : int
        Counted from 1 over all connections; 0 is never.
    stall_s, delay_s : float
    processor : int, optional
        The only one that it runs on (Linux).

    Raises
    ------
    RunnerError
        It did not start.
    """
    command = [
        sys.executable,
        "-P",
        "-m",
        "sim.runners.load.trivial_server",
        *map(str, (stall_at_request, stall_s, delay_s)),
    ]
    environment = child_environment()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if processor is not None:
                os.sched_setaffinity(process.pid, {processor})
            port = process.stdout.readline().strip()
            if not port:
                raise RunnerError("the trivial server on loopback did not start")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.stdin.close()


async def serve(behaviour: Behaviour) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(behaviour), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    ended = asyncio.StreamReader()
    pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(ended), sys.stdin)
    await ended.read()
    pipe.close()
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(Behaviour(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))))
