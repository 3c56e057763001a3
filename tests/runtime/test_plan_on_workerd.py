"""The main job with the real runtime in the reference's place.

Goal: a plan of a scenario that nobody wrote code for runs whole, and says what its measurement is worth; what the twin
has no binding for is refused before anything is sent. Method: the feed, with a short live part; a social network; a
deployment whose routes use each operation; then the command line.
"""

import json
import re
import signal
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sim import load_scenario, plan, run
from sim.foundation.errors import UsageError
from sim.report.output_folder import prepared_folder, write_plan
from sim.report.sentences import confirmation
from sim.runners import workerd
from sim.runners.runtime import DEPLOY
from sim.runners.workerd import DISTANCES, PLAYED
from tests.support.left_running import is_running

LIVE_S = 3
UNPLAYED = ("join", "say", "widget")
"""Routes of the social network that use rooms, or an origin."""


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


def test_a_social_network_runs_on_caches_queues_and_values() -> None:
    """Its page is cached, its writer reads a value, an object and a queue."""
    scenario = load_scenario("social").with_(**{"workload.live_s": LIVE_S})
    played = scenario.with_(**{f"routes.{route}.share": 0.0 for route in UNPLAYED})
    found = run(played, on="workerd")
    assert found.frame["outcome"].eq("ok").all()
    assert set(found.frame["route"]) >= {"feed", "post", "picture"}


def test_what_the_twin_has_no_binding_for_is_refused() -> None:
    with pytest.raises(UsageError) as refused:
        run(load_scenario("social"), on="workerd")
    for said in ("join needs websocket.connect", "widget needs origin.fetch", "--set routes.widget.share=0"):
        assert said in str(refused.value)


def test_the_runner_knows_what_the_twin_plays() -> None:
    text = (DEPLOY / "twin" / "operations.ts").read_text("utf-8")
    assert set(re.findall(r'^  "([a-z0-9_]+\.[a-z]+)":', text, re.MULTILINE)) == PLAYED


def test_values_entries_and_schedules_are_real() -> None:
    """What was put is got, and is not there once it was deleted; a schedule's route is reached as any other."""

    def route(method: str, path: str, *steps: Any, enter: str = "network") -> dict[str, Any]:
        return {"enter": enter, "request": {"method": method, "path": path}, "steps": list(steps)}

    deployment = {
        "seed": 3,
        "system": {
            "network": {}, "workers": {}, "kv": {}, "flags": {"component": "kv"}, "cache": {}, "cron": {},
            "queues": {"batch_messages": 2, "batch_timeout_s": 1},
        },
        "routes": {
            "put": route("PUT", "/values/{key}", {"use": "kv.put", "parameters": {"new_fraction": 0}}),
            "get": route("GET", "/values/{key}", {"use": "kv.get"}),
            "remove": route("DELETE", "/values/{key}", {"use": "kv.delete"}),
            "list": route("GET", "/values", {"use": "kv.list"}),
            "new": route("POST", "/flags/{key}", {"use": "flags.put"}),
            "flags": route("GET", "/flags", {"use": "flags.list"}),
            "keep": route("GET", "/page/{key}", {"use": "cache.get"}, {"use": "cache.put"}, {"use": "cache.get"}),
            "forget": route("GET", "/gone/{key}", {"use": "cache.put"}, {"use": "cache.delete"}, {"use": "cache.get"}),
            "tell": route("POST", "/tell/{key}", {"use": "queues.send"}),
            "sweep": route("POST", "/cdn-cgi/handler/scheduled", {"use": "workers.compute"}, enter="cron"),
        },
    }  # fmt: skip
    with workerd.serving(deployment) as running:
        address = urlsplit(running.deployment.http)
        connection = HTTPConnection(address.hostname or "", address.port, timeout=30)

        def asked(method: str, path: str, body: str = "") -> tuple[int, str]:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

        assert asked("PUT", "/values/5", "five")[0] == 200
        assert asked("GET", "/values/5") == (200, "five")
        assert json.loads(asked("GET", "/values")[1])["keys"] == ["key-5"]
        assert asked("DELETE", "/values/5")[0] == 200
        assert json.loads(asked("GET", "/values/5")[1])["value"] is None
        for _ in range(2):
            assert asked("POST", "/flags/5", "on")[0] == 200
        assert len(json.loads(asked("GET", "/flags")[1])["keys"]) == 2
        assert asked("GET", "/page/5", "page") == (200, "page")
        assert json.loads(asked("GET", "/gone/5", "page")[1]) == {"success": True}
        assert asked("POST", "/tell/5", "hello")[0] == 200
        assert asked("POST", "/cdn-cgi/handler/scheduled")[0] == 200
        connection.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_serves_ends_in_order(number: signal.Signals) -> None:
    """Also where the signal comes to the command alone, and not to all of a terminal."""
    command = [sys.executable, "-m", "sim.cli", "serve", "--on", "workerd", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        ready = json.loads(serving.stdout.readline())
        assert ready["http"].startswith("http://127.0.0.1:")
        serving.send_signal(number)
        assert serving.wait(timeout=30) == 0
    assert not is_running(ready["pid"])


def test_the_command_line_refuses_in_one_line() -> None:
    command = [sys.executable, "-m", "sim.cli", "serve", "--on", "workerd", "--port", "0"]
    refused = subprocess.run([*command[:4], "--on", "nothing"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert refused.stderr == "headroom: on='nothing' must be reference or workerd\n"
    tunnelled = subprocess.run(
        [*command[:3], "run", "launch", "--on", "workerd"], capture_output=True, text=True, check=False
    )
    assert tunnelled.returncode == 2
    assert "needs a tunnel" in tunnelled.stderr
    assert tunnelled.stderr.count("\n") == 1
