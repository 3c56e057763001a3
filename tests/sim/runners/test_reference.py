"""The reference deployment that a run starts.

Goal: a run on the reference leaves no process and no file, however it ends. Method: every way out is taken with the
real reference, and the ways in which a start can fail with a small stand-in for it.
"""

import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pandas as pd
import pytest

from sim import Result, Scenario, Schedule, load_scenario, run
from sim.foundation.errors import RunnerError
from sim.runners import live, reference, simulated
from tests.support import schedules
from tests.support.left_running import Port, is_running, ports_in_use, ports_of, wait_until

KEEPER = """
import sys, time
from sim.runners import reference
with reference.running() as running:
    print(running.process.pid, flush=True)
    time.sleep(60)
"""

LOAD_RUN = """
from sim import load_scenario
from sim.runners import reference
from sim.runners.load.tape import Tape
from tests.sim.runners.test_reference import every_route

def end(self, request, outcome, *, at_ms):
    ended(self, request, outcome, at_ms=at_ms)
    if request == 60:
        print("under way", flush=True)

ended, Tape.end = Tape.end, end
result = reference.play(load_scenario("launch"), every_route(3000), seed=1)
print(result.interrupted, result.frame["outcome"].eq("ok").sum() > 50, result.notes[0])
"""

READY = '{"http": "http://127.0.0.1:1", "quic": null}'


def every_route(requests: int) -> Schedule:
    """Requests 20 ms apart, the routes in turn."""
    turn = np.arange(requests, dtype=np.int16) % 6
    download = turn == 4
    return schedules.at(
        np.arange(requests) * 20.0,
        routes=("log", "balance", "search", "upload", "download", "device_log"),
        route_code=turn,
        key=np.arange(requests) % 5,
        tokens_in=np.full(requests, 100),
        tokens_out=np.full(requests, 10),
        size_bytes=np.where(download | (turn == 3), 100_000, 0),
        object_number=np.where(download, 2, np.where(turn == 3, 16 + np.arange(requests), -1)),
    )


def stand_in(monkeypatch: pytest.MonkeyPatch, folder: Path, *lines: str) -> None:
    """Run *lines* in place of the reference."""
    (folder / "stand_in.py").write_text("import signal, sys, time\n" + "\n".join(lines))
    monkeypatch.setattr(reference, "PROCESS", "stand_in")
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the runner's folders appear, here and in child processes."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_a_scenario_may_have_any_name() -> None:
    """It does not reach the reference, which takes few letters in the id of an event."""
    named = load_scenario("launch").vary("name", "Peak hour (2026) / Zürich")
    result = reference.play(named, every_route(18), seed=1)
    assert result.frame["outcome"].eq("ok").all()


def test_it_answers_while_it_runs_and_is_gone_afterwards(tmp_path: Path) -> None:
    with reference.running() as running:
        with urlopen(f"{running.deployment.http}/health") as answer:
            assert answer.status == 200
        assert list(tmp_path.iterdir())
        ports = ports_of(running.process.pid)
    assert running.process.returncode == 0
    assert list(tmp_path.iterdir()) == []
    assert not ports & ports_in_use()


def _fail(way_out: type[BaseException], ports: set[Port], pid: int) -> None:
    ports |= ports_of(pid)
    raise way_out


