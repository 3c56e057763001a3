"""Timing: contenders run in rounds, and only ratios within a round are compared.

The speed of a shared machine varies from second to second; measurements in the same round are affected alike.
CPU time is measured, except for threads, where wall-clock time is the point.
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
"""Speed-up of two processes below which they did not have two processors for themselves."""

Play = Callable[[Job], object]


@dataclass(frozen=True)
class Contender:
    """A simulator that can run a job.

    Attributes
    ----------
    name : str
    play : callable
        Simulates all requests of the job that it is given.
    requests : int
        Number of requests in a round; more for a fast simulator, so that the clock's resolution does not matter.
    repeats : int
        Repetitions in a round.
    """

    name: str
    play: Play
    requests: int
    repeats: int = 1


@dataclass(frozen=True)
class Spread:
    """Median and range of some rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{short(self.median)} [{short(self.low)}, {short(self.high)}]"


def spread(values: list[float]) -> Spread:
    """Return median, minimum and maximum of *values*."""
    return Spread(statistics.median(values), min(values), max(values))


def short(value: float) -> str:
    """Format with three significant digits, or with all digits before the decimal point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def rates_per_s(job: Job, contenders: list[Contender], *, rounds: int) -> dict[str, list[float]]:
    """Return requests per CPU second of every contender, one number for each round; a warm-up round is not counted."""
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
    """Return each contender's rate relative to that of *to* in the same round."""
    return {
        name: spread([mine / its for mine, its in zip(values, rates[to], strict=True)])
        for name, values in rates.items()
    }


def seconds(work: Callable[[], object]) -> float:
    """Return the wall-clock time of *work*."""
    start_s = time.perf_counter()
    work()
    return time.perf_counter() - start_s


def again(work: Callable[[], object], times: int) -> None:
    """Call *work* *times* times."""
    for _ in range(times):
        work()


def at_once(pool: Executor, work: Callable[[], object], times: int) -> None:
    """Call *work* *times* times on two workers of *pool*, half on each."""
    for done in [pool.submit(again, work, times // 2) for _ in range(2)]:
        done.result()


@dataclass(frozen=True)
class Gain:
    """The speed-up of two workers over one, in one round.

    Attributes
    ----------
    threads : float
        Of two threads over one.
    processes : tuple of float
        Of two processes over one thread, right before the threads and right after. They share nothing, so a value
        below 2 is due to the machine.
    """

    threads: float
    processes: tuple[float, float]

    @property
    def is_quiet(self) -> bool:
        """Whether the machine had a free second processor, before and after."""
        return min(self.processes) >= QUIET_GAIN


def gains(here: Callable[[], object], there: Callable[[], object], *, times: int, rounds: int) -> list[Gain]:
    """Measure the speed-up of a second thread and a second process, for each round.

    Parameters
    ----------
    here : callable
        The work, for the threads.
    there : callable
        The same work for the processes: it is pickled, and caches its data between calls.
    times : int
        Repetitions in each part of a round; even.
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
    """Return the wall-clock time of *work* in seconds, after one warm-up run."""
    work()
    return spread([seconds(work) for _ in range(rounds)])
