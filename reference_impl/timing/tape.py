"""Tapes: endless sequences of sampled values, one for each random quantity of the deployment."""

from zlib import crc32

import numpy as np

from reference_impl.timing.distributions import Distribution

CHUNK = 256
"""Values sampled at once: one call of numpy for many requests costs the event loop less time."""


class Tape:
    """An endless sequence of values sampled from one distribution.

    Parameters
    ----------
    distribution
        Distribution of the values; they have its unit.
    rng
        A stream of random numbers that only this tape reads.
    stream
        Name under which a numbered request looks its value up (:mod:`reference_impl.timing.addressed`); empty: it
        reads the tape like any other.
    """

    def __init__(self, distribution: Distribution, rng: np.random.Generator, *, stream: str = "") -> None:
        self.distribution = distribution
        self.stream = stream
        self._rng = rng
        self._sampled: list[float] = []

    def draw(self) -> float:
        """Return the next value."""
        if not self._sampled:
            self._sampled = self.distribution.sample(self._rng, CHUNK).tolist()
            self._sampled.reverse()
        return self._sampled.pop()


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the stream of random numbers *name* of *seed*; streams of different names are independent."""
    return np.random.default_rng([seed, crc32(name.encode())])


UNIFORM = Distribution("uniform", {"low": 0.0, "high": 1.0})
"""The distribution from which probabilistic decisions are sampled."""
