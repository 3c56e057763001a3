"""The index of the reference: exact neighbours, what is visible when, growth of the file, limits.

Goal: an answer is the definition of a nearest neighbour, whatever was inserted in which order. Method: the definition
written in plain Python, over vectors drawn by Hypothesis; routes of a whole deployment under a virtual clock.
"""

import json
import math
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.deployment_file import Specification
from reference_impl.errors import ConfigError
from reference_impl.tables import Table
from reference_impl.vector_search.index import Index, vectors_of
from reference_impl.vector_search.settings import IndexSettings
from tests.support.routed import ask, request, route, routed
from tests.support.world import memory_engine

NUMBERS = st.integers(-3, 3).map(float)
TABLE: dict[str, Any] = {
    "rtt_ms": 6, "dimensions": 8, "vectors": 50, "query_ms": 30, "insert_ms": 50, "insert_vector_ms": 2, "visible_s": 5,
    "searches": "elastic", "answer_vectors_max": 10, "answer_vectors_max_with_values": 3,
    "batch_vectors_max": 4, "vectors_max": 1_000,
}  # fmt: skip


def cosine(one: list[float], other: list[float]) -> float:
    """The definition; 0 where a vector has no direction."""
    lengths = math.dist(one, [0.0] * len(one)) * math.dist(other, [0.0] * len(other))
    return sum(a * b for a, b in zip(one, other, strict=True)) / lengths if lengths else 0.0


@given(st.data(), st.integers(1, 5), st.integers(1, 25))
def test_answer_is_the_definition_of_the_nearest(data: st.DataObject, dimensions: int, neighbours: int) -> None:
    vector = st.lists(NUMBERS, min_size=dimensions, max_size=dimensions)
    batches = data.draw(st.lists(st.lists(vector, min_size=1, max_size=6), min_size=1, max_size=4))
    query = data.draw(vector)
    with closing(memory_engine()) as engine:
        index = Index(engine, dimensions=dimensions)
        for batch in batches:
            index.insert(np.array(batch, dtype=np.float32), visible_at_ms=0.0)
        found = index.nearest(np.array(query, dtype=np.float32), neighbours=neighbours, now_ms=0.0)
    stored = [one for batch in batches for one in batch]
    scores = {number: cosine(query, one) for number, one in enumerate(stored)}
    assert len({match.document_id for match in found}) == len(found) == min(neighbours, len(stored))
    for match in found:
        assert match.cosine_ratio == pytest.approx(scores[match.document_id], abs=1e-6)
    assert [match.cosine_ratio for match in found] == sorted((match.cosine_ratio for match in found), reverse=True)
    left_out = [score for number, score in scores.items() if number not in {match.document_id for match in found}]
    assert max(left_out, default=-1.0) <= found[-1].cosine_ratio + 1e-6


def test_equal_scores_are_ordered_by_id() -> None:
    with closing(memory_engine()) as engine:
        index = Index(engine, dimensions=2)
        index.insert(np.array([[1, 0], [0, 1], [2, 0], [3, 0]], dtype=np.float32), visible_at_ms=0.0)
        found = index.nearest(np.array([5, 0], dtype=np.float32), neighbours=4, now_ms=0.0)
    assert [match.document_id for match in found] == [0, 2, 3, 1]


@given(st.lists(st.integers(0, 100), min_size=1, max_size=8), st.integers(0, 120))
def test_vector_is_found_from_its_time_on(visible_ms: list[int], now_ms: int) -> None:
    """Accepted in order, so that nothing overtakes what was accepted before it."""
    times = sorted(visible_ms)
    with closing(memory_engine()) as engine:
        index = Index(engine, dimensions=3)
        for number, at_ms in enumerate(times):
            index.insert(vectors_of((number,), count=1, dimensions=3), visible_at_ms=float(at_ms))
        found = index.nearest(vectors_of((99,), count=1, dimensions=3)[0], neighbours=100, now_ms=float(now_ms))
        assert len(index) == len(times)
    assert {match.document_id for match in found} == {number for number, at_ms in enumerate(times) if at_ms <= now_ms}


@pytest.mark.parametrize("document_bytes", [4_000, 10_000, 50_000])
def test_file_grows_by_the_bytes_of_a_document(document_bytes: int) -> None:
    with closing(memory_engine()) as engine:
        index = Index(engine, dimensions=384, document_bytes=document_bytes)
        index.insert(vectors_of((0,), count=20, dimensions=384), visible_at_ms=0.0)
        before = index.file_bytes
        index.insert(vectors_of((1,), count=200, dimensions=384), visible_at_ms=0.0)
        each = (index.file_bytes - before) / 200
    # A row that does not fit its page overflows to pages of its own, the last of which is half full on average.
    assert document_bytes <= each <= document_bytes + 4_096


