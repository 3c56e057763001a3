"""Estimate availability from the platform's incident record and the run's own failures.

A route is up when every service that it depends on is up, so their availabilities multiply. A request fails because of
the platform when its route is down, and because of the deployment when the run itself fails it (timeouts, overload).
The record is short: two incidents in two and a half years do not prove 99.99 %, and the interval shows it. Both the
failure rate of a service and the length of its outages are uncertain; a service without an incident on record has an
unknown rate, not rate zero.

Sources
-------
Incidents and their window: facts of the scenario's platform file (``incidents``, ``uptime_derived.window_days``).
An incident without a stated share of failing requests is taken as total. Jeffreys, "Theory of Probability", 3rd
ed., 1961 (k incidents give the rate a gamma distribution of shape k + 1/2). Trivedi and Bobbio, "Reliability and
Availability Engineering", 2017, chapter 3 (serial components: availabilities multiply).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, inf, isfinite, prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, gammaincinv, ndtr, ndtri

from sim.foundation.errors import ScenarioError, UsageError
from sim.foundation.views import Shown
from sim.judgement.targets import Target, Verdict, decide
from sim.models.component import Operation
from sim.randomness.streams import stream_key, uniforms
from sim.results.metrics import ended, judged
from sim.scenario.routes import Step
from sim.statistics.intervals import Estimate, round_up, share_interval

if TYPE_CHECKING:
    from sim.results.result import Result
    from sim.scenario.platform import Platform
    from sim.scenario.scenario import Scenario

Array = NDArray[np.float64]

DRAWS = 4_096
"""Monte Carlo draws: enough for a 2.5 % quantile within 6 % of its distance from the median; the same in every call."""

GAMMA_NODES, GAMMA_Z_MAX = 513, 5.0
"""Beyond five standard deviations lies one draw in 1.7 million."""

GROWTH_MAX = 10_000
"""Growth of the record beyond which a verdict counts as never settled."""

REQUESTS_FACTOR_MAX = 1e9
"""No run grows further."""

SPARE = 1.25
"""Times the record that settles with a run that is known exactly: the requests are asked for beside so much."""

MINUTES_PER_DAY = 1_440
DAYS_PER_YEAR = 365.25


@dataclass(frozen=True)
class Incident:
    """One outage of one service: its minutes, and the share of writes and of reads that failed."""

    service: str
    minutes: int
    write_fraction: float
    read_fraction: float

    def lost_minutes(self, *, reads: bool) -> float:
        """Return the equivalent minutes of full outage for read-only requests, or for others."""
        return self.minutes * (self.read_fraction if reads else self.write_fraction)


@dataclass(frozen=True)
class Record:
    """All incidents of a window of *days*."""

    days: int
    incidents: tuple[Incident, ...]

    def of(self, service: str) -> list[Incident]:
        """Return the incidents of one service."""
        return [incident for incident in self.incidents if incident.service == service]

    def down_ratio(self, service: str, *, reads: bool) -> float:
        """Return the share of the window for which *service* was down."""
        lost_minutes = sum(incident.lost_minutes(reads=reads) for incident in self.of(service))
        return lost_minutes / (self.days * MINUTES_PER_DAY)

    def down_ratio_draws(self, service: str, *, reads: bool, growth: float = 1.0) -> Array:
        """Return draws of the long-run share, shape (DRAWS,), given a record *growth* times as long and alike."""
        own = self.of(service)
        known = own or list(self.incidents)
        mean_minutes = sum(incident.lost_minutes(reads=reads) for incident in known) / max(len(known), 1)
        rate = _gamma_draws(len(own) * growth + 0.5, service, 0) / (self.days * growth)
        repairs = max(len(known), 1) * growth
        longer = repairs / _gamma_draws(repairs, service, 1)
        return np.minimum(1.0, rate * longer * mean_minutes / MINUTES_PER_DAY)


@dataclass(frozen=True)
class Path:
    """The services that a route depends on.

    Attributes
    ----------
    share : float
        Share of the route in the traffic.
    services : mapping of str to float
        By name, the share of the route's requests that need the service.
    reads : bool
        Whether the route is read-only.
    """

    share: float
    services: Mapping[str, float]
    reads: bool

    def up_ratio(self, record: Record) -> float:
        """Return the share of the window in which all services that a request needs are up, by the record."""
        down = (need * record.down_ratio(service, reads=self.reads) for service, need in self.services.items())
        return prod(1 - ratio for ratio in down)

    def up_ratio_draws(self, record: Record, *, growth: float) -> Array:
        """Return draws of that share, shape (DRAWS,), given a record *growth* times as long and alike."""
        up = np.ones(DRAWS)
        for service, need in self.services.items():
            up *= 1 - need * record.down_ratio_draws(service, reads=self.reads, growth=growth)
        return up


@dataclass(frozen=True)
class ServiceRecord:
    """The incident record of one service that some route depends on."""

    service: str
    events: int
    minutes: int
    days: int
    uptime_ratio: float


@dataclass(frozen=True)
class Availability(Shown):
    """The availability of a scenario, weighted by its mix of routes.

    Attributes
    ----------
    estimate : Estimate
        Ratio in [0, 1] with its 95 % interval; n is the number of requests of the run.
    platform_ratio : float
        Availability of the platform, from the record alone.
    failed_ratio : float
        Share of the run's requests that failed.
    services : tuple of ServiceRecord
        Services that routes with traffic depend on, worst first.
    record : Record
    paths : tuple of Path
        One per route with traffic.
    """

    estimate: Estimate
    platform_ratio: float
    failed_ratio: float
    services: tuple[ServiceRecord, ...]
    record: Record
    paths: tuple[Path, ...]

    def __repr__(self) -> str:
        found = self.estimate
        return f"<Availability {found.value:.5f}, 95 % {found.low:.5f} to {found.high:.5f}: {found.method}>"

    def settled_by(self, line: Target) -> str:
        """Return a sentence on the record, and the requests, that would settle the verdict if both went on alike.

        The uptime is a product ``P (1 - f)``: of the platform, known from years of record, and of the run, known from
        requests. Each is asked for what it can settle. The years are those after which P alone decides, with f as
        observed: they do not depend on how many requests were played. The requests are those after which f, too, is
        known well enough beside such a record. Growing both together would be wrong: 0 failures in n requests still
        leave a mean f of 1 / (2 n + 2), so that a short run pushes the uptime down, away from a target, and "settles"
        early what a longer one leaves open.
        """
        growth = self._least(lambda factor: self._settled(line, growth=factor, trials=inf), factor_max=GROWTH_MAX)
        if growth is None:
            return "the estimate stands on the line"
        years, trials = self.record.days / DAYS_PER_YEAR, max(self.estimate.effective_trials, 1)
        spare = growth if growth == 1 else SPARE * growth  # The very record that just settles leaves f no room at all.
        more = self._least(
            lambda factor: self._settled(line, growth=spare, trials=factor * trials), factor_max=REQUESTS_FACTOR_MAX
        )
        needs = [] if growth == 1 else [f"{years * growth:.0f} years of such incidents on record"]
        if more is not None and more > 1:
            needs.append(f"n >= {round_up(ceil(more * self.estimate.n)):,}")
        if not needs:
            return "a few more requests would settle it"
        has = f" (there are {years:.1f})" if growth > 1 else ""
        return f"{' and '.join(needs)} would settle it{has}"

    @staticmethod
    def _least(settled: Callable[[float], bool], *, factor_max: float) -> float | None:
        """Return the least factor, within a tenth and at least 1, that settles; None beyond *factor_max*."""
        if settled(1.0):
            return 1.0
        below, above = 1.0, 2.0
        while not settled(above):
            below, above = above, 4 * above
            if above > factor_max:
                return None
        while above / below > 1.1:
            middle = (below * above) ** 0.5
            below, above = (below, middle) if settled(middle) else (middle, above)
        return above

    def _settled(self, line: Target, *, growth: float, trials: float) -> bool:
        low, high = _interval(self.record, self.paths, self.failed_ratio, trials=trials, growth=growth)
        return decide(low, high, line=line) != Verdict.INCONCLUSIVE


def availability(runs: Sequence["Result"]) -> Availability:
    """Estimate the availability of the scenario that *runs* played.

    Parameters
    ----------
    runs : sequence of Result
        One run, or replications of it, at least one.

    Raises
    ------
    UsageError
        No run.
    ScenarioError
        The platform file has no incident record.
    """
    if not runs:
        raise UsageError("runs=[] must hold at least one result (run the scenario first)")
    scenario = runs[0].scenario
    record = read_record(scenario.facts)
    routes = paths(scenario)
    frames = [run.steady().frame for run in runs]
    failed = share_interval(np.concatenate([~ended(judged(frame), "ok") for frame in frames]))
    platform_ratio = sum(route.share * route.up_ratio(record) for route in routes)
    value = platform_ratio * (1 - failed.value)
    low, high = _interval(record, routes, failed.value, trials=failed.effective_trials)
    method = f"{len(record.incidents)} incidents in {record.days} days, and the run"
    return Availability(
        Estimate(value, min(low, value), max(high, value), failed.n, method, effective_trials=failed.effective_trials),
        float(platform_ratio),
        failed.value,
        _services(record, routes),
        record,
        routes,
    )


def paths(scenario: "Scenario") -> tuple[Path, ...]:
    """List the services that each route with traffic depends on: its entry's, then those of its operations, in order.

    An operation taken by chance is needed by that share of the requests; one in the background by none.
    """
    found = []
    for name, route in scenario.routes.items():
        if not scenario.shares[name]:
            continue
        entry = scenario.system.instances[route.enter].component
        awaited = list(_awaited(scenario, route.steps))
        services = dict.fromkeys(entry.services, 1.0)
        for service in dict.fromkeys(service for operation in awaited for service in operation.services):
            services.setdefault(service, _need(scenario, route.steps, service=service))
        found.append(Path(scenario.shares[name], services, all(operation.reads for operation in awaited)))
    return tuple(found)


def _awaited(scenario: "Scenario", steps: tuple[Step, ...]) -> Iterator[Operation]:
    """Yield every operation that some request waits for."""
    for step in steps:
        if step.spawn or not step.chance:
            continue
        if step.use is None:
            yield from _awaited(scenario, step.steps or ())
        else:
            yield _operation(scenario, step.use)


def _need(scenario: "Scenario", steps: tuple[Step, ...], *, service: str) -> float:
    """Return the share of requests that wait for *service* at least once, with independent chances."""
    spared = 1.0
    for step in steps:
        if step.spawn:
            continue
        if step.use is None:
            inside = _need(scenario, step.steps or (), service=service)
        else:
            inside = float(service in _operation(scenario, step.use).services)
        spared *= 1 - step.chance * inside
    return 1 - spared


def _operation(scenario: "Scenario", use: str) -> Operation:
    where, _, operation = use.partition(".")
    return scenario.system.instances[where].component.operations[operation]


def read_record(platform: "Platform") -> Record:
    """Collect the incidents of a platform file: facts named ``incidents.SERVICE_YYYY_MM_DD.…``.

    Raises
    ------
    ScenarioError
        There are none, or the window's length is missing.
    """
    incidents = []
    names = sorted({key.split(".")[1] for key in platform.facts if key.startswith("incidents.")})
    for name in names:
        named = re.fullmatch(r"(\w+?)_\d{4}_\d\d_\d\d", name)
        minutes = platform.facts.get(f"incidents.{name}.minutes")
        if named is None or minutes is None:
            continue

        def share(part: str, name: str = name) -> float:
            total = platform.facts.get(f"incidents.{name}.failure_fraction")
            fact = platform.facts.get(f"incidents.{name}.failure_fraction_{part}", total)
            return 1.0 if fact is None else float(fact.value)

        incidents.append(Incident(named[1], int(minutes.value), share("writes"), share("reads")))
    if not incidents:
        raise ScenarioError(
            f"{platform.path.name}: no [incidents.SERVICE_YYYY_MM_DD] with minutes (scenarios/README.md)"
        )
    return Record(int(platform.fact("uptime_derived.window_days").value), tuple(incidents))


def _interval(
    record: Record, routes: Sequence[Path], failed_ratio: float, *, trials: float, growth: float = 1.0
) -> tuple[float, float]:
    """Return the 95 % interval of the availability, given a record *growth* times as long and a run of *trials*.

    Infinitely many trials know the failed share exactly.
    """
    up = np.zeros(DRAWS)
    for route in routes:
        up += route.share * route.up_ratio_draws(record, growth=growth)
    if isfinite(trials):
        hits = failed_ratio * trials
        up *= 1 - betaincinv(hits + 0.5, trials - hits + 0.5, _draws("run", 0))
    else:
        up *= 1 - failed_ratio
    low, high = np.quantile(up, [0.025, 0.975])
    return float(low), float(high)


@lru_cache(maxsize=256)
def _gamma_draws(shape: float, service: str, draw: int) -> Array:
    """Draws of a gamma distribution of scale 1, shape (DRAWS,): all routes of a service share them.

    The inverse is computed at GAMMA_NODES shares, evenly spaced in the normal quantile, and its logarithm interpolated:
    within 1e-4 of the exact value.
    """
    z = np.linspace(-GAMMA_Z_MAX, GAMMA_Z_MAX, GAMMA_NODES)
    found: Array = np.exp(np.interp(ndtri(_draws(service, draw)), z, np.log(gammaincinv(shape, ndtr(z)))))
    found.flags.writeable = False
    return found


def _draws(service: str, draw: int) -> Array:
    return uniforms(stream_key(0, f"availability.{service}"), np.arange(DRAWS), draw=draw)


def _services(record: Record, routes: Sequence[Path]) -> tuple[ServiceRecord, ...]:
    """Return one row per service: its uptime over the routes that need it."""
    rows = []
    for service in dict.fromkeys(service for route in routes for service in route.services):
        using = [route for route in routes if service in route.services]
        total = sum(route.share for route in using)
        down = sum(route.share * record.down_ratio(service, reads=route.reads) for route in using) / total
        own = record.of(service)
        minutes = sum(one.minutes for one in own)
        rows.append(ServiceRecord(service, len(own), minutes, record.days, 1 - down))
    return tuple(sorted(rows, key=lambda row: row.uptime_ratio))
