"""Lost updates by design.

Goal: a read and a write by a Worker lose as many as the formula says; one statement and an object lose none, whatever
the load. Method: exponential and constant windows, hot and cold keys, and a brute-force count on a small run.
"""

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import load_scenario
from sim.experiments import lost_updates as module
from sim.experiments.lost_updates import Design, lost_updates
from sim.foundation.errors import UsageError
from sim.scenario.scenario import Scenario

LAUNCH = load_scenario("launch")


def hot(rate_per_s: float, *, keys: int = 1) -> Scenario:
    """Updates of a few keys, all equally popular; D1 takes no time itself."""
    numbers: dict[str, Any] = {
        "workload.arrivals.rate_per_s": rate_per_s,
        "workload.keys": {"count": keys, "zipf": 0.0},
        "system.d1.read_ms": {"distribution": "constant", "value": 0.0},
        "system.d1.write_ms": {"distribution": "constant", "value": 0.0},
    }
    return LAUNCH.with_(**numbers)


@pytest.mark.parametrize(("rate_per_s", "keys"), [(5.0, 1), (50.0, 1), (50.0, 10)])
def test_a_read_and_a_write_lose_what_the_formula_says(rate_per_s: float, keys: int) -> None:
    found = lost_updates(hot(rate_per_s, keys=keys), "read then write", rng=4)
    slack = 3 * np.sqrt(found.predicted_share / found.updates)
    assert found.lost.low - slack < found.predicted_share < found.lost.high + slack
    assert found.lost.value > 0


def test_window_is_a_round_trip() -> None:
    """The value is read at the database and written there: half a way back, half a way again."""
    far = hot(1.0).with_(**{"system.d1.rtt_ms": {"distribution": "constant", "value": 80.0}})
    assert lost_updates(far, "read then write", updates=500).window_ms_mean == pytest.approx(80.0)


@pytest.mark.parametrize("design", ["one statement", "object"])
@pytest.mark.parametrize("rate_per_s", [50.0, 150.0])
def test_one_statement_and_an_object_lose_none(design: Design, rate_per_s: float) -> None:
    """Falsified by a single lost update: then the database or the object executes two at a time."""
    found = lost_updates(LAUNCH.with_(**{"workload.arrivals.rate_per_s": rate_per_s}), design, updates=8_000)
    assert found.updates > 7_000
    assert found.lost.value == 0


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(1, 20)), min_size=1, max_size=25))
def test_count_is_that_of_every_pair(updates: list[tuple[int, int, int]]) -> None:
    """Times are made unequal, as those of a run are."""
    key = np.array([k for k, _, _ in updates])
    read_ms = np.array([start + n * 1e-3 for n, (_, start, _) in enumerate(updates)])
    written_ms = read_ms + np.array([length + n * 1e-5 for n, (_, _, length) in enumerate(updates)])
    expected = [
        any(key[j] == key[i] and read_ms[i] < written_ms[j] < written_ms[i] for j in range(len(key)))
        for i in range(len(key))
    ]
    assert module._written_over(key, read_ms, written_ms).tolist() == expected


def test_bad_design_is_one_line() -> None:
    with pytest.raises(UsageError, match="design='lock' must be one of read then write, one statement, object"):
        lost_updates(LAUNCH, "lock")  # type: ignore[arg-type]  # what a caller may pass
    with pytest.raises(UsageError, match="updates=0 must be >= 1"):
        lost_updates(LAUNCH, get_args(Design)[0], updates=0)
    with pytest.raises(UsageError, match="seeds=0 must be >= 1"):
        lost_updates(LAUNCH, get_args(Design)[0], seeds=0)


def test_interval_over_seeds_is_wider_where_a_queue_makes_updates_alike() -> None:
    """Near saturation one long queue loses many in a row, so that updates of one run are not independent."""
    crowded = LAUNCH.with_(**{"workload.arrivals.rate_per_s": 120.0})
    one = lost_updates(crowded, "read then write", updates=2_000, rng=3)
    several = lost_updates(crowded, "read then write", updates=2_000, rng=3, seeds=4)
    assert several.updates > 3 * one.updates
    assert several.lost.high - several.lost.low > one.lost.high - one.lost.low


def test_where_none_is_lost_more_seeds_bound_the_share_further() -> None:
    found = [lost_updates(LAUNCH, "object", updates=1_000, seeds=seeds).lost for seeds in (1, 4)]
    assert [one.value for one in found] == [0.0, 0.0]
    assert 0 < found[1].high < found[0].high / 3
