"""Turns that requests share, told from delay and from pauses in the latencies of an object at low load.

A request that finds the object idle holds it for a *lone* time. Those that come meanwhile share the next turn: it takes
the lone time, and a *further* time for each of them but the first, and all are answered at its end
(``coalesced_ms`` of :mod:`sim.models.durable_objects`). Where turns are shared a request costs less under load than
alone, and a fit of one service time for all would predict too early a saturation. At low load it shows twice: a request
that waited for another is answered sooner than a lone one would be, and after a pause many wait, which are then
answered in one turn.

Pauses are the long stalls that come again and again: collections of garbage. That they come with requests, not with
time, is an assumption; how regular the gaps between them are, in requests, is estimated. Stalls that are much shorter
are left to :mod:`sim.experiments.calibration.stalls`.

Latencies also fall with the load of the last milliseconds (caches, a processor that need not wake up). That slope is
estimated inside the run and extrapolated, which is an assumption of its own.

Sources
-------
Bailey, "On queueing processes with bulk service", J. R. Statist. Soc. B 16, 1954 (a server that takes all that wait).
Künsch, "The jackknife and the bootstrap for general stationary observations", Ann. Statist. 17, 1989 (blocks).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from sim.experiments.calibration.laws import Interval, Law, empirical_law
from sim.experiments.calibration.stalls import Stalls, find_stalls
from sim.foundation.errors import UsageError
from sim.statistics.intervals import rate_interval

Array = NDArray[np.float64]
Function = TypeVar("Function", bound=Callable[..., Any])

REQUESTS_MIN = 2_000
UTILIZATION_MAX = 0.5
GRID = 12
"""Values of each of the two times that are tried before the best of them is refined."""
BLOCKS, RESAMPLES = 40, 400
LEVEL = 0.95
LONG_SHARE = 0.5
"""A pause is at least this share of a typical one of the longest stalls, two of each run."""
PAUSES_MIN = 3
"""Gaps, or turns after pauses, of which a median is taken."""
REGULAR_CV2 = 0.01
"""Gaps whose squared coefficient of variation is below this are regular."""
DRAIN_MIN = 10
"""Requests that must wait at the end of a pause, for the turn that serves them to say what a further one takes."""
DEVIATION, MEDIAN_LOSS = 1.4826, 1.2533
"""Standard deviations of a normal sample: over its median deviation, and of its median over that of its mean."""
WINDOW_MS = 10.0
"""Of the load whose effect on a latency is estimated."""
LONE_MS_MAX = 3.0
"""Times the median latency: what takes longer is a stall, not a lone request."""

_njit: Any = numba.njit


def _compiled(function: Function) -> Function:
    compiled: Function = _njit(function)
    return compiled


@dataclass(frozen=True)
class Pauses:
    """Long stalls that come again and again.

    Attributes
    ----------
    length_ms : ndarray, shape (pauses,)
        How much later than a lone request the first victim was answered.
    every_requests : Interval or None
        Requests from one pause to the next: the median gap where gaps are regular, else requests over pauses; None
        where there was no pause.
    requests_cv2 : float
        Squared coefficient of variation of the gaps, by median deviations; NaN where there are too few.
    """

    length_ms: Array
    every_requests: Interval | None
    requests_cv2: float

    @property
    def is_regular(self) -> bool:
        """Whether the gaps, in requests, are all but equal."""
        return self.requests_cv2 < REGULAR_CV2


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
    """

    lone_ms: Interval
    further_ms: Interval
    delay: Law
    delay_slope_ms: Interval
    pauses: Pauses
    rate_per_s: float
    n: int


def turns(sent_ms: Array, *, lone_ms: float, further_ms: float) -> Array:
    """Return the time of each request at the object, wait included, shape (n,).

    Parameters
    ----------
    sent_ms : ndarray, shape (n,)
        Arrivals, in order.
    lone_ms, further_ms : float
        A turn that serves k requests takes ``lone_ms + (k - 1) * further_ms``.
    """
    return np.asarray(_turns(np.ascontiguousarray(sent_ms), lone_ms, further_ms))


