"""Who does the work of many runs: threads or processes of this machine, any executor, or a Dask cluster.

The compiled engine holds no lock of the interpreter, so threads keep all cores busy, share what is compiled, and copy
nothing: they are the default for it. The SimPy engine is Python through and through, and needs processes; a script
that uses them must begin in ``if __name__ == "__main__":``, since each process imports it anew. Whoever works, the
results are the same to the last bit: a run depends on its seed alone.
"""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

from sim.errors import RunnerError, UsageError

T = TypeVar("T")

IN_FLIGHT = 64
"""Runs that are handed out at a time: enough for any machine, few enough that their results fit into memory."""

CONNECT_S = 10.0
"""How long a cluster may take to answer."""


@contextmanager
def crew(engine: str, *, executor: Executor | None = None, cluster: str | None = None) -> Iterator[Executor]:
    """Whoever shall work, for as long as the context lasts.

    Parameters
    ----------
    engine : {"compiled", "simpy"}
        Chooses between threads and processes.
    executor : Executor, optional
        Used as it is, and left running.
    cluster : str, optional
        Address of a Dask scheduler, ``"tcp://127.0.0.1:8786"``.

    Raises
    ------
    UsageError
        Both are given, or Dask is not installed.
    RunnerError
        No scheduler answers at the address.
    """
    if executor is not None and cluster is not None:
        raise UsageError(f"cluster={cluster!r} must not be given beside executor= (one of them does the work)")
    if executor is not None:
        yield executor
    elif cluster is not None:
        with _dask(cluster) as workers:
            yield workers
    else:
        pool = _threads() if engine == "compiled" else _processes()
        try:
            yield pool
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def finished(
    executor: Executor, tasks: Sequence[Callable[[], T]], *, in_flight: int = IN_FLIGHT
) -> Iterator[tuple[int, T]]:
    """Results as they come, each with the place of its task; the first tasks are handed out first.

    Whoever stops listening, or is interrupted, cancels what has not begun.

    Raises
    ------
    RunnerError
        A worker died, and nobody could take over.
    """
    waiting = iter(enumerate(tasks))
    places: dict[Future[T], int] = {}
    try:
        while True:
            for place, task in waiting:
                places[executor.submit(task)] = place
                if len(places) >= in_flight:
                    break
            if not places:
                return
            done, _ = wait(places, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=places.__getitem__):
                yield places.pop(future), _result(future)
    finally:
        for future in places:
            future.cancel()


def _result(future: "Future[T]") -> T:
    try:
        return future.result()
    except (BrokenProcessPool, CancelledError) as error:
        raise RunnerError(
            f"a worker died before its run ended ({type(error).__name__}): start fewer at once"
        ) from error
    except Exception as error:
        if type(error).__name__ == "KilledWorker":  # Of distributed, which need not be installed.
            raise RunnerError(f"workers died over and over at one run: {_first_line(error)}") from error
        raise


def _threads() -> Executor:
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="headroom")


def _processes() -> Executor:
    """Started afresh: a copy of a process with threads may wait for ever for a lock that one of them held."""
    return ProcessPoolExecutor(os.cpu_count() or 1, mp_context=get_context("spawn"), initializer=_leave_interrupts)


def _leave_interrupts() -> None:
    """Ctrl-C goes to all processes of a terminal; only the one that started the others answers it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _dask(address: str) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError:
        raise UsageError(f'cluster={address!r} needs the extra "cluster": pip install "headroom[cluster]"') from None
    try:
        client: Any = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise RunnerError(
            f"cluster={address!r} does not answer: {_first_line(error)}; start `dask scheduler`"
        ) from None
    try:
        # Not pure: two equal calls are two runs, never one answer for both.
        yield client.get_executor(pure=False)
    finally:
        client.close()


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
