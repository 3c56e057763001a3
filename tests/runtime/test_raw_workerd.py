"""The runtime alone, without Node, for deployments of Durable Objects only.

Goal: it answers as the runtime behind Miniflare does, shares its state, and leaves nothing behind. Method: the same
routes on both, and every way out.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sim.runners import raw_workerd, workerd
from tests.runtime.probe import probing
from tests.runtime.test_workerd import ask, children, own_temporary_folder
from tests.support.left_running import is_running, ports_in_use, ports_of, wait_until

__all__ = ["own_temporary_folder"]  # A fixture, for every test here too.

SYSTEM: dict[str, Any] = {
    "network": {},
    "workers": {},
    "durable_objects": {},
    "rooms": {"component": "durable_objects"},
}
WRITE = {
    "request": {"method": "POST", "path": "/w/{key}"},
    "steps": [{"use": "workers.compute"}, {"use": "rooms.write", "parameters": {"rows_written": 2}, "times": 3}],
}
ALONE: dict[str, Any] = {"system": SYSTEM, "routes": {"write": WRITE}}
QUERY = {"request": {"method": "GET", "path": "/q"}, "steps": [{"steps": [{"use": "d1.read"}], "parallel": True}]}
WITH_D1: dict[str, Any] = {"system": {**SYSTEM, "d1": {}}, "routes": {"write": WRITE, "query": QUERY}}
KEEPER = """
import time
from sim.runners import workerd
from tests.runtime.test_raw_workerd import ALONE
with workerd.serving(ALONE) as running:
    print(running.process.pid, flush=True)
    time.sleep(60)
"""


def test_only_what_the_runtime_does_by_itself_is_left_to_it() -> None:
    assert raw_workerd.suffices(ALONE)
    assert not raw_workerd.suffices(WITH_D1)
    assert not raw_workerd.suffices({**ALONE, "api": "superinstance"})
    assert not raw_workerd.suffices({"system": SYSTEM, "routes": {}})


def test_it_answers_alike_and_keeps_its_state_where_the_other_finds_it(tmp_path: Path) -> None:
    state, answers = tmp_path / "state", []
    for deployment in (ALONE, WITH_D1, ALONE):
        with workerd.serving(deployment, state=state) as running:
            answers.append(ask(running.deployment.http, "POST", "/w/7")[:2])
            refused, _, _ = ask(running.deployment.http, "GET", "/w/7")
            assert refused == 405
            assert ("sitter.py" in str(running.process.args)) is raw_workerd.suffices(deployment)
    assert answers == [(200, b'{"success":true}')] * 3
    with probing({**SYSTEM, "d1": {}}, state=state) as probe:
        assert probe.object_values("rooms/org-7") == {"row-000000": 9, "row-000001": 9}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_is_gone_after_its_keeper_was_killed(death: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KEEPER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as keeper:
        assert keeper.stdout is not None
        sitter = int(keeper.stdout.readline())
        (pid,) = children(sitter)
        ports = ports_of(sitter)
        keeper.send_signal(death)
        keeper.wait()
    wait_until(lambda: not is_running(sitter) and not is_running(pid))
    wait_until(lambda: not ports & ports_in_use())
    wait_until(lambda: list(tmp_path.iterdir()) == [])


def test_it_is_gone_after_success_and_when_its_sitter_is_killed(tmp_path: Path) -> None:
    with workerd.serving(ALONE) as running:
        (pid,) = children(running.process.pid)
        ports = ports_of(running.process.pid)
    assert running.process.returncode == 0
    assert not is_running(pid)
    assert not ports & ports_in_use()
    with workerd.serving(ALONE) as running:
        (pid,) = children(running.process.pid)
        os.kill(running.process.pid, signal.SIGKILL)
        wait_until(lambda: not is_running(pid))
    assert list(tmp_path.iterdir()) == []
