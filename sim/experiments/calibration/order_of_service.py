"""In which order an object serves what waits for it, and how much of it in one turn, from bursts.

At low load nobody waits long enough for the order to matter, and a model that assumes the order of arrival predicts a
P99 that is too short near saturation. A burst shows it: some hundred requests at once, and after them the usual load.
Each order, largest turn and share of the intake that is tried plays the burst's own times of sending, and that whose
latencies are distributed most like those measured is taken. Collections of garbage fall into some bursts and not into
others, so that the median over the bursts is compared.

Sources
-------
Wishart, "Queuing systems in which the discipline is last-come, first-served", Oper. Res. 8, 1960 (the mean wait of the
order of arrival, a longer tail). Villani, "Optimal Transport", 2009 (the distance of two samples of one size is the
mean difference of their order statistics). Efron and Tibshirani, "An Introduction to the Bootstrap", 1993. Beven and
Binley, "The future of distributed models", Hydrol. Process. 6, 1992 (of a model whose form is not exact many parameter
sets do about as well, and its predictions have the spread of all of them).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.experiments.calibration.laws import Interval
from sim.experiments.calibration.turns import Order, turns
from sim.foundation.errors import UsageError

Array = NDArray[np.float64]

TURNS_TRIED = (16, 24, 32, 48, 64, 96, 128, None)
INTAKES_TRIED = tuple(number / 10 for number in range(9))
"""Shares of the time of a further request."""
FURTHER_STEP = 0.025
FURTHER_TRIED = tuple(1 + FURTHER_STEP * number for number in range(-8, 9))
"""Of the further time that is found if a turn served all that wait, which it does not."""
RESAMPLES = 200
ABOUT_AS_WELL = 2.0
"""Times the least misfit, which is what the form of the model cannot explain: up to it no candidate is ruled out."""
BURSTS_MIN = 5
BURST_MIN, BURST_MS = 50, 20.0
"""So many requests in so short a time make a burst."""
AFTER_MS = 300.0
"""Time after a burst in which it has its effect."""


class Candidate(NamedTuple):
    """An order of service that is tried, and what a further request of a turn then takes."""

    order: Order
    further_ms: float


@dataclass(frozen=True)
class ServiceOrder:
    """What bursts say of an object's order of service.

    Attributes
    ----------
    tried : tuple of Candidate
    misfit_ms : ndarray, shape (tried, bursts)
        Distance of the latencies of each burst from those measured.
    latency_ms : ndarray, shape (bursts,)
        Mean latency that was measured in each.
    """

    tried: tuple[Candidate, ...]
    misfit_ms: Array
    latency_ms: Array

    @property
    def misfit_ratio(self) -> float:
        """How far the best is from what was measured, relative to it: what the form of the model cannot explain."""
        return float(np.median(self.misfit_ms[self.tried.index(self.best)] / self.latency_ms))

    @property
    def best(self) -> Candidate:
        """What explains the bursts best."""
        return self.tried[int(np.median(self.misfit_ms, axis=1).argmin())]

    def misfit_of(self, order: Order) -> float:
        """Return the median misfit of an order that was tried, with the further time that suits it best, in ms."""
        medians_ms = np.median(self.misfit_ms, axis=1)
        return float(min(one for one, tried in zip(medians_ms, self.tried, strict=True) if tried.order == order))

    def drawn(self, rng: np.random.Generator) -> Candidate:
        """Return one of those that explain a resample of the bursts about as well as any.

        The further time is drawn from between its neighbours.
        """
        bursts = self.misfit_ms.shape[1]
        median_ms = np.median(self.misfit_ms[:, rng.integers(0, bursts, bursts)], axis=1)
        order, further_ms = self.tried[rng.choice(np.flatnonzero(median_ms <= ABOUT_AS_WELL * median_ms.min()))]
        return Candidate(order, further_ms * rng.uniform(1 - FURTHER_STEP / 2, 1 + FURTHER_STEP / 2))

    def further_ms(self, rng: np.random.Generator) -> Interval:
        """Return the time of a further request, with its 95 % interval."""
        drawn_ms = [self.drawn(rng).further_ms for _ in range(RESAMPLES)]
        low, high = np.quantile(drawn_ms, [0.025, 0.975])
        value = self.best.further_ms
        return Interval(value, min(float(low), value), max(float(high), value))


def find_order(
    runs: Sequence[tuple[Array, Array]], *, lone_ms: float, further_ms: float, what: str = "bursts"
) -> ServiceOrder:
    """Find the order of service of an object in runs with bursts, and what a further request of a turn takes.

    Parameters
    ----------
    runs : sequence of (sent_ms, latency_ms)
        Arrays of shape (n,): times of sending, in order, and latencies from there.
    lone_ms, further_ms : float
        Of the object's turns, if each served all that wait
        (:func:`sim.experiments.calibration.shared_turns.tell_turns_apart`); others near *further_ms* are tried too.
    what : str
        Name of the runs, for errors.

    Raises
    ------
    UsageError
        There are too few bursts.
    """
    bursts = [_bursts(sent_ms) for sent_ms, _ in runs]
    if (count := sum(len(starts) for starts in bursts)) < BURSTS_MIN:
        rule = f"must be >= {BURSTS_MIN}, each of {BURST_MIN} requests or more within {BURST_MS:g} ms"
        raise UsageError(f"{what}: {count} bursts {rule} (play more)")
    orders = [Order(*one) for one in product((False, True), TURNS_TRIED, INTAKES_TRIED)]
    tried = tuple(
        Candidate(order, ratio * further_ms)
        for order, ratio in product(orders, FURTHER_TRIED)
        if ratio * further_ms <= lone_ms
    )
    misfit = [
        [
            value
            for (sent_ms, latency_ms), starts_ms in zip(runs, bursts, strict=True)
            for value in _misfit(sent_ms, latency_ms, starts_ms, lone_ms=lone_ms, candidate=candidate)
        ]
        for candidate in tried
    ]
    mean_ms = [
        float(latency_ms[_after(sent_ms, start_ms)].mean())
        for (sent_ms, latency_ms), starts_ms in zip(runs, bursts, strict=True)
        for start_ms in starts_ms
    ]
    return ServiceOrder(tried, np.array(misfit), np.array(mean_ms))


def _bursts(sent_ms: Array) -> Array:
    """Return when each burst began: so many requests at once, and none like it before."""
    after = np.searchsorted(sent_ms, sent_ms + BURST_MS) - np.arange(len(sent_ms))
    dense = sent_ms[after >= BURST_MIN]
    first = np.diff(dense, prepend=-np.inf) > AFTER_MS
    return np.asarray(dense[first])


def _after(sent_ms: Array, start_ms: float) -> slice:
    """Return the requests on which a burst has its effect."""
    return slice(*np.searchsorted(sent_ms, [start_ms, start_ms + AFTER_MS]))


def _misfit(
    sent_ms: Array, latency_ms: Array, starts_ms: Array, *, lone_ms: float, candidate: Candidate
) -> Iterator[float]:
    """Yield the distance of the latencies of each burst from those of a candidate."""
    served_ms = turns(sent_ms, lone_ms=lone_ms, further_ms=candidate.further_ms, order=candidate.order)
    expected_ms = served_ms + np.median(latency_ms - served_ms)
    for start_ms in starts_ms:
        inside = _after(sent_ms, start_ms)
        yield float(np.abs(np.sort(latency_ms[inside]) - np.sort(expected_ms[inside])).mean())
