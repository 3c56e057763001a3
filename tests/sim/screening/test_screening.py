"""Analytic screening.

Goal: exact where queueing theory is, near the simulation elsewhere, and a bound that no simulation goes beyond; for any
Flow. Method: closed forms, the compiled engine on a dozen deployments, and Hypothesis's random Flows.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sim import flow as f
from sim.engines import compiled_engine
from sim.foundation.errors import UsageError
from sim.randomness import distributions as d
from sim.runners.play import play
from sim.runners.simulated import station_frame
from sim.scenario.deployment import deployment
from sim.scenario.generation import schedule
from sim.scenario.scenario import Scenario, load_scenario
from sim.scenario.schedule import Schedule
from sim.screening import LABEL, StationScreening, keyed, screen, screen_flow
from sim.screening.traffic import traffic
from sim.theory import MG1, JacksonNetwork, MMc
from tests.support.flows import any_flow

LAUNCH = load_scenario("launch")
EIGHT = {"system.workers.isolates": 8}  # So that every station has servers to count.
SEARCH = LAUNCH.with_shares(search=1.0)


def rows(flow: f.Flow, rate_per_s: float, scenario: Scenario = SEARCH) -> dict[str, StationScreening]:
    """Screening of a Flow under Poisson arrivals, by station."""
    coming = traffic(scenario, keyed(flow)).at_rate(rate_per_s)
    return {row.station: row for row in screen_flow(flow, coming).rows}


# ---------------------------------------------------------------- exact


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (1, 0.9), (4, 0.8), (100, 0.95)])
def test_memoryless_queue_is_erlangs(servers: int, load: float) -> None:
    rate = servers * load / 10 * 1000
    row = rows((f.Serve(f.Station("q", servers), d.Exponential(mean=10), "q.work"),), rate)["q"]
    exact = MMc(rate, 10, servers)
    assert (row.utilization, row.busiest_utilization) == pytest.approx((load, load))
    assert row.wait_ms_mean == pytest.approx(exact.wait_mean_ms)
    assert row.queue_mean == pytest.approx(exact.queue_mean)
    assert row.rate_per_s_max == pytest.approx(servers * 100, rel=1e-3)


@pytest.mark.parametrize(
    "distribution", [d.Constant(value=10), d.Erlang(mean=10, stages=3), d.Lognormal(median=6, p99=50)]
)
def test_one_server_with_any_law_is_pollaczeks_and_khinchines(distribution: d.AnyDistribution) -> None:
    row = rows((f.Serve(f.Station("q"), distribution, "q.work"),), 60)["q"]
    assert row.wait_ms_mean == pytest.approx(MG1.of(60, distribution).wait_mean_ms)


def test_station_that_is_held_through_several_steps_is_one_service() -> None:
    """An exponential and a fixed part: mean and variance of the sum, by Pollaczek and Khinchine."""
    inner = (f.Delay(d.Exponential(mean=6), "q.a"), f.Delay(d.Constant(value=4), "q.b"))
    row = rows((f.Hold(f.Station("q"), inner),), 80)["q"]
    assert row.service_ms_mean == pytest.approx(10)
    assert row.wait_ms_mean == pytest.approx(MG1(80, 10, 36 / 100).wait_mean_ms)


def test_feedback_is_jacksons() -> None:
    """Forty per cent come back: visits, load and wait as in the network."""
    station, distribution = f.Station("q", 2), d.Exponential(mean=10)
    again = f.Repeat(f.Chance(0.4, "q.again"), (f.Serve(station, distribution, "q.more"),), "q.turn", limit=1000)
    row = rows((f.Serve(station, distribution, "q.work"), again), 90)["q"]
    exact = JacksonNetwork((90.0,), ((0.4,),), (10.0,), (2,))
    assert row.visits_mean == pytest.approx(1 / 0.6)
    assert row.wait_ms_mean == pytest.approx(exact.stations[0].wait_mean_ms)


def test_shared_processor_depends_on_the_mean_alone() -> None:
    """Sojourn S / (1 - load), whatever the distribution."""
    for distribution in (d.Constant(value=10), d.Hyperexponential(mean=10, cv2=4)):
        row = rows((f.Serve(f.Station("q", discipline="ps"), distribution, "q.work"),), 70)["q"]
        assert row.wait_ms_mean + 10 == pytest.approx(MG1.of(70, distribution).shared_sojourn_mean_ms)


def test_shared_link_is_a_station() -> None:
    """Uploads of 1 MB on 25 MB/s: 40 ms each, 20 a second make it 80 % busy."""
    sized = LAUNCH.with_shares(upload=1.0).vary("routes.upload.size_bytes", 1_000_000)
    flow = (f.Transfer(f.Link("wire", 25_000_000, shared=True), "wire"),)
    assert rows(flow, 20, sized)["wire"].utilization == pytest.approx(0.8)


def test_popular_key_makes_the_busiest_instance() -> None:
    """Zipf over 200 keys: the first gets 1 / H(200) = 17 % of all."""
    row = rows((f.Serve(f.Station("q", instances=200), d.Exponential(mean=1), "q.work"),), 1000)["q"]
    share = 1 / np.sum(1 / np.arange(1, 201))
    assert row.busiest_utilization == pytest.approx(share)
    assert row.utilization == pytest.approx(1 / 200)
    assert row.rate_per_s_max == pytest.approx(1000 / share, rel=1e-3)


def test_retries_of_what_fails_by_chance_multiply_the_load() -> None:
    """A fifth fails, two retries: 1 + 0.2 + 0.04 tries (H15); what failed before the station does not load it."""
    fails = f.Branch(f.Chance(0.2, "q.bad"), (f.Guard(f.During(0, 1e12), "error"),))
    work = f.Serve(f.Station("q"), d.Exponential(mean=1), "q.work")
    assert rows((f.Attempt((work, fails), "q.try", retries=2),), 100)["q"].visits_mean == pytest.approx(1.24)
    assert rows((f.Attempt((fails, work), "q.try", retries=2),), 100)["q"].visits_mean == pytest.approx(0.8 * 1.24)
    final = f.Attempt((work, fails), "q.try", retries=2, final=("error",))
    assert rows((final,), 100)["q"].visits_mean == pytest.approx(1)


def test_token_bucket_lets_its_rate_through() -> None:
    """Thirty tokens a second, a hundred requests."""
    flow = (
        f.Guard(f.Drained(f.Bucket("tokens", 30, 1)), "refused"),
        f.Serve(f.Station("q"), d.Exponential(mean=1), "q.work"),
    )
    assert rows(flow, 100)["q"].visits_mean == pytest.approx(0.3)
    assert rows(flow, 20)["q"].visits_mean == pytest.approx(1)


def test_latched_alarm_comes_once_in_its_delay() -> None:
    """Ten requests a second arm an alarm of one second: one starts in each 1.1 s, and empties what has come."""
    pending, station = f.Counter("pending"), f.Station("q")
    empty = (
        f.Serve(station, f.Time(f.ZERO.distribution, each_ms=2.0, of=pending, at_most=3), "q.rows"),
        f.Count(pending, -3.0),
    )
    alarm = f.Spawn(
        (f.Repeat(f.CountAtLeast(pending, 1), empty, "q.chunk", limit=1000),),
        "q.alarm", after=d.Constant(value=1000), once=f.Latch("armed"),
    )  # fmt: skip
    row = rows((f.Count(pending), alarm), 10)["q"]
    assert row.utilization == pytest.approx(10 * 2.0 / 1000)  # Two milliseconds a row, whatever the chunks.
    assert row.visits_mean == pytest.approx((11 / 3 + 0.5) / 11)


# ---------------------------------------------------------------- near the simulation

BURSTY = {"kind": "bursty", "rate_per_s": 36.2, "burst_rate_per_s": 144.8, "mean_calm_s": 1.6, "mean_burst_s": 0.4}
SEED = {"system.ledger.policy": "seed", "system.ledger.event_bytes": 1}  # Its log is never full.
DEPLOYMENTS: dict[str, dict[str, Any]] = {
    "launch": {},
    "four shards": {"system.durable_objects.shards": 4},
    "one shard": {"system.durable_objects.shards": 1, "workload.arrivals.rate_per_s": 300.0},
    "seed policy": {**SEED, "workload.arrivals.rate_per_s": 200.0},
    "one hot key": {"workload.keys.zipf": 2.0, "workload.arrivals.rate_per_s": 300.0},
    "slow database": {
        "system.d1.read_ms": {"distribution": "exponential", "mean": 8.0},
        "workload.arrivals.rate_per_s": 300.0,
        "workload.duration_s": 1200,
    },
    "two streams": {"system.tunnel.streams": 2, "workload.arrivals.rate_per_s": 200.0},
    "one isolate": {"system.workers.isolates": 1, "workload.arrivals.rate_per_s": 380.0},
    "short eviction": {"system.durable_objects.evict_idle_ms": 2000.0},
    "many flushes": {"system.ledger.flush_interval_s": 1.0, "workload.arrivals.rate_per_s": 200.0},
    "many organisations": {"workload.keys.count": 20_000},
    "bursts": {"workload.arrivals": BURSTY},
    "two databases": {
        "system.archive": {"like": "d1", "read_ms": {"distribution": "exponential", "mean": 6.0}},
        "routes.search.steps": [
            "workers.compute",
            {"parallel": True, "steps": ["d1.read", {"use": "archive.read", "times": 2}]},
            {"use": "r2.get", "chance": 0.2},
        ],
        "workload.arrivals.rate_per_s": 200.0,
    },
    "behind a cache": {
        "routes.balance.steps": [
            "workers.compute",
            {"chance": 0.3, "steps": ["durable_objects.read", {"use": "d1.write", "spawn": True, "times": 3}]},
        ],
        "workload.arrivals.rate_per_s": 200.0,
    },
    "ramp": {"workload.arrivals": {"kind": "ramp", "rate_per_s": 20.0, "to_rate_per_s": 180.0}},
}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_screening_is_near_the_simulation(name: str) -> None:
    """Utilization within 5 %, busiest instance within 6 % or 0.005, mean latency within 4 %, all routes within 8 %."""
    scenario = LAUNCH.with_(**{**EIGHT, **DEPLOYMENTS[name]})
    seen = screen(scenario)
    result = play(scenario, schedule(scenario), on="compiled", seed=scenario.seed)
    stations = result.stations.set_index("station")
    for row in seen.rows:
        assert row.utilization == pytest.approx(stations.loc[row.station, "utilization"], rel=0.05), row
        busiest = stations.loc[row.station, "utilization_busiest"]
        assert row.busiest_utilization == pytest.approx(busiest, rel=0.06, abs=0.005), row
        wait_ms = stations.loc[row.station, "wait_mean_ms"]
        assert row.wait_ms_mean == pytest.approx(wait_ms, rel=0.25, abs=0.1), row
    assert seen.latency_ms_mean == pytest.approx(result.frame["latency_ms"].mean(), rel=0.04)
    for route, mean_ms in result.frame.groupby("route", observed=True)["latency_ms"].mean().items():
        assert seen.routes[str(route)] == pytest.approx(mean_ms, rel=0.08)


def test_closed_loop_finds_its_rate() -> None:
    """Sixty users who think for a second: rate and latency within 5 % of what the simulation settles at."""
    scenario = load_scenario("shapes/closed")
    seen = screen(scenario)
    frame = play(scenario, schedule(scenario), on="compiled", seed=1).frame
    arrival_ms = np.sort(frame["arrival_ms"])[1000:4000]
    assert seen.rate_per_s == pytest.approx(3000 / (arrival_ms[-1] - arrival_ms[0]) * 1000, rel=0.05)
    assert seen.latency_ms_mean == pytest.approx(frame["latency_ms"].mean(), rel=0.05)


def test_closed_loop_of_too_many_users_runs_at_the_bound() -> None:
    crowd = load_scenario("shapes/closed").vary("workload.arrivals.users", 100_000)
    seen = screen(crowd)
    assert seen.rate_per_s == pytest.approx(seen.rate_per_s_max, rel=0.01)


# Hazards H13 (one shard), H3 (seed policy), H18 (slow database), H41 (two streams) and H70 (many flushes).
BOUNDED = ["one shard", "seed policy", "one hot key", "slow database", "two streams", "one isolate", "many flushes"]


@pytest.mark.parametrize("name", BOUNDED)
def test_no_simulation_bears_more_than_the_bound(name: str) -> None:
    """Five per cent beyond it, some instance of some station has more work than it can do, and the bound named it."""
    scenario = LAUNCH.with_(**DEPLOYMENTS[name])
    seen = screen(scenario)
    beyond = scenario.at_rate(1.05 * seen.rate_per_s_max).with_(**{"workload.duration_s": 120, "workload.warm_up_s": 0})
    bound = screen(beyond)  # The seed policy's demand depends on how long the run is.
    beyond = beyond.at_rate(1.05 * bound.rate_per_s_max).with_(**{"system.client.timeout_ms": 1e9})
    unlimited = {"system.d1.queue_limit": 10**9, "system.durable_objects.queue_limit": 10**9}
    beyond = beyond.with_(**unlimited)
    result = play(beyond, schedule(beyond), on="compiled", seed=3)
    assert max(result.offered_ratio, key=lambda station: result.offered_ratio[station]) == bound.bottleneck
    assert result.offered_ratio[bound.bottleneck] > 1
    assert bound.bottleneck in result.unstable


def test_overload_is_shown_and_bounded_by_the_length_of_the_run() -> None:
    """An isolate with 10 % too much work: a queue that has grown for half the run, not for ever."""
    over = LAUNCH.with_(**{"system.workers.isolates": 1, "workload.arrivals.rate_per_s": 500.0})
    row = next(row for row in screen(over).rows if row.station == "workers")
    assert row.busiest_utilization == pytest.approx(1.1)
    assert 0.1 * 600_000 / 2 < row.wait_ms_mean < 0.15 * 600_000 / 2


def test_full_queue_refuses_what_is_too_much() -> None:
    """A quarter more than one server can do, room for three: a fifth is refused, the wait is short."""
    full, free = f.Station("q", queue_limit=3), f.Station("r")
    seen = rows((f.Serve(full, d.Exponential(mean=10), "q.a"), f.Serve(free, d.Exponential(mean=1), "r.a")), 125)
    assert seen["q"].wait_ms_mean <= 30
    assert seen["r"].visits_mean == pytest.approx(0.8)


# ---------------------------------------------------------------- any Flow


few = settings(max_examples=60, deadline=None)
"""Each example is a dozen walks, or a simulation."""

INSTANT = f.Station("instant")
ALMOST_INSTANT = (
    f.Guard(f.Idle(INSTANT, longer_than_ms=1.0), "overloaded"),
    f.Serve(INSTANT, d.Constant(value=1e-300), "instant.work"),
)
"""A station whose bound lies beyond the largest number; whether it was idle says that it depends on its rate."""


@few
@given(flow=any_flow(), rate_per_s=st.sampled_from([1.0, 100.0, 5000.0]))
@example(flow=ALMOST_INSTANT, rate_per_s=1.0)
@example(flow=(f.Repeat(f.Idle(INSTANT, 0.0), ALMOST_INSTANT, "instant.again", limit=1),), rate_per_s=1.0)
def test_any_flow_can_be_screened(flow: f.Flow, rate_per_s: float) -> None:
    """Every step, nested: finite numbers, no warning, the bottleneck is the station that bears least."""
    mixed = LAUNCH.with_shares(log=2.0, balance=1.0, search=1.0).vary("workload.keys.count", 5)
    seen = screen_flow(flow, traffic(mixed, keyed(flow)).at_rate(rate_per_s))
    assert 0 <= seen.latency_ms_mean < float("inf")
    assert seen.rate_per_s_max > 0
    for row in seen.rows:
        assert 0 <= row.utilization <= row.busiest_utilization + 1e-12 < float("inf")
        assert 0 <= row.wait_ms_mean < float("inf")
        assert row.rate_per_s_max >= seen.rate_per_s_max * (1 - 1e-9)
    assert seen.bottleneck in {row.station for row in seen.rows} | {"none"}


def stateless(draw: Any, depth: int) -> f.Flow:
    """A Flow whose demand does not depend on state: chance, routes, holds, repeats, joins of everything."""
    distributions: list[d.AnyDistribution] = [
        d.Exponential(mean=2.0),
        d.Constant(value=1.0),
        d.Lognormal(median=2.0, p99=9.0),
    ]

    def part(number: int) -> f.Step:
        distribution, inner = draw(st.sampled_from(distributions)), stateless(draw, depth - 1) if depth else ()
        stream = f"{draw(st.sampled_from('abcd'))}{depth}{number}.x"
        kinds: list[f.Step] = [
            f.Serve(f.Station("one", 2), distribution, stream),
            f.Serve(f.Station("two", instances=3), distribution, stream),
            f.Delay(distribution, stream),
        ]
        if depth:
            kinds += [
                f.Branch(f.Chance(0.3, f"{stream}.chance"), inner),
                f.Match((("log", inner), ("search", ()))),
                f.Repeat(
                    f.Chance(0.5, f"{stream}.again"), (f.Delay(distribution, stream), *inner), f"{stream}.turn", limit=5
                ),
                f.Spawn(inner, f"{stream}.spawn"),
                f.Parallel((inner, (f.Delay(distribution, stream),)), 2, f"{stream}.both"),
            ]
        chosen: f.Step = draw(st.sampled_from(kinds))
        return chosen

    return tuple(part(number) for number in range(draw(st.integers(1, 3))))


@few
@given(st.data())
def test_demand_of_a_stateless_flow_is_that_of_a_simulation(data: st.DataObject) -> None:
    """Four thousand requests: visits within five standard errors, whatever the Flow."""
    flow = stateless(data.draw, 2)
    mixed = LAUNCH.with_shares(log=2.0, search=1.0).vary("workload.arrivals.rate_per_s", 20.0)
    mixed = mixed.with_(**{"workload.requests": 4_000, "workload.duration_s": None, "workload.warm_up_s": 0.0})
    seen = screen_flow(flow, traffic(mixed, keyed(flow)))
    planned: Schedule = schedule(mixed)
    use = station_frame((run := compiled_engine.simulate(flow, planned, seed=7)).stations, run.horizon_ms)
    served = dict(zip(use["station"], use["served"] / len(planned), strict=True))
    for row in seen.rows:
        assert row.visits_mean == pytest.approx(served[row.station], abs=0.1, rel=0.1)


# ---------------------------------------------------------------- faces


def test_screening_is_labelled_and_says_what_it_took_for_granted() -> None:
    seen = screen(LAUNCH)
    assert seen.label == LABEL
    assert LABEL in str(seen)
    assert "workers elastic; durable_objects bears at most" in str(seen)
    assert any("durable_objects" in sentence for sentence in seen.approximations)


def test_frame_has_a_row_a_station_with_units_in_its_columns() -> None:
    frame = screen(LAUNCH).frame
    assert frame["station"].tolist() == ["d1", "durable_objects", "tunnel", "workers"]
    assert {"demand_ms", "busiest_utilization", "wait_ms_mean", "rate_per_s_max"} <= set(frame.columns)


def test_another_rate_is_asked_without_changing_the_scenario() -> None:
    """Work in proportion; the bound stays where it is."""
    eight = LAUNCH.with_(**EIGHT)
    once, twice = screen(eight), screen(eight, 2 * 57.9)
    workers = [next(row for row in seen.rows if row.station == "workers") for seen in (once, twice)]
    assert workers[1].utilization == pytest.approx(2 * workers[0].utilization)
    assert twice.rate_per_s_max == pytest.approx(once.rate_per_s_max, rel=1e-3)


def test_same_scenario_gives_the_same_screening() -> None:
    assert repr(screen(LAUNCH)) == repr(screen(replace_nothing(LAUNCH)))


def replace_nothing(scenario: Scenario) -> Scenario:
    """An equal scenario, made anew."""
    return scenario.vary("seed", scenario.seed)


def test_flow_without_stations_has_no_bottleneck() -> None:
    coming = replace(traffic(SEARCH, {}), rate_per_s=5.0)
    seen = screen_flow((f.Delay(d.Constant(value=3.0), "a.b"),), coming)
    assert (seen.bottleneck, seen.rate_per_s_max, seen.latency_ms_mean) == ("none", float("inf"), 3.0)


@pytest.mark.parametrize(
    ("name", "rate_per_s", "message"),
    [
        ("launch", 0.0, "rate_per_s=0 must be > 0 and finite"),
        ("launch", float("nan"), "rate_per_s=nan must be > 0 and finite"),
        ("shapes/closed", 5.0, "cannot be set for a closed loop"),
    ],
)
def test_impossible_rate_is_refused(name: str, rate_per_s: float, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        screen(load_scenario(name), rate_per_s)


def test_process_of_the_users_own_is_refused() -> None:
    flow = (f.Custom(print, "mine"),)
    with pytest.raises(UsageError, match="Custom\\('mine'\\) cannot be screened"):
        screen_flow(flow, traffic(SEARCH, {}))


def test_deployment_of_every_shipped_scenario_can_be_screened() -> None:
    for name in ("launch", "phase2", "phase4", "shapes/trace", "shapes/step"):
        scenario = load_scenario(name)
        assert {row.station for row in screen(scenario).rows} == {
            s.name for s in f.states(deployment(scenario), f.Station)
        }
