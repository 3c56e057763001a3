"""The player: every step of a route happens as often as it says, on real parts.

Goal: whatever the steps, the rows in the tables, the objects in the buckets and the state of the objects are those of
the operations that the route lists, no more and no fewer. Method: trees of steps drawn by Hypothesis, played on a
deployment in memory, against an interpreter that only counts; then single rules, one by one.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.durable_objects.storage import Storage
from tests.support.routed import ask, request, route, routed
from tests.support.world import World

OPERATIONS: dict[str, dict[str, int]] = {
    "workers.compute": {},
    "d1.read": {"rows_read": 3},
    "d1.write": {"rows_written": 2},
    "archive.write": {"rows_written": 1, "rows_read": 4},
    "r2.put": {},
    "media.get": {},
    "rooms.read": {},
    "rooms.write": {"rows_written": 2},
    "durable_objects.write": {},
    "ledger.append": {},
    "ledger.balance": {},
}
KEY, OBJECT, SIZE_BYTES = 5, 77, 12
ABOUT: dict[str, Any] = {"key": KEY, "object": OBJECT, "size_bytes": SIZE_BYTES, "request": 3}

Entries = list[dict[str, Any]]


def with_entry(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Put what an entry may have around an operation or a group."""
    entry = {
        "times": st.integers(1, 3),
        "parallel": st.booleans(),
        "spawn": st.booleans(),
        "chance": st.sampled_from([0, 1]),
        "timeout_ms": st.just(50_000),
        "retries": st.integers(0, 2),
        "hedge_ms": st.just(40_000),
        "jitter": st.booleans(),
    }
    return st.builds(lambda what, more: {**what, **more}, inner, st.fixed_dictionaries({}, optional=entry))


uses = st.sampled_from(sorted(OPERATIONS)).map(lambda use: {"use": use, "parameters": OPERATIONS[use]})
trees = st.recursive(
    with_entry(uses),
    lambda children: with_entry(st.lists(children, min_size=1, max_size=3).map(lambda steps: {"steps": steps})),
    max_leaves=6,
)


def operations(entries: Entries, times: int = 1) -> Iterator[tuple[str, int]]:
    """Yield every operation with the number of times that it is to happen."""
    for entry in entries:
        often = times * entry.get("times", 1) * entry.get("chance", 1)
        if "use" in entry:
            yield entry["use"], often
        else:
            yield from operations(entry["steps"], often)


def rows(w: World, instance: str) -> list[tuple[Any, ...]]:
    """Rows of a database: key, position, and how often each was written."""
    engine = w.volumes.engine(instance, "database")
    if not engine.execute("SELECT 1 FROM sqlite_schema WHERE name = 'headroom_rows'").values:
        return []
    return [tuple(row) for row in engine.execute("SELECT key, position, version FROM headroom_rows").values]


def stored(w: World, namespace: str) -> Storage:
    """Open the disk of the object of the key."""
    object_id = w.deployment.instances[namespace].id_from_name(f"org-{KEY}")
    return Storage(w.volumes.disk(namespace).open(object_id))


def events(w: World) -> int:
    """Usage events in the ledger of the key's organisation, flushed ones too."""
    storage = stored(w, "durable_objects")
    is_there = storage.sql("SELECT 1 FROM sqlite_schema WHERE name = 'events'")
    return int(storage.sql("SELECT count(*) FROM events")[0][0]) if is_there else 0


def state(w: World, namespace: str) -> dict[str, int]:
    """Rows in the object of the key."""
    return {key: value for key, value in stored(w, namespace).list().items() if key.startswith("row-")}


def counted(asked: Counter[str], name: str, *, do: Callable[..., Any]) -> Callable[..., Any]:
    """Return *do*, counted."""

    def count_and_do(*args: Any, **options: Any) -> Any:
        asked[name] += 1
        return do(*args, **options)

    return count_and_do


def count_calls(w: World) -> Counter[str]:
    """Count from now on what is asked of each instance."""
    asked: Counter[str] = Counter()
    methods = {"workers": "compute", "d1": "run", "archive": "run", "rooms": "ask", "durable_objects": "ask"}
    for name, method in {**methods, "r2": "put", "media": "get_or_create"}.items():
        instance = w.deployment.instances[name]
        setattr(instance, method, counted(asked, name, do=getattr(instance, method)))
    return asked


