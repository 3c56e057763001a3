"""Draws, one at a time: :mod:`sim.randomness.streams` and :mod:`sim.randomness.distributions` in compiled code.

The formulas use the same basic operations in the same order as those on arrays, so the values are bit-identical.
"""

from math import copysign, sqrt
from typing import Any

import numpy as np

from sim.engines.compiled_engine.kernel import layout as k
from sim.engines.compiled_engine.kernel.jit import jit, jit_apart
from sim.engines.compiled_engine.kernel.reach import knot_at
from sim.randomness import portable_math as el
from sim.randomness.streams import GOLDEN as GOLDEN_WORD
from sim.randomness.streams import TO_UNIT
from sim.randomness.streams import UNUSED_BITS as UNUSED_BITS_COUNT

GOLDEN = np.uint64(GOLDEN_WORD)
FIRST_FACTOR, SECOND_FACTOR = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
BITS_30, BITS_27, BITS_31, UNUSED_BITS = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(UNUSED_BITS_COUNT)

log = jit(el.log)
exp = jit(el.exp)
degree_seven = jit(el.degree_seven)


@jit
def mix64(word: Any) -> Any:
    """SplitMix64's finalizer."""
    word = (word ^ (word >> BITS_30)) * FIRST_FACTOR
    word = (word ^ (word >> BITS_27)) * SECOND_FACTOR
    return word ^ (word >> BITS_31)


@jit
def uniform(key: Any, request: Any, context: Any, draw: Any) -> Any:
    """Return one uniform number in (0, 1) for one request."""
    line = mix64(key + GOLDEN * np.uint64(request + 1))
    word = mix64((line ^ context) + GOLDEN * np.uint64(draw))
    return (np.float64(np.int64(word >> UNUSED_BITS)) + 0.5) * TO_UNIT


@jit
def child_context(context: Any, key: Any, branch: Any) -> Any:
    """Return the context of retry, or spawned copy, number *branch*; branch 0 returns the parent's."""
    return context if branch == 0 else mix64(context ^ mix64(key + GOLDEN * np.uint64(branch)))


@jit_apart
def normal_quantile(u: Any) -> Any:
    """Return the quantile of the standard normal distribution at probability *u*."""
    q = u - 0.5
    if abs(q) <= el.CENTRE:
        middle = el.CENTRE_SQUARE - q * q
        return q * (degree_seven(middle, el.CENTRE_TOP) / degree_seven(middle, el.CENTRE_BASE))
    tail = sqrt(-log(min(u, 1.0 - u)))
    if tail <= el.NEAR:
        outer = degree_seven(tail - el.NEAR_SHIFT, el.NEAR_TOP) / degree_seven(tail - el.NEAR_SHIFT, el.NEAR_BASE)
    else:
        outer = degree_seven(tail - el.NEAR, el.FAR_TOP) / degree_seven(tail - el.NEAR, el.FAR_BASE)
    return copysign(outer, q)


@jit_apart
def power(x: Any, y: Any) -> Any:
    """Return positive *x* to the power *y*."""
    return exp(y * log(x))


@jit_apart
def erlang(time: Any, request: Any, context: Any) -> Any:
    """Return the sum of several exponential stages."""
    total = 0.0
    for draw in range(time.draws):
        total += log(1.0 - uniform(time.key, request, context, draw))
    return -total * time.a


@jit_apart
def empirical(w: Any, time: Any, u: Any) -> Any:
    """Return the linear interpolation between two of the measured values."""
    position = u * (time.knots_count - 1)
    left = min(int(position), time.knots_count - 2)
    low = knot_at(w, time.knots + left).value
    return low + (position - left) * (knot_at(w, time.knots + left + 1).value - low)


@jit_apart
def hyperexponential(time: Any, u: Any) -> Any:
    """Return a draw from one of two exponentials; *c* is the probability of the short one."""
    if u < time.c:
        return -time.a * log(1.0 - u / time.c)
    return -time.b * log(1.0 - (u - time.c) / (1.0 - time.c))


@jit
def drawn(w: Any, time: Any, request: Any, context: Any) -> Any:
    """Return the value of a time's distribution for *request* in *context*."""
    if time.kind == k.CONSTANT:
        return time.a
    if time.kind == k.ERLANG:
        return erlang(time, request, context)
    u = uniform(time.key, request, context, 0)
    if time.kind == k.EXPONENTIAL:
        return -time.a * log(1.0 - u)
    if time.kind == k.LOGNORMAL:
        return time.a * exp(time.b * normal_quantile(u))
    if time.kind == k.UNIFORM:
        return time.a + u * time.b
    if time.kind == k.WEIBULL:
        return time.a * power(-log(1.0 - u), time.b)
    if time.kind == k.PARETO:
        return time.a / power(1.0 - u * time.c, time.b)
    if time.kind == k.HYPEREXPONENTIAL:
        return hyperexponential(time, u)
    return empirical(w, time, u)
