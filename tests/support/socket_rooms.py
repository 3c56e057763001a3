"""Rooms over WebSockets that misbehave on request, in a process of their own: what is said in one is sent to all in it.

``/room/NAME`` is a room; any other path answers as HTTP. Handshakes, and messages, are counted from 1.
"""

import asyncio
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

from aiohttp import WSMsgType, web

from sim import load_scenario
from sim.runners.load.address import Deployment
from sim.scenario.scenario import Scenario
from tests.support.process import serving


@dataclass(frozen=True)
class RoomFaults:
    """What goes wrong, and when; 0 means never."""

    statuses: tuple[int, ...] = (101,)
    retry_after: str = ""
    location: str = ""
    greets: bool = False
    alone: bool = False
    last_late_ms: float = 0.0
    close_every: int = 0
    close_code: int = 1012
    deaf_every: int = 0
    stall_at_message: int = 0
    stall_ms: float = 0.0
    die_at_message: int = 0
    silent_to_pings: bool = False


class Rooms:
    """The rooms, and what was seen."""

    def __init__(self, faults: RoomFaults) -> None:
        self.faults = faults
        self.rooms: defaultdict[str, list[web.WebSocketResponse]] = defaultdict(list)
        self.handshakes = self.messages = self.open = self.open_peak = 0
        self.paths: list[str] = []
        self.keys: list[str] = []
        self.closes: list[int | None] = []
        self.pings = 0

    async def http(self, request: web.Request) -> web.StreamResponse:
        """Answer ``/health``, ``/seen``, and rooms."""
        if request.path == "/seen":
            names = "handshakes messages open open_peak paths keys closes pings".split()
            return web.json_response({name: getattr(self, name) for name in names})
        if not request.path.startswith("/room/"):
            return web.Response(body=b"ok")
        status = self.faults.statuses[self.handshakes % len(self.faults.statuses)]
        self.handshakes += 1
        self.paths.append(request.path)
        self.keys.append(request.headers.get("headroom-key", ""))
        if status != 101:
            headers = {"Retry-After": self.faults.retry_after, "Location": self.faults.location}
            return web.Response(status=status, headers={name: value for name, value in headers.items() if value})
        return await self.member(request)

    async def member(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one session."""
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        room = self.rooms[request.path]
        room.append(socket)
        self.open += 1
        self.open_peak = max(self.open_peak, self.open)
        try:
            if self.faults.greets:
                await socket.send_str("welcome")
            await self.hear_all(socket, room)
        finally:
            room.remove(socket)
            self.open -= 1
            self.closes.append(socket.close_code)
        return socket

    async def hear_all(self, socket: web.WebSocketResponse, room: list[web.WebSocketResponse]) -> None:
        """Read until the session ends."""
        async for message in socket:
            if message.type is WSMsgType.PING:
                self.pings += 1
                if not self.faults.silent_to_pings:
                    await socket.pong(message.data)
            elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY) and await self.hear(socket, room, message):
                return

    async def hear(self, socket: web.WebSocketResponse, room: list[web.WebSocketResponse], message: Any) -> bool:
        """Send what one said to all; whether the session ends by it."""
        faults = self.faults
        self.messages += 1
        if self.messages == faults.die_at_message:
            sys.exit("fell over")
        if self.messages == faults.stall_at_message:
            time.sleep(faults.stall_ms / 1000)  # noqa: ASYNC251 - the whole server is meant to stand still
        if faults.close_every and self.messages % faults.close_every == 0:
            await socket.close(code=faults.close_code)
            return True
        if faults.deaf_every and self.messages % faults.deaf_every == 0:
            return False
        hearers = [socket] if faults.alone else list(room)
        for number, hearer in enumerate(hearers):
            if number and number == len(hearers) - 1:
                await asyncio.sleep(faults.last_late_ms / 1000)
            say = hearer.send_str if message.type is WSMsgType.TEXT else hearer.send_bytes
            with suppress(ConnectionError):  # One who is about to leave.
                await say(message.data)
        return False


def synapse() -> Scenario:
    """The brief's API, whose synapse is asked on WebSockets for what it does not understand, and says so."""
    route = {
        "share": 1,
        "socket": {"path": "/synapse/s-{key}/socket", "message": "question", "greeting": True, "ping_s": 0.3},
        "steps": ["workers.compute"],
    }
    changes = {"bodies.question": {"type": "nothing", "id": "{run}-{request}"}, "routes.ask": route}
    return load_scenario("launch").with_(**changes).with_shares(ask=1)


async def main(faults: RoomFaults) -> None:
    """Serve until killed."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", Rooms(faults).http)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps({"http": f"http://127.0.0.1:{runner.addresses[0][1]}", "quic": None}), flush=True)
    await asyncio.sleep(3600)


@contextmanager
def socket_rooms(**faults: Any) -> Iterator[Deployment]:
    """Running rooms with the given :class:`RoomFaults`."""
    with serving("tests.support.socket_rooms", asdict(RoomFaults(**faults))) as deployment:
        yield deployment


if __name__ == "__main__":
    asyncio.run(main(RoomFaults(**json.loads(sys.argv[1]))))
