"""What is left of a time that began when a stamp was set.

Marks are taken to come at random times, so that the age of the last one is exponential with their rate λ. Of a time L
then L g(λL) is left on average, with g(x) = 1 - (1 - exp(-x)) / x. A request that has set the stamp itself has all of L
before it.

Sources
-------
Integrals of (L - a)+ and of its square over the exponential density of the age a.
"""

from collections.abc import Mapping

import numpy as np

from sim import flow as f
from sim.screening.logbook import Logbook
from sim.screening.passage import Array, Passage
from sim.theory import squared_variation

GRID = 512
"""Number of quantiles that represent the time's distribution."""

SMALL = 1e-4
"""Below it the series is nearer than the formula, which subtracts nearly equal numbers."""


def left(time: f.Time, *, marked: Mapping[str, f.Stamp | None], log: Logbook) -> Passage:
    """Return the mean and variance of what is left of *time*.

    Parameters
    ----------
    time : Time
        With a stamp.
    marked : mapping of str to Stamp or None
        The stamps that the request has set on its way, by name: to now, or to what another one showed.
    log : Logbook
        Of the current walk; it knows how often each stamp is set.
    """
    since = time.since
    assert since is not None, "the caller has looked"
    log.say(f"the stamp {since.name!r} is taken to be set at random times, and just before by a request that sets it")
    if since.name in marked and marked[since.name] is None:
        mean_ms = time.scale * time.distribution.expected()
        return Passage(np.full((1, 1), mean_ms), np.full((1, 1), squared_variation(time.distribution) * mean_ms**2))
    whole_ms = time.scale * time.distribution.quantile((np.arange(GRID) + 0.5) / GRID)[:, np.newaxis, np.newaxis]
    expected = whole_ms * log.touched("marked", marked.get(since.name) or since)
    first, second = _shares(expected)
    mean = (whole_ms * first).mean(axis=0)
    return Passage(mean, np.maximum((whole_ms**2 * second).mean(axis=0) - mean**2, 0.0))


def _shares(expected: Array) -> tuple[Array, Array]:
    """Return the means of (1 - a / L)+ and of its square, for L times the rate of marks = *expected*."""
    x = np.maximum(expected, SMALL)
    first = np.where(expected < SMALL, expected / 2, 1 + np.expm1(-x) / x)
    return first, np.where(expected < SMALL, expected / 3, 1 - 2 * first / x)
