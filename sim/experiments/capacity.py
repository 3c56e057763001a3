"""The most traffic that the deployment carries with its targets kept, and what gives way first.

Picture a dial for the arrival rate. Arithmetic says where its end is (:mod:`sim.screening`): no rate beyond can last.
It is turned up towards that end in large steps until a target breaks; then the breaking point is closed in on. All
probes of one seed share their random numbers, so a higher rate is the same requests coming faster, and the
answer is not blurred by luck; other seeds give other answers, and their spread is the interval.

A target that no probe keeps for certain, however small the load, is not a matter of capacity: it is named apart, and
the rate is the one that keeps all others.

Sources
-------
Law and Kelton, "Simulation Modeling and Analysis", 2015, chapter 11 (common random numbers).
Kleinrock, "Power and deterministic rules of thumb for probabilistic problems in computer communications", ICC 1979
(the knee is where throughput divided by delay is greatest).
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from math import exp, inf, isfinite, sqrt
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit

from sim.errors import UsageError
from sim.judgement.targets import Target, decide, estimate, load_targets
from sim.screening import Screening, screen
from sim.statistics.intervals import Estimate

if TYPE_CHECKING:
    import pandas as pd

    from sim.scenario.scenario import Scenario
    from sim.scenario.schedule import Schedule

STEADY = ("poisson", "constant", "bursty")
"""Kinds of arrivals that look the same at any time, so that a probe may be as short as its rate allows."""

REQUESTS_MIN = 20_000
"""A P99 then rests on 200 requests beyond it: about 5 % of relative error for the laws in use (hazard table 3.0)."""

REQUESTS_MAX = 200_000
PROBE_S = 30.0
"""Three flush intervals, in simulated seconds, after the warm-up."""

WARM_UP_SHARE = 0.2
"""Cut from a probe of a scenario that names no warm-up. An empty start is no small matter: all objects then flush at
the same moments, until their alarms have drifted apart."""

LADDER_START, LADDER_SPAN = 0.25, 16
"""The ladder begins at this share of the scenario's own rate, or so many times below the bound, whichever is lower."""

LADDER_STEPS_TO_BOUND, LADDER_STEPS_MAX = 11, 16
"""Steps are at least doublings; larger, if it would take more than these to come to the bound."""

BRACKET = 1.08
"""Other seeds are first looked for so near the first one's answer."""

OVERLOAD = ("overload",)
"""What limits, when no target does."""

QUEUES = ("tunnel", "workers", "durable_objects", "d1")
"""Stations with a queue, in the order of a request's way."""


@dataclass(frozen=True)
class Probe:
    """What one rate did.

    Attributes
    ----------
    rate_per_s : float
        Mean arrival rate.
    seed, requests : int
    latency_ms_mean : float
        Of answered requests.
    p50, p99 : Estimate
        Of latency in ms, every request that was sent.
    judged : tuple of Estimate or None
        One a target that a model can show, in their order; None when no request met its metric.
    utilization : dict of str to float
        Of each station's busiest instance; 1 and more is overload.
    tail_queue_ms : dict of str to float
        Mean wait at each station, over the slowest 1 % of requests.
    """

    rate_per_s: float
    seed: int
    requests: int
    latency_ms_mean: float
    p50: Estimate
    p99: Estimate
    judged: tuple[Estimate | None, ...]
    utilization: dict[str, float]
    tail_queue_ms: dict[str, float]

    @property
    def overloaded(self) -> bool:
        """Whether some station was offered more than it can do: its queue would grow without end."""
        return max(self.utilization.values(), default=0.0) >= 1.0

    @property
    def bottleneck(self) -> str:
        """The station where the slowest requests wait longest; the busiest one when nobody waits."""
        if max(self.tail_queue_ms.values(), default=0.0) > 0:
            return max(self.tail_queue_ms, key=lambda name: self.tail_queue_ms[name])
        return self.busiest

    @property
    def busiest(self) -> str:
        """The station whose busiest instance works most."""
        return max(self.utilization, key=lambda name: self.utilization[name], default="none")


