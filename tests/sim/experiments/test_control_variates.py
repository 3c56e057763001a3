"""Control variates of a scenario.

Goal: the mean latency is known several times better from the same runs, and its interval still holds the truth.
Method: what a run was dealt beside what the engine attributed; companions over many seeds; a queue fed through a wire,
whose mean is Erlang's plus the wire's.
"""

from typing import Any

import numpy as np
import pytest

from sim import flow as f
from sim.engines import compiled_engine
from sim.errors import UsageError
from sim.experiments.control_variates import busiest_server, companions, controlled_latency, sizes_of
from sim.experiments.draws import Hand
from sim.experiments.replications import spawned_seeds
from sim.models.deployment import deployment
from sim.randomness.distributions import Constant, Exponential
from sim.scenario.generation import schedule
from sim.scenario.scenario import Scenario, load_scenario
from sim.theory import MMc
from tests.support.schedules import at, poisson

NOTHING = {"law": "constant", "value": 0.0}
LAUNCH = load_scenario("launch")
WIRE_MS, READ_MS, RATE_PER_S = 20.0, 5.0, 140.0


@pytest.fixture(scope="module")
def queue_behind_a_wire() -> Scenario:
    """Searches only: half a round trip of random length, an M/M/1 queue at 70 %, the other half."""
    return LAUNCH.with_(
        **{
            "workload.duration_s": 40,
            "workload.warm_up_s": 5,
            "workload.mix": {"search": 1.0},
            "workload.arrivals.rate_per_s": RATE_PER_S,
            "system.network.client_rtt_ms": NOTHING,
            "system.workers.cpu_ms": NOTHING,
            "system.workers.cold_fraction": 0.0,
            "system.d1.rtt_ms": {"law": "exponential", "mean": WIRE_MS},
            "system.d1.read_ms": {"law": "exponential", "mean": READ_MS},
        }
    )


# ---------------------------------------------------------------- what a run was dealt


def test_dealt_times_are_what_an_idle_deployment_books() -> None:
    """One request a minute never waits: its latency is what it was dealt, but for what depends on state."""
    flow: f.Flow = (
        f.Delay(f.Time(Exponential(mean=8.0), scale=0.5), "net.rtt"),
        f.Branch(f.Chance(0.3, "w.cold"), (f.Delay(Exponential(mean=50.0), "w.start"),)),
        f.Hold(f.Station("o"), (f.Delay(Exponential(mean=3.0), "o.write"),)),
        f.Serve(f.Station("d"), Exponential(mean=2.0), "d.read"),
        f.Attempt((f.Delay(Constant(value=1.0), "a.b"),), "a.try", timeout_ms=1000.0),
        f.Match((("log", (f.Delay(Constant(value=99.0), "l.b"),)), ("log", (f.Delay(Constant(value=2.0), "l.c"),)))),
    )
    planned = poisson(300, rate_per_s=1 / 60)
    hand = Hand(flow, planned, seed=5)
    run = compiled_engine.simulate(flow, planned, seed=5)
    np.testing.assert_allclose(hand.times.drawn_ms, run.latency_ms, rtol=1e-9)
    assert hand.times.mean_ms == pytest.approx(4 + 15 + 3 + 2 + 1 + 2)
    assert hand.times.spread == pytest.approx(16 + 0.3 * 50**2 * 2 - 15**2 + 9 + 4)


def test_bodies_take_the_time_of_their_size() -> None:
    """1,000 bytes at 25,000 bytes a second: 40 ms; the mean is that of the law."""
    sized = LAUNCH.with_(**{"workload.mix": {"upload": 1.0, "log": 1.0}, "workload.sizes.upload_bytes": 1_000})
    planned = schedule(sized)
    hand = Hand((f.Transfer(f.Link("wire", 25_000.0), "wire"),), planned, seed=1, sizes=sizes_of(sized))
    uploads = planned.route_code == planned.routes.index("upload")
    assert np.unique(hand.times.drawn_ms[uploads]).tolist() == [40.0]
    assert np.unique(hand.times.mean_ms[uploads]) == pytest.approx([40.0])
    assert not hand.times.drawn_ms[~uploads].any()


def test_visits_that_chance_decides_are_not_counted_as_certain() -> None:
    """A plain queue needs to know who comes."""
    serve = f.Serve(f.Station("q"), Exponential(mean=1.0), "q.work")
    assert Hand((f.Branch(f.Chance(0.5, "q.maybe"), (serve,)),), at(range(5)), seed=1).served == ()
    (served,) = Hand((serve,), at(range(5)), seed=1).served
    assert served.who.tolist() == [0, 1, 2, 3, 4]


