"""A deployment that misbehaves on request: the load driver's sparring partner.

It speaks the Worker's routes over HTTP and, when asked, the tunnel over QUIC, in a process of its own so that its
stalls are not the driver's. Requests are counted from 1, without ``/health``.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import trustme
from aiohttp import web
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import DatagramFrameReceived, QuicEvent, StreamDataReceived

from sim.runners.load.address import Deployment
from tests.support.process import serving

SERVER_NAME = "tunnel.test"


@dataclass(frozen=True)
class Faults:
    """What goes wrong, and when. Numbers of requests count from 1; 0 means never."""

    delay_ms: float = 0.0
    stall_at_request: int = 0
    stall_ms: float = 0.0
    statuses: tuple[int, ...] = (200,)
    hang_every: int = 0
    drop_every: int = 0
    die_at_request: int = 0
    short_downloads: bool = False
    server_timing: str = ""
    tunnel_folder: str = ""
    retry_after: str = ""
    echo_as_garbage: bool = False
    serial_ms: float = 0.0


class Adversary:
    """Counts requests and applies its faults."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.requests = 0
        self.sizes: dict[str, int] = {}
        self.lines: list[str] = []
        self.events: list[str] = []
        self.identities: list[dict[str, str]] = []
        self.server = asyncio.Lock()
        self.peers: set[object] = set()

    @property
    def connections(self) -> int:
        """Connections that brought at least one request."""
        return len(self.peers)

    async def answer(self, method: str, path: str, body_bytes: int, headers: Any) -> tuple[int, int] | None:
        """Status and length of the answer; None: hang up without one."""
        if path == "/health":
            return 200, 2
        ours = {name.lower(): value for name, value in headers.items() if name.lower().startswith("headroom-")}
        self.identities.append(ours)
        if method == "PUT":
            self.sizes[path] = body_bytes
        self.lines.append(f"{method} {path} {body_bytes}")
        return await self._misbehave(self.sizes.get(path, 2) - self.faults.short_downloads)

    async def _misbehave(self, size_bytes: int) -> tuple[int, int] | None:
        faults = self.faults
        self.requests += 1
        if self.requests == faults.die_at_request:
            sys.exit("fell over")
        if self.requests == faults.stall_at_request:
            time.sleep(faults.stall_ms / 1000)  # noqa: ASYNC251 - the whole server is meant to stand still
        if faults.hang_every and self.requests % faults.hang_every == 0:
            await asyncio.sleep(3600)
        if faults.drop_every and self.requests % faults.drop_every == 0:
            return None
        if faults.serial_ms:
            async with self.server:
                await asyncio.sleep(faults.serial_ms / 1000)
        await asyncio.sleep(faults.delay_ms / 1000)
        return faults.statuses[(self.requests - 1) % len(faults.statuses)], size_bytes

    async def http(self, request: web.Request) -> web.StreamResponse:
        """One HTTP request."""
        body = await request.read()
        if request.path not in ("/seen", "/health"):
            self.peers.add(request.transport and request.transport.get_extra_info("peername"))
        if request.path == "/seen":
            return web.json_response(
                {name: getattr(self, name) for name in ("requests", "lines", "events", "identities", "connections")}
            )
        if request.path == "/log":
            self.events.append(json.loads(body)["event_id"])
        if self.faults.echo_as_garbage:
            return _repeat(request)
        answer = await self.answer(request.method, request.path, len(body), request.headers)
        if answer is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        status, size_bytes = answer
        return web.Response(status=status, body=bytes(size_bytes), headers=self._headers())

    def _headers(self) -> dict[str, str]:
        wait = {"Retry-After": self.faults.retry_after} if self.faults.retry_after else {}
        return {"Server-Timing": self.faults.server_timing, **wait}


def _repeat(request: web.Request) -> web.Response:
    """Answer with what no HTTP client can read: the request's own headers."""
    assert request.transport is not None
    for value in request.headers.values():
        request.transport.write(f"{value}\r\n".encode())
    request.transport.close()
    return web.Response()


class Tunnel(QuicConnectionProtocol):
    """The far end of the tunnel; hanging up means resetting the stream."""

    adversary: Adversary

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.received: dict[int, bytes] = {}

    def quic_event_received(self, event: QuicEvent) -> None:
        """Answer heartbeats at once, and requests in tasks."""
        if isinstance(event, DatagramFrameReceived):
            self._quic.send_datagram_frame(b"pong")
            self.transmit()
        elif isinstance(event, StreamDataReceived):
            self.received[event.stream_id] = self.received.get(event.stream_id, b"") + event.data
            if event.end_stream:
                self.task = asyncio.ensure_future(self.reply(event.stream_id))

    async def reply(self, stream: int) -> None:
        """Read one request and answer it."""
        request = json.loads(self.received.pop(stream))
        body_bytes, headers = len(request["body"]), request["headers"]
        answer = await self.adversary.answer(request["method"], request["path"], body_bytes, headers)
        if answer is None:
            self._quic.reset_stream(stream, 7)
        elif answer[0] == 0:
            self._quic.send_stream_data(stream, b"not JSON", end_stream=True)
        else:
            headers = {"Server-Timing": self.adversary.faults.server_timing}
            text = json.dumps({"status": answer[0], "headers": headers, "body": "{}"})
            self._quic.send_stream_data(stream, text.encode(), end_stream=True)
        self.transmit()


async def tunnel(adversary: Adversary, folder: Path) -> dict[str, Any]:
    """Open the tunnel's far end; its ready-line entry."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    for name in ("server", "client"):
        issued = authority.issue_cert(SERVER_NAME)
        issued.private_key_pem.write_to_path(str(folder / f"{name}.key"))
        issued.cert_chain_pems[0].write_to_path(str(folder / f"{name}.pem"))
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["superinstance"], max_datagram_frame_size=65536)
    configuration.load_cert_chain(folder / "server.pem", folder / "server.key")
    protocol = type("BoundTunnel", (Tunnel,), {"adversary": adversary})
    server = await serve("127.0.0.1", 0, configuration=configuration, create_protocol=protocol)
    port = server._transport.get_extra_info("sockname")[1]  # type: ignore[union-attr]  # aioquic keeps its transport private
    return {
        "host": "127.0.0.1",
        "port": port,
        "server_name": SERVER_NAME,
        "ca": str(folder / "ca.pem"),
        "cert": str(folder / "client.pem"),
        "key": str(folder / "client.key"),
    }


async def main(faults: Faults) -> None:
    """Serve until killed."""
    adversary = Adversary(faults)
    application = web.Application(client_max_size=2**30)
    application.router.add_route("*", "/{path:.*}", adversary.http)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    ready: dict[str, Any] = {"http": f"http://127.0.0.1:{runner.addresses[0][1]}", "quic": None}
    if faults.tunnel_folder:
        ready["quic"] = await tunnel(adversary, Path(faults.tunnel_folder))
    print(json.dumps(ready), flush=True)
    await asyncio.sleep(3600)


@contextmanager
def adversary(**faults: Any) -> Iterator[Deployment]:
    """A running adversary with the given :class:`Faults`."""
    with serving("tests.support.adversary", asdict(Faults(**faults))) as deployment:
        yield deployment


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    asyncio.run(main(Faults(**asked)))
