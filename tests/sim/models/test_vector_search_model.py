"""The model of vector search: its time by the size of the corpus, its queue, its limits, its bill.

Goal: a larger corpus is never faster, a box has the times of the brief's table, and the bill is the provider's own.
Method: properties over sizes drawn by Hypothesis; the table; the worked examples of the pricing page.
"""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import run
from sim.foundation.errors import ScenarioError
from sim.judgement.cost import cost, price, usage_per_month
from sim.judgement.cost.bill import line_of
from sim.judgement.cost.usage import Traffic
from sim.models.registry import meters
from sim.models.vector_search import VectorSearch, slower
from sim.scenario.deployment import deployment, findings
from sim.scenario.scenario import Scenario
from tests.support.frames import PLATFORM
from tests.support.routes import KNOWN_TIMES, of_steps, refusal

TABLE: dict[str, Any] = {
    "index": "vectorize", "rtt_ms": 6.0, "dimensions": 384, "vectors": 10_000, "query_ms": 30.0,
    "query_at_dimensions": 3_840_000.0, "query_exponent": 0.33, "insert_ms": 50.0, "insert_vector_ms": 2.0,
    "visible_s": 5.0, "searches": "elastic", "queue_limit": 1_000, "document_bytes": 0.0, "dimensions_max": 1_536,
    "vectors_max": 10_000_000, "answer_vectors_max": 100, "answer_vectors_max_with_values": 20,
    "batch_vectors_max": 1_000,
}  # fmt: skip
BOX: dict[str, Any] = {
    "index": "local", "rtt_ms": 0.0, "query_ms": 45.0, "query_at_dimensions": 38_400.0, "query_exponent": 1 / 3,
    "searches": 1, "document_bytes": 50_000.0, "dimensions_max": None, "vectors_max": None, "answer_vectors_max": None,
    "answer_vectors_max_with_values": None, "batch_vectors_max": None,
}  # fmt: skip
BRIEF_MS = {100: 45.0, 1_000: 85.0, 10_000: 180.0, 100_000: 450.0}
"""Mean time of a search of the brief's vault, by documents; 384 dimensions."""
QUERIED, STORED = (one for one in meters() if one.component == "vector_search")


def index(**table: Any) -> Scenario:
    return KNOWN_TIMES.vary("system.vector_search", {**TABLE, **table})


def played(*steps: Any, engine: str = "compiled", requests: int = 2_000, **table: Any) -> pd.DataFrame:
    asked = steps or ("vector_search.query",)
    return run(of_steps(*asked, scenario=index(**table)), on=engine, requests=requests, rng=3).frame


def numbers(**table: Any) -> VectorSearch:
    whole = {key: value for key, value in {**TABLE, **table}.items() if not key.endswith("_ms")}
    law = {"rtt_ms": 0.0, "query_ms": 30.0, "insert_ms": 50.0}
    spread = {key: {"distribution": "constant", "value": value} for key, value in law.items()}
    return VectorSearch.model_validate({**whole, **spread, "insert_vector_ms": 2.0})


def test_engines_agree_request_by_request() -> None:
    law = {"distribution": "lognormal", "median": 30.0, "p99": 200.0}
    steps = ("vector_search.query", {"use": "vector_search.insert", "vectors": 3})
    table: dict[str, Any] = {"query_ms": law, "searches": 2, "queue_limit": 5}
    frames = [played(*steps, engine=engine, **table) for engine in ("simpy", "compiled")]
    assert np.array_equal(frames[0]["latency_ms"], frames[1]["latency_ms"])
    assert np.array_equal(frames[0]["outcome"], frames[1]["outcome"])
    assert {"ok", "overloaded"} == set(frames[0]["outcome"])


