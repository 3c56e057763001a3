"""Screening of objects whose turns are shared.

Goal: near the recursion of turns and both engines up to saturation, and a bound where turns no longer end. Method:
Hypothesis over times and loads beside the recursion; scenarios on the simpy and on the compiled engine.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import flow as f
from sim.experiments.calibration.turns import turns
from sim.randomness import distributions as d
from sim.runners.play import play
from sim.scenario.generation import schedule
from sim.scenario.scenario import Scenario, load_scenario
from sim.screening import screen
from sim.screening.turns import served, turn_of
from tests.evidence.runtime_runs import SCENARIO

LEDGER = load_scenario(SCENARIO).with_(
    **{"system.network.client_rtt_ms": 0.0, "system.ledger.write_ms": 0.5, "system.durable_objects.coalesced_ms": 0.1}
)
"""One object, which is held for a flush of all rows every four seconds."""
ONE = LEDGER.with_(**{"routes.append.steps": ["durable_objects.write"], "system.durable_objects.write_ms": 0.5})
"""One object with constant times, and nothing else."""
LAUNCH = load_scenario("launch").with_(**{"system.durable_objects.coalesced_ms": 0.3, "system.workers.isolates": 8})
EXPONENTIAL = {"distribution": "exponential", "mean": 0.5}
EIGHT = {
    "system.durable_objects.turn_requests_max": 8,
    "system.durable_objects.turn_order": "newest",
    "system.durable_objects.intake_ms": 0.04,
}
SCENARIOS: dict[str, tuple[Scenario, dict[str, Any]]] = {
    "constant": (ONE, {"workload.arrivals.rate_per_s": 3000.0}),
    "exponential": (ONE, {"workload.arrivals.rate_per_s": 3000.0, "system.durable_objects.write_ms": EXPONENTIAL}),
    "with long flushes": (LEDGER, {"workload.arrivals.rate_per_s": 6000.0}),
    "with room for eight, the newest first": (ONE, {**EIGHT, "workload.arrivals.rate_per_s": 4000.0}),
    "with room for eight, at 0.9": (ONE, {**EIGHT, "workload.arrivals.rate_per_s": 6000.0}),
    "one shard": (LAUNCH, {"system.durable_objects.shards": 1, "workload.arrivals.rate_per_s": 1200.0}),
    "four shards": (LAUNCH, {"system.durable_objects.shards": 4, "workload.arrivals.rate_per_s": 900.0}),
    "one hot key": (LAUNCH, {"workload.keys.zipf": 2.0, "workload.arrivals.rate_per_s": 900.0}),
}


@settings(max_examples=40, deadline=None)
@given(load=st.floats(0.05, 0.9), share=st.floats(0.05, 1.0), seed=st.integers(0, 2**31))
def test_mean_time_is_that_of_the_recursion(load: float, share: float, seed: int) -> None:
    """Constant times, 60,000 requests: the mean within 6 %; *load* is the rate over that of saturation."""
    lone_ms, further_ms = 1.0, share
    rate_per_ms = load / further_ms
    sent_ms = np.cumsum(np.random.default_rng(seed).exponential(1 / rate_per_ms, 60_000))
    met = served(np.array([rate_per_ms]), lone_ms=np.array([lone_ms]), variance=np.zeros(1), further_ms=further_ms)
    requests, variance, length_ms = (number.item() for number in met)
    own_ms = lone_ms + further_ms * (requests - 1 + variance / requests)
    rest_ms = rate_per_ms / requests * (length_ms**2 + further_ms**2 * variance) / 2
    assert own_ms + rest_ms == pytest.approx(turns(sent_ms, lone_ms=lone_ms, further_ms=further_ms).mean(), rel=0.06)


PAIRS = [(name, engine) for name in SCENARIOS for engine in ("simpy", "compiled")]


@pytest.mark.parametrize(("name", "engine"), [pair for pair in PAIRS if pair != ("with long flushes", "simpy")])
def test_screening_of_shared_turns_is_near_both_engines(name: str, engine: str) -> None:
    """Utilization within 2 %, busiest object within 3 %, wait and latency within 10 %."""
    scenario, changes = SCENARIOS[name]
    scenario = scenario.with_(**changes, **{"workload.warm_up_s": 0})
    if engine == "simpy":  # Slow; in its eight seconds there is one flush.
        scenario = scenario.with_(**{"workload.duration_s": 8})
    seen = screen(scenario)
    result = play(scenario, schedule(scenario), on=engine, seed=scenario.seed)
    row = next(row for row in seen.rows if row.station == "durable_objects")
    found = result.stations.set_index("station").loc["durable_objects"]
    slack = 3 if engine == "simpy" else 1  # A quarter of the requests, or fewer.
    assert seen.settled
    assert row.utilization == pytest.approx(found["utilization"], rel=0.02 * slack)
    assert row.busiest_utilization == pytest.approx(found["utilization_busiest"], rel=0.03 * slack)
    assert row.wait_ms_mean == pytest.approx(found["wait_mean_ms"], rel=0.1 * slack)
    assert seen.latency_ms_mean == pytest.approx(result.frame["latency_ms"].mean(), rel=0.1)


def test_bound_is_where_each_further_request_takes_all_the_time() -> None:
    """A tenth of a millisecond each: 10,000 a second, five times what requests alone would reach."""
    assert screen(ONE.vary("system.durable_objects.coalesced_ms", 0.1)).rate_per_s_max == pytest.approx(
        10_000, rel=1e-3
    )


def test_bound_of_turns_with_little_room_is_that_of_full_ones() -> None:
    """Eight in 0.5 + 7 x 0.1 ms, whatever part of the 0.1 ms is an intake; and one in 0.5 ms, alone."""
    assert screen(ONE.with_(**EIGHT)).rate_per_s_max == pytest.approx(8_000 / 1.2, rel=1e-3)
    alone = ONE.vary("system.durable_objects.turn_requests_max", 1)
    assert screen(alone).rate_per_s_max == pytest.approx(2_000, rel=1e-3)


def test_turns_that_cost_nothing_more_have_no_bound() -> None:
    seen = screen(ONE.vary("system.durable_objects.coalesced_ms", 0.0), 50_000.0)
    row = next(row for row in seen.rows if row.station == "durable_objects")
    assert row.rate_per_s_max == float("inf")
    assert row.wait_ms_mean < 0.75  # The rest of a turn, and one's own.


def test_below_the_bound_turns_end_and_beyond_it_they_grow() -> None:
    """The second half of ten seconds is as slow as the first at 0.9 of the bound, and slower at 1.1 (compiled)."""
    scenario = ONE.vary("workload.duration_s", 10)
    for ratio, grows in ((0.9, False), (1.1, True)):
        asked = scenario.at_rate(ratio * 10_000).vary("workload.live_rate_max_per_s", 100_000)
        latency_ms = play(asked, schedule(asked), on="compiled", seed=5).frame["latency_ms"].to_numpy()
        first, second = (half.mean() for half in np.array_split(latency_ms, 2))
        assert (second > 1.5 * first) == grows


def test_overload_of_shared_turns_is_bounded_by_the_length_of_the_run() -> None:
    scenario = ONE.vary("workload.duration_s", 10)
    row = next(row for row in screen(scenario, 20_000.0).rows if row.station == "durable_objects")
    assert row.busiest_utilization > 1.25
    assert 2_000 < row.wait_ms_mean < 8_000  # Twice too much: half of the run's length on average.


def test_other_branches_are_no_turns() -> None:
    """A counter's branch that gathers nobody, or without a time for further ones."""
    gather, turn = f.Gather(f.Station("object"), f.Counter("turn")), f.Counter("turn")
    met = f.CountAtLeast(turn, 1)
    assert turn_of(f.Branch(f.Chance(0.5, "a.b"), (gather,))) is None
    assert turn_of(f.Branch(met, (), (f.Delay(f.Time(d.Constant(value=1), each_ms=2.0, of=turn), "a.b"),))) is None
    assert turn_of(f.Branch(met, (), (gather, f.Delay(d.Constant(value=1), "a.b")))) is None
