"""Turns that requests share, told from delay and from pauses in the latencies of an object at low load.

A request that finds the object idle holds it for a *lone* time. Those that come meanwhile share the next turn: it takes
the lone time, and a *further* time for each of them but the first, and all are answered at its end
(``coalesced_ms`` of :mod:`sim.models.durable_objects`). Where turns are shared a request costs less under load than
alone, and a fit of one service time for all would predict too early a saturation. At low load it shows twice: a request
that waited for another is answered sooner than a lone one would be, and after a pause many wait, which are then
answered in one turn.

Pauses are the long stalls that come again and again: collections of garbage. Whether they come with requests or with
time is told from their gaps (:mod:`sim.experiments.calibration.pauses`). Stalls that are much shorter
are left to :mod:`sim.experiments.calibration.stalls`.

Latencies also fall with the load of the last milliseconds (caches, a processor that need not wake up). That slope is
estimated inside the run and extrapolated, which is an assumption of its own.

And a machine is not equally fast in every run. What is estimated from all runs together is known better than any run
will keep to: how much runs differ is estimated as well, and :func:`drawn_speed` draws a further one.

Sources
-------
Bailey, "On queueing processes with bulk service", J. R. Statist. Soc. B 16, 1954 (a server that takes all that wait).
Hahn and Meeker, "Statistical Intervals", 1991, section 4.2 (prediction of one further observation).
Künsch, "The jackknife and the bootstrap for general stationary observations", Ann. Statist. 17, 1989 (blocks).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from sim.experiments.calibration.laws import Interval, Law, empirical_law
from sim.experiments.calibration.pauses import PAUSES_MIN, Pauses, long_ones, median_interval, pauses_of
from sim.experiments.calibration.stalls import Stalls, find_stalls
from sim.experiments.calibration.turns import turns
from sim.foundation.errors import UsageError

Array = NDArray[np.float64]

REQUESTS_MIN = 2_000
UTILIZATION_MAX = 0.5
GRID = 12
"""Values of each of the two times that are tried before the best of them is refined."""
FURTHER_GRID, NEARBY = 33, (0.92, 0.96, 1.0, 1.04, 1.08)
"""Further times of which an interval is made, and the lone times beside each, over the one that was found."""
BLOCKS, RESAMPLES = 40, 400
LEVEL = 0.95
DRAIN_MIN = 10
"""Requests that must wait at the end of a pause, for the turn that serves them to say what a further one takes."""
WINDOW_MS = 10.0
"""Of the load whose effect on a latency is estimated."""
LONE_MS_MAX = 3.0
"""Times the median latency: what takes longer is a stall, not a lone request."""


@dataclass(frozen=True)
class SharedTurns:
    """What low-load runs say of an object whose turns are shared.

    Attributes
    ----------
    lone_ms : Interval
        The turn of one request.
    further_ms : Interval
        Added for each further request of a turn.
    delay : Law
        Everything else of a latency without a wait.
    delay_slope_ms : Interval
        Change of a lone request's latency for each request/s more, in ms.
    pauses : Pauses
    rate_per_s : float
        Of the runs.
    n : int
        Requests.
    run_log_ratios : ndarray, shape (runs,)
        Logarithm of the median latency of each run's lone requests over the geometric mean of all runs'.
    """

    lone_ms: Interval
    further_ms: Interval
    delay: Law
    delay_slope_ms: Interval
    pauses: Pauses
    rate_per_s: float
    n: int
    run_log_ratios: Array


def drawn_speed(turns: SharedTurns, rng: np.random.Generator) -> float:
    """Draw how many times as long everything takes in a further run, from how much the runs differ.

    The runs' logarithms are taken for a normal sample, so a further one is its mean and Student's t with a degree of
    freedom less than there are runs, times ``s sqrt(1 + 1 / runs)`` (the prediction interval of one more observation).
    Of one run it is 1: nothing is known of others.
    """
    runs = len(turns.run_log_ratios)
    if runs < 2:
        return 1.0
    deviation = float(turns.run_log_ratios.std(ddof=1)) * sqrt(1 + 1 / runs)
    return float(np.exp(deviation * rng.standard_t(runs - 1)))


def tell_turns_apart(
    runs: Sequence[tuple[Array, Array]], *, rng: int, timers: Sequence[Array] = (), what: str = "run"
) -> SharedTurns:
    """Tell the turns of an object from delay and pauses, in runs at one low rate.

    Parameters
    ----------
    runs : sequence of (sent_ms, latency_ms)
        Arrays of shape (n,): times of sending, not those intended, and latencies from there.
    rng : int
        Seed.
    timers : sequence of ndarray, shape (flushes,), optional
        Of each run, the times in ms at which the object said that it did other work (a flush): stalls that begin near
        them are no pauses.
    what : str
        Name of the runs, for errors.

    Raises
    ------
    UsageError
        A run is too short, or too busy.
    """
    sorted_runs = [_Run.of(sent_ms, latency_ms, what=what) for sent_ms, latency_ms in runs]
    lone_ms, further_ms = _fit(sorted_runs)
    busy = float(np.mean([lone_ms * run.rate_per_ms for run in sorted_runs]))
    if busy > UTILIZATION_MAX:
        rate_per_s = f"{250 / lone_ms:.0f}"
        raise UsageError(
            f"{what}: turns and queueing are confounded at utilization {busy:.1f} (play it at {rate_per_s}/s, a "
            f"quarter of what lone requests take: --rate {rate_per_s} --set workload.live_rate_max_per_s={rate_per_s})"
        )
    times = list(timers) or [np.zeros(0) for _ in sorted_runs]
    found = [run.stalls(lone_ms, further_ms, timer_ms=at_ms) for run, at_ms in zip(sorted_runs, times, strict=True)]
    is_pause = long_ones([one.length_ms for one in found])
    drains = [
        value
        for run, stalls, chosen in zip(sorted_runs, found, is_pause, strict=True)
        for value in run.drains(stalls.start_ms[chosen], lone_ms)
        if 0 < value <= lone_ms
    ]
    generator = np.random.default_rng(rng)
    lone = _lone_interval(sorted_runs, lone_ms, further_ms, generator)
    further = _further_interval(sorted_runs, lone_ms, further_ms, generator)
    if len(drains) >= PAUSES_MIN:  # The turn after a pause shows it undisturbed.
        further = median_interval(np.array(drains))
    alone_of = [run.alone(lone_ms, further_ms) for run in sorted_runs]
    alone = np.concatenate([latency_ms for latency_ms, _ in alone_of])
    logs = np.log([float(np.median(latency_ms)) for latency_ms, _ in alone_of])
    return SharedTurns(
        lone_ms=lone,
        further_ms=further,
        delay=empirical_law(np.maximum(alone - lone_ms, 0.0), generator),
        delay_slope_ms=_slope(alone_of),
        pauses=_pauses(sorted_runs, found, is_pause),
        rate_per_s=1000 * float(np.mean([run.rate_per_ms for run in sorted_runs])),
        n=sum(len(run.sent_ms) for run in sorted_runs),
        run_log_ratios=logs - logs.mean(),
    )


@dataclass(frozen=True)
class _Run:
    """One run, in order of sending."""

    sent_ms: Array
    latency_ms: Array

    @classmethod
    def of(cls, sent_ms: Array, latency_ms: Array, *, what: str) -> "_Run":
        if len(sent_ms) < REQUESTS_MIN:
            raise UsageError(
                f"{what}: {len(sent_ms)} requests cannot tell turns from delay, must be >= {REQUESTS_MIN} (play more)"
            )
        order = np.argsort(sent_ms, kind="stable")
        return cls(sent_ms[order] - sent_ms[order[0]], latency_ms[order])

    @property
    def rate_per_ms(self) -> float:
        return (len(self.sent_ms) - 1) / float(self.sent_ms[-1])

    @cached_property
    def typical_ms(self) -> float:
        return float(np.median(self.latency_ms))

    def misfit(self, lone_ms: float, further_ms: float) -> Array:
        """Return absolute residuals around their median, none larger than a median latency: a stall moves no fit."""
        return np.minimum(np.abs(self.residual_ms(lone_ms, further_ms)), self.typical_ms)

    def residual_ms(self, lone_ms: float, further_ms: float) -> Array:
        left = self.latency_ms - turns(self.sent_ms, lone_ms=lone_ms, further_ms=further_ms)
        return np.asarray(left - np.median(left))

    def stalls(self, lone_ms: float, further_ms: float, *, timer_ms: Array) -> Stalls:
        """Return the stalls that do not begin near a timer's time."""
        found = find_stalls(self.sent_ms, self.residual_ms(lone_ms, further_ms))
        ends_ms = found.start_ms + found.length_ms
        near = [
            bool(((timer_ms > start - 2) & (timer_ms < end)).any())
            for start, end in zip(found.start_ms, ends_ms, strict=True)
        ]
        return _kept(found, ~np.array(near, dtype=np.bool_))

    def alone(self, lone_ms: float, further_ms: float) -> tuple[Array, Array]:
        """Return the latencies of requests that met nobody, and the load of the window before each, in requests/s."""
        met = turns(self.sent_ms, lone_ms=lone_ms, further_ms=further_ms) > lone_ms * (1 + 1e-9)
        before = np.arange(len(self.sent_ms)) - np.searchsorted(self.sent_ms, self.sent_ms - WINDOW_MS)
        lone = ~met & (self.latency_ms < LONE_MS_MAX * self.typical_ms) & (self.sent_ms > WINDOW_MS)
        return self.latency_ms[lone], np.asarray(before[lone] * (1000 / WINDOW_MS), dtype=np.float64)

    def victims(self, stalls: Stalls) -> Array:
        """Return how much later than usual the first victim of each stall was answered: the stall itself, no drain."""
        late_ms = self.latency_ms - self.typical_ms
        found = [
            late_ms[place + int((late_ms[place:] > length_ms / 2).argmax())]
            for place, length_ms in zip(np.searchsorted(self.sent_ms, stalls.start_ms), stalls.length_ms, strict=True)
        ]
        return np.array(found)

    def drains(self, start_ms: Array, lone_ms: float) -> list[float]:
        """Return what a further request took, in the turn after each pause that began at *start_ms*."""
        ends_ms = self.sent_ms + self.latency_ms
        found = []
        for at_ms in start_ms:
            victim = int(np.searchsorted(self.sent_ms, at_ms))
            end_ms = float(ends_ms[victim])
            waiting = (self.sent_ms > at_ms) & (self.sent_ms < end_ms) & (ends_ms > end_ms + lone_ms)
            if waiting.sum() >= DRAIN_MIN:
                found.append((float(ends_ms[waiting].min()) - end_ms - lone_ms) / (int(waiting.sum()) - 1))
        return found