@dataclass(frozen=True)
class Capacity:
    """The answer of the search.

    Attributes
    ----------
    estimate : Estimate
        Highest rate in requests/s, its 95 % interval over the seeds.
    limited_by : tuple of str
        Targets that break first, as ``metric statistic``; ``overload`` when a station does.
    bottleneck : str
        Station that the slowest requests then wait for longest; with ``overload`` the one that is overloaded. It need
        not be the busiest: one server at 80 % is waited for longer than eight at 90 %.
    kept : tuple of str
        Targets that the rate keeps.
    missed : tuple of str
        Targets that no probe kept for certain, whatever the load.
    knee_per_s : float
        Rate with the greatest throughput over mean latency among the probes.
    probes : tuple of Probe
        Those of the first seed, by rate.
    bound_per_s : float
        What no load can exceed for long, by arithmetic alone: an approximation.
    """

    estimate: Estimate
    limited_by: tuple[str, ...]
    bottleneck: str
    kept: tuple[str, ...]
    missed: tuple[str, ...]
    knee_per_s: float
    probes: tuple[Probe, ...]
    bound_per_s: float = inf

    @property
    def ends_in_overload(self) -> bool:
        """Whether a station is overloaded before any target is missed."""
        return self.limited_by == OVERLOAD


def capacity(
    scenario: "Scenario",
    *,
    engine: str = "compiled",
    seeds: int = 5,
    tolerance_ratio: float = 0.03,
    screening: Screening | None = None,
    executor: Executor | None = None,
    progress: Callable[[str], None] | None = None,
) -> Capacity:
    """Search the highest rate at which *scenario* keeps its targets.

    Parameters
    ----------
    scenario : Scenario
        With an open loop of arrivals.
    engine : {"compiled", "simpy"}
    seeds : int
        At least 2: the scenario's own seed and the following ones.
    tolerance_ratio : float
        The search ends when the rates that keep and break are this near.
    screening : Screening, optional
        Of *scenario*, if it was asked for already; it tells where the search ends.
    executor : Executor, optional
        Where the further seeds are searched; threads of this process by default, since the compiled engine lets them
        run side by side.
    progress : callable, optional
        Told each probe in a few words.

    Returns
    -------
    Capacity

    Raises
    ------
    UsageError
        The arrivals are a closed loop, *seeds* < 2, or every target is missed at any load.
    """
    if seeds < 2:
        raise UsageError(f"seeds={seeds} must be >= 2: one seed has no interval")
    if not 0 < tolerance_ratio < 1:
        raise UsageError(f"tolerance_ratio={tolerance_ratio:g} must be in (0, 1)")
    search = _Search(
        scenario, scenario.seed, engine=engine, tolerance_ratio=tolerance_ratio, screening=screening, tell=progress
    )
    ladder = search.climb()
    keepable = search.keepable(ladder)
    if not any(keepable):
        raise UsageError("capacity: every target is missed at any load (see `headroom run` for by how much)")
    low, high = search.bracket(ladder, keepable)
    first, broken = search.close_in(low, high, keepable=keepable)
    others = [scenario.seed + step for step in range(1, seeds)]
    again = partial(_search_again, scenario, near=first, keepable=keepable, engine=engine, tolerance=tolerance_ratio)
    with nullcontext(executor) if executor else ThreadPoolExecutor(os.cpu_count()) as workers:
        rates = [first, *workers.map(again, others)]
    return search.answer(rates, broken, keepable=keepable)


def _search_again(
    scenario: "Scenario", seed: int, *, near: float, keepable: tuple[bool, ...], engine: str, tolerance: float
) -> float:
    """The breaking rate of another seed, looked for near the first one's."""
    search = _Search(scenario, seed, engine=engine, tolerance_ratio=tolerance)
    low, high = near / BRACKET, near * BRACKET
    while search.breaks(search.probe(low), keepable):
        low, high = low / BRACKET**2, low
    while not search.breaks(search.probe(high), keepable):
        low, high = high, high * BRACKET**2
    return search.close_in(low, high, keepable=keepable)[0]


