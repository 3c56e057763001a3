"""The clock: contenders take turns, round after round, and only ratios within a round are compared.

A machine that others use is fast in one second and slow in the next; what is done in the same round shares that fate.
Processor time is counted, not time on the wall, but for threads, whose point is the wall.
"""

import gc
import statistics
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

from benchmarks.jobs import Job

QUIET_GAIN = 1.7
"""Of two processes: less means that they had no two processors for themselves."""

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
    """Requests a CPU-second of every contender, one number a round; a first round is not counted."""
    found: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    parts = {contender.name: job.head(contender.requests) for contender in contenders}
    for contender in contenders:
        contender.play(parts[contender.name])
    for _ in range(rounds):
        for contender in contenders:
            part = parts[contender.name]
            gc.collect()
            start_s = time.process_time()
            again(partial(contender.play, part), contender.repeats)
            spent_s = time.process_time() - start_s
            found[contender.name].append(contender.repeats * len(part.schedule) / spent_s)
    return found


def ratios(rates: dict[str, list[float]], to: str) -> dict[str, Spread]:
    """Each contender's rate over that of *to* in the same round."""
    return {
        name: spread([mine / its for mine, its in zip(values, rates[to], strict=True)])
        for name, values in rates.items()
    }


def seconds(work: Callable[[], object]) -> float:
    """How long *work* takes on the wall."""
    start_s = time.perf_counter()
    work()
    return time.perf_counter() - start_s


def again(work: Callable[[], object], times: int) -> None:
    """*work*, so many times."""
    for _ in range(times):
        work()


def at_once(pool: Executor, work: Callable[[], object], times: int) -> None:
    """Two workers of *pool*, each with half of *times*."""
    for done in [pool.submit(again, work, times // 2) for _ in range(2)]:
        done.result()


@dataclass(frozen=True)
class Gain:
    """How much sooner two workers were done with the work of one, in one round.

    Attributes
    ----------
    threads : float
        Two threads over one.
    processes : tuple of float
        Two processes over one thread, right before the threads and right after: they share nothing, so what they lack
        to 2 the machine did not have to give.
    """

    threads: float
    processes: tuple[float, float]

    @property
    def is_quiet(self) -> bool:
        """Whether the machine had a second processor for this work, before and after."""
        return min(self.processes) >= QUIET_GAIN


def gains(here: Callable[[], object], there: Callable[[], object], *, times: int, rounds: int) -> list[Gain]:
    """What a second thread and a second process gain, round after round.

    Parameters
    ----------
    here : callable
        The work, for the threads.
    there : callable
        The same, for the processes: it is pickled, and keeps what it needs from call to call.
    times : int
        How often it is done in each part of a round; even.
    rounds : int
    """
    found = []
    with ThreadPoolExecutor(2) as threads, ProcessPoolExecutor(2, get_context("spawn")) as processes:
        for workers, work in ((threads, here), (processes, there)):
            at_once(workers, work, 4)
        for _ in range(rounds):
            gc.collect()
            before_s = seconds(partial(at_once, processes, there, times))
            two_s = seconds(partial(at_once, threads, here, times))
            one_s = seconds(partial(again, here, times))
            after_s = seconds(partial(at_once, processes, there, times))
            found.append(Gain(one_s / two_s, (one_s / before_s, one_s / after_s)))
    return found


def median_s(work: Callable[[], object], *, rounds: int) -> Spread:
    """Seconds on the wall of *work*, after one run that is not counted."""
    work()
    return spread([seconds(work) for _ in range(rounds)])