def test_what_depends_on_state_is_left_out() -> None:
    """Cold starts, guards, alarms, loops: nothing drawn, nothing expected."""
    station, counter = f.Station("o"), f.Counter("n")
    flow: f.Flow = (
        f.Hold(station, (f.Branch(f.Idle(station, 5.0), (f.Delay(Exponential(mean=9.0), "o.cold"),)),)),
        f.Guard(f.Drained(f.Bucket("b", 1.0, 1.0)), "refused"),
        f.Count(counter),
        f.Spawn((f.Delay(Exponential(mean=9.0), "s.x"),), "s.y"),
        f.Repeat(f.CountAtLeast(counter, 1), (f.Count(counter, -1.0),), "r.x", limit=9),
    )
    times = Hand(flow, at(range(5)), seed=1).times
    assert not np.any(times.drawn_ms)
    assert not np.any(times.mean_ms)


# ---------------------------------------------------------------- companions


@pytest.mark.parametrize("changes", [{}, {"system.durable_objects.shards": 1, "workload.arrivals.rate_per_s": 300.0}])
def test_companions_are_zero_on_the_average(changes: dict[str, Any]) -> None:
    """Two hundred seeds of a short launch: each mean within four of its standard errors."""
    scenario = LAUNCH.with_(**{"workload.duration_s": 40, "workload.warm_up_s": 10, **changes})
    station, flow, sizes = busiest_server(scenario), deployment(scenario), sizes_of(scenario)
    found = []
    for seed in spawned_seeds(3, 200):
        planned = schedule(scenario, seed)
        hand = Hand(flow, planned, seed=seed, sizes=sizes)
        found.append(companions(scenario, planned, hand=hand, station=station))
    assert set(found[0]) == {"times", "routes", "waits"}
    for name in found[0]:
        luck = np.array([one[name] for one in found])
        assert abs(luck.mean()) < 4 * luck.std() / len(luck) ** 0.5, name
        assert luck.std() > 0


def test_trace_has_no_luck_in_its_routes_and_arrivals() -> None:
    """They were recorded, not drawn."""
    scenario = load_scenario("shapes/trace")
    planned = schedule(scenario)
    hand = Hand(deployment(scenario), planned, seed=1, sizes=sizes_of(scenario))
    assert set(companions(scenario, planned, hand=hand, station="d1")) == {"times"}


@pytest.mark.parametrize(("station", "rate_per_s"), [("nowhere", 140.0), ("", 140.0), ("d1", 199.0)])
def test_no_plain_queue_no_companion(queue_behind_a_wire: Scenario, station: str, rate_per_s: float) -> None:
    """No such station, or one that is so busy that no run comes to its mean."""
    scenario = queue_behind_a_wire.vary("workload.arrivals.rate_per_s", rate_per_s)
    planned = schedule(scenario)
    hand = Hand(deployment(scenario), planned, seed=1)
    assert "waits" not in companions(scenario, planned, hand=hand, station=station)


def test_busiest_server_is_the_one_that_arithmetic_names(queue_behind_a_wire: Scenario) -> None:
    assert busiest_server(queue_behind_a_wire) == "d1"
    assert busiest_server(LAUNCH.vary("system.durable_objects.shards", 1)) == "durable_objects"


# ---------------------------------------------------------------- the corrected mean


def test_corrected_mean_is_sharper_and_still_holds_the_truth(queue_behind_a_wire: Scenario) -> None:
    """Forty experiments of ten runs: 88 % or more hold Erlang's mean plus the wire's, with a tenth of the variance."""
    truth_ms = WIRE_MS + MMc(RATE_PER_S, READ_MS).sojourn_mean_ms
    held, ratios = [], []
    for experiment in range(40):
        found = controlled_latency(queue_behind_a_wire.vary("seed", experiment), seeds=10)
        held.append(found.estimate.holds(truth_ms))
        ratios.append(found.variance_ratio)
    assert np.mean(held) >= 0.88
    assert np.median(ratios) > 10


@pytest.mark.parametrize(
    ("changes", "gain"),
    [
        ({"workload.duration_s": 300, "workload.warm_up_s": 60}, 1.5),
        ({"system.durable_objects.shards": 1, "workload.arrivals.rate_per_s": 550.0}, 8),
        ({"workload.keys.zipf": 2.0, "workload.arrivals.rate_per_s": 900.0}, 4),
    ],
    ids=["launch", "one shard", "hot key"],
)
def test_whole_deployments_gain(changes: dict[str, Any], gain: float) -> None:
    """Where hardly anybody waits, the times drawn explain the mean; where there is a queue, the plain queue does."""
    scenario = LAUNCH.with_(**{"workload.duration_s": 60, "workload.warm_up_s": 5, **changes})
    found = controlled_latency(scenario, seeds=20)
    assert found.variance_ratio > gain
    assert found.estimate.n == 20


def test_same_seed_gives_the_same_answer(queue_behind_a_wire: Scenario) -> None:
    assert controlled_latency(queue_behind_a_wire, seeds=5) == controlled_latency(queue_behind_a_wire, seeds=5)


def test_too_few_runs_are_refused(queue_behind_a_wire: Scenario) -> None:
    with pytest.raises(UsageError, match=r"seeds=4 must be >= 5 \(companions cost degrees of freedom\)"):
        controlled_latency(queue_behind_a_wire, seeds=4)
