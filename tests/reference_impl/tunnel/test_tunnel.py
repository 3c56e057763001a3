"""The device tunnel: who may connect, what may pass, and what a heartbeat proves.

Goal: only certified devices get in, an answer is whole or refused, and every fault of a device is
answered. Method: the message core in memory, at its limits to the byte; then aioquic's own client
on loopback, with each kind of wrong certificate.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, DatagramFrameReceived, QuicEvent
from aioquic.quic.logger import QuicLogger

from reference_impl.deployment_file import Specification
from reference_impl.messages import Request, Response
from reference_impl.server import certs
from reference_impl.server.app import Options, open_deployment
from reference_impl.server.asyncio_clock import AsyncioClock, new_event_loop
from reference_impl.server.quic import ALPN, serve_tunnel
from reference_impl.timing.stopwatch import Stopwatch
from reference_impl.tunnel.tunnel import Tunnel
from tests.support.world import event, world

LIMIT_BYTES = 1_048_576
TLS_ERROR = 256
"""QUIC's error codes for TLS alerts begin here (RFC 9001, 4.8)."""


def message(method: str = "GET", path: str = "/loras?domain=code", **fields: Any) -> bytes:
    return json.dumps({"method": method, "path": path, **fields}).encode()


def answer_of(body: bytes, message_: bytes = b"") -> dict[str, Any]:
    """What the tunnel makes of a Worker's answer with *body*."""

    async def handler(request: Request, stopwatch: Stopwatch) -> tuple[Response, int]:
        return Response(200, body, {"server-timing": "d1;dur=1.000"}), LIMIT_BYTES

    with world() as w:
        tunnel = Tunnel(handler)
        packed = w.clock.run(tunnel.serve(message_ or message(), w.deployment.stopwatch()))[0]
    answer: dict[str, Any] = json.loads(packed)
    answer["bytes"] = len(packed)
    return answer


def test_a_message_reaches_the_worker_and_its_answer_comes_back() -> None:
    with world() as w:
        log = message("POST", "/log", body=json.dumps(event()))
        packed = w.clock.run(w.deployment.tunnel.serve(log, w.deployment.stopwatch()))[0]
    answer = json.loads(packed)
    assert answer["status"] == 200
    assert json.loads(answer["body"])["charge_microusd"] == 4227
    assert "ledger;dur=" in answer["headers"]["server-timing"]


def test_the_largest_answer_passes_and_one_byte_more_is_refused() -> None:
    # Hazard H42: the work was done, and the answer does not fit.
    frame_bytes = answer_of(b"")["bytes"]
    largest = b"x" * (LIMIT_BYTES - frame_bytes)
    passed, refused = answer_of(largest), answer_of(largest + b"x")
    assert (passed["status"], passed["bytes"]) == (200, LIMIT_BYTES)
    assert refused["status"] == 413
    error = json.loads(refused["body"])["error"]
    assert error["code"] == "response_too_large"
    assert "1048577 bytes" in error["message"]
    assert refused["headers"]["server-timing"] == "d1;dur=1.000"


def test_a_body_that_is_no_text_travels_as_base64() -> None:
    answer = answer_of(b"\xff\x00")
    assert answer["encoding"] == "base64"
    assert base64.b64decode(answer["body"]) == b"\xff\x00"


BAD_MESSAGES = [
    (b"\xff", 400, "bad_message"),
    (b"[]", 400, "bad_message"),
    (b"{" * 100_000, 400, "bad_message"),
    (message(path="loras"), 400, "bad_message"),
    (json.dumps({"method": "GET"}).encode(), 400, "bad_message"),
    (message(headers=[]), 400, "bad_message"),
    (message(headers={"a": 1}), 400, "bad_message"),
    (message(body=7), 400, "bad_message"),
    (message(body="\ud800"), 400, "bad_message"),
    (message(body="%", encoding="base64"), 400, "bad_message"),
    (message(method="BREW"), 405, "bad_method"),
    (b" " * (LIMIT_BYTES + 1), 413, "request_too_large"),
]


