"""Turns that requests share: how many requests a turn serves on average, and how long each of them waits for its end.

A turn of k requests takes L + (k - 1) f: the work L of its first request, and f for each further one. The next turn
serves all that came meanwhile; if nobody came, the object is free until the next request, which starts a turn alone.
So a turn serves max(1, A) requests, where A is Poisson with mean λT over the length T of the turn before it, and with
p = P(A = 0) the mean length is T = (L - f (1 - p)) / (1 - λf). The length is taken to be gamma distributed with its
own variance, which gives p = (1 + λ V / T)^(-T² / V): exact for an exponential L without f, and exp(-λT) for a constant
length. λf is the load: at 1 the object is saturated, while it is almost never free at much lower rates already.

Other work of the object (a flush) takes its share of the time, so that more come while a turn lasts, and makes the turn
after it long: by λ²F² its time F adds to the variance of A.

A request waits for the rest of the turn that it meets, on average half of the mean square of what holds the object, and
for the whole of its own turn, which is longer than the mean turn since long turns serve more requests.

Sources
-------
Bailey, "On queueing processes with bulk service", J. Roy. Stat. Soc. B 16, 1954; Neuts, "A general class of bulk queues
with Poisson input", Ann. Math. Stat. 38, 1967 (service times that depend on the size of the batch).
"""

from math import inf
from typing import NamedTuple

import numpy as np

from sim import flow as f
from sim.screening.logbook import Logbook
from sim.screening.passage import ALL, NONE, Array, Passage

HALVINGS = 40
LOAD_MAX = 1 - 1e-6
"""A turn's length has no mean at a load of 1: how long it has become in a run is limited by the run's length."""
OTHERS_MIN, OTHERS_MAX = 1e-9, 0.99
"""Share of an object's time that other work takes: less is rounding, more leaves nothing for turns."""


class Turn(NamedTuple):
    """A turn of an object.

    Attributes
    ----------
    counter : Counter
        Of the requests that it still has to serve.
    further_ms : float
        What each request but the first adds to it, the time to take it in included.
    alone : Flow
        Steps of a turn that serves one request.
    requests_max : int or None
        Most requests of a turn; None: all that wait.
    """

    counter: f.Counter
    further_ms: float
    alone: f.Flow
    requests_max: int | None = None


class Served(NamedTuple):
    """What a turn serves: mean and variance of the number of its requests, and its mean length. Shape of the rates."""

    requests: Array
    variance: Array
    length_ms: Array


def turn_of(branch: f.Branch) -> Turn | None:
    """Return the turn that *branch* passes through, where its first request has those that wait served with it."""
    condition = branch.condition
    if not isinstance(condition, f.CountAtLeast) or condition.at_least != 1:
        return None
    counter, first = condition.counter, branch.otherwise
    gathers = [part for part in first if isinstance(part, f.Gather) and part.into == counter]
    further = [part for part in first if isinstance(part, f.Delay) and f.as_time(part.time).of == counter]
    if len(gathers) != 1 or len(further) != 1:
        return None
    intakes = [part for part in first if isinstance(part, f.Repeat) and _intake_ms(part)]
    each_ms = f.as_time(further[0].time).each_ms + sum(map(_intake_ms, intakes))
    most = gathers[0].at_most
    its_own = [id(part) for part in (*gathers, *further, *intakes)]
    alone = tuple(part for part in first if id(part) not in its_own)
    return Turn(counter, each_ms, alone, None if most is None else most + 1)


def _intake_ms(repeat: f.Repeat) -> float:
    """Return the time of each request that *repeat* takes in; 0 where it does something else."""
    filled = [part.into for part in repeat.steps if isinstance(part, f.Move)]
    times = [f.as_time(part.time) for part in repeat.steps if isinstance(part, f.Delay)]
    return sum(time.each_ms for time in times if time.of in filled)


def served(
    rate_per_ms: Array,
    *,
    lone_ms: Array,
    variance: Array,
    further_ms: float,
    others: Array = NONE,
    others_square: Array = NONE,
) -> Served:
    """Return what a turn serves on average where requests come at random.

    Parameters
    ----------
    rate_per_ms : ndarray, shape (levels, groups)
        Requests per millisecond.
    lone_ms, variance : ndarray, shape of the rates
        Mean and variance of a turn that serves one request.
    further_ms : float
        What each further request adds to it.
    others, others_square : ndarray, shape of the rates
        Other work of the object: the time that it takes of a millisecond, and the sum of the squares of its times.

    >>> served(np.array([1e-9]), lone_ms=np.array([0.5]), variance=np.array([0.0]), further_ms=0.1).requests.round(6)
    array([[1.]])
    """
    # Limited to a load below 1: beyond it a turn would have no mean length.
    most = LOAD_MAX / further_ms if further_ms > 0 else np.inf
    rate, alone = np.minimum(rate_per_ms / (1 - others), most), np.minimum(rate_per_ms, most)

    def length(nobody: Array) -> Array:
        return np.maximum(lone_ms - further_ms * (1 - nobody), 0.0) / (1 - rate * further_ms)

    def spread(nobody: Array, square: Array) -> tuple[Array, Array]:
        expected = rate * length(nobody)
        came = np.maximum(expected + nobody - 2 * expected * nobody - nobody**2, 0.0)
        came = came + alone * (expected + nobody) * square
        whole = (variance + further_ms**2 * came) / (1 - (alone * further_ms) ** 2)
        return whole, came + alone**2 * whole

    low, high = np.zeros_like(rate + lone_ms), np.ones_like(rate + lone_ms)
    for _ in range(HALVINGS):
        nobody = (low + high) / 2  # Of most turns: few follow a flush.
        more = _nobody(rate, length(nobody), spread(nobody, NONE)[0]) > nobody
        low, high = np.where(more, nobody, low), np.where(more, high, nobody)
    length_ms = length(high)
    return Served(np.maximum(rate * length_ms + high, 1.0), spread(high, others_square)[1], length_ms)


