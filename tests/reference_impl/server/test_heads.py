"""Decisions by the head, on the wire: what is refused is refused unread, and a client that still sends sees the answer.

Goal: nobody makes the deployment read a body that it does not want, and the connection is usable or closed afterwards,
never out of step. Method: heads drawn by Hypothesis go to a real socket; the oracle is that of ``test_admission.py``,
which knows the API from its documentation. ``expect: 100-continue`` shows whether the body is wanted: the server says
100 when it begins to read, and not before.
"""

import asyncio
import hashlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import assume, given

from reference_impl.messages import Request
from reference_impl.workers.access import Gatekeeper, Grant
from tests.reference_impl.workers.test_access import ENTRY
from tests.reference_impl.workers.test_admission import ACCESS, ADAPTER, JSON, UPLOAD, expected, heads
from tests.support.process import started
from tests.support.serving import Served, serving
from tests.support.wire import HEALTH, Address, Answer, ask, head_bytes, read_answer, statuses
from tests.support.world import event, world

SENT_BYTES_MAX = 2_000_000
"""Longer bodies are only announced here."""
LEDGER_KEY = {"authorization": "Bearer si_ledger"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A deployment with keys."""
    with serving(tmp_path_factory.mktemp("heads"), access=ACCESS) as running:
        yield running


def size_of(head: Request) -> int:
    """The announced length."""
    return int(head.headers.get("content-length", "0"))


async def ask_expecting(address: Address, head: Request, body: bytes) -> tuple[Answer, bool, bool]:
    """Send a head, its body only if that is wanted, then a second request.

    Return the answer, whether the body was wanted, and whether the second request was served.
    """
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(head_bytes(head, "expect: 100-continue"))
        answer = await read_answer(reader, method=head.method)
        is_wanted = answer.status == 100
        if is_wanted:
            writer.write(body)
            answer = await read_answer(reader, method=head.method)
        writer.write(HEALTH)
        return answer, is_wanted, (await reader.readline()).startswith(b"HTTP/1.1 200")
    finally:
        writer.close()


@given(head=heads())
def test_only_a_wanted_body_is_asked_for(served: Served, head: Request) -> None:
    outcome = expected(head, has_keys=True)
    is_refused = outcome < 1_000
    assume(is_refused or size_of(head) < SENT_BYTES_MAX)
    body = b"" if is_refused else b"x" * size_of(head)
    answer, is_wanted, goes_on = served.run(ask_expecting(served.address, head, body))
    assert is_wanted == (not is_refused and size_of(head) > 0)
    if is_refused:
        assert answer.status == outcome
        assert head.method == "HEAD" or json.loads(answer.body)["success"] is False
    else:
        assert answer.status not in (401, 403, 404, 405, 413) or head.path == ADAPTER
    # In step with the client, or closed and said to be.
    is_closed = is_refused and size_of(head) > 0
    assert (answer.headers.get("connection") == "close") == is_closed
    assert goes_on == (not is_closed)


@given(head=heads())
def test_a_refusal_comes_without_a_byte_of_the_body(served: Served, head: Request) -> None:
    refused = expected(head, has_keys=True)
    assume(refused < 1_000)
    assert served.run(statuses(served.address, head_bytes(head, "connection: close"))) == [refused]


def test_a_chunked_body_is_read_up_to_the_bound_of_its_route(served: Served) -> None:
    head = Request("POST", "/log", headers={**LEDGER_KEY, "transfer-encoding": "chunked"})
    for size, status in ((JSON, 400), (JSON + 1, 413), (10 * JSON, 413)):
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (size, b" " * size)
        answer, is_wanted, goes_on = served.run(ask_expecting(served.address, head, body))
        assert (answer.status, is_wanted, goes_on) == (status, True, status == 400)


def test_an_endless_chunked_body_is_cut_at_the_bound(served: Served) -> None:
    chunk = b"%x\r\n%b\r\n" % (JSON, b" " * JSON)
    head = Request("POST", "/log", headers={**LEDGER_KEY, "transfer-encoding": "chunked"})
    assert served.run(statuses(served.address, head_bytes(head), *[chunk] * 40)) == [413]


def test_a_body_too_long_is_refused_by_its_head_whatever_comes(served: Served) -> None:
    headers = {"authorization": "Bearer si_uploader", "content-length": str(UPLOAD + 1)}
    head = head_bytes(Request("PUT", ADAPTER, headers=headers))
    assert served.run(statuses(served.address, head, *[b"x" * 1_000_000] * 20)) == [413]


def test_two_lengths_of_one_body_are_refused(served: Served) -> None:
    # A proxy in front could believe the other one, and take the health check for part of the body.
    head = head_bytes(Request("POST", "/log", headers={"content-length": "5", "transfer-encoding": "chunked"}))
    assert served.run(statuses(served.address, head, b"0\r\n\r\n" + HEALTH)) == [400]


@pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), (ADAPTER, 401)])
def test_a_client_that_sends_without_looking_sees_its_refusal(tmp_path: Path, path: str, status: int) -> None:
    # http.client sends the whole body before it reads. If the server closed both halves of the connection, the system
    # would answer the body with a reset, and the refusal would be lost.
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps([ENTRY]), "utf-8")
    with started("--fsync", "off", "--keys", str(keys)) as (_, ready):
        parts = urlsplit(ready["http"])
        for _ in range(3):
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
            try:
                connection.request("PUT", path, body=b"x" * 30_000_000)
                response = connection.getresponse()
                assert (response.status, response.getheader("connection")) == (status, "close")
                assert json.loads(response.read())["success"] is False
            finally:
                connection.close()


def test_many_clients_at_once_are_each_refused(served: Served) -> None:
    async def together() -> list[list[int]]:
        head = head_bytes(Request("PUT", "/nowhere", headers={"content-length": "50000000"}))
        return await asyncio.gather(*(statuses(served.address, head, *[b"x" * 100_000] * 5) for _ in range(50)))

    assert served.run(together()) == [[404]] * 50


def test_refusals_are_counted_like_answers(served: Served) -> None:
    async def count(status: int) -> float:
        text = (await ask(served.address, Request("GET", "/metrics"))).body
        name = f'requests_total{{method="PUT",status="{status}"'
        return sum(float(line.split()[-1]) for line in text.decode().splitlines() if line.startswith(name))

    for path, status in (("/nowhere", 404), ("/log", 405), (ADAPTER, 401)):
        before = served.run(count(status))
        refused = head_bytes(Request("PUT", path, headers={"content-length": "7"}))
        assert served.run(statuses(served.address, refused)) == [status]
        assert served.run(count(status)) == before + 1


def test_a_key_for_one_organisation_needs_the_body_to_say_which(tmp_path: Path) -> None:
    grant = Grant(hashlib.sha256(b"si_seven").hexdigest(), "org-7", frozenset({"write"}))
    with serving(tmp_path, access=Gatekeeper([grant])) as running:
        for organization, status in (("org-7", 200), ("org-8", 403)):
            body = json.dumps(event(organization_id=organization)).encode()
            headers = {"authorization": "Bearer si_seven", "content-length": str(len(body))}
            head = Request("POST", "/log", headers=headers)
            answer, is_wanted, goes_on = running.run(ask_expecting(running.address, head, body))
            assert (answer.status, is_wanted, goes_on) == (status, True, True)


@pytest.mark.parametrize("path", ["/health", "/metrics", "/openapi.json", "/balance", "/loras", "/synapse/s/state"])
def test_head_is_answered_like_get_without_the_body(served: Served, path: str) -> None:
    key = "si_council" if "synapse" in path else "si_reader"
    query, headers = {"organization_id": "org-7", "domain": "code"}, {"authorization": f"Bearer {key}"}
    got, headed = (served.run(ask(served.address, Request(method, path, query, headers))) for method in ("GET", "HEAD"))
    assert (got.status, headed.status, headed.body) == (200, 200, b"")
    assert int(got.headers["content-length"]) == len(got.body) > 0
    if path != "/metrics":  # Which count each other.
        stable = [{k: v for k, v in a.headers.items() if k != "server-timing"} for a in (got, headed)]
        assert stable[0] == stable[1]


def test_an_upgrade_without_its_connection_is_no_upgrade(served: Served) -> None:
    # uvicorn takes it for a plain request, so the object would keep a socket that nobody can use.
    headers = {"authorization": "Bearer si_council", "upgrade": "websocket", "connection": "close"}
    head = head_bytes(Request("GET", "/synapse/s/socket", headers=headers))
    assert served.run(statuses(served.address, head)) == [426]


def test_a_stream_of_the_tunnel_cannot_become_a_websocket() -> None:
    message = {"method": "GET", "path": "/synapse/s/socket", "headers": {"Upgrade": "websocket"}}
    with world() as w:
        packed = w.clock.run(w.deployment.tunnel.serve(json.dumps(message).encode(), w.deployment.stopwatch()))[0]
    assert json.loads(packed)["status"] == 426
