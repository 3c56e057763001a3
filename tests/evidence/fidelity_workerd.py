"""The real runtime against a model that was calibrated at a quarter of its capacity.

:func:`workerd_calibrated` measures and predicts; ``python -m tests.evidence.fidelity`` records it and writes the
pages. It needs ``make runtime``, and some nine minutes. One Durable Object of the real runtime sums a history and
stores a row for each request, and flushes all of them in one transaction every four seconds (hazard H70). Driver and
runtime have a core each. Everything that the model knows is from runs at a quarter of what the runtime could do at
first, two of them with bursts; nothing is fitted to the loads that are predicted.

What the model is made of: turns that requests share, told from delay in the latencies; whom a turn serves, from the
bursts; pauses for garbage, which come with requests; how a latency falls with the load of the last milliseconds,
extrapolated, any share of it being the turns'; the flush, by its time for a row; and how much one run differs from the
next.

A new runtime is not yet at work: V8's heap grows for some 30,000 requests, after which its long collections come every
so many requests, at every load. At a low load it shrinks again: runs to calibrate on follow runs at high loads.
The speed of a shared machine changes within minutes, so runs are in blocks: calibrate once, play each load once, five
times over. No prediction uses anything but the runs to calibrate on, wherever in a block they were.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sim import Scenario, load_scenario, run
from sim.experiments.calibration.drawing import drawn_number
from sim.experiments.calibration.laws import Interval, empirical
from sim.experiments.calibration.order_of_service import ServiceOrder, find_order
from sim.experiments.calibration.shared_turns import SharedTurns, drawn_speed, tell_turns_apart
from sim.experiments.calibration.turns import ALL_AT_ONCE, Order
from sim.foundation.errors import UsageError
from tests.evidence.fidelity_scores import (
    LOADS,
    QQ_RECORDED,
    SATURATING_CONNECTIONS,
    STATISTICS,
    Score,
    Scores,
    Service,
)
from tests.evidence.runtime_runs import SCENARIO, WARM_UP_MS, Measured, measure, pinned

Array = NDArray[np.float64]

FLOOR_PER_S, FLOOR_S = 300.0, 10.0
START_PER_S, START_S = 3_000.0, 15.0
"""What is played first, more than the runtime can do: V8's heap has grown by then (``--trace-gc`` shows it), and the
loads are shares of what it could do. The model does not see it."""
SATURATED_MAX = 0.9
"""Share of what is offered that a saturated runtime answers at most."""
FIRST_RUNS = 4
"""Runs to calibrate on before the blocks."""
BLOCKS_WITH_BURSTS = (0, 3)

RUN_REQUESTS = 10_000
RUN_S_MIN, RUN_S_MAX = 6.0, 16.0
"""A run holds the same number of requests at every load, since pauses come with requests: some two of them. The P99 of
a run that holds one pause or two, as chance will have it, says little of the load."""
BEFORE_MS, AFTER_MS = 5.0, 10.0
"""The latest answer to what was sent so near to when the object says that it flushes shows the flush."""


@dataclass(frozen=True)
class Model:
    """What the calibration runs tell of the runtime.

    Attributes
    ----------
    turns : SharedTurns
    flush_row_us : ndarray
        A value for each flush.
    service_order : ServiceOrder or None
        None where no burst was played: a turn then serves all that wait.
    """

    turns: SharedTurns
    flush_row_us: Array
    service_order: ServiceOrder | None = None


def calibrated(runs: Sequence[Measured], *, seed: int, with_bursts: Sequence[Measured] = ()) -> Model:
    """Tell turns, delay, pauses and flush apart in runs at low load, and the order of service in those with bursts."""
    timers = [np.array([at_ms for at_ms, _ in one.flushes], dtype=np.float64) for one in runs]
    pairs = [(one.sent_ms, one.latency_ms) for one in runs]
    found = tell_turns_apart(pairs, rng=seed, timers=timers, what="calibration")
    longest_ms = float(np.median(found.pauses.length_ms)) / 2 if len(found.pauses.length_ms) else np.inf
    order = None
    if with_bursts:
        pairs = [(one.sent_ms, one.latency_ms) for one in with_bursts]
        order = find_order(pairs, lone_ms=found.lone_ms.value, further_ms=found.further_ms.value)
        found = replace(found, further_ms=_between(found.further_ms, order.further_ms(np.random.default_rng(seed))))
    rows_us = [us for one in runs for us in _flush_row_us(one, longest_ms=longest_ms)]
    return Model(found, np.array(rows_us), order)


def _between(low_load: Interval, bursts: Interval) -> Interval:
    """Return the time of a further request from two estimates that differ by more than their intervals say.

    That at low load depends on the order of service, which is fitted later; in a burst a request of the real runtime
    takes some 13 % longer, and why is not known.
    """
    value = (low_load.value + bursts.value) / 2
    return Interval(value, min(low_load.low, bursts.low), max(low_load.high, bursts.high))


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
    fall_ms = drawn_number(turns.delay_slope_ms, rng) * (rate_per_s - turns.rate_per_s)
    of_turn = rng.uniform()  # Runs at one load do not tell whether turns or delays become shorter.
    speed = drawn_speed(turns, rng)
    delay_ms = speed * np.maximum(_quantiles(turns.delay.distribution) + (1 - of_turn) * fall_ms, 0.0)
    further_ms = speed * drawn_number(turns.further_ms, rng)
    lone_ms = max(speed * (drawn_number(turns.lone_ms, rng) + of_turn * fall_ms), further_ms)
    changes: dict[str, Any] = {
        "workload.arrivals.rate_per_s": rate_per_s,
        "system.network.client_rtt_ms": empirical(delay_ms).model_dump(),
        "system.ledger.write_ms": lone_ms,
        "system.durable_objects.coalesced_ms": further_ms,
        "system.ledger.flush_row_us": float(rng.choice(flush_us)) if len(flush_us) else 1.0,
    }
    if turns.pauses.every_requests is not None:
        every = max(1, round(drawn_number(turns.pauses.every_requests, rng)))
        lengths_ms = speed * rng.choice(turns.pauses.length_ms, max(len(turns.pauses.length_ms), 2))
        changes |= {
            "system.durable_objects.collection_every_requests": every,
            "system.durable_objects.collection_ms": empirical(np.maximum(lengths_ms, 0.0)).model_dump(),
        }
    if model.service_order is not None:
        changes |= _order(model.service_order.drawn(rng).order, further_ms)
    return scenario.with_(**changes)


def _order(order: Order, further_ms: float) -> dict[str, Any]:
    """Return what a scenario says of an order of service."""
    where = "system.durable_objects."
    most = {} if order.requests_max is None else {f"{where}turn_requests_max": order.requests_max}
    said = {f"{where}turn_order": "newest" if order.newest_first else "oldest"}
    return most | said | {f"{where}intake_ms": order.intake_ratio * further_ms}


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
        / drawn_speed(turns, rng)
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
    misfit_ratio = 0.0 if model.service_order is None else model.service_order.misfit_ratio
    for replication in range(replications):
        asked = drawn(scenario, model, rate_per_s, rng)
        every = asked.system.durable_objects.collection_every_requests or 0
        # Garbage has gathered before a run: it begins anywhere between two collections.
        ahead_s = float(rng.uniform(0, every / rate_per_s))
        found = run(asked.with_(**{"workload.duration_s": duration_s + ahead_s}), rng=seed + replication)
        frame = found.frame[found.frame["arrival_ms"] >= 1000 * ahead_s + WARM_UP_MS]
        latency_ms = frame["latency_ms"].to_numpy() * np.exp(misfit_ratio * rng.standard_normal())
        row = {name: float(np.quantile(latency_ms, q)) for name, q in STATISTICS.items()}
        utilization = found.stations.loc[found.stations["station"] == "durable_objects", "utilization"]
        row["utilization"] = float(utilization.iloc[0])
        rows.append(row | {f"q{q}": float(np.quantile(latency_ms, q)) for q in QQ_RECORDED})
    return pd.DataFrame(rows)


def score(
    scenario: Scenario, model: Model, runs: Sequence[Measured], *, load: float, rate_per_s: float, replications: int
) -> Score:
    """Predict one load, and hold the runs that were measured at it beside the prediction."""
    run_s = run_length_s(rate_per_s)
    table = predicted(scenario, model, rate_per_s, duration_s=run_s, replications=replications, seed=11)
    found = Score(load, rate_per_s)
    for name in (*STATISTICS, "utilization"):
        low, middle, high = np.quantile(table[name], [0.05, 0.5, 0.95])
        found.predicted[name] = Interval(float(middle), float(low), float(high))
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


def _service(model: Model) -> Service | None:
    """Return the order of service for the record."""
    found = model.service_order
    if found is None:
        return None
    best = found.best.order
    intake_ms = best.intake_ratio * model.turns.further_ms.value
    misfits_ms = found.misfit_of(best), found.misfit_of(ALL_AT_ONCE)
    return Service(best.newest_first, best.requests_max, intake_ms, *misfits_ms)


def run_length_s(rate_per_s: float) -> float:
    """Return the length of a run at one load, in seconds."""
    return float(np.clip(RUN_REQUESTS / rate_per_s, RUN_S_MIN, RUN_S_MAX))


@dataclass
class Session:
    """What was measured, in the order of blocks: each block calibrates once and plays every load once.

    Attributes
    ----------
    floor_ms : ndarray
        Latencies of a route that does nothing.
    low, with_bursts : list of Measured
        What is calibrated on.
    rates_per_s : dict of float to float
        Offered, by load; the least is calibrated at.
    held_out : dict of float to list of Measured
        By load, a run of each block; of the lowest one run.
    """

    floor_ms: Array
    low: list[Measured]
    with_bursts: list[Measured]
    rates_per_s: dict[float, float]
    held_out: dict[float, list[Measured]] = field(default_factory=lambda: {load: [] for load in LOADS})


def measured(scenario: Scenario, *, blocks: int, calibration_s: float) -> Session:
    """Measure in blocks: what changes on the machine meanwhile meets the runs to calibrate on and the others alike."""
    with pinned() as url:
        append = partial(measure, scenario, url, route="append")
        append(rate_per_s=FLOOR_PER_S, duration_s=2.0, seed=0)  # Compiles the Worker.
        floor = measure(scenario, url, route="floor", rate_per_s=FLOOR_PER_S, duration_s=FLOOR_S, seed=1).judged
        start = append(rate_per_s=START_PER_S, duration_s=START_S, seed=0, connections=SATURATING_CONNECTIONS)
        if start.throughput_per_s > SATURATED_MAX * START_PER_S:
            answered = f"{start.throughput_per_s:.0f} of {START_PER_S:.0f} requests/s were answered"
            raise UsageError(f"START_PER_S: {answered}, must be more than the runtime can do (offer more)")
        rates_per_s = {load: load * start.throughput_per_s for load in LOADS}
        low = partial(append, rate_per_s=rates_per_s[LOADS[0]], duration_s=calibration_s)
        found = Session(floor, [low(seed=3 + number) for number in range(FIRST_RUNS)], [], rates_per_s)
        for block in range(blocks):
            found.low.append(low(seed=50 + block))
            if block in BLOCKS_WITH_BURSTS:
                found.with_bursts.append(low(seed=70 + block, with_bursts=True))
            for load, rate_per_s in found.rates_per_s.items():
                if load > LOADS[0] or block == blocks // 2:
                    connections = SATURATING_CONNECTIONS if load > 1 else 0
                    run_s = run_length_s(rate_per_s)
                    found.held_out[load].append(
                        append(rate_per_s=rate_per_s, duration_s=run_s, seed=100 + block, connections=connections)
                    )
    return found


def workerd_calibrated(*, calibration_s: float = 15.0, blocks: int = 5, replications: int = 60) -> Scores:
    """Measure a quarter of capacity and higher loads, calibrate on the former, predict the latter.

    Parameters
    ----------
    calibration_s : float
        Length of a run to calibrate on.
    blocks : int
        Measured runs of each load; their medians are compared.
    replications : int
        Simulated runs of each load, for the predicted intervals (90 %).
    """
    scenario = load_scenario(SCENARIO)
    session = measured(scenario, blocks=blocks, calibration_s=calibration_s)
    model = calibrated(session.low, seed=1, with_bursts=session.with_bursts)
    most = capacity(model, np.random.default_rng(1))
    scores = [
        score(
            scenario, model, session.held_out[load], load=load, rate_per_s=rate_per_s,
            replications=replications if load < 1 else 2,
        )
        for load, rate_per_s in session.rates_per_s.items()
    ]  # fmt: skip
    turns, pauses = model.turns, model.turns.pauses
    nothing = Interval(float("nan"), float("nan"), float("nan"))
    return Scores(
        floor_ms={name: float(np.quantile(session.floor_ms, q)) for name, q in STATISTICS.items()},
        capacity_per_s=most,
        lone_ms=turns.lone_ms,
        further_ms=turns.further_ms,
        delay_ms_p50=turns.delay.intervals["p50"].value,
        delay_slope_ms=turns.delay_slope_ms,
        pause_every_requests=pauses.every_requests or nothing,
        pause_ms_p50=float(np.median(pauses.length_ms)) if len(pauses.length_ms) else float("nan"),
        pauses_are_regular=pauses.is_regular,
        flush_row_us=float(np.median(model.flush_row_us)) if len(model.flush_row_us) else float("nan"),
        rate_per_s=session.rates_per_s[LOADS[0]],
        saturation_per_s=scores[-1].measured["throughput"],
        scores=scores,
        service=_service(model),
    )
