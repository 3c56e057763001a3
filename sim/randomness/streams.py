"""Counter-based random numbers: looked up, not drawn in turn.

Picture a book of tables. The *seed* chooses the book, the *stream* (a place in the model, such as ``"d1.read"``)
chooses the page, the *request* number the line, and the *context* distinguishes the first attempt of a request from
its retries. Looking up twice gives the same number twice, in any order. Two things follow: two engines that execute the
same model draw the same random numbers, and a what-if keeps every draw that it does not change (common random numbers).

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

from sim.errors import UsageError

T = TypeVar("T", bound=np.generic)

GOLDEN = 0x9E3779B97F4A7C15
MASK = 0xFFFFFFFFFFFFFFFF
UNUSED_BITS = 12
TO_UNIT = 2.0**-52

BLOCK = 2**13
"""Requests whose numbers are looked up at a time: a few arrays of 64 KiB fit into a cache."""

SEED_MAX = 2**63 - 1
"""The largest whole number that a TOML file, a Parquet column and the compiled engine all hold."""


def mix64(word: int) -> int:
    """Apply SplitMix64's finalizer: a bijection of 64-bit words; each input bit flips about half of the output bits."""
    word &= MASK
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & MASK
    return word ^ (word >> 31)


def stream_key(seed: int, stream: str) -> int:
    """Return the 64-bit key of *stream* under *seed*: the page of the book.

    Parameters
    ----------
    seed : int
        See :func:`checked_seed`.
    stream : str
        Name of the place in the model that draws.
    """
    seed = checked_seed(seed)
    page = int.from_bytes(blake2b(stream.encode(), digest_size=8).digest(), "little")
    return mix64(mix64(seed + GOLDEN) ^ page)


def checked_seed(seed: int) -> int:
    """Return a seed as a plain integer, and refuse what is none: no seed is truncated to the bits that an engine holds.

    Raises
    ------
    UsageError
        It is no whole number from 0 to 2**63 - 1.
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
        Which of several numbers that a distribution needs.

    Returns
    -------
    ndarray of float64, shape (n,)
        Strictly between 0 and 1; 52 random bits, so that half a step more is exact and nothing rounds up to 1.
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
    """Return the context of retry, turn or copy number *branch* >= 1 of a step; 0 keeps the parent's.

    *key* is that of the step's stream.
    """
    return context if branch == 0 else mix64(context ^ mix64(key + GOLDEN * branch))


def _mix64_array(word: NDArray[np.uint64]) -> NDArray[np.uint64]:
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))
