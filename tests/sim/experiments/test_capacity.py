"""The search for the highest rate.

Goal: it finds what theory says, names what breaks, and is honest when nothing can be found. Method: a deployment
reduced to one M/M/1 queue, whose P99 is ln 100 / (mu - lambda).
"""

from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim.experiments.capacity import Capacity, capacity
from sim.experiments.limits import assumption_that_limits
from sim.experiments.probe import Probe
from sim.experiments.search import busiest
from sim.foundation.errors import UsageError
from sim.models.registry import queues
from sim.runners import simulated
from sim.scenario.generation import schedule
from sim.scenario.scenario import Scenario, load_scenario
from sim.statistics.intervals import Estimate
from tests.support.one_queue import MU_PER_S, as_one_queue, judged_by

QUEUES = queues(load_scenario("launch").system.instances.values())


def one_queue(folder: Path, *rows: tuple[str, float], **changes: Any) -> Scenario:
    """One M/M/1 queue for a minute, judged by the P99s of *rows*."""
    short = {"workload.duration_s": 60, "workload.warm_up_s": 0}
    return as_one_queue(judged_by(folder, *rows), **{**short, **changes})


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Capacity:
    """Latency P99 below 200 ms; a D1 target that no load can keep beside it."""
    rows = ("api_latency_ms", 200.0), ("d1_query_ms", 10.0)
    return capacity(one_queue(tmp_path_factory.mktemp("capacity"), *rows))


def test_rate_is_that_of_the_closed_form(found: Capacity) -> None:
    lam_per_s = MU_PER_S - log(100) / 0.2
    assert found.estimate.value == pytest.approx(lam_per_s, rel=0.03)
    assert found.estimate.low < lam_per_s < found.estimate.high


def test_what_breaks_is_named_with_the_station_that_is_waited_for(found: Capacity) -> None:
    assert found.limited_by == ("api_latency_ms p99",)
    assert found.bottleneck == "d1"


def test_target_missed_at_any_load_is_named_apart(found: Capacity) -> None:
    assert found.kept == ("api_latency_ms p99",)
    assert found.missed == ("d1_query_ms p99",)


def test_search_begins_with_the_bound_of_arithmetic(found: Capacity) -> None:
    """Some probe tried it, none far beyond it, and the answer lies below."""
    assert found.bound_per_s == pytest.approx(MU_PER_S, rel=0.01)
    assert found.estimate.high < found.bound_per_s
    assert max(probe.rate_per_s for probe in found.probes) < 3 * found.bound_per_s


def test_scenario_that_is_far_from_its_bound_is_searched_as_well(tmp_path: Path) -> None:
    """One request in five seconds: three powers of ten below, and the same answer."""
    sleepy = one_queue(tmp_path, ("api_latency_ms", 200.0), **{"workload.arrivals.rate_per_s": 0.2})
    assert capacity(sleepy, seeds=2).estimate.value == pytest.approx(MU_PER_S - log(100) / 0.2, rel=0.05)


def test_p99_of_the_probes_rises_with_the_rate(found: Capacity) -> None:
    """Common random numbers: the same requests, only faster."""
    rates = [probe.rate_per_s for probe in found.probes]
    p99 = [probe.p99.value for probe in found.probes]
    assert rates == sorted(rates)
    rank = np.argsort(np.argsort(p99))
    assert np.corrcoef(np.arange(len(rank)), rank)[0, 1] > 0.9


def test_busy_share_of_the_probes_is_that_of_the_utilization_law(found: Capacity) -> None:
    for probe in found.probes:
        if not probe.overloaded:
            assert probe.utilization["d1"] == pytest.approx(probe.rate_per_s / MU_PER_S, rel=0.05)


def test_knee_of_one_queue_is_at_half_its_rate(found: Capacity) -> None:
    """Power of M/M/1 is rho (1 - rho); the probes are a factor of two apart there."""
    assert 0.25 * MU_PER_S <= found.knee_per_s <= 0.75 * MU_PER_S


def test_overload_limits_when_no_target_does(tmp_path: Path) -> None:
    lax = capacity(one_queue(tmp_path, ("api_latency_ms", 1e9)), seeds=2)
    assert lax.limited_by == ("overload",)
    assert lax.estimate.value == pytest.approx(MU_PER_S, rel=0.1)


def test_other_kinds_of_arrivals_are_compressed_whole(tmp_path: Path) -> None:
    spike = {"kind": "spike", "rate_per_s": 20.0, "spike_rate_per_s": 80.0, "start_s": 20.0, "length_s": 20.0}
    scenario = one_queue(tmp_path, ("api_latency_ms", 200.0), **{"workload.arrivals": spike})
    spiky = capacity(scenario, seeds=2)
    mean_share = 40 / 80
    assert spiky.estimate.value < 0.7 * (MU_PER_S - log(100) / 0.2)
    assert spiky.estimate.value == pytest.approx(MU_PER_S * mean_share, rel=0.3)


def test_busiest_stretch_holds_the_spike() -> None:
    planned = schedule(load_scenario("launch").with_(**{"workload.duration_s": 120}))
    stretch = busiest(planned, 500)
    assert len(stretch) == 500
    assert len(stretch) / stretch.duration_ms >= len(planned) / planned.duration_ms
    assert busiest(planned, len(planned)) is planned


def test_bottleneck_is_the_busiest_station_when_nobody_waits() -> None:
    calm = Estimate(1.0, 1.0, 1.0, 1, "")
    idle = Probe(1.0, 0, 1, 1.0, calm, calm, (), {"d1": 0.1, "workers": 0.2}, dict.fromkeys(QUEUES, 0.0))
    assert idle.bottleneck == idle.busiest == "workers"


