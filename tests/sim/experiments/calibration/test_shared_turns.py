"""Goal: turns that requests share are told from delay in latencies alone, or the run is refused.

Method: turns by hand, and latencies of an object whose turns, delay and pauses are known.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sim.experiments.calibration.shared_turns import drawn_speed, tell_turns_apart
from sim.experiments.calibration.single_server import waits
from sim.experiments.calibration.turns import turns
from sim.foundation.errors import UsageError

Array = NDArray[np.float64]

LONE_MS, FURTHER_MS = 0.5, 0.2


def played(rate_per_s: float, *, n: int, seed: int, further_ms: float = FURTHER_MS) -> tuple[Array, Array]:
    """Poisson arrivals, and latencies with a delay of 0.3 ms and more."""
    rng = np.random.default_rng(seed)
    sent_ms = np.cumsum(rng.exponential(1000 / rate_per_s, n))
    return sent_ms, turns(sent_ms, lone_ms=LONE_MS, further_ms=further_ms) + 0.3 + rng.exponential(0.05, n)


def test_turns_by_hand() -> None:
    """The first is alone; the three that come meanwhile share the next turn, the last comes later."""
    sent_ms = np.array([0.0, 0.1, 0.2, 0.4, 5.0])
    expected = [0.5, 1.4 - 0.1, 1.4 - 0.2, 1.4 - 0.4, 0.5]
    assert turns(sent_ms, lone_ms=LONE_MS, further_ms=FURTHER_MS) == pytest.approx(expected)


@given(st.lists(st.floats(0.001, 5.0), min_size=1, max_size=60), st.floats(0, 1))
def test_sharing_never_takes_longer_than_turns_of_ones_own(gaps_ms: list[float], share: float) -> None:
    """All requests of a busy period are answered by the time at which one server would have answered its last."""
    sent_ms = np.cumsum(gaps_ms)
    shared = sent_ms + turns(sent_ms, lone_ms=LONE_MS, further_ms=share * LONE_MS)
    alone = sent_ms + waits(np.diff(sent_ms), np.full(len(sent_ms), LONE_MS)) + LONE_MS
    assert shared.max() <= alone.max() + 1e-9
    assert (np.diff(shared) >= -1e-9).all()
    assert (shared - sent_ms >= LONE_MS - 1e-9).all()


@pytest.mark.parametrize("further_ms", [0.05, 0.2, 0.4])
def test_turns_are_told_from_delay(further_ms: float) -> None:
    runs = [played(500.0, n=12_000, seed=seed, further_ms=further_ms) for seed in (1, 2)]
    found = tell_turns_apart(runs, rng=1)
    assert found.lone_ms.value == pytest.approx(LONE_MS, rel=0.05)
    assert found.lone_ms.low <= LONE_MS <= found.lone_ms.high
    assert found.further_ms.value == pytest.approx(further_ms, abs=0.03)
    assert found.delay.distribution.expected() == pytest.approx(0.35, rel=0.1)
    assert found.delay_slope_ms.low <= 0 <= found.delay_slope_ms.high
    assert found.pauses.every_requests is None


def test_a_further_run_is_drawn_as_far_off_as_the_runs_are_from_each_other() -> None:
    """Nine of ten further runs of a machine lie in the interval that eight of its runs give."""
    rng = np.random.default_rng(8)
    speeds = np.exp(rng.normal(0, 0.06, 8))
    runs = [played(400.0, n=4_000, seed=seed) for seed in range(8)]
    found = tell_turns_apart(
        [(speed * sent, speed * late) for speed, (sent, late) in zip(speeds, runs, strict=True)], rng=1
    )
    logs = np.log(speeds)
    assert found.run_log_ratios == pytest.approx(logs - logs.mean(), abs=0.01)
    drawn = np.array([drawn_speed(found, rng) for _ in range(4_000)])
    low, high = np.quantile(drawn, [0.05, 0.95])
    half = 1.895 * logs.std(ddof=1) * np.sqrt(9 / 8)  # Student's t with seven degrees of freedom.
    assert (np.log(low), np.log(high)) == pytest.approx((-half, half), rel=0.1)


def test_nothing_is_known_of_other_runs_from_one() -> None:
    found = tell_turns_apart([played(400.0, n=4_000, seed=1)], rng=1)
    assert drawn_speed(found, np.random.default_rng(1)) == 1.0


def test_latencies_that_fall_with_the_load_show_their_slope() -> None:
    sent_ms, latency_ms = played(500.0, n=20_000, seed=3)
    before = np.arange(len(sent_ms)) - np.searchsorted(sent_ms, sent_ms - 10.0)
    found = tell_turns_apart([(sent_ms, latency_ms - 0.01 * before)], rng=1)  # 0.01 ms for each 100 requests/s
    assert found.delay_slope_ms.value == pytest.approx(-1e-4, rel=0.2)
    assert found.delay_slope_ms.high < 0


@pytest.mark.parametrize(
    ("rate_per_s", "n", "said"),
    [
        (500.0, 1_999, "run: 1999 requests cannot tell turns from delay, must be >= 2000 (play more)"),
        (1_600.0, 5_000, "run: turns and queueing are confounded at utilization 0."),
    ],
)
def test_a_run_that_does_not_tell_is_refused(rate_per_s: float, n: int, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        tell_turns_apart([played(rate_per_s, n=n, seed=2)], rng=1)
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)
