"""Goal: a calibrated scenario says of an object whether requests share its turns, or why that is not known.

Method: simulated runs of one object, with and without shared turns, whose server times are taken away or not.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim import calibrate, cost, load_scenario, plots, run, save_run
from sim.experiments.calibration.calibrate import Calibration
from sim.foundation.errors import UsageError
from sim.results.result import Result
from tests.sim.experiments.calibration.test_calibrate import status

COALESCED, EVERY, COLLECTION = (
    f"system.durable_objects.{key}" for key in ("coalesced_ms", "collection_every_requests", "collection_ms")
)
WRITE = "system.ledger.write_ms"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is believed of one object, which is another than the one that runs show."""
    file = tmp_path_factory.mktemp("scenarios") / "object.toml"
    file.write_text(
        """
base = "cloudflare.toml"
name = "object"
question = "What does one object carry?"
[workload]
requests = 12_000
warm_up_s = 0
keys = { count = 1, zipf = 0 }
[workload.arrivals]
kind = "poisson"
rate_per_s = 500
[routes.append]
share = 1
steps = ["ledger.append"]
[system.network]
client_rtt_ms = { distribution = "exponential", mean = 3 }
[system.durable_objects]
rtt_ms = 0
cold_start_ms = 0
output_gate_ms = 0
queue_limit = 100_000
[system.ledger]
write_ms = { distribution = "exponential", mean = 3 }
flush_interval_s = 100_000
"""
    )
    return file


def measured(
    base: Path, *, seed: Any = 1, rate_per_s: Any = 500.0, has_server_times: Any = False, **truth: Any
) -> Result:
    """A run of an object whose lone requests take 0.5 ms, 0.3 ms and more of delay away."""
    changes = {
        "system.network.client_rtt_ms": {"distribution": "uniform", "low": 0.25, "high": 0.35},
        WRITE: 0.5,
        "workload.arrivals.rate_per_s": rate_per_s,
    }
    result = run(load_scenario(base).with_(**changes | truth), rng=seed)
    return result if has_server_times else whole(result)


def whole(result: Result) -> Result:
    """The run as one of a deployment that sends no Server-Timing."""
    return replace(result, frame=result.frame.assign(**dict.fromkeys(result.time_columns, 0.0)))


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0.02, 0.3), st.integers(0, 1_000))
def test_shared_turns_of_whole_latencies_are_found(base: Path, coalesced_ms: float, seed: int) -> None:
    found = calibrate(base, [measured(base, seed=seed, **{COALESCED: coalesced_ms})])
    assert found[WRITE].law.intervals["value"].value == pytest.approx(0.5, abs=0.03)
    interval = found[COALESCED].law.intervals["value"]
    assert interval.value == pytest.approx(coalesced_ms, abs=0.06)
    assert interval.low <= interval.value <= interval.high
    assert interval.high > interval.low
    assert found["system.network.client_rtt_ms"].law.intervals["mean"].value == pytest.approx(0.3, abs=0.03)
    assert "cross-validated between halves" in found[COALESCED].source
    assert EVERY not in {one.path for one in found.found}


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["constant", "exponential", "erlang"]), st.integers(0, 1_000))
def test_an_object_without_shared_turns_is_given_none(base: Path, service: str, seed: int) -> None:
    laws: dict[str, Any] = {
        "constant": 0.5,
        "exponential": {"distribution": "exponential", "mean": 0.5},
        "erlang": {"distribution": "erlang", "mean": 0.5, "stages": 4},
    }
    found = calibrate(base, [measured(base, seed=seed, **{WRITE: laws[service]})])
    assert {one.path for one in found.found} == {WRITE, "system.network.client_rtt_ms"}
    assert COALESCED in found.refused or "do not share the turns of durable_objects" in " ".join(found.notes)


def test_runs_are_taken_together_and_held_against_each_other(base: Path) -> None:
    runs = [measured(base, seed=seed, **{COALESCED: 0.2}) for seed in (1, 2, 3)]
    found = calibrate(base, runs)
    assert "between runs" in found[COALESCED].source
    assert found[COALESCED].law.n == 36_000
    speeds = {found.drawn(seed).system.ledger.write_ms.expected() for seed in range(5)}
    assert len(speeds) == 5


def test_collections_are_found_and_the_file_runs(base: Path, tmp_path: Path) -> None:
    truth = {COALESCED: 0.2, EVERY: 900, COLLECTION: 60.0}
    out = tmp_path / "measured.toml"
    found = calibrate(base, [measured(base, **truth)], out=out)
    every = found[EVERY].law.intervals["value"]
    assert every.low <= 900 <= every.high
    assert found[EVERY].entry == pytest.approx(900, abs=2)
    assert found[COLLECTION].law.intervals["mean"].value == pytest.approx(60, rel=0.05)
    written = load_scenario(out)
    assert written.system.durable_objects.coalesced_ms == pytest.approx(0.2, abs=0.03)
    assert {COALESCED, EVERY, COLLECTION} <= {row.path for row in written.provenance if row.confidence == "C"}
    lines = out.read_text().splitlines()
    (place,) = [number for number, line in enumerate(lines) if line.startswith("coalesced_ms = ")]
    assert lines[place - 1].startswith("#")
    again = run(written, rng=4)
    truth_ms = measured(base, seed=9, **truth).frame["latency_ms"]
    for share in (0.5, 0.9, 0.99):
        assert again.frame["latency_ms"].quantile(share) == pytest.approx(truth_ms.quantile(share), rel=0.15)


