"""One process's part of a load run: open connections, create stored objects, measure the floor, send, close.

The plan is data that may be sent to another process (:mod:`sim.runners.load.worker`); what is played comes back as
:class:`Played`.
"""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import numpy as np

from sim.foundation.errors import RunnerError
from sim.randomness.streams import stream_key
from sim.runners.load.address import Deployment
from sim.runners.load.driver import Client, Driver
from sim.runners.load.guard import is_this_machine
from sim.runners.load.http_sender import HttpSender
from sim.runners.load.messages import (
    HEALTH,
    Message,
    messages,
    outcome_of,
    preparations,
    read_server_timing,
    routes_played,
    tunnelled_routes,
    upload_block,
)
from sim.runners.load.options import LoadOptions
from sim.runners.load.progress import progress_shown
from sim.runners.load.quic_sender import QuicSender
from sim.runners.load.tape import Tape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sim.scenario.scenario import Scenario
    from sim.scenario.schedule import Schedule

FLOOR_REQUESTS = 20
"""Requests that measure the floor: the median of twenty is within 10 % of the true one on loopback."""

FLOOR_GAP_S = 0.016
"""Gap between them, as at 60 requests/s: a processor that was idle takes twice as long (1.5 ms instead of 0.7 ms)."""

WARM_CONNECTIONS = 16
"""Connections opened before the run: 60 requests/s that each take 250 ms occupy 15."""

PREPARE_S = 120.0
"""Time limit for warming up and for sixteen paced uploads, which take seconds."""

UPLOADS_AT_ONCE = 4
"""Concurrent uploads during preparation: quick, yet a negligible load."""

UNREACHABLE = (OSError, aiohttp.ClientError)


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

    @property
    def identified(self) -> bool:
        """Whether requests carry headers with their attributes: only on this machine."""
        return is_this_machine(urlsplit(self.deployment.http).hostname or "")

    @property
    def tunnelled(self) -> bool:
        """Whether some request goes through the tunnel."""
        return bool(tunnelled_routes(self.scenario) & routes_played(self.schedule))

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
    """

    tape: Tape
    floor_ms_p50: float
    cpu_ratio: float
    in_flight_peak: int
    stopped_because: str | None
    throttled_requests: int = 0
    retry_after_s_max: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)


def new_run() -> tuple[str, float]:
    """Return a unique name for a run and its wall clock in ms; a scenario's name may hold what an id must not."""
    now_ms = time.time() * 1000
    return f"run-{now_ms:.0f}", now_ms


@asynccontextmanager
async def opened(session: Session) -> AsyncIterator[tuple[HttpSender, QuicSender | None]]:
    """Yield open senders, and close them in any case."""
    deployment, options = session.deployment, session.options
    http = HttpSender(
        deployment.http,
        connections_max=options.connections_max,
        block=upload_block(session.seed),
        headers=options.headers.values(),
        keep_alive=options.keep_alive,
    )
    quic = QuicSender(deployment.tunnel) if session.tunnelled and deployment.tunnel is not None else None
    try:
        try:
            async with asyncio.timeout(PREPARE_S):
                await http.open(warm_connections=min(WARM_CONNECTIONS, options.connections_max))
                if quic is not None:
                    await quic.open()
        except (*UNREACHABLE, TimeoutError) as error:
            said = options.headers.hide(_one_line(error))
            raise RunnerError(f"{deployment.http} does not answer: {said} (is it running? headroom serve)") from None
        yield http, quic
    finally:
        if quic is not None:
            await quic.close()
        await http.close()


async def prepared(session: Session, *, http: HttpSender, quic: QuicSender | None) -> float:
    """Create the objects that will be fetched, then measure the floor in ms; none of this is in the frame."""
    at_once = asyncio.Semaphore(UPLOADS_AT_ONCE)

    async def place(steps: tuple[Message, ...]) -> None:
        async with at_once:
            for message in steps:
                await _must(http if quic is None or not message.tunnel else quic, message)

    wanted = preparations(session.scenario, session.schedule, run=session.run, identified=session.identified)
    try:
        async with asyncio.timeout(PREPARE_S):
            await asyncio.gather(*(place(steps) for steps in wanted))
            return float(np.median([await _floor_ms(http) for _ in range(FLOOR_REQUESTS)]))
    except (*UNREACHABLE, TimeoutError) as error:
        said = session.options.headers.hide(_one_line(error))
        raise RunnerError(f"preparing {http.base_url} failed: {said}") from None


def driver_of(session: Session, *, http: HttpSender, quic: QuicSender | None) -> Driver:
    """Return a driver with all its messages."""
    ready = messages(
        session.scenario,
        session.schedule,
        run=session.run,
        start_time_ms=session.start_time_ms,
        identified=session.identified,
        rows=session.rows,
    )
    options = session.options
    return Driver(
        session.scenario, session.schedule, messages=ready, http=http, quic=quic, client=session.client,
        caps=options.caps, abort=options.abort, rows=session.rows,
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
        async with opened(session) as (http, quic):
            floor_ms_p50 = await prepared(session, http=http, quic=quic)
            driver = driver_of(session, http=http, quic=quic)
            interrupted.add_done_callback(lambda _: driver.stop("Ctrl-C"))
            found = await played(session, driver, floor_ms_p50=floor_ms_p50)
        return with_tunnel(found, quic)

    return main


async def _must(sender: HttpSender | QuicSender, message: Message) -> None:
    answer = await sender.send(message)
    if outcome_of(message, answer) != "ok":
        raise RunnerError(
            f"{message.method} {message.path} must succeed before the run: "
            f"status {answer.status}, {answer.body_bytes} bytes"
        )


async def _floor_ms(http: HttpSender) -> float:
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


def with_tunnel(found: Played, quic: QuicSender | None) -> Played:
    """Return *found* with the counts of a tunnel that is closed, so that the last heartbeat's answer is in them."""
    if quic is None:
        return found
    counts = {
        "heartbeats": quic.pings,
        "heartbeats_answered": quic.pongs,
        "tunnel_reconnections": quic.reconnections,
    }
    return replace(found, facts=found.facts | counts)


def _one_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
