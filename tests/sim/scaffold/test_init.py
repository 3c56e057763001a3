"""``headroom init``: a scenario that runs at once, from whatever is there.

Goal: what a log shows is in the scenario as measured, what nobody measured is marked, what cannot be expressed is
named, and the draft runs. Method: the shipped deployment, whose log is made by a script with known shares, peak and
ids; small logs with answers counted by hand; and the command.
"""

import gzip
import runpy
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import init, load_scenario, read_trace, run
from sim.cli import main
from sim.foundation.errors import SimError, UsageError
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
    "words of any script": (["/tag/日本", "/tag/m%C3%BCnchen"], [("/tag/:id", 2)]),
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