@given(
    vectors=st.integers(1, 10_000_000),
    more=st.integers(0, 10_000_000),
    dimensions=st.integers(1, 1_536),
    growth=st.floats(0, 2),
)
def test_larger_corpus_is_never_faster(vectors: int, more: int, dimensions: int, growth: float) -> None:
    sizes = [
        numbers(vectors=count, dimensions=dimensions, query_exponent=growth, vectors_max=None)
        for count in (vectors, vectors + more)
    ]
    assert slower(sizes[1]) >= slower(sizes[0])
    wider = numbers(
        vectors=vectors, dimensions=dimensions + 1, query_exponent=growth, vectors_max=None, dimensions_max=None
    )
    assert slower(wider) >= slower(sizes[0])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(100, 1_000_000), min_size=2, max_size=4, unique=True))
def test_simulated_search_is_monotone_in_the_corpus(sizes: list[int]) -> None:
    times = [played(engine="simpy", requests=1, vectors=count)["vector_search_ms"].iloc[0] for count in sorted(sizes)]
    assert times == sorted(times)
    assert len(set(times)) == len(times)


@pytest.mark.parametrize("documents", BRIEF_MS)
def test_box_has_the_times_of_the_briefs_table(documents: int) -> None:
    frame = played(requests=3, vectors=documents, **BOX)
    assert frame["vector_search_ms"].to_numpy() == pytest.approx(BRIEF_MS[documents], rel=0.17)


def test_scan_of_every_vector_takes_twice_as_long_for_twice_as_many() -> None:
    one, two = (
        played(requests=3, vectors=count, query_exponent=1.0)["vector_search_ms"].iloc[0] for count in (5_000, 10_000)
    )
    assert (two - 6.0) == pytest.approx(2 * (one - 6.0))


def test_box_searches_one_at_a_time() -> None:
    frame = played(vectors=100, **{**BOX, "query_ms": 10.0})
    assert frame["vector_search_queue_ms"].max() > 0
    assert (played()["vector_search_queue_ms"] == 0).all(), "nobody waits for the provider's"


def test_insert_takes_its_batch() -> None:
    frame = played({"use": "vector_search.insert", "vectors": 100}, requests=3)
    assert frame["vector_search_ms"].to_numpy() == pytest.approx(6 + 50 + 200)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"use": "vector_search.query", "neighbours": 101}, "vector_search.query with neighbours=101 must be <= 100"),
        ({"use": "vector_search.query", "neighbours": 21, "with_values": True}, "neighbours=21 must be <= 20"),
        ({"use": "vector_search.insert", "vectors": 1_001}, "vector_search.insert with vectors=1001 must be <= 1000"),
    ],
)
def test_call_over_a_limit_is_one_line(step: dict[str, Any], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        deployment(of_steps(step, scenario=index()))
    deployment(of_steps(step, scenario=index(**BOX)))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"dimensions": 1_537}, "system.vector_search has dimensions=1537, must be <= dimensions_max=1536"),
        ({"vectors": 10_000_001}, "has vectors=10000001, must be <= vectors_max=10000000"),
    ],
)
def test_index_over_a_limit_is_one_line(table: dict[str, Any], message: str) -> None:
    found = refusal({"system.vector_search": {**TABLE, **table}})
    assert len(found) == 1
    assert message in found[0]


EXAMPLES = [
    # vectorize/platform/pricing: dimensions, stored vectors, queries a month, USD without what the plan includes.
    ("experiment", 384, 5_000, 10_000, 0.06),
    ("scaling", 768, 25_000, 50_000, 0.59),
    ("production", 768, 50_000, 200_000, 1.94),
    ("large", 768, 250_000, 500_000, 5.86),
    ("XL", 1_536, 500_000, 1_000_000, 23.42),
    ("1,000 queries a day", 768, 10_000, 30_000, 0.31),
]


