"""What the page of the load driver says, given numbers.

Goal: a goal that was missed is not called met, and tools that differ are not said to agree. Method: numbers on both
sides of each line; the sets of columns of the committed page.
"""

from dataclasses import replace

import pytest

from sim.runners.load.floor import Floor
from tests.evidence.driver import GOAL_PER_S, RATES_PER_S, Quantiles, agreement, page
from tests.project.tidy import ROOT
from tests.sim.runners.load.test_guard import HEALTHY

OURS = "headroom, raw"


def floors(*, sent_per_s: float, lag_ms: float) -> dict[int, list[Floor]]:
    """One run for each rate."""
    check = replace(HEALTHY, send_lag_ms_p99=lag_ms)
    return {rate: [Floor(sent_per_s if rate == GOAL_PER_S else rate, 1, 2, 1, 2, check)] for rate in RATES_PER_S}


@pytest.mark.parametrize(
    ("sent_per_s", "lag_ms", "said"),
    [(3000, 4.9, "ms: met"), (3000, 5.1, "not met in this"), (2900, 1.0, "not met in this")],
)
def test_goal_is_met_only_by_rate_and_lateness(sent_per_s: float, lag_ms: float, said: str) -> None:
    runs = {OURS: [Quantiles(1000, 20, 21)]}
    stalled = {"headroom, from the intended send": [Quantiles(200, 20, 900)]}
    assert said in page(floors(sent_per_s=sent_per_s, lag_ms=lag_ms), runs, stalled, repeats=1)


@pytest.mark.parametrize(
    ("p50_ms", "p99_ms", "said"),
    [
        (21, 22, "both within 10%"),
        (23, 21, "P50 more than 10%"),
        (18.5, 30, "P99 more than 10%"),
        (9, 9, "P50 and P99"),
    ],
)
def test_tools_agree_only_within_the_tolerance(p50_ms: float, p99_ms: float, said: str) -> None:
    runs = {OURS: [Quantiles(1000, 20, 21)], "hey": [Quantiles(1000, p50_ms, p99_ms)]}
    assert said in agreement(runs, against=OURS)


def test_committed_page_is_of_this_command() -> None:
    text = (ROOT / "docs/DRIVER.md").read_text(encoding="utf-8")
    assert [f"| {rate:,} |" for rate in RATES_PER_S if f"| {rate:,} |" not in text] == []
    assert "python -m tests.evidence.driver" in text
