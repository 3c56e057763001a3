"""Devices that stop in the middle of a message: refused, while the rest of their connection goes on.

Goal: heartbeats do not keep a message alive that does not come. Method: aioquic's own client on loopback, the limits as
they are, on an event loop that skips the time in which nothing happens. All else of the tunnel is in
``test_tunnel.py``.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent, StopSendingReceived, StreamDataReceived

from reference_impl.deployment_file import Specification
from reference_impl.server import certs
from reference_impl.server.app import Options, open_deployment
from reference_impl.server.asyncio_clock import AsyncioClock
from reference_impl.server.quic import ALPN, IDLE_TIMEOUT_S, SLOW_MESSAGE, serve_tunnel
from reference_impl.server.stalls import Limits
from tests.support.skipping_time import SkippingLoop

LIMITS = Limits()
MESSAGE = json.dumps({"method": "GET", "path": "/loras?domain=code", "body": "x" * 3_000}).encode()


class Device(QuicConnectionProtocol):
    """A device that sends heartbeats and notes which streams the server stopped."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.stopped: list[int] = []
        self._answer = bytearray()
        self._answered = asyncio.Event()

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StopSendingReceived):
            self.stopped.append(event.error_code)
        elif isinstance(event, StreamDataReceived):
            self._answer += event.data
            if event.end_stream:
                self._answered.set()

    async def beat(self) -> None:
        """Send heartbeats without end."""
        while True:
            self._quic.send_datagram_frame(b"ping")
            self.transmit()
            await asyncio.sleep(IDLE_TIMEOUT_S / 4)

    async def ask(self, *, every_s: float) -> dict[str, Any]:
        """Send a message in 30 parts and return the answer, which may come before the end."""
        self._answer.clear()
        self._answered.clear()
        sending = asyncio.create_task(self._send(every_s))
        await self._answered.wait()
        sending.cancel()
        answer: dict[str, Any] = json.loads(self._answer)
        return answer

    async def _send(self, every_s: float) -> None:
        stream_id, size = self._quic.get_next_available_stream_id(), len(MESSAGE) // 30 + 1
        for start in range(0, len(MESSAGE), size):
            self._quic.send_stream_data(stream_id, MESSAGE[start : start + size], start + size >= len(MESSAGE))
            self.transmit()
            await asyncio.sleep(every_s)


def with_device(folder: Path, scene: Callable[[Device], Awaitable[None]]) -> None:
    """Play *scene* on a device's connection."""

    async def whole() -> None:
        clock, options = AsyncioClock(), Options("127.0.0.1", 0, 0, folder, Specification.full_speed(), "off")
        files = certs.ensure_files(folder / "certs")
        configuration = QuicConfiguration(
            is_client=True, alpn_protocols=[ALPN], server_name=certs.SERVER_NAME, max_datagram_frame_size=65_536
        )
        configuration.load_verify_locations(str(files.ca))
        configuration.load_cert_chain(str(files.device_cert), str(files.device_key))
        with open_deployment(options, clock) as deployment:
            server, port = await serve_tunnel(deployment, files, host=options.host, port=0)
            try:
                async with connect(options.host, port, configuration=configuration, create_protocol=Device) as device:
                    assert isinstance(device, Device)
                    beating = asyncio.create_task(device.beat())
                    await asyncio.wait_for(scene(device), 600)
                    beating.cancel()
            finally:
                server.close()
                await clock.cancel_all()

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(whole())


@pytest.mark.parametrize("every_s", [1_000.0, 5.0], ids=["rests", "trickles"])
def test_a_message_that_stalls_is_refused_and_its_stream_stopped(tmp_path: Path, every_s: float) -> None:
    async def scene(device: Device) -> None:
        began_s = device._loop.time()
        refused = await device.ask(every_s=every_s)
        assert (refused["status"], json.loads(refused["body"])["error"]["code"]) == (408, "slow_body")
        assert device._loop.time() - began_s >= LIMITS.rest_s - 1
        await asyncio.sleep(1)
        assert device.stopped == [SLOW_MESSAGE]
        assert (await device.ask(every_s=0))["status"] == 200

    with_device(tmp_path, scene)


def test_a_slow_message_that_moves_is_served(tmp_path: Path) -> None:
    async def scene(device: Device) -> None:
        # 3,000 bytes in 5 s are more than 500 a second.
        assert (await device.ask(every_s=5 / 30))["status"] == 200
        assert device.stopped == []

    with_device(tmp_path, scene)
