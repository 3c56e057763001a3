"""Goal: what no engine can play is refused in one line before the run, and what it can barely play is reported.

Method: both engines get the same hard input; the categories of single requests check the meters of the stations.
"""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest

from sim import flow as f
from sim.engines import compiled_engine, simpy_engine
from sim.engines.checks import check_ended, check_little
from sim.engines.compiled_engine.kernel import jit
from sim.engines.compiled_engine.world import World
from sim.engines.recording import UNFINISHED, Recording, StationUse
from sim.flow.state import Discipline
from sim.foundation import free_memory
from sim.foundation.errors import ModelError, UsageError
from sim.randomness.distributions import Constant, Exponential
from sim.runners.play import run
from sim.scenario.scenario import load_scenario
from tests.support.schedules import at, poisson

Simulate = Callable[..., Recording]

ONE = Constant(value=1.0)
SERVE = f.Serve(f.Station("desk"), Exponential(mean=10.0), "desk.work")
ENGINES = (simpy_engine.simulate, compiled_engine.simulate)
both = pytest.mark.parametrize("simulate", ENGINES, ids=["simpy", "compiled"])


# ---------------------------------------------------------------- too much work


@both
def test_an_unstable_run_ends_and_names_the_station(simulate: Simulate) -> None:
    """110 requests a second for a desk that serves 100; the shop before it keeps up and is not named."""
    shop = f.Serve(f.Station("shop", servers=4), Exponential(mean=10.0), "shop.work")
    played = simulate((shop, SERVE), poisson(20_000, rate_per_s=110), seed=1)
    assert [use.name for use in played.unstable] == ["desk"]
    assert played.unstable[0].offered_ratio(played.horizon_ms) == pytest.approx(1.1, abs=0.05)
    assert np.isfinite(played.latency_ms).all()


@both
def test_an_unstable_wire_is_named_too(simulate: Simulate) -> None:
    """1,000 bytes a second are sent over a shared wire that carries 900."""
    wire = f.Transfer(f.Link("wire", bytes_per_s=900.0, shared=True), "wire")
    played = simulate((wire,), poisson(2_000, rate_per_s=10, size_bytes=100), seed=1)
    assert [use.name for use in played.unstable] == ["wire"]


@both
def test_the_newest_first_has_the_mean_wait_of_the_order_of_arrival_and_a_longer_tail(simulate: Simulate) -> None:
    """M/M/1: E[W] = rho / (mu - lambda); E[W^2] = 2 rho / (mu - lambda)^2 in order of arrival, over 1 - rho if not."""
    mu, rho = 0.1, 0.6
    mean_ms, square = rho / (mu * (1 - rho)), 2 * rho / (mu * (1 - rho)) ** 2
    coming = poisson(150_000, rate_per_s=1000 * rho * mu)
    disciplines: tuple[tuple[Discipline, float], ...] = (("fcfs", 1.0), ("lcfs", 1 / (1 - rho)))
    for discipline, times in disciplines:
        station = f.Station("desk", discipline=discipline)
        played = simulate((f.Serve(station, Exponential(mean=1 / mu), "desk.work"),), coming, seed=3)
        waits_ms = played.categories["desk_queue"]
        assert waits_ms.mean() == pytest.approx(mean_ms, rel=0.05)
        assert (waits_ms**2).mean() == pytest.approx(times * square, rel=0.15)


@both
def test_a_stable_run_is_not_called_unstable(simulate: Simulate) -> None:
    """90 of 100."""
    assert simulate((SERVE,), poisson(20_000, rate_per_s=90), seed=1).unstable == ()


@both
def test_what_a_station_refuses_was_offered_to_it(simulate: Simulate) -> None:
    """Twice what it can do, but never more than five in the queue: half of them are refused, and counted."""
    desk = f.Serve(f.Station("desk", queue_limit=5), Exponential(mean=10.0), "desk.work")
    played = simulate((desk,), poisson(20_000, rate_per_s=200), seed=1)
    assert played.stations[0].refused == (played.outcome == f.OUTCOMES.index("overloaded")).sum() > 9_000
    assert played.unstable == played.stations
    assert played.stations[0].offered_ratio(played.horizon_ms) == pytest.approx(2.0, abs=0.1)


