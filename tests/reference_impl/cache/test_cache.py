"""The edge cache: what it keeps, for how long, and what it refuses.

Goal: a look-up never answers with something stale, foreign or half, and the memory has a bound. Method: operations
drawn by Hypothesis against a dictionary with dates; the documented refusals one by one; a route of a whole deployment.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.cache.edge_cache import CacheError, EdgeCache, freshness_s
from reference_impl.messages import Response
from reference_impl.timing.clock import VirtualClock
from tests.support.routed import ask, route, routed

URLS = ["https://edge/a", "https://edge/b", "https://edge/c"]
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(URLS), st.integers(0, 9), st.integers(0, 4)),
        st.tuples(st.just("match"), st.sampled_from(URLS), st.just(0), st.just(0)),
        st.tuples(st.just("delete"), st.sampled_from(URLS), st.just(0), st.just(0)),
        st.tuples(st.just("wait"), st.just(""), st.integers(0, 3), st.just(0)),
    ),
    max_size=30,
)


def answer(size_bytes: int, cache_control: str = "max-age=60", **more: str) -> Response:
    return Response(200, bytes(size_bytes), {"cache-control": cache_control, **more})


@given(OPERATIONS)
def test_look_up_finds_what_was_stored_last_and_is_fresh(operations: list[tuple[str, str, int, int]]) -> None:
    clock = VirtualClock()
    cache, kept = EdgeCache(clock), dict[str, tuple[int, float]]()
    for what, url, number, ttl_s in operations:
        if what == "wait":
            clock.advance(number * 1_000.0)
        elif what == "put":
            assert cache.put(url, answer(number, f"max-age={ttl_s}")) == (ttl_s > 0)
            if ttl_s:
                kept[url] = (number, clock.now_ms() + ttl_s * 1_000)
        elif what == "delete":
            is_known = url in kept and url in {u for u, (_, until_ms) in kept.items() if until_ms > clock.now_ms()}
            assert cache.delete(url) or not is_known
            kept.pop(url, None)
        else:
            found = cache.match(url)
            size_bytes, until_ms = kept.get(url, (0, 0.0))
            assert (found is not None) == (url in kept and until_ms > clock.now_ms())
            assert found is None or len(found.body) == size_bytes
    assert cache.stored_bytes <= sum(size for size, _ in kept.values())


def test_entry_that_was_not_used_for_longest_goes_first() -> None:
    cache = EdgeCache(VirtualClock(), memory_bytes_max=10)
    for url in URLS[:2]:
        assert cache.put(url, answer(4))
    assert cache.match(URLS[0])
    assert cache.put(URLS[2], answer(4))
    assert [cache.match(url) is not None for url in URLS] == [True, False, True]
    assert cache.stored_bytes == 8
    assert not cache.put(URLS[0], answer(11)), "it is larger than everything together"
    assert cache.stored_bytes <= 10


def test_answer_from_the_cache_is_the_readers_own() -> None:
    cache = EdgeCache(VirtualClock())
    cache.put(URLS[0], answer(1))
    first = cache.match(URLS[0])
    assert first
    first.headers["server-timing"] = "mine"
    second = cache.match(URLS[0])
    assert second
    assert "server-timing" not in second.headers


@pytest.mark.parametrize(
    ("response", "status"),
    [
        (Response(206, b"part", {"cache-control": "max-age=60"}), 400),
        (answer(1, vary="*"), 400),
        (answer(6), 413),
    ],
)
def test_what_cannot_be_stored_is_refused(response: Response, status: int) -> None:
    cache = EdgeCache(VirtualClock(), entry_bytes_max=5)
    with pytest.raises(CacheError) as caught:
        cache.put(URLS[0], response)
    assert caught.value.status == status
    assert not len(cache)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", 0), ("max-age=60", 60), ("public, max-age=60", 60), ("max-age=60, s-maxage=5", 5), ("MAX-AGE=7", 7),
        ('max-age="9"', 9), ("no-store", 0), ("private, max-age=60", 0), ("no-cache, s-maxage=60", 0), ("max-age=x", 0),
        ("max-age=-1", 0), ('private="x", max-age=60', 0),
    ],
)  # fmt: skip
def test_freshness_is_that_of_a_shared_cache(text: str, seconds: int) -> None:
    assert freshness_s(text) == seconds


def test_route_stores_finds_and_throws_away() -> None:
    system = {"network": {}, "cache": {"entry_bytes_max": 1_000}}
    routes = {
        "get": route("cache.get", path="/get"),
        "fill": route("cache.put", "cache.get", path="/fill"),
        "drop": route("cache.put", "cache.delete", path="/drop"),
    }
    with routed(routes, system) as w:
        assert ask(w, "/get", key=1, size_bytes=7, object=1)[0].body == bytes(7)
        assert ask(w, "/fill", key=1, size_bytes=900, object=1)[0].body == bytes(900)
        assert len(w.deployment.instances["cache"]) == 1
        assert ask(w, "/fill", key=1, size_bytes=1_001, object=1)[0].status == 413
        ask(w, "/drop", key=1, size_bytes=3, object=1)
        assert len(w.deployment.instances["cache"]) == 1


def test_look_up_and_store_take_the_scenarios_time() -> None:
    system = {"network": {}, "cache": {"get_ms": 5, "put_ms": 7}}
    with routed({"one": route("cache.get", "cache.put", "cache.delete")}, system) as w:
        assert ask(w)[1].spent_ms["cache"] == 5 + 7 + 7


def test_refused_entry_takes_no_time_as_in_the_model() -> None:
    system = {"network": {}, "cache": {"put_ms": 7, "entry_bytes_max": 1_000}}
    with routed({"one": route("cache.put")}, system) as w:
        answer, watch = ask(w, size_bytes=1_001, object=1)
        assert answer.status == 413
        assert not watch.spent_ms.get("cache")
