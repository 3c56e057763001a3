"""An HTTP/3 server on loopback that misbehaves on request, in a thread with a loop of its own."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent


@dataclass
class H3Behaviour:
    """What goes wrong, and what was seen; requests to ``/health`` are answered well and not counted."""

    statuses: tuple[int, ...] = (200,)
    retry_after: str = ""
    delay_ms: float = 0.0
    no_status: bool = False
    reset_every: int = 0
    die_at_request: int = 0
    requests: int = 0
    connections: int = 0
    lines: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    stored: dict[str, int] = field(default_factory=dict)


class Answering(QuicConnectionProtocol):
    """One connection."""

    behaviour: H3Behaviour
    server: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.heads: dict[int, dict[str, str]] = {}
        self.bodies: dict[int, int] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.behaviour.connections += 1

    def quic_event_received(self, event: QuicEvent) -> None:
        """Read requests, and answer each in a task."""
        for part in self.http.handle_event(event):
            if isinstance(part, HeadersReceived):
                self.heads[part.stream_id] = {name.decode(): value.decode() for name, value in part.headers}
            elif isinstance(part, DataReceived):
                self.bodies[part.stream_id] = self.bodies.get(part.stream_id, 0) + len(part.data)
            if isinstance(part, HeadersReceived | DataReceived) and part.stream_ended:
                task = asyncio.ensure_future(self.answer(part.stream_id))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)

    async def answer(self, stream: int) -> None:
        """Answer one request, or do not."""
        head, size_bytes, how = self.heads.pop(stream), self.bodies.pop(stream, 0), self.behaviour
        status, body = 200, b"ok"
        if head[":path"] != "/health":
            how.requests += 1
            how.lines.append(f"{head[':method']} {head[':path']} {size_bytes}")
            how.headers.append(head)
            if how.requests == how.die_at_request:
                self.close(reason_phrase="fell over")
                self.server.close()
                return
            if how.reset_every and how.requests % how.reset_every == 0:
                self._quic.reset_stream(stream, 0x102)
                self.transmit()
                return
            await asyncio.sleep(how.delay_ms / 1000)
            status = how.statuses[(how.requests - 1) % len(how.statuses)]
            if head[":method"] == "PUT":
                how.stored[head[":path"]] = size_bytes
            body = bytes(how.stored.get(head[":path"], 2))
        status_line = [] if how.no_status and head[":path"] != "/health" else [(b":status", str(status).encode())]
        wait = [(b"retry-after", how.retry_after.encode())] if how.retry_after else []
        self.http.send_headers(stream, [*status_line, *wait, (b"server-timing", b"workers;dur=1.5")])
        self.http.send_data(stream, body, end_stream=True)
        self.transmit()


@contextmanager
def h3_server(folder: Path, *, name: str = "127.0.0.1", **faults: Any) -> Iterator[tuple[str, H3Behaviour]]:
    """The address of a running server and what it sees; the authority of its certificate is ``ca.pem`` in *folder*."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    issued = authority.issue_cert(name)
    issued.private_key_pem.write_to_path(str(folder / "server.key"))
    issued.cert_chain_pems[0].write_to_path(str(folder / "server.pem"))
    configuration = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN)
    configuration.load_cert_chain(folder / "server.pem", folder / "server.key")
    behaviour = H3Behaviour(**faults)
    protocol: Any = type("Bound", (Answering,), {"behaviour": behaviour})
    ports: list[int] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def main() -> None:
        server = await serve("127.0.0.1", 0, configuration=configuration, create_protocol=protocol)
        protocol.server = server
        ports.append(server._transport.get_extra_info("sockname")[1])  # type: ignore[union-attr]  # aioquic keeps its transport private
        ready.set()
        await stop.wait()
        server.close()
        await asyncio.sleep(0.05)

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=run, name="h3 server")
    thread.start()
    try:
        assert ready.wait(20)
        yield f"https://127.0.0.1:{ports[0]}", behaviour
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