def object_keys(often: int) -> set[str]:
    """Keys of an object and of its repetitions."""
    return {f"one/{OBJECT}.{n}" if n else f"one/{OBJECT}" for n in range(often)}


@given(entries=st.lists(trees, min_size=1, max_size=3))
def test_every_step_happens_as_often_as_it_says(entries: Entries) -> None:
    listed = list(operations(entries))
    happens: Counter[str] = Counter()
    for use, often in listed:
        happens[use] += often
    with routed({"one": route(*entries)}) as w:
        # That one key takes one write a second is another test's business.
        w.bucket._write_gap_ms = 0
        asked = count_calls(w)
        response, _ = ask(w, **ABOUT)
        assert response.status == 200, response.body
        by_instance: Counter[str] = Counter()
        for use, often in happens.items():
            instance = use.partition(".")[0]
            # The ledger lives in the objects; its alarm, which rang meanwhile, flushed to D1.
            by_instance["durable_objects" if instance == "ledger" else instance] += often
        by_instance["d1"] += happens["ledger.append"] > 0
        assert asked == +by_instance
        d1_rows = 3 if happens["d1.read"] else 2 if happens["d1.write"] else 0
        assert rows(w, "d1") == [(KEY, n, happens["d1.write"] if n < 2 else 0) for n in range(d1_rows)]
        archive_rows = 4 if happens["archive.write"] else 0
        assert rows(w, "archive") == [(KEY, n, 0 if n else happens["archive.write"]) for n in range(archive_rows)]
        assert state(w, "rooms") == {f"row-{n:06d}": count for n in range(2) if (count := happens["rooms.write"])}
        writes = happens["durable_objects.write"]
        assert state(w, "durable_objects") == ({"row-000000": writes} if writes else {})
        assert events(w) == happens["ledger.append"]
        for bucket, operation in (("r2", "r2.put"), ("media", "media.get")):
            objects = w.volumes.store(bucket)._objects
            assert set(objects) == object_keys(max([often for use, often in listed if use == operation], default=0))
            assert {len(content) for content in objects.values()} <= {SIZE_BYTES}


def test_a_flushed_event_is_a_row_of_the_ledger_s_database() -> None:
    system = {
        "network": {},
        "books": {"component": "d1"},
        "d1": {},
        "durable_objects": {},
        "ledger": {"database": "books"},
    }
    with routed({"one": route("ledger.append", "ledger.flush")}, system) as w:
        ask(w, **ABOUT)
        sold = w.volumes.engine("books", "database").execute("SELECT id, organization_id FROM usage_events").values
        assert [tuple(row) for row in sold] == [("org-5/one.3.0.0", "org-5")]
        assert not w.engine.execute("SELECT 1 FROM sqlite_schema WHERE name = 'usage_events'").values


def test_the_same_request_again_is_the_same_usage_event_and_another_run_another() -> None:
    with routed({"one": route("ledger.append")}) as w:
        for run in ("a", "a", "b"):
            assert ask(w, **ABOUT, run=run)[0].status == 200
        assert events(w) == 2


def test_every_append_of_a_request_is_an_event_and_a_preparation_is_another() -> None:
    steps = ["ledger.append", {"use": "ledger.append", "times": 2}, {"steps": [{"use": "ledger.append"}], "times": 2}]
    with routed({"one": route(*steps)}) as w:
        for prepares, appended in ((1, 5), (0, 10), (0, 10)):
            assert ask(w, **ABOUT, prepare=prepares)[0].status == 200
            assert events(w) == appended


def test_a_chance_is_drawn_once_a_request_and_its_share_of_requests_does_the_step() -> None:
    requests, chance = 2_000, 0.2
    with routed({"one": route({"use": "d1.write", "chance": chance, "times": 2})}) as w:
        w.clock.run(*(w.deployment.serve_http(request(key=n), w.deployment.stopwatch()) for n in range(requests)))
        written = [version for _, _, version in rows(w, "d1")]
    assert set(written) == {2}
    assert abs(len(written) / requests - chance) <= 4 * np.sqrt(chance * (1 - chance) / requests)


def test_a_seed_chooses_who_does_it() -> None:
    def done(seed: int) -> list[int]:
        with routed({"one": route({"use": "d1.write", "chance": 0.5})}, seed=seed) as w:
            w.clock.run(*(w.deployment.serve_http(request(key=n), w.deployment.stopwatch()) for n in range(50)))
            return [key for key, _, _ in rows(w, "d1")]

    assert done(1) == done(1) != done(2)