def fit_turns(runs: Sequence[tuple[Array, Array]]) -> tuple[float, float]:
    """Return the lone and the further time, in ms, that explain latencies best (least absolute deviations).

    Parameters
    ----------
    runs : sequence of (sent_ms, latency_ms)
        Arrays of shape (n,), in order of sending.
    """
    return _fit([_Run(sent_ms - sent_ms[0], latency_ms) for sent_ms, latency_ms in runs])


def _fit(runs: Sequence[_Run]) -> tuple[float, float]:
    """Return the lone and the further time that explain the latencies best (least absolute deviations)."""
    most = min(*(run.typical_ms for run in runs), 0.9 / max(run.rate_per_ms for run in runs))

    def loss(times: Any) -> float:
        lone_ms, further_ms = times
        if not 0 < lone_ms <= most or not 0 <= further_ms <= lone_ms:
            return float("inf")
        return float(np.mean([run.misfit(lone_ms, further_ms).mean() for run in runs]))

    grid = [(lone, share * lone) for lone in np.linspace(0.1, 1, GRID) * most for share in np.linspace(0, 1, GRID)]
    start = min(grid, key=loss)
    settings: Any = {"method": "Nelder-Mead", "options": {"xatol": 1e-4 * most, "fatol": 1e-9}}
    best: Array = optimize.minimize(loss, start, **settings).x
    return float(best[0]), float(best[1])