class _Search:
    """The dial of one seed, and what each position showed."""

    def __init__(
        self,
        scenario: "Scenario",
        seed: int,
        *,
        engine: str,
        tolerance_ratio: float,
        screening: Screening | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        from sim.scenario.workload import schedule

        self.scenario, self.seed, self.engine, self.tolerance_ratio = scenario, seed, engine, tolerance_ratio
        self.tell = tell or (lambda _: None)
        self.targets = [line for line in load_targets(scenario.targets_path) if line.metric != "uptime_ratio"]
        self.whole = schedule(scenario, seed)
        if self.whole.user is not None:
            raise UsageError("capacity needs arrivals of an open loop, not kind=closed: its users set the rate")
        self.own_per_s = len(self.whole) / (self.whole.duration_ms / 1000)
        self.screening = screening
        self.seen: dict[float, Probe] = {}

    def probe(self, rate_per_s: float) -> Probe:
        """Play the scenario at one rate, once."""
        if rate_per_s not in self.seen:
            self.tell(f"seed {self.seed} at {rate_per_s:.3g} requests/s")
            self.seen[rate_per_s] = self._probe(rate_per_s)
        return self.seen[rate_per_s]

    def climb(self) -> list[Probe]:
        """Turn up to the bound until a station is overloaded, or so much slower that no target can be kept."""
        rate_per_s, step_ratio = self.own_per_s * LADDER_START, 2.0
        if isfinite(self.bound_per_s):
            rate_per_s = min(rate_per_s, self.bound_per_s / LADDER_SPAN)
            step_ratio = max(2.0, (self.bound_per_s / rate_per_s) ** (1 / LADDER_STEPS_TO_BOUND))
        ladder: list[Probe] = []
        for step in range(LADDER_STEPS_MAX):
            ladder.append(self.probe(rate_per_s * step_ratio**step))
            beyond = [self._verdict(place, ladder[-1]) != "PASS" for place in range(len(self.targets))]
            if ladder[-1].overloaded or (step > 1 and all(beyond)):
                break
        return ladder

    def keepable(self, ladder: Sequence[Probe]) -> tuple[bool, ...]:
        """Which targets some rate keeps, with its whole interval."""
        return tuple(
            any(self._verdict(place, probe) == "PASS" for probe in ladder) for place in range(len(self.targets))
        )

    def bracket(self, ladder: Sequence[Probe], keepable: tuple[bool, ...]) -> tuple[float, float]:
        """The highest rate of the ladder that keeps the keepable targets, and the next, which does not."""
        good = [place for place, probe in enumerate(ladder) if not self.breaks(probe, keepable)]
        low = ladder[good[-1]].rate_per_s if good else ladder[0].rate_per_s / 2
        high = ladder[good[-1] + 1].rate_per_s if good and good[-1] + 1 < len(ladder) else 2 * low
        return low, high

    def close_in(self, low: float, high: float, *, keepable: tuple[bool, ...]) -> tuple[float, Probe]:
        """Halve the bracket on the logarithm; the middle of what is left, and the lowest probe that breaks."""
        while high / low > 1 + self.tolerance_ratio:
            middle = sqrt(low * high)
            low, high = (low, middle) if self.breaks(self.probe(middle), keepable) else (middle, high)
        return sqrt(low * high), self.probe(high)

    def breaks(self, probe: Probe, keepable: tuple[bool, ...]) -> bool:
        """Whether this rate overloads a station or, by its estimate, misses a target that can be kept."""
        return probe.overloaded or any(self._missed(place, probe) for place in np.flatnonzero(keepable).tolist())

    def answer(self, rates: Sequence[float], broken: Probe, *, keepable: tuple[bool, ...]) -> Capacity:
        """Put the seeds together."""
        names = [f"{line.metric} {line.statistic}" for line in self.targets]
        first = tuple(names[place] for place in np.flatnonzero(keepable) if self._missed(int(place), broken))
        probes = tuple(self.seen[rate] for rate in sorted(self.seen))
        return Capacity(
            _over_seeds(rates),
            first or OVERLOAD,
            broken.bottleneck if first else broken.busiest,
            tuple(name for name, can in zip(names, keepable, strict=True) if can),
            tuple(name for name, can in zip(names, keepable, strict=True) if not can),
            max(probes, key=lambda probe: probe.rate_per_s / probe.latency_ms_mean).rate_per_s,
            probes,
            self.bound_per_s,
        )

    def _verdict(self, place: int, probe: Probe) -> str:
        found = probe.judged[place]
        return "PASS" if found is None else decide(found.low, found.high, line=self.targets[place])

    def _missed(self, place: int, probe: Probe) -> bool:
        found = probe.judged[place]
        return found is not None and decide(found.value, found.value, line=self.targets[place]) != "PASS"

    def _probe(self, rate_per_s: float) -> Probe:
        from sim.runners.play import play_whole

        planned = self._planned(rate_per_s)
        result = play_whole(self.scenario, planned, on=self.engine, seed=self.seed)
        start_ms = planned.warm_up_ms or WARM_UP_SHARE * planned.duration_ms
        frame = result.frame[result.frame["arrival_ms"] >= start_ms]
        return _probe_of(frame, result.stations, self.targets, rate_per_s=rate_per_s, seed=self.seed)

    @cached_property
    def bound_per_s(self) -> float:
        """The bound for runs as long as a probe at the bound is: a log that grows bears less the longer it grows."""
        bound_per_s = (self.screening or screen(self.scenario)).rate_per_s_max
        if self.scenario.workload.arrivals.kind in STEADY and isfinite(bound_per_s):
            bound_per_s = screen(self.scenario.with_(**self._as_long_as(bound_per_s))).rate_per_s_max
        return bound_per_s

    def _as_long_as(self, rate_per_s: float) -> dict[str, float | None]:
        """Changes that make the scenario as long as a probe is at this rate, where arrivals look alike at any time."""
        judged_s = min(max(PROBE_S, REQUESTS_MIN / rate_per_s), REQUESTS_MAX / rate_per_s)
        return {"workload.duration_s": self.scenario.workload.warm_up_s + judged_s, "workload.requests": None}

    def _planned(self, rate_per_s: float) -> "Schedule":
        """A schedule at *rate_per_s*: new arrivals where they look alike at any time, else the plan compressed."""
        from sim.scenario.workload import schedule

        if self.scenario.workload.arrivals.kind in STEADY:
            return schedule(self.scenario.at_rate(rate_per_s).with_(**self._as_long_as(rate_per_s)), self.seed)
        return busiest(self.whole, REQUESTS_MAX).scaled(self.own_per_s / rate_per_s)


def _over_seeds(rates: Sequence[float]) -> Estimate:
    """Geometric mean of the seeds' rates, with Student's interval on the logarithm."""
    logs, n = np.log(rates), len(rates)
    centre, half = float(logs.mean()), float(stdtrit(n - 1, 0.975) * logs.std(ddof=1) / sqrt(n))
    return Estimate(exp(centre), exp(centre - half), exp(centre + half), n, f"{n} seeds, t on logarithms")


def busiest(planned: "Schedule", requests: int) -> "Schedule":
    """The stretch of *planned* in which so many requests come fastest; all of it when it holds no more."""
    spare = len(planned) - requests
    if spare <= 0:
        return planned
    span_ms = planned.arrival_ms[requests:] - planned.arrival_ms[:spare]
    first = int(np.argmin(span_ms))
    return planned.window(float(planned.arrival_ms[first]), float(planned.arrival_ms[first + requests]))


def _probe_of(
    frame: "pd.DataFrame", stations: "pd.DataFrame", targets: Sequence[Target], *, rate_per_s: float, seed: int
) -> Probe:
    p50, p99 = (estimate([frame], "api_latency_ms", statistic=name) for name in ("p50", "p99"))
    assert p50 is not None
    assert p99 is not None
    tail = frame[frame["latency_ms"] >= np.quantile(frame["latency_ms"], 0.99)]
    return Probe(
        rate_per_s,
        seed,
        len(frame),
        float(frame["latency_ms"].mean()),
        p50,
        p99,
        tuple(estimate([frame], line.metric, statistic=line.statistic) for line in targets),
        dict(zip(stations["station"], stations["utilization_busiest"].astype(float), strict=True)),
        {name: float(tail[f"{name}_queue_ms"].mean()) for name in QUEUES},
    )
