"""Schedules: who sends what, and when.

Goal: the shares, popularities, sizes and tokens that a scenario asks for, and luck that belongs to the request and to
nothing else. Method: exact tests on fixed seeds; properties over random workloads, one change at a time.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chisquare, kstest

from sim.foundation import free_memory
from sim.foundation.errors import ScenarioError, UsageError
from sim.randomness.streams import stream_key, uniforms
from sim.scenario.generation import schedule, stored_bytes
from sim.scenario.scenario import Scenario, load_scenario
from sim.scenario.schedule import Schedule

LAUNCH = load_scenario("launch").with_(**{"workload.requests": 300, "workload.warm_up_s": 0})
MANY = LAUNCH.vary("workload.requests", 50_000)
ROUTES = tuple(LAUNCH.routes)
UPLOAD, DOWNLOAD = LAUNCH.routes["upload"], LAUNCH.routes["download"]
SEED = 20261123

seeds = st.integers(0, 2**63 - 1)
shares = st.dictionaries(st.sampled_from(ROUTES), st.floats(0, 5), min_size=1).filter(
    lambda found: sum(found.values()) > 0
)
COLUMNS = ("route_code", "arrival_ms", "key", "size_bytes", "tokens_in", "tokens_out", "object_number")


@pytest.fixture(scope="module")
def many() -> Schedule:
    return schedule(MANY)


def same(one: Schedule, other: Schedule, *columns: str) -> bool:
    """Whether columns are equal, byte for byte."""
    return all(getattr(one, column).tobytes() == getattr(other, column).tobytes() for column in columns)


def of(played: Schedule, route: str) -> NDArray[np.bool_]:
    """Which requests take a route."""
    return np.asarray(played.route_code == ROUTES.index(route))


# ---------------------------------------------------------------- what is asked for is what comes


def test_routes_have_their_shares(many: Schedule) -> None:
    weights = np.array([route.share for route in MANY.routes.values()])
    seen = np.bincount(many.route_code, minlength=len(ROUTES))
    assert chisquare(seen, weights / weights.sum() * len(many)).pvalue > 1e-3


@given(shares, seeds)
@example({"log": 5e-324, "balance": 0.0, "device_log": 0.0}, 0)
def test_a_route_of_share_zero_never_comes(asked: dict[str, float], seed: int) -> None:
    played = schedule(LAUNCH.with_shares(**asked), seed)
    assert {played.routes[code] for code in played.route_code} <= {
        route for route, weight in asked.items() if weight > 0
    }


@pytest.mark.parametrize("zipf", [0, 0.7, 1, 2])
def test_keys_are_as_popular_as_the_law_of_zipf_says(zipf: float) -> None:
    played = schedule(MANY.with_(**{"workload.keys.zipf": zipf, "workload.keys.count": 20}))
    weights = np.arange(1, 21.0) ** -zipf
    seen = np.bincount(played.key, minlength=20)
    assert chisquare(seen, weights / weights.sum() * len(played)).pvalue > 1e-3


@given(st.integers(1, 50), st.floats(0, 5), seeds)
def test_keys_lie_below_their_count(count: int, zipf: float, seed: int) -> None:
    played = schedule(LAUNCH.with_(**{"workload.keys.count": count, "workload.keys.zipf": zipf}), seed)
    assert ((played.key >= 0) & (played.key < count)).all()


def test_uploads_have_the_law_of_their_size(many: Schedule) -> None:
    distribution = UPLOAD.size_bytes
    assert distribution is not None
    levels = np.linspace(0, 1, 10_001)[1:-1]
    knots = distribution.quantile(levels)
    assert kstest(many.size_bytes[of(many, "upload")], lambda x: np.interp(x, knots, levels)).pvalue > 1e-3


def test_downloads_take_one_of_sixteen_sizes_alike(many: Schedule) -> None:
    down = of(many, "download")
    sizes = stored_bytes(DOWNLOAD)
    assert np.array_equal(many.size_bytes[down], sizes[many.object_number[down]])
    assert chisquare(np.bincount(many.object_number[down], minlength=16)).pvalue > 1e-3


def test_stored_objects_are_the_quantiles_of_the_law_of_their_size() -> None:
    distribution = DOWNLOAD.size_bytes
    assert distribution is not None
    assert stored_bytes(DOWNLOAD)[3] == round(distribution.quantile(np.array([3.5 / 16]))[0])


def test_every_upload_is_an_object_of_its_own_and_routes_without_bytes_have_none(many: Schedule) -> None:
    up, down = of(many, "upload"), of(many, "download")
    assert np.array_equal(many.object_number[up], 16 + np.flatnonzero(up))
    assert (many.object_number[~up & ~down] == -1).all()
    assert (many.size_bytes[~up & ~down] == 0).all()
    assert (many.size_bytes[up | down] >= 1).all()


def test_tokens_have_the_mean_of_their_law(many: Schedule) -> None:
    asked = MANY.workload.tokens
    assert asked is not None
    for tokens, distribution in ((many.tokens_in, asked.tokens_in), (many.tokens_out, asked.tokens_out)):
        error = tokens.std() / np.sqrt(len(tokens))
        assert abs(tokens.mean() - distribution.expected()) < 4 * error


def test_a_law_of_several_draws_is_sampled_with_as_many() -> None:
    distribution = {"distribution": "erlang", "mean": 1000, "stages": 9}
    tokens = schedule(MANY.vary("workload.tokens.tokens_in", distribution)).tokens_in
    assert tokens.std() / tokens.mean() == pytest.approx(1 / 3, rel=0.03)


# ---------------------------------------------------------------- luck belongs to the request


@given(seeds)
def test_the_same_seed_gives_the_same_bytes(seed: int) -> None:
    assert same(schedule(LAUNCH, seed), schedule(LAUNCH, seed), *COLUMNS)


def test_the_scenario_s_seed_is_the_default() -> None:
    assert same(schedule(LAUNCH), schedule(LAUNCH, LAUNCH.seed), *COLUMNS)
    assert not same(schedule(LAUNCH), schedule(LAUNCH, LAUNCH.seed + 1), "arrival_ms")


@given(shares, seeds)
def test_other_shares_keep_arrivals_keys_and_tokens(asked: dict[str, float], seed: int) -> None:
    before, after = schedule(LAUNCH, seed), schedule(LAUNCH.with_shares(**asked), seed)
    assert same(before, after, "arrival_ms", "key", "tokens_in", "tokens_out")


@given(st.floats(0.1, 1000), seeds)
def test_another_rate_keeps_what_each_request_asks(rate_per_s: float, seed: int) -> None:
    before, after = schedule(LAUNCH, seed), schedule(LAUNCH.at_rate(rate_per_s), seed)
    assert same(before, after, *(column for column in COLUMNS if column != "arrival_ms"))


@pytest.mark.parametrize(
    ("path", "value", "changed"),
    [
        ("workload.keys.zipf", 0.5, {"key"}),
        ("workload.tokens.tokens_in.median", 100, {"tokens_in"}),
        ("routes.upload.size_bytes.median", 9_000, {"size_bytes"}),
        ("workload.arrivals", {"kind": "constant", "rate_per_s": 5}, {"arrival_ms"}),
        ("system.d1.rtt_ms", 3, set()),
    ],
)
def test_a_change_reaches_its_own_column_alone(path: str, value: Any, changed: set[str]) -> None:
    before, after = schedule(LAUNCH), schedule(LAUNCH.vary(path, value))
    assert {column for column in COLUMNS if not same(before, after, column)} == changed


def test_columns_are_independent_of_each_other(many: Schedule) -> None:
    gaps_ms = np.diff(many.arrival_ms, prepend=0)
    columns = np.stack([gaps_ms, many.key, many.tokens_in, many.tokens_out, many.route_code])
    off_diagonal = np.corrcoef(columns)[~np.eye(5, dtype=bool)]
    assert np.abs(off_diagonal).max() < 4.5 / np.sqrt(len(many))


# ---------------------------------------------------------------- shape


@given(seeds)
def test_columns_have_their_types_and_arrivals_their_order(seed: int) -> None:
    played = schedule(LAUNCH, seed)
    types = ["int16", "float64", "int64", "int64", "int64", "int64", "int64"]
    assert [str(getattr(played, column).dtype) for column in COLUMNS] == types
    assert (np.diff(played.arrival_ms) >= 0).all()
    assert played.routes == ROUTES
    assert played.user is None


def test_duration_is_the_scenario_s_and_warm_up_goes_along() -> None:
    played = schedule(load_scenario("launch"))
    assert (played.duration_ms, played.warm_up_ms) == (600_000, 60_000)


def closed(**arrivals: Any) -> Scenario:
    """The launch scenario with users who wait."""
    table = {"kind": "closed", "users": 7, "think_ms": {"distribution": "exponential", "mean": 500}, **arrivals}
    return LAUNCH.with_(**{"workload.arrivals": table, "workload.requests": 3000})


def test_closed_loop_gives_each_request_a_user_and_a_time_to_think() -> None:
    played = schedule(closed())
    assert played.user is not None
    assert played.think_ms is not None
    assert (played.arrival_ms == 0).all()
    assert np.bincount(played.user).tolist() == [429] * 4 + [428] * 3
    assert kstest(played.think_ms, lambda x: 1 - np.exp(-x / 500)).pvalue > 1e-3
    assert played.duration_ms == pytest.approx(3000 / 7 * 500, rel=0.1)


def test_more_users_keep_the_thinking() -> None:
    one, other = schedule(closed()), schedule(closed(users=70))
    assert one.think_ms is not None
    assert other.think_ms is not None
    assert one.think_ms.tobytes() == other.think_ms.tobytes()


# ---------------------------------------------------------------- refused


def test_a_plan_without_a_request_is_refused() -> None:
    quiet = LAUNCH.with_(**{"workload.duration_s": 1e-3, "workload.arrivals.rate_per_s": 1e-3})
    with pytest.raises(ScenarioError, match=r"workload\.duration_s=0\.001 ends before the first arrival"):
        schedule(quiet)


def test_a_warm_up_beyond_the_last_arrival_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"workload\.warm_up_s=3600 must be <= .*, the last arrival"):
        schedule(LAUNCH.vary("workload.warm_up_s", 3600))


def test_a_plan_that_no_machine_holds_is_refused() -> None:
    with pytest.raises(ScenarioError, match="candidate arrivals, must be <= 50,000,000"):
        schedule(LAUNCH.vary("workload.duration_s", 1e9))


def test_sites_of_the_workload_are_named_after_it() -> None:
    u = uniforms(stream_key(SEED, "workload.key"), np.arange(300))
    weights = np.arange(1, 201.0) ** -1.0
    expected = np.searchsorted(np.cumsum(weights) / weights.sum(), u, side="right")
    assert np.array_equal(schedule(LAUNCH, SEED).key, expected)


@pytest.mark.parametrize("name", ["launch", "shapes/closed", "shapes/spike"])
def test_more_requests_than_memory_are_refused_before_they_are_planned(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine with a kilobyte: the plan itself would be too large, long before the run."""
    monkeypatch.setattr(free_memory, "free_bytes", lambda: 1024.0)
    with pytest.raises(UsageError, match=r"[\d,]+ requests to come need about .+ GB of memory, .+ ask for fewer"):
        schedule(load_scenario(name))
