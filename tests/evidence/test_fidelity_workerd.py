"""Goal: what the evidence of the real runtime says of a runtime whose numbers are known is true.

Method: in place of the runtime a model with known service, flush and stalls is measured; no Node is needed.
"""

from functools import cache

import numpy as np
import pytest

from sim import load_scenario, run
from sim.experiments.calibration.laws import Interval
from tests.evidence.fidelity_scores import QQ_RECORDED, Score, Scores
from tests.evidence.fidelity_workerd import (
    FLUSH_S,
    SCENARIO,
    Measured,
    Model,
    calibrated,
    capacity,
    predicted,
)
from tests.evidence.fidelity_workerd_text import cheaper, goals, text

SERVICE_MS, ROW_US, STALL_MS, STALLS_PER_S = 0.4, 8.0, 30.0, 0.5


@cache
def measured(rate_per_s: float, seed: int, duration_s: float = 30.0) -> Measured:
    """What a runtime with these numbers would show."""
    share = STALLS_PER_S / (rate_per_s + STALLS_PER_S)
    truth = load_scenario(SCENARIO).with_(
        **{
            "workload.arrivals.rate_per_s": rate_per_s + STALLS_PER_S,
            "workload.duration_s": duration_s,
            "routes.append.share": 1 - share,
            "routes.stall.share": share,
            "system.network.client_rtt_ms": {"distribution": "lognormal", "median": 0.4, "p99": 0.9},
            "system.ledger.write_ms": SERVICE_MS,
            "system.ledger.flush_row_us": ROW_US,
            "system.durable_objects.write_ms": STALL_MS,
        }
    )
    frame = run(truth, rng=seed).frame
    frame = frame[frame["route"] == "append"]
    sent_ms, latency_ms = frame["arrival_ms"].to_numpy(), frame["latency_ms"].to_numpy()
    flushes: list[tuple[float, int]] = []
    while (at_ms := (flushes[-1][0] if flushes else 0.0) + FLUSH_S * 1000) < duration_s * 1000:
        inside = (sent_ms - sent_ms[0] > at_ms - FLUSH_S * 1000) & (sent_ms - sent_ms[0] <= at_ms)
        flushes.append((at_ms, int(inside.sum())))
    return Measured(sent_ms, latency_ms, rate_per_s, 0.0, True, flushes)


@cache
def models() -> tuple[Model, ...]:
    return tuple(calibrated(measured(600.0, seed), seed=seed) for seed in (1, 2, 3))


def test_service_stalls_and_flush_of_a_known_runtime_are_found() -> None:
    found = models()
    assert np.median([one.server.service_mean_ms.value for one in found]) == pytest.approx(SERVICE_MS, rel=0.1)
    assert np.median([one.stalls_per_s for one in found]) == pytest.approx(STALLS_PER_S, rel=0.5)
    assert np.median(np.concatenate([one.stall_ms for one in found])) == pytest.approx(STALL_MS, rel=0.25)
    # The alarm drifts by the length of each flush, so that only the first ones are where this test puts them.
    assert np.median(np.concatenate([one.flush_row_us[:2] for one in found])) == pytest.approx(ROW_US, rel=0.35)


def test_capacity_of_a_known_runtime_is_predicted() -> None:
    true = 1000 * (1 - STALLS_PER_S * STALL_MS / 1000) / (SERVICE_MS + ROW_US / 1000)
    assert capacity(models(), np.random.default_rng(1)).value == pytest.approx(true, rel=0.12)


def test_a_load_that_was_held_out_is_predicted_where_the_world_is_of_the_models_form() -> None:
    truth = measured(1_500.0, 9).judged
    table = predicted(load_scenario(SCENARIO), models(), 1_500.0, duration_s=30.0, replications=8, seed=5)
    for name, share, tolerance in (("p50", 0.5, 0.15), ("p90", 0.9, 0.5)):
        assert table[name].median() == pytest.approx(np.quantile(truth, share), rel=tolerance)
    assert table["utilization"].median() == pytest.approx(0.61, rel=0.12)


def test_the_text_says_every_load_its_error_and_what_was_covered() -> None:
    one = Score(0.5, 1_000.0)
    for name in ("p50", "p90", "p99", "utilization"):
        one.predicted[name], one.measured[name] = Interval(1.1, 0.9, 1.3), [0.8, 1.0, 1.2]
        one.measured["throughput"] = [1_000.0] * 3
    one.qq_ms = {side: [float(number) for number in range(len(QQ_RECORDED))] for side in ("predicted", "measured")}
    number = Interval(2_000.0, 1_900.0, 2_100.0)
    floor, service = {"p50": 0.3, "p90": 0.4, "p99": 0.5}, Interval(0.4, 0.3, 0.5)
    found = Scores(floor, number, service, 0.1, 0.2, 0.5, 30.0, 8.0, 500.0, [2_500.0], [one])
    said = text(found)
    assert "| throughput at saturation within 10% | -20.0% | **missed** |" in goals(found)
    assert "| P50 within 15% at 50% | +10.0% | met |" in goals(found)
    assert (
        "| predicted intervals hold 90% of the runs | 6 of 9 (P50 2 of 3; P90 2 of 3; P99 2 of 3) | **missed** |"
        in said
    )
    assert "| processor time of a request, ms | 1.000 |" in cheaper(found)
    assert "| 50% | 1,000 | P50 | 1.1 [0.9, 1.3] ms | 1 (0.8 to 1.2) ms | +10% | 2 of 3 |" in said
    assert "hold 6 of 9 measured values" in said
    assert "predicted 2,000/s [1,900, 2,100], measured 2,500/s: -20%" in said
