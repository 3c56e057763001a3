"""Runs of the real runtime on a core of its own, for the evidence of its fidelity: times of sending, and latencies.

One Durable Object sums a history and stores a row for each request, and flushes all of them in one transaction every
four seconds (hazard H70; deploy/test/flushing.ts).
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import urlopen

import numpy as np
from numpy.typing import NDArray

from sim import Scenario, schedule
from sim.runners import live, workerd
from sim.runners.load.abort import AbortRule
from sim.runners.load.options import LoadOptions
from sim.runners.load.priority import go_ahead
from tests.evidence.bursts import bursts

Array = NDArray[np.float64]

SCENARIO = Path(__file__).with_name("workerd_ledger.toml")
WORKER = "test/flushing.ts"
FLUSH_S = 4.0
WARM_UP_MS = 1_000.0
BURST_REQUESTS, BURST_EVERY_MS = 200, 900.0
NEVER = AbortRule(failed_fraction=1.0)


@dataclass(frozen=True)
class Measured:
    """One run of the runtime.

    Attributes
    ----------
    sent_ms, latency_ms : ndarray, shape (n,)
        Of answered requests, from the actual sending.
    throughput_per_s : float
        Answers a second, after the warm-up.
    cpu_ratio : float
        Processor time of the runtime over the time of the run.
    driver_ok : bool
        Whether the load generator passed its own check.
    flushes : list of (float, int)
        When the object flushed, in ms after the first request, and how many rows.
    """

    sent_ms: Array
    latency_ms: Array
    throughput_per_s: float
    cpu_ratio: float
    driver_ok: bool
    flushes: list[tuple[float, int]]

    @property
    def judged(self) -> Array:
        """Latencies after the warm-up."""
        return self.latency_ms[self.sent_ms >= WARM_UP_MS]


@contextmanager
def first_in_line() -> Iterator[None]:
    """Run before every ordinary process, where that is permitted, as does what is started meanwhile.

    It is not kept waiting by others, whose waits would be measured. Only for what leaves most of its core idle: Linux
    takes a real-time process off its core for 50 ms of each second in which it would use all of it
    (``kernel.sched_rt_runtime_us``), which at saturation is 5 % of the throughput, and a stall that nobody asked for.
    """
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        go_ahead()
    try:
        yield
    finally:
        if os.sched_getscheduler(0) != before[0]:
            os.sched_setscheduler(0, *before)


@contextmanager
def preferred() -> Iterator[None]:
    """Run with the best niceness, where that is permitted, as does what is started meanwhile: it may use a core."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


@contextmanager
def pinned() -> Iterator[str]:
    """Start the runtime on one core, keep this process on another, and yield the address.

    The object's storage is in memory where that is possible: the disk of a shared machine is its neighbours' too.
    """
    cores = sorted(os.sched_getaffinity(0))
    memory = Path("/dev/shm")  # Linux; elsewhere the usual folder.
    folder = TemporaryDirectory(prefix="headroom-fidelity-", dir=memory if memory.is_dir() else None)
    deployment = {"flush_interval_s": FLUSH_S, "system": {}, "routes": {}}
    with folder as state, ExitStack() as stack:
        stack.callback(os.sched_setaffinity, 0, cores)
        os.sched_setaffinity(0, {cores[-1]})
        with preferred():
            running = stack.enter_context(workerd.serving(deployment, worker=WORKER, raw=True, state=Path(state)))
        os.sched_setaffinity(0, {cores[0]})
        yield running.deployment.http


def measure(
    scenario: Scenario,
    url: str,
    *,
    route: str,
    rate_per_s: float,
    duration_s: float,
    seed: int,
    connections: int = 0,
    with_bursts: bool = False,
) -> Measured:
    """Play Poisson arrivals of one route on the runtime, or these and bursts."""
    asked = scenario.with_(**{"workload.arrivals.rate_per_s": rate_per_s, "workload.duration_s": duration_s})
    asked = asked.with_shares(**{route: 1.0})
    before_s = _runtime_cpu_s()
    planned = schedule(asked, seed=seed)
    if with_bursts:
        planned = bursts(planned, requests=BURST_REQUESTS, every_ms=BURST_EVERY_MS)
    while _report(url)["has_rows"]:  # Those of the run before: the first row of this one is to set the alarm.
        time.sleep(0.1)
    options = LoadOptions(abort=NEVER, connections=connections)
    with first_in_line():
        result = live.play(asked, planned, seed=seed, url=url, on="workerd", options=options)
    cpu_ratio = (_runtime_cpu_s() - before_s) / result.duration_s
    frame = result.frame[result.frame["outcome"] == "ok"]
    sent_ms = (frame["arrival_ms"] + frame["send_lag_ms"]).to_numpy()
    latency_ms = frame["service_latency_ms"].to_numpy()
    order = np.argsort(sent_ms, kind="stable")
    sent_ms, latency_ms = sent_ms[order], latency_ms[order]
    flushes = [(one["at_ms"], one["rows"]) for one in _report(url)["flushes"]]
    ended_ms = np.sort(sent_ms + latency_ms)
    inside = (ended_ms > WARM_UP_MS) & (ended_ms < duration_s * 1000)
    throughput_per_s = inside.sum() / (duration_s - WARM_UP_MS / 1000)
    return Measured(sent_ms, latency_ms, float(throughput_per_s), cpu_ratio, result.valid, flushes)


def _report(url: str) -> dict[str, Any]:
    """Return the flushes since this was last asked, and whether rows wait for one."""
    with urlopen(f"{url}/flushes", timeout=30) as answer:
        return dict(json.load(answer))


def _runtime_cpu_s() -> float:
    """Processor time of the runtime that this process started."""
    ticks = os.sysconf("SC_CLK_TCK")
    mine, total = {os.getpid()}, 0.0
    processes = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().rpartition(")")
        except OSError:
            continue
        parts = rest.split()
        processes.append((int(stat.parent.name), int(parts[1]), name, int(parts[11]) + int(parts[12])))
    for _ in range(4):  # This process, its sitter, its tether, the runtime.
        mine |= {pid for pid, parent, _, _ in processes if parent in mine}
    for pid, _, name, used in processes:
        if pid in mine and "workerd" in name:
            total += used / ticks
    return total