def test_a_preparation_does_everything_at_once_unpaced_and_draws_nothing() -> None:
    system = {
        "network": {"client_rtt_ms": 20},
        "d1": {"read_ms": {"distribution": "exponential", "mean": 50}, "write_ms": 9},
        "r2": {"get_ms": 30, "bandwidth_bytes_per_s": 10},
        "workers": {"cold_fraction": 0.5, "cold_start_ms": 50, "cpu_ms": {"distribution": "exponential", "mean": 2}},
        "rooms": {"component": "durable_objects", "rtt_ms": 5, "cold_start_ms": 7, "output_gate_ms": 11},
    }
    steps: Entries = [
        {"use": "workers.compute", "times": 5},
        {"use": "d1.read", "chance": 0.001, "parameters": {"rows_read": 5}},
        {"use": "d1.write", "chance": 0},
        {"use": "rooms.write", "spawn": True, "timeout_ms": 1, "retries": 3, "backoff_ms": 100},
        {"steps": [{"use": "r2.get"}, {"use": "d1.read"}], "parallel": True, "hedge_ms": 1},
    ]
    first = []
    for prepares in (True, False):
        two = route("d1.read", {"use": "workers.compute", "times": 20}, path="/two")
        with routed({"one": route(*steps), "two": two}, system) as w:
            if prepares:
                response, stopwatch = w.ask(request(**ABOUT, prepare=1))
                assert (response.status, len(response.body)) == (200, SIZE_BYTES)
                assert (w.clock.now_ms(), sum(stopwatch.spent_ms.values())) == (0, 0)
                assert rows(w, "d1") == [(KEY, n, 0) for n in range(5)]
                assert state(w, "rooms") == {"row-000000": 1}
                assert set(w.store._objects) == {f"one/{OBJECT}"}
            first.append(w.ask(request("/two"))[1].spent_ms)
    assert first[0] == first[1]


def test_objects_of_one_route_are_not_those_of_another() -> None:
    with routed({"one": route("r2.put"), "two": route("r2.get", path="/two")}) as w:
        ask(w, "/one", object=1, size_bytes=4)
        assert ask(w, "/two", object=1, size_bytes=9)[0].body == w.store._objects["two/1"]
        assert {key: len(content) for key, content in w.store._objects.items()} == {"one/1": 4, "two/1": 9}


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
                assert response.body == w.store._objects["one/4"]
                assert response.headers["content-type"] == "application/octet-stream"


def test_without_an_object_the_request_s_number_names_it() -> None:
    cases: list[dict[str, Any]] = [{"request": 8}, {"request": 8, "object": -1}]
    for headers in cases:
        with routed({"one": route("r2.put")}) as w:
            ask(w, size_bytes=3, **headers)
            assert set(w.store._objects) == {"one/8"}


def test_a_put_stores_what_the_client_sent() -> None:
    with routed({"one": route("r2.put", method="PUT")}) as w:
        w.ask(request(method="PUT", body=b"mine", object=4, size_bytes=30))
        assert w.store._objects == {"one/4": b"mine"}


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


def test_a_route_comes_in_by_the_entry_that_it_names() -> None:
    system = {"network": {"client_rtt_ms": 10}, "mobile": {"component": "network", "client_rtt_ms": 80}, "d1": {}}
    with routed({"one": route("d1.read"), "two": route("d1.read", path="/two", enter="mobile")}, system) as w:
        assert ask(w)[1].spent_ms == {"network": 10, "d1": 0, "d1_queue": 0}
        assert ask(w, "/two")[1].spent_ms == {"mobile": 80, "d1": 0, "d1_queue": 0}


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
        assert state(w, "rooms") == {"row-000000": 2}


def test_an_idle_object_leaves_memory_and_its_state_stays() -> None:
    system = {"network": {}, "rooms": {"component": "durable_objects", "cold_start_ms": 40, "evict_idle_ms": 1_000}}
    with routed({"one": route("rooms.write")}, system) as w:
        cold = [w.ask(request(key=KEY))[1].spent_ms["rooms"]]
        for idle_ms in (500, 1_500):
            w.clock.run_until(w.clock.now_ms() + idle_ms)
            cold.append(w.ask(request(key=KEY))[1].spent_ms["rooms"])
        assert cold == [40, 0, 40]
        assert state(w, "rooms") == {"row-000000": 3}
