"""Counter-based random numbers: a pure function of seed, stream, request and context.

A number is addressed by the *seed*, the *stream* (a place in the model, such as ``"d1.read"``), the number of the
*request*, and the *context*, which distinguishes the first attempt of a request from its retries. The same address
always gives the same number, in any order of evaluation. So two engines that execute the same model draw the same
random numbers, and a changed scenario keeps every draw that it does not affect (common random numbers).

The generator is SplitMix64 used as a hash of its counter.

Sources
-------
Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014 (the mixing function).
Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (counter-based streams).
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sim.foundation.errors import UsageError

T = TypeVar("T", bound=np.generic)

GOLDEN = 0x9E3779B97F4A7C15
MASK = 0xFFFFFFFFFFFFFFFF
UNUSED_BITS = 12
TO_UNIT = 2.0**-52

BLOCK = 2**13
"""Requests whose numbers are looked up at a time: a few arrays of 64 KiB fit into a cache."""

SEED_MAX = 2**63 - 1
"""The largest integer that a TOML file, a Parquet column and the compiled engine can all represent."""


def mix64(word: int) -> int:
    """Apply SplitMix64's finalizer: a bijection of 64-bit words; each input bit flips about half of the output bits."""
    word &= MASK
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & MASK
    return word ^ (word >> 31)


def stream_key(seed: int, stream: str) -> int:
    """Return the 64-bit key of *stream* under *seed*.

    Parameters
    ----------
    seed : int
        See :func:`checked_seed`.
    stream : str
        Name of the stream.
    """
    seed = checked_seed(seed)
    page = int.from_bytes(blake2b(stream.encode(), digest_size=8).digest(), "little")
    return mix64(mix64(seed + GOLDEN) ^ page)


def checked_seed(seed: int) -> int:
    """Return a seed as a plain integer; refuse any other value, so that no seed is truncated silently.

    Raises
    ------
    UsageError
        It is not an integer from 0 to 2**63 - 1.
    """
    whole = int(seed) if hasattr(seed, "__index__") and not isinstance(seed, bool) else -1
    if not 0 <= whole <= SEED_MAX:
        raise UsageError(f"seed={seed!r} must be a whole number from 0 to 2**63 - 1 (pass rng=0 or larger)")
    return whole


def uniform(key: int, request: int, *, context: int = 0, draw: int = 0) -> float:
    """Return one number in (0, 1) for one request: :func:`uniforms` for a scalar."""
    line = mix64(key + GOLDEN * (request + 1))
    word = mix64((line ^ context) + GOLDEN * draw)
    return ((word >> UNUSED_BITS) + 0.5) * TO_UNIT


def uniforms(key: int, request: NDArray[np.int64], *, context: int = 0, draw: int = 0) -> NDArray[np.float64]:
    """Return numbers in (0, 1), one for each request.

    Parameters
    ----------
    key : int
        From :func:`stream_key`.
    request : ndarray of int64, shape (n,)
        Request numbers, >= 0, in any order.
    context : int
        0 for the first attempt; see :func:`child_context`.
    draw : int
        Index among the several numbers that a distribution needs.

    Returns
    -------
    ndarray of float64, shape (n,)
        Strictly between 0 and 1; 52 random bits plus half a step, which is exact and never rounds up to 1.
    """
    with np.errstate(over="ignore"):
        counter = (request.astype(np.uint64) + np.uint64(1)) * np.uint64(GOLDEN)
        line = _mix64_array(counter + np.uint64(key))
        word = _mix64_array((line ^ np.uint64(context)) + np.uint64((GOLDEN * draw) & MASK))
    unit: NDArray[np.float64] = ((word >> np.uint64(UNUSED_BITS)).astype(np.float64) + 0.5) * TO_UNIT
    return unit


def in_blocks(function: Callable[[NDArray[np.int64]], NDArray[T]], request: NDArray[np.int64]) -> NDArray[T]:
    """Apply *function*, which treats each request for itself, to a block of requests at a time.

    The values are those of one call. The arrays between its steps then stay in the processor's cache, which makes a
    million lognormal draws twice as fast.
    """
    if len(request) <= BLOCK:
        return function(request)
    return np.concatenate([function(request[start : start + BLOCK]) for start in range(0, len(request), BLOCK)])


def child_context(context: int, key: int, *, branch: int) -> int:
    """Return the context of retry, iteration or copy number *branch* >= 1 of a step; 0 returns the parent's.

    *key* is the key of the step's stream.
    """
    return context if branch == 0 else mix64(context ^ mix64(key + GOLDEN * branch))


def _mix64_array(word: NDArray[np.uint64]) -> NDArray[np.uint64]:
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))
