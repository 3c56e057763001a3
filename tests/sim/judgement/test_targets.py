"""Verdicts.

Goal: no verdict says more than the data allow. Method: intervals laid by hand around the two lines, then frames
whose truth is known because they were drawn here.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sim.foundation.errors import ScenarioError, UsageError
from sim.judgement.judge import exit_status, judge, overall
from sim.judgement.targets import Verdict, decide, load_targets, percentile
from sim.results.metrics import estimate, metric_values, probability
from sim.runners.play import run
from sim.scenario.scenario import load_scenario
from tests.support import frames

BELOW, ABOVE = frames.TARGETS[1], frames.TARGETS[4]


def rows(requests: pd.DataFrame, **fields: Any) -> dict[tuple[str, str], Any]:
    """The verdict table by metric and statistic."""
    return {(row.metric, row.statistic): row for row in judge(frames.result(requests, **fields))}


def values_of(requests: pd.DataFrame, metric: str, changes: dict[str, Any] | None = None) -> Any:
    """A metric of requests of the scenario by hand."""
    return metric_values(requests, metric, scenario=frames.scenario(changes))


@pytest.mark.parametrize(
    ("line", "low", "high", "verdict"),
    [
        (BELOW, 100, 200, "PASS"),
        (BELOW, 150, 201, "INCONCLUSIVE"),
        (BELOW, 201, 500, "WARN"),
        (BELOW, 201, 501, "INCONCLUSIVE"),
        (BELOW, 501, 900, "ALERT"),
        (BELOW, 150, np.inf, "INCONCLUSIVE"),
        (BELOW, 501, np.inf, "ALERT"),
        (ABOVE, 10, 12, "PASS"),
        (ABOVE, 9, 12, "INCONCLUSIVE"),
        (ABOVE, 5, 9, "WARN"),
        (ABOVE, 1, 4, "ALERT"),
    ],
)
def test_verdict_needs_the_whole_interval(line: Any, low: float, high: float, verdict: str) -> None:
    assert decide(low, high, line=line) == verdict


@given(st.floats(1, 1e3), st.floats(1, 1e3))
def test_rate_is_judged_as_its_latency_is(one: float, other: float) -> None:
    """The inverse of a latency is a rate."""
    low, high = sorted((one, other))
    mirrored = BELOW.model_copy(update={"target": 1 / 200, "alert": 1 / 500, "direction": "above"})
    assert decide(low, high, line=BELOW) == decide(1 / high, 1 / low, line=mirrored)


def test_fast_requests_pass_and_slow_ones_alert() -> None:
    rng = np.random.default_rng(1)
    fast, slow = (rows(frames.frame(rng.exponential(mean, 5_000))) for mean in (20, 400))
    assert fast["api_latency_ms", "p99"].verdict == "PASS"
    assert slow["api_latency_ms", "p50"].verdict == "ALERT"


def test_p99_of_298_requests_has_no_upper_bound_and_cannot_pass() -> None:
    """Hazard H60: with 0.99^298 > 5 % all of them may lie below the true P99."""
    values = np.random.default_rng(2).exponential(1.0, 298)
    assert rows(frames.frame(values))["api_latency_ms", "p99"].verdict == "INCONCLUSIVE"
    assert rows(frames.frame(values))["api_latency_ms", "p50"].verdict == "PASS"


def test_inconclusive_row_says_how_many_requests_would_settle_it() -> None:
    values = np.random.default_rng(3).lognormal(np.log(50.5), 0.5, 1_000)
    row = rows(frames.frame(values))["api_latency_ms", "p50"]
    assert row.verdict == "INCONCLUSIVE"
    words = row.reason.split()
    assert [words[0], words[1], *words[3:]] == ["n", ">=", "would", "settle", "it"]
    assert int(words[2].replace(",", "")) > row.n


@pytest.mark.parametrize(("quantile", "n"), [(0.99, 40), (0.995, 79), (0.999, 500)])
def test_fewer_requests_than_the_ranks_need_settle_nothing(tmp_path: Path, quantile: float, n: int) -> None:
    """Of a P99.5 the interval has an upper end from n on with 0.995^n <= 2.5 %: 736 requests, not twice 79."""
    scenario = load_scenario("launch").with_(targets=str(own(tmp_path, f"quantile = {quantile}")))
    result = replace(frames.result(frames.frame(np.full(n, 1.0))), scenario=scenario)
    (row,) = judge(result)
    assert row.verdict == "INCONCLUSIVE"
    said = int(row.reason.split()[2].replace(",", ""))
    assert quantile ** (said + 1) <= 0.025


def test_errors_count_as_never_answered() -> None:
    outcome = ["error" if i % 40 == 0 else "ok" for i in range(4_000)]
    row = rows(frames.frame(np.full(4_000, 10.0), outcome=outcome))["api_latency_ms", "p99"]
    assert row.value == np.inf
    assert row.verdict == "ALERT"


def test_timeouts_count_with_the_time_that_was_waited() -> None:
    waited = frames.frame([10.0, 5_000.0], outcome=["ok", "timeout"])
    assert values_of(waited, "api_latency_ms").tolist() == [10.0, 5_000.0]


def test_what_the_generator_did_not_send_is_not_judged() -> None:
    requests = frames.frame([10.0, np.nan, 3.0], outcome=["ok", "skipped", "aborted"])
    assert values_of(requests, "api_latency_ms").tolist() == [10.0]


def test_only_requests_that_met_the_component_count() -> None:
    requests = frames.frame([9.0, 9.0], d1_ms=[0.0, 4.0], d1_queue_ms=[0.0, 1.0], worker_cpu_ms=[2.0, 0.0])
    assert values_of(requests, "d1_query_ms").tolist() == [5.0]
    assert values_of(requests, "worker_cpu_ms").tolist() == [2.0]


def test_upload_speed_is_size_over_time_in_r2() -> None:
    requests = frames.frame([1e3, 1e3], route="upload", size_bytes=[20_000_000, 5_000_000], r2_ms=[1_000.0, 1_000.0])
    assert values_of(requests, "r2_upload_mb_per_s").tolist() == [20.0, 5.0]


def test_metric_that_no_request_met_is_inconclusive() -> None:
    row = rows(frames.frame(np.ones(500)))["d1_query_ms", "p99"]
    assert (row.n, row.verdict, row.reason) == (0, "INCONCLUSIVE", "no request met this metric")


def test_run_with_a_late_generator_gets_no_verdict() -> None:
    table = rows(frames.frame(np.ones(500)), valid=False)
    assert {row.verdict for row in table.values()} == {"INVALID"}
    assert exit_status(table.values()) == 3


def test_replications_give_one_row_over_all_requests() -> None:
    rng = np.random.default_rng(4)
    runs = [frames.result(frames.frame(rng.exponential(20.0, 1_000))) for _ in range(5)]
    row = next(row for row in judge(runs) if row.statistic == "p99")
    assert row.n == 5_000
    assert row.low < 20 * np.log(100) < row.high


def test_warm_up_is_cut() -> None:
    latency_ms = np.where(np.arange(1_000) < 500, 1e6, 1.0)
    row = rows(frames.frame(latency_ms), warm_up_ms=500.0)["api_latency_ms", "p99"]
    assert (row.n, row.value) == (500, 1.0)


@pytest.mark.parametrize(
    ("verdicts", "status", "verdict"),
    [
        (["PASS", "PASS"], 0, "PASS"),
        (["PASS", "WARN", "INCONCLUSIVE"], 1, "WARN"),
        (["INVALID", "ALERT", "WARN"], 1, "ALERT"),
        (["PASS", "INCONCLUSIVE"], 3, "INCONCLUSIVE"),
        (["INCONCLUSIVE", "INVALID"], 3, "INVALID"),
    ],
)
def test_exit_status_tells_missed_from_unknown(verdicts: list[str], status: int, verdict: str) -> None:
    row = judge(frames.result(frames.frame(np.ones(500))))[0]
    table = [replace(row, verdict=Verdict(word)) for word in verdicts]
    assert (exit_status(table), overall(table)) == (status, verdict)


@pytest.mark.parametrize("statistic", ["p0", "99", "p", "median", ""])
def test_unknown_statistic_is_refused(statistic: str) -> None:
    with pytest.raises(UsageError, match="must be p50"):
        probability(statistic)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('metric = "latency"', "is not a metric; did you mean api_latency_ms"),
        ("alert = 100.0", "must have its alert line beyond its target"),
        ("target = -1.0", "targets\\[0\\].target=-1.0 must be > 0"),
        ('statistic = "median"', "statistic"),
        ('direction = "up"', "direction"),
        ('unit = "s"', 'must have unit="ms", that of api_latency_ms, not "s"'),
        ("limit = 3", "limit is not a key"),
    ],
)
def test_wrong_row_in_the_file_is_refused_in_one_line(tmp_path: Path, row: str, message: str) -> None:
    right = {"metric": '"api_latency_ms"', "statistic": '"p50"', "target": "200.0", "alert": "500.0", "unit": '"ms"'}
    name, _, value = row.partition(" = ")
    lines = [f"{key} = {text}" for key, text in {**right, "direction": '"below"', name: value}.items()]
    file = tmp_path / "targets.toml"
    file.write_text("[[targets]]\n" + "\n".join(lines), encoding="utf-8")
    with pytest.raises(ScenarioError, match=message) as error:
        load_targets(file)
    assert "\n" not in str(error.value)


def test_file_without_a_row_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "targets.toml"
    file.write_text("targets = []", encoding="utf-8")
    with pytest.raises(ScenarioError, match="must hold at least 1"):
        load_targets(file)


def test_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="must be one of api_latency_ms"):
        values_of(frames.frame([1.0]), "latency")


def test_no_result_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one result"):
        judge([])


def test_mean_is_estimated_alike_from_one_run_and_from_several() -> None:
    rng = np.random.default_rng(5)
    whole = rng.normal(40.0, 5.0, (4, 500))
    for runs in ([frames.frame(whole.ravel())], [frames.frame(part) for part in whole]):
        found = estimate(runs, "api_latency_ms", statistic="mean", scenario=frames.scenario())
        assert found is not None
        assert found.low < 40.0 < found.high


def test_verdicts_never_improve_as_latency_grows() -> None:
    order = {"PASS": 0, "INCONCLUSIVE": 1, "WARN": 2, "ALERT": 3}
    rng = np.random.default_rng(6)
    base = rng.exponential(10.0, 2_000)
    seen = [rows(frames.frame(base * factor))["api_latency_ms", "p99"].verdict for factor in (1, 10, 100)]
    ranks = [order[verdict] for verdict in seen]
    assert ranks == sorted(ranks)
    assert len(set(seen)) > 1


def test_every_line_of_the_table_is_judged_once() -> None:
    table = judge(frames.result(frames.frame(np.ones(500))))
    assert [(row.metric, row.statistic) for row in table] == [(t.metric, t.statistic) for t in frames.TARGETS]
    assert all(verdict in ("PASS", "INCONCLUSIVE") for verdict in (row.verdict for row in table))


# ---------------------------------------------------------------- metrics of several instances

TWO = frames.scenario().with_(
    **{
        "system.archive": {"like": "d1"},
        "system.media": {"like": "r2"},
        "system.auth": {"like": "workers"},
        "routes.store": {"share": 1.0, "size_bytes": 1e6, "steps": ["media.put", "archive.write"]},
        "routes.swap": {"share": 1.0, "size_bytes": 1e6, "steps": ["media.get", "media.put"]},
        "routes.key": {"share": 1.0, "steps": ["auth.compute"]},
    }
)


def of_two(metric: str, route: str, **columns: list[float]) -> list[float]:
    """A metric of requests of one route, on the scenario with two databases, buckets and Workers."""
    n = len(next(iter(columns.values())))
    requests = frames.frame(np.ones(n), route=route, **{name: np.zeros(n) for name in TWO.time_columns})
    found: list[float] = metric_values(requests.assign(**columns), metric, scenario=TWO).tolist()
    return found


def test_query_of_any_database_is_a_query() -> None:
    assert of_two("d1_query_ms", "search", d1_ms=[3.0, 0.0], d1_queue_ms=[1.0, 0.0]) == [4.0]
    assert of_two("d1_query_ms", "store", archive_ms=[3.0, 5.0], archive_queue_ms=[1.0, 0.0]) == [4.0, 5.0]


def test_upload_into_any_bucket_is_an_upload_unless_it_fetches_too() -> None:
    one_second = [1_000.0]
    assert of_two("r2_upload_mb_per_s", "store", media_ms=one_second, size_bytes=[5e6]) == [5.0]
    assert of_two("r2_upload_mb_per_s", "upload", r2_ms=one_second, size_bytes=[5e6]) == [5.0]
    assert of_two("r2_upload_mb_per_s", "swap", media_ms=one_second, size_bytes=[5e6]) == []


def test_cpu_of_any_worker_counts() -> None:
    assert of_two("worker_cpu_ms", "log", worker_cpu_ms=[2.0, 0.0, 0.0], auth_cpu_ms=[0.0, 3.0, 0.0]) == [2.0, 3.0]


def test_metric_of_a_component_that_the_scenario_lacks_has_no_value() -> None:
    numbers = {name: frames.scenario().system.numbers()[name] for name in ("network", "client", "r2")}
    only = {"fetch": {"share": 1.0, "steps": ["r2.get"]}}
    lean = frames.scenario().with_(system=numbers, routes=only)
    requests = frames.frame(np.ones(5), route="fetch")
    assert metric_values(requests, "d1_query_ms", scenario=lean).tolist() == []
    assert metric_values(requests, "worker_cpu_ms", scenario=lean).tolist() == []


# Own targets: of a route, of the hottest keys, of any quantile.

OWN = """
[[targets]]
metric = "api_latency_ms"
{statistic}
target = 50
alert = 100
direction = "below"
unit = "ms"
{scope}
"""


def own(folder: Path, statistic: str = 'statistic = "p50"', scope: str = "") -> Path:
    """A file with one target."""
    path = folder / "own.toml"
    path.write_text(OWN.format(statistic=statistic, scope=scope), encoding="utf-8")
    return path


def two_routes(keys: int = 4) -> pd.DataFrame:
    """Searches take 10 ms, logs 200; key 0 has most requests, and is slow."""
    n = 4_000
    requests = frames.frame(np.where(np.arange(n) % 2, 200.0, 10.0))
    requests["route"] = pd.Categorical(np.where(np.arange(n) % 2, "log", "search"))
    requests["key"] = np.where(np.arange(n) % 3 == 0, 0, 1 + np.arange(n) % (keys - 1))
    requests["latency_ms"] = requests["latency_ms"] + np.where(requests["key"] == 0, 300.0, 0.0)
    return requests


@pytest.mark.parametrize(
    ("scope", "value", "name"),
    [
        ("", 200.0, "api_latency_ms p50"),
        ('route = "search"', 10.0, "api_latency_ms p50 of search"),
        ('route = "log"', 200.0, "api_latency_ms p50 of log"),
        ('route = "search"\nhottest_keys = 1', 310.0, "api_latency_ms p50 of search of the 1 hottest keys"),
    ],
)
def test_target_is_of_the_requests_that_it_names(tmp_path: Path, scope: str, value: float, name: str) -> None:
    scenario = frames.scenario(shares={"log": 1.0, "search": 1.0}).with_(targets=str(own(tmp_path, scope=scope)))
    (row,) = judge(frames.result(two_routes(), scenario=scenario))
    assert (row.value, row.name) == (value, name)


@given(st.floats(0.001, 0.999))
def test_quantile_is_the_statistic_of_its_digits(quantile: float) -> None:
    quantile = round(quantile, 6)
    assume(0 < quantile < 1)
    assert probability(percentile(quantile)) == pytest.approx(quantile, abs=1e-9)


def test_quantile_stands_for_a_statistic(tmp_path: Path) -> None:
    (line,) = load_targets(own(tmp_path, "quantile = 0.995"))
    assert (line.statistic, line.name) == ("p995", "api_latency_ms p995")


@pytest.mark.parametrize(
    ("statistic", "scope", "message"),
    [
        ("quantile = 1.5", "", "a quantile in .0, 1., not 1.5"),
        ('quantile = 0.9\nstatistic = "p90"', "", "a statistic or a quantile, not both"),
        ('statistic = "p50"', "hottest_keys = 0", "hottest_keys=0 must be >= 1"),
        ('statistic = "p50"', 'rout = "log"', "rout is not a key; did you mean route"),
    ],
)
def test_wrong_own_target_is_one_line(tmp_path: Path, statistic: str, scope: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        load_targets(own(tmp_path, statistic, scope))


def test_target_of_a_route_that_never_has_its_metric_names_those_that_do(tmp_path: Path) -> None:
    text = own(tmp_path, scope='route = "log"').read_text("utf-8").replace("api_latency_ms", "d1_query_ms")
    (tmp_path / "other.toml").write_text(text, "utf-8")
    scenario = load_scenario("launch").with_(targets=str(tmp_path / "other.toml"))
    with pytest.raises(ScenarioError, match=r'route="log" has no d1_query_ms: search, upload of launch have it'):
        judge(run(scenario, requests=100))


def test_target_of_a_route_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    scenario = frames.scenario().with_(targets=str(own(tmp_path, scope='route = "serch"')))
    with pytest.raises(ScenarioError, match=r'route="serch" is not a route of .* did you mean search'):
        judge(frames.result(two_routes(), scenario=scenario))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(1, 6))
def test_hottest_keys_have_no_fewer_requests_than_any_other(keys: list[int], hottest: int) -> None:
    requests = frames.frame(np.ones(len(keys)))
    requests["key"] = keys
    line = BELOW.model_copy(update={"hottest_keys": hottest})
    chosen = set(line.select(requests)["key"])
    counts = {key: keys.count(key) for key in set(keys)}
    assert len(chosen) == min(hottest, len(counts))
    assert min(counts[key] for key in chosen) >= max((counts[key] for key in counts if key not in chosen), default=0)


def test_row_that_restates_an_assumption_says_which() -> None:
    """In a simulation CPU time is the scenario's own number; in a measured run it is the deployment's."""
    requests = frames.frame(np.ones(2_000))
    requests["worker_cpu_ms"] = np.random.default_rng(1).exponential(2.2, 2_000)
    launch = load_scenario("launch")
    simulated = replace(frames.result(requests, scenario=launch), on="compiled")
    marked = {row.name: row.follows_from for row in judge(simulated)}
    assert marked.pop("worker_cpu_ms p99") == "system.workers.cpu_ms"
    assert not any(marked.values())
    measured = replace(simulated, on="https://example.com", generator={"sent_requests": 2_000})
    assert not any(row.follows_from for row in judge(measured))
