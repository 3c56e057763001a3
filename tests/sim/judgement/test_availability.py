"""Uptime from the incident record and the run.

Goal: the point estimate is plain arithmetic on the record, and the interval never claims more than the record
holds. Method: the platform file's own incidents, and records made here.
"""

from dataclasses import replace
from itertools import product
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.foundation.errors import ScenarioError
from sim.judgement.availability import Incident, Path, Record, availability, paths, read_record
from tests.support import frames

WINDOW_MINUTES = 925 * 1_440
TARGET: Any = frames.TARGETS[-1]


def played(n: int = 20_000, failed: int = 0, **shares: float) -> list[Any]:
    outcome = ["error" if i < failed else "ok" for i in range(n)]
    scenario = frames.scenario(shares=shares or {"log": 1.0})
    return [frames.result(frames.frame(np.ones(n), outcome=outcome), scenario=scenario)]


def test_log_route_loses_what_the_edge_lost() -> None:
    """190 minutes in full and 25 at 28 %, in 925 days."""
    lost = (190 + 0.28 * 25) / WINDOW_MINUTES
    assert availability(played()).platform_ratio == pytest.approx(1 - lost)


def test_reads_and_writes_of_r2_lose_different_shares() -> None:
    """Hazard H50: a request needs the edge and the bucket, and their availabilities multiply."""
    edge = 1 - (190 + 0.28 * 25) / WINDOW_MINUTES
    upload = availability(played(upload=1.0)).platform_ratio
    download = availability(played(download=1.0)).platform_ratio
    assert upload == pytest.approx(edge * (1 - (59 + 67) / WINDOW_MINUTES))
    assert download == pytest.approx(edge * (1 - (59 + 0.35 * 67) / WINDOW_MINUTES))


def test_shares_weight_the_routes() -> None:
    both = availability(played(log=3.0, upload=1.0)).platform_ratio
    alone = [availability(run).platform_ratio for run in (played(log=1.0), played(upload=1.0))]
    assert both == pytest.approx(0.75 * alone[0] + 0.25 * alone[1])


def test_failures_of_the_run_multiply() -> None:
    found = availability(played(n=1_000, failed=10))
    assert found.failed_ratio == 0.01
    assert found.estimate.value == pytest.approx(0.99 * found.platform_ratio)


def test_interval_holds_the_estimate_and_stays_in_zero_to_one() -> None:
    for failed in (0, 1, 500, 1_000):
        found = availability(played(n=1_000, failed=failed)).estimate
        assert 0 <= found.low <= found.value <= found.high <= 1


def test_two_incidents_do_not_settle_four_nines() -> None:
    found = availability(played())
    assert found.estimate.low < TARGET.alert < TARGET.target < found.estimate.high
    assert found.settled_by(TARGET).startswith(f"{int(found.settled_by(TARGET).split()[0])} years of such incidents")


def years_of(sentence: str) -> int:
    """The years that a sentence asks for."""
    assert " years of such incidents" in sentence
    return int(sentence.split(maxsplit=1)[0])


