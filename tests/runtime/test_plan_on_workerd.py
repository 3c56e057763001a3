"""The main job with the real runtime in the reference's place.

Goal: a plan of a scenario that nobody wrote code for runs whole, and says what its measurement is worth. Method: the
feed, with a short live part; then the command line.
"""

import json
import subprocess
import sys
from pathlib import Path

from sim import load_scenario, plan
from sim.report.output_folder import prepared_folder, write_plan
from sim.report.sentences import confirmation
from sim.runners.workerd import DISTANCES

LIVE_S = 3


def test_a_plan_runs_whole_and_compares_no_times(tmp_path: Path) -> None:
    scenario = load_scenario("feed").with_(**{"workload.live_s": LIVE_S, "workload.duration_s": 60})
    found = plan(scenario, on="workerd", replications=2)
    assert found.measured is not None
    assert found.measured.on == "workerd"
    assert found.measured.frame["outcome"].eq("ok").all()
    assert found.comparison is None
    assert found.capacity is not None
    assert f"workerd: {DISTANCES}" in found.notes
    assert confirmation(found).startswith("The real runtime answered")
    with prepared_folder(tmp_path, "feed") as folder:
        report, document, *_ = write_plan(found, folder)
    assert "real runtime" in report.read_text("utf-8")
    assert json.loads(document.read_text("utf-8"))["measured"]["on"] == "workerd"


def test_the_command_line_serves_and_refuses_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sim.cli", "serve", "--on", "workerd", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        ready = json.loads(serving.stdout.readline())
        assert ready["http"].startswith("http://127.0.0.1:")
        serving.terminate()
        serving.wait(timeout=30)
    refused = subprocess.run([*command[:4], "--on", "nothing"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert refused.stderr == "headroom: on='nothing' must be reference or workerd\n"
    tunnelled = subprocess.run(
        [*command[:3], "run", "launch", "--on", "workerd"], capture_output=True, text=True, check=False
    )
    assert tunnelled.returncode == 2
    assert "needs a tunnel" in tunnelled.stderr
    assert tunnelled.stderr.count("\n") == 1