@both
def test_background_flows_are_counted_by_step_and_outcome(simulate: Simulate) -> None:
    """Two steps of one name together; one flow within another by its own name; what a request meets is not counted."""
    full = f.CountAtLeast(f.Counter("sent"), 3)
    inner = f.Spawn((f.Guard(full, "refused"), f.Count(f.Counter("sent"))), "feed.kv.put.spawn")
    outer = f.Spawn((f.Delay(ONE, "kv.write"), inner, f.Guard(full, "error")), "feed.group.spawn")
    recording = simulate((inner, outer, f.Guard(full, "overloaded")), at([0.0, 10.0, 20.0]), seed=1)
    ended = {use.name: use.ended for use in recording.followers}
    assert ended == {"feed.group.spawn": {"ok": 1, "error": 2}, "feed.kv.put.spawn": {"ok": 3, "refused": 3}}
    assert (recording.spawned_failures, recording.followers[1].count) == (5, 6)


@both
def test_a_closed_loop_is_never_unstable(simulate: Simulate) -> None:
    """Three users who never think keep the desk busy all the time; more cannot come."""
    closed = at(np.zeros(999), user=np.arange(999) % 3, think_ms=np.zeros(999))
    played = simulate((SERVE,), closed, seed=1)
    assert played.stations[0].offered_ratio(played.horizon_ms) == pytest.approx(1.0)
    assert played.unstable == ()


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_a_result_says_that_it_is_unstable(engine: str) -> None:
    """One D1 at three times its rate: in the notes, and in one line."""
    slow = load_scenario("launch").vary("system.d1.read_ms", {"distribution": "constant", "value": 200})
    result = run(slow, on=engine, rng=1, requests=5_000)
    assert "d1" in result.unstable
    assert "UNSTABLE at" in repr(result)
    assert any(note.startswith("unstable: station d1 is offered") for note in result.notes)


# ---------------------------------------------------------------- Little's law


@both
def test_the_meters_agree_with_the_single_requests(simulate: Simulate) -> None:
    """The integral of the queue is the sum of the single waits; that of busy servers the sum of service."""
    flow = (f.Serve(f.Station("desk", servers=2, instances=2), Exponential(mean=10.0), "desk.work"),)
    played = simulate(flow, poisson(5_000, rate_per_s=300, keys=2), seed=1)
    use = played.stations[0]
    assert use.queue_total_ms == pytest.approx(played.categories["desk_queue"].sum(), rel=1e-9)
    assert use.waited_ms == pytest.approx(played.categories["desk_queue"].sum(), rel=1e-9)
    assert use.waited_ms > use.served


@both
def test_every_run_is_checked_by_littles_law(simulate: Simulate) -> None:
    """Neither engine returns before the distribution has seen all stations."""
    with patch(f"{simulate.__module__}.check_little") as distribution:
        played = simulate((SERVE,), poisson(100, rate_per_s=90), seed=1)
    distribution.assert_called_once_with(played.stations)


def test_littles_law_allows_for_rounding_and_no_more() -> None:
    """A part in a million."""

    def use(waited_ms: float) -> StationUse:
        numbers = {"busy_ms": 1.0, "queue_ms": 1.0, "queue_total_ms": 1e6, "busiest_ms": 1.0, "offered_ms": 1.0}
        return StationUse("desk", servers=1, instances=1, served=9, refused=0, waited_ms=waited_ms, **numbers)

    check_little((use(1e6 + 0.5),))
    with pytest.raises(AssertionError, match="Little"):
        check_little((use(1e6 + 2.0),))


# ---------------------------------------------------------------- what cannot be played


@both
def test_an_empty_flow_is_refused(simulate: Simulate) -> None:
    with pytest.raises(ModelError, match=r"flow=\(\) must have at least one step"):
        simulate((), at([0.0]), seed=1)


