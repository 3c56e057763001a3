"""Routes, served: a process with a scenario of its own, reached over HTTP and over the tunnel.

Goal: what a deployment file says is what a client meets: several databases, a cache that mostly hits, work that nobody
waits for, and a limit of the tunnel. Method: the real process on loopback; its answers, its Server-Timing, and after
its end the files that it leaves.
"""

import asyncio
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from aioquic.asyncio.client import connect
from aioquic.quic.configuration import QuicConfiguration

from reference_impl.server.quic import ALPN
from tests.reference_impl.server.test_server import refusal
from tests.support.process import started

DEPLOYMENT: dict[str, Any] = {
    "seed": 7,
    "system": {
        "network": {"client_rtt_ms": 6},
        "client": {"timeout_ms": 5_000},
        "workers": {"isolates": 4, "cpu_ms": 1},
        "d1": {"rtt_ms": 2, "read_ms": 1, "write_ms": 2},
        "archive": {"component": "d1", "rtt_ms": 8, "read_ms": 1},
        "rooms": {"component": "durable_objects", "shards": 4, "rtt_ms": 2, "write_ms": 1, "output_gate_ms": 3},
        "r2": {"put_ms": 2, "get_ms": 2, "bandwidth_bytes_per_s": 10_000_000},
        "tunnel": {"overhead_ms": 4, "response_limit_bytes": 2_000},
    },
    "routes": {
        "feed": {
            "request": {"method": "GET", "path": "/feed/{key}?page={request}"},
            "steps": [
                {"use": "workers.compute"},
                {"use": "archive.read", "chance": 0.2},
                {"steps": [{"use": "d1.read", "parameters": {"rows_read": 3}}, {"use": "r2.get"}], "parallel": True},
                {"use": "rooms.write", "spawn": True, "timeout_ms": 2_000, "retries": 2, "backoff_ms": 50},
            ],
        },
        "post": {
            "request": {"method": "POST", "path": "/posts/{key}"},
            "steps": [{"use": "workers.compute"}, {"use": "d1.write"}, {"use": "r2.put"}],
        },
        "device": {
            "enter": "tunnel",
            "request": {"method": "GET", "path": "/feed/{key}"},
            "steps": [{"use": "workers.compute"}, {"use": "r2.get"}],
        },
    },
}
REQUESTS, KEYS = 60, 6


def ask(url: str, method: str = "GET", body: bytes | None = None, **headers: object) -> tuple[int, bytes, str]:
    """Send one request; return status, body and Server-Timing."""
    named = {f"headroom-{name.replace('_', '-')}": str(value) for name, value in headers.items()}
    try:
        with urlopen(Request(url, data=body, method=method, headers=named), timeout=30) as answer:
            return answer.status, answer.read(), answer.headers["server-timing"]
    except HTTPError as error:
        return error.code, error.read(), ""


def times_of(server_timing: str) -> dict[str, float]:
    return {name: float(ms) for name, ms in re.findall(r"(\w+);dur=([0-9.]+)", server_timing)}


