"""The server that takes no time, and the driver's floor against it.

Goal: every request is answered once, however its bytes arrive, and nothing is left behind. Method: any cut of any
requests into pieces; a stall that is known; a parent that is killed.
"""

import asyncio
import itertools
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import load_scenario
from sim.runners.load.floor import floor_of
from sim.runners.load.trivial_server import ANSWER, Behaviour, Connection, trivial_server
from tests.project.tidy import ROOT
from tests.sim.runners.load.test_split import children_of, still_there
from tests.support import schedules

CHILD = """
import time
from sim.runners.load.trivial_server import trivial_server
with trivial_server() as url:
    print(url, flush=True)
    time.sleep(600)
"""


class Kept(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.text = b""

    def write(self, data: object) -> None:
        assert isinstance(data, bytes)
        self.text += data

    def is_closing(self) -> bool:
        return False


@given(bodies=st.lists(st.binary(max_size=40), min_size=1, max_size=8), cuts=st.lists(st.integers(0, 800), max_size=12))
def test_each_request_is_answered_once_however_it_is_cut(bodies: list[bytes], cuts: list[int]) -> None:
    requests = [b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body) for body in bodies]
    text = b"".join(requests) + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    transport, connection = Kept(), Connection(Behaviour())
    connection.connection_made(transport)
    for start, end in itertools.pairwise(edges):
        connection.data_received(text[start:end])
    assert transport.text == ANSWER * (len(bodies) + 1)


def test_stall_is_in_the_latency_of_every_request_that_it_delays() -> None:
    planned = schedules.at(np.arange(300) * 10.0)
    scenario = load_scenario("feed")
    with trivial_server(stall_at_request=150, stall_s=0.5) as url:
        stalled = floor_of(scenario, planned, url=url)
    assert stalled.latency_ms_p99 > 250
    assert stalled.latency_ms_p50 < 250


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_server_is_left_whatever_ends_the_parent(number: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", CHILD]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline().startswith("http://127.0.0.1:")
        servers = children_of(parent.pid)
        parent.send_signal(number)
        parent.wait(30)
    assert len(servers) == 1
    assert not still_there(servers)
