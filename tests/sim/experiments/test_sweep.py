"""Sweeps on one machine.

Goal: every point with every seed exactly once, intervals over the replications, the same bytes on any executor, partial
results that say so, and a line for each thing that cannot be meant. Method: a small deployment with a known answer;
threads, processes, one worker after the other; Ctrl-C from inside.
"""

import signal
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from sim.experiments.replications import replicate, spawned_seeds
from sim.experiments.sweep import RUNS_MAX, Sweep, sweep
from sim.foundation.errors import ScenarioError, UsageError
from sim.scenario.scenario import Scenario, load_scenario
from sim.theory import MMc

NOTHING = {"distribution": "constant", "value": 0.0}
RATES = (100.0, 150.0)
READ_MS = (1.0, 2.0, 4.0)
VARY = {"workload.arrivals.rate_per_s": list(RATES), "system.d1.read_ms.mean": list(READ_MS)}
P99 = "api_latency_ms_p99"


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    """Searches only, and of a search only the time in D1's queue and thread: M/M/1."""
    return (
        load_scenario("launch")
        .with_(
            **{
                "workload.duration_s": 60,
                "workload.warm_up_s": 2,
                "system.network.client_rtt_ms": NOTHING,
                "system.workers.cpu_ms": NOTHING,
                "system.workers.cold_fraction": 0.0,
                "system.d1.rtt_ms": NOTHING,
                "system.d1.read_ms": {"distribution": "exponential", "mean": 1.0},
            }
        )
        .with_shares(search=1.0)
    )


@pytest.fixture(scope="module")
def found(scenario: Scenario) -> Sweep:
    return sweep(scenario, vary=VARY, seeds=4)


