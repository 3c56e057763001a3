"""Goal: the order in which an object serves what waits, and its largest turn, are found in bursts.

Method: latencies of the recursion of turns itself, with noise and pauses, whose order is known.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sim.experiments.calibration.order_of_service import find_order
from sim.experiments.calibration.turns import ALL_AT_ONCE, Order, turns
from sim.foundation.errors import UsageError

LONE_MS, FURTHER_MS = 0.57, 0.44


def bursts(seed: int, *, count: int = 200, every_ms: float = 900.0) -> NDArray[np.float64]:
    """Times of sending: 0.5 requests/ms for nine seconds, and a burst every 900 ms."""
    rng = np.random.default_rng(seed)
    usual = rng.uniform(0, 9_000, 4_500)
    at_once = [start + rng.uniform(0, 15, count) for start in np.arange(500, 8_500, every_ms)]
    return np.sort(np.concatenate([usual, *at_once]))


def measured(order: Order, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times of sending, and latencies of an object with this order; a fifth of the bursts meet a pause."""
    rng = np.random.default_rng(seed)
    sent_ms = bursts(seed)
    noise_ms = rng.lognormal(np.log(0.15), 0.5, len(sent_ms))
    late = (sent_ms % 4_500 > 480) & (sent_ms % 4_500 < 700)
    served_ms = turns(sent_ms, lone_ms=LONE_MS, further_ms=FURTHER_MS, order=order)
    return sent_ms, served_ms + noise_ms + 75.0 * late


@settings(max_examples=6, deadline=None)
@given(
    most=st.sampled_from([24, 32, 64]),
    newest=st.booleans(),
    intake=st.sampled_from([0.0, 0.3, 0.6]),
    seed=st.integers(0, 99),
)
def test_the_order_of_an_object_is_found(most: int, newest: bool, intake: float, seed: int) -> None:
    truth = Order(newest, most, intake)
    runs = [measured(truth, seed), measured(truth, seed + 100)]
    found = find_order(runs, lone_ms=LONE_MS, further_ms=1.1 * FURTHER_MS)
    assert found.best.order == truth
    assert found.best.further_ms == pytest.approx(FURTHER_MS, rel=0.02)
    assert found.misfit_of(truth) < 1.0
    interval = found.further_ms(np.random.default_rng(seed))
    assert interval.low <= FURTHER_MS <= interval.high


def test_an_object_that_serves_all_at_once_is_found() -> None:
    found = find_order([measured(ALL_AT_ONCE, 1), measured(ALL_AT_ONCE, 2)], lone_ms=LONE_MS, further_ms=FURTHER_MS)
    assert found.best.order.requests_max is None
    assert found.misfit_of(ALL_AT_ONCE) == pytest.approx(found.misfit_of(found.best.order))


def test_without_bursts_no_order_is_told() -> None:
    sent_ms = np.sort(np.random.default_rng(1).uniform(0, 9_000, 4_500))
    with pytest.raises(UsageError, match="bursts: 0 bursts must be >= 5, each of 50 requests or more within 20 ms"):
        find_order([(sent_ms, np.ones(4_500))], lone_ms=LONE_MS, further_ms=FURTHER_MS)
