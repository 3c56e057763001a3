"""Uptime from predicted months and the run.

Goal: an estimate is the months' and the run's together, its interval holds as many months as it says, and what would
settle a verdict does. Method: runs made by hand; the shipped record; verdicts with the shares that a sentence names.
"""

import re
from itertools import product
from math import inf, prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.foundation.errors import UsageError
from sim.judgement.availability import availability
from sim.judgement.dependence import Path, paths
from sim.judgement.targets import Verdict, decide
from tests.support import frames

TARGET: Any = frames.TARGETS[-1]


def played(n: int = 20_000, failed: int = 0, **shares: float) -> list[Any]:
    """A run whose failures are spread evenly."""
    outcome = ["error" if (i + 1) * failed // n > i * failed // n else "ok" for i in range(n)]
    scenario = frames.scenario(shares=shares or {"log": 1.0})
    return [frames.result(frames.frame(np.ones(n), outcome=outcome), scenario=scenario)]


def test_the_median_month_and_the_run_multiply() -> None:
    found = availability(played(n=1_000, failed=10))
    assert found.failed_ratio == 0.01
    assert found.estimate.value == pytest.approx(0.99 * found.platform_ratio)
    assert found.platform_ratio == pytest.approx(float(np.median(1 - found.months.failed_ratio)))


def test_interval_holds_the_estimate_and_stays_in_zero_to_one() -> None:
    for failed in (0, 1, 500, 1_000):
        found = availability(played(n=1_000, failed=failed)).estimate
        assert 0 <= found.low <= found.value <= found.high <= 1


def test_interval_holds_95_of_100_predicted_months() -> None:
    found = availability(played(n=1_000, failed=3))
    inside = (found.success_draws() >= found.estimate.low) & (found.success_draws() <= found.estimate.high)
    assert inside.mean() == pytest.approx(0.95, abs=0.002)


def test_one_run_and_a_list_of_it_are_the_same() -> None:
    (run,) = played()
    assert availability(run).estimate == availability([run]).estimate


def test_a_longer_run_knows_its_own_failures_better() -> None:
    short, long = (availability(played(n, failed=n // 5)) for n in (50, 20_000))
    spread = [np.ptp(np.quantile(found.success_draws(0.0), [0.025, 0.975])) for found in (short, long)]
    assert spread[1] < spread[0] / 10


def test_the_share_of_months_that_meet_a_line_falls_with_the_line() -> None:
    found = availability(played(1_000_000))
    met = [found.met_ratio(line) for line in (0.9, 0.99, 0.999, 0.9999, 1.0)]
    assert met == sorted(met, reverse=True)
    assert met[0] > met[-1] == 0


def test_routes_that_need_more_lose_more() -> None:
    edge = availability(played(log=1.0)).months.exposed_ratio.mean()
    more = availability(played(log=1.0, upload=1.0, search=1.0)).months.exposed_ratio.mean()
    assert more > edge


def test_a_way_round_raises_the_uptime() -> None:
    waiting = availability(played())
    round_it = availability(played(), at_most_minutes=5)
    assert round_it.estimate.value > waiting.estimate.value
    assert round_it.met_ratio(0.9999) > waiting.met_ratio(0.9999)


@pytest.mark.parametrize("minutes", [0, -5, float("nan")])
def test_a_time_that_is_not_positive_is_refused(minutes: float) -> None:
    with pytest.raises(UsageError, match="must be > 0"):
        availability(played(), at_most_minutes=minutes)


def shares_of(sentence: str) -> list[float]:
    """The shares of requests hit that a sentence names: settled as met, as missed."""
    return [float(one) / 100 for one in re.findall(r"(?:at most|over) ([\d.e+-]+) %", sentence)]


def test_an_open_verdict_names_the_shares_that_settle_it_and_they_do() -> None:
    found = availability(played(10_000_000))
    assert decide(found.estimate.low, found.estimate.high, line=TARGET) == Verdict.INCONCLUSIVE
    met, missed = shares_of(found.settled_by(TARGET))
    assert found.met_ratio(TARGET.target, hit_share=0.9 * met) >= 0.97
    assert found.met_ratio(TARGET.target, hit_share=min(1.0, 1.1 * missed)) <= 0.03


def test_more_requests_do_not_settle_what_the_platform_leaves_open() -> None:
    asked = [availability(played(n)).settled_by(TARGET) for n in (500, 50_000, 2_000_000)]
    assert not any("n >= " in one for one in asked)


def test_a_run_that_fails_too_often_by_itself_has_no_share_that_would_settle_it() -> None:
    """0.02 % of its requests fail: twice the budget, before any incident."""
    sentence = availability(played(1_000_000, failed=200)).settled_by(TARGET)
    assert "would settle it as met" not in sentence


def test_a_short_run_of_a_deployment_that_fails_asks_for_requests() -> None:
    """Two thirds fail: an ALERT, whatever the platform does; ten requests do not know it yet."""
    line: Any = TARGET.model_copy(update={"target": 0.6, "alert": 0.5})
    found = availability(played(12, failed=8))
    assert decide(found.estimate.low, found.estimate.high, line=line) == Verdict.INCONCLUSIVE
    sentence = found.settled_by(line)
    asked = int(sentence.removeprefix("n >= ").split()[0].replace(",", ""))
    long = availability(played(2 * asked, failed=round(2 * asked * 8 / 12))).estimate
    assert decide(long.low, long.high, line=line) == Verdict.ALERT
    assert found._verdict(line, trials=inf) == Verdict.ALERT


def test_services_are_listed_with_their_products_and_incidents() -> None:
    services = availability(played(log=1.0, upload=1.0)).services
    assert {row.service for row in services} == {"edge_http", "r2", "d1", "durable_objects"}
    assert services[0].service == "edge_http"
    assert services[0].products == ("workers", "network")
    assert [row.open_minutes for row in services] == sorted((row.open_minutes for row in services), reverse=True)
    assert {row.days for row in services} == {738}


def test_the_view_of_a_notebook_names_every_service() -> None:
    page = availability(played(log=1.0, upload=1.0))._repr_html_()
    assert all(name in page for name in ("edge_http", "durable_objects", "workers, network"))


# ---------------------------------------------------------------- what a route hangs on follows its operations


def needs(*steps: Any, **route: Any) -> Path:
    """What one route hangs on."""
    only = {"share": 2.0, "steps": list(steps), **route}
    (path,) = paths(frames.scenario().with_(**{"system.archive": {"like": "d1"}, "routes": {"only": only}}))
    return path


def test_a_route_hangs_on_its_entry_and_on_the_services_of_its_operations() -> None:
    path = needs("workers.compute", "r2.put", "archive.write", "ledger.append", enter="tunnel")
    assert path == Path(1.0, {"r2": 1.0, "d1": 1.0, "durable_objects": 1.0, "edge_http": 1.0})


def test_what_comes_by_chance_is_needed_by_as_many() -> None:
    """A read of both databases: neither 30 % nor 44 % of the requests meet D1, but 1 - 0.7 x 0.8."""
    path = needs({"use": "d1.read", "chance": 0.3}, {"use": "archive.read", "chance": 0.2, "times": 5}, "r2.get")
    assert path.services == pytest.approx({"d1": 0.44, "r2": 1.0, "edge_http": 1.0})


def test_steps_of_a_group_share_its_chance() -> None:
    both = {"chance": 0.3, "steps": ["d1.read", {"use": "d1.write", "chance": 0.5}]}
    assert needs(both).services["d1"] == pytest.approx(0.3)


def test_what_nobody_waits_for_is_not_needed() -> None:
    path = needs("d1.read", {"use": "r2.put", "spawn": True}, {"spawn": True, "steps": ["ledger.append"]})
    assert path == Path(1.0, {"d1": 1.0, "edge_http": 1.0})
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
