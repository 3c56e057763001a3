"""The real runtime as a runner: it plays any scenario's routes, and leaves nothing behind.

Goal: routes that nobody wrote code for are played on real bindings, each operation as often as it is listed; whatever
ends a run, no process and no folder stays. Method: scenarios of the tree, random routes whose effects are read back
from the bindings, and every way out.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim import load_scenario, run
from sim.foundation.errors import RunnerError, UsageError
from sim.runners import live, runtime, workerd
from tests.reference_impl.routes.test_player import operations, trees
from tests.runtime.probe import probing
from tests.support.left_running import Port, is_running, ports_in_use, ports_of, wait_until

KEEPER = """
import time
from sim.runners import workerd
with workerd.running() as running:
    print(running.process.pid, flush=True)
    time.sleep(60)
"""
SYSTEM: dict[str, Any] = {
    "network": {},
    "workers": {},
    "d1": {},
    "archive": {"component": "d1"},
    "r2": {},
    "media": {"component": "r2"},
    "durable_objects": {},
    "rooms": {"component": "durable_objects"},
    "ledger": {},
}
ROUTES_AT_ONCE = 20
SPAWNED_S = 2.0
"""For what nobody waits for: a few calls on loopback, begun before the answer was sent."""


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the runner's folders appear, here and in child processes."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ask(url: str, method: str, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    """Send one request."""
    address = urlsplit(url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=60)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())
    finally:
        connection.close()


def test_the_twin_plays_a_scenario_that_nobody_wrote_code_for() -> None:
    result = run("feed", on="workerd", requests=60)
    assert result.on == "workerd"
    assert result.frame["outcome"].eq("ok").all()
    assert set(result.frame["route"]) == {"feed", "post", "picture"}
    assert workerd.DISTANCES in result.notes
    posts = result.frame.loc[result.frame["route"] == "post"]
    assert posts["posts_ms"].sum() > 0
    assert posts["durable_objects_ms"].sum() > 0


def test_a_scenario_of_the_brief_s_api_is_answered_by_the_brief_s_worker() -> None:
    launch = load_scenario("launch").with_(**{"routes.device_log.share": 0})
    result = run(launch, on="workerd", requests=80)
    assert result.frame["outcome"].eq("ok").all()
    assert {"log", "balance", "search"} <= set(result.frame["route"])


def test_a_route_through_a_tunnel_is_refused_with_the_way_out() -> None:
    with pytest.raises(UsageError, match=r"route device_log needs a tunnel.*routes\.device_log\.share = 0"):
        run("launch", on="workerd", requests=80)


def entries() -> st.SearchStrategy[list[dict[str, Any]]]:
    """Steps of one route, without the hedges and timeouts that a loaded machine could set off."""
    return st.lists(trees, min_size=1, max_size=3)


def plain(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Steps without hedges: a copy would be an effect more."""
    return [
        {**{key: value for key, value in step.items() if key not in ("hedge_ms", "timeout_ms")}}
        | ({"steps": plain(step["steps"])} if "steps" in step else {})
        for step in steps
    ]


