"""One process's part of a load run: open connections, create stored objects, measure the floor, send, close.

The plan is data that may be sent to another process (:mod:`sim.runners.load.worker`); what is played comes back as
:class:`Played`.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from sim.foundation.errors import RunnerError
from sim.randomness.streams import stream_key
from sim.runners.load.address import Deployment
from sim.runners.load.driver import Client, Driver
from sim.runners.load.guard import is_this_machine
from sim.runners.load.messages import (
    HEALTH,
    Message,
    Sender,
    messages,
    outcome_of,
    preparations,
    read_server_timing,
    routes_played,
    tunnelled_routes,
)
from sim.runners.load.options import LoadOptions
from sim.runners.load.progress import progress_shown
from sim.runners.load.s3_target import UploadTerms, upload_terms
from sim.runners.load.senders import PREPARE_S, UNREACHABLE, Senders, Wanted, one_line, opened
from sim.runners.load.tape import Tape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sim.scenario.scenario import Scenario
    from sim.scenario.schedule import Schedule

FLOOR_REQUESTS = 20
"""Requests that measure the floor: the median of twenty is within 10 % of the true one on loopback."""

FLOOR_GAP_S = 0.016
"""Gap between them, as at 60 requests/s: a processor that was idle takes twice as long (1.5 ms instead of 0.7 ms)."""

UPLOADS_AT_ONCE = 4
"""Concurrent uploads during preparation: quick, yet a negligible load."""


@dataclass(frozen=True)
class Session:
    """What one process plays.

    Attributes
    ----------
    scenario, schedule
        Whole; *rows* says which requests are this process's own.
    deployment : Deployment
    seed : int
        Of the upload bytes.
    options : LoadOptions
    run : str
        Unique name of this run, part of ids.
    start_time_ms : float
        Wall clock that events count from.
    rows : ndarray of int, shape (m,), or None
        None: all.
    title : str
        Of the progress bar; empty for none.
    processes : int
        That share the sending, and the sessions on WebSockets.
    """

    scenario: "Scenario"
    schedule: "Schedule"
    deployment: Deployment
    seed: int
    options: LoadOptions
    run: str
    start_time_ms: float
    rows: "NDArray[np.int64] | None" = None
    title: str = ""
    processes: int = 1

    @property
    def identified(self) -> bool:
        """Whether requests carry headers with their attributes: only on this machine."""
        return is_this_machine(urlsplit(self.deployment.http).hostname or "")

    @property
    def tunnelled(self) -> bool:
        """Whether some request goes through the tunnel."""
        return bool(tunnelled_routes(self.scenario) & routes_played(self.schedule))

    @property
    def wanted(self) -> Wanted:
        """The senders that it needs."""
        played = routes_played(self.schedule)
        sockets = {
            name: route.socket.shared_by(self.processes)
            for name, route in self.scenario.routes.items()
            if route.socket is not None and name in played
        }
        return Wanted(
            self.deployment,
            self.options,
            seed=self.seed,
            http=not played <= self.stored.keys(),
            tunnel=self.tunnelled,
            sockets=sockets,
            uploads=self.stored,
            timeout_s=self.scenario.system.client.timeout_ms / 1000,
        )

    @property
    def stored(self) -> dict[str, UploadTerms]:
        """How the routes upload whose requests go to an S3 endpoint."""
        played = routes_played(self.schedule)
        terms = upload_terms(self.scenario) if self.options.s3 is not None else {}
        return {name: one for name, one in terms.items() if name in played}

    @property
    def client(self) -> Client:
        """The client's timeout, retries, jitter and budget of retries."""
        settings = self.scenario.system.client
        return Client(
            settings.timeout_ms,
            retries=settings.retries,
            backoff_ms=settings.backoff_ms,
            jitter=stream_key(self.seed, "client.attempt") if settings.jitter else None,
            budget_ratio=settings.budget_ratio,
            budget_retries_max=int(settings.burst),
        )


@dataclass(frozen=True)
class Played:
    """What was played, and what the driver says of itself.

    Attributes
    ----------
    tape : Tape
    floor_ms_p50, cpu_ratio, in_flight_peak
        See :class:`sim.runners.load.self_check.SelfCheck`.
    stopped_because : str or None
    throttled_requests : int
        Answers that asked for a pause.
    retry_after_s_max : float
        The longest pause asked for.
    facts : dict
        Further facts for ``Result.generator``.
    counts : dict
        What the senders counted, for the same; those of several processes add up.
    """

    tape: Tape
    floor_ms_p50: float
    cpu_ratio: float
    in_flight_peak: int
    stopped_because: str | None
    throttled_requests: int = 0
    retry_after_s_max: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)


