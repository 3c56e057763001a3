"""Goal: a scenario takes what a run measured, keeps what it did not, and says of each number which of the two it is.

Method: runs of models whose numbers are known, saved and read again; logs written as the platform writes them.
"""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sim import SimError, calibrate, load_run, load_scenario, plots, run, save_run
from sim.cli import main
from sim.experiments.calibration.components import has_server_times
from sim.experiments.calibration.remainder import fit_remainder
from sim.experiments.calibration.seen import columns, draws
from sim.experiments.calibration.sources import log_samples
from sim.foundation.errors import UsageError
from sim.randomness.distributions import Lognormal, Uniform
from sim.results.result import Result

TRUE = {
    "system.network.client_rtt_ms": {"distribution": "lognormal", "median": 31.0, "p99": 90.0},
    "system.workers.cpu_ms": {"distribution": "weibull", "mean": 5.0, "shape": 0.7},
    "system.ledger.write_ms": {"distribution": "erlang", "mean": 4.0, "stages": 3},
    "system.tunnel.overhead_ms": {"distribution": "uniform", "low": 10.0, "high": 15.0},
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of launch on a system that is another than the scenario believes."""
    path = tmp_path_factory.mktemp("runs") / "low.parquet"
    save_run(run(load_scenario("launch").with_(**TRUE), rng=5, requests=20_000), path)
    return path


def test_distributions_that_a_run_shows_alone_are_those_that_it_was_drawn_from(measured: Path) -> None:
    found = calibrate("launch", [measured])
    for path, true in TRUE.items():
        law = found[path].law
        assert law.name == true["distribution"]
        for name, interval in law.intervals.items():
            assert interval.value == pytest.approx(true[name], rel=0.1)
    # What the run was not changed in is found to be what it was.
    put = found["system.r2.put_ms"].law.distribution
    assert put.quantile(np.array([0.5]))[0] == pytest.approx(35, rel=0.15)


def test_what_is_a_sum_is_refused_with_the_parts_and_the_way_out(measured: Path) -> None:
    refused = calibrate("launch", [measured]).refused
    assert refused["system.d1.read_ms"] == (
        "search.d1 shows only its sum with system.d1.rtt_ms (give a log of one of them, or hold it: --hold PATH)"
    )
    assert "must be >= 30 (play more)" in refused["system.workers.cold_start_ms"]


def test_a_part_that_is_held_frees_the_others(measured: Path) -> None:
    found = calibrate("launch", [measured], hold=["system.d1.rtt_ms"])
    assert not {"system.d1.read_ms", "system.d1.write_ms"} & found.refused.keys()
    write = load_scenario("launch").system.d1.write_ms.expected()
    interval = found["system.d1.write_ms"].law.intervals["mean"]
    assert interval.low <= write <= interval.high


def test_a_log_of_d1_frees_the_distance(measured: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    base = load_scenario("launch")
    log = tmp_path / "d1.jsonl.gz"
    reads = base.system.d1.read_ms.sample(rng.random((1, 500)))
    lines = [{"meta": {"timings": {"sql_duration_ms": value}, "duration": 9.0, "rows_written": 0}} for value in reads]
    log.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    found = calibrate("launch", [measured], logs=[log])
    assert found["system.d1.read_ms"].source == "log d1.jsonl.gz"
    distance = found["system.d1.rtt_ms"].law
    assert distance.intervals["mean"].value == pytest.approx(base.system.d1.rtt_ms.expected(), rel=0.1)


def test_the_file_runs_at_once_and_says_of_each_number_where_it_is_from(measured: Path, tmp_path: Path) -> None:
    out = tmp_path / "ours.toml"
    found = calibrate("launch", [measured], out=out)
    written = load_scenario(out)
    assert written.name == "launch-calibrated"
    for one in found.found:
        before, after = found.scenario, written
        instance, key = one.path.split(".")[1:]
        values = [getattr(side.system.instances[instance].table, key) for side in (before, after)]
        assert values[1].expected() == pytest.approx(values[0].expected(), rel=1e-4)
        sources = [row for row in written.provenance if row.path == one.path]
        assert [row.confidence for row in sources] == ["C"]
        assert not sources[0].low_confidence
        assert "low.parquet" in sources[0].source
    believed = {row.path for row in written.provenance if row.low_confidence}
    assert not believed & {one.path for one in found.found}
    assert len(run(written, rng=1, requests=500).frame) == 500
    assert written.routes == load_scenario("launch").routes


def test_a_calibrated_model_predicts_the_run_that_it_did_not_see(measured: Path) -> None:
    found = calibrate("launch", [measured], hold=["system.d1.rtt_ms"])
    truth = run(load_scenario("launch").with_(**TRUE), rng=77, rate_per_s=150.0).frame["latency_ms"]
    predicted = run(found.scenario, rng=78, rate_per_s=150.0).frame["latency_ms"]
    for share, tolerance in ((0.5, 0.03), (0.9, 0.05), (0.99, 0.1)):
        assert predicted.quantile(share) == pytest.approx(truth.quantile(share), rel=tolerance)


def one_server(tmp_path: Path, *, rate_per_s: float, requests: int) -> tuple[Path, Path]:
    """A scenario whose runs show whole latencies of one database, and such a run."""
    file = tmp_path / "one.toml"
    file.write_text(
        """
base = "launch.toml"
[workload.arrivals]
kind = "poisson"
rate_per_s = 1
[routes]
log.share = 0
balance.share = 0
upload.share = 0
download.share = 0
device_log.share = 0
search.share = 1
[system.network]
client_rtt_ms = 0
[system.workers]
cpu_ms = 0
cold_fraction = 0
[system.d1]
rtt_ms = { distribution = "lognormal", median = 9, p99 = 30 }
read_ms = 1
"""
    )
    truth = load_scenario(file).with_(
        **{
            "system.d1.rtt_ms": {"distribution": "lognormal", "median": 4.0, "p99": 9.0},
            "system.d1.read_ms": {"distribution": "lognormal", "median": 3.0, "p99": 6.0},
            "workload.duration_s": None,
            "workload.requests": requests,
            "workload.warm_up_s": 0,
        }
    )
    return file, without_server_times(run(truth, rng=3, rate_per_s=rate_per_s), tmp_path / "url.parquet")


def without_server_times(result: Result, path: Path) -> Path:
    """Save a run as one of a deployment that sends no Server-Timing."""
    save_run(replace(result, frame=result.frame.assign(**dict.fromkeys(result.time_columns, 0.0))), path)
    return path


def test_whole_latencies_of_one_server_tell_service_from_distance(tmp_path: Path) -> None:
    file, url = one_server(tmp_path, rate_per_s=80.0, requests=12_000)
    found = calibrate(file, [url])
    service, mean_ms = found["system.d1.read_ms"].law, 3.0 * np.exp((np.log(2) / 2.3263) ** 2 / 2)
    assert service.intervals["mean"].low <= mean_ms <= service.intervals["mean"].high
    assert service.intervals["mean"].value == pytest.approx(mean_ms, rel=0.12)
    distance_ms = 4.0 * np.exp((np.log(9 / 4) / 2.3263) ** 2 / 2)
    assert found["system.d1.rtt_ms"].law.distribution.expected() == pytest.approx(distance_ms, rel=0.12)


def test_whole_latencies_near_capacity_are_refused_with_the_load_to_play(tmp_path: Path) -> None:
    file, url = one_server(tmp_path, rate_per_s=230.0, requests=8_000)
    with pytest.raises(
        UsageError, match=r"^url\.parquet: service time and queueing are confounded at utilization 0\.\d"
    ):
        calibrate(file, [url])


def test_whole_latencies_of_many_parts_are_refused_by_name(tmp_path: Path) -> None:
    result = run(load_scenario("launch").with_shares(search=1), rng=1, requests=3_000)
    url = without_server_times(result, tmp_path / "url.parquet")
    with pytest.raises(UsageError) as refused:
        calibrate("launch", [url])
    assert str(refused.value) == (
        "url.parquet: search adds system.network.client_rtt_ms, system.workers.cold_start_ms, system.workers.cpu_ms, "
        "system.d1.rtt_ms, system.d1.read_ms, with no server times in it "
        "(record Server-Timing, give a log, or hold all but one: --hold PATH)"
    )


def test_three_requests_calibrate_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "short.parquet"
    save_run(run("launch", rng=1, requests=3), path)
    assert status(["calibrate", "launch", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "cannot identify a distribution, must be >= 30 (play more)" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "calibrate needs a run, a log or a ramp (headroom run SCENARIO --on URL --save RUN.parquet)"),
        (["none.parquet"], "run 'none.parquet' must be a file; there is none (headroom run SCENARIO --save FILE)"),
        (["--log", "none.jsonl"], "log 'none.jsonl' cannot be read: [Errno 2] No such file or directory: 'none.jsonl'"),
        (["--log", "x", "--out", "ours.json"], "out='ours.json' must end in .toml"),
        (
            ["--log", "x", "--hold", "system.d1.size"],
            "hold='system.d1.size' must be one of system.network.client_rtt_ms",
        ),
    ],
)
def test_a_wrong_call_is_one_line_and_status_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(["calibrate", "launch", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"headroom: {said}")
    assert error.count("\n") == 1


def status(arguments: list[str]) -> int:
    """Return the status of the command, called in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["headroom", *arguments])
        patch.setattr("sys.stdout.reconfigure", lambda **_: None, raising=False)
        patch.setattr("sys.stderr.reconfigure", lambda **_: None, raising=False)
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0)