@pytest.mark.parametrize(("name", "dimensions", "vectors", "queries", "usd"), EXAMPLES)
def test_worked_bills_of_the_provider_to_the_cent(
    name: str, dimensions: int, vectors: int, queries: int, usd: float
) -> None:
    scenario = of_steps("vector_search.query", scenario=index(dimensions=dimensions, vectors=vectors))
    used = usage_per_month(scenario, queries)
    assert used[QUERIED.name] == pytest.approx((queries + vectors) * dimensions)
    assert used[STORED.name] == pytest.approx(vectors * dimensions)
    included = {
        QUERIED.name: float(PLATFORM.fact(QUERIED.included).value),
        STORED.name: float(PLATFORM.fact(STORED.included).value),
    }
    gross = sum(line_of(one, used[one.name] + included[one.name], platform=PLATFORM).usd for one in (QUERIED, STORED))
    # The page cuts or rounds its half cents as it comes: 1.94 is 1.9392, 0.59 is 0.5856.
    assert gross == pytest.approx(usd, abs=0.0051), name


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        ({QUERIED.name: 50e6, STORED.name: 10e6}, 0.0),
        ({QUERIED.name: 150e6}, 1.00),
        ({STORED.name: 110e6}, 0.05),
        ({QUERIED.name: 30_720_000.0, STORED.name: 7_680_000.0}, 0.0),
    ],
)
def test_inclusions_of_the_plan(usage: dict[str, float], usd: float) -> None:
    lines = [line for line in price(usage, PLATFORM) if line.component == "vector_search"]
    assert sum(line.usd for line in lines) == pytest.approx(usd, abs=1e-9)


def test_corpus_without_queries_is_stored_and_not_queried() -> None:
    used = usage_per_month(of_steps("vector_search.insert", scenario=index()), 1_000.0)
    assert QUERIED.name not in used or used[QUERIED.name] == 0.0
    # What is inserted evenly over a month is there for half of it.
    assert used[STORED.name] == pytest.approx((10_000 + 500) * 384)


def test_what_is_inserted_is_queried_too() -> None:
    """The provider's formula: (vectors that are queried + vectors that are stored) x dimensions."""
    steps = ("vector_search.query", {"use": "vector_search.insert", "vectors": 3})
    used = usage_per_month(of_steps(*steps, scenario=index()), 1_000.0, month=2)
    stored = 10_000 + 3 * (1_000 + 500)
    assert used[STORED.name] == pytest.approx(stored * 384)
    assert used[QUERIED.name] == pytest.approx((1_000 + stored) * 384)


def test_large_corpus_uses_the_free_plans_queries_up_with_its_first_search() -> None:
    """100,000 vectors of 384 dimensions are 38.4 million, of which the Free plan lets 30 million be queried."""
    scenario = of_steps("vector_search.query", scenario=index(vectors=100_000))
    for volume in (100.0, 1e6):
        found = [one for one in cost(scenario, requests_per_month=volume).limits if "queried" in one.what]
        assert [one.day_number for one in found] == [1]


def test_index_is_full_one_day_and_the_free_plan_earlier() -> None:
    inserts = of_steps({"use": "vector_search.insert", "vectors": 10}, scenario=index(vectors=1_000_000))
    ((limit, instance, requests),) = list(Traffic(inserts, 1e6).storage_limits())
    assert (limit.what, instance.name, limit.unit) == ("an index", "vector_search", "vectors")
    assert requests == pytest.approx((10_000_000 - 1_000_000) / 10)
    month = cost(inserts, requests_per_month=4e5)
    reached = {one.what: one for one in month.limits}
    assert reached["vector_search: an index of 10,000,000 vectors is full"].day_number == 68
    assert reached["vector_search.stored_dimensions: the Free plan's 5,000,000 dimensions are full"].day_number == 1


def test_box_is_on_no_bill_and_says_what_its_file_has() -> None:
    scenario = of_steps("vector_search.query", "vector_search.insert", scenario=index(**BOX))
    assert not [name for name in usage_per_month(scenario, 1e6) if name.startswith("vector_search")]
    (said,) = findings(scenario)
    assert said == "route only: vector_search searches 10,000 vectors in a file of 0.5 GB, 50,000 bytes more for each"