def new_run() -> tuple[str, float]:
    """Return a unique name for a run and its wall clock in ms; a scenario's name may hold what an id must not."""
    now_ms = time.time() * 1000
    return f"run-{now_ms:.0f}", now_ms


async def prepared(session: Session, senders: Senders) -> float:
    """Create the objects that will be fetched, then measure the floor in ms; none of this is in the frame."""
    at_once = asyncio.Semaphore(UPLOADS_AT_ONCE)

    async def place(steps: tuple[Message, ...]) -> None:
        async with at_once:
            for message in steps:
                await _must(senders.by_wire[message.wire], message)

    wanted = preparations(session.scenario, session.schedule, run=session.run, identified=session.identified)
    try:
        async with asyncio.timeout(PREPARE_S):
            await asyncio.gather(*(place(steps) for steps in wanted))
            if not session.wanted.http:
                return float("nan")
            return float(np.median([await _floor_ms(senders.http) for _ in range(FLOOR_REQUESTS)]))
    except (*UNREACHABLE, TimeoutError) as error:
        said = session.options.headers.hide(one_line(error))
        raise RunnerError(f"preparing {session.deployment.http} failed: {said}") from None


def driver_of(session: Session, senders: Senders) -> Driver:
    """Return a driver with all its messages."""
    ready = messages(
        session.scenario,
        session.schedule,
        run=session.run,
        start_time_ms=session.start_time_ms,
        identified=session.identified,
        rows=session.rows,
        stored=session.stored,
    )
    options = session.options
    return Driver(
        session.scenario, session.schedule, messages=ready, senders=senders.by_wire,
        client=session.client, caps=options.caps, abort=options.abort, rows=session.rows,
    )  # fmt: skip


async def played(
    session: Session, driver: Driver, *, floor_ms_p50: float = float("nan"), start_s: float | None = None
) -> Played:
    """Let *driver* play, and return what it recorded."""
    async with progress_shown(driver, title=session.title, shown=bool(session.title)):
        with _quiet_collector():
            started = datetime.now(UTC)
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            await driver.play(start_s=start_s)
            wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    return Played(
        tape=driver.tape,
        floor_ms_p50=floor_ms_p50,
        cpu_ratio=cpu_s / max(wall_s, 1e-9),
        in_flight_peak=driver.in_flight_peak,
        stopped_because=driver.stopped_because,
        throttled_requests=driver.throttled,
        retry_after_s_max=driver.retry_after_s_max,
        facts={"started_utc": started.isoformat(timespec="seconds")},
    )


def whole(session: Session) -> "Callable[[asyncio.Future[None]], Any]":
    """Return the coroutine function that plays all of it in this process, until a future says that it is enough."""

    async def main(interrupted: "asyncio.Future[None]") -> Played:
        async with opened(session.wanted) as senders:
            floor_ms_p50 = await prepared(session, senders)
            driver = driver_of(session, senders)
            interrupted.add_done_callback(lambda _: driver.stop("Ctrl-C"))
            found = await played(session, driver, floor_ms_p50=floor_ms_p50)
        return with_counts(found, senders)

    return main


async def _must(sender: Sender, message: Message) -> None:
    answer = await sender.send(message)
    if outcome_of(message, answer) != "ok":
        raise RunnerError(
            f"{message.method} {message.path} must succeed before the run: "
            f"status {answer.status}, {answer.body_bytes} bytes"
        )


async def _floor_ms(http: Sender) -> float:
    """Return the latency of one ``/health`` request, without the time that the server waited on purpose."""
    await asyncio.sleep(FLOOR_GAP_S)
    began_s = time.perf_counter()
    answer = await http.send(HEALTH)
    took_ms = (time.perf_counter() - began_s) * 1000
    return took_ms - sum(spent_ms for _, spent_ms in read_server_timing(answer.server_timing))


@contextmanager
def _quiet_collector() -> Iterator[None]:
    """Freeze the prepared messages for the garbage collector: scanning 100,000 of them takes 20 ms."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def with_counts(found: Played, senders: Senders) -> Played:
    """Return *found* with the counts of senders that are closed, so that a last answer is in them."""
    return replace(found, counts=senders.facts())