@both
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"size_bytes": np.array([5, -5])}, r"schedule.size_bytes\[1\]=-5 must be between 0 and 1e\+15"),
        ({"tokens_in": np.array([-1, 2])}, r"schedule.tokens_in\[0\]=-1 must be"),
        ({"route_code": np.array([0, 7], dtype=np.int16)}, r"schedule.route_code\[1\]=7 must be between 0 and 0"),
        ({"user": np.array([0, 1]), "think_ms": np.array([1.0, np.nan])}, r"schedule.think_ms\[1\]=nan must be"),
        ({"user": np.array([0, 1]), "think_ms": np.array([-1.0, 0.0])}, r"schedule.think_ms\[0\]=-1 must be"),
    ],
    ids="size tokens route nan negative".split(),
)
def test_a_schedule_without_sense_is_refused(simulate: Simulate, columns: dict[str, object], message: str) -> None:
    """A negative size would be a negative time; a route without a name would be read beyond the end of a table."""
    flow = (
        f.Transfer(f.Link("wire", bytes_per_s=1.0), "wire"),
        f.Delay(f.Time(ONE, each_ms=1.0, of="tokens_in"), "a.a"),
    )
    with pytest.raises(UsageError, match=message):
        simulate(flow, at([0.0, 1.0], **columns), seed=1)


@both
def test_what_no_step_reads_may_be_anything(simulate: Simulate) -> None:
    """Sizes of another model do not matter here."""
    assert simulate((SERVE,), at([0.0], size_bytes=np.array([-5])), seed=1).latency_ms[0] > 0


@both
def test_more_requests_than_memory_are_refused_before_the_run(simulate: Simulate) -> None:
    """Ten requests, and a machine with a kilobyte."""
    with (
        patch.object(free_memory, "free_bytes", lambda: 1024.0),
        pytest.raises(
            UsageError, match=r"requests=10 need about 1.+e-06 GB of memory, 1.02e-06 GB are free; ask for fewer"
        ),
    ):
        simulate((SERVE,), poisson(10, rate_per_s=1), seed=1)


@both
@pytest.mark.parametrize("state", [f.Station("desk", instances=10**12), f.Station("desk", 1, 10**12, None, "ps")])
def test_more_instances_than_memory_are_refused_before_the_run(simulate: Simulate, state: f.Station) -> None:
    """One request, and a desk for each of a million million keys: the system would grant that, and then kill us."""
    with pytest.raises(UsageError, match=r"^1,000,000,000,000 instances of .+ need about .+ GB of memory, .+; ask for"):
        simulate((f.Serve(state, ONE, "desk.work"),), at([0.0]), seed=1)


def test_free_memory_is_a_part_of_this_machine() -> None:
    """More than a megabyte, less than a petabyte."""
    assert 1e6 < free_memory.free_bytes() < 1e15


def test_a_container_has_what_its_limit_leaves(tmp_path: Path) -> None:
    """100 bytes allowed, 70 used, 20 of those for files that are only cached; no limit is no bound."""
    (tmp_path / "memory.current").write_text("70\n")
    (tmp_path / "memory.stat").write_text("anon 50\ninactive_file 20\n")
    (tmp_path / "memory.max").write_text("100\n")
    with patch.object(free_memory, "CONTAINER", tmp_path):
        assert free_memory.free_bytes() == 50
        (tmp_path / "memory.max").write_text("max\n")
        assert free_memory.free_bytes() > 1e6


@both
def test_times_that_add_up_to_infinity_are_named(simulate: Simulate) -> None:
    """A counter can make a time as long as it likes."""
    rows = f.Counter("rows")
    grows = f.Delay(f.Time(ONE, each_ms=1e300, of=rows), "a.a")
    with pytest.raises(ModelError, match="times add up to infinity"):
        simulate((f.Count(rows, by=1e200), grows), at([0.0]), seed=1)


