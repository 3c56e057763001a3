"""Portable math: the logarithm, the exponential and the normal quantile, from basic arithmetic alone.

C libraries, vector libraries and compilers round these functions differently, and the last bit can decide the order of
two events. So they are implemented here from operations that IEEE 754 rounds the same way everywhere: NumPy on arrays
and compiled code on scalars give identical bits on every machine.

Every function takes an array of any shape, or a scalar, and is accurate to a few units in the last place.

Sources
-------
Abramowitz and Stegun, "Handbook of Mathematical Functions", 1964, 4.1.27 (logarithm as a series of the inverse
hyperbolic tangent) and 4.2.1 (exponential series).
Wichura, "Algorithm AS 241: the percentage points of the normal distribution", Appl. Statist. 37, 1988.
"""

from math import factorial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LN2_HIGH = 0.693147180369123816490
"""ln 2 to 32 bits, so that its product with a small integer is exact; the remainder is LN2_LOW."""
LN2_LOW = 1.90821492927058770002e-10
PER_LN2 = 1.4426950408889634

SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
ONE_BITS = 0x3FF0000000000000
FRACTION_BITS = 52
TO_INTEGER = 6755399441055744.0
"""1.5 * 2**52: adding it to a small number leaves the nearest integer in the lowest bits."""

EXPONENT_MAX = 708.0
"""Beyond this, exp() would leave the range of normal numbers; it stops there."""

LOG_TERMS = tuple(2.0 / (2 * k + 3) for k in range(10))
"""Coefficients of the series of log(1 + f) after its first term, in powers of s*s, with s = f / (2 + f)."""
EXP_TERMS = tuple(1.0 / factorial(k) for k in range(14))

CENTRE = 0.425
CENTRE_SQUARE = 0.180625
NEAR = 5.0
NEAR_SHIFT = 1.6

# Wichura's coefficients, numerator and denominator, for the centre, the near tail and the far tail.
# fmt: off
CENTRE_TOP = (
    3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
    4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3,
)
CENTRE_BASE = (
    1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
    2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3,
)
NEAR_TOP = (
    1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
    1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4,
)
NEAR_BASE = (
    1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
    1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9,
)
FAR_TOP = (
    6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
    2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7,
)
FAR_BASE = (
    1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
    7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15,
)
# fmt: on


def log(x: Any) -> Any:
    """Return the natural logarithm of a positive number; for 0 about -709, not minus infinity."""
    bits = np.float64(x).view(np.int64)
    exponent = (bits - SQRT_HALF_BITS) >> FRACTION_BITS
    part = np.int64(bits - (exponent << FRACTION_BITS)).view(np.float64) - 1.0
    s = part / (2.0 + part)
    u = s * s
    u2 = u * u
    u4 = u2 * u2
    c = LOG_TERMS
    low = (c[0] + c[1] * u) + (c[2] + c[3] * u) * u2
    high = (c[4] + c[5] * u) + (c[6] + c[7] * u) * u2
    rest = u * (low + (high + (c[8] + c[9] * u) * u4) * u4)
    return exponent * LN2_HIGH + (part - (s * (part - rest) - exponent * LN2_LOW))


def exp(x: Any) -> Any:
    """Return the exponential, limited to exp(-708) and exp(708)."""
    inside = np.minimum(np.maximum(x, -EXPONENT_MAX), EXPONENT_MAX)
    shifted = inside * PER_LN2 + TO_INTEGER
    twos = shifted - TO_INTEGER
    r = (inside - twos * LN2_HIGH) - twos * LN2_LOW
    r2 = r * r
    r4 = r2 * r2
    c = EXP_TERMS
    high = ((c[8] + c[9] * r) + (c[10] + c[11] * r) * r2) + (c[12] + c[13] * r) * r4
    middle = (c[4] + c[5] * r) + (c[6] + c[7] * r) * r2
    value = 1.0 + (r + (r2 * (c[2] + c[3] * r) + (middle + high * r4) * r4))
    power = np.int64((np.float64(shifted).view(np.int64) << FRACTION_BITS) + ONE_BITS).view(np.float64)
    return value * power


def power(x: Any, y: Any) -> Any:
    """Return positive *x* to the power *y*."""
    return exp(y * log(x))


def degree_seven(x: Any, c: tuple[float, ...]) -> Any:
    """Evaluate a polynomial of degree 7, lowest coefficient first, in two independent halves for the CPU pipeline."""
    x2 = x * x
    low = (c[0] + c[1] * x) + (c[2] + c[3] * x) * x2
    high = (c[4] + c[5] * x) + (c[6] + c[7] * x) * x2
    return low + high * (x2 * x2)


def normal_quantile(u: Array) -> Array:
    """Return the quantile of the standard normal distribution at probability *u*.

    Parameters
    ----------
    u : ndarray, any shape
        In (0, 1).
    """
    q = u - 0.5
    tail = np.sqrt(-log(np.minimum(u, 1.0 - u)))
    near = degree_seven(tail - NEAR_SHIFT, NEAR_TOP) / degree_seven(tail - NEAR_SHIFT, NEAR_BASE)
    far = degree_seven(tail - NEAR, FAR_TOP) / degree_seven(tail - NEAR, FAR_BASE)
    outer = np.where(tail <= NEAR, near, far)
    middle = CENTRE_SQUARE - q * q
    centre = q * (degree_seven(middle, CENTRE_TOP) / degree_seven(middle, CENTRE_BASE))
    return cast(Array, np.where(np.abs(q) <= CENTRE, centre, np.copysign(outer, q)))
