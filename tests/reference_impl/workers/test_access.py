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
from reference_impl.workers.access import Gatekeeper, Grant, read_grants
from tests.reference_impl.server.test_server import refusal, server
from tests.support.world import event

KEY = "si_test_key_of_org_7"
HASHED = hashlib.sha256(KEY.encode()).hexdigest()
ENTRY = {"key_sha256": HASHED, "organization_id": "org-7", "scopes": ["write", "read"]}


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
        ([{**ENTRY, "scopes": ["everything"]}], "write, read, flush, council"),
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
        ("GET", "/health", None),
    ]
    found = []
    async with aiohttp.ClientSession(headers=headers) as session:
        for method, path, body in asked:
            async with session.request(method, url + path, data=body) as response:
                found.append(response.status)
    return found


def test_a_process_with_keys_answers_nobody_without_one(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps([ENTRY]), "utf-8")
    with server("--keys", str(keys)) as s:
        assert asyncio.run(statuses(s.ready["http"], "si_test_guess")) == [401, 401, 401, 401, 401, 200]
        assert asyncio.run(statuses(s.ready["http"], KEY)) == [200, 200, 403, 403, 403, 200]


def test_a_bad_key_file_ends_the_process_with_one_line(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps([{**ENTRY, "key_sha256": KEY}]), "utf-8")
    said = refusal("--keys", str(keys))
    assert "never write the key itself" in said
    assert KEY not in said
    assert "cannot be read" in refusal("--keys", str(tmp_path / "none.json"))
