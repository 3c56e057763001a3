"""Load runs that end before their time: by rule, by bound, by hand, by the death of the other side.

Goal: whatever was measured is kept, marked *interrupted*, and nothing hangs. Method: each way to stop is taken
once, the ones by hand on a real process that gets a real signal.
"""

import signal
import subprocess
import sys
import time

import pytest

from sim.runners.load.abort import AbortRule
from sim.runners.load.address import Deployment
from sim.runners.load.guard import Caps
from tests.sim.runners.test_live import one_user, play, seen, shares, steady
from tests.support.adversary import adversary

CHILD = """
import sys
from sim.runners.load.address import Deployment
from tests.sim.runners.test_live import play, shares, steady
result = play(Deployment(sys.argv[1]), steady(3000))
print(result.interrupted, len(result.frame), shares(result), result.notes[0], flush=True)
"""


def test_too_many_failures_stop_the_run() -> None:
    rule = AbortRule(failed_fraction=0.5, window_s=5.0, answers=30)
    with adversary(statuses=(500,)) as deployment:
        result = play(deployment, steady(1000), abort=rule)
    assert result.interrupted
    assert 30 <= len(result.frame) < 1000
    assert "more than 50% failures" in result.notes[0]
    assert result.frame["request"].tolist() == list(range(len(result.frame)))


def test_the_longest_duration_stops_a_run_that_takes_longer_than_planned() -> None:
    with adversary(delay_ms=20) as deployment:
        result = play(deployment, one_user(1000), caps=Caps(duration_s=0.5))
    assert result.interrupted
    assert 0 < len(result.frame) < 1000
    assert "longer than 0.5 s" in result.notes[0]


def test_requests_still_waiting_after_the_stop_are_written_down_as_aborted() -> None:
    with adversary(hang_every=1) as deployment:
        result = play(
            deployment, one_user(10, think_ms=0.0), caps=Caps(duration_s=0.3), client={"timeout_ms": 60_000.0}
        )
    assert shares(result) == {"aborted": 1}
    assert result.generator["aborted_requests"] == 1
    assert (result.frame["latency_ms"] > 300).all()


def test_a_server_that_dies_leaves_what_was_measured() -> None:
    with adversary(die_at_request=50) as deployment:
        result = play(deployment, steady(200), abort=AbortRule(answers=20))
    assert result.interrupted
    assert shares(result)["ok"] >= 40
    assert shares(result)["error"] >= 1


def test_nothing_is_sent_after_the_stop() -> None:
    with adversary(statuses=(500,)) as deployment:
        result = play(deployment, steady(1000), abort=AbortRule(answers=10))
        arrived = seen(deployment)["requests"]
        time.sleep(0.2)
        assert seen(deployment)["requests"] == arrived == len(result.frame)


@pytest.mark.parametrize("hang_every", [0, 3])
def test_ctrl_c_keeps_what_was_measured(hang_every: int) -> None:
    with adversary(hang_every=hang_every) as deployment:
        command = [sys.executable, "-c", CHILD, deployment.http]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
            wait_for(deployment, 30)
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=30)
    assert (child.returncode, err) == (0, "")
    assert out.startswith("True ")
    assert "stopped early (Ctrl-C)" in out
    assert ("'aborted'" in out) == (hang_every > 0)


def test_a_second_ctrl_c_gives_the_run_up() -> None:
    with adversary(hang_every=1) as deployment:
        command = [sys.executable, "-c", CHILD, deployment.http]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
            wait_for(deployment, 30)
            child.send_signal(signal.SIGINT)
            time.sleep(0.3)
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=30)
    assert child.returncode == -signal.SIGINT
    assert out == ""
    assert "KeyboardInterrupt" in err


def wait_for(deployment: Deployment, requests: int) -> None:
    """Until the adversary has seen some load."""
    for _ in range(600):
        if seen(deployment)["requests"] >= requests:
            return
        time.sleep(0.05)
    raise AssertionError("no load arrived")
