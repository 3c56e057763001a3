"""The model of an error sink: its sample, its limits, its quota, its bill; the reference beside it.

Goal: what is sent, dropped and billed is arithmetic. Method: constant times and rates; the quota of a month in a storm;
the same draws in two codes.
"""

from math import sqrt
from typing import Any

import numpy as np
import pytest

from sim import cost
from sim.judgement.cost import usage_per_month
from sim.scenario.generation import schedule
from sim.scenario.scenario import Scenario
from tests.support.in_step import on_the_reference
from tests.support.routes import KNOWN_TIMES, of_steps
from tests.support.shown import at_rate, played

SEND_MS = 30.0
REPORT = {"use": "error_sink.report", "chance": 0.1}


def reporting(requests: int, step: Any = "error_sink.report", rate_per_s: float = 50.0, **table: Any) -> Scenario:
    numbers = {"send_ms": SEND_MS, "sample_fraction": 1.0, "events_per_s_max": 1e6, **table}
    changes = {f"system.error_sink.{key}": value for key, value in numbers.items()}
    return of_steps("workers.compute", step, scenario=KNOWN_TIMES.with_(**changes, **at_rate(rate_per_s, requests)))


def test_engines_agree_and_the_reference_takes_the_same_time() -> None:
    scenario = reporting(2_000, sample_fraction=0.5, events_per_s_max=20.0, events_per_month_max=500)
    simulated = played(scenario, 2_000, seed=5).frame
    measured = on_the_reference(scenario, schedule(scenario, 5).head(2_000), seed=5)
    np.testing.assert_allclose(measured["latency_ms"], simulated["latency_ms"], rtol=0, atol=1e-6)
    assert (simulated["outcome"] == "ok").all(), "a report that is dropped fails nothing"
    sent = int((simulated["error_sink_ms"] > 0).sum())
    assert sent == 500, "the quota, though the sample is of 1,000 and the limit lets 20 a second through"


def test_the_client_sends_its_sample_of_the_share_that_reports() -> None:
    requests, share = 40_000, 0.1 * 0.3
    frame = played(reporting(requests, REPORT, sample_fraction=0.3, events_per_month_max=10**9), requests).frame
    assert abs((frame["error_sink_ms"] > 0).mean() - share) < 4 * sqrt(share * (1 - share) / requests)


def test_a_storm_is_cut_at_the_limit_of_a_second() -> None:
    """100 a second arrive, 20 are taken, and the bucket's 20 at the start."""
    requests = 10_000
    storm = reporting(requests, rate_per_s=100.0, events_per_s_max=20.0, events_per_month_max=10**9)
    frame = played(storm, requests).frame
    lasted_s = frame["arrival_ms"].max() / 1_000
    assert (frame["error_sink_ms"] > 0).sum() == pytest.approx(20 * (lasted_s + 1), abs=3)


def test_a_month_is_gone_in_minutes() -> None:
    """5,000 events at 50 a second last 100 s; nobody sees what goes wrong afterwards."""
    frame = played(reporting(10_000, events_per_month_max=5_000), 10_000).frame
    seen_ms = frame.loc[frame["error_sink_ms"] > 0, "arrival_ms"]
    assert len(seen_ms) == pytest.approx(5_000, abs=2)
    assert seen_ms.max() / 1_000 == pytest.approx(100, rel=0.1)


@pytest.mark.parametrize(
    ("errors", "sampled", "quota", "usd"),
    [
        (40_000, 1.0, 10**9, 26.0),
        (90_000, 1.0, 10**9, 26.0 + 40_000 * 362.5e-6),
        (90_000, 0.5, 10**9, 26.0),
        (90_000, 1.0, 50_000, 26.0),
    ],
    ids=["included", "beyond", "sampled", "budget of nothing"],
)
def test_bill_of_a_month(errors: int, sampled: float, quota: int, usd: float) -> None:
    scenario = reporting(100, REPORT, sample_fraction=sampled, events_per_month_max=quota)
    bill = cost(scenario, requests_per_month=10 * errors)
    assert sum(line.usd for line in bill.lines if line.component == "error_sink") == pytest.approx(usd)
    sent = min(errors * sampled, quota)
    assert usage_per_month(scenario, 10 * errors)["error_sink.events"] == pytest.approx(sent)


def test_who_reports_nothing_pays_nothing() -> None:
    assert "error_sink.plan" not in usage_per_month(of_steps("workers.compute", scenario=KNOWN_TIMES), 1e6)
