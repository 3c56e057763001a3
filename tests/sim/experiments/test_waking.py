"""Objects that are woken one after another.

Goal: timers begin at any point of their periods with equal probability, and no request beyond that is lost. Method:
schedules drawn by Hypothesis, the definition by brute force, and a scenario whose objects flush together after an empty
start.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from sim.experiments.search import Search
from sim.experiments.waking import Timers, timers_of
from sim.flow import Latch
from sim.foundation.errors import UsageError
from sim.runners.play import play_whole
from sim.scenario.generation import schedule
from sim.scenario.scenario import Scenario, load_scenario
from sim.scenario.schedule import Schedule
from tests.sim.experiments.test_capacity import one_queue


@cache
def launched() -> Schedule:
    """Launch as it is here, built once."""
    return planned()


def planned(**changes: Any) -> Schedule:
    """Launch for two minutes at 100/s, or as *changes* say."""
    return schedule(of_launch(**changes), 5)


def of_launch(**changes: Any) -> Scenario:
    short = {"workload.duration_s": 120, "workload.warm_up_s": 0, "workload.arrivals.rate_per_s": 100.0}
    return load_scenario("launch").with_(**{**short, **changes})


def test_timers_are_those_that_every_object_has() -> None:
    """The flush of a ledger, 10 s, by the routes that append; a queue's one timer is nobody's but the queue's."""
    flush = {Latch("ledger_alarm", instances=200): 10_000.0}
    assert timers_of(load_scenario("launch")).by_route == {"log": flush, "device_log": flush}
    assert timers_of(load_scenario("launch").with_shares(search=1.0)).by_route == {}
    assert all(latch.instances > 1 for own in timers_of(load_scenario("feed")).by_route.values() for latch in own)


def test_load_that_was_left_out_is_counted_at_its_stations() -> None:
    """Only appends are left out: the ledgers' objects lose a larger share of their requests than the Workers."""
    timers, whole = timers_of(of_launch()), planned()
    left_out = timers.left_out(whole, timers.woken_in_turn(whole, seed=3))
    assert left_out["durable_objects"] > 1.02
    assert left_out["workers"] < left_out["durable_objects"]
    assert timers.left_out(whole, whole) == dict.fromkeys(timers.stations, 1.0)


def on_every_route(timers: dict[Latch, float]) -> Timers:
    """Set by every request of launch."""
    return Timers(dict.fromkeys(load_scenario("launch").routes, timers), {})


TIMERS = (
    st.lists(
        st.tuples(st.sampled_from([2, 7, 200]), st.sampled_from([500.0, 10_000.0, 30_000.0])), min_size=1, max_size=3
    )
    .map(lambda found: {Latch(f"timer{place}", instances=n): ms for place, (n, ms) in enumerate(found)})
    .map(on_every_route)
)


@given(timers=TIMERS, seed=st.integers(0, 1_000), stretched=st.sampled_from([0.5, 1.0, 2.0]))
@settings(max_examples=30, deadline=None)
def test_object_once_awake_loses_nothing(timers: Timers, seed: int, stretched: float) -> None:
    """Of a key either all further requests are kept or it still sleeps, and beyond the window nobody does."""
    whole = launched()
    woken = timers.woken_in_turn(whole, seed=seed, stretched=stretched)
    kept = np.isin(whole.arrival_ms, woken.arrival_ms)
    assert kept[whole.arrival_ms > stretched * timers.window_ms].all()
    for key in range(10):
        own = kept[whole.key == key]
        assert np.all(np.diff(own.astype(int)) >= 0)
    assert woken.duration_ms == whole.duration_ms


@given(timers=TIMERS, seed=st.integers(0, 1_000))
@settings(max_examples=20, deadline=None)
def test_higher_rate_leaves_the_same_requests_out(timers: Timers, seed: int) -> None:
    """Common random numbers: twice as fast, with moments half as late."""
    whole = launched()
    slow = timers.woken_in_turn(whole, seed=seed)
    fast = timers.woken_in_turn(whole.scaled(0.5), seed=seed, stretched=0.5)
    np.testing.assert_array_equal(slow.key, fast.key)


def test_moments_are_spread_over_the_period() -> None:
    """Uniform over it, by Kolmogorov and Smirnov; keys that come often show their moments."""
    whole = planned(**{"workload.keys.zipf": 0.0, "workload.arrivals.rate_per_s": 2_000.0})
    woken = on_every_route({Latch("timer", instances=200): 60_000.0}).woken_in_turn(whole, seed=3)
    first_ms = [woken.arrival_ms[woken.key == key][0] for key in range(200)]
    assert kstest(np.array(first_ms) / 60_000.0, "uniform").pvalue > 0.01


def test_object_of_many_keys_is_woken_at_its_own_moment() -> None:
    """Ten shards: without a rule for objects, the first of twenty keys would wake each within half a second."""
    whole = planned(**{"workload.arrivals.rate_per_s": 2_000.0})
    woken = on_every_route({Latch("shard", instances=10): 60_000.0}).woken_in_turn(whole, seed=3)
    first_ms = np.array([woken.arrival_ms[woken.key % 10 == shard][0] for shard in range(10)])
    assert np.ptp(first_ms) > 30_000.0


def test_nothing_to_wake_changes_nothing(tmp_path: Path) -> None:
    whole = launched()
    assert Timers({}, {}).woken_in_turn(whole, seed=1) is whole
    assert Search(one_queue(tmp_path, ("api_latency_ms", 200.0)), 1, engine="compiled").timers.window_ms == 0.0


def test_only_refuses_a_closed_loop_and_nothing_at_all() -> None:
    closed = {"kind": "closed", "users": 5, "think_ms": {"distribution": "constant", "value": 100}}
    length = {"workload.duration_s": None, "workload.requests": 50}
    users = planned(**length, **{"workload.arrivals": closed})
    with pytest.raises(UsageError, match=r"only\(\) needs planned arrivals"):
        users.only(np.ones(len(users), dtype=np.bool_))
    with pytest.raises(UsageError, match="must hold at least one request"):
        planned().only(np.zeros(len(planned()), dtype=np.bool_))


def test_storm_of_an_empty_start_is_not_that_of_the_steady_state() -> None:
    """Fifty equal ledgers keep a database busy for 4 s of every 10: from empty, its queue follows that period.

    Woken one after another, they leave what fifty random phases do, about ``1 / sqrt(50)`` of it.
    """
    busy = of_launch(
        **{
            "workload.keys": {"count": 50, "zipf": 0.0},
            "workload.arrivals.rate_per_s": 200.0,
            "system.d1.write_ms": {"distribution": "constant", "value": 80.0},
        }
    ).with_shares(log=0.5, search=0.5)
    storms = {woken: [_storm(busy, seed, woken=woken) for seed in range(1, 5)] for woken in (False, True)}
    assert min(storms[False]) > 2 * max(storms[True])


def _storm(scenario: Scenario, seed: int, *, woken: bool) -> float:
    """Return how much the wait for D1 follows a period of 10 s: the relative size of that harmonic, from 20 s on."""
    whole = schedule(scenario, seed)
    played = timers_of(scenario).woken_in_turn(whole, seed=seed) if woken else whole
    frame = play_whole(scenario, played, on="compiled", seed=seed).frame
    waited = frame[(frame["d1_ms"] > 0) & (frame["arrival_ms"] >= 20_000)]
    wave = np.exp(2j * np.pi * waited["arrival_ms"].to_numpy() / 10_000)
    wait_ms = waited["d1_queue_ms"].to_numpy()
    return float(abs((wait_ms * wave).mean()) / wait_ms.mean())
