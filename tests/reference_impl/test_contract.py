"""The contract over HTTP: the responses of any deployment of the Worker.

Goal: the same tests judge the reference, the local runtime and a real deployment. Method: plain HTTP and WebSockets
against a base URL: that of ``HEADROOM_CONTRACT_URL`` if it is set, else a reference that is started for the tests.
Every test uses names that nobody used before, so that it can be run again on data that stays.
"""

import asyncio
import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tests.support.process import started

EVENT_TIME_MS = 1_795_000_000_000
WAIT_S = 20.0


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The base URL."""
    given = os.environ.get("HEADROOM_CONTRACT_URL")
    if given:
        yield given.rstrip("/")
        return
    with started("--fsync", "off") as (_, ready):
        yield str(ready["http"])


@dataclass(frozen=True)
class Answer:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body as JSON."""
        content: dict[str, Any] = json.loads(self.body)
        return content


def ask(url: str, method: str, path: str, body: Any = None, **query: str) -> Answer:
    """Send one request; a *body* that is no bytes is sent as JSON."""

    async def once() -> Answer:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url + path, data=data, params=query) as response,
        ):
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, headers, await response.read())

    return asyncio.run(once())


def new_name(kind: str) -> str:
    """Return a name that nobody used."""
    return f"{kind}-{uuid.uuid4().hex[:16]}"


def event(organization: str, name: str = "event-1", **changes: Any) -> dict[str, Any]:
    """One usage event; 278 and 218 tokens on Sonnet are 4,227.12 microusd with 3 %."""
    return {
        "event_id": name,
        "organization_id": organization,
        "user_id": "user-1",
        "model": "sonnet",
        "tokens_in": 278,
        "tokens_out": 218,
        "event_time_ms": EVENT_TIME_MS,
        **changes,
    }


# --- the ledger ------------------------------------------------------------------------------


def test_an_event_is_charged_and_the_balance_tells_it(url: str) -> None:
    organization = new_name("org")
    assert ask(url, "GET", "/balance", organization_id=organization).json == {
        "success": True,
        "balance_microusd": 0,
        "events_pending": 0,
    }
    logged = ask(url, "POST", "/log", event(organization))
    assert logged.status == 200
    assert logged.json == {
        "success": True,
        "charge_microusd": 4_227,
        "balance_microusd": 4_227,
        "duplicate": False,
    }
    assert ask(url, "GET", "/balance", organization_id=organization).json["balance_microusd"] == 4_227


def test_a_repeated_event_is_charged_once(url: str) -> None:
    organization = new_name("org")
    first = ask(url, "POST", "/log", event(organization)).json
    again = ask(url, "POST", "/log", event(organization)).json
    assert again == {**first, "duplicate": True}
    assert ask(url, "GET", "/balance", organization_id=organization).json["events_pending"] == 1


def test_a_name_cannot_be_used_for_another_event(url: str) -> None:
    organization = new_name("org")
    ask(url, "POST", "/log", event(organization))
    other = ask(url, "POST", "/log", event(organization, tokens_in=1))
    assert (other.status, other.json["error"]["code"]) == (409, "event_id_reused")


def test_a_flush_empties_the_balance_and_a_repeated_event_stays_known(url: str) -> None:
    organization = new_name("org")
    for n in range(3):
        ask(url, "POST", "/log", event(organization, f"event-{n}"))
    flushed = ask(url, "POST", "/flush", organization_id=organization)
    assert (flushed.status, flushed.json["success"]) == (200, True)
    # An alarm may have been faster with some of them.
    assert 0 <= flushed.json["events_flushed"] <= 3
    assert ask(url, "GET", "/balance", organization_id=organization).json["balance_microusd"] == 0
    assert ask(url, "POST", "/log", event(organization, "event-0")).json["duplicate"] is True


def test_events_at_the_same_time_are_each_charged_once(url: str) -> None:
    organization = new_name("org")

    async def together() -> list[int]:
        async with aiohttp.ClientSession() as session:

            async def log(n: int) -> int:
                data = json.dumps(event(organization, f"event-{n % 20}"))
                async with session.post(f"{url}/log", data=data) as response:
                    return response.status

            return list(await asyncio.gather(*(log(n) for n in range(60))))

    assert set(asyncio.run(together())) == {200}
    balance = ask(url, "GET", "/balance", organization_id=organization).json
    assert balance == {"success": True, "balance_microusd": int(20 * 4_227.12), "events_pending": 20}


def test_tenants_do_not_see_each_other(url: str) -> None:
    one, other = new_name("org"), new_name("org")
    ask(url, "POST", "/log", event(one))
    assert ask(url, "GET", "/balance", organization_id=other).json["events_pending"] == 0
    assert ask(url, "POST", "/log", event(other)).json["duplicate"] is False


def test_the_ceiling_is_met_with_402_and_nothing_is_stored(url: str) -> None:
    organization = new_name("org")
    huge = event(organization, model="opus", tokens_in=0, tokens_out=10_000_000)
    refused = ask(url, "POST", "/log", huge)
    assert (refused.status, refused.json["error"]["code"]) == (402, "credit_ceiling_exceeded")
    assert ask(url, "GET", "/balance", organization_id=organization).json["events_pending"] == 0


