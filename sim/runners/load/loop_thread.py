"""Run a load driver's event loop in a thread of its own, isolated from Ctrl-C and from a notebook's own loop.

The calling thread waits. The first Ctrl-C only reports an interruption to the loop, which then stops gracefully and
returns what it has; the second cancels the run.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from threading import Thread
from typing import Any, TypeVar

from sim.runners.load.pacer import precise_loop
from sim.runners.load.priority import go_ahead

T = TypeVar("T")
Main = Callable[["asyncio.Future[None]"], Coroutine[Any, Any, T]]


def run_in_thread(main: Main[T]) -> T:
    """Run a coroutine to completion in an event loop of its own.

    Parameters
    ----------
    main : callable
        Called with a future that is done at the first Ctrl-C.

    Raises
    ------
    KeyboardInterrupt
        At the second Ctrl-C, after the coroutine was cancelled.
    """
    loop = precise_loop()
    interrupted: asyncio.Future[None] = loop.create_future()
    outcome: Future[T] = Future()
    thread = Thread(target=_live, args=(loop, main, interrupted, outcome), name="load driver")
    thread.start()
    try:
        return _wait(loop, interrupted, outcome)
    finally:
        thread.join()


def _live(
    loop: asyncio.AbstractEventLoop,
    main: Main[T],
    interrupted: "asyncio.Future[None]",
    outcome: "Future[T]",
) -> None:
    """Run the event loop: the body of the thread."""
    go_ahead()
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            value = runner.run(main(interrupted))
    except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that waits
        outcome.set_exception(error)
    else:
        outcome.set_result(value)


def _wait(loop: asyncio.AbstractEventLoop, interrupted: "asyncio.Future[None]", outcome: "Future[T]") -> T:
    try:
        return outcome.result()
    except KeyboardInterrupt:
        _call(loop, lambda: _report(interrupted))
    try:
        return outcome.result()
    except KeyboardInterrupt:
        _call(loop, lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
        raise


def _report(interrupted: "asyncio.Future[None]") -> None:
    if not interrupted.done():
        interrupted.set_result(None)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    """Call *function* in the loop, unless that has ended meanwhile."""
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:
        assert loop.is_closed()