@both
def test_a_loop_that_takes_no_time_ends_at_its_bound(simulate: Simulate) -> None:
    """A thousand turns and a thousand tries at one instant."""
    rows = f.Counter("rows")
    spin = f.Repeat(f.During(0.0, 1.0), (f.Count(rows),), "l.l", limit=1000)
    stubborn = f.Attempt((f.Guard(f.CountAtLeast(rows, 1), "error"),), "c.a", retries=999)
    played = simulate((spin, stubborn), at([0.0]), seed=1)
    assert (played.latency_ms[0], played.attempts[0], f.OUTCOMES[played.outcome[0]]) == (0.0, 1000, "error")


HALF = f.Delay(Exponential(mean=8.0), "way.rtt", shared=True)


@both
def test_an_error_takes_the_way_back_of_an_answer(simulate: Simulate) -> None:
    """One half there, the other back: latencies are whole round trips, whoever fails."""
    fails = f.Guard(f.Chance(0.5, "way.fails"), "error")
    played = simulate((HALF, f.Finally((fails,), (HALF,))), at([100.0 * n for n in range(200)]), seed=1)
    answered = simulate((HALF, HALF), at([100.0 * n for n in range(200)]), seed=1)
    assert 50 < (played.outcome > 0).sum() < 150
    assert played.latency_ms.tolist() == answered.latency_ms.tolist()
    assert played.categories["way"] == pytest.approx(played.latency_ms)


@both
def test_ways_back_are_taken_from_the_inside_and_servers_are_held_meanwhile(simulate: Simulate) -> None:
    """The desk is left after its own way back of 2 ms, the next request is served then; 5 ms more are outside of it."""
    desk = f.Hold(
        f.Station("desk"),
        (f.Delay(ONE, "desk.work"), f.Finally((f.Guard(f.During(0.0, 9.0), "error"),), (_constant(2.0, "inner"),))),
    )
    played = simulate((f.Finally((desk,), (_constant(5.0, "outer"),)),), at([0.0, 0.0]), seed=1)
    assert played.latency_ms.tolist() == [8.0, 11.0]
    assert played.categories["desk_queue"].tolist() == [0.0, 3.0]


@both
def test_a_failure_inside_a_loop_goes_back_by_the_way_that_it_came(simulate: Simulate) -> None:
    """A turn draws numbers of its own; the way back is outside of it, and draws what the way there has drawn."""
    turns = f.Counter("turns")
    second = f.Guard(f.CountAtLeast(turns, 2), "error")
    loop = f.Repeat(f.During(0.0, 1e9), (f.Count(turns), second), "l.l", limit=5)
    played = simulate((HALF, f.Finally((loop,), (HALF,))), at([0.0]), seed=1)
    alone = simulate((HALF,), at([0.0]), seed=1)
    assert f.OUTCOMES[played.outcome[0]] == "error"
    assert played.latency_ms[0] == 2 * alone.latency_ms[0]


@both
def test_an_error_that_comes_back_too_late_is_a_timeout(simulate: Simulate) -> None:
    """The caller waits 3 ms; the error is there after 1 ms and needs 4 ms more."""
    fails = f.Finally((f.Delay(ONE, "a.a"), f.Guard(f.During(0.0, 9.0), "error")), (_constant(4.0, "back"),))
    played = simulate((f.Attempt((fails,), "c.c", timeout_ms=3.0),), at([0.0]), seed=1)
    assert (f.OUTCOMES[played.outcome[0]], played.latency_ms[0]) == ("timeout", 3.0)


def _constant(value_ms: float, name: str) -> f.Delay:
    return f.Delay(Constant(value=value_ms), f"{name}.back")


def test_only_the_simpy_engine_plays_a_users_own_process() -> None:
    """The other one says so, and what to do."""
    own = (f.Custom(lambda *_: iter(()), "mine"),)
    with pytest.raises(ModelError, match=r"Custom\(category='mine'\) is a SimPy process.*run it on=\"simpy\""):
        compiled_engine.simulate(own, at([0.0]), seed=1)


