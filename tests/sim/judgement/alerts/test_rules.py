"""Rules from the target table.

Goal: every target has alerts or a reason for having none, the names are those that the deployment exports, each alert
has a runbook, and the time to fire of a steady burn is the closed form.
Method: the brief's scenarios, the reference's own exposition, and runs whose answer is arithmetic.
"""

import asyncio
import re
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_impl.errors import ImplError
from reference_impl.messages import Response
from reference_impl.monitoring.metrics import LATENCY_BOUNDS_MS, Monitoring
from sim.experiments.alerting.alerts import rules_of
from sim.foundation.errors import UsageError
from sim.judgement.alerts.objectives import TOTAL
from sim.judgement.alerts.replay import Counter, Samples, replay
from sim.judgement.alerts.rule_file import rule_file
from sim.judgement.alerts.rules import LADDER, QUARTER_DAYS, BurnAlert, Rules, bad_min
from sim.judgement.targets import load_targets
from sim.results.exposition import BOUNDS_MS
from sim.scenario.scenario import load_scenario
from tests.project.tidy import ROOT

NOT_PLAYED = ("cloudflare", "pipeline")
"""A base; and a scenario none of whose targets has a counter."""
SCENARIOS = sorted(
    path.stem
    for path in (ROOT / "scenarios").glob("*.toml")
    if path.stem not in NOT_PLAYED and not path.stem.endswith("targets")
)
LAUNCH = load_scenario("launch")
RULES, WAVE, _ = rules_of(LAUNCH)


class _Clock:
    def now_ms(self) -> float:
        return 0.0


def alert(name: str) -> BurnAlert:
    return next(one for one in RULES.burns if one.name == name)


def steady(rules: Rules, *, bad_share: float, minutes: int = 400, rate: int = 6_000, before: int = 4_320) -> Samples:
    """A steady rate; all at once, after *before* minutes, a share of the requests is bad for every objective."""
    clock = np.arange(before + minutes + 1, dtype=np.float64)
    total = rate * clock
    bad = np.round(bad_share * rate * np.maximum(0, clock - before))
    counters = {one.name: Counter(clock * 60.0, 1e9 + total - bad) for one in rules.objectives}
    return Samples(Counter(clock * 60.0, 1e9 + total), counters)


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_target_has_alerts_or_a_reason(name: str) -> None:
    scenario = load_scenario(name)
    rules, _, _ = rules_of(scenario)
    named = {one.target.name for one in rules.objectives} | {one.name for one in rules.left_out}
    assert {target.name for target in load_targets(scenario.targets_path)} <= named
    assert all(one.reason for one in rules.left_out)


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_alert_has_a_runbook_that_exists(name: str) -> None:
    rules, _, _ = rules_of(load_scenario(name))
    text = rule_file(rules, runbooks="docs/runbooks")
    links = re.findall(r'runbook_url: "(.*)"', text)
    assert len(links) == len(rules.alerts) == text.count("- alert:")
    for link in links:
        page = (ROOT / link).read_text("utf-8")
        assert "## First five minutes" in page, link


def test_a_scenario_without_a_target_that_can_be_counted_is_refused_with_the_reason() -> None:
    with pytest.raises(UsageError, match=r"no target can have an alert .*600000 ms is no bound of the histogram"):
        rules_of(load_scenario("pipeline"))


def test_names_and_bounds_are_those_that_the_reference_exports() -> None:
    assert BOUNDS_MS == LATENCY_BOUNDS_MS
    monitoring = Monitoring(_Clock())  # type: ignore[arg-type]  # only its time is asked for

    async def answered() -> Response:
        return Response(200, b"")

    async def thrown() -> Response:
        raise ImplError("broken")

    asyncio.run(monitoring.observe("GET", answered))
    with pytest.raises(ImplError):
        asyncio.run(monitoring.observe("GET", thrown))
    lines = bytes(monitoring.exposition().body).decode()
    assert f'{TOTAL}{{method="GET"}} 2.0' in lines
    assert 'requests_total{method="GET",status="200"} 1.0' in lines
    assert re.search(r'requests_total\{method="GET",status="5\d\d"\} 1.0', lines)
    for objective in RULES.objectives:
        assert all(label in lines for label in re.findall(r'le="[\d.]+"', objective.good))
        assert objective.good.partition("{")[0] in lines


