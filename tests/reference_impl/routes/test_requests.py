"""Requests and routes: who answers, whom a request is about, and what the answer is.

Goal: a request finds its route, its key, its object and its entry as docs/REFERENCE.md says. Method: small deployments
in memory, one rule a test.
"""

import json
from typing import Any

import pytest

from reference_impl.errors import RequestError
from reference_impl.workers.admission import BODY_BYTES_MAX
from tests.support.routed import ask, objects, request, route, routed, rows, state

KEY = 5


def test_objects_of_one_route_are_not_those_of_another() -> None:
    with routed({"one": route("r2.put"), "two": route("r2.get", path="/two")}) as w:
        ask(w, "/one", object=1, size_bytes=4)
        assert ask(w, "/two", object=1, size_bytes=9)[0].body == objects(w)["two/1"]
        assert {key: len(content) for key, content in objects(w).items()} == {"one/1": 4, "two/1": 9}


def test_the_answer_is_the_object_of_the_last_store_operation() -> None:
    json_answer = b'{"success":true}'
    cases: list[tuple[list[Any], bool]] = [
        (["r2.get"], True),
        (["r2.get", "d1.write", "workers.compute"], True),
        (["r2.get", "media.put"], False),
        (["media.put", "r2.get"], True),
        ([{"use": "r2.get", "spawn": True}], False),
        ([{"use": "r2.get", "chance": 0}], False),
        (["media.put", {"steps": [{"use": "r2.get"}, {"use": "d1.read"}], "parallel": True}], True),
        ([{"steps": [{"use": "r2.get"}, {"use": "media.put"}], "parallel": True}], False),
        (["d1.read"], False),
    ]
    for steps, has_object in cases:
        with routed({"one": route(*steps)}) as w:
            response, _ = ask(w, object=4, size_bytes=30)
            assert response.status == 200
            assert (response.body == json_answer) is not has_object, steps
            if has_object:
                assert response.body == objects(w)["one/4"]
                assert response.headers["content-type"] == "application/octet-stream"


def test_without_an_object_the_request_s_number_names_it() -> None:
    cases: list[dict[str, Any]] = [{"request": 8}, {"request": 8, "object": -1}]
    for headers in cases:
        with routed({"one": route("r2.put")}) as w:
            ask(w, size_bytes=3, **headers)
            assert set(objects(w)) == {"one/8"}


def test_a_put_stores_what_the_client_sent() -> None:
    with routed({"one": route("r2.put", method="PUT")}) as w:
        w.ask(request(method="PUT", body=b"mine", object=4, size_bytes=30))
        assert objects(w) == {"one/4": b"mine"}


@pytest.mark.parametrize(
    ("shards", "keys", "objects"), [("per_key", [0, 1, 2, 3, 4], 5), (2, [0, 1, 2, 3, 4], 2), (1, [7, 8], 1)]
)
def test_a_key_has_its_object_or_shares_it(shards: object, keys: list[int], objects: int) -> None:
    system = {"network": {}, "rooms": {"component": "durable_objects", "shards": shards}}
    with routed({"one": route("rooms.write")}, system) as w:
        for key in keys:
            ask(w, key=key)
        assert len(w.deployment.instances["rooms"].names()) == objects


def test_who_a_request_is_about_without_headers() -> None:
    with routed({"one": route("d1.write", path="/one/{key}"), "two": route("d1.write", path="/two/{a}/{b}")}) as w:
        for path in ("/one/7", "/one/x", "/one/x", "/two/x/y"):
            assert ask(w, path)[0].status == 200
        versions = {key: version for key, _, version in rows(w, "d1")}
    # A whole number in place of {key} is the key; anything else is hashed, the same every time.
    assert versions.pop(7) == 1
    assert sorted(versions.values()) == [1, 2]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("key", "seven", "headroom-key='seven' must be a whole number in 0..999999999999999999"),
        ("key", "-1", "headroom-key='-1' must be a whole number"),
        ("size_bytes", "100000001", "headroom-size-bytes=100000001 must be a whole number in 0..100000000"),
        ("object", "1.5", "headroom-object='1.5' must be"),
        ("request", "", "headroom-request='' must be"),
        ("run", "a b", "headroom-run='a b' must be 1 to 128 letters"),
        ("run", "a" * 41, "must be at most 40 characters"),
    ],
)
def test_a_bad_header_is_refused_by_value_and_rule(name: str, value: str, message: str) -> None:
    headers: dict[str, Any] = {"request": 1, name: value}
    with routed({"one": route("d1.read")}) as w:
        response, _ = ask(w, **headers)
    error = json.loads(response.body)["error"]
    assert (response.status, error["code"]) == (400, "bad_field")
    assert message in error["message"]


def test_what_no_route_answers() -> None:
    routes = {"one": route("d1.read"), "two": route("d1.read", path="/two", enter="tunnel")}
    with routed(routes) as w:
        assert ask(w, "/none")[0].status == 404
        refused = ask(w, "/one", method="POST")[0]
        assert (refused.status, json.loads(refused.body)["error"]["message"]) == (405, "POST: use GET")
        # The tunnel's route is not there over HTTP.
        assert ask(w, "/two")[0].status == 404
        for path in ("/health", "/metrics", "/openapi.json"):
            assert ask(w, path)[0].status == 200
            assert ask(w, path, method="POST")[0].status == 405


