"""A trace in a scenario: its routes, its keys, its stamps, its rate.

Goal: the deployment that is simulated and billed is that of the trace, not that of the base. Method: small traces whose
answers are counted by hand, and properties over generated ones.
"""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim import Scenario, capacity, cost, load_scenario, read_trace, run, schedule
from sim.foundation.errors import ScenarioError, SimError, UsageError
from sim.scenario.recorded import check_rate, patterns
from sim.traces.paths import Router, pattern, requests
from sim.traces.reading import read

FEED = load_scenario("feed")


def on_trace(path: Path, scenario: Scenario = FEED) -> Scenario:
    return scenario.vary("workload.arrivals", {"kind": "trace", "file": str(path)})


def tenants(folder: Path, count: int, *, requests_each: int = 2) -> Path:
    """Requests of so many tenants, in turn, ten a second."""
    path = folder / f"tenants{count}.csv"
    rows = (f"{at * 100},post,tenant-{at % count}" for at in range(count * requests_each))
    path.write_text("arrival_ms,route,tenant\n" + "\n".join(rows) + "\n", "utf-8")
    return path


@pytest.mark.parametrize("count", [3, 7_000])
def test_every_key_of_a_trace_has_an_object_of_its_own(tmp_path: Path, count: int) -> None:
    """More than the scenario's 5,000, or fewer: not folded onto them, and none that nobody asks for."""
    result = run(on_trace(tenants(tmp_path, count)))
    objects = result.stations.set_index("station").loc["durable_objects"]
    assert objects["instances"] == count
    assert result.frame["key"].nunique() == count


def test_keys_stand_in_the_path_or_in_the_query(tmp_path: Path) -> None:
    scenario = FEED.with_(**{"routes.post.request.path": "/posts?by=user-{key}", "routes.post.request.method": "POST"})
    path = tmp_path / "log.csv"
    rows = ["0,GET,/feed/anna", "1,POST,/posts?x=1&by=user-bob&y=2", "2,GET,/feed/bob?t=1", "3,GET,/pictures/9"]
    path.write_text("arrival_s,method,path\n" + "\n".join(rows) + "\n", "utf-8")
    trace = read_trace(path, scenario, columns={"time": "arrival_s"})
    assert trace.key is not None
    assert trace.key.tolist() == [0, 1, 1, -1]
    planned = schedule(scenario.with_(**{
        "workload.arrivals": {"kind": "trace", "file": str(path)}, "workload.trace": {"columns": {"time": "arrival_s"}},
    }))  # fmt: skip
    assert planned.key[:3].tolist() == [0, 1, 1]
    assert planned.key.min() >= 0


