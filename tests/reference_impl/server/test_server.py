"""The real process: how it starts, what it says, how it stops, and what survives it.

Goal: a runner can rely on the ready line, the exit status and the data folder. Method: the process
itself, on free ports of loopback.
"""

import asyncio
import contextlib
import json
import resource
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import aiohttp
import pytest

from reference_impl.deployment_file import Specification
from reference_impl.messages import Response
from reference_impl.server.app import Options, listen, open_deployment
from reference_impl.server.asyncio_clock import AsyncioClock, new_event_loop
from reference_impl.server.http import HttpApp
from reference_impl.server.stalls import Limits
from reference_impl.workers.admission import JSON_BODY_BYTES_MAX
from tests.support.world import event

READY_S = 30


@dataclass
class Server:
    """A running reference."""

    process: "subprocess.Popen[str]"
    ready: dict[str, Any]

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes, str]:
        """Send one request; return status, body and Server-Timing."""
        asked = Request(self.ready["http"] + path, data=body, method=method)
        try:
            with urlopen(asked, timeout=10) as answer:
                return answer.status, answer.read(), answer.headers.get("server-timing", "")
        except HTTPError as error:
            return error.code, error.read(), ""

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(10)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "reference_impl", *arguments]


@contextmanager
def server(*arguments: str) -> Iterator[Server]:
    with subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Server(process, json.loads(process.stdout.readline()))
        finally:
            process.terminate()


def refusal(*arguments: str) -> str:
    """Run with bad options; return the one line of standard error."""
    done = subprocess.run(command(*arguments), check=False, capture_output=True, text=True, timeout=READY_S)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_the_ready_line_names_what_can_be_reached(tmp_path: Path) -> None:
    with server("--data", str(tmp_path)) as s:
        assert s.ready["pid"] == s.process.pid
        assert set(s.ready["quic"]) == {"host", "port", "server_name", "ca", "cert", "key"}
        assert all(Path(s.ready["quic"][name]).is_file() for name in ("ca", "cert", "key"))
        assert s.ask("GET", "/health")[0] == 200
        status, body, timing = s.ask("POST", "/log", json.dumps(event()).encode())
        assert (status, json.loads(body)["charge_microusd"]) == (200, 4_227)
        assert "ledger;dur=" in timing
        assert b'requests_total{method="POST",status="200"} 1.0' in s.ask("GET", "/metrics")[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_status_0_and_nothing_said(number: signal.Signals) -> None:
    with server() as s:
        assert s.stop(number) == 0
        assert s.process.stderr is not None
        assert s.process.stderr.read() == ""


def test_without_a_data_folder_nothing_is_left() -> None:
    with server() as s:
        folder = Path(s.ready["quic"]["ca"]).parents[1]
        assert folder.is_dir()
        s.stop()
        assert not folder.exists()


@pytest.mark.parametrize("fsync", ["full", "normal", "off"])
def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, fsync: str) -> None:
    arguments = ("--data", str(tmp_path), "--fsync", fsync)
    with server(*arguments) as s:
        for n in range(5):
            assert s.ask("POST", "/log", json.dumps(event(f"event-{n}")).encode())[0] == 200
        assert s.ask("PUT", "/loras/lora-1/adapter.safetensors", b"weights")[0] == 200
        s.stop(signal.SIGKILL)
    with server(*arguments) as s:
        assert json.loads(s.ask("GET", "/balance?organization_id=org-7")[1])["events_pending"] == 5
        assert s.ask("GET", "/loras/lora-1/adapter.safetensors")[1] == b"weights"
        again = s.ask("POST", "/log", json.dumps(event("event-0")).encode())[1]
        assert json.loads(again)["duplicate"] is True


def test_a_listener_resumes_after_the_process_was_killed(tmp_path: Path) -> None:
    async def hear(url: str, after: int) -> list[Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{url}/synapse/session-1/socket") as socket,
        ):
            await socket.send_str(json.dumps({"type": "resume", "after": after}))
            entries = [await socket.receive_json(timeout=READY_S)]
            while entries[-1]["type"] != "result":
                entries.append(await socket.receive_json(timeout=READY_S))
            return entries[1:]

    question = json.dumps({"request_id": "r1", "prompt": "hello"}).encode()
    with server("--data", str(tmp_path)) as s:
        assert s.ask("POST", "/synapse/session-1/consensus", question)[0] == 200
        before = asyncio.run(hear(s.ready["http"], 0))
        s.stop(signal.SIGKILL)
    with server("--data", str(tmp_path)) as s:
        assert asyncio.run(hear(s.ready["http"], 0)) == before
        assert asyncio.run(hear(s.ready["http"], 2)) == before[2:]


def test_open_sockets_do_not_keep_the_process_from_ending() -> None:
    async def listen_and_stop(s: Server) -> int | None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{s.ready['http']}/synapse/session-1/socket") as socket,
        ):
            await socket.receive_str()
            s.process.send_signal(signal.SIGTERM)
            await socket.receive(timeout=READY_S)
            return socket.close_code

    with server() as s:
        assert asyncio.run(listen_and_stop(s)) == 1012
        assert s.process.wait(10) == 0


def test_more_clients_than_a_process_usually_has_files_stop_nobody() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    try:
        running = server()
        s = running.__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with contextlib.ExitStack() as stack:
        stack.push(running.__exit__)
        parts = urlsplit(s.ready["http"])
        for _ in range(300):
            connection = stack.enter_context(socket.create_connection((parts.hostname, parts.port), timeout=10))
            connection.sendall(b"GET /hea")
        assert s.ask("POST", "/log", json.dumps(event()).encode())[0] == 200