def test_the_command_writes_file_and_document(measured: Path, tmp_path: Path) -> None:
    out, document = tmp_path / "ours.toml", tmp_path / "ours.json"
    assert status(["calibrate", "launch", str(measured), "--out", str(out), "--json", str(document)]) == 0
    found = json.loads(document.read_text())
    paths = [one["path"] for one in found["identified"]]
    assert "system.workers.cpu_ms" in paths
    assert set(paths).isdisjoint(found["refused"])
    assert all(low <= high for one in found["identified"] for low, high in [ends(i) for i in one["intervals"].values()])
    assert load_scenario(out).name == "launch-calibrated"


def ends(interval: dict[str, float]) -> tuple[float, float]:
    return interval["low"], interval["high"]


LOGS = [
    ("not json", "log log.jsonl:1 must be a line of JSON"),
    ("[1]", "log log.jsonl:1 must be a JSON object"),
    ('{"a": 1}', "log 'log.jsonl' must hold CPUTimeMs or D1's meta.duration on its lines; it has neither"),
    ('{"meta": {"duration": -1}}', "log.jsonl:1: meta.duration=-1 must be a time in ms, >= 0"),
    ('{"meta": {"duration": "x"}}', "log.jsonl:1: meta.duration='x' must be a time in ms, >= 0"),
    (
        "\n".join(json.dumps({"CPUTimeMs": n % 3}) for n in range(60)),
        "log 'log.jsonl' has whole ms with a median of 1: too coarse",
    ),
]