@pytest.mark.parametrize(("bad", "status", "code"), BAD_MESSAGES, ids=range(len(BAD_MESSAGES)))
def test_every_fault_of_a_device_is_an_answer(bad: bytes, status: int, code: str) -> None:
    answer = answer_of(b"", bad)
    assert answer["status"] == status
    assert json.loads(answer["body"])["error"]["code"] == code


def test_only_a_ping_is_answered_by_a_pong() -> None:
    with world() as w:
        assert w.deployment.tunnel.heartbeat(b"ping") == b"pong"
        assert w.deployment.tunnel.heartbeat(b"pong") is None
        assert w.deployment.tunnel.heartbeat(b"") is None


class Device(QuicConnectionProtocol):
    """A device that notes what it receives."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pongs: asyncio.Queue[bytes] = asyncio.Queue()
        self.closed: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def quic_event_received(self, event: QuicEvent) -> None:
        super().quic_event_received(event)
        if isinstance(event, DatagramFrameReceived):
            self.pongs.put_nowait(event.data)
        elif isinstance(event, ConnectionTerminated) and not self.closed.done():
            self.closed.set_result(event.error_code)

    async def ask(self, request: bytes) -> dict[str, Any]:
        reader, writer = await self.create_stream()
        writer.write(request)
        writer.write_eof()
        answer: dict[str, Any] = json.loads(await reader.read())
        return answer

    def beat(self, datagram: bytes = b"ping") -> None:
        self._quic.send_datagram_frame(datagram)
        self.transmit()


class Gate:
    """A tunnel on loopback, and devices to knock at it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.files = certs.ensure_files(folder / "certs")

    @asynccontextmanager
    async def device(self, identity: certs.Identity | None) -> AsyncIterator[Device]:
        """Connect with *identity*; None brings no certificate."""
        configuration = QuicConfiguration(
            is_client=True,
            alpn_protocols=[ALPN],
            server_name=certs.SERVER_NAME,
            max_datagram_frame_size=65_536,
            quic_logger=QuicLogger(),
        )
        configuration.load_verify_locations(str(self.files.ca))
        if identity is not None:
            configuration.certificate = identity.certificate
            configuration.private_key = identity.key
        async with connect("127.0.0.1", self.port, configuration=configuration, create_protocol=Device) as device:
            assert isinstance(device, Device)
            yield device


def play(folder: Path, scene: Any) -> None:
    """Run *scene* (a coroutine function of a :class:`Gate`) against a tunnel on loopback."""

    async def whole() -> None:
        options = Options("127.0.0.1", 0, 0, folder, Specification.full_speed(), "off")
        clock = AsyncioClock()
        with open_deployment(options, clock) as deployment:
            files = certs.ensure_files(folder / "certs")
            server, port = await serve_tunnel(deployment, files, host="127.0.0.1", port=0)
            try:
                async with asyncio.timeout(20):
                    await scene(Gate(folder, port))
            finally:
                server.close()
                await clock.cancel_all()

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(whole())


@pytest.fixture(scope="module")
def authority() -> certs.Identity:
    return certs.issue_authority()


@pytest.fixture
def folder(tmp_path: Path, authority: certs.Identity) -> Path:
    """A data folder whose authority the test holds the key of."""
    pems = tmp_path / "certs"
    pems.mkdir()
    (pems / "ca.pem").write_bytes(authority.certificate_pem())
    issued = (("server", certs.issue_server(authority)), ("device", certs.issue_device(authority)))
    for name, identity in issued:
        (pems / f"{name}.pem").write_bytes(identity.certificate_pem())
        (pems / f"{name}.key").write_bytes(identity.key_pem())
    return tmp_path


def test_a_certified_device_is_served_on_many_streams(folder: Path, authority: certs.Identity) -> None:
    async def scene(gate: Gate) -> None:
        async with gate.device(certs.issue_device(authority)) as device:
            asked = [device.ask(message("POST", "/log", body=json.dumps(event(f"event-{n}")))) for n in range(150)]
            answers = await asyncio.gather(*asked)
            assert {answer["status"] for answer in answers} == {200}
            balance = await device.ask(message(path="/balance?organization_id=org-7"))
            assert json.loads(balance["body"])["events_pending"] == 150

    play(folder, scene)


