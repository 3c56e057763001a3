"""Bad input, down to the bytes on the wire: every refusal is 4xx with a JSON error, and nothing changes.

Goal: whatever a client sends, the server answers in one way, keeps what it has and has no defect to tell. Method: bytes
that no well-behaved client sends, written to the socket of the real process; the balance is asked before and after, and
the process must have said nothing on its error stream. What a well-behaved client can send is in ``test_contract.py``;
what the description promises is fuzzed by ``test_openapi.py``.
"""

import gzip
import json
import socket
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.process import started
from tests.support.world import event

EVENT = json.dumps(event()).encode()
UPGRADE = (
    b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    """Where a reference listens; in the end it must have told of no defect."""
    with started("--fsync", "off", errors=subprocess.PIPE) as (process, ready):
        parts = urlsplit(ready["http"])
        yield parts.hostname or "", parts.port or 0
        process.terminate()
        assert process.communicate()[1] == ""


def send(address: tuple[str, int], data: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes; return status, headers and body of the first answer."""
    with socket.create_connection(address, timeout=10) as connection, connection.makefile("rb") as answer:
        connection.sendall(data)
        status = int(answer.readline().split()[1])
        lines = iter(answer.readline, b"\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.decode().partition(":") for line in lines)}
        return status, headers, answer.read(int(headers["content-length"]))


def request(method: bytes, path: bytes, body: bytes = b"", *, headers: bytes = b"", sized: bool = True) -> bytes:
    """One request as bytes."""
    size = b"content-length: %d\r\n" % len(body) if sized else b""
    return b"%b %b HTTP/1.1\r\nhost: x\r\n%b%b\r\n%b" % (method, path, size, headers, body)


def log(body: bytes, headers: bytes = b"") -> bytes:
    """``POST /log`` with *body*."""
    return request(b"POST", b"/log", body, headers=headers)


def swapped(old: bytes, new: bytes) -> bytes:
    """``POST /log`` with an event in which one piece is another."""
    assert EVENT.count(old) == 1
    return log(EVENT.replace(old, new))


def headed(headers: bytes) -> bytes:
    """``POST /log`` with a good event and other headers than its own."""
    return request(b"POST", b"/log", EVENT + b"\r\n", headers=headers, sized=False)


BAD: dict[str, tuple[int, bytes]] = {
    # What the body says.
    "a name twice": (400, swapped(b'"tokens_in": 278', b'"tokens_in": 278, "tokens_in": 1')),
    "a name twice, deep inside": (400, swapped(b"278", b'{"a": [{"b": 1, "b": 1}]}')),
    "a number that is none": (400, swapped(b"278", b"NaN")),
    "infinity": (400, swapped(b"278", b"-Infinity")),
    "a float too large": (400, swapped(b"278", b"1e999")),
    "a whole number too large": (400, swapped(b"278", b"1e300")),
    "more digits than are read": (400, swapped(b"278", b"9" * 5_000)),
    "a negative number": (400, swapped(b"278", b"-1")),
    "a text for a number": (400, swapped(b"278", b'"278"')),
    "half of a character in a value": (400, swapped(b"user-7", b"\\ud800")),
    "half of a character in a name": (400, log(b'{"\\ud800": 1}')),
    "a name that the database knows": (400, swapped(b"user-7", b"'; DROP TABLE events; --")),
    "a NUL": (400, swapped(b"user-7", b"user\\u0000")),
    "no model of ours": (400, swapped(b"sonnet", b"SONNET")),
    "arrays without end": (400, log(b"[" * 60_000)),
    "objects without end": (400, log(b'{"a":' * 10_000)),
    "something behind": (400, log(EVENT + b"x")),
    # How it is written down.
    "compressed": (400, log(gzip.compress(EVENT), b"content-encoding: gzip\r\n")),
    "UTF-16": (400, log(EVENT.decode().encode("utf-16"))),
    "a byte order mark": (400, log(b"\xef\xbb\xbf" + EVENT)),
    "no UTF-8": (400, log(EVENT[:-1] + b"\xff}")),
    "a form": (400, log(b"event_id=e&tokens_in=1", b"content-type: application/x-www-form-urlencoded\r\n")),
    "too long": (413, log(b" " * 65_537)),
    # Where it goes.
    "another method": (405, request(b"DELETE", b"/log", EVENT)),
    "a method in a header": (405, request(b"GET", b"/log", EVENT, headers=b"x-http-method-override: POST\r\n")),
    "a method in small letters": (405, request(b"post", b"/log", EVENT)),
    "a method of its own": (405, request(b"F!O", b"/log", EVENT)),
    "health is not deleted": (405, request(b"DELETE", b"/health")),
    "metrics are not posted": (405, request(b"POST", b"/metrics")),
    "the description is not put": (405, request(b"PUT", b"/openapi.json")),
    "no path": (404, request(b"OPTIONS", b"*")),
    "another host": (404, request(b"POST", b"http://elsewhere/log", EVENT)),
    "a slash too many": (404, request(b"POST", b"//log", EVENT)),
    "a way up": (404, request(b"GET", b"/loras/..%2f..%2fsecret/adapter.safetensors")),
    "a path that is no UTF-8": (400, request(b"GET", b"/loras/%ff/adapter.safetensors")),
    "a NUL in a path": (400, request(b"GET", b"/loras/%00/adapter.safetensors")),
    "a broken escape": (400, request(b"GET", b"/balance?organization_id=%zz")),
    "digits of another script": (400, request(b"GET", b"/loras?domain=code&limit=%d9%a3")),
    "thousands of parameters": (400, request(b"GET", b"/balance?" + b"a=1&" * 5_000)),
    # What is no HTTP.
    "no HTTP at all": (400, b"\x16\x03\x01\x02\x00\x01\r\n\r\n"),
    "a path that is no ASCII": (400, request(b"GET", b"/\xff")),
    "no host": (400, b"GET /balance HTTP/1.1\r\n\r\n"),
    "two hosts": (400, request(b"GET", b"/balance", headers=b"host: y\r\n")),
    "a NUL in a header": (400, request(b"GET", b"/balance", headers=b"x: a\0b\r\n")),
    "a negative length": (400, headed(b"content-length: -5\r\n")),
    "two lengths": (400, headed(b"content-length: 3\r\ncontent-length: 5\r\n")),
    "a length beyond all measure": (400, headed(b"content-length: 999999999999999999999999\r\n")),
    "an unknown transfer encoding": (400, headed(b"transfer-encoding: gzip\r\n")),
    "a piece without a length": (400, headed(b"transfer-encoding: chunked\r\n")),
    # WebSockets.
    "an upgrade elsewhere": (404, request(b"GET", b"/nothing", headers=UPGRADE)),
    "an upgrade to a broken address": (404, request(b"GET", b"//[x", headers=UPGRADE)),
    "an upgrade by another method": (405, request(b"POST", b"/synapse/s/socket", headers=UPGRADE)),
    "an upgrade to another version": (400, request(b"GET", b"/synapse/s/socket", headers=UPGRADE.replace(b"13", b"8"))),
    "an upgrade without 16 bytes": (400, request(b"GET", b"/synapse/s/socket", headers=UPGRADE.replace(b"ZQ==", b""))),
    "an upgrade to a bad name": (400, request(b"GET", b"/synapse/%20/socket", headers=UPGRADE)),
}


def balance(address: tuple[str, int]) -> dict[str, Any]:
    """What org-7 owes."""
    answer: dict[str, Any] = json.loads(send(address, request(b"GET", b"/balance?organization_id=org-7"))[2])
    return answer


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_json_and_changes_nothing(address: tuple[str, int], name: str) -> None:
    expected, data = BAD[name]
    before = balance(address)
    status, headers, body = send(address, data)
    assert (status, headers["content-type"]) == (expected, "application/json")
    refused = json.loads(body)
    assert refused["success"] is False
    assert set(refused["error"]) == {"code", "message"}
    assert balance(address) == before


def test_the_same_event_unspoilt_is_taken(address: tuple[str, int]) -> None:
    before = balance(address)
    assert send(address, log(EVENT))[0] == 200
    assert balance(address)["events_pending"] == before["events_pending"] + 1


def test_what_is_no_http_behind_a_good_request_is_refused_after_it(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(request(b"GET", b"/health") + b"\x16\x03\r\n\r\n")
        answers = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answers.startswith(b"HTTP/1.1 200")
    assert answers.endswith(b"}}")
    assert answers.count(b"HTTP/1.1 400") == 1