def test_alerts_stand_on_the_target_line_so_that_no_zone_is_dead() -> None:
    """Hazards H48 and H49: between target and alert line the target is missed and nothing fires."""
    assert alert("UptimeBurn3d").threshold == pytest.approx(1e-4)
    assert 'le="200.0"' in alert("LatencyP99Burn1h").objective.good
    rules = replay(
        RULES, steady(RULES, bad_share=5e-4, minutes=4_000), at_s=np.arange(8_321, dtype=np.float64) * 60, interval_s=60
    )
    assert rules.firing["UptimeBurn3d"].any()


def test_a_budget_is_exact() -> None:
    assert alert("UptimeBurn1h").objective.budget == Decimal("0.0001")
    assert alert("LatencyP99Burn1h").objective.budget == Decimal("0.01")


@pytest.mark.parametrize(("share", "seconds"), [(1.0, 5.184), (0.1, 51.84), (0.01, 518.4)])
def test_full_and_partial_outages_trip_after_the_closed_form(share: float, seconds: float) -> None:
    assert alert("UptimeBurn1h").minutes_to_fire(share) * 60 == pytest.approx(seconds)


def test_what_could_never_fire_is_left_out_with_its_reason() -> None:
    names = {one.name: one.reason for one in RULES.left_out}
    assert "could never fire" in names["LatencyP50Burn1h"]
    assert all(one.threshold < 1 for one in RULES.burns)


@settings(max_examples=25, deadline=None)
@given(st.floats(2e-4, 1.0))
def test_the_replay_of_a_steady_burn_fires_within_two_evaluations_of_the_closed_form(share: float) -> None:
    at_s = np.arange(4_320 + 401, dtype=np.float64) * 60
    firing = replay(RULES, steady(RULES, bad_share=share), at_s=at_s, interval_s=60)
    for one in RULES.burns:
        expected = one.minutes_to_fire(share)
        found = firing.first_s(one.name, since_s=0, until_s=np.inf) / 60 - 4_320
        # 1.02: bad requests are whole, and a share on the very line may fall on either side.
        if share > 1.02 * one.threshold and expected < 390:
            assert expected - 1 <= found <= 1.03 * expected + 2, one.name
        elif share < 0.98 * one.threshold:
            assert found == np.inf


@pytest.mark.parametrize("windows", LADDER)
def test_one_bad_request_at_low_traffic_is_no_alarm(windows: object) -> None:
    """417 requests an hour: one failure is 24 times the budget, and happens in any quarter."""
    assert 2 <= bad_min(windows) <= 40  # type: ignore[arg-type]  # LADDER holds Windows
    assert QUARTER_DAYS == 90
    clock = np.arange(4_321, dtype=np.float64)
    total = np.floor(0.116 * 60 * clock)
    good = total - (clock > 4_300)
    counters = {one.name: Counter(clock * 60.0, 1e6 + good) for one in RULES.objectives}
    samples = Samples(Counter(clock * 60.0, 1e6 + total), counters)
    found = replay(RULES, samples, at_s=clock * 60.0, interval_s=60)
    assert not any(found.firing[one.name].any() for one in RULES.burns)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=30, max_size=60), st.integers(0, 29))
def test_a_restart_loses_nothing_but_the_minute_of_the_restart(steps: list[int], restart: int) -> None:
    """What a counter held before its reset is added back: only its increase in that one interval is unknown."""
    at_s = np.arange(len(steps) + 1, dtype=np.float64) * 60
    whole = 1_000 + np.concatenate([[0], np.cumsum(steps)]).astype(float)
    cut = np.where(np.arange(whole.size) > restart, whole - whole[restart], whole)
    range_s = float(at_s[-1])
    rates = [Counter(at_s, values).rate(at_s[-1:], range_s=range_s)[0] * range_s for values in (whole, cut)]
    assert rates[0] == pytest.approx(sum(steps))
    assert rates[1] == pytest.approx(sum(steps))


def test_a_range_with_one_sample_has_no_rate() -> None:
    assert np.isnan(Counter(np.array([0.0]), np.array([5.0])).rate(np.array([60.0]), range_s=300)).all()
