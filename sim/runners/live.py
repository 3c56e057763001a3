"""Play a schedule on a running deployment, over HTTP and the tunnel, in real time.

Around the driver this module does what any careful load test does: check that this host may be loaded, create the
objects that requests need, measure the latency floor, handle Ctrl-C, and afterwards check that the generator itself was
on time.
"""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import numpy as np
from tqdm.auto import tqdm

from sim.foundation.errors import RunnerError, UsageError
from sim.randomness.streams import stream_key
from sim.results.result import Result
from sim.runners.load.address import Deployment, TunnelAddress
from sim.runners.load.driver import Client, Driver
from sim.runners.load.guard import AbortRule, Caps, check_host, check_schedule, check_url, is_this_machine
from sim.runners.load.histograms import histograms
from sim.runners.load.http_sender import HttpSender
from sim.runners.load.loop_thread import run_in_thread
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
    uploading_routes,
)
from sim.runners.load.quic_sender import QuicSender
from sim.runners.load.self_check import self_check
from sim.runners.load.stations import live_stations
from sim.scenario.routes import SIZE

if TYPE_CHECKING:
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


def play(
    scenario: "Scenario",
    schedule: "Schedule",
    *,
    seed: int,
    url: str,
    tunnel: TunnelAddress | None = None,
    on: str | None = None,
    progress: bool = False,
    allow_hosts: tuple[str, ...] = (),
    caps: Caps | None = None,
    abort: AbortRule | None = None,
    hdr: bool = False,
) -> Result:
    """Play *schedule* on the deployment at *url*.

    Parameters
    ----------
    scenario : Scenario
        Provides the client's timeout and retries.
    schedule : Schedule
        n requests; an open loop, or a closed one with users.
    seed : int
        Seed of the upload bytes; recorded with the result.
    url : str
        ``http://HOST:PORT`` or ``https://HOST``.
    tunnel : TunnelAddress, optional
        Address of the QUIC tunnel; without it, a route that enters through a tunnel cannot be played.
    on : str, optional
        Name of the deployment in the result; its address by default.
    progress : bool
        Show a bar on standard error, unless it is piped.
    allow_hosts : tuple of str
        Hosts other than this machine that may be loaded.
    caps, abort
        Hard limits, and when to stop early; see :mod:`sim.runners.load.guard`.
    hdr : bool
        Add encoded histograms to ``Result.generator``.

    Returns
    -------
    Result
        Requests never reached are not in the frame. ``skipped`` rows have no latency; ``aborted`` ones have the time
        that they had waited. ``valid`` is False when the generator was late or saturated.

    Raises
    ------
    UsageError
        A host that may not be loaded, a schedule beyond the caps, a route that the deployment cannot serve.
    RunnerError
        The deployment does not answer, or cannot be prepared.
    """
    caps, abort = caps or Caps(), abort or AbortRule()
    deployment = Deployment(url.rstrip("/"), tunnel)
    _check(scenario, schedule, deployment, allow_hosts=allow_hosts, caps=caps)
    ours = is_this_machine(urlsplit(deployment.http).hostname or "")
    name = on or deployment.http
    settings = scenario.system.client
    client = Client(
        settings.timeout_ms,
        retries=settings.retries,
        backoff_ms=settings.backoff_ms,
        jitter=stream_key(seed, "client.attempt") if settings.jitter else None,
        budget_ratio=settings.budget_ratio,
        budget_retries_max=int(settings.burst),
    )

    async def main(interrupted: "asyncio.Future[None]") -> _Played:
        tunnelled = bool(tunnelled_routes(scenario) & routes_played(schedule))
        async with _senders(deployment, tunnelled=tunnelled, seed=seed, caps=caps) as (http, quic):
            floor_ms_p50 = await _prepare(http, quic, preparations(scenario, schedule, run=_run(), identified=ours))
            with _bar(f"{scenario.name} on {name}", len(schedule), shown=progress) as bar:
                driver = Driver(
                    scenario, schedule, messages=_messages(scenario, schedule, identified=ours), http=http, quic=quic,
                    client=client, caps=caps, abort=abort, on_end=bar.update,
                )  # fmt: skip
                interrupted.add_done_callback(lambda _: driver.stop("Ctrl-C"))
                with _quiet_collector():
                    started = datetime.now(UTC)
                    clock = _Clock.now()
                    await driver.play()
                    took = _Clock.now() - clock
        facts = {"started_utc": started.isoformat(timespec="seconds"), **_tunnel_counts(quic)}
        return _Played(driver, floor_ms_p50, took, facts)

    return _result(scenario, run_in_thread(main), on=name, seed=seed, hdr=hdr)


@dataclass(frozen=True)
class _Clock:
    """Wall and processor time of this process, in seconds."""

    wall_s: float
    cpu_s: float

    @classmethod
    def now(cls) -> "_Clock":
        return cls(time.perf_counter(), time.process_time())

    def __sub__(self, earlier: "_Clock") -> "_Clock":
        return _Clock(self.wall_s - earlier.wall_s, self.cpu_s - earlier.cpu_s)


@dataclass(frozen=True)
class _Played:
    """The raw data of one run."""

    driver: Driver
    floor_ms_p50: float
    took: _Clock
    facts: dict[str, Any]