def test_a_ping_datagram_is_answered(folder: Path, authority: certs.Identity) -> None:
    # Hazard H38 is the heartbeat that nobody acknowledges.
    async def scene(gate: Gate) -> None:
        async with gate.device(certs.issue_device(authority)) as device:
            device.beat(b"hello")
            device.beat()
            assert await device.pongs.get() == b"pong"
            assert device.pongs.empty()

    play(folder, scene)


def test_a_mebibyte_comes_through_the_wire_and_more_is_refused(folder: Path, authority: certs.Identity) -> None:
    async def put(device: Device, lora: str, body: str) -> None:
        request = message(
            "PUT",
            f"/loras/{lora}/adapter.safetensors",
            body=base64.b64encode(body.encode()).decode(),
            encoding="base64",
        )
        assert (await device.ask(request))["status"] == 200

    async def scene(gate: Gate) -> None:
        async with gate.device(certs.issue_device(authority)) as device:
            # As JSON, a quotation mark takes two bytes.
            await put(device, "fits", '"' * (LIMIT_BYTES // 2 - 1_024))
            await put(device, "large", '"' * (LIMIT_BYTES // 2))
            fits = await device.ask(message(path="/loras/fits/adapter.safetensors"))
            large = await device.ask(message(path="/loras/large/adapter.safetensors"))
            assert (fits["status"], len(fits["body"])) == (200, LIMIT_BYTES // 2 - 1_024)
            assert json.loads(large["body"])["error"]["code"] == "response_too_large"

    play(folder, scene)


def test_a_defect_is_answered_and_told_to_the_operator(
    folder: Path,
    authority: certs.Identity,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def break_(request: object) -> None:
        raise ZeroDivisionError("planted")

    async def scene(gate: Gate) -> None:
        async with gate.device(certs.issue_device(authority)) as device:
            answer = await device.ask(message())
            assert answer["status"] == 500
            assert "planted" not in answer["body"]

    monkeypatch.setattr("reference_impl.workers.worker.route", break_)
    play(folder, scene)
    assert "planted" in capsys.readouterr().err


def wrong_identities(authority: certs.Identity) -> dict[str, tuple[certs.Identity | None, int]]:
    """Every kind of wrong client certificate, and the TLS alert that refuses it."""
    stranger, namesake = certs.issue_authority(name="Stranger"), certs.issue_authority()
    return {
        "none": (None, 116),
        "strange issuer": (certs.issue_device(stranger), 42),
        "issuer of the same name": (certs.issue_device(namesake), 42),
        "meant for servers": (certs.issue_server(authority), 43),
        "an authority": (authority, 43),
        "expired": (certs.issue_device(authority, life=timedelta(days=-1)), 45),
    }


KINDS = ("none", "strange issuer", "issuer of the same name", "meant for servers", "an authority", "expired")


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_certificate_is_refused(folder: Path, authority: certs.Identity, kind: str) -> None:
    identity, alert = wrong_identities(authority)[kind]

    async def scene(gate: Gate) -> None:
        # The client's handshake ends before the server has looked at its certificate.
        async with gate.device(identity) as device:
            asking = asyncio.create_task(device.ask(message("POST", "/log", body=json.dumps(event()))))
            assert await device.closed == TLS_ERROR + alert
            asking.cancel()
        async with gate.device(certs.issue_device(authority)) as device:
            balance = await device.ask(message(path="/balance?organization_id=org-7"))
            assert json.loads(balance["body"])["events_pending"] == 0

    play(folder, scene)


def test_a_device_trusts_no_other_server(tmp_path: Path, folder: Path) -> None:
    async def scene(gate: Gate) -> None:
        gate.files = certs.ensure_files(tmp_path / "elsewhere")
        with pytest.raises(ConnectionError):
            async with gate.device(None):
                pass

    play(folder, scene)


def test_certificate_files_are_kept_and_private(tmp_path: Path) -> None:
    files = certs.ensure_files(tmp_path)
    before = files.device_cert.read_bytes()
    assert certs.ensure_files(tmp_path) == files
    assert files.device_cert.read_bytes() == before
    assert files.device_key.stat().st_mode & 0o077 == 0
    files.device_cert.unlink()
    assert certs.ensure_files(tmp_path).device_cert.read_bytes() != before
