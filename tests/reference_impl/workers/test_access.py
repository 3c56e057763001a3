"""Keys: read from a file that holds only their hashes, and checked at the door of the real process.

Goal: a key file with anything odd in it is refused with its reason, and a process with keys answers nobody without one.
Method: key files made for one mistake each; then the process itself. What each key may do is in
``test_ledger_hazards_in_time.py`` (hazard H10).
"""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from reference_impl.errors import ConfigError, RequestError
from reference_impl.messages import Request
from reference_impl.workers import openapi
from reference_impl.workers.access import SCOPES, Gatekeeper, Grant, read_grants
from reference_impl.workers.worker import NAMED_ROUTES, ROUTES
from tests.reference_impl.server.test_server import refusal, server
from tests.support.world import event, world

KEY = "si_test_key_of_org_7"
HASHED = hashlib.sha256(KEY.encode()).hexdigest()
ENTRY = {"key_sha256": HASHED, "organization_id": "org-7", "scopes": ["write", "read"]}
LIBRARIANS_KEY = "si_test_key_of_the_librarian"
LIBRARIAN = {
    "key_sha256": hashlib.sha256(LIBRARIANS_KEY.encode()).hexdigest(),
    "organization_id": None,
    "scopes": ["download", "upload"],
}


def test_a_key_file_is_read() -> None:
    assert read_grants(json.dumps([ENTRY, {**ENTRY, "organization_id": None}])) == [
        Grant(HASHED, "org-7", frozenset({"write", "read"})),
        Grant(HASHED, None, frozenset({"write", "read"})),
    ]
    assert read_grants("[]") == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ("{}", "holds a dict"),
        ([5], "key 0 must have"),
        ([ENTRY, {"key": KEY}], "key 1 must have"),
        ([{**ENTRY, "extra": 1}], "and nothing else"),
        ([{**ENTRY, "key_sha256": KEY}], "never write the key itself"),
        ([{**ENTRY, "key_sha256": HASHED.upper()}], "64 hexadecimal digits"),
        ([{**ENTRY, "organization_id": 7}], "a name or null"),
        ([{**ENTRY, "scopes": []}], "scopes must be some of"),
        ([{**ENTRY, "scopes": ["everything"]}], "write, read, flush, council, download, upload"),
    ],
)
def test_a_bad_key_file_is_refused_with_its_reason(content: Any, message: str) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    with pytest.raises(ConfigError, match=message):
        read_grants(text)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", f"Basic {KEY}", KEY])
def test_what_is_no_bearer_key_is_no_key(header: str) -> None:
    gatekeeper = Gatekeeper(read_grants(json.dumps([ENTRY])))
    with pytest.raises(RequestError, match="send 'Bearer' and a key"):
        gatekeeper.check(Request("GET", "/balance", headers={"authorization": header}), "read")
    gatekeeper.check(Request("GET", "/balance", headers={"authorization": f"bearer  {KEY}"}), "read")


async def statuses(url: str, key: str) -> list[int]:
    """Ask for everything with one key; return the answers' statuses."""
    headers = {"authorization": f"Bearer {key}"}
    asked = [
        ("POST", "/log", json.dumps(event())),
        ("GET", "/balance?organization_id=org-7", None),
        ("GET", "/balance?organization_id=org-8", None),
        ("POST", "/flush?organization_id=org-7", None),
        ("GET", "/synapse/s/state", None),
        ("PUT", "/loras/lora-1/adapter.safetensors", b"weights"),
        ("GET", "/loras/lora-1/adapter.safetensors", None),
        ("GET", "/loras?domain=code", None),
        ("GET", "/health", None),
        ("GET", "/metrics", None),
        ("GET", "/openapi.json", None),
    ]
    found = []
    async with aiohttp.ClientSession(headers=headers) as session:
        for method, path, body in asked:
            async with session.request(method, url + path, data=body) as response:
                found.append(response.status)
    return found


def test_a_process_with_keys_answers_nobody_without_one(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps([ENTRY, LIBRARIAN]), "utf-8")
    with server("--keys", str(keys)) as s:
        url, open_to_all = s.ready["http"], [200] * 3
        assert asyncio.run(statuses(url, "si_test_guess")) == [401] * 8 + open_to_all
        assert asyncio.run(statuses(url, KEY)) == [200, 200, 403, 403, 403, 403, 403, 403, *open_to_all]
        assert asyncio.run(statuses(url, LIBRARIANS_KEY)) == [403] * 5 + [200] * 3 + open_to_all


def test_no_route_of_the_api_is_open_and_the_description_says_which_scope_it_wants() -> None:
    tables = [*ROUTES.items(), *((pattern.pattern, routes) for pattern, _, routes in NAMED_ROUTES)]
    wanted = {(path, method): route.terms.scope for path, routes in tables for method, route in routes.items()}
    assert set(wanted.values()) == set(SCOPES)
    described = [node["security"] for path in openapi.PATHS.values() for node in path.values()]
    assert described == [[{"key": [scope]}, {}] for scope in wanted.values()]
    assert "key" in openapi.DESCRIPTION["components"]["securitySchemes"]


def test_a_key_is_wanted_through_the_tunnel_too() -> None:
    with world(access=Gatekeeper(read_grants(json.dumps([ENTRY, LIBRARIAN])))) as w:
        for key, status in (("si_test_guess", 401), (KEY, 403), (LIBRARIANS_KEY, 200)):
            message = {"method": "GET", "path": "/loras?domain=code", "headers": {"Authorization": f"Bearer {key}"}}
            packed = w.clock.run(w.deployment.tunnel.serve(json.dumps(message).encode(), w.deployment.stopwatch()))[0]
            assert json.loads(packed)["status"] == status


def test_a_bad_key_file_ends_the_process_with_one_line(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps([{**ENTRY, "key_sha256": KEY}]), "utf-8")
    said = refusal("--keys", str(keys))
    assert "never write the key itself" in said
    assert KEY not in said
    assert "cannot be read" in refusal("--keys", str(tmp_path / "none.json"))