def test_every_instance_has_time_categories_of_its_own() -> None:
    system = {
        "network": {"client_rtt_ms": 2},
        "workers": {"cpu_ms": 3},
        "auth": {"component": "workers", "cpu_ms": 4},
        "d1": {"read_ms": 5},
        "archive": {"component": "d1", "rtt_ms": 6, "read_ms": 7},
    }
    steps = ["workers.compute", "auth.compute", "auth.compute", "d1.read", "archive.read"]
    with routed({"one": route(*steps)}, system) as w:
        timing = ask(w)[0].headers["server-timing"]
    assert timing == (
        "network;dur=2.000, workers_queue;dur=0.000, workers;dur=3.000, worker_cpu;dur=3.000, auth_queue;dur=0.000, "
        "auth;dur=8.000, auth_cpu;dur=8.000, d1;dur=5.000, d1_queue;dur=0.000, "
        "archive;dur=13.000, archive_queue;dur=0.000"
    )


def test_a_route_comes_in_by_the_entry_that_it_names() -> None:
    system = {"network": {"client_rtt_ms": 10}, "mobile": {"component": "network", "client_rtt_ms": 80}, "d1": {}}
    with routed({"one": route("d1.read"), "two": route("d1.read", path="/two", enter="mobile")}, system) as w:
        assert ask(w)[1].spent_ms == {"network": 10, "d1": 0, "d1_queue": 0}
        assert ask(w, "/two")[1].spent_ms == {"mobile": 80, "d1": 0, "d1_queue": 0}


def test_a_route_is_admitted_by_its_head_and_what_answers_get_answers_head() -> None:
    routes = {"one": route("r2.get", path="/one/{key}"), "two": route("d1.write", path="/two", method="POST")}
    with routed(routes) as w:
        whole = ask(w, "/one/1", object=2, size_bytes=30)[0]
        head = ask(w, "/one/1", method="HEAD", object=2, size_bytes=30)[0]
        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-length"] == str(len(whole.body)) == "30"
        assert w.deployment.admit(request("/one/1", method="HEAD")) == BODY_BYTES_MAX
        for method, path, status in (("POST", "/one/1", 405), ("GET", "/none", 404)):
            with pytest.raises(RequestError) as caught:
                w.deployment.admit(request(path, method=method))
            assert caught.value.status == status
        assert w.deployment.admit(request("/two", method="POST")) == BODY_BYTES_MAX


def test_the_brief_s_api_answers_its_paths_first_and_routes_the_rest() -> None:
    routes = {"log": route("d1.read", method="POST", path="/log"), "feed": route("d1.write", path="/feed/{key}")}
    with routed(routes, {"network": {}}, api="superinstance") as w:
        assert json.loads(ask(w, "/log", method="POST")[0].body)["error"]["code"] == "bad_json"
        assert ask(w, "/feed/7")[0].status == 200
        assert rows(w, "d1") == [(7, 0, 1)]
        assert ask(w, "/loras", method="DELETE")[0].status == 405
        assert ask(w, "/nothing")[0].status == 404
        assert ask(w, "/feed/7", method="PUT")[0].status == 405
        paths = json.loads(ask(w, "/openapi.json")[0].body)["paths"]
        assert {"/log", "/balance", "/feed/{key}"} <= set(paths)


def test_a_route_and_a_ledger_of_one_namespace_share_the_object_of_a_key() -> None:
    system = {"network": {}, "d1": {}, "durable_objects": {"write_ms": 10}, "ledger": {"write_ms": 5}}
    routes = {"one": route("durable_objects.write"), "two": route("ledger.append", path="/two")}
    with routed(routes, system) as w:
        stopwatches = [w.deployment.stopwatch(), w.deployment.stopwatch()]
        asked = [
            w.deployment.serve_http(request(path, key=1), watch)
            for path, watch in zip(("/one", "/two"), stopwatches, strict=True)
        ]
        w.clock.run(*asked)
    assert stopwatches[0].spent_ms == {"network": 0, "durable_objects": 10, "durable_objects_queue": 0}
    assert stopwatches[1].spent_ms == {"network": 0, "durable_objects": 0, "durable_objects_queue": 10, "ledger": 5}


def test_a_full_queue_of_an_object_refuses_and_its_state_tells_of_the_others_only() -> None:
    system = {"network": {}, "rooms": {"component": "durable_objects", "write_ms": 10, "queue_limit": 1}}
    with routed({"one": route("rooms.write")}, system) as w:
        asked = [w.deployment.serve_http(request(key=KEY), w.deployment.stopwatch()) for _ in range(4)]
        answers = w.clock.run(*asked)
        assert sorted(answer.status for answer in answers) == [200, 200, 503, 503]
        assert state(w, "rooms", key=KEY) == {"row-000000": 2}


def test_an_idle_object_leaves_memory_and_its_state_stays() -> None:
    system = {"network": {}, "rooms": {"component": "durable_objects", "cold_start_ms": 40, "evict_idle_ms": 1_000}}
    with routed({"one": route("rooms.write")}, system) as w:
        cold = [w.ask(request(key=KEY))[1].spent_ms["rooms"]]
        for idle_ms in (500, 1_500):
            w.clock.run_until(w.clock.now_ms() + idle_ms)
            cold.append(w.ask(request(key=KEY))[1].spent_ms["rooms"])
        assert cold == [40, 0, 40]
        assert state(w, "rooms", key=KEY) == {"row-000000": 3}