@pytest.mark.parametrize(("content", "said"), LOGS)
def test_a_log_that_says_nothing_is_refused_in_one_line(content: str, said: str, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(content)
    with pytest.raises(SimError) as refused:
        log_samples(log, load_scenario("launch"))
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


def test_workers_trace_events_give_cpu_time(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    times = np.random.default_rng(1).lognormal(3, 0.4, 800)
    log.write_text("\n".join(json.dumps({"EventType": "fetch", "CPUTimeMs": round(value)}) for value in times))
    found = calibrate("launch", logs=[log])["system.workers.cpu_ms"].law
    assert found.distribution.expected() == pytest.approx(times.mean(), rel=0.03)


def test_runs_with_whole_ms_have_no_server_times() -> None:
    result = run("launch", rng=1, requests=200)
    assert has_server_times(result)
    rounded = result.frame[list(result.time_columns)].round()
    assert not has_server_times(replace(result, frame=result.frame.assign(**dict(rounded))))


def test_every_draw_of_a_route_is_seen_and_halves_are_one() -> None:
    found = columns(load_scenario("launch"))["search"]
    distance = next(term for term in draws(found["d1"]).values() if term.path == "system.d1.rtt_ms")
    assert distance.scale == 1
    assert {term.path for column in found.values() for term in column.terms} == {
        "system.network.client_rtt_ms",
        "system.workers.cold_start_ms",
        "system.workers.cpu_ms",
        "system.d1.rtt_ms",
        "system.d1.read_ms",
    }


def test_the_rest_of_a_sum_is_found_and_a_wrong_known_part_is_refused() -> None:
    rng = np.random.default_rng(4)
    known, rest = Lognormal(median=6, p99=25), Uniform(low=20, high=60)
    total = known.sample(rng.random((1, 4_000))) + rest.sample(rng.random((1, 4_000)))
    found = fit_remainder(total, [(known, 1.0)], rng=1, what="rest")
    assert isinstance(found.distribution, Uniform)
    assert found.distribution.low == pytest.approx(20, abs=2)
    assert found.distribution.high == pytest.approx(60, abs=2)
    with pytest.raises(UsageError, match=r"^rest: the parts that are known take 9\d(\.\d)? of the 4\d\.\d ms"):
        fit_remainder(total, [(Lognormal(median=90, p99=110), 1.0)], rng=1, what="rest")


def test_a_trace_with_latencies_is_a_run_too(tmp_path: Path) -> None:
    file, url = one_server(tmp_path, rate_per_s=80.0, requests=6_000)
    frame = load_run(url).frame
    trace = tmp_path / "trace.csv"
    frame[["arrival_ms", "latency_ms"]].to_csv(trace, index=False)
    found = calibrate(file, [trace])
    assert found["system.d1.read_ms"].law.intervals["mean"].value == pytest.approx(3.14, rel=0.15)
    assert "trace.csv" in found["system.d1.read_ms"].source
    frame[["arrival_ms"]].to_csv(trace, index=False)
    with pytest.raises(UsageError, match=r"^trace\.csv has no column of latencies, so it calibrates nothing"):
        calibrate(file, [trace])


def test_stalls_are_said_and_are_in_no_distribution(tmp_path: Path) -> None:
    file, url = one_server(tmp_path, rate_per_s=80.0, requests=6_000)
    result = load_run(url)
    sent_ms = result.frame["arrival_ms"].to_numpy()
    # Every ten seconds nobody is answered for 400 ms.
    late_ms = np.maximum(400.0 - sent_ms % 10_000, 0.0)
    stalled = replace(result, frame=result.frame.assign(latency_ms=result.frame["latency_ms"] + late_ms))
    found = calibrate(file, [stalled])
    assert "stalls" in found.notes[0]
    assert "are in no distribution" in found.notes[0]
    assert found["system.d1.read_ms"].law.intervals["mean"].value == pytest.approx(3.14, rel=0.2)
    assert found["system.d1.rtt_ms"].law.distribution.quantile(np.array([0.999]))[0] < 100


def test_quantiles_are_drawn_against_the_fit(measured: Path) -> None:
    found = calibrate("launch", [measured], hold=["system.d1.rtt_ms"])
    drawn = plots.calibration(found, "system.workers.cpu_ms")
    assert drawn.get_title(loc="left").startswith("system.workers.cpu_ms: quantiles of")
    with pytest.raises(UsageError, match=r"is a part of a sum: no sample shows it alone"):
        plots.calibration(found, "system.d1.read_ms")
    with pytest.raises(UsageError, match=r"^path='system\.d1\.rtt_ms' must be one of system\.network"):
        plots.calibration(found, "system.d1.rtt_ms")


def test_a_notebook_shows_what_was_identified_and_what_was_not(measured: Path) -> None:
    shown = calibrate("launch", [measured])._repr_html_()
    assert "launch, calibrated" in shown
    assert "weibull" in shown
    assert "not identified: the base&#39;s value stays" in shown
    assert "shows only its sum with system.d1.rtt_ms" in shown
