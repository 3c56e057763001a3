"""The README says only what is true today.

Goal: every command in it runs, every table in it is what was measured. Method: its blocks are executed as a reader
would type them, the tables are made anew and compared. The block with ``make test`` is what runs this test.
"""

import re
import shlex
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from sim import load_run, load_scenario
from sim.judgement.comparison import Agreement
from tests.project.readme import README, recorded_comparison, written
from tests.sim.test_cli import answered, headroom, serving

DEPLOYMENT = README.parent / "notebooks/data/your_deployment"
TEXT = README.read_text("utf-8")
BLOCKS = re.findall(r"^```\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [line.split("  #")[0].strip() for block in BLOCKS for line in block.splitlines()]
ASKED = [command for command in COMMANDS if command.startswith("headroom ") and " serve " not in command]


def test_there_are_two_commands_to_begin_with() -> None:
    assert COMMANDS[:2] == ["make plan", "make test"]


def test_every_line_of_every_block_is_a_command() -> None:
    assert all(command.startswith(("make ", "headroom ")) for command in COMMANDS)


@pytest.mark.slow
def test_the_main_job_writes_the_report(tmp_path: Path) -> None:
    """What ``make plan`` does once it has set up."""
    ended = headroom("plan", "launch", cwd=tmp_path)
    assert ended.returncode in (0, 1, 3), ended.stderr
    assert "95 % interval" in ended.stdout
    assert (tmp_path / "out/launch/report.html").read_text("utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.slow
def test_the_commands_run_as_they_are_printed(tmp_path: Path) -> None:
    """In their order: a run that one of them keeps is judged by the next."""
    shutil.copytree(DEPLOYMENT, tmp_path / "my-worker")
    shutil.move(tmp_path / "my-worker/requests.csv.gz", tmp_path)
    assert len(ASKED) >= 12
    for command in ASKED:
        # Each reads the scenarios of the repository; a measurement of 25 s is cut to two.
        short = ["--set", "workload.live_s=2"] if " plan " in command or "--on reference" in command else []
        ended = headroom(*shlex.split(command)[1:], *short, cwd=tmp_path)
        assert ended.returncode in (0, 1, 3), f"{command}: {ended.stderr}"
        assert ended.stdout or " init " in command, command


def test_the_reference_serves() -> None:
    (command,) = [command for command in COMMANDS if " serve " in command]
    with serving(*shlex.split(command)[2:]) as address:
        assert answered(address) == 0


def test_the_tables_are_what_was_measured() -> None:
    assert written(TEXT) == TEXT


def test_the_recorded_measurement_does_not_contradict_the_model() -> None:
    """The P50 agrees as an equivalence; 25 s of requests cannot settle a P99, and no statistic differs."""
    verdicts = {(row.metric, row.statistic, row.route): row.verdict for row in recorded_comparison().rows}
    assert Agreement.DIFFERS not in verdicts.values()
    assert verdicts["api_latency_ms", "p50", "all"] == Agreement.AGREES


def test_the_number_of_theory_rows_is_the_page_s() -> None:
    page = (README.parent / "docs/THEORY.md").read_text("utf-8")
    found = re.search(r"(\d+) of (\d+) rows do", page)
    assert found
    assert found[1] == "0"
    assert f"{found[2]} rows" in TEXT


def test_the_python_call_in_the_docstring_runs() -> None:
    code = "import doctest, sim.runners.play; print(doctest.testmod(sim.runners.play))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=README.parent, capture_output=True, text=True, check=True)
    assert "failed=0" in ended.stdout


def test_the_day_of_the_recorded_run_is_the_recording_s() -> None:
    recorded = load_run(README.parent / "reports/baselines/launch_reference.parquet", scenario=load_scenario("launch"))
    day = datetime.fromisoformat(str(recorded.generator["started_utc"]))
    assert f"recorded run of {day.day} {day:%B %Y}" in TEXT
