"""The iteration of the screening, with queues and caches.

Goal: it settles, near the simulation, for batches of any size; where it does not, that is said. Method: queues from
lonely messages to batches that are always full, and the shipped scenarios.
"""

import pytest

from sim import flow as f
from sim.engines import compiled_engine
from sim.randomness import distributions as d
from sim.runners.play import play
from sim.runners.simulated import station_frame
from sim.scenario.deployment import deployment
from sim.scenario.generation import schedule
from sim.scenario.scenario import Scenario, load_scenario
from sim.screening import keyed, screen, screen_flow
from sim.screening.approximation import UNSETTLED
from sim.screening.traffic import EVERY_ROUTE, traffic

LAUNCH = load_scenario("launch")
SEARCH = LAUNCH.with_shares(search=1.0)


def batches(batch: int, timeout_ms: float) -> f.Flow:
    """The flow of sending a message, as the component builds it: full batches at once, the rest by the timer."""
    scenario = load_scenario("social").with_(
        **{
            "system.queues.batch_messages": batch,
            "system.queues.batch_timeout_s": timeout_ms / 1000,
            "routes.post.steps": ["queues.send"],
        }
    )
    return tuple(step for route, steps in deployment_routes(scenario) if route == "post" for step in steps)


def deployment_routes(scenario: Scenario) -> tuple[tuple[str, f.Flow], ...]:
    """The paths of a scenario's routes."""
    return next(part for part in f.walk(deployment(scenario)) if isinstance(part, f.Match)).routes


@pytest.mark.parametrize("rate_per_s", [0.1, 1.0, 5.0, 40.0, 400.0])
@pytest.mark.parametrize("batch", [2, 10, 100])
@pytest.mark.parametrize("timeout_ms", [100.0, 5_000.0])
def test_batches_of_a_queue_are_those_of_a_simulation(batch: int, timeout_ms: float, rate_per_s: float) -> None:
    """Deliveries per message within 4 %, from lonely messages to batches that are always full."""
    flow = batches(batch, timeout_ms)
    fixed = {"workload.requests": 6_000, "workload.duration_s": None, "workload.warm_up_s": 0.0}
    one = LAUNCH.with_shares(search=1.0).with_(**{**fixed, "workload.arrivals.rate_per_s": rate_per_s})
    seen = screen_flow(flow, traffic(one, keyed(flow)))
    planned = schedule(one)
    run = compiled_engine.simulate(flow, planned, seed=7)
    use = station_frame(run.stations, run.horizon_ms)
    served = dict(zip(use["station"], use["served"] / len(planned), strict=True))["queues"]
    row = next(row for row in seen.rows if row.station == "queues")
    assert seen.settled
    assert row.visits_mean == pytest.approx(served, rel=0.04)


@pytest.mark.parametrize("times", [0.1, 1.0, 10.0])
def test_deployment_with_a_queue_and_a_cache_is_near_the_simulation(times: float) -> None:
    """The social network at a tenth, once and ten times its peak: as near as the deployments above."""
    scenario = load_scenario("social")
    scenario = scenario.at_rate(times * 138.9)
    seen = screen(scenario)
    result = play(scenario, schedule(scenario), on="compiled", seed=scenario.seed)
    stations = result.stations.set_index("station")
    assert seen.settled
    for row in seen.rows:
        assert row.utilization == pytest.approx(
            stations.loc[row.station, "utilization"], rel=0.08, abs=5e-4, nan_ok=True
        )
    counts = result.frame["route"].value_counts()
    for route, mean_ms in result.frame.groupby("route", observed=True)["latency_ms"].mean().items():
        if counts[str(route)] > 200:  # Of the others the sample says little.
            assert seen.routes[str(route)] == pytest.approx(mean_ms, rel=0.08)


@pytest.mark.parametrize("name", ["launch", "social", "feed", "phase2", "phase3", "phase4", "shapes/closed"])
def test_iteration_settles_for_what_is_shipped(name: str) -> None:
    assert screen(load_scenario(name)).settled


@pytest.mark.parametrize("size", [2, 10, 100])
def test_batches_without_a_timer_are_always_full(size: int) -> None:
    """The fuller a batch is the less often it is taken: the plain iteration alternates, this one settles."""
    counter, station = f.Counter("pending"), f.Station("q")
    full = (f.Count(counter, by=-size), f.Serve(station, d.Constant(value=1.0), "q.work"))
    flow = (f.Count(counter), f.Branch(f.CountAtLeast(counter, size), full))
    seen = screen_flow(flow, traffic(SEARCH, keyed(flow)).at_rate(100.0))
    assert seen.settled
    assert seen.rows[0].visits_mean == pytest.approx(1 / size, rel=0.01)


def test_iteration_that_does_not_settle_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """One walk is never enough."""
    monkeypatch.setattr("sim.screening.approximation.WALKS_MAX", 1)
    seen = screen(LAUNCH)
    assert not seen.settled
    assert UNSETTLED in seen.label
    assert UNSETTLED in str(seen)


def test_keys_of_two_populations_are_merged() -> None:
    """Each person has an object, each room one: 20,000 and 300 instances need no 20,000 columns."""
    scenario = load_scenario("social")
    flow = deployment(scenario)
    merged = traffic(scenario, keyed(flow))
    assert merged.merged
    assert merged.share.shape[1] < 400
    apart = traffic(scenario, dict.fromkeys(keyed(flow), EVERY_ROUTE))
    near, exact = screen_flow(flow, merged), screen_flow(flow, apart)
    assert near.latency_ms_mean == pytest.approx(exact.latency_ms_mean, rel=0.01)
    for one, other in zip(near.rows, exact.rows, strict=True):
        assert one.busiest_utilization == pytest.approx(other.busiest_utilization, rel=0.01, nan_ok=True)
        assert one.utilization == pytest.approx(other.utilization, rel=0.01, nan_ok=True)
