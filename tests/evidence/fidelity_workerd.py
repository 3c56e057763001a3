"""The real runtime against a model that was calibrated at a quarter of its capacity.

:func:`workerd_calibrated` measures and predicts; ``python -m tests.evidence.fidelity`` records it and writes the
pages. It needs ``make runtime``, and some seven minutes. One Durable Object of the real runtime stores a row a request
and flushes all of them in one transaction every four seconds (hazard H70). Driver and runtime have a core each.
Everything that the model knows is from runs at 25 % of the capacity that those runs say; nothing is fitted to the loads
that are predicted.

What the model is made of: service time and delay told apart in the latencies; stalls of runtime and machine, which come
by the clock, by their measured frequency and lengths; the flush, by its measured time for a row.
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import urlopen

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sim import Scenario, load_scenario, run, schedule
from sim.experiments.calibration.laws import Interval, empirical
from sim.experiments.calibration.single_server import SingleServer, tell_apart
from sim.runners import live, workerd
from sim.runners.load.abort import AbortRule
from sim.runners.load.options import LoadOptions
from sim.runners.load.priority import go_ahead
from tests.evidence.fidelity_scores import LOADS, QQ_RECORDED, STATISTICS, Score, Scores

Array = NDArray[np.float64]

SCENARIO = Path(__file__).with_name("workerd_ledger.toml")
WORKER = "test/flushing.ts"
FLUSH_S = 4.0
PILOT_PER_S, PILOT_S = 300.0, 6.0
CALIBRATION_RUNS = 3
WARM_UP_MS = 1_000.0
NEVER = AbortRule(failed_fraction=1.0)
BEFORE_MS, AFTER_MS = 10.0, 30.0
"""The longest stall that begins so near to when the object says that it flushes is the flush."""


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


@dataclass(frozen=True)
class Model:
    """What one calibration run tells of the runtime.

    Attributes
    ----------
    server : SingleServer
    stall_ms : ndarray
        Lengths of the stalls that are no flush.
    stalls_per_s : float
    flush_row_us : ndarray
        A value for each flush.
    """

    server: SingleServer
    stall_ms: Array
    stalls_per_s: float
    flush_row_us: Array


@contextmanager
def first_in_line() -> Iterator[None]:
    """Run before every ordinary process, where that is permitted, as does what is started meanwhile.

    It takes no more of a core than the load needs; it is not kept waiting by others, whose waits would be measured.
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
        with first_in_line():
            running = stack.enter_context(workerd.serving(deployment, worker=WORKER, raw=True, state=Path(state)))
        os.sched_setaffinity(0, {cores[0]})
        yield running.deployment.http


def measure(scenario: Scenario, url: str, *, route: str, rate_per_s: float, duration_s: float, seed: int) -> Measured:
    """Play Poisson arrivals of one route on the runtime."""
    asked = scenario.with_(**{"workload.arrivals.rate_per_s": rate_per_s, "workload.duration_s": duration_s})
    asked = asked.with_shares(**{route: 1.0})
    before_s = _runtime_cpu_s()
    planned = schedule(asked, seed=seed)
    time.sleep(FLUSH_S + 0.5)  # The rows of the run before are flushed: the first row of this one sets the alarm.
    _flushes(url)
    with first_in_line():
        result = live.play(asked, planned, seed=seed, url=url, on="workerd", options=LoadOptions(abort=NEVER))
    cpu_ratio = (_runtime_cpu_s() - before_s) / result.duration_s
    frame = result.frame[result.frame["outcome"] == "ok"]
    sent_ms = (frame["arrival_ms"] + frame["send_lag_ms"]).to_numpy()
    latency_ms = frame["service_latency_ms"].to_numpy()
    order = np.argsort(sent_ms, kind="stable")
    sent_ms, latency_ms = sent_ms[order], latency_ms[order]
    flushes = [(one["at_ms"], one["rows"]) for one in _flushes(url)]
    ended_ms = np.sort(sent_ms + latency_ms)
    inside = (ended_ms > WARM_UP_MS) & (ended_ms < duration_s * 1000)
    throughput_per_s = inside.sum() / (duration_s - WARM_UP_MS / 1000)
    return Measured(sent_ms, latency_ms, float(throughput_per_s), cpu_ratio, result.valid, flushes)


def _flushes(url: str) -> list[dict[str, Any]]:
    """Return the flushes since this was last asked."""
    with urlopen(f"{url}/flushes", timeout=30) as answer:
        return list(json.load(answer))


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