def test_vectors_outlive_the_process() -> None:
    with closing(memory_engine()) as engine:
        first = Index(engine, dimensions=4)
        first.insert(vectors_of((0,), count=9, dimensions=4), visible_at_ms=0.0)
        query = vectors_of((1,), count=1, dimensions=4)[0]
        again = Index(engine, dimensions=4)
        assert len(again) == 9
        assert again.nearest(query, neighbours=9, now_ms=0.0) == first.nearest(query, neighbours=9, now_ms=0.0)
        assert again.vector(3).tolist() == first.vector(3).tolist()


def test_routes_search_insert_and_find_it_seconds_later() -> None:
    routes = {
        "find": route({"use": "vector_search.query", "parameters": {"neighbours": 10}}),
        "add": route({"use": "vector_search.insert", "parameters": {"vectors": 3}}, method="POST", path="/add"),
    }
    with routed(routes, {"network": {}, "vector_search": {**TABLE, "vectors": 2}}) as w:
        found, watch = w.ask(request(key=7))
        assert (json.loads(found.body)["count"], watch.spent_ms["vector_search"]) == (2, 36)
        added, watch = w.ask(request("/add", method="POST", key=7))
        assert (added.status, watch.spent_ms["vector_search"]) == (200, 6 + 50 + 3 * 2)
        assert json.loads(w.ask(request(key=7))[0].body)["count"] == 2, "accepted, not yet indexed"
        w.clock.run_until(w.clock.now_ms() + 5_000)
        matches = json.loads(w.ask(request(key=7))[0].body)["matches"]
        assert {match["id"] for match in matches} == {"0", "1", "2", "3", "4"}
        billed = w.deployment.billed()
        assert billed["vector_search", "queried_dimensions"] == 3 * 8
        assert billed["vector_search", "stored_dimensions"] == 3 * 8


def test_values_come_along_when_asked_for() -> None:
    step = {"use": "vector_search.query", "parameters": {"neighbours": 2, "with_values": True}}
    with routed({"one": route(step)}, {"network": {}, "vector_search": TABLE}) as w:
        for match in json.loads(ask(w, key=1)[0].body)["matches"]:
            assert math.dist(match["values"], [0.0] * 8) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("use", "parameters", "rule"),
    [
        ("query", {"neighbours": 11}, "neighbours=11 must be <= 10"),
        ("query", {"neighbours": 4, "with_values": True}, "neighbours=4 must be <= 3"),
        ("insert", {"vectors": 5}, "vectors=5 must be <= 4"),
    ],
)
def test_call_over_a_limit_is_400(use: str, parameters: dict[str, Any], rule: str) -> None:
    steps = {"use": f"vector_search.{use}", "parameters": parameters}
    with routed({"one": route(steps)}, {"network": {}, "vector_search": TABLE}) as w:
        answer = ask(w, key=1)[0]
        assert (answer.status, rule in answer.body.decode()) == (400, True)


def test_box_works_on_one_search_at_a_time_and_is_on_no_bill() -> None:
    box = {**TABLE, "index": "local", "searches": 1, "queue_limit": 1}
    with routed({"one": route("vector_search.query")}, {"network": {}, "vector_search": box}) as w:
        watches = [w.deployment.stopwatch() for _ in range(3)]
        answers = w.clock.run(*(w.deployment.serve_http(request(key=1), watch) for watch in watches))
        assert [answer.status for answer in answers] == [200, 200, 503]
        assert [watch.spent_ms.get("vector_search_queue", 0) for watch in watches[:2]] == [0, 30]
        assert not [meter for name, meter in w.deployment.billed() if name == "vector_search"]


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.floats(0, 2))
def test_larger_corpus_is_never_faster(vectors: int, more: int, growth: float) -> None:
    tables = [
        {**TABLE, "vectors": count, "vectors_max": None, "query_at_dimensions": 4_000.0, "query_exponent": growth}
        for count in (vectors, vectors + more)
    ]
    less, larger = (IndexSettings.read(Table("system.vector_search", table)).time_ratio for table in tables)
    assert larger >= less


def test_index_that_cannot_be_is_refused() -> None:
    content = {
        "system": {"network": {}, "vector_search": {**TABLE, "vectors": 1_001}},
        "routes": {"one": route("vector_search.query")},
    }
    with pytest.raises(ConfigError, match=r"system\.vector_search\.vectors=1001 must be <= 1000, its vectors_max"):
        Specification.read(content)