def _nobody(rate: Array, length_ms: Array, variance: Array) -> Array:
    """Return the probability that nobody comes during a gamma distributed time."""
    expected = rate * length_ms
    relative = np.divide(rate**2 * variance, expected, out=np.zeros_like(expected), where=expected > 0)
    shrink = np.divide(np.log1p(relative), relative, out=np.ones_like(relative), where=relative > 1e-9)
    return np.asarray(np.exp(-expected * shrink))


def in_turn(turn: Turn, station: f.Station, *, log: Logbook) -> Served:
    """Return what a turn of *station* serves, by the notes of the previous walk.

    Without waits, which is where the object is at its bound, a turn serves as many requests as it may.
    """
    log.say(f"requests that share a turn of {station.name!r} are taken to come at random times")
    asked = log.touched("asked", turn.counter)
    if not log.past.wait_ms:
        return Served(ALL * _room(turn), NONE, NONE)
    here = np.maximum(asked, 1e-300)
    lone_ms, square = log.touched("lone_ms", turn.counter) / here, log.touched("lone_square", turn.counter) / here
    served_share = np.maximum(log.entry(station).through, 1e-9)  # A station's use has what a full queue refuses, too.
    others = np.clip(log.busy(station) - log.touched("turn_ms", turn.counter) / served_share, 0, OTHERS_MAX)
    others_square = np.maximum(log.square(station) - log.touched("turn_square", turn.counter) / served_share, 0)
    found = served(
        asked,
        lone_ms=lone_ms,
        variance=np.maximum(square - lone_ms**2, 0),
        further_ms=turn.further_ms,
        others=others,
        others_square=np.where(others > OTHERS_MIN, others_square, 0.0),
    )
    # From nothing a turn's length grows like the root of time at a load of 1: dT / dt = (L - f) / T.
    longest = np.sqrt(2 * np.maximum(lone_ms, turn.further_ms) * log.traffic.levels[0].stay_ms)
    most = np.maximum(asked / (1 - others) * longest, 1.0)
    smaller = np.minimum(np.minimum(most, _room(turn)) / found.requests, 1.0)
    requests, variance = found.requests * smaller, found.variance * smaller**2
    variance = np.where(smaller < 1, np.minimum(variance, requests**2), variance)
    return Served(requests, variance, found.length_ms * smaller)


def _room(turn: Turn) -> float:
    return inf if turn.requests_max is None else float(turn.requests_max)


def through(
    turn: Turn, met: Served, *, first: Passage, others: Passage, weight: Array, station: f.Station, log: Logbook
) -> Passage:
    """Return the passage of a request that leads its turn, or passes at its end; note what the next walk must know.

    Parameters
    ----------
    turn : Turn
    met : Served
        What a turn serves.
    first, others : Passage
        Of the request that holds the object for the turn, and of those that pass at its end.
    weight : ndarray, shape (levels, groups)
        Times the traffic.
    station : Station
        The object.
    log : Logbook
        Of the current walk.
    """
    leads, lone_ms = 1 / met.requests, first.time_ms
    log.touch("asked", turn.counter, weight=weight)
    log.touch("lone_ms", turn.counter, weight=weight * lone_ms)
    log.touch("lone_square", turn.counter, weight=weight * (lone_ms**2 + first.variance))
    if np.isinf(met.requests).all():  # Each request adds no more than the further time.
        return others.then(Passage(np.full((1, 1), turn.further_ms)))
    further_ms = turn.further_ms * (met.requests - 1)
    whole = Passage(lone_ms + further_ms, first.variance + turn.further_ms**2 * met.variance, first.failed)
    held_ms = whole.time_ms * leads
    own_ms = lone_ms + further_ms + turn.further_ms * met.variance * leads + _turns_before(turn, lone_ms, log)
    log.touch("turn_ms", turn.counter, weight=weight * held_ms)
    log.touch("turn_square", turn.counter, weight=weight * leads * (whole.time_ms**2 + whole.variance))
    log.touch("behind", station, weight=weight * np.maximum(own_ms - held_ms, 0.0))
    return whole.mixed(others, leads)


def _turns_before(turn: Turn, lone_ms: Array, log: Logbook) -> Array:
    """Return the wait for turns before one's own, where a turn has room for some requests only.

    At a load r a request takes s of a full turn's time, and waits r s / (2 (1 - r)), as at one server with constant
    times, where turns are full, whose share is taken to be r to the power of a turn's room.
    """
    if turn.requests_max is None:
        return NONE
    each_ms = (lone_ms + turn.further_ms * (turn.requests_max - 1)) / turn.requests_max
    load = np.clip(log.touched("asked", turn.counter) * each_ms, 0, LOAD_MAX)
    waits_ms = load * each_ms / (2 * (1 - load))
    longest_ms = np.sqrt(each_ms * log.traffic.levels[0].stay_ms)
    return np.asarray(np.minimum(load**turn.requests_max * waits_ms, longest_ms))
