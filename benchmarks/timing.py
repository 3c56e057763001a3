"""The clock: contenders take turns, round after round, and only ratios within a round are compared.

A machine that others use is fast in one second and slow in the next; what is done in the same round shares that fate.
Processor time is counted, not time on the wall, but for threads, whose point is the wall.
"""

import gc
import hashlib
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks.jobs import Job

MEGABYTES = bytes(8_000_000)

QUIET_GAIN = 1.7
"""Of the control: less means that somebody else has the second processor."""

CONTROLS = 8
"""Megabytes that are hashed, to see whether the moment is quiet; a fifth of a second."""

Play = Callable[[Job], object]


@dataclass(frozen=True)
class Contender:
    """Something that can play a job.

    Attributes
    ----------
    name : str
    play : callable
        Simulates all requests of the job that it is given.
    requests : int
        How many it plays in a round; a fast one plays more, so that the clock is not what is measured.
    repeats : int
        How often it plays them in a round.
    """

    name: str
    play: Play
    requests: int
    repeats: int = 1


@dataclass(frozen=True)
class Spread:
    """The median of some rounds, and how far they lay apart."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{short(self.median)} [{short(self.low)}, {short(self.high)}]"


def spread(values: list[float]) -> Spread:
    """Median, lowest and highest of *values*."""
    return Spread(statistics.median(values), min(values), max(values))


def short(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def rates_per_s(job: Job, contenders: list[Contender], *, rounds: int) -> dict[str, list[float]]:
    """Requests a CPU-second of every contender, one number a round; a first, shorter round is not counted."""
    found: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for contender in contenders:
        contender.play(job.head(1_000))
    for _ in range(rounds):
        for contender in contenders:
            part = job.head(contender.requests)
            gc.collect()
            start_s = time.process_time()
            for _ in range(contender.repeats):
                contender.play(part)
            spent_s = time.process_time() - start_s
            found[contender.name].append(contender.repeats * len(part.schedule) / spent_s)
    return found


def ratios(rates: dict[str, list[float]], to: str) -> dict[str, Spread]:
    """Each contender's rate over that of *to* in the same round."""
    return {
        name: spread([mine / its for mine, its in zip(values, rates[to], strict=True)])
        for name, values in rates.items()
    }


def thread_gain(work: Callable[[], object], *, runs: int) -> float:
    """How much sooner *work* is done *runs* times by two threads than by one."""
    gc.collect()
    start_s = time.perf_counter()
    for _ in range(runs):
        work()
    one_s = time.perf_counter() - start_s
    with ThreadPoolExecutor(2) as pool:
        start_s = time.perf_counter()
        for done in [pool.submit(work) for _ in range(runs)]:
            done.result()
        two_s = time.perf_counter() - start_s
    return one_s / two_s


def hash_megabytes() -> None:
    """Work of the standard library that surely holds no lock: what it gains is what the machine has to give."""
    hashlib.sha256(MEGABYTES).digest()


def quiet_gains(work: Callable[[], object], *, runs: int, rounds: int, tries: int) -> tuple[list[float], int]:
    """The gains of *rounds* quiet moments, or of as many as some *tries* find; and how often was tried."""
    gains: list[float] = []
    for tried in range(1, tries + 1):
        if thread_gain(hash_megabytes, runs=CONTROLS) < QUIET_GAIN:
            continue
        gain = thread_gain(work, runs=runs)
        if thread_gain(hash_megabytes, runs=CONTROLS) >= QUIET_GAIN:
            gains.append(gain)
            if len(gains) == rounds:
                return gains, tried
    return gains, tries


def median_s(work: Callable[[], object], *, rounds: int) -> Spread:
    """Seconds on the wall of *work*, after one run that is not counted."""
    work()
    spent_s = []
    for _ in range(rounds):
        start_s = time.perf_counter()
        work()
        spent_s.append(time.perf_counter() - start_s)
    return spread(spent_s)