def _check(
    scenario: "Scenario",
    schedule: "Schedule",
    deployment: Deployment,
    *,
    allow_hosts: tuple[str, ...],
    caps: Caps,
) -> None:
    """Refuse everything that can be refused before the first packet."""
    played = routes_played(schedule)
    for route in sorted(played - scenario.routes.keys()):
        raise UsageError(f"route={route!r} must be one of {', '.join(scenario.routes)}")
    tunnelled = sorted(tunnelled_routes(scenario) & played)
    for route in tunnelled:
        if SIZE in (scenario.request(route).body, scenario.request(route).answer):
            rule = "must not move size_bytes through a tunnel, whose frames hold text"
            raise UsageError(f'routes.{route}.request {rule} (enter = "network", or a JSON body)')
    check_url(deployment.http, allow_hosts=allow_hosts)
    check_schedule(schedule, caps=caps, uploading=uploading_routes(scenario))
    if deployment.tunnel is not None:
        check_host(deployment.tunnel.host, allow_hosts=allow_hosts)
        return
    for route in tunnelled:
        raise UsageError(
            f"route {route} needs a tunnel, which {deployment.http} does not have (set routes.{route}.share = 0)"
        )


@asynccontextmanager
async def _senders(
    deployment: Deployment, *, tunnelled: bool, seed: int, caps: Caps
) -> AsyncIterator[tuple[HttpSender, QuicSender | None]]:
    """Yield open senders, and close them in any case."""
    http = HttpSender(deployment.http, connections_max=caps.in_flight, block=upload_block(seed))
    quic = QuicSender(deployment.tunnel) if tunnelled and deployment.tunnel is not None else None
    try:
        try:
            async with asyncio.timeout(PREPARE_S):
                await http.open(warm_connections=WARM_CONNECTIONS)
                if quic is not None:
                    await quic.open()
        except (*UNREACHABLE, TimeoutError) as error:
            raise RunnerError(
                f"{deployment.http} does not answer: {_one_line(error)} (is it running? headroom serve)"
            ) from None
        yield http, quic
    finally:
        if quic is not None:
            await quic.close()
        await http.close()


async def _prepare(http: HttpSender, quic: QuicSender | None, wanted: list[tuple[Message, ...]]) -> float:
    """Create the objects that will be fetched, then measure the floor in ms; none of this is in the frame."""
    at_once = asyncio.Semaphore(UPLOADS_AT_ONCE)

    async def place(steps: tuple[Message, ...]) -> None:
        async with at_once:
            for message in steps:
                await _must(http if quic is None or not message.tunnel else quic, message)

    try:
        async with asyncio.timeout(PREPARE_S):
            await asyncio.gather(*(place(steps) for steps in wanted))
            return float(np.median([await _floor_ms(http) for _ in range(FLOOR_REQUESTS)]))
    except (*UNREACHABLE, TimeoutError) as error:
        raise RunnerError(f"preparing {http.base_url} failed: {_one_line(error)}") from None


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


def _messages(scenario: "Scenario", schedule: "Schedule", *, identified: bool) -> list[Message]:
    return messages(scenario, schedule, run=_run(), start_time_ms=time.time() * 1000, identified=identified)


def _run() -> str:
    """Return a unique name for this run; the scenario's name may hold characters that an event's id must not."""
    return f"run-{time.time() * 1000:.0f}"


@contextmanager
def _quiet_collector() -> Iterator[None]:
    """Freeze the prepared messages for the garbage collector: scanning 100,000 of them takes 20 ms."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _bar(title: str, total: int, *, shown: bool) -> Any:
    """Return a progress bar; ``disable=None`` hides tqdm's bar when standard error is piped."""
    return tqdm(total=total, desc=title, unit="request", leave=False, disable=None if shown else True)


def _tunnel_counts(quic: QuicSender | None) -> dict[str, int]:
    if quic is None:
        return {}
    return {
        "heartbeats": quic.pings,
        "heartbeats_answered": quic.pongs,
        "tunnel_reconnections": quic.reconnections,
    }


def _result(scenario: "Scenario", played: _Played, *, on: str, seed: int, hdr: bool) -> Result:
    """Check the generator, and return the Result."""
    driver = played.driver
    frame = driver.tape.frame()
    check = self_check(
        driver.tape,
        floor_ms_p50=played.floor_ms_p50,
        cpu_ratio=played.took.cpu_s / max(played.took.wall_s, 1e-9),
        in_flight_requests=driver.in_flight_peak,
    )
    reasons = check.reasons()
    stopped = driver.stopped_because
    early = [] if stopped is None else [f"stopped early ({stopped}): {check.summary()}"]
    generator = check.as_dict() | played.facts | {"stopped_because": stopped}
    if hdr:
        generator["hdr"] = histograms(frame)
    end_ms = (frame["arrival_ms"] + frame["latency_ms"].fillna(0.0)).max()
    return Result(
        scenario=scenario,
        on=on,
        seed=seed,
        frame=frame,
        stations=live_stations(frame, scenario),
        duration_s=0.0 if frame.empty else float(end_ms) / 1000,
        warm_up_ms=driver.schedule.warm_up_ms,
        interrupted=stopped is not None,
        valid=not reasons,
        notes=(*early, *reasons),
        generator=generator,
    )


def _one_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
