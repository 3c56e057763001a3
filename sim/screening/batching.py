"""Batches that are taken when they are full, or when a timer ends: how many there are of each kind.

The first message after the timer has ended starts it again; until it ends, further messages come at random. Of these
n = 1 + Poisson(rate x time) messages, floor(n / size) times a full batch is taken, and the timer finds the rest.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, pdtrc, xlogy

from sim.screening.passage import Array

TERMS_MAX = 1_000
"""Full batches within a timer's time that are summed one by one; beyond, the rest is taken to be of any size."""


class Cycle(NamedTuple):
    """What happens on average from the start of one timer to that of the next.

    Attributes
    ----------
    messages, full : ndarray, shape of the rates
        Messages, and full batches.
    rest : ndarray, shape of the rates
        Probability that the timer finds a message.
    """

    messages: Array
    full: Array
    rest: Array


def cycle(expected: Array, size: float) -> Cycle:
    """Return the mean cycle of batches of *size*, where *expected* messages come while a timer runs.

    >>> cycle(np.array([0.0]), 10).full, cycle(np.array([1e9]), 10).rest
    (array([0.]), array([0.9]))
    """
    messages = 1 + expected
    mixed = np.sqrt(expected) > size  # So many that every rest is as likely as every other.
    most = (float(np.max(np.where(mixed, 0.0, expected))) + 10) * 2 / size + 20
    last = np.arange(1, min(int(most), TERMS_MAX) + 1).reshape(-1, *(1,) * expected.ndim) * size - 1
    mixed |= expected > (TERMS_MAX - 20) * size / 2
    full = np.where(last > 0, pdtrc(last - 1, expected), 1.0).sum(axis=0)
    none = np.exp(xlogy(last, expected) - expected - gammaln(last + 1)).sum(axis=0)
    # Of a rest of any size: (size - 1) / 2 messages on average, and none at all once in size.
    full = np.where(mixed, (messages - (size - 1) / 2) / size, full)
    return Cycle(messages, np.asarray(full), np.where(mixed, 1 - 1 / size, 1 - np.minimum(none, 1)))
