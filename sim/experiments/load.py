"""Load a deployment at any URL, safely: what would be sent is known, bounded and priced before the first packet.

:func:`load_plan` says what :func:`load` would do, and sends nothing. Both refuse the same things in the same words: a
host that nobody allowed, a run beyond its caps, a secret that is not in the environment.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sim.foundation.errors import UsageError
from sim.foundation.views import Shown
from sim.judgement.cost.requests import requests_usd
from sim.randomness.streams import checked_seed
from sim.results.result import Result
from sim.runners import live
from sim.runners.load.abort import AbortRule
from sim.runners.load.address import Deployment, read_ready_file
from sim.runners.load.exports import export
from sim.runners.load.guard import REMOTE_CAPS, Caps, is_this_machine, peak_per_s
from sim.runners.load.messages import preparations, uploading_routes
from sim.runners.load.options import LoadOptions
from sim.runners.load.senders import WARM_CONNECTIONS
from sim.runners.load.session import FLOOR_REQUESTS, new_run
from sim.runners.load.split import rows_of
from sim.runners.play import prepare, refuse_faults
from sim.scenario.generation import schedule

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario
    from sim.scenario.schedule import Schedule

FAILURES_IN_A_ROW = 100
"""A run stops at these unless told otherwise: a deployment that answers nothing any more is not loaded further."""

H3 = "https+h3://"
"""Scheme of a deployment that is loaded over HTTP/3."""

WARM_UP_SHARE = 0.1
"""Warm-up before a run of a given duration, as a share of it, unless another is asked for."""


@dataclass(frozen=True)
class LoadPlan(Shown):
    """What a load run would send.

    Attributes
    ----------
    url : str
    hosts : tuple of str
        All hosts that it would send to, the tunnel's included.
    requests : int
        Of the schedule, warm-up included.
    preparing_requests : int
        Beforehand: to open connections, create stored objects and measure the floor.
    attempts_max : int
        Requests on the wire if every one fails and is retried.
    duration_s, warm_up_s : float
    rate_per_s : float
        Mean.
    peak_per_s : float
        Requests within the busiest second.
    upload_bytes : int
    usd : float
        Estimated cost of all requests without retries, at prices beyond the inclusions.
    usd_max : float
        The same for *attempts_max*.
    unpriced : tuple of str
        Meters that move and have no known price: the cost is then a lower bound.
    headers : tuple of str
        Names; never values.
    processes : int
    s3 : str
        Endpoint and bucket that uploads go to; empty: they go to *url*.
    """

    url: str
    hosts: tuple[str, ...]
    requests: int
    preparing_requests: int
    attempts_max: int
    duration_s: float
    warm_up_s: float
    rate_per_s: float
    peak_per_s: float
    upload_bytes: int
    usd: float
    usd_max: float
    unpriced: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    processes: int = 1
    s3: str = ""

    def __repr__(self) -> str:
        return (
            f"<LoadPlan {self.requests:,} requests in {self.duration_s:g} s to {', '.join(self.hosts)}, "
            f"about {self.usd:.2g} USD>"
        )


@dataclass(frozen=True)
class _Asked:
    """A load run that was checked."""

    scenario: "Scenario"
    schedule: "Schedule"
    to: Deployment
    seed: int
    options: LoadOptions
    plan: LoadPlan


def load(
    scenario: "Scenario | str | Path",
    url: str,
    *,
    options: LoadOptions | None = None,
    rate_per_s: float | None = None,
    duration_s: float | None = None,
    warm_up_s: float | None = None,
    processes: int = 1,
    rng: int | None = None,
    progress: bool = False,
) -> Result:
    """Load the deployment at *url* with the requests of *scenario*.

    Parameters
    ----------
    scenario : Scenario, path, or name of one in ``scenarios/``
        Its routes say what each request is.
    url : str
        ``https://HOST``, ``https+h3://HOST`` for HTTP/3, ``http://127.0.0.1:PORT``, or the file of a ready line
        with its tunnel.
    options : LoadOptions, optional
        By default :func:`default_options`.
    rate_per_s, duration_s : float, optional
        Rate and length of what is judged. Without both, the scenario's live part is played.
    warm_up_s : float, optional
        Played before *duration_s*, at the same rate, and not judged; by default a tenth of it.
    processes : int
        Processes of this machine that share the sending; the record is merged exactly.
    rng : int, optional
        Seed; by default the scenario's.
    progress : bool
        Show rate, requests in flight and errors on standard error, if it is a terminal.

    Returns
    -------
    Result
        ``valid`` is False where the load generator, or a throttling deployment, was the limit.

    Raises
    ------
    UsageError
        Before anything is sent: a host that is not allowed, a run beyond its caps, a secret that is not there.
    RunnerError
        The deployment does not answer.
    """
    asked = _asked(scenario, url, options, rate_per_s, duration_s, warm_up_s, processes=processes, rng=rng)
    return live.play(
        asked.scenario,
        asked.schedule,
        seed=asked.seed,
        url=asked.to.http,
        tunnel=asked.to.tunnel,
        progress=progress,
        options=asked.options,
        processes=processes,
    )


def load_plan(
    scenario: "Scenario | str | Path",
    url: str,
    *,
    options: LoadOptions | None = None,
    rate_per_s: float | None = None,
    duration_s: float | None = None,
    warm_up_s: float | None = None,
    processes: int = 1,
    rng: int | None = None,
) -> LoadPlan:
    """Return what :func:`load` would send with the same arguments; nothing is sent, and no name is looked up.

    Raises
    ------
    UsageError
        As :func:`load`.
    """
    return _asked(scenario, url, options, rate_per_s, duration_s, warm_up_s, processes=processes, rng=rng).plan


def export_load(
    scenario: "Scenario | str | Path",
    url: str,
    *,
    folder: str | Path,
    tool: str,
    options: LoadOptions | None = None,
    rate_per_s: float | None = None,
    duration_s: float | None = None,
    rng: int | None = None,
) -> tuple[Path, ...]:
    """Write what :func:`load` would send, without a warm-up, as a script of k6 or Locust and its data.

    Parameters
    ----------
    scenario, url, options, rate_per_s, duration_s, rng
        As for :func:`load`; the same caps hold.
    folder : path
        Of the script and ``schedule.json``, neither of which may exist.
    tool : {"k6", "locust"}

    Returns
    -------
    tuple of Path
        Script, data.

    Raises
    ------
    UsageError
        As :func:`load`; another tool, a closed loop, or a file that exists.
    """
    warm_up_s = None if rate_per_s is None and duration_s is None else 0.0
    asked = _asked(scenario, url, options, rate_per_s, duration_s, warm_up_s, processes=1, rng=rng)
    if asked.options.http3:
        raise UsageError(f"url={url!r} asks for HTTP/3, which is not exported: neither tool speaks it (https://HOST)")
    return export(
        asked.scenario, asked.schedule, folder=Path(folder), tool=tool, url=asked.to.http, options=asked.options,
        run=new_run()[0],
    )  # fmt: skip


def default_options(url: str) -> LoadOptions:
    """Return the options of a run against *url* that asks for none: tighter caps on any machine but this one."""
    caps = Caps() if is_this_machine(_host(_deployment(url).http)) else REMOTE_CAPS
    return LoadOptions(caps=caps, abort=AbortRule(consecutive_failures=FAILURES_IN_A_ROW))


def _asked(
    scenario: "Scenario | str | Path",
    url: str,
    options: LoadOptions | None,
    rate_per_s: float | None,
    duration_s: float | None,
    warm_up_s: float | None,
    *,
    processes: int,
    rng: int | None,
) -> _Asked:
    to = _deployment(url)
    options = options or default_options(url)
    if url.startswith(H3):
        options = replace(options, http3=True)
    asked = prepare(scenario, rate_per_s=rate_per_s)
    refuse_faults(asked, url)
    seed = asked.seed if rng is None else checked_seed(rng)
    if rate_per_s is None and duration_s is None:
        if warm_up_s is not None:
            raise UsageError(f"warm_up_s={warm_up_s:g} needs duration_s (--duration)")
        planned = schedule(asked, seed).live(asked.workload.live_s, asked.workload.live_rate_max_per_s)
    else:
        asked = _lengthened(asked, duration_s or asked.workload.live_s, warm_up_s)
        planned = schedule(asked, seed)
    live.check(asked, planned, to=to, options=options)
    rows_of(planned, processes)
    plan = _plan(asked, planned, to, options=options, processes=processes)
    if plan.usd_max > options.caps.usd:
        raise UsageError(
            f"usd={plan.usd_max:.2f}, estimated for {plan.attempts_max:,} attempts, must be <= {options.caps.usd:g} "
            "(--max-usd, or fewer requests)"
        )
    return _Asked(asked, planned, to, seed, options, plan)


def _lengthened(scenario: "Scenario", duration_s: float, warm_up_s: float | None) -> "Scenario":
    """Return *scenario* with a warm-up and what is judged after it."""
    if not 0 < duration_s < float("inf"):
        raise UsageError(f"duration_s={duration_s:g} must be > 0 and finite")
    before_s = WARM_UP_SHARE * duration_s if warm_up_s is None else warm_up_s
    if not 0 <= before_s < float("inf"):
        raise UsageError(f"warm_up_s={before_s:g} must be >= 0 and finite")
    length = {"workload.duration_s": before_s + duration_s, "workload.requests": None, "workload.warm_up_s": before_s}
    return scenario.with_(**length)


def _plan(
    scenario: "Scenario", planned: "Schedule", to: Deployment, *, options: LoadOptions, processes: int
) -> LoadPlan:
    ours = is_this_machine(_host(to.http))
    created = sum(len(steps) for steps in preparations(scenario, planned, run="plan", identified=ours))
    before = created + FLOOR_REQUESTS + WARM_CONNECTIONS * (processes if processes == 1 else processes + 1)
    attempts = len(planned) * (scenario.system.client.retries + 1) + before
    usd, unpriced = requests_usd(scenario, len(planned) + before)
    others: tuple[str, ...] = () if to.tunnel is None else (to.tunnel.host,)
    if options.s3 is not None:
        others += (_host(options.s3.endpoint),)
    uploads = uploading_routes(scenario)
    upload_bytes = sum(
        int(planned.size_bytes[planned.route_code == code].sum())
        for code, name in enumerate(planned.routes)
        if name in uploads
    )
    duration_s = planned.duration_ms / 1000
    return LoadPlan(
        url=to.http.replace("https://", H3, 1) if options.http3 else to.http,
        hosts=tuple(dict.fromkeys((_host(to.http), *others))),
        requests=len(planned),
        preparing_requests=before,
        attempts_max=attempts,
        duration_s=duration_s,
        warm_up_s=planned.warm_up_ms / 1000,
        rate_per_s=len(planned) / duration_s if duration_s > 0 else 0.0,
        peak_per_s=peak_per_s(planned),
        upload_bytes=upload_bytes,
        usd=usd,
        usd_max=requests_usd(scenario, attempts)[0],
        unpriced=unpriced,
        headers=tuple(options.headers.given),
        processes=processes,
        s3="" if options.s3 is None else str(options.s3),
    )


def _deployment(url: str) -> Deployment:
    if url.endswith(".json") and "://" not in url:
        return read_ready_file(Path(url))
    return Deployment(url.replace(H3, "https://", 1).rstrip("/") if url.startswith(H3) else url.rstrip("/"))


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
