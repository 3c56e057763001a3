"""Two runs of the same requests, compared in pairs.

Goal: equal runs have no error, a known difference is found where it is and no wider than it is, and runs of other
requests are refused. Method: a simulated run, changed by hand.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from sim import load_scenario, run
from sim.foundation.errors import UsageError
from sim.judgement.pairing import NOISE_MS_MIN, pair, pair_frames
from sim.report.json_document import plan_document
from sim.report.sentences import in_pairs
from tests.support.plans import example_plan

REQUESTS = 3_000


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return run(load_scenario("launch"), on="compiled", requests=REQUESTS, rng=2).frame


def changed(frame: pd.DataFrame, extra_ms: np.ndarray, *, column: str = "network_ms") -> pd.DataFrame:
    """The same requests, each longer by *extra_ms* in one of its parts."""
    return frame.assign(latency_ms=frame["latency_ms"] + extra_ms, **{column: frame[column] + extra_ms})


def test_equal_runs_have_no_error(frame: pd.DataFrame) -> None:
    found = pair_frames(frame, frame.copy())
    assert (found.pairs, found.pairs_with_other_ends, found.parted) == (REQUESTS, 0, {})
    assert found.limit_ms == NOISE_MS_MIN
    assert all((error.value, error.low, error.high) == (0.0, 0.0, 0.0) for error in found.errors.values())


def test_a_part_that_is_late_is_found_where_it_is(frame: pd.DataFrame) -> None:
    late = np.zeros(REQUESTS)
    late[100:110] = 25.0
    found = pair_frames(frame, changed(frame, late, column="d1_queue_ms"))
    assert found.parted == {"d1_queue": 10}


def test_noise_is_no_difference_and_shows_as_noise(frame: pd.DataFrame) -> None:
    noise_ms = np.random.default_rng(3).normal(0.5, 0.1, REQUESTS)
    found = pair_frames(frame, changed(frame, noise_ms))
    low, middle, high = found.noise_ms
    assert (low, middle, high) == pytest.approx((0.336, 0.5, 0.664), abs=0.02)
    assert sum(found.parted.values()) <= 2
    assert found.errors[0.5].value == pytest.approx(-0.5 / frame["latency_ms"].median(), rel=0.3)


def test_interval_of_a_known_error_is_narrow_and_holds_it(frame: pd.DataFrame) -> None:
    """Every latency is a hundredth longer: unpaired, a P99 of 3,000 requests is uncertain by tens of per cent."""
    measured = frame.assign(latency_ms=frame["latency_ms"] * 1.01)
    found = pair_frames(frame, measured)
    for error in found.errors.values():
        assert error.low <= 1 / 1.01 - 1 + 1e-9
        assert error.high >= 1 / 1.01 - 1 - 1e-9
        assert error.high - error.low < 1e-6


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("first", [True, False])
def test_interval_holds_the_error_of_a_slow_start_and_of_a_slow_end(
    frame: pd.DataFrame, seed: int, *, first: bool
) -> None:
    """The requests beyond the P99 are the first (or the last) ones: moving blocks seldom draw them (seen in launch)."""
    some, slow = 1_500, 20
    fading = (1 - np.arange(some) / slow).clip(0)
    share = fading if first else fading[::-1]
    noise_ms = np.random.default_rng(seed).normal(0.0, 0.1, some)
    requests = frame.iloc[:some]
    simulated = requests.assign(latency_ms=requests["latency_ms"] + 300.0 * share)
    measured = simulated.assign(latency_ms=simulated["latency_ms"] + 10.0 * share + noise_ms)
    for error in pair_frames(simulated, measured, seed=seed).errors.values():
        assert error.low <= error.value <= error.high


def test_other_ends_are_counted_apart(frame: pd.DataFrame) -> None:
    ends = frame["outcome"].astype(str).to_numpy().copy()
    ends[:7] = "timeout"
    found = pair_frames(frame, frame.assign(outcome=ends))
    assert (found.pairs, found.pairs_with_other_ends) == (REQUESTS - 7, 7)


def test_other_requests_are_refused(frame: pd.DataFrame) -> None:
    with pytest.raises(UsageError, match="3000 and 2999 requests are not the same"):
        pair_frames(frame, frame.iloc[1:])
    with pytest.raises(UsageError, match="differ in key: play one schedule"):
        pair_frames(frame, frame.assign(key=frame["key"] + 1))
    with pytest.raises(UsageError, match="5 requests succeeded in both runs"):
        pair_frames(frame.iloc[:5], frame.iloc[:5])


def test_plan_says_it_in_a_sentence_and_in_its_document() -> None:
    plan = example_plan()
    assert plan.measured is not None
    same = replace(plan, measured=replace(plan.simulated_window[0], on="reference", generator=plan.measured.generator))
    assert same.pairing is not None
    assert pair(same.simulated_window[0], plan.simulated_window[0]).parted == {}
    assert in_pairs(same).startswith(
        "Request by request, with the same random numbers, the model's error is P50 +0.00 %"
    )
    assert plan_document(same)["pairing"]["parted"] == {}
    assert in_pairs(replace(plan, measured=None)) == ""


def test_differences_are_those_of_the_requests_in_their_order(frame: pd.DataFrame) -> None:
    extra_ms = np.linspace(-1.0, 2.0, REQUESTS)
    found = pair_frames(frame, changed(frame, extra_ms))
    assert found.difference_ms == pytest.approx(extra_ms, abs=1e-9)


def test_notebook_shows_errors_noise_and_where_requests_part(frame: pd.DataFrame) -> None:
    late = np.random.default_rng(3).normal(0.5, 0.1, REQUESTS)
    late[100:110] += 25.0
    ends = frame["outcome"].astype(str).to_numpy().copy()
    ends[:7] = "timeout"
    shown = pair_frames(frame, changed(frame, late, column="d1_queue_ms").assign(outcome=ends))._repr_html_()
    assert f"{REQUESTS - 7:,} requests, each beside itself; 7 ended otherwise" in shown
    assert "error of the P99" in shown
    assert "10 in D1, waiting" in shown
