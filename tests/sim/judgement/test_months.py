"""Predicted months of a scenario.

Goal: a month loses what its incidents take, no more and no less, and what nobody measured stays uncertain. Method: the
shipped record with the scenarios' routes; routes that need nothing else; means that are known by arithmetic.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.foundation.errors import ScenarioError, UsageError
from sim.judgement.dependence import HIT_SHARES, Path, hit_shares, needing, paths, products_in_use, record_of
from sim.judgement.incidents import PageIncident
from sim.judgement.months import months_of
from sim.judgement.outages import read_outages
from sim.judgement.renewal import fit_renewal
from tests.support import frames

LAUNCH = frames.scenario()
RECORD = record_of(frames.PLATFORM)
MONTHS = months_of(LAUNCH)


def test_the_same_scenario_has_the_same_months() -> None:
    assert np.array_equal(months_of(frames.scenario()).failed_ratio, MONTHS.failed_ratio)


def test_incidents_come_as_often_as_on_record() -> None:
    products, unknown = products_in_use(paths(LAUNCH), RECORD)
    assert not unknown
    lasting = sum(one.open_minutes > 0 for one in RECORD.touching(tuple(products)))
    assert MONTHS.incidents.mean() == pytest.approx(30 * lasting / RECORD.days, rel=0.05)


def test_open_minutes_are_those_of_the_renewal_model() -> None:
    products, _ = products_in_use(paths(LAUNCH), RECORD)
    drawn = fit_renewal(RECORD, tuple(products)).open_minutes_draws(30, draws=20_000, rng=np.random.default_rng(2))
    for share in (0.1, 0.5, 0.9):
        assert np.quantile(MONTHS.open_minutes, share) == pytest.approx(np.quantile(drawn, share), rel=0.06)


def test_exposure_is_half_of_the_open_time_where_every_request_needs_every_product() -> None:
    """All incidents on record touch the edge alone here, and half of them make requests slow in place of failing."""
    only_edge = LAUNCH.with_(routes={"only": {"share": 1.0, "steps": ["workers.compute"]}})
    found = months_of(only_edge)
    assert set(paths(only_edge)[0].services) == {"edge_http"}
    below_one = found.exposed_ratio < 1
    ratio = found.exposed_ratio[below_one].mean() / (found.open_minutes[below_one].mean() / (30 * 1_440))
    assert ratio == pytest.approx(0.5, rel=0.05)


def test_assumed_shares_lie_between_the_bounds_of_their_severities() -> None:
    """However unlucky a draw, its incidents hit at most all, and at least what the least severe do."""
    least = min(low for low, _ in HIT_SHARES.values())
    assert (MONTHS.failed_ratio <= MONTHS.exposed_ratio + 1e-12).all()
    assert (MONTHS.failed_ratio >= least * MONTHS.exposed_ratio - 1e-12).all()


@settings(max_examples=40, deadline=None)
@given(low=st.floats(0, 1), more=st.floats(0, 1))
def test_a_larger_share_of_requests_hit_never_helps(low: float, more: float) -> None:
    high = min(1.0, low + more)
    assert (MONTHS.success_ratio(high) <= MONTHS.success_ratio(low)).all()
    assert (MONTHS.success_ratio(0.0) == 1).all()


@settings(max_examples=10, deadline=None)
@given(minutes=st.sampled_from([1.0, 5.0, 60.0, 600.0]))
def test_a_way_round_never_costs_requests(minutes: float) -> None:
    assert (months_of(LAUNCH, at_most_minutes=minutes).failed_ratio <= MONTHS.failed_ratio).all()


def test_with_a_way_round_no_incident_lasts_longer() -> None:
    found = months_of(LAUNCH, at_most_minutes=5.0)
    assert (found.open_minutes <= 5.0 * found.incidents + 1e-9).all()


@settings(max_examples=40, deadline=None)
@given(lost=st.floats(1e-6, 0.5))
def test_settling_shares_settle(lost: float) -> None:
    passes, misses = MONTHS.settling_shares(lost)
    assert passes < misses
    if passes <= 1:
        assert (1 - MONTHS.success_ratio(passes) <= lost + 1e-12).mean() >= 0.974
    if misses * 1.001 <= 1:
        assert (1 - MONTHS.success_ratio(misses * 1.001) > lost).mean() >= 0.974


def test_a_service_without_an_incident_on_record_is_unknown_not_perfect() -> None:
    from sim.judgement import months

    known = months._months(RECORD, ((1.0, (("edge_http", 1.0),)),), np.inf)
    unknown = months._months(RECORD, ((1.0, (("edge_http", 1.0), ("elsewhere", 1.0))),), np.inf)
    alone = months._months(RECORD, ((1.0, (("elsewhere", 1.0),)),), np.inf)
    assert unknown.incidents.mean() > known.incidents.mean()
    assert 0 < alone.incidents.mean() < 1
    assert np.median(alone.failed_ratio) == 0


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_outside_its_rule_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match="must be in"):
        MONTHS.success_ratio(share)


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan")])
def test_a_time_that_is_not_positive_is_refused(minutes: float) -> None:
    with pytest.raises(UsageError, match="must be > 0"):
        months_of(LAUNCH, at_most_minutes=minutes)


def test_a_severity_without_a_share_is_refused() -> None:
    odd = PageIncident(RECORD.incidents[0].start, 5, "cosmic", frozenset({"d1"}))
    with pytest.raises(UsageError, match=r'incident of 2.*: severity="cosmic" must be one of minor, major, critical'):
        hit_shares(odd)


def test_a_platform_file_without_a_record_beside_it_is_refused(tmp_path: Any) -> None:
    moved: Any = type("Moved", (), {"path": tmp_path / "own.toml"})
    with pytest.raises(ScenarioError, match=r"incidents.csv must stand beside own.toml"):
        record_of(moved)


def test_requests_that_need_either_service_are_counted_once() -> None:
    routes = (Path(0.5, {"d1": 0.4, "r2": 0.5}), Path(0.5, {"d1": 1.0}))
    assert needing(routes, {"d1"}) == pytest.approx(0.5 * 0.4 + 0.5)
    assert needing(routes, {"d1", "r2"}) == pytest.approx(0.5 * (1 - 0.6 * 0.5) + 0.5)
    assert needing(routes, set()) == 0


# ---------------------------------------------------------------- outages that the provider confirmed


def test_outages_are_read_from_the_platform_file() -> None:
    found = read_outages(frames.PLATFORM)
    assert found.days == 925
    assert [one.minutes for one in found.of("edge_http")] == [190, 25]
    assert [one.minutes for one in found.of("r2")] == [59, 67]


def test_a_platform_without_outages_is_refused() -> None:
    empty: Any = type("Empty", (), {"facts": {}, "path": frames.PLATFORM.path})
    with pytest.raises(ScenarioError, match=r"no \[incidents"):
        read_outages(empty)
