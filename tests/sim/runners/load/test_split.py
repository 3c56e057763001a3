"""Several processes play one schedule: each request once, and the record is that of one process.

Goal: nothing is averaged or lost. Method: the split is a partition for any schedule; parts of a frame add up to its
histograms exactly; real processes are stopped, killed and orphaned, and leave nothing.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from sim.foundation.errors import RunnerError, UsageError
from sim.runners.load.abort import AbortRule
from sim.runners.load.address import Deployment
from sim.runners.load.histograms import histograms, merged
from sim.runners.load.split import rows_of
from tests.sim.runners.test_live import play, seen, shares, steady
from tests.sim.runners.test_live_stop import wait_for
from tests.support import schedules
from tests.support.adversary import adversary

CHILD = """
import sys
from sim.runners.load.address import Deployment
from tests.sim.runners.test_live import play, shares, steady
result = play(Deployment(sys.argv[1]), steady(3000), processes=2)
print(result.interrupted, len(result.frame), result.notes[0], flush=True)
"""


@given(n=st.integers(1, 200), processes=st.integers(1, 64))
def test_split_is_a_partition(n: int, processes: int) -> None:
    planned = schedules.at(np.arange(n) * 1.0)
    if processes > n:
        with pytest.raises(UsageError, match="processes="):
            rows_of(planned, processes)
        return
    parts = rows_of(planned, processes)
    assert sorted(np.concatenate(parts).tolist()) == list(range(n))
    assert max(len(part) for part in parts) - min(len(part) for part in parts) <= 1


@given(users=st.lists(st.integers(0, 9), min_size=1, max_size=60), processes=st.integers(1, 3))
def test_all_requests_of_a_user_belong_to_one_process(users: list[int], processes: int) -> None:
    n = len(users)
    planned = schedules.at(np.zeros(n), user=np.array(users, dtype=np.int64), think_ms=np.ones(n))
    if processes > len(set(users)):
        return
    owners = [{users[row] for row in part.tolist()} for part in rows_of(planned, processes)]
    assert sum(len(owned) for owned in owners) == len(set(users))


@given(
    latency_ms=st.lists(st.floats(0.001, 3_000_000), min_size=1, max_size=200),
    parts=st.integers(1, 5),
    routes=st.integers(1, 3),
)
def test_histograms_of_parts_add_up_exactly(latency_ms: list[float], parts: int, routes: int) -> None:
    n = len(latency_ms)
    frame = pd.DataFrame(
        {
            "route": [f"r{number % routes}" for number in range(n)],
            "outcome": "ok",
            "latency_ms": latency_ms,
            "service_latency_ms": np.asarray(latency_ms) / 2,
        }
    )
    added = merged(histograms(frame.iloc[number::parts]) for number in range(parts))
    whole = histograms(frame)
    assert {route: set(kinds) for route, kinds in added.items()} == {
        route: set(kinds) for route, kinds in whole.items()
    }
    for route, kinds in whole.items():
        for kind, encoded in kinds.items():
            one, other = HdrHistogram.decode(encoded), HdrHistogram.decode(added[route][kind])
            assert list(one.counts) == list(other.counts)
            assert one.get_total_count() == other.get_total_count()


def test_several_processes_send_each_request_once_and_report_as_one() -> None:
    with adversary(delay_ms=2) as deployment:
        result = play(deployment, steady(200, gap_ms=5), processes=3, hdr=True)
        lines = seen(deployment)["requests"]
    assert lines == 200
    assert result.frame["request"].tolist() == list(range(200))
    assert list(result.frame["arrival_ms"]) == list(steady(200, gap_ms=5).arrival_ms)
    assert shares(result) == {"ok": 200}
    assert result.generator["processes"] == 3
    assert result.generator["sent_requests"] == 200
    by_part = merged(histograms(result.frame.iloc[number::3]) for number in range(3))
    for route, kinds in result.generator["hdr"].items():
        for kind, encoded in kinds.items():
            other = HdrHistogram.decode(by_part[route][kind])
            assert list(HdrHistogram.decode(encoded).counts) == list(other.counts)


def test_one_process_that_stops_stops_all_and_what_was_measured_is_kept() -> None:
    with adversary(statuses=(500,)) as deployment:
        result = play(deployment, steady(3000), abort=AbortRule(answers=10), processes=2)
    assert result.interrupted
    assert 10 <= len(result.frame) < 3000
    assert "more than 50% failures" in result.notes[0]


def test_deployment_that_is_not_there_is_one_line() -> None:
    with pytest.raises(RunnerError, match="does not answer"):
        play(Deployment("http://127.0.0.1:9"), steady(20), processes=2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_whatever_ends_the_parent(number: signal.Signals) -> None:
    with adversary() as deployment:
        command = [sys.executable, "-c", CHILD, deployment.http]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as parent:
            wait_for(deployment, 30)
            workers = children_of(parent.pid)
            parent.send_signal(number)
            out, err = parent.communicate(timeout=30)
    assert len(workers) == 2
    assert not still_there(workers)
    if number is signal.SIGINT:
        assert (parent.returncode, err) == (0, "")
        assert out.startswith("True ")
        assert "Ctrl-C" in out


def test_worker_that_is_killed_ends_the_run_with_what_the_others_measured() -> None:
    with adversary() as deployment:
        command = [sys.executable, "-c", CHILD, deployment.http]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as parent:
            wait_for(deployment, 30)
            os.kill(children_of(parent.pid)[0], signal.SIGKILL)
            out, err = parent.communicate(timeout=30)
    assert (parent.returncode, err) == (0, "")
    assert out.startswith("True ")
    assert "a worker process died" in out


def children_of(process: int) -> list[int]:
    """Numbers of the processes that *process* started."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text("ascii")
    return [int(number) for number in children.split()]


def still_there(processes: list[int]) -> list[int]:
    """Those of *processes* that are still there after a while."""
    for _ in range(200):
        left = [process for process in processes if Path(f"/proc/{process}").exists()]
        if not left:
            break
        time.sleep(0.05)
    return left