@pytest.mark.parametrize("way_out", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_it_is_gone_after_an_exception(way_out: type[BaseException], tmp_path: Path) -> None:
    ports: set[Port] = set()
    with pytest.raises(way_out), reference.running() as running:
        _fail(way_out, ports, running.process.pid)
    assert running.process.returncode == 0
    assert list(tmp_path.iterdir()) == []
    assert not ports & ports_in_use()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_is_gone_after_its_keeper_was_killed(death: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KEEPER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as keeper:
        assert keeper.stdout is not None
        pid = int(keeper.stdout.readline())
        assert is_running(pid)
        ports = ports_of(pid)
        keeper.send_signal(death)
        keeper.wait()
    wait_until(lambda: not is_running(pid))
    wait_until(lambda: not ports & ports_in_use())
    wait_until(lambda: list(tmp_path.iterdir()) == [])


def test_ctrl_c_in_a_terminal_ends_the_run_in_order(tmp_path: Path) -> None:
    """A terminal sends the signal to the whole group of processes; the reference must live until the drain is over."""
    command = [sys.executable, "-c", LOAD_RUN]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "under way\n"
        os.killpg(child.pid, signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (0, "")
    assert out.startswith("True True stopped early (Ctrl-C)")
    assert list(tmp_path.iterdir()) == []


def test_a_stubborn_one_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    stand_in(
        monkeypatch,
        tmp_path_factory.mktemp("module"),
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        f"print({READY!r}, flush=True)",
        "time.sleep(60)",
    )
    monkeypatch.setattr(reference, "STOP_S", 0.2)
    with reference.running() as running:
        pass
    assert running.process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["sys.exit('port=80 is in use')"], "did not start: port=80 is in use"),
        (["raise SystemExit(3)"], "did not start: it said nothing"),
        (["print('hello', flush=True)", "time.sleep(60)"], "ready line 'hello' must be a JSON object"),
        (["print('no end', end='', flush=True)", "time.sleep(60)"], "not ready after 0.5 s"),
        (["time.sleep(60)"], "not ready after 0.5 s"),
        (["sys.stdout.write('x' * 10**6)", "time.sleep(60)"], "must be a JSON object"),
    ],
)
def test_a_start_that_fails_is_one_line_of_error(
    lines: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    stand_in(monkeypatch, tmp_path_factory.mktemp("module"), *lines)
    if "not ready" in told:
        monkeypatch.setattr(reference, "READY_S", 0.5)
    with pytest.raises(RunnerError, match=told) as failure, reference.running():
        pass
    assert "\n" not in str(failure.value)
    assert list(tmp_path.iterdir()) == []


def test_every_route_is_answered_and_told_by_component() -> None:
    result = reference.play(load_scenario("launch"), every_route(60), seed=1)
    assert result.on == "reference"
    assert result.frame["outcome"].eq("ok").all()
    ways: dict[str, list[str]] = {
        "log": ["network_ms", "workers_ms", "durable_objects_ms", "ledger_ms"],
        "balance": ["network_ms", "workers_ms", "durable_objects_ms", "ledger_ms"],
        "search": ["network_ms", "workers_ms", "d1_ms"],
        "upload": ["network_ms", "workers_ms", "r2_ms", "d1_ms"],
        "download": ["network_ms", "workers_ms", "r2_ms"],
        "device_log": ["tunnel_ms", "workers_ms", "durable_objects_ms", "ledger_ms"],
    }
    stages = sorted({column for way in ways.values() for column in way})
    for route, way in ways.items():
        rows = result.frame.loc[result.frame["route"] == route]
        assert [stage for stage in stages if rows[stage].sum() > 0] == sorted(way), route


def test_a_death_in_the_middle_makes_the_run_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    live_play = live.play

    def play_and_kill(*arguments: Any, **options: Any) -> Any:
        result = live_play(*arguments, **options)
        victim.process.kill()
        victim.process.wait()
        return result

    with reference.running() as victim:
        monkeypatch.setattr(reference, "running", lambda *_, **__: nullcontext(victim))
        monkeypatch.setattr(live, "play", play_and_kill)
        result = reference.play(load_scenario("launch"), every_route(6), seed=1)
    assert not result.valid
    assert result.interrupted
    assert "ended with status -9" in result.notes[-1]


def finished(**generator: float) -> Result:
    """A run of launch whose generator measured this of itself."""
    healthy = {
        "planned_requests": 100, "sent_requests": 100, "skipped_requests": 0, "aborted_requests": 0, "retries": 0,
        "offered_per_s": 60.0, "achieved_per_s": 60.0, "send_lag_ms_p50": 0.1, "send_lag_ms_p99": 0.5,
        "send_lag_ms_max": 1.0, "latency_ms_p50": 40.0, "latency_ms_p99": 200.0, "overhead_ms_p50": 1.5,
        "overhead_ms_p99": 4.0, "floor_ms_p50": 1.0, "cpu_ratio": 0.1, "in_flight_requests": 9,
        "throttled_requests": 0, "retry_after_s_max": 0.0,
    }  # fmt: skip
    frame = pd.DataFrame({"request": [0], "outcome": ["ok"], "latency_ms": [40.0]})
    return Result(load_scenario("launch"), "reference", 1, frame, pd.DataFrame(), 1.0, generator=healthy | generator)


def test_a_busy_machine_makes_the_run_invalid_before_the_model_is_blamed() -> None:
    """At a load of ten on two cores 7 ms of the median were the machine's, and the model seemed 24 % off."""
    found = reference.in_pace(finished(overhead_ms_p50=9.3, floor_ms_p50=1.8, latency_ms_p50=54.3))
    assert not found.valid
    assert found.notes[0].startswith("INVALID: 7.5 ms, 14 % of the P50 of latency, are in no component")
    assert "too busy" in found.notes[0]


def test_what_wire_and_server_take_on_an_idle_machine_makes_no_run_invalid() -> None:
    """Latencies of a few ms are measured beside an overhead of one."""
    assert reference.in_pace(finished()).valid
    assert reference.in_pace(finished(overhead_ms_p50=1.3, floor_ms_p50=1.0, latency_ms_p50=4.0)).valid
    assert reference.in_pace(finished(overhead_ms_p50=float("nan"))).valid


def test_a_live_part_that_holds_less_than_was_asked_for_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = load_scenario("feed").with_(**{"workload.live_s": 2})

    def played(scenario: Scenario, planned: Schedule, *, seed: int, **_: Any) -> Result:
        return replace(simulated.play(scenario, planned, seed=seed, engine="compiled"), on="reference")

    monkeypatch.setattr(reference, "play", played)
    notes = run(asked, "reference", requests=1_000).notes
    (said,) = [note for note in notes if note.startswith("requests=1,000 were asked for, a deployment played ")]
    assert said.endswith("in 2 s (a longer workload.live_s, or a higher workload.live_rate_max_per_s, plays more)")
    assert not any("were asked for" in note for note in run(asked, "compiled", requests=1_000).notes)
    assert not any("were asked for" in note for note in run(asked, "reference").notes)
