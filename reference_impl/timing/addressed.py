"""Random numbers by address: the same request draws the same values wherever it is played.

A value is a function of the deployment's seed, the name of a stream, and the request's number, as docs/DRAWS.md
specifies; the simulator implements the same page for itself. So a run of the reference and a simulation of the same
schedule can be compared request by request. The header ``headroom-request`` carries the number.

Work that no request stands for has no address: it reads its tapes in order, as does a deployment whose requests have no
numbers. So do a queue's deliveries and a cron's runs.

Sources
-------
Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014 (the mixing function). Devroye,
"Non-Uniform Random Variate Generation", 1986, chapter II.2 (inversion).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from statistics import NormalDist
from typing import Any

from reference_impl.timing.distributions import NORMAL_QUANTILE_P99, Distribution
from reference_impl.timing.tape import Tape

MASK = (1 << 64) - 1
STEP = 0x9E3779B97F4A7C15
"""2**64 divided by the golden ratio, made odd."""
STREAMS_REMEMBERED = 4_096

_NORMAL = NormalDist()


def mixed(word: int) -> int:
    """Return the 64-bit *word* mixed: SplitMix64's finalizer."""
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & MASK
    return word ^ (word >> 31)


@lru_cache(maxsize=STREAMS_REMEMBERED)
def key_of(seed: int, stream: str) -> int:
    """Return the key of a stream under a seed."""
    digest = blake2b(stream.encode(), digest_size=8).digest()
    return mixed(mixed((seed + STEP) & MASK) ^ int.from_bytes(digest, "little"))


def unit(key: int, request: int, *, context: int = 0, index: int = 0) -> float:
    """Return number *index* of a request in a stream, strictly between 0 and 1."""
    line = mixed((key + STEP * (request + 1)) & MASK)
    word = mixed(((line ^ context) + STEP * index) & MASK)
    return ((word >> 12) + 0.5) / (1 << 52)


def inner_context(context: int, key: int, *, branch: int) -> int:
    """Return the context of copy number *branch*, from 1, of what a stream names."""
    return mixed(context ^ mixed((key + STEP * branch) & MASK))


@dataclass(frozen=True)
class Draws:
    """The values of one request.

    Parameters
    ----------
    seed
        The deployment's.
    request
        Number of the request in its schedule, from 0.
    context
        0, or that of a retry or of spawned work (:meth:`inner`).
    use_number
        Number of the use of an instance on the route: each has streams of its own.
    """

    seed: int
    request: int
    context: int = 0
    use_number: int = 1

    def value(self, tape: Tape) -> float:
        """Return the request's value of the tape's distribution."""
        key = key_of(self.seed, self._of_use(tape.stream))
        count = stages(tape.distribution)
        return quantile(
            tape.distribution, [unit(key, self.request, context=self.context, index=n) for n in range(count)]
        )

    def decision(self, stream: str) -> float:
        """Return the uniform number of a decision that *stream* names in full."""
        return unit(key_of(self.seed, stream), self.request, context=self.context)

    def for_use(self, number: int) -> "Draws":
        """Return the values of use *number* of an instance."""
        return self if number == self.use_number else replace(self, use_number=number)

    def repeated(self, stream: str, *, number: int) -> "Draws":
        """Return the values of repetition *number*, from 1, of what an instance repeats by itself, in this use."""
        return self.inner(self._of_use(stream), branch=number)

    def _of_use(self, stream: str) -> str:
        return stream if self.use_number == 1 else f"{stream}.{self.use_number}"

    def inner(self, stream: str, *, branch: int) -> "Draws":
        """Return the values of copy number *branch*, from 1, of what *stream* names: a retry, or spawned work."""
        return replace(self, context=inner_context(self.context, key_of(self.seed, stream), branch=branch))


def stages(distribution: Distribution) -> int:
    """Return how many uniform numbers a value of *distribution* takes."""
    return int(distribution.parameters["stages"]) if distribution.name == "erlang" else 1


def quantile(distribution: Distribution, units: Sequence[float]) -> float:
    """Return the value of *distribution* at its uniform numbers."""
    return _QUANTILES[distribution.name](distribution.parameters, units)


def _lognormal(p: Any, u: Sequence[float]) -> float:
    sigma = math.log(p["p99"] / p["median"]) / NORMAL_QUANTILE_P99
    return float(p["median"] * math.exp(sigma * _NORMAL.inv_cdf(u[0])))


def _weibull(p: Any, u: Sequence[float]) -> float:
    return float(p["mean"] / math.gamma(1 + 1 / p["shape"]) * (-math.log1p(-u[0])) ** (1 / p["shape"]))


def _pareto(p: Any, u: Sequence[float]) -> float:
    share_kept = 1 - (p["minimum"] / p["maximum"]) ** p["shape"]
    return float(p["minimum"] * (1 - u[0] * share_kept) ** (-1 / p["shape"]))


def _erlang(p: Any, u: Sequence[float]) -> float:
    return float(-sum(math.log1p(-one) for one in u) * p["mean"] / p["stages"])


def _hyperexponential(p: Any, u: Sequence[float]) -> float:
    share = (1 + math.sqrt((p["cv2"] - 1) / (p["cv2"] + 1))) / 2
    if u[0] < share:
        return float(-p["mean"] / (2 * share) * math.log1p(-u[0] / share))
    return float(-p["mean"] / (2 * (1 - share)) * math.log1p(-(u[0] - share) / (1 - share)))


def _empirical(p: Any, u: Sequence[float]) -> float:
    knots = p["values"]
    position = u[0] * (len(knots) - 1)
    left = min(int(position), len(knots) - 2)
    return float(knots[left] + (position - left) * (knots[left + 1] - knots[left]))


_QUANTILES: dict[str, Callable[[Any, Sequence[float]], float]] = {
    "constant": lambda p, _: float(p["value"]),
    "uniform": lambda p, u: float(p["low"] + u[0] * (p["high"] - p["low"])),
    "exponential": lambda p, u: float(-p["mean"] * math.log1p(-u[0])),
    "lognormal": _lognormal,
    "weibull": _weibull,
    "pareto": _pareto,
    "erlang": _erlang,
    "hyperexponential": _hyperexponential,
    "empirical": _empirical,
}
