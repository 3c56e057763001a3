"""Forecasts of daily counts.

Goal: trend and weekdays are found, and a 95 % prediction interval holds 95 % of what comes, also when neighbouring days
resemble each other. Method: series whose truth is known, many of them.
"""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from sim.statistics.forecast import LogLinear, fit_counts

WEEK = np.array([0.1, 0.1, 0.05, 0.0, 0.05, -0.2, -0.1])


def series(
    days: int, *, slope: float = 0.01, noise: float = 0.1, correlation: float = 0.0, seed: int = 1
) -> NDArray[np.float64]:
    """Counts of so many days: a line and weekdays in logarithms, and residuals of the first order."""
    rng = np.random.default_rng(seed)
    shock = rng.standard_normal(days) * noise * (1 - correlation**2) ** 0.5
    residual = np.empty(days)
    residual[0] = rng.standard_normal() * noise
    for day in range(1, days):
        residual[day] = correlation * residual[day - 1] + shock[day]
    date = np.arange(days)
    return np.asarray(np.exp(10 + slope * date + WEEK[date % 7] + residual))


def fitted(counts: NDArray[np.float64]) -> LogLinear:
    return fit_counts(np.arange(len(counts)), counts)


def test_series_without_noise_is_continued_exactly() -> None:
    truth = series(70, noise=0.0)
    fit = fitted(truth[:49])
    middle, low, high = fit.interval(np.arange(1, 22))
    assert middle == pytest.approx(truth[49:], rel=1e-9)
    assert high == pytest.approx(low, rel=1e-6)
    assert fit.growth_per_month[0] == pytest.approx(np.expm1(0.3))


@pytest.mark.parametrize("correlation", [0.0, 0.4])
@pytest.mark.parametrize("ahead", [1, 30])
def test_interval_holds_what_it_promises(correlation: float, ahead: int) -> None:
    """400 series of 84 days; 95 % within two and a half standard errors of the count."""
    held = 0
    for seed in range(400):
        counts = series(84 + ahead, correlation=correlation, seed=seed)
        _, low, high = fitted(counts[:84]).interval(np.array([ahead]))
        held += bool(low[0] <= counts[-1] <= high[0])
    assert 0.92 <= held / 400 <= 0.985


def test_drawn_futures_hang_on_rounding_by_no_more_than_rounding() -> None:
    """Weekdays have variances in common, so a decomposition into axes could turn them by any angle."""
    fit = fitted(series(84))
    noise = 1e-13 * np.random.default_rng(2).standard_normal(fit.covariance.shape)
    rounded = replace(fit, covariance=fit.covariance * (1 + noise + noise.T))
    one, other = (each.paths(30, draws=50, rng=np.random.default_rng(3)) for each in (fit, rounded))
    np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize("correlation", [0.0, 0.4])
def test_drawn_futures_hold_the_sum_of_a_month(correlation: float) -> None:
    """The total of 30 days, of which the residuals do not average out as if days were strangers."""
    held = 0
    for seed in range(300):
        counts = series(84 + 30, correlation=correlation, seed=seed)
        paths = fitted(counts[:84]).paths(30, draws=400, rng=np.random.default_rng(seed)).sum(axis=1)
        low, high = np.quantile(paths, [0.025, 0.975])
        held += bool(low <= counts[84:].sum() <= high)
    assert 0.91 <= held / 300 <= 0.99


def test_drawn_futures_agree_with_the_interval() -> None:
    fit = fitted(series(84))
    paths = fit.paths(10, draws=20_000, rng=np.random.default_rng(1))
    _, low, high = fit.interval(np.arange(1, 11))
    assert np.quantile(paths, 0.025, axis=0) == pytest.approx(low, rel=0.02)
    assert np.quantile(paths, 0.975, axis=0) == pytest.approx(high, rel=0.02)


def test_missing_days_move_nothing() -> None:
    truth = series(84, noise=0.0)
    kept = np.delete(np.arange(84), [3, 10, 11, 40, 41, 42])
    middle, _, _ = fit_counts(kept, truth[kept]).interval(np.array([1]))
    assert middle == pytest.approx(series(85, noise=0.0)[-1:], rel=1e-9)


def test_short_series_has_a_trend_and_no_weekdays() -> None:
    fit = fitted(np.exp(5 + 0.01 * np.arange(14)))
    assert not fit.seasonal
    assert fit.interval(np.array([1]))[0][0] == pytest.approx(np.exp(5.14))
    assert fitted(series(21)).seasonal
