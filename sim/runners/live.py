"""Play a schedule on a running deployment, over HTTP and the tunnel, in real time.

Around the driver this module does what any careful load test does: check that this host may be loaded, let one process
or several send (:mod:`sim.runners.load.session`, :mod:`sim.runners.load.split`), and afterwards check that the
generator itself was on time.
"""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sim.foundation.errors import UsageError
from sim.results.result import Result
from sim.runners.load.address import Deployment, TunnelAddress
from sim.runners.load.guard import check_host, check_schedule, check_url, is_this_machine
from sim.runners.load.histograms import histograms
from sim.runners.load.loop_thread import run_in_thread
from sim.runners.load.messages import routes_played, socket_routes, tunnelled_routes, uploading_routes
from sim.runners.load.options import LoadOptions
from sim.runners.load.s3_target import UploadTerms, check_s3, upload_terms
from sim.runners.load.self_check import self_check
from sim.runners.load.session import Played, Session, new_run, whole
from sim.runners.load.split import play_split, rows_of
from sim.runners.load.stations import live_stations
from sim.runners.load.upload_rates import rate_notes, upload_rates
from sim.scenario.routes import SIZE

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario
    from sim.scenario.schedule import Schedule


def play(
    scenario: "Scenario",
    schedule: "Schedule",
    *,
    seed: int,
    url: str,
    tunnel: TunnelAddress | None = None,
    on: str | None = None,
    progress: bool = False,
    options: LoadOptions | None = None,
    processes: int = 1,
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
    options : LoadOptions, optional
        Hosts that may be loaded, hard limits, headers, connections.
    processes : int
        Processes of this machine that share the sending.

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
    options = options or LoadOptions()
    deployment = Deployment(url.rstrip("/"), tunnel)
    check(scenario, schedule, to=deployment, options=options)
    rows_of(schedule, processes)
    name = on or deployment.http
    run, start_time_ms = new_run()
    session = Session(
        scenario,
        schedule,
        deployment,
        seed=seed,
        options=options,
        run=run,
        start_time_ms=start_time_ms,
        title=f"{scenario.name} on {name}" if progress else "",
    )
    played = run_in_thread(whole(session)) if processes == 1 else play_split(session, processes)
    is_here = is_this_machine(urlsplit(deployment.http).hostname or "")
    return _result(scenario, played, on=name, seed=seed, hdr=options.hdr, uploads=session.stored, is_here=is_here)


def check(scenario: "Scenario", schedule: "Schedule", *, to: Deployment, options: LoadOptions) -> None:
    """Refuse everything that can be refused before the first packet.

    Raises
    ------
    UsageError
        See :func:`play`; also a header whose environment variable is not set.
    """
    played = routes_played(schedule)
    for route in sorted(played - scenario.routes.keys()):
        raise UsageError(f"route={route!r} must be one of {', '.join(scenario.routes)}")
    tunnelled = sorted(tunnelled_routes(scenario) & played)
    for route in tunnelled:
        if SIZE in (scenario.request(route).body, scenario.request(route).answer):
            rule = "must not move size_bytes through a tunnel, whose frames hold text"
            raise UsageError(f'routes.{route}.request {rule} (enter = "network", or a JSON body)')
    check_url(to.http, allow_hosts=options.allow_hosts)
    if options.http3 and not to.http.startswith("https://"):
        raise UsageError(f"http3 needs https://HOST, not {to.http!r}: it has no form without TLS")
    check_schedule(schedule, caps=options.caps, uploading=uploading_routes(scenario))
    if options.s3 is not None:
        terms = {name: one for name, one in upload_terms(scenario).items() if name in played}
        check_s3(options.s3, terms, allow_hosts=options.allow_hosts)
    _check_sessions(scenario, socket_routes(scenario) & played, options)
    options.headers.values()
    if to.tunnel is not None:
        check_host(to.tunnel.host, allow_hosts=options.allow_hosts)
        return
    for route in tunnelled:
        raise UsageError(f"route {route} needs a tunnel, which {to.http} does not have (set routes.{route}.share = 0)")


def _check_sessions(scenario: "Scenario", routes: Collection[str], options: LoadOptions) -> None:
    """Refuse more WebSocket sessions than requests may be in flight: each is an open file, too."""
    sessions = {name: socket.sessions for name in routes if (socket := scenario.routes[name].socket) is not None}
    if sum(sessions.values()) > options.caps.in_flight:
        most = max(sessions, key=lambda name: sessions[name])
        rule = f"must be <= {options.caps.in_flight} for a live run, all routes together"
        raise UsageError(f"routes.{most}.socket.sessions={sessions[most]} {rule} (lower it, or raise --max-in-flight)")


def _result(
    scenario: "Scenario",
    played: Played,
    *,
    on: str,
    seed: int,
    hdr: bool,
    uploads: Mapping[str, UploadTerms],
    is_here: bool,
) -> Result:
    """Check the generator, and return the Result."""
    tape = played.tape
    frame = tape.frame()
    check = self_check(
        tape,
        floor_ms_p50=played.floor_ms_p50,
        cpu_ratio=played.cpu_ratio,
        in_flight_requests=played.in_flight_peak,
        throttled_requests=played.throttled_requests,
        retry_after_s_max=played.retry_after_s_max,
    )
    reasons = check.reasons(is_here=is_here)
    stopped = played.stopped_because
    early = [] if stopped is None else [f"stopped early ({stopped}): {check.summary()}"]
    generator = check.as_dict() | played.facts | played.counts | {"stopped_because": stopped}
    if hdr:
        generator["hdr"] = histograms(frame)
    rates = upload_rates(frame[frame["arrival_ms"] >= tape.schedule.warm_up_ms], uploads)
    if uploads:
        generator["s3_upload_mb_per_s"] = rates
    end_ms = (frame["arrival_ms"] + frame["latency_ms"].fillna(0.0)).max()
    return Result(
        scenario=scenario,
        on=on,
        seed=seed,
        frame=frame,
        stations=live_stations(frame, scenario),
        duration_s=0.0 if frame.empty else float(end_ms) / 1000,
        warm_up_ms=tape.schedule.warm_up_ms,
        interrupted=stopped is not None,
        valid=not reasons,
        notes=(*early, *reasons, *_of_sessions(generator), *rate_notes(rates)),
        generator=generator,
    )


def _of_sessions(generator: Mapping[str, Any]) -> list[str]:
    """Return a note on WebSocket sessions, where some were refused or ended early."""
    refused, ended = (generator.get(f"socket_{what}") or {} for what in ("refused", "ended_early"))
    said = [
        f"{sum(counts.values())} {what} ({', '.join(f'{n} by {word} {name}' for name, n in counts.items())})"
        for counts, what, word in ((refused, "handshakes refused", "status"), (ended, "ended early", "code"))
        if counts
    ]
    return [f"WebSocket sessions: {generator['socket_sessions']} opened, {', '.join(said)}"] if said else []