def test_a_paced_process_takes_the_times_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "deployment.json"
    system = {"d1": {"rtt_ms": 30, "read_ms": 12}}
    file.write_text(json.dumps({"seed": 1, "api": "superinstance", "system": system}))
    with server("--deployment", str(file)) as s:
        timings = [s.ask("GET", "/loras?domain=code")[2] for _ in range(5)]
        # A query that a busy machine holds up for longer than its 12 ms takes as long as it takes; not each time.
        assert any("d1;dur=42.000" in timing for timing in timings), timings


@pytest.mark.parametrize("option", ["--port", "--quic-port"])
def test_a_port_in_use_is_one_line_and_status_2(option: str) -> None:
    kind = socket.SOCK_STREAM if option == "--port" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if option == "--port":
            taken.listen()
        port = str(taken.getsockname()[1])
        said = refusal(option, port)
    assert f"{option[2:]}={port} cannot be had: " in said
    assert "choose another or 0 for any" in said


def test_bad_options_are_one_line_and_status_2(tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text('{"system": {"d1": {"rtt_ms": -1}}}')
    assert "system.d1.rtt_ms=-1 must be >= 0" in refusal("--deployment", str(bad))
    assert "cannot be read" in refusal("--deployment", str(tmp_path / "none.json"))
    assert "must be a port number" in refusal("--port", "70000")
    assert "the deployment file names the policy" in refusal("--deployment", str(bad), "--policy", "seed")
    assert "must be a writable folder" in refusal("--data", str(bad))
    assert "unrecognized arguments" in refusal("--nonsense")


def test_a_newer_database_than_the_code_is_refused(tmp_path: Path) -> None:
    with server("--data", str(tmp_path)) as s:
        s.stop()
    from reference_impl.server.disks import open_engine

    engine = open_engine(tmp_path / "system" / "d1" / "database.sqlite", fsync="off")
    engine.execute("INSERT INTO d1_migrations (name) VALUES ('9999_future.sql')")
    engine.close()
    assert "add new files at the end" in refusal("--data", str(tmp_path))


def test_answers_do_not_wait_for_a_delayed_acknowledgement() -> None:
    # asyncio leaves Nagle's algorithm on for a socket whose protocol number is 0.
    with listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


# --- the adapter alone -----------------------------------------------------------------------


def through_asgi(path: str, *bodies: dict[str, Any], tmp_path: Path, **headers: str) -> Response:
    """Send one request through the ASGI application."""
    sent: list[Any] = []
    messages = list(bodies)

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    async def whole() -> None:
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()],
        }
        options = Options("127.0.0.1", 0, 0, tmp_path, Specification.full_speed(), "off")
        clock = AsyncioClock()
        with open_deployment(options, clock) as deployment:
            await HttpApp(deployment, limits=Limits())(scope, receive, send)
            await clock.cancel_all()

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(whole())
    return Response(sent[0]["status"], sent[1]["body"])


def test_a_body_in_parts_is_put_together(tmp_path: Path) -> None:
    body = json.dumps(event()).encode()
    parts = [{"type": "http.request", "body": body[:9], "more_body": True}]
    parts.append({"type": "http.request", "body": body[9:]})
    assert through_asgi("/log", *parts, tmp_path=tmp_path, transfer_encoding="chunked").status == 200


def test_a_body_over_the_limit_is_refused_unread(tmp_path: Path) -> None:
    # A read would find no message.
    too_many = str(JSON_BODY_BYTES_MAX + 1)
    assert through_asgi("/log", tmp_path=tmp_path, content_length=too_many).status == 413


def test_a_body_that_announces_no_size_is_read_up_to_the_bound(tmp_path: Path) -> None:
    parts = [{"type": "http.request", "body": b"x" * size, "more_body": True} for size in (JSON_BODY_BYTES_MAX, 1)]
    assert through_asgi("/log", *parts, tmp_path=tmp_path, transfer_encoding="chunked").status == 413


def test_a_client_that_goes_away_is_no_defect(tmp_path: Path) -> None:
    gone = {"type": "http.disconnect"}
    assert through_asgi("/log", gone, tmp_path=tmp_path, content_length="5").status == 400


def test_a_defect_is_told_to_the_operator_and_not_to_the_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def break_(request: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr("reference_impl.workers.worker.route", break_)
    answer = through_asgi("/log", {"type": "http.request", "body": b""}, tmp_path=tmp_path)
    assert answer.status == 500
    assert b"planted" not in answer.body
    assert "planted" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(selectors, "EpollSelector"), reason="only epoll rounds up")
def test_the_event_loop_wakes_up_before_epoll_s_whole_millisecond() -> None:
    # The same twenty short sleeps on both loops; the fastest of some tries is compared, since a busy
    # machine only ever makes a try slower.
    async def sleeps() -> float:
        clock = AsyncioClock()
        began_ms = clock.now_ms()
        for _ in range(20):
            await clock.sleep_until_ms(clock.now_ms() + 0.2)
        return clock.now_ms() - began_ms

    def fastest_ms(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> float:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return min(runner.run(sleeps()) for _ in range(10))

    assert fastest_ms(new_event_loop) < fastest_ms(asyncio.new_event_loop)