BAD_BODIES: list[Any] = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"text"',
    b"\xff\xfe",
    b"NaN",
    b'{"event_id": NaN}',
    b"[" * 50_000,
    {},
    event("org-1", event_id=5),
    event("org-1", event_id=""),
    event("org-1", event_id="x" * 129),
    event("org-1", event_id="a/b"),
    event("org-1", tokens_in=-1),
    event("org-1", tokens_in=1.5),
    event("org-1", tokens_in="1"),
    event("org-1", tokens_in=True),
    event("org-1", tokens_in=10**30),
    event("org-1", event_time_ms=10**15),
    event("org-1", model="unknown"),
    event("org-1", unknown=1),
    event("org 1"),
    {key: value for key, value in event("org-1").items() if key != "user_id"},
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
def test_a_bad_event_is_refused_and_changes_nothing(url: str, body: Any) -> None:
    before = ask(url, "GET", "/balance", organization_id="org-1").json
    refused = ask(url, "POST", "/log", body)
    assert refused.status == 400
    assert refused.json["success"] is False
    assert set(refused.json["error"]) == {"code", "message"}
    assert ask(url, "GET", "/balance", organization_id="org-1").json == before


def test_a_body_that_is_too_large_is_refused(url: str) -> None:
    refused = ask(url, "POST", "/log", b" " * 70_000)
    assert (refused.status, refused.json["error"]["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/log/", 404),
        ("POST", "/", 404),
        ("GET", "/log", 405),
        ("DELETE", "/balance", 405),
        ("PUT", "/flush", 405),
        ("GET", "/balance", 400),
        ("POST", "/flush", 400),
        ("POST", "/synapse/s/state", 405),
        ("GET", "/synapse/s/nothing", 404),
        ("GET", "/synapse/a b/state", 400),
        ("GET", "/synapse/s/socket", 426),
    ],
)
def test_what_is_no_route_is_refused_in_json(url: str, method: str, path: str, status: int) -> None:
    refused = ask(url, method, path)
    assert refused.status == status
    assert refused.headers["content-type"] == "application/json"
    assert refused.json["success"] is False


# --- the synapse -----------------------------------------------------------------------------


def question(name: str = "request-1", prompt: str = "hello") -> dict[str, str]:
    """A question."""
    return {"request_id": name, "prompt": prompt}


def test_a_question_is_answered_and_the_state_tells_it(url: str) -> None:
    path = f"/synapse/{new_name('session')}"
    assert ask(url, "GET", f"{path}/state").json == {"success": True, "status": "idle"}
    answer = ask(url, "POST", f"{path}/consensus", question())
    assert answer.status == 200
    assert answer.json["status"] in ("agreed", "arbitrated")
    assert answer.json["response"]
    assert ask(url, "GET", f"{path}/state").json == answer.json
    assert ask(url, "POST", f"{path}/consensus", question()).json == answer.json


@pytest.mark.parametrize("body", [b"", b"{}", {"request_id": "r", "prompt": ""}, {**question(), "x": 1}])
def test_a_bad_question_is_refused(url: str, body: Any) -> None:
    path = f"/synapse/{new_name('session')}"
    assert ask(url, "POST", f"{path}/consensus", body).status == 400
    assert ask(url, "GET", f"{path}/state").json["status"] == "idle"


async def heard(socket: aiohttp.ClientWebSocketResponse, until: str) -> list[dict[str, Any]]:
    """Listen until an entry of a type."""
    entries: list[dict[str, Any]] = []
    while not entries or entries[-1]["type"] != until:
        entries.append(json.loads(await asyncio.wait_for(socket.receive_str(), WAIT_S)))
    return entries


def test_listeners_hear_the_council_and_a_late_one_hears_the_rest(url: str) -> None:
    path = f"/synapse/{new_name('session')}"

    async def listen() -> None:
        async with aiohttp.ClientSession() as session:
            async with (
                session.ws_connect(f"{url}{path}/socket") as one,
                session.ws_connect(f"{url}{path}/socket") as two,
            ):
                assert [entry["status"] for entry in await heard(one, "hello")] == ["idle"]
                await heard(two, "hello")
                async with session.post(f"{url}{path}/consensus", data=json.dumps(question())) as response:
                    assert response.status == 200
                first, second = await heard(one, "result"), await heard(two, "result")
            assert first == second
            assert [entry["seq"] for entry in first] == list(range(1, len(first) + 1))
            assert first[0]["type"] == "question"
            async with session.ws_connect(f"{url}{path}/socket") as late:
                await heard(late, "hello")
                await late.send_str(json.dumps({"type": "resume", "after": first[2]["seq"]}))
                assert await heard(late, "result") == first[3:]

    asyncio.run(listen())


def test_a_socket_answers_nonsense_and_stays_open(url: str) -> None:
    async def talk() -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{url}/synapse/{new_name('session')}/socket") as socket,
        ):
            await heard(socket, "hello")
            await socket.send_str("nonsense")
            assert (await heard(socket, "error"))[-1]["code"] == "bad_json"
            await socket.send_bytes(b"\xff")
            assert (await heard(socket, "error"))[-1]["code"] == "bad_json"
            await socket.send_str("x" * 200_000)
            await heard(socket, "error")
            assert not socket.closed

    asyncio.run(talk())


def test_a_socket_is_closed_as_asked(url: str) -> None:
    async def close() -> int | None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{url}/synapse/{new_name('session')}/socket") as socket,
        ):
            await heard(socket, "hello")
            await socket.close(code=4001)
            return socket.close_code

    assert asyncio.run(close()) == 4001


def test_a_handshake_without_its_parts_is_refused(url: str) -> None:
    async def open_badly() -> int:
        headers = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-version": "8"}
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{url}/synapse/s/socket", headers=headers) as response,
        ):
            return response.status

    assert asyncio.run(open_badly()) == 400