@settings(max_examples=25, deadline=None)
@given(few=st.integers(30, 5_000), times=st.integers(2, 1_000))
def test_more_requests_never_ask_for_more_years(few: int, times: int) -> None:
    """Years are the record's, requests the run's: a longer run of the same failures needs no other record."""
    short, long = (availability(played(n)).settled_by(TARGET) for n in (few, few * min(times, 100_000 // few)))
    assert years_of(short) == years_of(long)


def test_requests_that_are_asked_for_come_down_to_none_as_the_run_grows() -> None:
    asked = [availability(played(n)).settled_by(TARGET) for n in (500, 5_000, 2_000_000)]
    assert " and n >= " in asked[0]
    assert " and n >= " not in asked[-1]


@settings(max_examples=20, deadline=None)
@given(minutes=st.integers(20, 120), growth=st.integers(2, 6))
def test_record_that_went_on_as_it_is_asks_for_about_the_same_years(minutes: int, growth: int) -> None:
    """The sentence is about the world, not about how long somebody has looked."""
    incidents = (Incident("edge_http", minutes, 1.0, 1.0), Incident("edge_http", minutes, 1.0, 1.0))
    found = availability(played(1_000_000))
    asked = [replace(found, record=Record(925 * times, incidents * times)).settled_by(TARGET) for times in (1, growth)]
    numbers = [years_of(one) for one in asked if "years" in one]
    if len(numbers) == 2:
        assert numbers[1] == pytest.approx(numbers[0], rel=0.25, abs=1.5)


def test_service_without_an_incident_is_unknown_not_perfect() -> None:
    record = Record(925, (Incident("edge_http", 100, 1.0, 1.0),))
    assert record.down_ratio("d1", reads=True) == 0
    assert np.median(record.down_ratio_draws("d1", reads=True)) > 0


def test_longer_record_of_the_same_incidents_knows_more() -> None:
    record = Record(925, (Incident("edge_http", 100, 1.0, 1.0), Incident("edge_http", 50, 1.0, 1.0)))
    draws = [record.down_ratio_draws("edge_http", reads=False, growth=growth) for growth in (1, 16)]
    spread = [np.ptp(np.quantile(of_record, [0.025, 0.975])) for of_record in draws]
    assert spread[1] < spread[0] / 3


def test_long_record_converges_to_the_plain_ratio() -> None:
    record = Record(925, (Incident("edge_http", 100, 1.0, 1.0), Incident("edge_http", 50, 1.0, 1.0)))
    draws = record.down_ratio_draws("edge_http", reads=False, growth=10_000)
    assert draws.mean() == pytest.approx(150 / WINDOW_MINUTES, rel=0.01)


def test_interval_covers_the_true_downtime_of_a_long_lived_service() -> None:
    """200 records of 925 days drawn from known rates (4 incidents expected, exponential repairs of mean 60 minutes)."""
    rng = np.random.default_rng(8)
    truth, hits = 4 * 60 / WINDOW_MINUTES, 0
    for _ in range(200):
        minutes = rng.exponential(60, rng.poisson(4)).astype(int) + 1
        record = Record(
            925, tuple(Incident("edge_http", int(m), 1.0, 1.0) for m in minutes) or (Incident("r2", 60, 1, 1),)
        )
        low, high = np.quantile(record.down_ratio_draws("edge_http", reads=False), [0.025, 0.975])
        hits += low <= truth <= high
    assert hits >= 184


def test_services_are_listed_worst_first_with_their_events() -> None:
    services = availability(played(log=1.0, upload=1.0)).services
    assert [(row.service, row.events) for row in services[:2]] == [("edge_http", 2), ("r2", 2)]
    assert {row.service for row in services} == {"edge_http", "r2", "d1", "durable_objects"}


def test_platform_without_a_record_is_refused() -> None:
    empty: Any = SimpleNamespace(facts={}, path=frames.PLATFORM.path)
    with pytest.raises(ScenarioError, match="no \\[incidents"):
        read_record(empty)


# ---------------------------------------------------------------- what a route hangs on follows its operations


def needs(*steps: Any, **route: Any) -> Path:
    """What one route hangs on."""
    only = {"share": 2.0, "steps": list(steps), **route}
    (path,) = paths(frames.scenario().with_(**{"system.archive": {"like": "d1"}, "routes": {"only": only}}))
    return path


def test_a_route_hangs_on_its_entry_and_on_the_services_of_its_operations() -> None:
    path = needs("workers.compute", "r2.put", "archive.write", "ledger.append", enter="tunnel")
    assert path == Path(1.0, {"r2": 1.0, "d1": 1.0, "durable_objects": 1.0, "edge_http": 1.0}, reads=False)


def test_what_comes_by_chance_is_needed_by_as_many() -> None:
    """A read of both databases: neither 30 % nor 44 % of the requests meet D1, but 1 - 0.7 x 0.8."""
    path = needs({"use": "d1.read", "chance": 0.3}, {"use": "archive.read", "chance": 0.2, "times": 5}, "r2.get")
    assert path.services == pytest.approx({"d1": 0.44, "r2": 1.0, "edge_http": 1.0})
    assert path.reads


def test_steps_of_a_group_share_its_chance() -> None:
    both = {"chance": 0.3, "steps": ["d1.read", {"use": "d1.write", "chance": 0.5}]}
    assert needs(both).services["d1"] == pytest.approx(0.3)


def test_what_nobody_waits_for_is_not_needed() -> None:
    path = needs("d1.read", {"use": "r2.put", "spawn": True}, {"spawn": True, "steps": ["ledger.append"]})
    assert path == Path(1.0, {"d1": 1.0, "edge_http": 1.0}, reads=True)
    assert needs({"use": "r2.put", "chance": 0.0}, "d1.read") == path


def test_routes_without_traffic_are_left_out() -> None:
    shares = [path.share for path in paths(frames.scenario(shares={"log": 1.0, "search": 3.0}))]
    assert shares == [0.25, 0.75]


leaf = st.fixed_dictionaries(
    {"use": st.sampled_from(["d1.read", "r2.get"]), "chance": st.sampled_from([0.0, 0.25, 0.5, 1.0])},
    optional={"spawn": st.booleans(), "times": st.integers(1, 3)},
)
group = st.fixed_dictionaries(
    {"steps": st.lists(leaf, min_size=1, max_size=3), "chance": st.sampled_from([0.5, 1.0])},
    optional={"spawn": st.booleans(), "parallel": st.booleans()},
)


def met(step: dict[str, Any]) -> list[tuple[float, bool]]:
    """Every way that the chances of a step may fall: its probability, and whether D1 was waited for."""
    inside = ways(step["steps"]) if "steps" in step else [(1.0, step["use"] == "d1.read")]
    waited = not step.get("spawn", False)
    return [(1 - step["chance"], False), *((step["chance"] * p, hit and waited) for p, hit in inside)]


def ways(steps: list[dict[str, Any]]) -> list[tuple[float, bool]]:
    """Every way that the chances of several steps may fall."""
    return [
        (prod(p for p, _ in found), any(hit for _, hit in found)) for found in product(*(met(step) for step in steps))
    ]


@settings(max_examples=30)
@given(st.lists(leaf | group, min_size=1, max_size=3))
def test_need_is_what_counting_every_outcome_gives(steps: list[dict[str, Any]]) -> None:
    counted = sum(p for p, hit in ways(steps) if hit)
    assert needs(*steps).services.get("d1", 0.0) == pytest.approx(counted, abs=1e-12)