def test_a_calibration_with_shared_turns_predicts_a_load_that_one_service_time_misses(base: Path) -> None:
    """At 1.6 times what one service time would carry, latencies are those of shared turns."""
    truth = {COALESCED: 0.1}
    found = calibrate(base, [measured(base, seed=2, **truth)])
    busy = {"workload.arrivals.rate_per_s": 3_000.0}
    predicted = run(found.scenario.with_(**busy), rng=7).frame["latency_ms"]
    measured_ms = measured(base, seed=8, rate_per_s=3_000.0, **truth).frame["latency_ms"]
    for share in (0.5, 0.99):
        assert predicted.quantile(share) == pytest.approx(measured_ms.quantile(share), rel=0.25)


def test_stalls_of_a_clock_are_no_collections(base: Path) -> None:
    result = measured(base, **{COALESCED: 0.2})
    sent_ms = result.frame["arrival_ms"].to_numpy()
    late_ms = (60.0 - sent_ms % 2_000).clip(min=0.0)
    stalled = replace(result, frame=result.frame.assign(latency_ms=result.frame["latency_ms"] + late_ms))
    found = calibrate(base, [stalled])
    assert EVERY not in {one.path for one in found.found}
    said = " ".join([*found.notes, found.refused.get(EVERY, "")])
    assert "come by the clock" in said or "as regular by the clock" in said


@pytest.mark.parametrize(
    ("rate_per_s", "requests", "said"),
    [
        (500.0, 3_500, "compiled: 3,500 requests cannot tell shared turns from turns of their own, must be >= 4,000"),
        (60.0, 4_000, "compiled: shared turns and turns of their own predict the latencies equally well"),
    ],
)
def test_what_latencies_do_not_tell_is_said_with_the_run_that_would(
    base: Path, rate_per_s: float, requests: int, said: str
) -> None:
    result = measured(base, rate_per_s=rate_per_s, **{"workload.requests": requests})
    why = calibrate(base, [result]).refused[COALESCED]
    assert why.startswith(said)
    assert "play" in why
    assert "\n" not in why


def test_a_busy_object_is_refused_with_the_rate_to_play(base: Path) -> None:
    result = measured(base, rate_per_s=1_500.0, **{COALESCED: 0.2})
    with pytest.raises(UsageError, match=r"confounded at utilization 0\.\d \(play it at \d+/s, a quarter"):
        calibrate(base, [result])


def test_several_objects_are_refused_with_one_key(base: Path) -> None:
    result = measured(base, **{"workload.keys.count": 40})
    with pytest.raises(UsageError) as refused:
        calibrate(base, [result])
    assert str(refused.value).startswith("compiled: durable_objects has 40 instances of 1 servers")
    assert str(refused.value).endswith("(play one key: --set workload.keys.count=1)")


def test_one_key_of_a_scenario_of_many_is_one_object(base: Path) -> None:
    many = base.with_name("many.toml")
    many.write_text(base.read_text().replace("count = 1,", "count = 50,"))
    assert COALESCED in {one.path for one in calibrate(many, [measured(base, **{COALESCED: 0.2})]).found}


def test_a_base_whose_shared_turns_runs_do_not_show_is_refused(base: Path) -> None:
    wrong = base.with_name("wrong.toml")
    wrong.write_text(base.read_text().replace("rtt_ms = 0\ncold", "rtt_ms = 0\ncoalesced_ms = 0.1\ncold"))
    with pytest.raises(UsageError, match=r"but the scenario has system\.durable_objects\.coalesced_ms \(take it out"):
        calibrate(wrong, [measured(base)])


def a_way_off(base: Path, *, keys: int = 1) -> Path:
    """The scenario with a way to the object, which base does not have."""
    file = base.with_name(f"away{keys}.toml")
    text = base.read_text().replace("count = 1,", f"count = {keys},")
    file.write_text(text.replace("rtt_ms = 0\ncold", 'rtt_ms = { distribution = "exponential", mean = 1 }\ncold'))
    return file


def server_times(base: Path, **truth: Any) -> Calibration:
    """The calibration of a run with server times, of objects that are a network away."""
    away = {
        "system.durable_objects.rtt_ms": {"distribution": "lognormal", "median": 4.0, "p99": 9.0},
        WRITE: {"distribution": "erlang", "mean": 0.5, "stages": 4},
    }
    return calibrate(base, [measured(base, has_server_times=True, **away | truth)], hold=[])


