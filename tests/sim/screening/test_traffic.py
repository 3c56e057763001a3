"""The mean traffic of a scenario.

Goal: it is what a schedule of the scenario comes to in the long run. Method: shares, rates and sizes beside those of
long schedules, for every kind of arrivals that ships.
"""

import numpy as np
import pytest

from sim.scenario.arrivals import Bursty, Poisson, Ramp, Spike, Steady
from sim.scenario.generation import schedule
from sim.scenario.scenario import load_scenario
from sim.screening.traffic import EVERY_ROUTE, LEVELS_MAX, Numbers, traffic

SHIPPED = ["launch", "shapes/ramp", "shapes/spike", "shapes/step", "shapes/bursty", "shapes/steady", "shapes/trace"]


@pytest.mark.parametrize("name", SHIPPED)
def test_rate_and_shares_are_those_of_a_schedule(name: str) -> None:
    """Requests a second within 3 % (bursts: chance moves the rate by a tenth), shares of routes within 0.02."""
    scenario = load_scenario(name)
    planned, coming = schedule(scenario), traffic(scenario, {200: EVERY_ROUTE})
    assert coming.rate_per_s == pytest.approx(
        len(planned) / (planned.duration_ms / 1000), rel=0.12 if "bursty" in name else 0.03
    )
    for route, share in zip(coming.routes, coming.route_share, strict=True):
        assert share == pytest.approx(np.mean(planned.route_code == planned.routes.index(route)), abs=0.02)
    assert coming.route_share.sum() == pytest.approx(1)


@pytest.mark.parametrize("count", [1, 4, 200, 1_000, 100_000])
def test_shares_add_up_however_keys_are_grouped(count: int) -> None:
    """One instance, a few shards, one a key, and a long tail put together: always the whole traffic."""
    scenario = load_scenario("launch").vary("workload.keys.count", max(count, 200))
    coming = traffic(scenario, {count: EVERY_ROUTE})
    assert (coming.share.sum(axis=0) * coming.copies).sum() == pytest.approx(1)
    assert coming.copies.sum() == count
    assert coming.share.shape[1] <= 400


def test_busiest_group_is_the_shard_with_most_traffic() -> None:
    """Four shards: organisations 0, 4, 8, ... meet in the first, which is asked most."""
    scenario = load_scenario("launch")
    coming, planned = traffic(scenario, {4: EVERY_ROUTE}), schedule(scenario)
    counted = np.bincount(planned.key % 4) / len(planned)
    assert coming.key[0] == 0
    assert coming.share.sum(axis=0)[0] == pytest.approx(counted[0], rel=0.02)


def test_things_with_different_numbers_of_instances_keep_keys_apart() -> None:
    """Keys that meet in one place and not in another cannot be put together."""
    coming = traffic(load_scenario("launch"), {3: EVERY_ROUTE, 7: EVERY_ROUTE})
    assert not coming.merged
    assert coming.share.shape[1] == 200


@pytest.mark.parametrize("attribute", ["size_bytes", "tokens_in", "tokens_out"])
def test_what_requests_carry_is_that_of_a_schedule(attribute: str) -> None:
    """Mean, spread and the share above a limit, of uploads, downloads and logs."""
    scenario = load_scenario("launch").with_(**{"workload.duration_s": 3_000})
    coming, planned = traffic(scenario, {}), schedule(scenario)
    for route in ("upload", "download", "log"):
        values = getattr(planned, attribute)[planned.route_code == planned.routes.index(route)]
        found = coming.numbers[attribute][coming.routes.index(route)]
        assert found.mean == pytest.approx(values.mean(), rel=0.05)
        assert found.variance**0.5 == pytest.approx(values.std(), rel=0.2)
        limit = float(np.quantile(values, 0.9))
        assert found.over(limit) == pytest.approx(np.mean(values > limit), abs=0.03)
        assert found.at_most(limit) == pytest.approx(np.minimum(values, limit).mean(), rel=0.05)


def test_no_observation_counts_as_nothing() -> None:
    """A route of a trace that carries no numbers."""
    nothing = Numbers.of([])
    assert (nothing.mean, nothing.variance, nothing.over(0), nothing.at_most(5)) == (0, 0, 0, 0)


def test_moving_rate_is_told_in_levels_of_the_same_mean() -> None:
    """From low to high, times adding up to one, ratios to the mean."""
    for name in ("shapes/ramp", "shapes/bursty", "shapes/spike", "phase3"):
        coming = traffic(load_scenario(name), {})
        levels = coming.levels
        assert 2 <= len(levels) <= LEVELS_MAX
        assert [level.rate_ratio for level in levels] == sorted(level.rate_ratio for level in levels)
        assert sum(level.time_share * level.rate_ratio for level in levels) == pytest.approx(1)
        rates = [share * level.rate_per_s for share, level in coming.at_rest()]
        assert sum(rates) == pytest.approx(coming.rate_per_s)
        assert len(coming.evenly.levels) == 1


def test_stay_of_a_burst_is_its_mean_length() -> None:
    """Two seconds in bursts, eight between them."""
    levels = traffic(load_scenario("shapes/bursty"), {}).levels
    assert [round(level.stay_ms) for level in levels] == [8_000, 2_000]


def test_run_that_a_number_ends_is_shorter_at_a_higher_rate() -> None:
    """Twice the rate: half the time, with requests = 100,000; the same time, with a duration."""
    counted, timed = traffic(load_scenario("phase4"), {}), traffic(load_scenario("launch"), {})
    assert counted.at_rate(2 * counted.rate_per_s).duration_ms == pytest.approx(counted.duration_ms / 2)
    assert counted.at_rate(2 * counted.rate_per_s).levels[0].stay_ms == pytest.approx(counted.levels[0].stay_ms / 2)
    assert timed.at_rate(2 * timed.rate_per_s).duration_ms == timed.duration_ms


@pytest.mark.parametrize(
    ("process", "mean_per_s"),
    [
        (Poisson(rate_per_s=7), 7),
        (Steady(rate_per_s=7), 7),
        (Ramp(rate_per_s=10, to_rate_per_s=30), 20),
        (Spike(rate_per_s=10, spike_rate_per_s=100, start_s=0, length_s=10), 19),
        (Bursty(rate_per_s=10, burst_rate_per_s=60, mean_calm_s=8, mean_burst_s=2), 20),
    ],
    ids=["poisson", "constant", "ramp", "spike", "bursty"],
)
def test_profile_has_the_mean_of_the_process(process: Poisson, mean_per_s: float) -> None:
    """Over 100 s, which is ten times the spike."""
    assert process.profile_per_s(100.0).mean() == pytest.approx(mean_per_s)


def test_without_a_duration_the_nominal_rate_counts() -> None:
    """A spike that only a number of requests ends: nobody knows how long it will be a part of."""
    spike = Spike(rate_per_s=10, spike_rate_per_s=100, start_s=0, length_s=10)
    assert spike.profile_per_s(None).tolist() == [10]
