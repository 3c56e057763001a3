"""M/D/1.

Goal: the waiting-time distribution is right to the last digits even where the classical formula has none.
Method: Crommelin's alternating sum in 400-digit decimal arithmetic, and Lindley's recursion on simulated requests.
"""

from decimal import Decimal, localcontext

import numpy as np
import pytest

from sim.foundation.errors import UsageError
from sim.theory import MD1, lindley


def crommelin(load: str, wait: str) -> float:
    """P(W <= wait), in service times, by the defining series: terms up to 10^200 cancel."""
    with localcontext() as context:
        context.prec = 400
        rho, t = Decimal(load), Decimal(wait)
        total, factorial = Decimal(0), Decimal(1)
        for k in range(int(t) + 1):
            factorial *= max(k, 1)
            x = rho * (k - t)
            total += (x**k if k else Decimal(1)) / factorial * (-x).exp()
        return float((1 - rho) * total)


@pytest.mark.parametrize("load", ["0.1", "0.5", "0.8", "0.95", "0.99"])
@pytest.mark.parametrize("wait", ["0", "0.4", "1", "3.7", "12", "40.5", "150.25"])
def test_distribution_agrees_with_crommelin_in_exact_arithmetic(load: str, wait: str) -> None:
    """Between, on and beyond multiples of the service time."""
    got = MD1(1000 * float(load), 1.0).wait_cdf(float(wait))
    assert got == pytest.approx(crommelin(load, wait), abs=1e-12)


def test_classical_formula_in_doubles_would_have_no_digits() -> None:
    """Why the stable form is there: the same sum in doubles, at load 0.9 and 80 service times, is not a probability."""
    k = np.arange(81)
    with np.errstate(all="ignore"):
        x = 0.9 * (k - 80.0)
        terms = x**k / np.cumprod(np.maximum(k, 1.0)) * np.exp(-x)
    assert not 0 <= 0.1 * terms.sum() <= 1


@pytest.mark.parametrize("load", [0.3, 0.8, 0.99])
def test_percentile_inverts_the_distribution(load: float) -> None:
    """P50, P99 and P99.99; a percentile of 0 where enough requests do not wait."""
    queue = MD1(1000 * load, 1.0)
    for probability in (0.5, 0.99, 0.9999):
        wait = queue.wait_quantile_ms(probability)
        assert wait == 0 or queue.wait_cdf(wait) == pytest.approx(probability, abs=1e-9)
        assert queue.wait_cdf(wait) >= probability - 1e-9


@pytest.mark.parametrize("load", [0.5, 0.9])
def test_mean_is_the_area_above_the_distribution(load: float) -> None:
    """Integral of the tail, by the trapezoid rule, against Pollaczek and Khinchine."""
    queue = MD1(1000 * load, 1.0)
    grid = np.linspace(0, 150, 15_001)
    area = np.trapezoid([queue.wait_tail(t) for t in grid], grid)
    assert area == pytest.approx(queue.wait_mean_ms, rel=1e-4)


def test_two_million_simulated_requests_agree() -> None:
    """Load 0.8: the share that waits longer than 2 and 5 service times, to four standard errors."""
    rng = np.random.default_rng(17)
    waits = lindley(np.cumsum(rng.exponential(1.25, 2_000_000)), np.ones(2_000_000))
    queue = MD1(800, 1.0)
    for t in (2.0, 5.0):
        assert np.mean(waits > t) == pytest.approx(queue.wait_tail(t), rel=0.03)


def test_p99_sojourn_is_p99_wait_plus_the_service() -> None:
    """Everybody is served for equally long."""
    queue = MD1(900, 1.0)
    assert queue.sojourn_quantile_ms(0.99) == queue.wait_quantile_ms(0.99) + 1


def test_saturation_is_refused() -> None:
    """At utilization 1 the line grows for ever."""
    with pytest.raises(UsageError, match="utilization=1 must be < 1"):
        MD1(1000, 1.0)