def calibrated(measured: Measured, *, seed: int) -> Model:
    """Tell service, delay, stalls and flush apart in one run at low load."""
    server = tell_apart(measured.sent_ms, measured.latency_ms, rng=seed, what="calibration")
    stalls = server.stalls
    flushes, is_flush = [], np.zeros(len(stalls.start_ms), dtype=np.bool_)
    for at_ms, rows in measured.flushes:
        if at_ms > measured.sent_ms[-1]:
            continue  # After the last request.
        begins_ms = stalls.start_ms - float(measured.sent_ms[0])
        near = np.flatnonzero((begins_ms > at_ms - BEFORE_MS) & (begins_ms < at_ms + AFTER_MS))
        if len(near):
            at = int(near[stalls.length_ms[near].argmax()])
            is_flush[at] = True
            flushes.append(1000 * float(stalls.length_ms[at]) / rows)
    others = stalls.length_ms[~is_flush]
    return Model(server, others, len(others) / stalls.duration_s, np.array(flushes))


def drawn(scenario: Scenario, models: Sequence[Model], rate_per_s: float, rng: np.random.Generator) -> Scenario:
    """Return the scenario of one replication: its numbers are drawn from what the calibration leaves uncertain."""
    model = models[int(rng.integers(len(models)))]
    centre, sigma = _service(models)
    mean_ms = float(np.exp(rng.normal(np.log(centre), sigma)))
    service = model.server.service
    ratio = mean_ms / service.expected()
    count = len(model.stall_ms)
    per_s = rng.gamma(count + 0.5) / model.server.stalls.duration_s
    flush_us = np.concatenate([one.flush_row_us for one in models])
    changes: dict[str, Any] = {
        "workload.arrivals.rate_per_s": rate_per_s + per_s,
        "routes.append.share": rate_per_s / (rate_per_s + per_s),
        "routes.stall.share": per_s / (rate_per_s + per_s),
        "system.network.client_rtt_ms": model.server.delay.distribution.model_dump(),
        "system.ledger.write_ms": empirical(_quantiles(service) * ratio).model_dump(),
        "system.ledger.flush_row_us": float(rng.choice(flush_us)) if len(flush_us) else 7.0,
    }
    if count:
        changes["system.durable_objects.write_ms"] = empirical(rng.choice(model.stall_ms, max(count, 2))).model_dump()
    return scenario.with_(**changes)


def _quantiles(law: Any) -> Array:
    return np.asarray(law.quantile((np.arange(2_000) + 0.5) / 2_000))


def _service(models: Sequence[Model]) -> tuple[float, float]:
    """Return the service time of all calibration runs, and the standard deviation of its logarithm."""
    means = np.log([one.server.service_mean_ms.value for one in models])
    own = np.mean([np.log(one.server.service_mean_ms.high / one.server.service_mean_ms.low) / 3.92 for one in models])
    between = float(means.std(ddof=1)) if len(models) > 1 else 0.0
    return float(np.exp(np.median(means))), float(np.hypot(own, between))


def capacity(models: Sequence[Model], rng: np.random.Generator) -> Interval:
    """Return the predicted throughput at saturation: service, flush and stalls share the server."""
    centre, sigma = _service(models)
    flush_us = np.concatenate([one.flush_row_us for one in models])
    flush_ms = float(np.median(flush_us)) / 1000 if len(flush_us) else 0.007
    lost = float(np.median([one.stall_ms.sum() / 1000 / one.server.stalls.duration_s for one in models]))
    mean_ms = np.exp(rng.normal(np.log(centre), sigma, 10_000))
    per_s = 1000 * (1 - min(lost, 0.9)) / (mean_ms + flush_ms)
    low, high = np.quantile(per_s, [0.05, 0.95])
    return Interval(1000 * (1 - min(lost, 0.9)) / (centre + flush_ms), float(low), float(high))


def predicted(
    scenario: Scenario, models: Sequence[Model], rate_per_s: float, *, duration_s: float, replications: int, seed: int
) -> pd.DataFrame:
    """Return the statistics of simulated runs, one row a replication, with the quantiles of the Q-Q plot."""
    rows = []
    rng = np.random.default_rng(seed)
    for replication in range(replications):
        asked = drawn(scenario, models, rate_per_s, rng).with_(**{"workload.duration_s": duration_s})
        frame = run(asked, rng=seed + replication).frame
        frame = frame[(frame["route"] == "append") & (frame["arrival_ms"] >= WARM_UP_MS)]
        latency_ms = frame["latency_ms"].to_numpy()
        row = {name: float(np.quantile(latency_ms, q)) for name, q in STATISTICS.items()}
        held_ms = asked.system.ledger.write_ms.expected() + asked.system.ledger.flush_row_us / 1000
        row["utilization"] = min(1.0, rate_per_s * held_ms / 1000)
        rows.append(row | {f"q{q}": float(np.quantile(latency_ms, q)) for q in QQ_RECORDED})
    return pd.DataFrame(rows)