@given(listed=st.lists(entries(), min_size=ROUTES_AT_ONCE, max_size=ROUTES_AT_ONCE))
@settings(max_examples=3, suppress_health_check=list(HealthCheck), derandomize=True)
def test_every_step_happens_on_the_bindings_as_often_as_it_says(
    listed: list[list[dict[str, Any]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    state = tmp_path_factory.mktemp("state")
    played = [plain(steps) for steps in listed]
    routes = {
        f"r{n}": {"enter": "network", "request": {"method": "POST", "path": f"/r{n}"}, "steps": steps}
        for n, steps in enumerate(played)
    }
    with workerd.serving({"system": SYSTEM, "routes": routes}, state=state) as running:
        for n in range(len(played)):
            about = {"headroom_key": str(n), "headroom_object": "7", "headroom_size_bytes": "12"}
            status, body, _ = ask(running.deployment.http, "POST", f"/r{n}", headroom_request="3", **about)
            assert status == 200, body
        time.sleep(SPAWNED_S)
    with probing(SYSTEM, state=state) as probe:
        for n, steps in enumerate(played):
            happens: Counter[str] = Counter()
            for use, often in operations(steps):
                happens[use] += often
            check_effects(probe, n, happens, steps)


def check_effects(probe: Any, key: int, happens: Counter[str], steps: list[dict[str, Any]]) -> None:
    """Compare what the bindings hold of one route's key with what its steps list."""

    def written(binding: str) -> list[list[Any]]:
        table = probe.rows("SELECT name FROM sqlite_schema WHERE name = 'headroom_rows'", binding=binding)
        query = "SELECT position, version FROM headroom_rows WHERE key = ? ORDER BY position"
        return probe.rows(query, key, binding=binding) if table else []

    d1_rows = 3 if happens["d1.read"] else 2 if happens["d1.write"] else 0
    assert written("d1") == [[n, happens["d1.write"] if n < 2 else 0] for n in range(d1_rows)]
    archived = 4 if happens["archive.write"] else 0
    assert written("archive") == [[n, 0 if n else happens["archive.write"]] for n in range(archived)]
    rooms = probe.object_values(f"rooms/org-{key}")
    assert rooms == {f"row-{n:06d}": count for n in range(2) if (count := happens["rooms.write"])}
    (counted,) = probe.calls(
        "object",
        "ROUTE_OBJECTS",
        calls=[{"sql": "SELECT count(*) FROM sqlite_schema WHERE name = 'events'"}],
        name=f"durable_objects/org-{key}",
    )
    has_ledger = counted["value"]["rows"] == [[1]]
    assert has_ledger == (happens["ledger.append"] + happens["ledger.balance"] > 0)
    if has_ledger:
        (events,) = probe.calls(
            "object", "ROUTE_OBJECTS", calls=[{"sql": "SELECT count(*) FROM events"}], name=f"durable_objects/org-{key}"
        )
        assert events["value"]["rows"] == [[happens["ledger.append"]]]
    for bucket, operation in (("r2", "r2.put"), ("media", "media.get")):
        (listed,) = probe.calls("r2", bucket, calls=[{"op": "list", "options": {"prefix": f"r{key}/"}}])
        most = max([often for use, often in operations(steps) if use == operation], default=0)
        assert set(listed["value"]["keys"]) == {f"r{key}/7.{n}" if n else f"r{key}/7" for n in range(most)}


def test_a_preparation_puts_in_place_what_is_fetched_later() -> None:
    routes = {
        "get": {"request": {"method": "GET", "path": "/x/{object}"}, "steps": [{"use": "r2.get", "chance": 0.01}]}
    }
    with workerd.serving({"system": SYSTEM, "routes": routes}) as running:
        about = {"headroom_object": "3", "headroom_size_bytes": "1000"}
        status, body, headers = ask(running.deployment.http, "GET", "/x/3", headroom_prepare="1", **about)
        assert (status, len(body)) == (200, 1000)
        assert "r2;dur=" in headers["server-timing"]


def test_state_survives_in_its_folder(tmp_path: Path) -> None:
    event = {"event_id": "e", "organization_id": "org-1", "user_id": "u", "model": "sonnet", "tokens_in": 278}
    body = json.dumps(event | {"tokens_out": 218, "event_time_ms": 1_795_000_000_000})
    state = tmp_path / "state"
    for duplicate in (False, True):
        with workerd.running(state=state) as running:
            address = urlsplit(running.deployment.http)
            connection = HTTPConnection(address.hostname or "", address.port, timeout=60)
            connection.request("POST", "/log", body)
            assert json.loads(connection.getresponse().read())["duplicate"] is duplicate
            connection.close()
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def _fail(way_out: type[BaseException], started: list[int], ports: set[Port], pid: int) -> None:
    started += children(pid)
    ports |= ports_of(pid)
    raise way_out


@pytest.mark.parametrize("way_out", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_it_is_gone_after_an_exception(way_out: type[BaseException], tmp_path: Path) -> None:
    started: list[int] = []
    ports: set[Port] = set()
    with pytest.raises(way_out), workerd.running() as running:
        _fail(way_out, started, ports, running.process.pid)
    assert running.process.returncode == 0
    assert not any(map(is_running, started))
    assert not ports & ports_in_use()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def keeper() -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """A process that keeps the runtime running, and the number of its Node."""
    command = [sys.executable, "-c", KEEPER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_is_gone_after_its_keeper_was_killed(
    keeper: tuple["subprocess.Popen[str]", int], death: signal.Signals, tmp_path: Path
) -> None:
    process, node = keeper
    (workerd_pid,) = children(node)
    ports = ports_of(node)
    process.send_signal(death)
    process.wait()
    wait_until(lambda: not is_running(node) and not is_running(workerd_pid))
    wait_until(lambda: not ports & ports_in_use())
    wait_until(lambda: list(tmp_path.iterdir()) == [])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_a_killed_node_leaves_no_runtime_behind(keeper: tuple["subprocess.Popen[str]", int]) -> None:
    _, node = keeper
    (workerd_pid,) = children(node)
    ports = ports_of(node)
    os.kill(node, signal.SIGKILL)
    wait_until(lambda: not is_running(workerd_pid))
    wait_until(lambda: not ports & ports_in_use())


def test_a_port_that_is_taken_is_one_line_of_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = pytest.raises(RunnerError, match=r"did not start: .*in use")
        with refused as failure, workerd.serving(workerd.BRIEF, port=port):
            pass
    assert "\n" not in str(failure.value)
    assert list(tmp_path.iterdir()) == []


def test_a_runtime_that_dies_in_the_middle_makes_the_run_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    live_play, keep = live.play, workerd.serving
    started: list[Any] = []

    def play_and_kill(*arguments: Any, **options: Any) -> Any:
        result = live_play(*arguments, **options)
        node = started[-1].process
        for pid in children(node.pid):
            os.kill(pid, signal.SIGKILL)
        node.wait(timeout=30)
        return result

    @contextmanager
    def kept(*arguments: Any, **options: Any) -> Iterator[Any]:
        with keep(*arguments, **options) as one:
            started.append(one)
            yield one

    monkeypatch.setattr(workerd, "serving", kept)
    monkeypatch.setattr(live, "play", play_and_kill)
    result = run("feed", on="workerd", requests=20)
    assert not result.valid
    assert result.interrupted
    assert "INVALID: workerd ended with status 2: the runtime's process is gone" in result.notes


def test_a_runtime_that_is_not_set_up_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runtime, "DEPLOY", tmp_path)
    with pytest.raises(UsageError, match="needs the folder deploy/"):
        run("feed", on="workerd", requests=1)


def test_the_same_request_decides_the_same_way_on_every_run() -> None:
    routes = {"one": {"request": {"method": "GET", "path": "/one"}, "steps": [{"use": "d1.read", "chance": 0.5}]}}
    deployment = {"seed": 5, "system": SYSTEM, "routes": routes}

    def decisions() -> list[bool]:
        with workerd.serving(deployment) as running:
            answers = [ask(running.deployment.http, "GET", "/one", headroom_request=str(n)) for n in range(40)]
        return ["d1;dur=" in headers["server-timing"] for _, _, headers in answers]

    first = decisions()
    assert decisions() == first
    assert 5 < np.sum(first) < 35
