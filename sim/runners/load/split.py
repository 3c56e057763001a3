"""A load run by several processes of this machine: one schedule, split request by request, merged exactly.

Process i of k plays the requests whose number leaves remainder i (in a closed loop: the users). All count from one
instant of the machine's monotonic clock. Each records its own requests on the same columns, and together they fill one
tape: the result is that of one process, request by request, and nothing is averaged.
"""

import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Thread
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from sim.foundation.errors import RunnerError, UsageError
from sim.runners.load.children import child_environment
from sim.runners.load.loop_thread import run_in_thread
from sim.runners.load.options import LoadOptions
from sim.runners.load.senders import opened, summed
from sim.runners.load.session import Played, Session, prepared
from sim.runners.load.tape import Tape
from sim.runners.load.worker import WITH_THE_OTHERS
from sim.scenario.schedule import Schedule

PROCESSES_MAX = 64
START_IN_S = 0.2
"""Time from the last worker's being ready to the common start: hundreds of times what a line through a pipe takes."""

WATCHED_S = 0.1
STOPPED_S = 15.0
"""Time that a worker gets to end after the stop, before it is killed: it drains for 2 s."""


@dataclass
class Worker:
    """One worker process, as its parent sees it."""

    process: "subprocess.Popen[bytes]"
    counts: tuple[int, int, int] = (0, 0, 0)
    ready: bool = False
    part: dict[str, Any] | None = None
    failed: str = ""
    thread: Thread = field(init=False)

    def __post_init__(self) -> None:
        """Start to read what the process writes."""
        self.thread = Thread(target=self._read, name="load worker", daemon=True)
        self.thread.start()

    def _read(self) -> None:
        out = self.process.stdout
        assert out is not None
        for line in out:
            word, *numbers = line.split()
            if word == b"ready":
                self.ready = True
            elif word == b"counts":
                ended, in_flight, failed = (int(number) for number in numbers)
                self.counts = (ended, in_flight, failed)
            else:
                self._end(word, out)
                return

    def _end(self, word: bytes, out: IO[bytes]) -> None:
        said = pickle.load(out)  # noqa: S301  # written by our own child
        if word == b"part":
            self.part = said
        else:
            self.failed = said

    @property
    def over(self) -> bool:
        """Whether nothing more will come from it."""
        return not self.thread.is_alive()

    def write(self, text: bytes) -> None:
        """Write to its standard input; nothing happens when it is gone."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(text)
            self.process.stdin.flush()
        except OSError:
            self.failed = self.failed or "a worker process ended before its time"

    def ask_to_stop(self) -> None:
        """Close its standard input: it drains and reports."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
        except OSError:
            return


def rows_of(schedule: Schedule, processes: int) -> list[NDArray[np.int64]]:
    """Return the request numbers of each process: together all, none twice.

    Raises
    ------
    UsageError
        Fewer than 1 process, or more than there are requests (or users, in a closed loop).
    """
    owner = np.arange(len(schedule)) if schedule.user is None else np.unique(schedule.user, return_inverse=True)[1]
    most = min(PROCESSES_MAX, int(owner.max()) + 1)
    if not 1 <= processes <= most:
        raise UsageError(f"processes={processes} must be >= 1 and <= {most}")
    return [np.flatnonzero(owner % processes == number) for number in range(processes)]


def play_split(session: Session, processes: int) -> Played:
    """Play *session* with several processes; return what all of them recorded, as if it were one.

    Raises
    ------
    RunnerError
        The deployment does not answer, or a worker died before the start.
    """
    floor_ms_p50 = run_in_thread(lambda _: _prepare(session))
    parts = rows_of(session.schedule, processes)
    shared = _share(session.options, processes)
    sessions = [replace(session, rows=rows, options=shared, title="", processes=processes) for rows in parts]
    with _workers(sessions) as workers:
        interrupted = _run(workers, session)
    return _merged(session, workers, floor_ms_p50=floor_ms_p50, interrupted=interrupted)


