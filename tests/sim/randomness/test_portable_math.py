"""Goal: logarithm, exponential and normal quantile are right, and have the same bits however they are asked.

Method: against NumPy and SciPy, which are independent; arrays against single numbers.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri

from sim.randomness import portable_math

POWERS = 10.0 ** -np.arange(1.0, 16)
UNIT = np.concatenate([np.linspace(1e-6, 1 - 1e-6, 100_001), POWERS, 1 - POWERS])
ULP = 2.0**-52


def test_the_logarithm_is_within_two_units_in_the_last_place() -> None:
    """From the smallest draw to large values."""
    x = np.concatenate([UNIT, UNIT * 1e12, UNIT * 1e-290])
    assert (np.abs(portable_math.log(x) - np.log(x)) <= 2 * ULP * np.abs(np.log(x))).all()


def test_the_logarithm_of_0_is_finite() -> None:
    """A service time is never infinite."""
    assert portable_math.log(np.float64(0)) == pytest.approx(-709, abs=1)


def test_the_exponential_is_within_two_units_in_the_last_place() -> None:
    """Over its whole range; beyond it, the result stays finite."""
    x = np.linspace(-708, 708, 100_001)
    assert (np.abs(portable_math.exp(x) / np.exp(x) - 1) <= 2 * ULP).all()
    assert np.isfinite(portable_math.exp(np.array([1e9, -1e9]))).all()


def test_the_normal_quantile_is_within_a_few_units_in_the_last_place() -> None:
    """Against SciPy's, in the centre and in both tails."""
    exact = ndtri(UNIT)
    assert (np.abs(portable_math.normal_quantile(UNIT) - exact) <= 8 * ULP * np.maximum(np.abs(exact), 0.1)).all()


@given(st.lists(st.floats(1e-300, 1e300), min_size=1, max_size=40))
def test_a_number_alone_has_the_bits_that_it_has_among_others(values: list[float]) -> None:
    """Vector instructions and single ones round alike."""
    x = np.array(values)
    for function in (portable_math.log, lambda y: portable_math.exp(portable_math.log(y))):
        assert [float(function(value)) for value in x] == function(x).tolist()
