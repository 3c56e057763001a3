"""The player: every step of a route happens as often as it says, on real parts.

Goal: whatever the steps, the rows in the tables, the objects in the buckets and the state of the objects are those of
the operations that the route lists, no more and no fewer. Method: trees of steps drawn by Hypothesis, played on a
deployment in memory, against an interpreter that only counts; then single rules, one by one.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.support.routed import ask, events, objects, request, route, routed, rows, state
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
        assert state(w, "rooms", key=KEY) == {
            f"row-{n:06d}": count for n in range(2) if (count := happens["rooms.write"])
        }
        writes = happens["durable_objects.write"]
        assert state(w, "durable_objects", key=KEY) == ({"row-000000": writes} if writes else {})
        assert events(w, KEY) == happens["ledger.append"]
        for bucket, operation in (("r2", "r2.put"), ("media", "media.get")):
            kept = objects(w, bucket)
            assert set(kept) == object_keys(max([often for use, often in listed if use == operation], default=0))
            assert {len(content) for content in kept.values()} <= {SIZE_BYTES}


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
        assert events(w, KEY) == 2


def test_every_append_of_a_request_is_an_event_and_a_preparation_is_another() -> None:
    steps = ["ledger.append", {"use": "ledger.append", "times": 2}, {"steps": [{"use": "ledger.append"}], "times": 2}]
    with routed({"one": route(*steps)}) as w:
        for prepares, appended in ((1, 5), (0, 10), (0, 10)):
            assert ask(w, **ABOUT, prepare=prepares)[0].status == 200
            assert events(w, KEY) == appended


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
                assert state(w, "rooms", key=KEY) == {"row-000000": 1}
                assert set(objects(w)) == {f"one/{OBJECT}"}
            first.append(w.ask(request("/two"))[1].spent_ms)
    assert first[0] == first[1]
