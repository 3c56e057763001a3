"""The drills of scenarios/drills/: what each shows, beside its closed form (H15, H43).

Goal: each drill answers its question as arithmetic says it must. Method: it is simulated as it is shipped, a few seeds
of it, and the finding is compared with the formula; the tolerance is stated where the formula is an approximation.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sim import plots, run
from sim.experiments.hysteresis import hysteresis
from sim.foundation.errors import UsageError
from sim.report.phase_tables import recoveries_of
from sim.results.phases import phases
from sim.results.result import Result
from sim.scenario.deployment import deployment
from sim.scenario.generation import schedule
from sim.scenario.scenario import Scenario, load_scenario

SEEDS = (1, 2, 3)


def runs_of(scenario: Scenario, seeds: Sequence[int] = SEEDS) -> list[Result]:
    """One run a seed."""
    return [run(scenario, rng=seed) for seed in seeds]


def error_share(results: Sequence[Result], phase: str) -> float:
    """Share of failed requests in a phase of the only fault."""
    found = next(one for one in phases(results) if one.phase == phase)
    assert found.error_share is not None
    return found.error_share.value


def zipf(count: int, exponent: float) -> Any:
    """The popularity of keys 0 to count - 1, shape (count,)."""
    weights = np.arange(1, count + 1) ** -exponent
    return weights / weights.sum()


# ------------------------------------------------------------ retry storm (H15)


def test_a_retry_storm_outlasts_its_trigger_and_a_budget_ends_it() -> None:
    """Load 60/s against 100/s. With three retries 60 * 4 > 100: it stays. With a budget of 10 % 60 * 1.1 < 100."""
    storm = load_scenario("drills/retry_storm")
    collapsed = runs_of(storm)
    assert error_share(collapsed, "before") == 0.0
    assert error_share(collapsed, "after") > 0.99
    assert recoveries_of(collapsed)[0].recovered_windows == 0
    saved = runs_of(storm.vary("system.client.budget_ratio", 0.1))
    (back,) = recoveries_of(saved)
    assert back.recovered_windows == back.windows == len(SEEDS)
    assert back.time_s is not None
    # The queue of 300 that the trigger leaves behind drains at 100 - 60 * 1.1 per second.
    assert back.time_s.value == pytest.approx(300 / (100 - 66), rel=0.5)


def test_full_jitter_alone_does_not_end_a_retry_storm() -> None:
    """It spreads the retries, and takes none of them away."""
    storm = load_scenario("drills/retry_storm").vary("system.client.jitter", value=True)
    assert error_share(runs_of(storm), "after") > 0.99


@pytest.mark.slow
def test_the_retry_storm_collapses_and_recovers_at_different_loads() -> None:
    """Up: at 1 / S = 100/s, less the bursts of a finite run. Down: mu / (1 + retries) = 25/s; within 10 %.

    With a budget: mu / (1 + ratio) = 91/s.
    """
    storm = load_scenario("drills/retry_storm")
    found = hysteresis(storm, low_per_s=15, high_per_s=150)
    assert found.collapse_per_s.value == pytest.approx(100, rel=0.1)
    assert found.recovery_per_s.value == pytest.approx(100 / 4, rel=0.1)
    assert found.metastable
    saved = hysteresis(storm.vary("system.client.budget_ratio", 0.1), low_per_s=15, high_per_s=150)
    assert saved.recovery_per_s.value == pytest.approx(100 / 1.1, rel=0.1)
    axes = plots.hysteresis(found)
    titles = [axes.get_title(loc="left"), axes.get_title(), *(text.get_text() for text in axes.figure.texts)]
    assert any("recovers from a fault only below" in title for title in titles)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"low_per_s": 15, "high_per_s": 10}, "low_per_s=15 must be > 0 and < high_per_s=10"),
        ({"low_per_s": 15, "high_per_s": 50}, "high_per_s=50: the system still works"),
        ({"low_per_s": 120, "high_per_s": 150}, "low_per_s=120: the system has collapsed"),
        ({"low_per_s": 15, "high_per_s": 150, "seeds": 1}, "seeds=1 must be >= 2"),
    ],
)
def test_a_search_that_cannot_be_made_is_one_line(asked: dict[str, Any], message: str) -> None:
    """The bounds are checked by a run each."""
    with pytest.raises(UsageError, match=message):
        hysteresis(load_scenario("drills/retry_storm"), **asked)


def test_hysteresis_needs_a_fault_that_ends_and_an_open_load() -> None:
    """A fault in the last quarter would itself be judged."""
    storm = load_scenario("drills/retry_storm")
    with pytest.raises(UsageError, match="must hold one that pushes"):
        hysteresis(storm.vary("faults", []), low_per_s=15, high_per_s=150)
    late = [{"instance": "d1", "kind": "outage", "at_s": 200, "duration_s": 20}]
    with pytest.raises(UsageError, match="must end before the last quarter"):
        hysteresis(storm.vary("faults", late), low_per_s=15, high_per_s=150)
    with pytest.raises(UsageError, match="a closed loop has no rate"):
        hysteresis(load_scenario("drills/reconnect_storm"), low_per_s=15, high_per_s=150)


# ------------------------------------------------------------ reconnect storm (H43)


def test_devices_reconnect_in_one_wave_without_jitter() -> None:
    """Without jitter all 500 come within the second after 63 s: the last waits 500 * 20 ms - 1 s, within 10 %.

    With full jitter the wave is spread over up to a minute: the longest wait is less than half as long.
    """
    storm = load_scenario("drills/reconnect_storm")
    waits = {
        jitter: [
            result.frame["gateway_queue_ms"].max() for result in runs_of(storm.vary("system.client.jitter", jitter))
        ]
        for jitter in (False, True)
    }
    assert waits[False] == [pytest.approx(500 * 20 - 1000, rel=0.1)] * len(SEEDS)
    assert max(waits[True]) < 0.5 * min(waits[False])
    ends_s = [(result.frame["arrival_ms"] + result.frame["latency_ms"]).to_numpy() / 1000 for result in runs_of(storm)]
    assert all(63 < ends.min() < 64.1 and (result > 0).all() for ends, result in zip(ends_s, ends_s, strict=True))


def test_devices_that_retry_ten_times_are_gone_after_303_seconds() -> None:
    """Pauses of 1, 2, 4, 8, 16, 32 and four times 60 s: an outage of 400 s is for ever, every request fails (H43)."""
    storm = load_scenario("drills/reconnect_storm")
    outage = {"instance": "gateway", "kind": "outage", "at_s": 0, "duration_s": 400}
    frame = run(storm.with_(**{"faults": [outage], "system.client.retries": 10})).frame
    assert (frame["outcome"] == "error").all()
    # The answers travel, which takes less than a second in all.
    assert frame["latency_ms"].between(303_000, 304_000).all()


# ------------------------------------------------------------ a lost shard


def test_a_lost_shard_fails_the_share_of_its_keys() -> None:
    """Keys 0, 16, 32 ... of 200 with Zipf exponent 1; within five standard errors."""
    results = runs_of(load_scenario("drills/shard_loss"))
    expected = zipf(200, 1.0)[::16].sum()
    during = next(one for one in phases(results) if one.phase == "during")
    assert abs(error_share(results, "during") - expected) < 5 * np.sqrt(expected * (1 - expected) / during.requests)
    # A request that arrives just before reaches the object just after.
    assert error_share(results, "before") < 1e-3
    assert error_share(results, "after") == 0.0


# ------------------------------------------------------------ a stall


def test_a_stall_is_felt_for_its_length_times_one_over_the_idle_share() -> None:
    """The queue of lambda T drains at mu - lambda: recovery takes T rho / (1 - rho) = 4 s; bins of 1 s, within 30 %.

    The longest wait is the stall's length, within 5 %.
    """
    results = runs_of(load_scenario("drills/d1_stall"))
    (back,) = recoveries_of(results)
    assert back.time_s is not None
    assert back.time_s.value == pytest.approx(4 * 0.5 / (1 - 0.5), rel=0.3)
    for result in results:
        assert (result.frame["d1_queue_ms"] + result.frame["d1_ms"]).max() == pytest.approx(4000, rel=0.05)
        assert (result.frame["outcome"] == "ok").all()


# ------------------------------------------------------------ a deploy at the peak


def test_a_deploy_costs_one_cold_start_for_each_object_that_is_awake() -> None:
    """Of an object that is used x times in the time after which it is evicted, the deploy makes 1 - (1 + x) / e^x cold.

    So often is the gap between two uses, in which the deploy falls, shorter than that time; within five standard
    deviations. A run without the deploy has the same draws. The ledger's flush, which uses objects too, is put off.
    """
    shipped = load_scenario("drills/deploy_at_peak")
    drill = shipped.vary("system.ledger.flush_interval_s", 100_000)
    share = sum(share for name, share in drill.shares.items() if name in ("log", "balance", "device_log"))
    x = 57.9 * share * zipf(200, 1.0) * drill.system.durable_objects.evict_idle_ms / 1000
    chance = 1 - (1 + x) * np.exp(-x)
    for seed in SEEDS:
        hit, plain = run(drill, rng=seed).frame, run(drill.vary("faults", []), rng=seed).frame
        after = (hit["arrival_ms"] > 150_000).to_numpy()
        more = (hit["durable_objects_ms"][after] > plain["durable_objects_ms"][after] + 1.0).sum()
        assert abs(more - chance.sum()) < 5 * np.sqrt((chance * (1 - chance)).sum())
    results = runs_of(shipped)
    assert error_share(results, "after") == 0.0
    (back,) = recoveries_of(results)
    assert back.time_s is not None
    assert back.time_s.value < 30


# ------------------------------------------------------------ a viral tenant


def test_a_viral_tenant_is_refused_beyond_what_its_object_can_do_and_hurts_nobody_else() -> None:
    """100/s against 1 / S = 50/s: half is refused, within 3 %. One other key of 1,000 lives in the same object."""
    results = runs_of(load_scenario("drills/viral_tenant"))
    for result in results:
        frame = result.steady().frame
        viral = (frame["route"] == "viral").to_numpy()
        assert (frame["outcome"][viral] == "overloaded").mean() == pytest.approx(0.5, rel=0.03)
        others = frame[~viral]
        assert set(others["key"][others["outcome"] != "ok"]) <= {0}
        assert others["durable_objects_queue_ms"][others["key"] != 0].quantile(0.999) < 50


# ------------------------------------------------------------ all of them


@pytest.mark.parametrize("name", ["retry_storm", "reconnect_storm", "shard_loss", "d1_stall", "deploy_at_peak"])
def test_both_engines_play_a_drill_alike(name: str) -> None:
    """Byte for byte."""
    from sim.engines import compiled_engine, simpy_engine
    from tests.sim.engines.test_engines_agree import assert_equal

    drill = load_scenario(f"drills/{name}").vary("seed", 5)
    planned, flow = schedule(drill), deployment(drill)
    assert_equal(simpy_engine.simulate(flow, planned, seed=5), compiled_engine.simulate(flow, planned, seed=5))
