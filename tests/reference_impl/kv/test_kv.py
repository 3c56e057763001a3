"""KV: who sees which value when, and what the namespace refuses.

Goal: a reader sees a value that was there within the last minute, the writer's own location the last one, and the
limits are the platform's. Method: operations at three locations drawn by Hypothesis, against the history of every key;
the documented limits to the unit; routes of a whole deployment.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.kv.namespace import (
    EXPIRATION_TTL_S_MIN,
    KEY_BYTES_MAX,
    LIST_KEYS_MAX,
    METADATA_BYTES_MAX,
    VALUE_BYTES_MAX,
    KVError,
    Namespace,
    Pair,
)
from reference_impl.timing.clock import VirtualClock
from tests.support.routed import ask, request, route, routed
from tests.support.world import memory_engine

TTL_MS = 60_000
SYSTEM: dict[str, Any] = {"network": {}, "kv": {"hot_ms": 7, "cold_ms": 200, "write_ms": 60, "list_ms": 80}}


@contextmanager
def namespace(**options: Any) -> Iterator[tuple[Namespace, VirtualClock]]:
    clock = VirtualClock()
    with closing(memory_engine()) as engine:
        yield Namespace(engine, clock=clock, **options), clock


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "delete", "get", "wait"]),
            st.sampled_from(["a", "b"]),
            st.sampled_from(["ams", "fra", "lax"]),
            st.integers(0, 40),
        ),
        max_size=40,
    )
)
def test_reader_sees_what_was_there_within_the_last_minute(operations: list[tuple[str, str, str, int]]) -> None:
    with namespace(writes_per_s=math.inf) as (kv, clock):
        history: dict[str, list[tuple[float, bytes | None]]] = {"a": [(-math.inf, None)], "b": [(-math.inf, None)]}
        for number, (what, key, location, wait_s) in enumerate(operations):
            if what == "wait":
                clock.advance(wait_s * 1_000.0)
            elif what == "put":
                kv.put(key, b"%d" % number, location=location)
                history[key].append((clock.now_ms(), b"%d" % number))
            elif what == "delete":
                kv.delete(key, location=location)
                history[key].append((clock.now_ms(), None))
            else:
                pair = kv.get(key, location=location)
                changes = history[key]
                ends_ms = [*(since_ms for since_ms, _ in changes[1:]), math.inf]
                possible = {
                    value
                    for (_, value), end_ms in zip(changes, ends_ms, strict=True)
                    if end_ms > clock.now_ms() - TTL_MS
                }
                assert (None if pair is None else pair.value) in possible
            if what in ("put", "delete"):
                own = kv.get(key, location=location)
                assert (None if own is None else own.value) == history[key][-1][1], "the writer's own location"


def test_another_location_is_behind_for_a_minute_and_no_longer() -> None:
    with namespace() as (kv, clock):
        assert kv.get("k", location="lax") is None
        kv.put("k", b"new", location="ams")
        clock.advance(TTL_MS - 1)
        assert kv.get("k", location="lax") is None, "it remembers that the key was not there"
        assert kv.get("k", location="fra") == Pair(b"new")
        clock.advance(1)
        assert kv.get("k", location="lax") == Pair(b"new")


def test_one_key_takes_one_write_a_second_and_other_keys_do_not_wait_for_it() -> None:
    with namespace() as (kv, clock):
        kv.put("k", b"1")
        clock.advance(999)
        with pytest.raises(KVError, match="429 Too Many Requests") as caught:
            kv.put("k", b"2")
        assert caught.value.status == 429
        kv.put("other", b"2")
        clock.advance(1)
        kv.put("k", b"3")
        assert kv.fetch("k") == Pair(b"3"), "a refused write moves nothing"


@pytest.mark.parametrize("key", ["", ".", "..", "x" * (KEY_BYTES_MAX + 1), "é" * (KEY_BYTES_MAX // 2 + 1), "\ud800"])
def test_bad_key_is_refused_everywhere(key: str) -> None:
    with namespace() as (kv, _):
        operations: list[Callable[[], Any]] = [lambda: kv.put(key, b""), lambda: kv.get(key), lambda: kv.delete(key)]
        for refused in operations:
            with pytest.raises(KVError) as caught:
                refused()
            assert caught.value.status == 400


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128), st.binary(max_size=50))
def test_any_other_key_is_stored_and_found(key: str, value: bytes) -> None:
    if key in (".", ".."):
        return
    with namespace() as (kv, _):
        kv.put(key, value, metadata={"n": 1})
        assert kv.get(key) == Pair(value, {"n": 1})
        assert kv.list(key[:1]).keys == [key]
        kv.delete(key)
        assert (kv.get(key), kv.list().keys) == (None, [])


@pytest.mark.parametrize("key", ["\x00", "a\x00b", "\x00\x00", "é\x00", "\U0001f600"])
def test_key_is_listed_under_every_prefix_of_it(key: str) -> None:
    """SQLite's text functions end at a NUL; the platform's keys do not."""
    with namespace() as (kv, _):
        kv.put(key, b"")
        kv.put("another", b"")
        for length in range(1, len(key) + 1):
            assert kv.list(key[:length]).keys == (["a\x00b", "another"] if key[:length] == "a" else [key])


def test_prefix_that_is_no_text_is_refused() -> None:
    with namespace() as (kv, _), pytest.raises(KVError, match="prefix") as caught:
        kv.list("\ud800")
    assert caught.value.status == 400


def test_limits_are_met_to_the_byte() -> None:
    with namespace() as (kv, _):
        kv.put("x" * KEY_BYTES_MAX, b"v" * VALUE_BYTES_MAX, metadata="m" * (METADATA_BYTES_MAX - 2))
        for status, refused in (
            (413, lambda: kv.put("k", b"v" * (VALUE_BYTES_MAX + 1))),
            (400, lambda: kv.put("k", b"", metadata="m" * (METADATA_BYTES_MAX - 1))),
            (400, lambda: kv.put("k", b"", expiration_ttl_s=EXPIRATION_TTL_S_MIN - 1)),
            (400, lambda: kv.get("k", cache_ttl_s=29.9)),
            (400, lambda: kv.list(limit=LIST_KEYS_MAX + 1)),
            (400, lambda: kv.list(limit=0)),
        ):
            with pytest.raises(KVError) as caught:
                refused()
            assert caught.value.status == status


def test_pair_expires() -> None:
    with namespace() as (kv, clock):
        kv.put("k", b"v", expiration_ttl_s=EXPIRATION_TTL_S_MIN)
        clock.advance(EXPIRATION_TTL_S_MIN * 1_000 - 1)
        assert (kv.fetch("k"), kv.list().keys) == (Pair(b"v"), ["k"])
        clock.advance(1)
        assert (kv.fetch("k"), kv.list().keys) == (None, [])


@given(st.sets(st.text("ab%_é", min_size=1, max_size=4), max_size=12), st.integers(1, 5), st.text("ab%_", max_size=1))
def test_pages_of_a_list_are_all_keys_with_the_prefix_once(keys: set[str], limit: int, prefix: str) -> None:
    with namespace() as (kv, _):
        for key in keys:
            kv.put(key, b"")
        found, cursor = list[str](), ""
        while True:
            page = kv.list(prefix, limit=limit, cursor=cursor)
            assert len(page.keys) <= limit
            found += page.keys
            cursor = page.cursor
            if not cursor:
                break
        assert found == sorted(key for key in keys if key.startswith(prefix))


def test_first_read_of_a_route_is_cold_and_the_next_ones_hot_until_a_minute_is_over() -> None:
    with routed({"one": route("kv.get")}, SYSTEM) as w:
        spent_ms = []
        for _ in range(3):
            spent_ms.append(w.ask(request(key=5))[1].spent_ms["kv"])
            w.clock.run_until(w.clock.now_ms() + 59_000)
        assert spent_ms == [200, 7, 200]
        assert w.ask(request(key=6))[1].spent_ms["kv"] == 200


def test_routes_write_read_list_and_delete() -> None:
    routes = {
        "put": route({"use": "kv.put", "parameters": {"new_fraction": 0}}, "kv.get", method="PUT", path="/put"),
        "new": route({"use": "kv.put", "times": 3}, "kv.list", method="POST", path="/new"),
        "drop": route("kv.delete", "kv.get", method="DELETE", path="/drop"),
    }
    limited = {**SYSTEM, "kv": {**SYSTEM["kv"], "writes_per_s": 1, "value_bytes_max": 10}}
    with routed(routes, limited) as w:
        assert w.ask(request("/put", method="PUT", key=1, body=b"hello"))[0].body == b"hello"
        refused = w.ask(request("/put", method="PUT", key=1, body=b"again"))[0]
        assert (refused.status, b"429" in refused.body) == (429, True)
        assert w.ask(request("/put", method="PUT", key=2, body=b"x" * 11))[0].status == 413
        listed, watch = ask(w, "/new", method="POST", key=1, size_bytes=4, request=9)
        assert (listed.status, listed.body.count(b"new-9")) == (200, 3)
        assert watch.spent_ms["kv"] == 3 * 60 + 80
        assert ask(w, "/drop", method="DELETE", key=1)[0].body == b'{"success":true,"value":null}'