def _lone_interval(runs: Sequence[_Run], lone_ms: float, further_ms: float, rng: np.random.Generator) -> Interval:
    """Return the lone time with its interval, from resampled blocks of requests."""
    most = min(run.typical_ms for run in runs)
    grid = np.linspace(0.05, 1.0, 8 * GRID) * most
    best = grid[_resampled([_by_block(runs, lone, min(further_ms, lone)) for lone in grid], rng)]
    return _around(lone_ms, best, step=float(grid[1] - grid[0]))


def _further_interval(runs: Sequence[_Run], lone_ms: float, further_ms: float, rng: np.random.Generator) -> Interval:
    """Return the further time with its interval, from resampled blocks of requests, the lone time being fitted too."""
    further = np.linspace(0, lone_ms, FURTHER_GRID)
    times = [(lone_ms * near, one) for one in further for near in NEARBY]
    best = _resampled([_by_block(runs, lone, min(one, lone)) for lone, one in times], rng)
    return _around(further_ms, further[best // len(NEARBY)], step=float(further[1] - further[0]))


def _resampled(losses: Sequence[Array], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the place of the least loss in each resample of blocks, shape (resamples,)."""
    by_block = np.stack(losses)
    count = by_block.shape[1]
    drawn = rng.multinomial(count, np.full(count, 1 / count), RESAMPLES)
    return np.asarray((by_block @ drawn.T.astype(np.float64)).argmin(axis=0))


def _around(value: float, best: Array, *, step: float) -> Interval:
    """Return the interval of the resamples' values, which lie on a grid that is coarser than they differ."""
    low, high = np.quantile(best, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, max(0.0, min(float(low) - step / 2, value)), max(float(high) + step / 2, value))


def _by_block(runs: Sequence[_Run], lone_ms: float, further_ms: float) -> Array:
    """Return the loss of each block of requests, shape (blocks of all runs,)."""
    found = []
    for run in runs:
        starts = np.linspace(0, len(run.sent_ms), BLOCKS + 1).astype(np.int64)[:-1]
        found.append(np.add.reduceat(run.misfit(lone_ms, further_ms), starts))
    return np.concatenate(found)


def _slope(alone: Sequence[tuple[Array, Array]]) -> Interval:
    """Return the slope of lone latencies over the load before them, by least squares, with its 95 % interval."""
    latency_ms = np.concatenate([one for one, _ in alone])
    load_per_s = np.concatenate([one for _, one in alone])
    spread = load_per_s - load_per_s.mean()
    total = float(spread @ spread)
    if total == 0:
        return _flat(0.0)
    slope = float(spread @ (latency_ms - latency_ms.mean())) / total
    left = latency_ms - latency_ms.mean() - slope * spread
    half = 1.96 * float(np.sqrt(spread**2 @ left**2)) / total
    return Interval(slope, slope - half, slope + half)


def _pauses(runs: Sequence[_Run], found: Sequence[Stalls], is_pause: Sequence[NDArray[np.bool_]]) -> Pauses:
    """Describe the pauses, and say how regularly they come."""
    start_ms = [stalls.start_ms[one] for stalls, one in zip(found, is_pause, strict=True)]
    place = [np.searchsorted(run.sent_ms, at_ms) for run, at_ms in zip(runs, start_ms, strict=True)]
    stopped = [_kept(stalls, one) for stalls, one in zip(found, is_pause, strict=True)]
    length_ms = np.concatenate([run.victims(stalls) for run, stalls in zip(runs, stopped, strict=True)])
    return pauses_of(length_ms, start_ms, place=place, requests=sum(len(run.sent_ms) for run in runs))


def _kept(stalls: Stalls, chosen: NDArray[np.bool_]) -> Stalls:
    return Stalls(stalls.hit, stalls.start_ms[chosen], stalls.length_ms[chosen], stalls.duration_s)


def _flat(value: float) -> Interval:
    return Interval(value, value, value)
