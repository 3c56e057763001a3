"""Preconditions of uploads are kept, and a transfer takes the time of the bytes that it carries.

Goal: who uploads on a condition never overwrites what he did not see, and a resumed download, a HEAD or a 304 does not
pay for bytes that stay where they are. Method: the brief's API and a route of a scenario, both in memory under a
virtual clock: statuses, what is stored afterwards, and the planned time of each answer.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from reference_impl.deployment_file import Specification
from reference_impl.messages import Request, Response
from tests.support.world import World, world_of

CONTENT = b"0123456789" * 100
PATH = {"api": "/loras/a/adapter.safetensors", "route": "/files/7"}
BANDWIDTH_BYTES_PER_S = 1_000
GET_MS = 20.0
ROUTES = {
    "fetch": {"enter": "network", "request": {"method": "GET", "path": "/files/{key}"}, "steps": [{"use": "r2.get"}]},
    "store": {"enter": "network", "request": {"method": "PUT", "path": "/files/{key}"}, "steps": [{"use": "r2.put"}]},
}


@contextmanager
def serving() -> Iterator[World]:
    """Serve the API and two routes, with a slow bucket."""
    r2 = {"get_ms": GET_MS, "put_ms": 5, "bandwidth_bytes_per_s": BANDWIDTH_BYTES_PER_S}
    system: dict[str, Any] = {"network": {}, "r2": r2}
    with world_of(Specification.read({"api": "superinstance", "system": system, "routes": ROUTES})) as made:
        yield made


def send(w: World, method: str, face: str, *, body: bytes = b"", **headers: str) -> tuple[Response, float]:
    """Send one request, an unhurried second after the last; return its answer and its planned time in the bucket."""
    w.clock.run(w.clock.sleep_until_ms(w.clock.now_ms() + 1_500))
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named["headroom-object"] = "7"
    response, _ = w.ask(Request(method, PATH[face], headers=named, body=body))
    spent = response.headers["server-timing"]
    times = dict(part.strip().split(";dur=") for part in spent.split(","))
    return response, float(times.get("r2", 0.0))


def stored_by(w: World, face: str) -> tuple[bytes, str]:
    """Return what is stored, and its etag."""
    response, _ = send(w, "GET", face)
    return response.body, response.headers["etag"]


FACES = ["api"]
CASES = [
    ({"if_none_match": "*"}, 412),
    ({"if_none_match": "CURRENT"}, 412),
    ({"if_none_match": '"other"'}, 200),
    ({"if_match": "CURRENT"}, 200),
    ({"if_match": '"other"'}, 412),
    ({"if_match": "*"}, 200),
    ({"if_match": "W/CURRENT"}, 412),
    ({"if_unmodified_since": "Sat, 01 Jan 2000 00:00:00 GMT"}, 412),
    ({"if_unmodified_since": "Fri, 01 Jan 2100 00:00:00 GMT"}, 200),
    ({"if_unmodified_since": "rubbish"}, 200),
]


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(("headers", "status"), CASES)
def test_an_upload_happens_only_if_its_precondition_holds(face: str, headers: dict[str, str], status: int) -> None:
    with serving() as w:
        send(w, "PUT", face, body=CONTENT)
        _, etag = stored_by(w, face)
        asked = {name: value.replace("CURRENT", etag) for name, value in headers.items()}
        response, _ = send(w, "PUT", face, body=b"new", **asked)
        assert response.status == status
        assert stored_by(w, face)[0] == (b"new" if status == 200 else CONTENT)


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(
    ("headers", "status"), [({"if_none_match": "*"}, 200), ({"if_match": "*"}, 412), ({"if_match": '"a"'}, 412)]
)
def test_a_precondition_on_what_is_not_there(face: str, headers: dict[str, str], status: int) -> None:
    with serving() as w:
        assert send(w, "PUT", face, body=b"new", **headers)[0].status == status
        found, _ = send(w, "GET", face)
        assert found.status == (200 if status == 200 else 404)


def test_of_two_who_create_at_once_one_wins() -> None:
    with serving() as w:
        answers: list[int] = []

        async def one(at_ms: float, body: bytes) -> None:
            request = Request("PUT", PATH["api"], headers={"if-none-match": "*"}, body=body)
            answers.append((await w.ask_at(at_ms, request))[0].status)

        # The second comes more than a second later, when the limit on writes to one key is past.
        begin_ms = w.clock.now_ms()
        w.clock.run(one(begin_ms, b"one" * 1_000), one(begin_ms + 1_200, b"two" * 1_000))
        assert sorted(answers) == [200, 429]
        assert stored_by(w, "api")[0] == b"one" * 1_000


@pytest.mark.parametrize("face", ["api", "route"])
@pytest.mark.parametrize(
    ("method", "headers", "status", "carried_bytes"),
    [
        ("GET", {}, 200, 1_000),
        ("GET", {"range": "bytes=900-"}, 206, 100),
        ("GET", {"range": "bytes=-50"}, 206, 50),
        ("GET", {"range": "bytes=0-0"}, 206, 1),
        ("GET", {"range": "bytes=5000-"}, 416, 0),
        ("GET", {"range": "bytes=0-1,5-9"}, 200, 1_000),
        ("GET", {"if_none_match": "CURRENT"}, 304, 0),
        ("GET", {"if_match": '"other"'}, 412, 0),
        ("HEAD", {}, 200, 0),
        ("HEAD", {"if_none_match": "CURRENT"}, 304, 0),
    ],
)
def test_a_download_takes_the_time_of_the_bytes_that_it_carries(
    face: str, method: str, headers: dict[str, str], status: int, carried_bytes: int
) -> None:
    with serving() as w:
        send(w, "PUT", "api", body=CONTENT)
        if face == "route":
            asyncio.run(w.store.put("fetch/7", CONTENT, uploaded_unix_ms=0))
        _, etag = stored_by(w, face)
        asked = {name: value.replace("CURRENT", etag) for name, value in headers.items()}
        response, spent_ms = send(w, method, face, **asked)  # type: ignore[arg-type]  # no header is called body
        assert response.status == status
        assert spent_ms == pytest.approx(GET_MS + carried_bytes / BANDWIDTH_BYTES_PER_S * 1_000, abs=0.01)
        if status in (200, 206):
            assert len(response.body) == (0 if method == "HEAD" else carried_bytes)
        if method == "HEAD" and status == 200:
            assert response.headers["content-length"] == "1000"


def test_a_route_keeps_the_preconditions_of_its_uploads() -> None:
    with serving() as w:
        assert send(w, "PUT", "route", body=CONTENT)[0].status == 200
        assert send(w, "PUT", "route", body=b"new", if_none_match="*")[0].status == 412
        assert asyncio.run(w.store.get("store/7")).content == CONTENT  # type: ignore[union-attr]  # it is there
