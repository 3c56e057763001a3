"""The real runtime against a model that was calibrated at a quarter of its capacity.

``HEADROOM_RUNTIME=1 python -m tests.evidence.fidelity_workerd`` prints its half of ``docs/FIDELITY.md``; ``workerd_calibrated``
is the same as one call. One Durable Object of the real runtime stores a row a request and flushes all of them in one
transaction every five seconds (hazard H70). Driver and runtime have a core each. Everything that the model knows is from
runs at 25 % of the capacity that those runs say; nothing is fitted to the loads that are predicted.

What the model is made of: service time and delay told apart in the latencies; stalls of runtime and machine, which come
by the clock, by their measured frequency and lengths; the flush, by its measured time for a row.
"""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sim import Scenario, load_scenario, run, schedule
from sim.experiments.calibration.laws import Interval, empirical
from sim.experiments.calibration.single_server import SingleServer, tell_apart
from sim.runners import live, workerd
from sim.runners.load.guard import AbortRule
from sim.runners.load.priority import go_ahead

Array = NDArray[np.float64]

SCENARIO = Path(__file__).with_name("workerd_ledger.toml")
WORKER = "test/flushing.ts"
FLUSH_S = 5.0
LOADS = (0.25, 0.5, 0.75, 0.9, 1.25)
"""Of the predicted capacity; the first is calibrated on, the last is beyond saturation."""
STATISTICS = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
PILOT_PER_S, PILOT_S = 300.0, 6.0
CALIBRATION_RUNS = 3
WARM_UP_MS = 1_000.0
NEVER = AbortRule(failed_fraction=1.0)
QQ = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
NEAR_MS = 400.0
"""A stall that begins this long after a flush was due is the flush: the alarm is late when the object is busy."""


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
    """

    sent_ms: Array
    latency_ms: Array
    throughput_per_s: float
    cpu_ratio: float
    driver_ok: bool

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


@dataclass
class Score:
    """Predicted and measured, at one load."""

    load: float
    rate_per_s: float
    predicted: dict[str, Interval] = field(default_factory=dict)
    measured: dict[str, list[float]] = field(default_factory=dict)
    qq_predicted_ms: list[float] = field(default_factory=list)
    qq_measured_ms: list[float] = field(default_factory=list)
    late_runs: int = 0

    def error(self, name: str) -> float:
        """Predicted over the median of what was measured, less 1."""
        return self.predicted[name].value / float(np.median(self.measured[name])) - 1

    def covered(self, name: str) -> list[bool]:
        """Whether each measured value lies in the predicted interval."""
        interval = self.predicted[name]
        return [interval.low <= value <= interval.high for value in self.measured[name]]


@dataclass
class Scores:
    """All loads, with what the model was made of."""

    floor_ms: dict[str, float]
    capacity_per_s: Interval
    service_mean_ms: Interval
    service_cv2: float
    delay_ms_p50: float
    stalls_per_s: float
    stall_ms_p90: float
    flush_row_us: float
    rate_per_s: float
    saturation_per_s: list[float]
    scores: list[Score]

    def coverage(self) -> tuple[int, int]:
        """Predicted intervals of held-out loads that hold a measured value, and all of them."""
        held_out = [score for score in self.scores if 0.25 < score.load < 1]
        flags = [flag for score in held_out for name in STATISTICS for flag in score.covered(name)]
        return sum(flags), len(flags)


@contextmanager
def pinned() -> Iterator[str]:
    """Start the runtime on one core, keep this process on another, and yield the address."""
    cores = sorted(os.sched_getaffinity(0))
    go_ahead()
    deployment = {"flush_interval_s": FLUSH_S, "system": {}, "routes": {}}
    try:
        os.sched_setaffinity(0, {cores[-1]})
        with workerd.serving(deployment, worker=WORKER, raw=True) as running:
            os.sched_setaffinity(0, {cores[0]})
            yield running.deployment.http
    finally:
        os.sched_setaffinity(0, cores)


def measure(scenario: Scenario, url: str, *, route: str, rate_per_s: float, duration_s: float, seed: int) -> Measured:
    """Play Poisson arrivals of one route on the runtime."""
    asked = scenario.with_(**{"workload.arrivals.rate_per_s": rate_per_s, "workload.duration_s": duration_s})
    asked = asked.with_shares(**{route: 1.0})
    before_s = _runtime_cpu_s()
    result = live.play(asked, schedule(asked, seed=seed), seed=seed, url=url, on="workerd", abort=NEVER)
    cpu_ratio = (_runtime_cpu_s() - before_s) / result.duration_s
    frame = result.frame[result.frame["outcome"] == "ok"]
    sent_ms = (frame["arrival_ms"] + frame["send_lag_ms"]).to_numpy()
    latency_ms = frame["service_latency_ms"].to_numpy()
    order = np.argsort(sent_ms, kind="stable")
    sent_ms, latency_ms = sent_ms[order], latency_ms[order]
    ended_ms = np.sort(sent_ms + latency_ms)
    inside = (ended_ms > WARM_UP_MS) & (ended_ms < duration_s * 1000)
    throughput_per_s = inside.sum() / (duration_s - WARM_UP_MS / 1000)
    return Measured(sent_ms, latency_ms, float(throughput_per_s), cpu_ratio, result.valid)


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
    # The first row sets the alarm, and after each flush the next row sets it again.
    due_ms, flushes = float(measured.sent_ms[0]) + FLUSH_S * 1000, []
    is_flush = np.zeros(len(stalls.start_ms), dtype=np.bool_)
    earlier_ms = float(measured.sent_ms[0])
    while due_ms < measured.sent_ms[-1]:
        rows = int(((measured.sent_ms >= earlier_ms) & (measured.sent_ms < due_ms)).sum())
        near = (stalls.start_ms > due_ms - 50) & (stalls.start_ms < due_ms + NEAR_MS) & ~is_flush
        expected_ms = 0.007 * rows
        if near.any():
            # The flush is the near stall whose length is most like that of so many rows; the rest is the machine's.
            at = int(np.flatnonzero(near)[np.abs(np.log(stalls.length_ms[near] / expected_ms)).argmin()])
            is_flush[at] = True
            flushes.append(1000 * float(stalls.length_ms[at]) / rows)
        earlier_ms, due_ms = due_ms, due_ms + FLUSH_S * 1000
    others = stalls.length_ms[~is_flush]
    return Model(server, others, len(others) / stalls.duration_s, np.array(flushes))


def drawn(scenario: Scenario, models: Sequence[Model], rate_per_s: float, rng: np.random.Generator) -> Scenario:
    """Return the scenario of one replication: its numbers are drawn from what the calibration leaves uncertain."""
    model = models[rng.integers(len(models))]
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
        rows.append(row | {f"q{q}": float(np.quantile(latency_ms, q)) for q in QQ})
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
    found.qq_predicted_ms = [float(table[f"q{q}"].median()) for q in QQ]
    runs = [
        measure(scenario, url, route="append", rate_per_s=rate_per_s, duration_s=duration_s, seed=100 + repeat)
        for repeat in range(repeats)
    ]
    found.late_runs = sum(not one.driver_ok for one in runs)
    for name, q in STATISTICS.items():
        found.measured[name] = [float(np.quantile(one.judged, q)) for one in runs]
    found.measured["utilization"] = [one.cpu_ratio for one in runs]
    found.measured["throughput"] = [one.throughput_per_s for one in runs]
    found.qq_measured_ms = [float(np.median([np.quantile(one.judged, q) for one in runs])) for q in QQ]
    return found


def workerd_calibrated(
    *, calibration_s: float = 20.0, duration_s: float = 11.0, repeats: int = 5, replications: int = 40
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
                repeats=repeats, replications=replications if load < 1 else 2,
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


def text(found: Scores) -> str:
    """Return the half of ``docs/FIDELITY.md`` that is about the real runtime."""
    service, most = found.service_mean_ms, found.capacity_per_s
    saturation = float(np.median(found.saturation_per_s))
    covered, all_intervals = found.coverage()
    lines = [
        "## The real runtime, calibrated at a quarter of its capacity",
        "",
        f"Calibrated at {found.rate_per_s:.0f} requests/s: service {service.value:.3f} ms "
        f"[{service.low:.3f}, {service.high:.3f}] with a squared coefficient of variation of {found.service_cv2:.2f}; delay P50 "
        f"{found.delay_ms_p50:.2f} ms, of which the driver's own floor is {found.floor_ms['p50']:.2f} (P99 "
        f"{found.floor_ms['p99']:.1f}); {found.stalls_per_s:.1f} stalls a second of up to {found.stall_ms_p90:.0f} ms (P90); "
        f"flush {found.flush_row_us:.1f} us a row.",
        "",
        f"Throughput at saturation: predicted {most.value:,.0f}/s [{most.low:,.0f}, {most.high:,.0f}], measured "
        f"{saturation:,.0f}/s: {most.value / saturation - 1:+.0%}.",
        "",
        "| load | requests/s | statistic | predicted [90 %] | measured: median (least to most) | error | runs within |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for one in found.scores:
        if one.load > 1:
            continue
        for name in (*STATISTICS, "utilization"):
            number, seen = one.predicted[name], one.measured[name]
            unit = "" if name == "utilization" else " ms"
            held = one.covered(name)
            lines.append(
                f"| {one.load:.0%} | {one.rate_per_s:,.0f} | {name.replace('p', 'P') if unit else name} | {number.value:.3g} "
                f"[{number.low:.3g}, {number.high:.3g}]{unit} | {np.median(seen):.3g} ({min(seen):.3g} to {max(seen):.3g})"
                f"{unit} | {one.error(name):+.0%} | {sum(held)} of {len(held)} |"
            )
    lines += ["", f"Predicted 90 % intervals of held-out loads hold {covered} of {all_intervals} measured values.", ""]
    lines += ["| Q-Q, ms | " + " | ".join(f"P{100 * q:g}" for q in QQ) + " |", "| --- |" + " ---: |" * len(QQ)]
    for one in found.scores:
        if one.load < 1:
            for side, values in (("predicted", one.qq_predicted_ms), ("measured", one.qq_measured_ms)):
                lines.append(f"| {one.load:.0%} {side} | " + " | ".join(f"{value:.3g}" for value in values) + " |")
    late = sum(one.late_runs for one in found.scores if one.load < 1)
    lines += ["", f"Runs in which the driver did not pass its own check: {late}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and print the text; keep the numbers as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="One run of each load, short.")
    asked = parser.parse_args()
    found = workerd_calibrated(calibration_s=10, repeats=1, replications=8) if asked.quick else workerd_calibrated()
    if asked.json is not None:
        asked.json.write_text(json.dumps(asdict(found), indent=1))
    print(text(found))


if __name__ == "__main__":
    main()
