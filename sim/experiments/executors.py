"""Executors for many runs: threads or processes of this machine, any executor of the caller's, or a Dask cluster.

The compiled engine releases the GIL, so threads use all cores, share the compiled code and copy nothing: they are its
default. The SimPy engine is pure Python and needs processes; a script that uses them must be guarded by
``if __name__ == "__main__":``, since each process imports it again. Results are bit-identical on every executor: a run
depends on its seed alone.
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

from sim.foundation.errors import RunnerError, UsageError

T = TypeVar("T")

IN_FLIGHT = 64
"""Runs submitted at a time: enough for any machine, few enough that their results fit into memory."""

INTERRUPTED = "stopped by hand"
"""Reason for an early end after Ctrl-C."""

LOST = ("KilledWorker", "FutureCancelledError")
"""Names of the errors of distributed (an optional dependency) that mean that a worker died."""

CONNECT_S = 10.0
"""Time limit for connecting to a cluster."""


@contextmanager
def executor_for(engine: str, *, executor: Executor | None = None, cluster: str | None = None) -> Iterator[Executor]:
    """Yield an executor for the duration of the context.

    Parameters
    ----------
    engine : {"compiled", "simpy"}
        Chooses between threads and processes.
    executor : Executor, optional
        Used as it is, and not shut down.
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


class Here(Executor):
    """An executor that runs each task at once, in the thread that submits it."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run the task; store its exception, except KeyboardInterrupt, in the future."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - an executor stores any exception
            future.set_exception(error)
        return future


def run_tasks(
    executor: Executor, tasks: Sequence[Callable[[], T]], *, keep: Callable[[int, T], None], in_flight: int = IN_FLIGHT
) -> str:
    """Submit *tasks* in order, and pass each result to *keep*.

    Parameters
    ----------
    executor : Executor
    tasks : sequence of callables
        Without arguments; picklable where processes or a cluster run them.
    keep : callable
        ``keep(place, result)``: called once for each result, in order of completion.
    in_flight : int
        Number of tasks submitted at a time.

    Returns
    -------
    str
        Why it ended early (Ctrl-C, or a worker died and no other took over); empty when all tasks are done. Results
        that were finished by then have been passed to *keep*; tasks that had not begun are cancelled.
    """
    waiting = iter(enumerate(tasks))
    out: dict[Future[T], int] = {}
    try:
        while True:
            for place, task in waiting:
                out[executor.submit(task)] = place
                if len(out) >= in_flight:
                    break
            if not out:
                return ""
            done, _ = wait(out, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=out.__getitem__):
                result, place = future.result(), out.pop(future)
                keep(place, result)
    except KeyboardInterrupt:
        return _kept(out, keep, reason=INTERRUPTED)
    except Exception as error:
        if not isinstance(error, BrokenProcessPool | CancelledError) and type(error).__name__ not in LOST:
            raise
        return _kept(out, keep, reason=f"a worker died in its run, and no other took over: {_line(error)}")
    finally:
        for future in out:
            future.cancel()


def _kept(out: "dict[Future[T], int]", keep: Callable[[int, T], None], *, reason: str) -> str:
    """Pass the finished results among the submitted tasks to *keep*, and return *reason*."""
    for future, place in out.items():
        if future.done() and not future.cancelled() and future.exception() is None:
            keep(place, future.result())
    return reason


def _threads() -> Executor:
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="headroom")


def _processes() -> Executor:
    """Return spawned processes: a forked process may deadlock on a lock that a thread of its parent held."""
    return ProcessPoolExecutor(os.cpu_count() or 1, mp_context=get_context("spawn"), initializer=_leave_interrupts)


def _leave_interrupts() -> None:
    """Ignore Ctrl-C, which a terminal sends to all its processes: only the parent handles it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _dask(address: str) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError:
        raise UsageError(f'cluster={address!r} needs the extra "cluster": pip install "headroom[cluster]"') from None
    try:
        client: Any = Client(address, timeout=CONNECT_S, set_as_default=False)  # type: ignore[no-untyped-call]  # Dask has no types
    except (OSError, ValueError) as error:
        raise RunnerError(f"cluster={address!r} does not answer: {_line(error)}; start `dask scheduler`") from None
    try:
        # Not pure: two equal calls are two runs, not one cached result.
        yield client.get_executor(pure=False)
    finally:
        client.close()


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