@pytest.mark.parametrize("keys", [1, 4])
def test_server_times_show_who_passed_with_another(base: Path, keys: int) -> None:
    """Whatever the way to the objects, and however many there are."""
    many = a_way_off(base, keys=keys)
    found = server_times(many, **{COALESCED: 0.2, "workload.arrivals.rate_per_s": 700.0 * keys})
    interval = found[COALESCED].law.intervals["value"]
    assert interval.low <= 0.2 <= interval.high
    assert found[WRITE].law.name == "erlang"
    assert found[WRITE].law.distribution.expected() == pytest.approx(0.5, rel=0.05)
    assert found["system.durable_objects.rtt_ms"].law.distribution.expected() == pytest.approx(4.25, rel=0.05)


def test_server_times_of_turns_of_their_own_show_none(base: Path) -> None:
    found = server_times(base, **{"workload.arrivals.rate_per_s": 900.0})
    assert COALESCED not in {one.path for one in found.found}
    assert "requests do not share the turns of durable_objects: those that waited do as much work" in " ".join(
        found.notes
    )


def test_server_times_of_an_idle_object_do_not_tell(base: Path) -> None:
    found = server_times(base, **{"workload.arrivals.rate_per_s": 5.0, "workload.requests": 2_000})
    assert "requests waited behind one that waited, must be >= " in found.refused[COALESCED]
    assert "of one key: --set workload.keys.count=1 --rate" in found.refused[COALESCED]


def test_server_times_show_collections(base: Path) -> None:
    found = server_times(a_way_off(base), **{EVERY: 700, COLLECTION: 60.0})
    assert found[EVERY].entry == pytest.approx(700, abs=2)
    assert found[COLLECTION].law.intervals["mean"].value == pytest.approx(60, rel=0.05)
    assert found["system.durable_objects.rtt_ms"].law.distribution.expected() == pytest.approx(4.25, rel=0.05)


def test_work_in_one_time_with_the_way_is_refused(base: Path) -> None:
    mixed = base.with_name("mixed.toml")
    mixed.write_text(
        base.read_text()
        .replace("ledger.append", "durable_objects.write")
        .replace("rtt_ms = 0\ncold", 'rtt_ms = { distribution = "exponential", mean = 1 }\ncold')
    )
    result = run(load_scenario(mixed), rng=1, requests=3_000)
    found = calibrate(mixed, [result])
    assert found.refused[COALESCED].startswith("compiled: append adds the work of durable_objects to its way")


def test_the_command_shows_numbers_and_writes_them(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out, document = tmp_path / "low.parquet", tmp_path / "measured.toml", tmp_path / "measured.json"
    save_run(measured(base, **{COALESCED: 0.2}), path)
    assert status(["calibrate", str(base), str(path), "--out", str(out), "--json", str(document)]) == 0
    found = {one["path"]: one for one in json.loads(document.read_text())["identified"]}
    assert found[COALESCED]["distribution"] is None
    assert found[COALESCED]["value"] == pytest.approx(0.2, abs=0.04)
    assert found[WRITE]["value"] is None
    assert "number" in capsys.readouterr().out
    assert load_scenario(out).system.durable_objects.coalesced_ms == pytest.approx(found[COALESCED]["value"], rel=1e-4)
    assert status(["calibrate", str(base), str(path), "--set", "x=1"]) == 2


def test_the_command_says_what_would_tell(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, document = tmp_path / "short.parquet", tmp_path / "short.json"
    save_run(measured(base, **{"workload.requests": 2_000}), path)
    assert status(["calibrate", str(base), str(path), "--json", str(document)]) == 0
    why = json.loads(document.read_text())["refused"][COALESCED]
    assert why == (
        "short.parquet: 2,000 requests cannot tell shared turns from turns of their own, must be >= 4,000 (play more: "
        "--requests, and on a deployment workload.live_s)"
    )
    assert "4,000" in capsys.readouterr().out


def test_a_number_has_no_quantiles_to_draw(base: Path) -> None:
    found = calibrate(base, [measured(base, **{COALESCED: 0.2})])
    with pytest.raises(UsageError, match="is a number, and has no quantiles"):
        plots.calibration(found, COALESCED)
    assert "coalesced_ms" in found._repr_html_().replace("<wbr>", "")


def test_a_calibrated_scenario_has_a_bill(base: Path) -> None:
    """What was calibrated has a grade of its own."""
    found = calibrate(base, [measured(base, **{COALESCED: 0.2})])
    assert cost(found.scenario).month_usd > 0


def test_saved_runs_say_the_same(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "low.parquet"
    result = measured(base, **{COALESCED: 0.2})
    save_run(result, path)
    assert calibrate(base, [path])[COALESCED].entry == calibrate(base, [result])[COALESCED].entry
