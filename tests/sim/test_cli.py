"""The command line: what it prints, where, and with which status.

Goal: a usage error is one line and status 2, never a traceback; a right one is a table, a document, and a status that
tells the verdict. Method: the installed command as a process, with short scenarios; load goes to loopback only.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from sim import load_scenario, run
from sim.cli import app, main
from sim.foundation.files import plain
from sim.judgement.judge import status_of, worst
from sim.judgement.targets import Verdict
from sim.report.json_document import run_document
from tests.project.tidy import ROOT

SHORT = "--set workload.duration_s=20 --set workload.warm_up_s=2 --set workload.live_s=2".split()


def headroom(
    *arguments: str | Path, cwd: Path = ROOT, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "160", **(environment or {})}
    return subprocess.run(
        [sys.executable, "-m", "sim.cli", *arguments],
        cwd=cwd, env=variables, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


WRONG = {
    "run nothing": 'scenario="nothing" does not exist; it is one of: assistant, feed, launch',
    "run launch --on simp": "did you mean 'simpy'?",
    "run launch --rate -3": "workload.arrivals.rate_per_s=-3.0 must be > 0",
    "run launch --rate nan": "workload.arrivals.rate_per_s=nan must be a finite number",
    "run launch --requests 0": "requests=0 must be >= 1",
    "run launch --trace missing.csv": "missing.csv does not exist",
    "run launch --seed -1": "seed=-1 must be a whole number from 0",
    "run launch --on http://127.0.0.1:1 --set routes.device_log.share=0": "does not answer",
    "run launch --on http://127.0.0.1:1": "route device_log needs a tunnel",
    "run launch --on http://example.com": "must be this machine",
    "run launch --on none.parquet": "must be a file; there is none",
    "run launch --save run.csv": "must end in .parquet",
    "run launch --save missing/run.parquet": "the folder 'missing' must exist",
    "run launch --until p99": "must read like",
    "run launch --until p99±1s": "must be in % or ms, not in s",
    "run launch --until p99±1% --on reference": "on='reference' must be compiled or simpy with until=",
    "run launch --until p99±1% --save run.parquet": "must not be given with --until",
    "run launch --requests-max 9": "needs --until",
    "size nothing launch": "what='nothing' must be one of shards, part_size",
    "size heartbeat launch": "idle_timeout_s=0 must be > 0",
    "size shards drills/d1_stall": "faults=1 must be 0 for a sizing",
    "size servers drills/d1_stall": "faults=1 must be 0 for a sizing",
    "size servers launch --values 3": "values='3' must not be given with servers",
    "size d1_split launch --values x": "'x' must be a number >= 0",
    "run launch --until p99±1% --requests-max 0": "requests_max=0 must be >= ",
    "run launch --set x": "must read PATH=VALUE",
    "run launch --set system.d1.rtt=3": "system.d1.rtt is not a key; did you mean rtt_ms?",
    "run launch --set system.tunnel.streams=10000000000000000000000": "Station.servers=1" + 22 * "0" + " must be <=",
    "run launch --set system.durable_objects.shards=1000000000000": "instances of stations and other state need about",
    "run launch --on simpy --set system.durable_objects.shards=1000000000000": "ask for fewer instances (shards)",
    "run launch --set system.ledger.flush_interval_s=1e305": "Constant reaches 1e+308, must stay <= 1e+15",
    "run launch --json tests/sim/test_cli.py/x.json --requests 9": "must exist",
    "capacity launch --json tests/sim": "is a folder",
    "run": "Missing argument",
    "run launch --sed 3": "No such option: --sed",
    "pla": "did you mean 'plan'",
    "sweep launch --vary x": "must read PATH=VALUE",
    "sweep launch --vary system.d1.rtt=1,2": "system.d1.rtt is not a key",
    "sweep launch --vary system.d1.queue_limit=0,2": "must be >= 1",
    "sweep launch --vary system.d1.queue_limit=1 --seeds 0": "seeds=0 must be",
    "capacity launch --seeds 1": "seeds=1 must be >= 2",
    "capacity shapes/closed": "not kind=closed",
    "cost launch --month 0": "month=0 must be >= 1",
    "compare a.parquet b.parquet": "must be a file",
    "serve --pace nothing": 'scenario="nothing" does not exist',
    "serve --pace drills/d1_stall": "faults=1 must be 0 to be served",
    "serve --port 70000": "port=70000 must be 0 to 65535",
    "report missing.ipynb": "cannot be read",
    "plan launch --out pyproject.toml": "must be a folder",
    "plan launch --engine simp": "engine='simp' must be simpy or compiled",
}


@pytest.mark.parametrize("call", WRONG)
def test_a_wrong_call_is_one_line_and_status_2(call: str) -> None:
    ended = headroom(*call.split())
    assert ended.returncode == 2
    assert ended.stdout == "" or "--json" in call
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stderr.startswith("headroom: ")
    assert WRONG[call].lower() in ended.stderr.lower()


def test_malformed_trace_names_the_line(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("arrival_ms,route\n0,log\nsoon,log\n")
    ended = headroom("plan", "launch", "--trace", trace, "--out", tmp_path)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1)
    assert 'trace.csv:3 arrival_ms="soon" must be a number' in ended.stderr


def test_run_prints_tables_and_writes_document_and_run(tmp_path: Path) -> None:
    kept, document = tmp_path / "run.parquet", tmp_path / "run.json"
    ended = headroom("run", "launch", *SHORT, "--save", kept, "--json", document)
    said = json.loads(document.read_text("utf-8"))
    assert ended.returncode == {"PASS": 0, "WARN": 1, "ALERT": 1}.get(said["verdict"], 3)
    assert "95 % interval" in ended.stdout
    assert said["requests"] > 500
    assert {row["metric"] for row in said["targets"]} >= {"api_latency_ms", "uptime_ratio"}
    again = headroom("run", "launch", *SHORT, "--on", kept, "--json", "-")
    assert json.loads(again.stdout)["targets"] == said["targets"]
    assert "95 % interval" in again.stderr


def test_a_run_of_the_command_line_is_the_call_of_the_notebooks() -> None:
    said = json.loads(headroom("run", "launch", *SHORT, "--seed", "7", "--json", "-").stdout)
    short = {"workload.duration_s": 20, "workload.warm_up_s": 2, "workload.live_s": 2}
    called = run_document(run(load_scenario("launch").with_(**short), rng=7))
    for key in ("requests", "verdict", "targets"):
        assert said[key] == plain(called[key]), key


@pytest.mark.parametrize(
    ("until", "verdict", "reached", "status"),
    [
        ("p50 ± 10 %", "PASS", True, 0),
        ("p99 ± 20 %", "WARN", True, 1),
        ("p90 ± 10 %", None, True, 0),
        ("p90 ± 0.1 %", None, False, 3),
    ],
)
def test_run_until_says_what_it_found_and_what_it_took(
    until: str, verdict: str | None, reached: bool, status: int
) -> None:
    """So short a run meets cold objects mostly: its P99 misses the target, and its P90 has none."""
    ended = headroom("run", "launch", *SHORT, "--until", until, "--requests-max", "40000", "--json", "-")
    said = json.loads(ended.stdout)
    assert (said["verdict"], said["reached"], ended.returncode) == (verdict, reached, status)
    assert said["low"] <= said["value"] <= said["high"]
    assert said["requests_total"] == said["replications_total"] * said["requests"] > 0
    for row in ("value", "95 % interval", "replications", "requests played"):
        assert row in ended.stderr


def test_compare_of_a_run_with_itself_agrees(tmp_path: Path) -> None:
    headroom("run", "launch", *SHORT, "--save", tmp_path / "run.parquet")
    ended = headroom("compare", "run.parquet", "run.parquet", "--json", "-", cwd=tmp_path)
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["agrees"] is True
    assert "run against run" in ended.stderr, "both are simulated: neither is a measurement"
    assert "P50 and P99 of the latency over all routes decide: agrees." in " ".join(ended.stderr.split())


def test_cost_says_volume_limits_and_what_runs_away(tmp_path: Path) -> None:
    """A history takes the place of [demand]; every table is on the terminal, every number in the document."""
    days = [f"2026-10-{day:02d},{1_000 * day}" for day in range(1, 31)]
    (tmp_path / "days.csv").write_text("date,count\n" + "\n".join(days) + "\n", "utf-8")
    done = headroom("cost", "launch", "--history", str(tmp_path / "days.csv"), "--runaway", "--json", "-")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert (found["volume"]["kind"], found["volume"]["is_peak"], found["is_lower_bound"]) == ("history", False, False)
    assert found["volume"]["low"] < found["requests_per_month"] < found["volume"]["high"]
    assert found["free_plan_first"]["plan"] == "free"
    assert {one["name"] for one in found["runaways"]} >= {"d1: full scan", "callers: retry storm"}
    for word in ("What breaks first", "On the Free plan", "If it ran away", "volume confidence", "forecast from"):
        assert word in done.stderr


def test_cost_and_capacity_say_their_number(tmp_path: Path) -> None:
    cost = json.loads(headroom("cost", "launch", "--json", "-").stdout)
    assert cost["month_usd"] == pytest.approx(sum(line["usd"] for line in cost["lines"]))
    ended = headroom("capacity", "launch", "--seeds", "2", "--json", "-")
    found = json.loads(ended.stdout)
    assert found["low"] <= found["rate_per_s"] <= found["high"]
    assert ended.returncode == (1 if found["missed"] else 0)


def test_sweep_plays_every_combination() -> None:
    vary = ["--vary", "system.durable_objects.shards=1,per_key", "--vary", "system.d1.rtt_ms=[2, 8]"]
    ended = headroom("sweep", "launch", *SHORT, *vary, "--seeds", "2", "--json", "-")
    found = json.loads(ended.stdout)
    assert ended.returncode == status_of(worst(Verdict(point["verdict"]) for point in found["points"]))
    assert len(found["points"]) == 4
    assert len(found["runs"]) == 8
    assert {point["system.durable_objects.shards"] for point in found["points"]} == {1, "per_key"}
    assert "95 % interval" in ended.stderr


def test_help_is_quick_because_it_imports_nothing_heavy() -> None:
    heavy = {"numpy", "pandas", "numba", "scipy", "matplotlib", "pyarrow", "rich.table"}
    code = f"import sys, sim.cli; print(*{heavy} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == ""


def test_every_command_has_help() -> None:
    names = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    overview = headroom("--help").stdout
    assert all(f"\n  {name} " in overview for name in names)
    for name in names:
        ended = headroom(name, "--help")
        assert ended.returncode == 0
        assert "Usage: " in ended.stdout


@contextmanager
def served(*arguments: str, end: signal.Signals = signal.SIGINT, status: int = 0) -> Iterator[str]:
    """A reference that `headroom serve` keeps running: its ready line; ended by a signal to that command alone."""
    command = [sys.executable, "-m", "sim.cli", "serve", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline()
        process.send_signal(end)
        assert process.wait(timeout=30) == status


@contextmanager
def serving(*arguments: str) -> Iterator[str]:
    """The address of such a reference."""
    with served(*arguments) as line:
        yield json.loads(line)["http"]


@pytest.mark.parametrize(
    ("end", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_the_end_of_serve_is_the_end_of_its_server(end: signal.Signals, status: int) -> None:
    with served(end=end, status=status) as line:
        address = urlsplit(json.loads(line)["http"])
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        with socket.socket() as probe:
            if probe.connect_ex((str(address.hostname), address.port or 0)):
                return
        time.sleep(0.05)
    pytest.fail("the port is still taken")


def test_launch_plays_on_a_server_of_ones_own_with_its_tunnel(tmp_path: Path) -> None:
    with served("--pace", "launch") as line:
        (tmp_path / "server.json").write_text(line)
        ended = headroom("run", "launch", "--requests", "60", "--on", tmp_path / "server.json", "--json", "-")
    said = json.loads(ended.stdout)
    assert said["on"] == json.loads(line)["http"]
    assert {route["route"] for route in said["routes"]} >= {"log", "device_log"}


def test_version_and_an_ascii_terminal_of_60_columns() -> None:
    assert headroom("--version").stdout.startswith("headroom 0.")
    narrow = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "COLUMNS": "60"}
    ended = headroom("run", "launch", *SHORT, environment=narrow)
    assert ended.returncode in (0, 1, 3)
    assert max(map(len, ended.stdout.splitlines())) <= 60


def test_more_requests_than_the_schedule_has_are_said() -> None:
    ended = headroom("run", "launch", *SHORT, "--requests", "1000000", "--json", "-")
    assert any(
        "requests=1,000,000 were asked for, the schedule has" in note for note in json.loads(ended.stdout)["notes"]
    )


def test_serve_serves_and_a_taken_port_is_an_error() -> None:
    with serving("--pace", "launch") as address:
        ended = headroom("run", "launch", *SHORT, "--set", "routes.device_log.share=0", "--on", address, "--json", "-")
        port = address.rsplit(":", 1)[1]
        taken = headroom("serve", "--port", port)
    assert json.loads(ended.stdout)["on"] == address
    assert (taken.returncode, len(taken.stderr.splitlines())) == (2, 1)
    assert f"port={port} cannot be had" in taken.stderr


def answered(address: str) -> float:
    """Requests that a reference has answered so far."""
    with urlopen(f"{address}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("requests_total{"))


def test_ctrl_c_in_a_load_run_keeps_what_was_measured(tmp_path: Path) -> None:
    kept, document = tmp_path / "run.parquet", tmp_path / "run.json"
    asked = ["--set", "routes.device_log.share=0", "--save", str(kept), "--json", str(document)]
    with serving("--pace", "launch") as address:
        command = [sys.executable, "-m", "sim.cli", "run", "launch", "--on", address, *asked]
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as run:
            while answered(address) < 150:  # Preparing takes 32 of them.
                time.sleep(0.05)
                assert run.poll() is None
            run.send_signal(signal.SIGINT)
            _, messages = run.communicate(timeout=60)
    assert run.returncode == 2
    assert "Traceback" not in messages
    said = json.loads(document.read_text("utf-8"))
    assert said["interrupted"] is True
    assert 0 < said["requests"] < 1_485
    assert kept.is_file()


def test_interrupt_before_anything_can_be_kept_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Typer would end in silence, with a status of its own."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sim.runners.play.run", interrupted)
    monkeypatch.setattr(sys, "argv", ["headroom", "run", "launch"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "headroom: interrupted before there was a result\n"