async def _prepare(session: Session) -> float:
    async with opened(session.wanted) as senders:
        return await prepared(session, senders)


def _share(options: LoadOptions, processes: int) -> LoadOptions:
    """Return the options of one process: its part of what is in flight and of the connections."""
    in_flight = max(1, options.caps.in_flight // processes)
    connections = max(1, options.connections // processes) if options.connections else 0
    return replace(options, caps=replace(options.caps, in_flight=in_flight), connections=connections)


@contextmanager
def _workers(sessions: list[Session]) -> Iterator[list[Worker]]:
    """Yield a worker for each session; none is left behind."""
    command = [sys.executable, "-P", "-m", "sim.runners.load.worker"]
    environment = child_environment()
    workers: list[Worker] = []
    try:
        for session in sessions:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
            workers.append(Worker(process))
            workers[-1].write(pickle.dumps(session))
        yield workers
    finally:
        for worker in workers:
            worker.ask_to_stop()
        for worker in workers:
            _end(worker)


def _end(worker: Worker) -> None:
    try:
        worker.process.wait(STOPPED_S)
    except subprocess.TimeoutExpired:
        worker.process.kill()
        worker.process.wait()
    worker.thread.join()
    assert worker.process.stdout is not None
    worker.process.stdout.close()


def _run(workers: list[Worker], session: Session) -> bool:
    """Start all at one instant and wait for them; return whether Ctrl-C ended it."""
    try:
        while not all(worker.ready for worker in workers):
            _refuse_failed(workers)
            time.sleep(WATCHED_S / 10)
        start_s = time.monotonic() + START_IN_S
        for worker in workers:
            worker.write(b"START %r\n" % start_s)
        total = len(session.schedule)
        disable = None if session.title else True
        with tqdm(total=total, desc=session.title, unit="request", leave=False, disable=disable) as bar:
            while not all(worker.over for worker in workers):
                if any(worker.over and _stopped(worker) for worker in workers):
                    break
                _show(bar, workers)
                time.sleep(WATCHED_S)
    except KeyboardInterrupt:
        return True
    return False


def _stopped(worker: Worker) -> bool:
    return worker.part is None or worker.part["played"].stopped_because is not None


def _show(bar: "tqdm[None]", workers: list[Worker]) -> None:
    ended, in_flight, failed = (sum(counts) for counts in zip(*(worker.counts for worker in workers), strict=True))
    bar.set_postfix_str(f"{in_flight} in flight, {failed} errors", refresh=False)
    bar.update(ended - bar.n)


def _refuse_failed(workers: list[Worker]) -> None:
    for worker in workers:
        if worker.over and not worker.ready:
            raise RunnerError(worker.failed or "a worker process ended before the start")


def _merged(session: Session, workers: list[Worker], *, floor_ms_p50: float, interrupted: bool) -> Played:
    """Fill one tape with all parts."""
    parts = [worker.part for worker in workers if worker.part is not None]
    if not parts:
        if interrupted:
            raise KeyboardInterrupt
        raise RunnerError(next((one.failed for one in workers if one.failed), "every worker process died in the run"))
    tape = Tape(session.schedule, session.scenario)
    for part in parts:
        tape.fill(part["rows"], part["arrays"])
    found: list[Played] = [part["played"] for part in parts]
    reasons = [one.stopped_because for one in found if one.stopped_because not in (None, WITH_THE_OTHERS)]
    if len(parts) < len(workers):
        reasons.append("a worker process died in the run")
    facts = found[0].facts | {"processes": len(workers)}
    return Played(
        tape=tape,
        floor_ms_p50=floor_ms_p50,
        cpu_ratio=max(one.cpu_ratio for one in found),
        in_flight_peak=sum(one.in_flight_peak for one in found),
        stopped_because="Ctrl-C" if interrupted else next(iter(reasons), None),
        throttled_requests=sum(one.throttled_requests for one in found),
        retry_after_s_max=max(one.retry_after_s_max for one in found),
        facts=facts,
        counts=summed([one.counts for one in found]),
    )