class Reversed(Executor):
    """Plays what it is given only when asked for the last of it, last first: the worst order."""

    def __init__(self) -> None:
        self.tasks: list[tuple[Future[Any], Any]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.tasks.append((future, fn))
        if len(self.tasks) == len(RATES) * len(READ_MS) * 4:
            for waiting, task in reversed(self.tasks):
                waiting.set_result(task())
        return future


def same(one: Sweep, other: Sweep) -> None:
    """Equal to the last bit, order, types and all."""
    assert_frame_equal(one.frame, other.frame, check_exact=True)
    assert_frame_equal(one.points, other.points, check_exact=True)
    assert one.frame.to_csv() == other.frame.to_csv()


def test_every_point_is_played_with_every_seed_once(found: Sweep) -> None:
    """Two rates times three distributions times four seeds; the last path changes fastest."""
    assert len(found.frame) == 24
    assert found.frame.groupby("point")["seed"].apply(tuple).tolist() == [found.seeds] * 6
    assert found.points["workload.arrivals.rate_per_s"].tolist() == [100, 100, 100, 150, 150, 150]
    assert found.points["system.d1.read_ms.mean"].tolist() == [1, 2, 4] * 2
    assert found.points["replications"].tolist() == [4] * 6
    assert not found.interrupted


def test_intervals_of_the_points_hold_what_theory_says(found: Sweep) -> None:
    """Six M/M/1 queues: the P99 of each lies in the interval, or just beside it."""
    row: Any
    for _, row in found.points.iterrows():
        exact = MMc(row["workload.arrivals.rate_per_s"], row["system.d1.read_ms.mean"]).sojourn_quantile_ms(0.99)
        assert row[f"{P99}_low"] * 0.97 <= exact <= row[f"{P99}_high"] * 1.03
        assert row[f"{P99}_low"] <= row[P99] <= row[f"{P99}_high"]


def test_percentile_of_a_point_is_that_of_all_its_requests(scenario: Scenario, found: Sweep) -> None:
    """Not a mean of percentiles: the replications are one sample."""
    point = scenario.with_(**{"workload.arrivals.rate_per_s": 150.0, "system.d1.read_ms.mean": 4.0})
    runs = [replicate(point, seed, engine="compiled", metrics=["api_latency_ms"]) for seed in found.seeds]
    together = np.sort(np.concatenate([run.metrics["api_latency_ms"] for run in runs if run]))
    assert found.points[P99].iloc[-1] == together[int(np.ceil(0.99 * together.size)) - 1]


def test_busiest_station_is_told(found: Sweep) -> None:
    assert set(found.points["busiest_station"]) == {"d1"}
    loads = found.points["workload.arrivals.rate_per_s"] * found.points["system.d1.read_ms.mean"] / 1000
    assert found.points["busiest_utilization"].to_numpy() == pytest.approx(loads.to_numpy(), rel=0.05)


def test_verdict_is_that_of_the_scenarios_targets(found: Sweep) -> None:
    """P99 of D1 should be below 20 ms, and is 31 at 40 % load; below it, uploads are not known: there are none."""
    assert found.points["verdict"].tolist()[:3] == ["INCONCLUSIVE", "INCONCLUSIVE", "WARN"]
    assert "r2_upload_mb_per_s_p50" in found.points.columns
    assert found.points["r2_upload_mb_per_s_p50"].isna().all()


def test_points_share_their_luck(found: Sweep) -> None:
    """From 1 to 2 ms of work at 100 a second: the difference is known ten times better than without common seeds."""
    changed: Any = found.changes(P99).set_index("point")
    exact = [MMc(100, mean).sojourn_quantile_ms(0.99) for mean in (1.0, 2.0)]
    assert changed.loc[1, "low"] <= exact[1] - exact[0] <= changed.loc[1, "high"]
    assert changed.loc[1, "variance_ratio"] > 1
    assert changed.loc[0, ["change", "low", "high"]].tolist() == [0, 0, 0]
    assert changed["pairs"].tolist() == [4] * 6


@pytest.mark.parametrize(
    "executor", [ThreadPoolExecutor(1), ThreadPoolExecutor(3), Reversed()], ids=["one", "three", "back"]
)
def test_same_bytes_whoever_works(scenario: Scenario, found: Sweep, executor: Executor) -> None:
    with executor:
        same(sweep(scenario, vary=VARY, seeds=4, executor=executor), found)


def test_same_bytes_from_processes(scenario: Scenario, found: Sweep) -> None:
    """Another interpreter, started afresh, on two of the six points."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        apart = sweep(scenario, vary=VARY | {"workload.arrivals.rate_per_s": [100.0]}, seeds=4, executor=pool)
    assert_frame_equal(apart.points, found.points.head(3), check_exact=True)


@pytest.mark.slow
def test_readable_engine_gives_the_same_tables_on_processes_of_its_own(scenario: Scenario) -> None:
    """The default for it, and the same numbers as the compiled engine."""
    short = scenario.vary("workload.duration_s", 10)
    vary = {"system.d1.read_ms.mean": [1.0, 2.0]}
    same(sweep(short, vary=vary, seeds=2, engine="simpy"), sweep(short, vary=vary, seeds=2))


def test_one_replication_has_an_interval_by_batches(scenario: Scenario) -> None:
    alone: Any = sweep(scenario, vary={"system.d1.read_ms.mean": [1.0]}, seeds=1).points.iloc[0]
    assert alone[f"{P99}_low"] < alone[P99] < alone[f"{P99}_high"] < float("inf")
    assert alone["replications"] == 1


def test_a_law_may_be_varied_as_a_whole(scenario: Scenario) -> None:
    """It stands in the table as its text."""
    distributions = [{"distribution": "constant", "value": 2.0}, {"distribution": "exponential", "mean": 2.0}]
    points: Any = sweep(scenario, vary={"system.d1.read_ms": distributions}, seeds=2).points
    assert points["system.d1.read_ms"].iloc[0] == '{"distribution": "constant", "value": 2.0}'
    assert points[P99].iloc[0] < points[P99].iloc[1]


def test_progress_is_reported_after_each_run(scenario: Scenario) -> None:
    reported: list[tuple[int, int]] = []
    sweep(
        scenario,
        vary={"system.d1.read_ms.mean": [1.0]},
        seeds=3,
        on_progress=lambda done, runs: reported.append((done, runs)),
    )
    assert reported == [(1, 3), (2, 3), (3, 3)]


def test_bar_is_silent_when_piped(scenario: Scenario, capfd: pytest.CaptureFixture[str]) -> None:
    """Standard error of a test is no terminal."""
    sweep(scenario, vary={"system.d1.read_ms.mean": [1.0]}, seeds=2, progress=True)
    assert capfd.readouterr().err == ""


def test_interrupt_keeps_what_was_done_and_says_so(scenario: Scenario, found: Sweep) -> None:
    """Ctrl-C after the sixth run: whole first point, part of the second, each run as in the undisturbed sweep."""

    def stop(done: int, runs: int) -> None:
        if done == 6:
            signal.raise_signal(signal.SIGINT)

    with ThreadPoolExecutor(1) as one:
        partial = sweep(scenario, vary=VARY, seeds=4, executor=one, on_progress=stop)
    assert partial.interrupted
    assert partial.ended_early == "stopped by hand"
    assert "interrupted: stopped by hand" in repr(partial)
    assert 6 <= len(partial.frame) < 24
    assert partial.points["replications"].tolist()[:2] == [4, min(4, len(partial.frame) - 4)]
    merged = partial.frame.merge(found.frame, how="left")
    assert_frame_equal(merged, partial.frame, check_exact=True)
    assert_frame_equal(partial.points.head(1), found.points.head(1), check_exact=True)


def test_interrupt_before_the_first_run_leaves_empty_tables(scenario: Scenario) -> None:
    class Stopped(Executor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            raise KeyboardInterrupt

    nothing = sweep(scenario, vary=VARY, executor=Stopped())
    assert nothing.interrupted
    assert nothing.frame.empty
    assert nothing.points.empty
    with pytest.raises(UsageError, match="statistic='api_latency_ms_p99' must be one of"):
        nothing.changes()


def test_death_of_a_process_keeps_what_was_done(scenario: Scenario) -> None:
    """A pool that breaks at the fourth run."""

    class Mortal(Executor):
        given = 0

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            self.given += 1
            future: Future[Any] = Future()
            if self.given < 4:
                future.set_result(fn())
            else:
                future.set_exception(BrokenProcessPool("killed"))
            return future

    partial = sweep(scenario, vary=VARY, seeds=4, executor=Mortal())
    assert partial.ended_early == "a worker died in its run, and no other took over: killed"
    assert len(partial.frame) == 3


def test_defect_in_a_run_is_not_swallowed(scenario: Scenario) -> None:
    class Broken(Executor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_exception(ZeroDivisionError("ours"))
            return future

    with pytest.raises(ZeroDivisionError):
        sweep(scenario, vary=VARY, executor=Broken())


def test_interrupted_run_of_a_worker_does_not_count(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a run says nothing: its row is missing, not wrong."""
    monkeypatch.setattr("sim.experiments.sweep.replicate", lambda *_, **__: None)
    assert sweep(scenario, vary={"system.d1.read_ms.mean": [1.0]}, seeds=2).frame.empty


def test_seeds_are_far_apart_and_the_same_again() -> None:
    assert spawned_seeds(1, 5) == spawned_seeds(1, 5)
    drawn = [seed for start in range(50) for batch in range(3) for seed in spawned_seeds(start, 20, batch=batch)]
    assert len(set(drawn)) == 3000
    assert all(0 <= seed < 2**63 for seed in drawn)
    assert spawned_seeds(1, 3) == spawned_seeds(1, 5)[:3]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"vary": {}}, UsageError, r"vary=\{\} must name at least one path"),
        ({"vary": {"system.d1.rtt": [1]}}, ScenarioError, r"system\.d1\.rtt is not a key"),
        ({"vary": {"system.d1.rtt_ms": [3, -1]}}, ScenarioError, r"system\.d1\.rtt_ms.*=-1.* must be >= 0"),
        ({"vary": {"system.d1.rtt_ms": 3}}, UsageError, r"vary: system\.d1\.rtt_ms=3 must be a list of values"),
        ({"vary": {"system.d1.rtt_ms": "3,4"}}, UsageError, r'vary: system\.d1\.rtt_ms="3,4" must be a list of values'),
        ({"vary": {"system.d1.rtt_ms": []}}, UsageError, r"vary: system\.d1\.rtt_ms=\[\] must hold at least one value"),
        ({"vary": {"system.d1.rtt_ms": [3, 4, 3]}}, UsageError, r"vary: system\.d1\.rtt_ms holds 3 twice"),
        ({"vary": {"seed": [1, 2]}}, UsageError, "seed must not be varied; seeds= says how many"),
        (
            {"vary": {"system.d1.rtt_ms": range(60_000)}, "seeds": 2},
            UsageError,
            f"120,000 runs must be <= {RUNS_MAX:,}",
        ),
        ({"vary": VARY, "seeds": 0}, UsageError, "seeds=0 must be >= 1"),
        ({"vary": VARY, "engine": "fast"}, UsageError, "engine='fast' must be one of compiled, simpy"),
        (
            {"vary": VARY, "executor": Reversed(), "cluster": "tcp://x"},
            UsageError,
            "must not be given beside executor=",
        ),
    ],
    ids=["none", "path", "rule", "number", "text", "empty", "twice", "seed", "many", "seeds", "engine", "both"],
)
def test_what_cannot_be_meant_is_told_before_anything_runs(
    scenario: Scenario, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        sweep(scenario, **options)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [({"statistic": "p98"}, "statistic='p98' must be one of"), ({"base": 9}, "base=9 must be the number of a point")],
)
def test_changes_against_nothing_are_refused(found: Sweep, call: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        found.changes(**call)


def test_points_without_finite_values_have_no_change(found: Sweep) -> None:
    """A run of which more than one in a hundred failed has no finite P99 to subtract."""
    frame = found.frame.copy()
    frame.loc[frame["point"] == 2, P99] = float("inf")
    broken = Sweep(found.scenario, found.vary, found.seeds, frame, found.points)
    assert 2 not in set(broken.changes(P99)["point"])
    assert isinstance(broken.changes(P99), pd.DataFrame)