def score(
    scenario: Scenario, models: Sequence[Model], url: str, *, load: float, rate_per_s: float, duration_s: float,
    repeats: int, replications: int,
) -> Score:  # fmt: skip
    """Predict one load, then measure it."""
    table = predicted(scenario, models, rate_per_s, duration_s=duration_s, replications=replications, seed=11)
    found = Score(load, rate_per_s)
    for name in (*STATISTICS, "utilization"):
        low, middle, high = np.quantile(table[name], [0.05, 0.5, 0.95])
        found.predicted[name] = Interval(float(middle), float(low), float(high))
    runs = [
        measure(scenario, url, route="append", rate_per_s=rate_per_s, duration_s=duration_s, seed=100 + repeat)
        for repeat in range(repeats)
    ]
    found.driver_ok = [one.driver_ok for one in runs]
    for name, q in STATISTICS.items():
        found.measured[name] = [float(np.quantile(one.judged, q)) for one in runs]
    found.measured["utilization"] = [one.cpu_ratio for one in runs]
    found.measured["throughput"] = [one.throughput_per_s for one in runs]
    found.qq_ms = _qq_ms(table, runs)
    return found


def _qq_ms(predictions: pd.DataFrame, runs: Sequence[Measured]) -> dict[str, list[float]]:
    """Return the quantiles of both sides with their ends, in ms."""
    simulated = predictions[[f"q{q}" for q in QQ_RECORDED]].quantile([0.5, 0.05, 0.95]).to_numpy()
    measured = np.quantile([np.quantile(one.judged, QQ_RECORDED) for one in runs], [0.5, 0.0, 1.0], axis=0)
    names = [f"{side}{end}" for side in ("predicted", "measured") for end in ("", "_low", "_high")]
    return dict(zip(names, np.concatenate([simulated, measured]).tolist(), strict=True))


def workerd_calibrated(
    *, calibration_s: float = 17.0, duration_s: float = 9.0, repeats: int = 5, replications: int = 20
) -> Scores:
    """Calibrate at a quarter of capacity, predict higher loads, measure them.

    Parameters
    ----------
    calibration_s, duration_s : float
        Length of a run to calibrate on, and of one to predict.
    repeats : int
        Measured runs of each load; their medians are compared.
    replications : int
        Simulated runs of each load, for the predicted intervals (90 %).
    """
    scenario = load_scenario(SCENARIO)
    rng = np.random.default_rng(1)
    with pinned() as url:
        measure(scenario, url, route="append", rate_per_s=PILOT_PER_S, duration_s=2.0, seed=0)  # Compiles the Worker.
        floor = measure(scenario, url, route="floor", rate_per_s=PILOT_PER_S, duration_s=PILOT_S, seed=1).judged
        pilot = measure(scenario, url, route="append", rate_per_s=PILOT_PER_S, duration_s=PILOT_S, seed=2)
        rate_per_s = 250 / calibrated(pilot, seed=1).server.service_mean_ms.value
        models = [
            calibrated(
                measure(
                    scenario, url, route="append", rate_per_s=rate_per_s, duration_s=calibration_s, seed=3 + number
                ),
                seed=number,
            )
            for number in range(CALIBRATION_RUNS)
        ]
        most = capacity(models, rng)
        scores = [
            score(
                scenario, models, url, load=load, rate_per_s=load * most.value, duration_s=duration_s,
                repeats=1 if load == LOADS[0] else repeats, replications=replications if load < 1 else 2,
            )
            for load in LOADS
        ]  # fmt: skip
    centre, sigma = _service(models)
    stalls = np.concatenate([one.stall_ms for one in models])
    flushes = np.concatenate([one.flush_row_us for one in models])
    return Scores(
        floor_ms={name: float(np.quantile(floor, q)) for name, q in STATISTICS.items()},
        capacity_per_s=most,
        service_mean_ms=Interval(centre, centre * float(np.exp(-1.645 * sigma)), centre * float(np.exp(1.645 * sigma))),
        service_cv2=float(np.median([one.server.service_cv2.value for one in models])),
        delay_ms_p50=float(np.median([one.server.delay.intervals["p50"].value for one in models])),
        stalls_per_s=float(np.median([one.stalls_per_s for one in models])),
        stall_ms_p90=float(np.quantile(stalls, 0.9)) if len(stalls) else 0.0,
        flush_row_us=float(np.median(flushes)) if len(flushes) else float("nan"),
        rate_per_s=rate_per_s,
        saturation_per_s=scores[-1].measured["throughput"],
        scores=scores,
    )
