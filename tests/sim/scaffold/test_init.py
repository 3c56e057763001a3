"""``headroom init``: a scenario that runs at once, from whatever is there.

Goal: what a log shows is in the scenario as measured, what nobody measured is marked, what cannot be expressed is
named, and the draft runs. Method: the shipped deployment, whose log is made by a script with known shares, peak and
ids; small logs with answers counted by hand; and the command.
"""

import gzip
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import init, load_run, load_scenario, read_trace, run
from sim.cli import main
from sim.foundation.errors import SimError, UsageError
from sim.results.storage import save_run
from sim.scaffold.grouping import Paths, counted
from sim.scaffold.migrations import read_migrations
from tests.project.tidy import ROOT

DATA = ROOT / "notebooks/data/your_deployment"
LOG = DATA / "requests.csv.gz"


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["headroom", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def log_of(folder: Path, *rows: str, columns: str = "timestamp,method,path") -> Path:
    path = folder / "log.csv"
    path.write_text("\n".join([columns, *rows]) + "\n", "utf-8")
    return path


def test_the_shipped_log_is_what_its_script_makes() -> None:
    assert LOG.stat().st_size < 200_000
    made = runpy.run_path(str(DATA / "generate.py"))
    rng = np.random.default_rng(made["SEED"])
    times = made["start_times_ns"](rng)
    routes = rng.choice(list(made["ROUTES"]), made["REQUESTS"], p=list(made["ROUTES"].values()))
    lines = gzip.decompress(LOG.read_bytes()).decode().splitlines()
    assert len(lines) == 1 + made["REQUESTS"]
    for number in range(20):
        expected = ",".join(map(str, made["row"](rng, int(times[number]), str(routes[number]))))
        assert lines[1 + number] == expected


def test_the_shipped_deployment_becomes_a_scenario_that_runs(tmp_path: Path) -> None:
    out = tmp_path / "plaza.toml"
    drafted = init(DATA, log=LOG, out=out, sample_share=0.001)
    assert out.read_text("utf-8") == drafted.text
    scenario = load_scenario(out)
    assert scenario.name == "plaza"
    shares = scenario.shares
    assert shares["feed"] == pytest.approx(0.62, abs=0.03)
    assert shares["img"] == pytest.approx(0.27, abs=0.03)
    assert [scenario.routes[name].match for name in ("img", "room_ws")] == [("GET /img/:id",), ("GET /room/{key}/ws",)]
    peak_per_s = scenario.workload.arrivals.rate_per_s  # type: ignore[union-attr]  # what init writes is Poisson
    assert peak_per_s == pytest.approx(3e6 / 86_400 * 4, rel=0.15)
    assert scenario.demand is not None
    assert scenario.demand.requests_per_day == pytest.approx(3e6, rel=0.15)
    assert scenario.routes["img"].size_bytes is not None
    assert scenario.routes["img"].size_bytes.expected() == pytest.approx(1.84e6, rel=0.15)
    result = run(scenario, requests=300)
    assert len(result.frame) == 300
    # Every row of the log is a request of the scenario that was made from it.
    trace = read_trace(LOG, scenario)
    assert len(trace) == 3_000
    assert trace.keys == scenario.population("room_ws").count


def test_every_number_is_measured_or_marked_as_an_assumption() -> None:
    drafted = init(DATA, log=LOG)
    reasons = {
        row.path: (row.source, row.confidence) for row in drafted.scenario.provenance if "headroom" in row.source
    }
    assert reasons["workload.keys"][1] == "A"
    assert {f"routes.{name}.steps" for name in drafted.scenario.routes} <= reasons.keys()
    measured = [row.path for row in drafted.scenario.provenance if "requests.csv.gz" in row.source]
    assert {"demand.requests_per_day", "demand.peak_factor"} <= set(measured)


def test_what_is_not_expressed_stands_in_the_file_and_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "plaza.toml"
    assert command(monkeypatch, "init", str(DATA), "--log", str(LOG), "--out", str(out)) == 0
    said, text = capsys.readouterr().err, out.read_text("utf-8")
    for word in ("services AUTH (plaza-auth)", "limits.cpu_ms = 50", "staging", "observability, 0.05 of"):
        assert f"not expressed: {word}" in said or word in said
        assert word in text
    assert "session=" not in text + said


def test_nothing_is_overwritten_or_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ours.toml"
    out.write_text("mine", "utf-8")
    assert command(monkeypatch, "init", "--out", str(out)) == 2
    assert out.read_text("utf-8") == "mine"
    other = tmp_path / "other.toml"
    assert command(monkeypatch, "init", str(DATA), "--log", str(tmp_path / "no.csv"), "--out", str(other)) == 2
    one = log_of(tmp_path, "2026-01-01 00:00:00,GET,/a")
    assert command(monkeypatch, "init", "--log", str(one), "--out", str(other)) == 2
    assert command(monkeypatch, "init", "--sample", "0", "--out", str(other)) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.csv", "ours.toml"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert "exists already" in lines[0]
    assert "holds one request" in lines[2]


def test_without_a_config_it_writes_the_commented_example() -> None:
    drafted = init()
    assert drafted.name == "example"
    assert len(run(drafted.scenario, requests=50).frame) == 50
    assert drafted.scenario.demand is not None
    assert drafted.scenario.demand.month == 30 * 216_000
    assert drafted.scenario.workload.arrivals.rate_per_s == 10  # type: ignore[union-attr]  # what init writes is Poisson


def test_a_config_alone_is_enough() -> None:
    drafted = init(DATA / "wrangler.jsonc")
    assert set(drafted.scenario.routes) >= {"read", "write", "file"}
    assert "posts 3, follows 2" in drafted.text
    assert len(run(drafted.scenario, requests=50).frame) == 50


def test_an_environment_says_what_it_lacks() -> None:
    drafted = init(DATA, environment="staging")
    assert drafted.name == "plaza-staging"
    assert "r2.get" not in drafted.text
    assert any("names no r2_buckets" in line or "r2_buckets" in line for line in drafted.lacking)
    with pytest.raises(UsageError, match="needs a configuration"):
        init(environment="staging")


def test_rows_of_an_insert_count_the_indexes_of_the_migrations(tmp_path: Path) -> None:
    schema = read_migrations(DATA / "migrations")
    assert schema is not None
    assert schema.indexes == {"posts": 2, "follows": 1}
    (tmp_path / "0001.sql").write_text("CREATE TABLE a (x INTEGER PRIMARY KEY);", "utf-8")
    (tmp_path / "0002.sql").write_text("CREATE TABEL b (x);", "utf-8")
    broken = read_migrations(tmp_path)
    assert broken is not None
    assert broken.indexes == {"a": 0}
    assert broken.problem.startswith("0002.sql: ")
    assert read_migrations(tmp_path / "none") is None


def test_methods_and_rare_paths_are_kept_apart(tmp_path: Path) -> None:
    rows = [
        f"2026-01-01 00:{at // 60:02d}:{at % 60:02d},{'GET' if at % 3 else 'PUT'},/items/{at}" for at in range(3_000)
    ]
    rows[500] = "2026-01-01 00:08:20,GET,/once"
    drafted = init(log=log_of(tmp_path, *rows))
    assert {name: route.match for name, route in drafted.scenario.routes.items()} == {
        "get_items": ("GET /items/{key}",),
        "put_items": ("PUT /items/{key}",),
        "other": ("/*",),
    }
    assert any("GET /once" in line for line in drafted.lacking)
    assert drafted.scenario.population("get_items").count == 1_999


def test_slashes_that_follow_each_other_are_one(tmp_path: Path) -> None:
    log = log_of(tmp_path, *(f"2026-11-02 09:00:{at:02d},GET,//feed//{at}/" for at in range(30)))
    drafted = init(log=log, out=tmp_path / "ours.toml")
    assert [route.match for route in drafted.scenario.routes.values()] == [("GET /feed/{key}",)]
    assert not drafted.lacking


def test_a_rare_path_that_a_route_takes_is_not_called_rare(tmp_path: Path) -> None:
    rows = [f"2026-11-02 09:{at // 60:02d}:{at % 60:02d},GET,/js/main.{at:08x}.js" for at in range(2_400)]
    log = log_of(tmp_path, *rows, "2026-11-02 09:59:00,GET,/js/main.abcdefab.js")
    drafted = init(log=log, out=tmp_path / "ours.toml")
    assert [route.match for route in drafted.scenario.routes.values()] == [("GET /js/{key}",)]
    assert not drafted.lacking


def test_a_log_with_a_route_column_needs_no_paths(tmp_path: Path) -> None:
    rows = [f"{at},{'search' if at % 4 else 'Check Out'},t{at % 9}" for at in range(100)]
    drafted = init(log=log_of(tmp_path, *rows, columns="at,route,tenant"), how={"columns": {"time": "at"}, "unit": "s"})
    assert {name: round(share, 2) for name, share in drafted.scenario.shares.items()} == {
        "search": 0.75,
        "check_out": 0.25,
    }
    assert drafted.scenario.workload.keys.count == 9


GROUPS = {
    "numbers": (["/a/1", "/a/22", "/a/1"], [("/a/:id", 3)]),
    "uuids": (["/u/0b0f7a53-5b1c-4e9c-8f0e-0d9a4d1f9d11", "/u/1"], [("/u/:id", 2)]),
    "hexadecimal with an ending": (["/i/deadbeef.jpg", "/i/0123456789abcdef.png"], [("/i/:id", 2)]),
    "neighbours": (["/1/2/3/x", "/4/5/6/x"], [("/:id/:id2/:id3/x", 2)]),
    "words stay": (["/v1/users", "/v1/posts", "/v1/users"], [("/v1/users", 2), ("/v1/posts", 1)]),
    "many words are ids": ([f"/user/{chr(97 + at)}lice" for at in range(24)], [("/user/:id", 24)]),
    "a frequent word among them is none": (
        [f"/user/{chr(97 + at)}lice" for at in range(24)] + ["/user/settings"] * 10,
        [("/user/:id", 24), ("/user/settings", 10)],
    ),
    "a busy tenant is an id": (
        [f"/hooks/{chr(97 + at // 26)}{chr(97 + at % 26)}-corp" for at in range(60) for _ in range(200 // (at + 1))],
        [("/hooks/:id", sum(200 // (at + 1) for at in range(60)))],
    ),
    "two frequent words above the ids are none": (
        [f"/user/{chr(97 + at)}lice" for at in range(24)] + ["/user/settings"] * 12 + ["/user/me"] * 10,
        [("/user/:id", 24), ("/user/settings", 12), ("/user/me", 10)],
    ),
    "words of any script": (["/tag/日本", "/tag/m%C3%BCnchen"], [("/tag/:id", 2)]),
    "a page's own name in any script": (["/日本/a", "/caf%C3%A9/a"], [("/caf%C3%A9/a", 1), ("/日本/a", 1)]),
    "three digits": (["/i/3a5f91b.jpg", "/i/x12y3", "/i/2026-01-02"], [("/i/:id", 3)]),
    "a frequent id is one": (["/u/u1"] * 30 + [f"/u/u{at}" for at in range(30)], [("/u/:id", 60)]),
    "the root": (["/", "/"], [("/", 2)]),
    "behind an id": (["/room/7/ws", "/room/8/ws", "/room/8"], [("/room/:id/ws", 2), ("/room/:id", 1)]),
}


@pytest.mark.parametrize("case", GROUPS)
def test_paths_are_grouped_by_their_ids(case: str) -> None:
    paths, expected = GROUPS[case]
    assert [(path, count) for (_, path), count in counted(paths)] == expected


@given(st.lists(st.lists(st.sampled_from(["a", "b7", "1", "zz", "x-12"]), max_size=4), min_size=1, max_size=40))
def test_grouping_loses_no_request_and_does_not_depend_on_blocks(paths: list[list[str]]) -> None:
    texts = ["/" + "/".join(path) for path in paths]
    whole = counted(texts)
    assert sum(count for _, count in whole) == len(texts)
    parts = Paths()
    for text in texts:
        parts.add(pa.array(["GET"]), pa.array([text]))
    assert parts.routes() == whole


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_file_is_a_config_and_a_log_or_a_clear_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "wrangler.jsonc"
    path.write_bytes(data)
    for asked in ({"config": path}, {"log": path}):
        said = ""
        try:
            init(**asked)  # type: ignore[arg-type]  # of many types
        except SimError as error:  # Anything else would be a traceback.
            said = str(error)
        assert "defect" not in said


def test_stored_objects_are_the_different_paths_not_the_users(tmp_path: Path) -> None:
    """With a column of users the ids in paths are still counted: 90 pictures, asked for by 4 people."""
    rows = [
        f"2026-11-01T00:{n % 60:02d}:{n // 60 % 60:02d}Z,GET,/img/{(n * 7) % 90:08x},200,2000000,user-{n % 4}"
        for n in range(600)
    ]
    log = tmp_path / "log.csv"
    log.write_text("time,method,path,status,bytes,user_id\n" + "\n".join(rows) + "\n")
    config = tmp_path / "wrangler.toml"
    config.write_text('name = "a"\n[[r2_buckets]]\nbinding = "B"\nbucket_name = "b"\n')
    drafted = init(config, log=log)
    assert drafted.scenario.routes["img"].objects == 90


@pytest.mark.parametrize(
    ("consumers", "billed"),
    [([], False), ([{"queue": "fanout", "max_batch_size": 25}], True), ([{"queue": "another"}], False)],
)
def test_producer_without_a_consumer_bills_no_consumer(tmp_path: Path, consumers: list[object], billed: bool) -> None:
    """The queue of a configuration that only sends to it is another Worker's to empty."""
    queues = {"producers": [{"binding": "FANOUT", "queue": "fanout"}], "consumers": consumers}
    (tmp_path / "wrangler.json").write_text(json.dumps({"name": "one", "queues": queues}), "utf-8")
    drafted = init(tmp_path)
    assert drafted.scenario.system["queues"].consumer_billed is (None if billed else False)
    assert ("no consumer of this queue" in drafted.text) is not billed
    if billed:
        assert drafted.scenario.system["queues"].batch_messages == 25


@pytest.mark.parametrize(
    ("observability", "events"),
    [
        ({"enabled": True, "head_sampling_rate": 0.25}, 0.25),
        ({"enabled": True}, 1),
        ({"enabled": False, "head_sampling_rate": 0.25}, 0),
        ({"logs": {"enabled": True, "head_sampling_rate": 0.1}, "head_sampling_rate": 0.25}, 0.1),
        ({"enabled": True, "logs": {"invocation_logs": False}}, 0),
        ({"enabled": True, "head_sampling_rate": "half"}, 0),
    ],
)
def test_sample_of_the_logs_is_on_the_bill(tmp_path: Path, observability: object, events: float) -> None:
    (tmp_path / "wrangler.json").write_text(json.dumps({"name": "one", "observability": observability}), "utf-8")
    drafted = init(tmp_path)
    assert (drafted.scenario.system["workers"].log_events or 0) == events
    assert ("log_events" in drafted.text) == bool(events)


# What the log says of latencies.


def test_latencies_of_the_log_are_data_that_a_plan_compares() -> None:
    drafted = init(DATA, log=LOG)
    trace = read_trace(LOG, drafted.scenario)
    assert trace.latency_ms is not None
    assert trace.route_code is not None
    for number, (name, route) in enumerate(drafted.scenario.routes.items()):
        mine = trace.latency_ms[trace.route_code == number]
        if "websocket" in str(route.steps) or "r2.get" in str(route.steps) or not len(mine):
            assert route.measured is None, "a session's time, or that to the first byte of a file, is no latency"
            continue
        assert route.measured is not None
        assert (route.measured.requests, route.measured.source) == (len(mine), LOG.name)
        assert route.measured.taken_at == "server", "Logpush is written at the edge"
        for statistic, value in (("p50", route.measured.p50_ms), ("p99", route.measured.p99_ms)):
            low, high = route.measured.interval_ms(statistic) or (np.nan, np.nan)
            assert low <= value <= high
            assert np.mean(mine < value) <= float(statistic[1:]) / 100 <= np.mean(mine <= value), name


def test_intervals_of_a_log_are_those_of_the_ranks(tmp_path: Path) -> None:
    """Conover, table A3: the 40th and the 61st of a hundred hold the median; a P99 has no upper bound."""
    rows = [f"2026-01-01 00:{second // 60:02d}:{second % 60:02d},GET,/a,{second + 1}" for second in range(100)]
    drafted = init(log=log_of(tmp_path, *rows, columns="timestamp,method,path,latency_ms"))
    measured = drafted.scenario.routes["a"].measured
    assert measured is not None
    assert (measured.p50_ms, measured.interval_ms("p50")) == (50, (40, 61))
    assert (measured.p99_ms, measured.interval_ms("p99")) == (99, (97, float("inf")))
    assert measured.taken_at == "unknown"


def test_a_log_without_latencies_measures_none(tmp_path: Path) -> None:
    rows = [f"2026-01-01 00:00:{second:02d},GET,/a" for second in range(60)]
    assert init(log=log_of(tmp_path, *rows)).scenario.routes["a"].measured is None


def test_peak_of_a_sample_is_not_that_of_its_noise(tmp_path: Path) -> None:
    """A steady day of which one request in fifty is logged: its busiest five minutes are a third above its mean."""
    rng = np.random.default_rng(7)
    at_ms = np.sort(rng.integers(0, 86_400_000, 30_000))
    rows = [f"{np.datetime64('2026-11-10', 'ms') + at},GET,/page" for at in at_ms]
    whole, sample = (
        init(
            log=log_of(
                tmp_path,
                *rows,
            ),
            sample_share=share,
        ).scenario.demand
        for share in (1.0, 0.02)
    )
    assert whole is not None
    assert sample is not None
    assert whole.peak_factor is not None
    assert sample.peak_factor is not None
    assert whole.peak_factor > 1.2
    assert sample.peak_factor < 1.1


def test_smart_placement_is_told_how_to_be_said(tmp_path: Path) -> None:
    path = tmp_path / "wrangler.json"
    path.write_text('{"name": "w", "main": "w.ts", "placement": {"mode": "smart"}}')
    (line,) = (line for line in init(path).lacking if "placement" in line)
    assert 'system.workers.placement = "smart", placement_rtt_ms' in line


def test_what_is_not_expressed_and_a_sample_are_notes_of_every_result() -> None:
    drafted = init(DATA, log=LOG, sample_share=0.001)
    notes = drafted.scenario.notes
    assert [note.removeprefix("not expressed: ") for note in notes[:-1]] == list(drafted.lacking)
    assert "requests.csv.gz holds 0.001 of all requests" in notes[-1]
    assert set(notes) <= set(run(drafted.scenario, requests=50).notes)
    assert not any("of all requests" in note for note in init(DATA, log=LOG).scenario.notes)
    assert init().scenario.notes == ()


def test_a_run_of_a_draft_is_saved_and_loaded_with_what_the_log_says(tmp_path: Path) -> None:
    """A log too short to bound its P99: JSON knows no infinity."""
    rows = [f"2026-01-01 00:00:{second:02d},GET,/a,{second + 1}" for second in range(60)]
    drafted = init(log=log_of(tmp_path, *rows, columns="timestamp,method,path,latency_ms"), sample_share=0.5)
    played = run(drafted.scenario, requests=30)
    save_run(played, tmp_path / "run.parquet")
    loaded = load_run(tmp_path / "run.parquet").scenario
    assert loaded.routes["a"].measured == drafted.scenario.routes["a"].measured
    assert loaded.notes == drafted.scenario.notes