def test_a_process_that_waits_for_ever_is_named() -> None:
    """Nothing will ever happen to the event that it waits for."""
    own = (f.Custom(lambda env, _: iter([env.event()]), "mine"),)
    with pytest.raises(ModelError, match="1 of 1 requests never ended; a Custom process must not wait for ever"):
        simpy_engine.simulate(own, at([0.0]), seed=1)


def test_an_end_that_is_no_time_is_no_end() -> None:
    """Whatever the requests say."""
    with pytest.raises(ModelError, match="infinity"):
        check_ended(np.zeros(1, dtype=np.int8), float("nan"))


# ---------------------------------------------------------------- interrupted by hand


def assert_half_done(played: Recording) -> None:
    """Some requests have ended, and nothing is said of the others."""
    finished = played.outcome != UNFINISHED
    assert played.interrupted
    assert 0 < finished.sum() < len(finished)
    assert np.isfinite(played.latency_ms[finished]).all()
    assert np.isnan(played.latency_ms[~finished]).all()


def test_the_simpy_engine_gives_back_what_was_finished() -> None:
    """Ctrl-C arrives at the fifth request."""

    def process(env, token):  # type: ignore[no-untyped-def]  # as a user would write it
        if token.request == 5:
            raise KeyboardInterrupt
        yield env.timeout(1.0)

    assert_half_done(simpy_engine.simulate((f.Custom(process, "mine"),), at(np.arange(9.0)), seed=1))


def test_the_compiled_engine_gives_back_what_was_finished() -> None:
    """Ctrl-C arrives when the machine comes back for the third time."""
    go_on, calls = World.go_on, iter(range(9))

    def interrupted(world: World, turns: int) -> int:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return go_on(world, turns)

    with patch.object(World, "go_on", interrupted), patch.object(compiled_engine.engine, "TURNS", 10):
        assert_half_done(compiled_engine.simulate((SERVE,), poisson(100, rate_per_s=90), seed=1))


# ---------------------------------------------------------------- what is kept on disk


def test_what_was_compiled_from_other_sources_is_forgotten(tmp_path: Path) -> None:
    """Else a machine would read tables that are laid out otherwise. From the same sources, it is kept."""
    machine = SimpleNamespace(
        stats=SimpleNamespace(cache_path=str(tmp_path)), py_func=SimpleNamespace(__name__="machine")
    )
    compiled, other = tmp_path / "loop.machine-26.py311.nbi", tmp_path / "loop.other-26.py311.nbi"
    compiled.touch()
    other.touch()
    jit._drop_stale(machine)
    assert not compiled.exists()
    compiled.touch()
    jit._drop_stale(machine)
    assert compiled.exists()
    (tmp_path / "machine.sources").write_text("something else")
    jit._drop_stale(machine)
    assert not compiled.exists()
    assert other.exists()


@both
@pytest.mark.parametrize("servers", [1, 3])
@pytest.mark.parametrize("rate_per_s", [20.0, 96.0, 250.0, 900.0])
def test_one_instance_is_its_own_busiest(simulate: Simulate, servers: int, rate_per_s: float) -> None:
    """Both count the time while requests arrive: what is served afterwards is in neither, so neither passes 100 %."""
    desk = f.Serve(f.Station("desk", servers=servers), Exponential(mean=10.0), "desk.work")
    played = simulate((desk,), poisson(2_000, rate_per_s=rate_per_s), seed=1)
    (use,) = played.stations
    assert use.busiest_ms == use.busy_ms
    assert use.busy_ms <= servers * played.horizon_ms * (1 + 1e-9)


@both
def test_the_busiest_of_several_instances_is_busier_than_their_mean(simulate: Simulate) -> None:
    shards = f.Serve(f.Station("shard", instances=3), Exponential(mean=10.0), "shard.work")
    played = simulate((shards,), poisson(2_000, rate_per_s=100, keys=5), seed=1)
    (use,) = played.stations
    assert use.busy_ms / 3 < use.busiest_ms <= min(use.busy_ms, played.horizon_ms * (1 + 1e-9))