async def through_the_tunnel(quic: dict[str, Any], *asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Send messages through the tunnel, a stream each; return the answers."""
    configuration = QuicConfiguration(is_client=True, alpn_protocols=[ALPN], server_name=quic["server_name"])
    configuration.load_verify_locations(cafile=quic["ca"])
    configuration.load_cert_chain(quic["cert"], quic["key"])
    answers = []
    async with connect(quic["host"], quic["port"], configuration=configuration) as connection:
        for message in asked:
            reader, writer = await connection.create_stream()
            writer.write(json.dumps(message).encode())
            writer.write_eof()
            answers.append(json.loads(await reader.read()))
    return answers


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def write(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "deployment.json"
    path.write_text(json.dumps(content))
    return path


def test_routes_are_served_on_real_parts_over_http_and_the_tunnel(tmp_path: Path) -> None:
    arguments = ("--deployment", str(write(tmp_path, DEPLOYMENT)), "--data", str(tmp_path / "data"))
    with started(*arguments) as (process, ready):
        url = ready["http"]
        assert ask(f"{url}/feed/0", key=0, object=1, size_bytes=900, prepare=1)[0] == 200
        met_archive = 0
        for n in range(REQUESTS):
            status, body, timing = ask(f"{url}/feed/{n % KEYS}?page={n}", key=n % KEYS, object=1, request=n)
            assert (status, len(body)) == (200, 900)
            spent_ms = times_of(timing)
            met_archive += "archive" in spent_ms
            assert spent_ms["network"] >= 6  # A machine that is late is slower, never faster.
            assert spent_ms["worker_cpu"] == spent_ms["workers"] >= 1
            assert "rooms" not in spent_ms
        assert 0 < met_archive < REQUESTS / 2
        status, _, timing = ask(f"{url}/posts/1", "POST", b"mine", key=1, object=5, request=1)
        assert (status, set(times_of(timing)) - {"worker_cpu"}) == (
            200,
            {"network", "workers", "workers_queue", "d1", "d1_queue", "r2"},
        )
        about = {"headroom-key": "1", "headroom-object": "2"}
        small, large, unknown = asyncio.run(
            through_the_tunnel(
                ready["quic"],
                {"method": "GET", "path": "/feed/1", "headers": {**about, "headroom-size-bytes": "900"}},
                {
                    "method": "GET",
                    "path": "/feed/1",
                    "headers": {"headroom-object": "3", "headroom-size-bytes": "2000"},
                },
                {"method": "POST", "path": "/posts/1"},
            )
        )
        assert (small["status"], len(small["body"])) == (200, 900)
        assert times_of(small["headers"]["server-timing"])["tunnel"] == 4
        assert "network" not in small["headers"]["server-timing"]
        assert (large["status"], json.loads(large["body"])["error"]["code"]) == (413, "response_too_large")
        assert unknown["status"] == 404
        assert ask(f"{url}/loras?domain=code")[0] == 404
        process.terminate()
        assert process.wait(10) == 0
    check_files(tmp_path / "data" / "system", met_archive=met_archive)


def check_files(folder: Path, *, met_archive: int) -> None:
    """Look at what the process left: rows, state and objects of every request."""
    rows = query(
        folder / "d1" / "database.sqlite", "SELECT key, count(*), sum(version) FROM headroom_rows GROUP BY key"
    )
    assert rows == [(key, 3, int(key == 1)) for key in range(KEYS)]
    # The preparation read the archive too, for key 0 only.
    archived = query(folder / "archive" / "database.sqlite", "SELECT DISTINCT key FROM headroom_rows")
    assert 1 <= len(archived) <= 1 + min(met_archive, KEYS)
    writes = 0
    for path in (folder / "rooms").glob("*.sqlite"):
        if path.stem != "index":
            writes += sum(int(value) for (value,) in query(path, "SELECT value FROM _cf_kv WHERE key LIKE 'row-%'"))
    assert writes == REQUESTS + 1
    # feed/1, post/5, device/2 and device/3.
    assert len(list((folder / "r2").glob("*.object"))) == 4


def test_a_bad_deployment_file_or_part_ends_the_process_with_one_line(tmp_path: Path) -> None:
    bad = write(tmp_path, {**DEPLOYMENT, "routes": {"one": {"steps": [{"use": "d1.raed"}]}}})
    assert "routes.one.request.method='' must be one of GET" in refusal("--deployment", str(bad))
    lonely = write(tmp_path, {"system": {"ledger": {}}})
    assert "must name an instance of durable_objects; there is none" in refusal("--deployment", str(lonely))
    assert "cannot be read" in refusal("--deployment", str(tmp_path / "none.json"))
    assert "the deployment file names the policy" in refusal("--deployment", str(lonely), "--policy", "seed")
    part = tmp_path / "part.py"
    for source, said in (
        ("raise ZeroDivisionError('two\\nlines')", "failed: ZeroDivisionError: two"),
        ("def", "failed: SyntaxError: "),
        (
            "from reference_impl.registry import *\nregister(built_in()['d1'])",
            "component='d1' is built in; give yours another name",
        ),
    ):
        part.write_text(source)
        assert said in refusal("--part", str(part))
    assert "cannot be read" in refusal("--part", str(tmp_path / "none.py"))