@_compiled
def _turns(sent_ms: Array, lone_ms: float, further_ms: float) -> Array:
    spent_ms = np.empty(len(sent_ms))
    first, free_ms = 0, -np.inf
    while first < len(sent_ms):
        start_ms = max(free_ms, sent_ms[first])
        after = first + 1
        while after < len(sent_ms) and sent_ms[after] <= start_ms:
            after += 1
        free_ms = start_ms + lone_ms + (after - first - 1) * further_ms
        for request in range(first, after):
            spent_ms[request] = free_ms - sent_ms[request]
        first = after
    return spent_ms


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
        raise UsageError(
            f"{what}: turns and queueing are confounded at utilization {busy:.1f} (play it at "
            f"{250 / lone_ms:.0f}/s, a quarter of what lone requests take)"
        )
    times = list(timers) or [np.zeros(0) for _ in sorted_runs]
    found = [run.stalls(lone_ms, further_ms, timer_ms=at_ms) for run, at_ms in zip(sorted_runs, times, strict=True)]
    longest_ms = np.sort(np.concatenate([one.length_ms for one in found]))[-2 * len(found) :]
    long_ms = LONG_SHARE * float(np.median(longest_ms)) if len(longest_ms) else 0.0
    is_pause = [one.length_ms >= long_ms for one in found]
    drains = [
        value
        for run, stalls, chosen in zip(sorted_runs, found, is_pause, strict=True)
        for value in run.drains(stalls.start_ms[chosen], lone_ms)
        if 0 < value <= lone_ms
    ]
    generator = np.random.default_rng(rng)
    low, high = _interval(sorted_runs, further_ms, generator)
    further = _median_interval(np.array(drains)) if len(drains) >= PAUSES_MIN else _flat(further_ms)
    alone = np.concatenate([run.alone(lone_ms, further_ms)[0] for run in sorted_runs])
    return SharedTurns(
        lone_ms=Interval(lone_ms, min(low, lone_ms), max(high, lone_ms)),
        further_ms=further,
        delay=empirical_law(np.maximum(alone - lone_ms, 0.0), generator),
        delay_slope_ms=_slope([run.alone(lone_ms, further_ms) for run in sorted_runs]),
        pauses=_pauses(sorted_runs, found, is_pause),
        rate_per_s=1000 * float(np.mean([run.rate_per_ms for run in sorted_runs])),
        n=sum(len(run.sent_ms) for run in sorted_runs),
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

    def victims(self, start_ms: Array) -> Array:
        """Return how much later than usual the first victim of each stall was answered: the stall itself, no drain."""
        first = np.searchsorted(self.sent_ms, start_ms)
        return np.asarray(self.latency_ms[first] - self.typical_ms)

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


def _interval(runs: Sequence[_Run], further_ms: float, rng: np.random.Generator) -> tuple[float, float]:
    """Return the interval of the lone time, from resampled blocks of requests."""
    most = min(run.typical_ms for run in runs)
    grid = np.linspace(0.05, 1.0, 8 * GRID) * most
    losses = np.stack(
        [np.concatenate([_by_block(run.misfit(lone, min(further_ms, lone))) for run in runs]) for lone in grid]
    )
    count = losses.shape[1]
    drawn = rng.multinomial(count, np.full(count, 1 / count), RESAMPLES)
    best = grid[(losses @ drawn.T.astype(np.float64)).argmin(axis=0)]
    low, high = np.quantile(best, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    step = grid[1] - grid[0]  # The grid is coarser than the resamples differ.
    return float(low - step / 2), float(high + step / 2)


def _by_block(values: Array) -> Array:
    starts = np.linspace(0, len(values), BLOCKS + 1).astype(np.int64)[:-1]
    return np.asarray(np.add.reduceat(values, starts))


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
    chosen_ms = [stalls.start_ms[one] for stalls, one in zip(found, is_pause, strict=True)]
    places = [np.searchsorted(run.sent_ms, start_ms) for run, start_ms in zip(runs, chosen_ms, strict=True)]
    gaps = np.concatenate([np.diff(place).astype(np.float64) for place in places])
    length_ms = np.concatenate([run.victims(start_ms) for run, start_ms in zip(runs, chosen_ms, strict=True)])
    cv2, count = _cv2(gaps), len(length_ms)
    if not count:
        return Pauses(length_ms, None, cv2)
    if cv2 < REGULAR_CV2:
        return Pauses(length_ms, _median_interval(gaps), cv2)
    per_request = rate_interval(count, float(sum(len(run.sent_ms) for run in runs)))
    return Pauses(length_ms, Interval(1 / per_request.value, 1 / per_request.high, 1 / per_request.low), cv2)


def _cv2(gaps: Array) -> float:
    """Return a squared coefficient of variation that one odd gap does not move; NaN of too few."""
    if len(gaps) < PAUSES_MIN:
        return float("nan")
    return (DEVIATION * float(np.median(np.abs(gaps - np.median(gaps)))) / float(np.median(gaps))) ** 2


def _median_interval(values: Array) -> Interval:
    """Return a median with its 95 % interval, as for a normal sample with a few outliers."""
    middle = float(np.median(values))
    deviation = DEVIATION * float(np.median(np.abs(values - middle)))
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * MEDIAN_LOSS * deviation / sqrt(len(values))
    return Interval(middle, middle - half, middle + half)


def _kept(stalls: Stalls, chosen: NDArray[np.bool_]) -> Stalls:
    return Stalls(stalls.hit, stalls.start_ms[chosen], stalls.length_ms[chosen], stalls.duration_s)


def _flat(value: float) -> Interval:
    return Interval(value, value, value)
