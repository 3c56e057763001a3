"""The real runtime against a model that was calibrated at a quarter of its capacity.

:func:`workerd_calibrated` measures and predicts; ``python -m tests.evidence.fidelity`` records it and writes the
pages. It needs ``make runtime``, and some eight minutes. One Durable Object of the real runtime sums a history and
stores a row for each request, and flushes all of them in one transaction every four seconds (hazard H70). Driver and
runtime have a core each. Everything that the model knows is from runs at 25 % of the capacity that those runs say;
nothing is fitted to the loads that are predicted.

What the model is made of: turns that requests share, told from delay in the latencies; pauses for garbage, which come
with requests; how a latency falls with the load of the last milliseconds, extrapolated; the flush, by its time for a
row.
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
from sim.experiments.calibration.drawing import drawn_number
from sim.experiments.calibration.laws import Interval, empirical
from sim.experiments.calibration.shared_turns import SharedTurns, tell_turns_apart
from sim.runners import live, workerd
from sim.runners.load.abort import AbortRule
from sim.runners.load.options import LoadOptions
from sim.runners.load.priority import go_ahead
from tests.evidence.fidelity_scores import LOADS, QQ_RECORDED, SATURATING_CONNECTIONS, STATISTICS, Score, Scores

Array = NDArray[np.float64]

SCENARIO = Path(__file__).with_name("workerd_ledger.toml")
WORKER = "test/flushing.ts"
FLUSH_S = 4.0
PILOT_PER_S, PILOT_S = 300.0, 10.0
CALIBRATION_RUNS = 3
WARM_UP_MS = 1_000.0
NEVER = AbortRule(failed_fraction=1.0)
BEFORE_MS, AFTER_MS = 5.0, 10.0
"""The latest answer to what was sent so near to when the object says that it flushes shows the flush."""


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
    """What the calibration runs tell of the runtime.

    Attributes
    ----------
    turns : SharedTurns
    flush_row_us : ndarray
        A value for each flush.
    """

    turns: SharedTurns
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


def measure(
    scenario: Scenario, url: str, *, route: str, rate_per_s: float, duration_s: float, seed: int, connections: int = 0
) -> Measured:
    """Play Poisson arrivals of one route on the runtime."""
    asked = scenario.with_(**{"workload.arrivals.rate_per_s": rate_per_s, "workload.duration_s": duration_s})
    asked = asked.with_shares(**{route: 1.0})
    before_s = _runtime_cpu_s()
    planned = schedule(asked, seed=seed)
    time.sleep(FLUSH_S + 0.5)  # The rows of the run before are flushed: the first row of this one sets the alarm.
    _flushes(url)
    options = LoadOptions(abort=NEVER, connections=connections)
    with first_in_line():
        result = live.play(asked, planned, seed=seed, url=url, on="workerd", options=options)
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


def calibrated(runs: Sequence[Measured], *, seed: int) -> Model:
    """Tell turns, delay, pauses and flush apart in runs at low load."""
    timers = [np.array([at_ms for at_ms, _ in one.flushes], dtype=np.float64) for one in runs]
    pairs = [(one.sent_ms, one.latency_ms) for one in runs]
    found = tell_turns_apart(pairs, rng=seed, timers=timers, what="calibration")
    longest_ms = float(np.median(found.pauses.length_ms)) / 2 if len(found.pauses.length_ms) else np.inf
    return Model(found, np.array([us for one in runs for us in _flush_row_us(one, longest_ms=longest_ms)]))


def _flush_row_us(run: Measured, *, longest_ms: float) -> Iterator[float]:
    """Yield the time of a flush for each of its rows: that of the first request that met it, beyond the usual one."""
    since_ms = run.sent_ms - run.sent_ms[0]
    for at_ms, rows in run.flushes:
        near = (since_ms > at_ms - BEFORE_MS) & (since_ms < at_ms + AFTER_MS)
        late_ms = float(run.latency_ms[near].max(initial=0.0) - np.median(run.latency_ms))
        if rows and 0 < late_ms < longest_ms:  # Beyond that a pause came at the same time.
            yield 1000 * late_ms / rows


def drawn(scenario: Scenario, model: Model, rate_per_s: float, rng: np.random.Generator) -> Scenario:
    """Return the scenario of one replication: its numbers are drawn from what the calibration leaves uncertain."""
    turns, flush_us = model.turns, model.flush_row_us
    shift_ms = model.turns.delay_slope_ms.value * (rate_per_s - turns.rate_per_s)
    delay_ms = np.maximum(_quantiles(turns.delay.distribution) + shift_ms, 0.0)
    lone_ms = drawn_number(turns.lone_ms, rng)
    changes: dict[str, Any] = {
        "workload.arrivals.rate_per_s": rate_per_s,
        "system.network.client_rtt_ms": empirical(delay_ms).model_dump(),
        "system.ledger.write_ms": lone_ms,
        "system.durable_objects.coalesced_ms": min(drawn_number(turns.further_ms, rng), lone_ms),
        "system.ledger.flush_row_us": float(rng.choice(flush_us)) if len(flush_us) else 1.0,
    }
    if turns.pauses.every_requests is not None:
        every = max(1, round(drawn_number(turns.pauses.every_requests, rng)))
        lengths_ms = rng.choice(turns.pauses.length_ms, max(len(turns.pauses.length_ms), 2))
        changes |= {
            "system.durable_objects.collection_every_requests": every,
            "system.durable_objects.collection_ms": empirical(np.maximum(lengths_ms, 0.0)).model_dump(),
        }
    return scenario.with_(**changes)


def _quantiles(law: Any) -> Array:
    return np.asarray(law.quantile((np.arange(2_000) + 0.5) / 2_000))


def capacity(model: Model, rng: np.random.Generator) -> Interval:
    """Return the predicted throughput at saturation: turns are long, and share the object with flush and pauses."""
    turns = model.turns
    flush_ms = float(np.median(model.flush_row_us)) / 1000 if len(model.flush_row_us) else 0.001
    every = turns.pauses.every_requests
    pause_ms = float(turns.pauses.length_ms.mean()) if every is not None else 0.0

    def per_s(further_ms: float, requests: float) -> float:
        return 1000 / (further_ms + flush_ms + pause_ms / requests)

    draws = [
        per_s(drawn_number(turns.further_ms, rng), 1.0 if every is None else drawn_number(every, rng))
        for _ in range(2_000)
    ]
    low, high = np.quantile(draws, [0.05, 0.95])
    return Interval(per_s(turns.further_ms.value, 1.0 if every is None else every.value), float(low), float(high))


def predicted(
    scenario: Scenario, model: Model, rate_per_s: float, *, duration_s: float, replications: int, seed: int
) -> pd.DataFrame:
    """Return the statistics of simulated runs, one row a replication, with the quantiles of the Q-Q plot."""
    rows = []
    rng = np.random.default_rng(seed)
    for replication in range(replications):
        asked = drawn(scenario, model, rate_per_s, rng)
        every = asked.system.durable_objects.collection_every_requests or 0
        # Garbage has gathered before a run: it begins anywhere between two collections.
        ahead_s = float(rng.uniform(0, every / rate_per_s))
        found = run(asked.with_(**{"workload.duration_s": duration_s + ahead_s}), rng=seed + replication)
        frame = found.frame[found.frame["arrival_ms"] >= 1000 * ahead_s + WARM_UP_MS]
        latency_ms = frame["latency_ms"].to_numpy()
        row = {name: float(np.quantile(latency_ms, q)) for name, q in STATISTICS.items()}
        utilization = found.stations.loc[found.stations["station"] == "durable_objects", "utilization"]
        row["utilization"] = float(utilization.iloc[0])
        rows.append(row | {f"q{q}": float(np.quantile(latency_ms, q)) for q in QQ_RECORDED})
    return pd.DataFrame(rows)


def score(
    scenario: Scenario, model: Model, url: str, *, load: float, rate_per_s: float, duration_s: float,
    repeats: int, replications: int,
) -> Score:  # fmt: skip
    """Predict one load, then measure it."""
    table = predicted(scenario, model, rate_per_s, duration_s=duration_s, replications=replications, seed=11)
    found = Score(load, rate_per_s)
    for name in (*STATISTICS, "utilization"):
        low, middle, high = np.quantile(table[name], [0.05, 0.5, 0.95])
        found.predicted[name] = Interval(float(middle), float(low), float(high))
    connections = SATURATING_CONNECTIONS if load > 1 else 0
    runs = [
        measure(
            scenario, url, route="append", rate_per_s=rate_per_s, duration_s=duration_s, seed=100 + repeat,
            connections=connections,
        )
        for repeat in range(repeats)
    ]  # fmt: skip
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
    *, calibration_s: float = 40.0, duration_s: float = 9.0, repeats: int = 5, replications: int = 20
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
        rate_per_s = LOADS[0] * capacity(calibrated([pilot], seed=1), rng).value
        runs = [
            measure(scenario, url, route="append", rate_per_s=rate_per_s, duration_s=calibration_s, seed=3 + number)
            for number in range(CALIBRATION_RUNS)
        ]
        model = calibrated(runs, seed=1)
        most = capacity(model, rng)
        scores = [
            score(
                scenario, model, url, load=load, rate_per_s=load * most.value, duration_s=duration_s,
                repeats=1 if load == LOADS[0] else repeats, replications=replications if load < 1 else 2,
            )
            for load in LOADS
        ]  # fmt: skip
    turns, pauses = model.turns, model.turns.pauses
    nothing = Interval(float("nan"), float("nan"), float("nan"))
    return Scores(
        floor_ms={name: float(np.quantile(floor, q)) for name, q in STATISTICS.items()},
        capacity_per_s=most,
        lone_ms=turns.lone_ms,
        further_ms=turns.further_ms,
        delay_ms_p50=turns.delay.intervals["p50"].value,
        delay_slope_ms=turns.delay_slope_ms,
        pause_every_requests=pauses.every_requests or nothing,
        pause_ms_p50=float(np.median(pauses.length_ms)) if len(pauses.length_ms) else float("nan"),
        pauses_are_regular=pauses.is_regular,
        flush_row_us=float(np.median(model.flush_row_us)) if len(model.flush_row_us) else float("nan"),
        rate_per_s=rate_per_s,
        saturation_per_s=scores[-1].measured["throughput"],
        scores=scores,
    )
