"""Goal: a prediction carries what a calibration leaves open, no more and no less, and nothing else.

Method: laws whose intervals are known are drawn often; whole distributions are scaled and compared value by value.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import calibrate, load_scenario, run
from sim.experiments.calibration.drawing import drawn, scaled
from sim.experiments.calibration.laws import Interval, Law
from sim.foundation.errors import UsageError
from sim.randomness.distributions import (
    AnyDistribution,
    Constant,
    Empirical,
    Erlang,
    Exponential,
    Hyperexponential,
    Lognormal,
    Pareto,
    Uniform,
    Weibull,
)

U = np.array([0.01, 0.3, 0.5, 0.9, 0.99])
ONE_OF_EACH: tuple[AnyDistribution, ...] = (
    Constant(value=3.0),
    Uniform(low=1.0, high=4.0),
    Exponential(mean=2.0),
    Lognormal(median=5.0, p99=40.0),
    Weibull(mean=5.0, shape=0.7),
    Pareto(minimum=1.0, maximum=90.0, shape=1.3),
    Erlang(mean=4.0, stages=3),
    Hyperexponential(mean=4.0, cv2=3.0),
    Empirical(values=(1.0, 2.0, 7.0)),
)


def law(distribution: AnyDistribution, **intervals: tuple[float, float, float]) -> Law:
    return Law(distribution, {name: Interval(*numbers) for name, numbers in intervals.items()}, 500)


def draws(of: Law, count: int = 2_000) -> list[AnyDistribution]:
    rng = np.random.default_rng(1)
    return [drawn(of, rng) for _ in range(count)]


@given(st.sampled_from(ONE_OF_EACH), st.floats(1e-3, 1e3))
def test_a_scaled_distribution_is_as_many_times_the_value(of: AnyDistribution, factor: float) -> None:
    assert scaled(of, factor).quantile(U) == pytest.approx(factor * of.quantile(U), rel=1e-9)


def test_parameters_fill_their_intervals() -> None:
    found = draws(law(Lognormal(median=10.0, p99=60.0), median=(10.0, 9.0, 11.1), p99=(60.0, 50.0, 72.0)))
    for name, low, high in (("median", 9.0, 11.1), ("p99", 50.0, 72.0)):
        values = [getattr(one, name) for one in found]
        assert np.quantile(values, [0.025, 0.975]) == pytest.approx([low, high], rel=0.02)


def test_a_lognormal_part_of_a_sum_fills_the_intervals_of_mean_and_p99() -> None:
    whole = Lognormal(median=10.0, p99=60.0)
    mean = whole.expected()
    found = draws(law(whole, mean=(mean, 0.95 * mean, mean / 0.95), p99=(60.0, 50.0, 72.0)))
    assert np.quantile([one.expected() for one in found], [0.025, 0.975]) == pytest.approx(
        [0.95 * mean, mean / 0.95], rel=0.02
    )
    p99 = [float(one.quantile(np.array([0.99]))[0]) for one in found]
    assert np.quantile(p99, [0.025, 0.975]) == pytest.approx([50.0, 72.0], rel=0.06)


def test_a_statistic_without_a_parameter_scales_the_whole() -> None:
    own = Empirical(values=(1.0, 2.0, 7.0))
    (one,) = draws(law(own, mean=(3.0, 2.0, 4.5), p50=(2.0, 1.0, 3.0), p99=(7.0, 6.0, 8.0)), 1)
    assert isinstance(one, Empirical)
    assert len({round(ours / theirs, 12) for ours, theirs in zip(one.values, own.values, strict=True)}) == 1
    assert one.values != own.values


def test_a_number_without_doubt_stays() -> None:
    assert set(draws(law(Constant(value=3.0), value=(3.0, 3.0, 3.0)), 5)) == {Constant(value=3.0)}


def test_stages_stay_whole() -> None:
    found = draws(law(Erlang(mean=4.0, stages=3), mean=(4.0, 3.8, 4.2), stages=(3.0, 2.0, 4.0)), 200)
    assert {2, 3, 4} <= {one.stages for one in found if isinstance(one, Erlang)}


def test_a_draw_that_is_no_distribution_is_drawn_again() -> None:
    """A uniform whose ends nearly meet: half of the draws would put them the wrong way round."""
    found = draws(law(Uniform(low=1.0, high=1.01), low=(1.0, 0.9, 1.1), high=(1.01, 0.9, 1.1)), 200)
    assert all(one.low <= one.high for one in found if isinstance(one, Uniform))
    assert {one.distribution for one in found} == {"uniform"}


def test_where_no_draw_is_a_distribution_the_fit_is_taken() -> None:
    own = Hyperexponential(mean=4.0, cv2=1.0)
    assert draws(law(own, mean=(-1.0, -2.0, -0.5), cv2=(1.0, 1.0, 1.0)), 1) == [own]


def test_a_scenario_is_drawn_from_its_seed_and_only_where_it_was_calibrated() -> None:
    base = load_scenario("launch").with_shares(search=1.0)
    found = calibrate("launch", [run(base, rng=3, requests=500)], hold=["system.d1.rtt_ms"])
    once, again, other = found.drawn(1), found.drawn(1), found.drawn(2)
    assert once.system.d1.read_ms == again.system.d1.read_ms != other.system.d1.read_ms
    paths = {one.path for one in found.found}
    assert "system.d1.read_ms" in paths
    assert once.system.d1.rtt_ms == found.scenario.system.d1.rtt_ms
    assert once.system.d1.write_ms == found.scenario.system.d1.write_ms
    with pytest.raises(UsageError, match="seed"):
        found.drawn(-1)
