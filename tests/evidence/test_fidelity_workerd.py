"""Goal: what the evidence of the real runtime says of a runtime whose numbers are known is true.

Method: in place of the runtime a model with known service, flush and stalls is measured; no Node is needed.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from sim import Scenario, load_scenario, play, schedule
from sim.experiments.calibration.laws import Interval
from sim.foundation.errors import UsageError
from tests.evidence import fidelity_workerd
from tests.evidence.bursts import bursts
from tests.evidence.fidelity_scores import QQ_RECORDED, Score, Scores
from tests.evidence.fidelity_workerd import Model, calibrated, capacity, predicted
from tests.evidence.fidelity_workerd_text import cheaper, goals, text
from tests.evidence.runtime_runs import BURST_EVERY_MS, BURST_REQUESTS, FLUSH_S, SCENARIO, Measured

LONE_MS, FURTHER_MS, ROW_US, PAUSE_MS, EVERY, MOST = 0.5, 0.35, 8.0, 60.0, 4_000, 48


@cache
def measured(rate_per_s: float, seed: int, duration_s: float = 40.0, *, with_bursts: bool = False) -> Measured:
    """What a runtime with these numbers would show."""
    truth = load_scenario(SCENARIO).with_(
        **{
            "workload.arrivals.rate_per_s": rate_per_s,
            "workload.duration_s": duration_s,
            "system.network.client_rtt_ms": {"distribution": "lognormal", "median": 0.3, "p99": 0.6},
            "system.ledger.write_ms": LONE_MS,
            "system.durable_objects.coalesced_ms": FURTHER_MS,
            "system.durable_objects.collection_every_requests": EVERY,
            "system.durable_objects.collection_ms": PAUSE_MS,
            "system.durable_objects.turn_requests_max": MOST,
            "system.durable_objects.turn_order": "newest",
            "system.durable_objects.intake_ms": 0.5 * FURTHER_MS,
            "system.ledger.flush_row_us": ROW_US,
        }
    )
    planned = schedule(truth, seed)
    if with_bursts:
        planned = bursts(planned, requests=BURST_REQUESTS, every_ms=BURST_EVERY_MS)
    frame = play(truth, planned, on="compiled", seed=seed).frame
    sent_ms, latency_ms = frame["arrival_ms"].to_numpy(), frame["latency_ms"].to_numpy()
    return Measured(sent_ms, latency_ms, rate_per_s, 0.0, True, list(flushes(sent_ms - sent_ms[0], latency_ms)))


def flushes(sent_ms: NDArray[np.float64], latency_ms: NDArray[np.float64]) -> Iterator[tuple[float, int]]:
    """When the object would say that it flushed, and how many rows: where answers are late, but by no pause."""
    usual_ms, before_ms = float(np.median(latency_ms)), 0.0
    late = latency_ms > usual_ms + 0.5 * ROW_US * sent_ms.size / sent_ms[-1] * FLUSH_S
    for first in np.flatnonzero(late & ~np.roll(late, 1)):
        at_ms = float(sent_ms[first])
        if latency_ms[first : first + 20].max() < PAUSE_MS - 5 and at_ms - before_ms > 500 * FLUSH_S:
            yield at_ms, int(((sent_ms > before_ms) & (sent_ms <= at_ms)).sum())
            before_ms = at_ms


@cache
def model() -> Model:
    with_bursts = [measured(600.0, seed, 12.0, with_bursts=True) for seed in (4, 5)]
    return calibrated([measured(600.0, seed) for seed in (1, 2, 3)], seed=1, with_bursts=with_bursts)


def test_the_order_of_service_of_a_known_runtime_is_found() -> None:
    found = model().service_order
    assert found is not None
    assert found.best.order.newest_first
    assert found.best.order.requests_max == MOST
    assert found.best.order.intake_ratio == pytest.approx(0.5, abs=0.1)


def test_turns_pauses_and_flush_of_a_known_runtime_are_found() -> None:
    turns = model().turns
    assert turns.lone_ms.value == pytest.approx(LONE_MS, rel=0.1)
    assert turns.further_ms.value == pytest.approx(FURTHER_MS, rel=0.1)
    assert np.median(turns.pauses.length_ms) == pytest.approx(PAUSE_MS, rel=0.1)
    assert turns.pauses.is_regular
    assert turns.pauses.every_requests is not None
    assert turns.pauses.every_requests.value == pytest.approx(EVERY, rel=0.02)
    assert np.median(model().flush_row_us) == pytest.approx(ROW_US, rel=0.35)


def test_capacity_of_a_known_runtime_is_predicted() -> None:
    true = 1000 / (FURTHER_MS + ROW_US / 1000 + PAUSE_MS / EVERY)
    found = capacity(model(), np.random.default_rng(1))
    assert found.value == pytest.approx(true, rel=0.1)
    assert found.low < found.value < found.high


def test_a_load_that_was_held_out_is_predicted_where_the_world_is_of_the_models_form() -> None:
    truth = measured(1_900.0, 9).judged
    table = predicted(load_scenario(SCENARIO), model(), 1_900.0, duration_s=40.0, replications=8, seed=5)
    for name, share, tolerance in (("p50", 0.5, 0.1), ("p90", 0.9, 0.25), ("p99", 0.99, 0.25)):
        assert table[name].median() == pytest.approx(np.quantile(truth, share), rel=tolerance)


def test_the_text_says_every_load_its_error_and_what_was_covered() -> None:
    one = Score(0.5, 1_000.0)
    for name in ("p50", "p90", "p99", "utilization"):
        one.predicted[name], one.measured[name] = Interval(1.1, 0.9, 1.3), [0.8, 1.0, 1.2]
        one.measured["throughput"] = [1_000.0] * 3
    one.qq_ms = {side: [float(number) for number in range(len(QQ_RECORDED))] for side in ("predicted", "measured")}
    number = Interval(2_000.0, 1_900.0, 2_100.0)
    time, slope = Interval(0.4, 0.3, 0.5), Interval(-1e-5, -2e-5, 0.0)
    found = Scores(
        floor_ms={"p50": 0.3, "p90": 0.4, "p99": 0.5}, capacity_per_s=number, lone_ms=time, further_ms=time,
        delay_ms_p50=0.2, delay_slope_ms=slope, pause_every_requests=number, pause_ms_p50=75.0,
        pauses_are_regular=True, flush_row_us=8.0, rate_per_s=500.0, saturation_per_s=[2_500.0], scores=[one],
    )  # fmt: skip
    said = text({"1 May 2026, 12:00": found})
    assert "| throughput at saturation within 10% | -20.0%, **missed** |" in said
    assert "| P50 within 15% at 50% | +10.0%, met |" in said
    assert (
        "| predicted intervals hold 90% of the runs | 6 of 9 (P50 2 of 3; P90 2 of 3; P99 2 of 3), **missed** |" in said
    )
    better = replace(found, saturation_per_s=[2_000.0])
    both = goals({"1 May 2026, 12:00": found, "2 May 2026, 12:00": better}).splitlines()
    assert both[0] == "| goal | 1 May 2026, 12:00 | 2 May 2026, 12:00 |"
    assert "| throughput at saturation within 10% | -20.0%, **missed** | +0.0%, met |" in both
    assert "| processor time of a request, ms | 1.000 |" in cheaper(found)
    assert "| 50% | 1,000 | P50 | 1.1 [0.9, 1.3] ms | 1 (0.8 to 1.2) ms | +10% | 2 of 3 |" in said
    assert "hold 6 of 9 measured values" in said
    assert "predicted 2,000/s [1,900, 2,100], measured 2,500/s: -20%" in said


def test_a_first_load_that_does_not_saturate_the_runtime_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def answers_all(_scenario: Scenario, _url: str, *, rate_per_s: float, **_asked: object) -> Measured:
        return Measured(np.zeros(1), np.ones(1), rate_per_s, 0.5, True, [])

    monkeypatch.setattr(fidelity_workerd, "pinned", lambda: nullcontext("http://localhost"))
    monkeypatch.setattr(fidelity_workerd, "measure", answers_all)
    with pytest.raises(UsageError, match="START_PER_S: 3000 of 3000 requests/s were answered, must be more than"):
        fidelity_workerd.measured(load_scenario(SCENARIO), blocks=1, calibration_s=1.0)