def test_bottleneck_is_where_the_slowest_wait_and_not_who_is_busiest() -> None:
    """Eight servers at 90 % are waited for less than one at 80 %."""
    calm = Estimate(1.0, 1.0, 1.0, 1, "")
    waits = dict.fromkeys(QUEUES, 0.0) | {"d1": 30.0, "workers": 2.0}
    probe = Probe(1.0, 0, 1, 1.0, calm, calm, (), {"d1": 0.8, "workers": 0.9}, waits)
    assert (probe.bottleneck, probe.busiest) == ("d1", "workers")


@pytest.mark.parametrize(
    ("arrivals", "options", "message"),
    [
        ({"kind": "closed", "users": 10, "think_ms": {"distribution": "constant", "value": 100}}, {}, "open loop"),
        ({"kind": "constant", "rate_per_s": 5.0}, {"seeds": 1}, "seeds=1 must be >= 2"),
        ({"kind": "constant", "rate_per_s": 5.0}, {"tolerance_ratio": 0.0}, "tolerance_ratio=0 must be"),
    ],
)
def test_impossible_search_is_refused(arrivals: dict[str, Any], options: dict[str, Any], message: str) -> None:
    length = {"workload.duration_s": None, "workload.requests": 100, "workload.warm_up_s": 0}
    scenario = load_scenario("launch").with_(**length, **{"workload.arrivals": arrivals})
    with pytest.raises(UsageError, match=message):
        capacity(scenario, **options)


def test_deployment_that_keeps_no_target_has_no_capacity(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="every target is missed at any load"):
        capacity(one_queue(tmp_path, ("api_latency_ms", 1.0)))


def test_half_a_probe_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during a run gives back a part of it; the search must not take that for an answer."""
    whole = simulated.play
    monkeypatch.setattr(simulated, "play", lambda *args, **options: replace(whole(*args, **options), interrupted=True))
    with pytest.raises(KeyboardInterrupt):
        capacity(one_queue(tmp_path, ("api_latency_ms", 200.0)))


def test_same_seed_gives_the_same_answer(tmp_path: Path) -> None:
    scenario = one_queue(tmp_path, ("api_latency_ms", 200.0))
    assert capacity(scenario, seeds=2, tolerance_ratio=0.2) == capacity(scenario, seeds=2, tolerance_ratio=0.2)


# The start, the warm-up, and what limits.

STORM = {
    "workload.keys.count": 20,
    "workload.arrivals": {"kind": "poisson", "rate_per_s": 20.0},
    "system.ledger.write_ms": {"distribution": "exponential", "mean": 15.0},
    "system.durable_objects.write_ms": {"distribution": "exponential", "mean": 15.0},
    "system.d1.read_ms": {"distribution": "lognormal", "median": 12.0, "p99": 40.0},
    "system.d1.write_ms": {"distribution": "lognormal", "median": 150.0, "p99": 400.0},
}
"""A slow launch, whose objects flush together after an empty start."""


def storm(folder: Path, **changes: Any) -> Scenario:
    judged = judged_by(folder, ("api_latency_ms", 1_000))
    return judged.with_(**{"workload.duration_s": 1_200, **STORM, **changes})


def test_answer_does_not_hang_on_the_warm_up_that_is_named(tmp_path: Path) -> None:
    """A floor of 1, 60 or 600 s: the intervals overlap, since the start is found and cut."""
    found = [capacity(storm(tmp_path, **{"workload.warm_up_s": warm_up_s})) for warm_up_s in (1, 60, 600)]
    assert max(one.estimate.low for one in found) < min(one.estimate.high for one in found)
    assert found[2].warm_up_s >= 600
    assert all(one.settled for one in found)


def test_start_is_a_verdict_of_its_own(tmp_path: Path) -> None:
    """All objects flush together after an empty start, and break the target at a lower rate than the steady state."""
    found = capacity(storm(tmp_path, **{"workload.warm_up_s": 60}))
    assert found.cold_start is not None
    assert 0 < found.cold_start.high < found.estimate.low


def test_start_of_a_deployment_without_memory_bears_as_much(found: Capacity) -> None:
    assert found.cold_start is not None
    assert found.cold_start.value == pytest.approx(found.estimate.value, rel=0.05)


def test_arrivals_that_change_have_no_start_of_their_own(tmp_path: Path) -> None:
    ramp = {"kind": "ramp", "rate_per_s": 10.0, "to_rate_per_s": 50.0}
    assert (
        capacity(one_queue(tmp_path, ("api_latency_ms", 200.0), **{"workload.arrivals": ramp}), seeds=2).cold_start
        is None
    )


def test_assumption_that_limits_is_named(tmp_path: Path) -> None:
    """Two isolates of 10 ms bear 200/s; elastic ones do not limit, and D1, a fact of the platform, does."""
    slow = {"system.workers.cpu_ms": {"distribution": "exponential", "mean": 10.0}, "system.d1.read_ms": 0.3}
    bound = one_queue(tmp_path, ("api_latency_ms", 400.0), **slow, **{"system.workers.isolates": 2})
    limited = capacity(bound, seeds=2)
    assert limited.bottleneck == "workers"
    assert limited.assumption is not None
    assert (limited.assumption.path, limited.assumption.value) == ("system.workers.isolates", 2)
    assert assumption_that_limits(load_scenario("launch"), "workers") is None


def test_no_probe_goes_far_beyond_the_bound(found: Capacity) -> None:
    """A search of a station that cannot be overloaded further costs time and says nothing."""
    assert max(probe.rate_per_s for probe in found.probes) <= 1.06 * found.bound_per_s