def test_the_bill_counts_the_keys_of_the_trace(tmp_path: Path) -> None:
    """With 3 tenants where the scenario has 5,000, and with more: neither fails, and the mean rate is the trace's."""
    for count in (3, 6_000):
        bill = cost(on_trace(tenants(tmp_path, count, requests_each=max(600 // count, 20))))
        assert bill.requests_per_month == pytest.approx(10 * 86_400 * 30, rel=0.01)


def test_an_instant_has_no_rate_and_so_no_bill_and_no_capacity(tmp_path: Path) -> None:
    path = tmp_path / "same_second.csv"
    path.write_text("timestamp\n2026-11-02 09:00:00.1\n2026-11-02 09:00:00.4\n2026-11-02 09:00:00.9\n", "utf-8")
    for ask in (cost, capacity):
        with pytest.raises(SimError, match=r"3 requests within .* must span >= "):
            ask(on_trace(path))


@pytest.mark.parametrize(("span_s", "is_known"), [(1.5, False), (9.9, False), (10.0, True), (60.0, True)])
def test_bill_and_capacity_ask_a_trace_for_its_rate_by_one_rule(tmp_path: Path, span_s: float, is_known: bool) -> None:
    path = tmp_path / "span.csv"
    path.write_text("arrival_ms\n" + "".join(f"{at * span_s * 1000 / 40:.3f}\n" for at in range(41)), "utf-8")
    asked = on_trace(path)
    if is_known:
        assert cost(asked).requests_per_month == pytest.approx(41 / (span_s * 41 / 40) * 86_400 * 30, rel=0.01)
        check_rate(asked)
        return
    for ask in (cost, capacity):
        with pytest.raises(UsageError, match=r"41 requests within .* must span >= 10 s"):
            ask(asked)


def test_stamps_coarser_than_the_traffic_are_spread_by_the_seed(tmp_path: Path) -> None:
    path = tmp_path / "seconds.csv"
    path.write_text("timestamp\n" + "".join(f"2026-01-01 00:00:{at // 50:02d}\n" for at in range(1_000)), "utf-8")
    scenario = on_trace(path)
    planned, again, other = schedule(scenario, 1), schedule(scenario, 1), schedule(scenario, 2)
    assert (planned.arrival_ms == again.arrival_ms).all()
    assert not (planned.arrival_ms == other.arrival_ms).all()
    assert (planned.arrival_ms // 1000 == np.arange(1_000) // 50).all()
    within = planned.arrival_ms % 1000
    assert abs(within.mean() - 500) < 40
    assert len(np.unique(within)) == 1_000
    assert planned.duration_ms == 20_000
    assert any("whole seconds, coarser than the traffic" in note for note in run(scenario, requests=10).notes)


@pytest.mark.parametrize(
    "stamps",
    [
        ["0", "0", "5", "10"],  # Two at once, at a rate that whole ms do tell.
        ["0.5", "0.5", "0.75"],
        ["1", "2", "3"],
    ],
)
def test_stamps_that_tell_the_traffic_stay_as_they_are(tmp_path: Path, stamps: list[str]) -> None:
    path = tmp_path / "ms.csv"
    path.write_text("arrival_ms\n" + "\n".join(stamps) + "\n", "utf-8")
    assert read_trace(path).resolution_ms == 0


def test_a_hole_is_named(tmp_path: Path) -> None:
    path = tmp_path / "hole.csv"
    times = [*range(0, 50_000, 100), *range(10_000_000, 10_050_000, 100)]
    path.write_text("arrival_ms\n" + "\n".join(map(str, times)) + "\n", "utf-8")
    assert any("no row for 2.764 h after 49.9 s" in note for note in read_trace(path).notes)


def test_specific_patterns_win_over_general_ones() -> None:
    router = Router(
        "abcd", [pattern(0, "GET /*"), pattern(1, "GET /a/:id"), pattern(2, "GET /a/new"), pattern(3, "/a")]
    )
    rows = {"GET /a/new": 2, "GET /a/7": 1, "GET /a/7/x": 0, "POST /a/": 3, "POST /a/7": -1, "HEAD /a/7": 1}
    import pyarrow as pa

    found = router.matched(requests(pa.array(list(rows)), None))
    assert found.tolist() == list(rows.values())


@given(st.data())
def test_a_request_that_was_made_from_a_route_belongs_to_it(data: st.DataObject) -> None:
    """Each route's own request, with any key and object in it, is that route's again."""
    import pyarrow as pa

    segment = st.text("abcXYZ019-_.~é%", min_size=1, max_size=12)
    name = data.draw(st.sampled_from(list(FEED.routes)))
    request = FEED.request(name)
    path = request.path.replace("{key}", data.draw(segment)).replace("{object}", data.draw(segment))
    query = data.draw(st.sampled_from(["", "?", "?token=a/b&x=1"]))
    line = f"{request.method} https://example.com{path}{query} HTTP/1.1"
    found = Router(tuple(FEED.routes), patterns(FEED)).matched(requests(pa.array([line]), None))
    assert found.tolist() == [list(FEED.routes).index(name)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 5)), min_size=2, max_size=60), st.randoms())
def test_the_order_of_rows_does_not_matter(tmp_path: Path, rows: list[tuple[int, int]], random: object) -> None:
    """Shuffled rows give the same arrivals, and each key keeps its company."""
    rows = [(at, at % 7) for at, _ in rows]
    if len({at for at, _ in rows}) < 2:
        return
    shuffled = sorted(rows, key=lambda row: hash((row, 1)))
    traces = []
    for number, order in enumerate((sorted(rows), shuffled)):
        path = tmp_path / f"{number}.csv"
        text = "".join(f"{1_767_225_600_000_000 + at},{key}\n" for at, key in order)
        path.write_text("timestamp,key\n" + text, "utf-8")
        traces.append(read(path))
    first, second = traces
    assert first.arrival_ms.tolist() == second.arrival_ms.tolist()
    assert first.arrival_ms.tolist() == [(at - min(rows)[0]) / 1000 for at, _ in sorted(rows)]
    assert first.keys == second.keys == len({key for _, key in rows})
    assert first.key is not None
    assert len(set(zip(first.key.tolist(), [key for _, key in sorted(rows)], strict=True))) == first.keys


@pytest.mark.parametrize("digits", range(10))
def test_times_keep_every_digit_that_is_written(tmp_path: Path, digits: int) -> None:
    path = tmp_path / "digits.csv"
    part = "123456789"[:digits]
    expected_ns = 3_000_000_000 + int(part.ljust(9, "0"))
    for first, second in (
        ("2026-01-01 00:00:00", f"2026-01-01T00:00:03{'.' if digits else ''}{part}Z"),
        ("1767225600", f"1767225603.{part}"),
    ):
        path.write_text(f"timestamp\n{first}\n{second}\n", "utf-8")
        trace = read_trace(path)
        assert trace.arrival_ms[1] * 1e6 == expected_ns


def test_many_blocks_are_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With blocks of a few hundred bytes, in CSV and in JSON, and the line of a wrong cell in the last of them."""
    monkeypatch.setattr("sim.traces.blocks.BLOCK_BYTES", 400)
    rows = [f"{at},{at % 17}" for at in range(500)]
    path = tmp_path / "blocks.csv"
    path.write_text("# made\n\narrival_ms,key\n" + "\n\n".join(rows) + "\n", "utf-8")
    trace = read_trace(path)
    assert trace.arrival_ms.tolist() == list(range(500))
    assert trace.keys == 17
    path.write_text("# made\n\narrival_ms,key\n" + "\n\n".join([*rows, "soon,1"]) + "\n", "utf-8")
    with pytest.raises(ScenarioError, match=':1004 arrival_ms="soon" must be a number'):
        read_trace(path)
    path.write_text("".join(f'{{"arrival_ms": {at}, "key": "{at % 17}"}}\n' for at in range(500)), "utf-8")
    assert read_trace(path).keys == 17
