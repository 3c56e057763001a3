"""Sweeps on a Dask cluster.

Goal: a real scheduler with two worker processes gives the tables that one thread gives, and the death of a worker in
the middle loses and doubles nothing. Method: subprocesses on loopback, found by a scheduler file, killed by number.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pandas.testing import assert_frame_equal

from sim.experiments.sweep import Sweep, sweep
from sim.foundation.errors import RunnerError, UsageError
from sim.scenario.scenario import Scenario, load_scenario
from tests.project.tidy import ROOT

VARY: dict[str, list[Any]] = {
    "system.durable_objects.shards": [1, 2, 4],
    "workload.arrivals.rate_per_s": [40.0, 80.0, 120.0],
}
SEEDS = 3
RUNS = 9 * SEEDS
WAIT_S = 120.0

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario("launch").with_(**{"workload.duration_s": 60, "workload.warm_up_s": 5})


@pytest.fixture(scope="module")
def expected(scenario: Scenario) -> Sweep:
    with ThreadPoolExecutor(1) as one:
        return sweep(scenario, vary=VARY, seeds=SEEDS, executor=one)


class Cluster:
    """A scheduler and its workers, as processes of this machine that nobody else can reach."""

    def __init__(self, folder: Path, *, workers: int) -> None:
        self.file, self.log = folder / "scheduler.json", (folder / "log").open("wb")
        self.processes: list[subprocess.Popen[bytes]] = []
        try:
            self._begin(folder, workers)
        except BaseException:
            self.close()
            raise

    def _begin(self, folder: Path, workers: int) -> None:
        self._start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        self._wait_for(self.file.exists)
        self.address: str = json.loads(self.file.read_text("utf-8"))["address"]
        quiet = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--death-timeout", "60", "--host", "127.0.0.1")
        self.workers = [
            self._start("dask_worker", *quiet, "--local-directory", str(folder / f"worker{number}"))
            for number in range(workers)
        ]
        self._wait_for(lambda: self.count() == workers)

    def count(self) -> int:
        """Workers that the scheduler knows."""
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:  # type: ignore[no-untyped-call]  # Dask has no types
            return len(client.scheduler_info(n_workers=-1)["workers"])

    def kill(self, worker: int) -> None:
        """End a worker without a word."""
        self.workers[worker].send_signal(signal.SIGKILL)
        self.workers[worker].wait()

    def close(self) -> None:
        """End what is left."""
        for process in reversed(self.processes):
            process.kill()
            process.wait()
        self.log.close()

    def _start(self, what: str, *options: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-W", "ignore", "-m", f"distributed.cli.{what}", "--scheduler-file", str(self.file)]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "DASK_DISTRIBUTED__WORKER__DAEMON": "False"}
        self.processes.append(subprocess.Popen([*command, *options], stdout=self.log, stderr=self.log, env=environment))
        return self.processes[-1]

    def _wait_for(self, condition: "object") -> None:
        assert callable(condition)
        until = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < until, "the cluster did not come up"
            time.sleep(0.1)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    started = Cluster(tmp_path, workers=2)
    yield started
    started.close()


def test_two_workers_give_the_tables_of_one_thread(scenario: Scenario, expected: Sweep, cluster: Cluster) -> None:
    """To the last bit, each run once."""
    found = sweep(scenario, vary=VARY, seeds=SEEDS, cluster=cluster.address)
    assert_frame_equal(found.frame, expected.frame, check_exact=True)
    assert_frame_equal(found.points, expected.points, check_exact=True)
    assert not found.interrupted


def test_death_of_a_worker_loses_and_doubles_nothing(scenario: Scenario, expected: Sweep, cluster: Cluster) -> None:
    """One of two is killed after the fifth run, in the middle of others; the other takes over."""
    reported: list[int] = []

    def watch(done: int, runs: int) -> None:
        reported.append(done)
        if done == 5:
            cluster.kill(0)

    found = sweep(scenario, vary=VARY, seeds=SEEDS, cluster=cluster.address, on_progress=watch)
    assert cluster.count() == 1
    assert reported == list(range(1, RUNS + 1))
    assert not found.interrupted
    assert_frame_equal(found.frame, expected.frame, check_exact=True)
    assert_frame_equal(found.points, expected.points, check_exact=True)


def test_interrupt_keeps_what_the_cluster_had_done(scenario: Scenario, expected: Sweep, cluster: Cluster) -> None:
    """Ctrl-C after the fourth run; the cluster stays up and does not go on with what nobody wants."""

    def stop(done: int, runs: int) -> None:
        if done == 4:
            signal.raise_signal(signal.SIGINT)

    partial = sweep(scenario, vary=VARY, seeds=SEEDS, cluster=cluster.address, on_progress=stop)
    assert partial.ended_early == "stopped by hand"
    assert 4 <= len(partial.frame) < RUNS
    assert_frame_equal(partial.frame.merge(expected.frame, how="left"), partial.frame, check_exact=True)
    assert cluster.count() == 2


def test_silent_address_is_told_in_one_line(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr("sim.experiments.executors.CONNECT_S", 1.0)
    with pytest.raises(RunnerError, match=r"does not answer: .*start `dask scheduler`") as raised:
        sweep(scenario, vary=VARY, cluster=address)
    assert "\n" not in str(raised.value)


def test_address_that_is_none_is_told_in_one_line(scenario: Scenario) -> None:
    with pytest.raises(RunnerError, match="cluster='http://x' does not answer"):
        sweep(scenario, vary=VARY, cluster="http://x")


def test_missing_extra_is_named(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match='needs the extra "cluster": pip install "headroom\\[cluster\\]"'):
        sweep(scenario, vary=VARY, cluster="tcp://127.0.0.1:8786")
