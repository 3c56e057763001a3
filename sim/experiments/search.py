"""What one seed shows of a scenario at any rate: probes, how far each is from its targets, and when the start is over.

All probes of one seed share their random numbers, so a higher rate is the same requests coming faster.

A deployment that starts empty is not the deployment at work: all objects wake at once, and flush at the same moments
for a long time. So a probe of the steady state wakes them one after another (:mod:`sim.experiments.waking`). What it
says is said of what comes after its start, and how long that takes is found, not assumed
(:func:`sim.statistics.warmup.forgotten_after`).

Sources
-------
Law, "Simulation Modeling and Analysis", 5th ed., 2015, chapter 11 (common random numbers).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from math import inf, isfinite, log
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.experiments.long_runs import LongRun, Pilot, Stretch, part_of, pooled, slow_share
from sim.experiments.probe import Probe, probe_of
from sim.experiments.waking import Timers, timers_of
from sim.foundation.errors import UsageError
from sim.judgement.targets import Target, Verdict, decide, targets_of
from sim.results.metrics import UPTIME, metric_values, statistic_of
from sim.runners.play import play_whole
from sim.scenario.generation import schedule
from sim.screening import Screening, screen

if TYPE_CHECKING:
    from sim.results.result import Result
    from sim.scenario.scenario import Scenario
    from sim.scenario.schedule import Schedule

STEADY = ("poisson", "constant", "bursty")
"""Kinds of arrivals that look the same at any time, so that a probe may be as long as it has to be."""

REQUESTS_MIN = 20_000
"""A P99 then rests on 200 requests beyond it: about 5 % of relative error for the distributions in use (hazard H60)."""

REQUESTS_MAX = {"compiled": 3_000_000, "simpy": 200_000}
"""Of one probe; a rate that brings more in the time that is wanted gets less time."""

BUSIEST_REQUESTS_MAX = 200_000
"""Of a plan whose rate changes, the busiest stretch of this many requests is played."""

LADDER_S = 30.0
"""Judged by a probe that only has to show which side of the targets its rate is on, in simulated seconds."""

LADDER_START_S = 120.0
"""Cut before it."""

WARM_UP_SHARE = 0.2
"""Cut from the busiest stretch of a plan that names no warm-up."""

LADDER_START, LADDER_SPAN = 0.25, 16
"""The ladder begins at this share of the scenario's own rate, or below the bound by this factor, whichever is lower."""

LADDER_STEPS_TO_BOUND, LADDER_STEPS_MAX = 11, 16
"""Steps are at least doublings; larger, if it would take more than these to come to the bound."""

BEYOND = 1.05
"""Times the bound: the last step of the ladder, where a station is overloaded unless arithmetic errs."""

GAP_MAX = log(4.0)
"""A statistic four times beyond its target says no more than that it is far beyond: a failed request is infinite."""

OFFERED_WEIGHT = 10.0
"""Of the log of the offered ratio beside those of the targets: it decides at overload, and is far below them before."""

WAKING_SHARE = 0.25
"""Of a probe at most, while its objects wake: the rest is to be played at the full rate."""


class Search:
    """The scenario at any rate, with one seed.

    Parameters
    ----------
    scenario : Scenario
        With an open loop of arrivals.
    seed : int
    engine : {"compiled", "simpy"}
    screening : Screening, optional
        Of *scenario*, if it was asked for already.
    on_progress : callable, optional
        Given each probe in a few words.

    Attributes
    ----------
    near_per_s : float or None
        A rate near the answer, once it is known: there objects wake at their own moments, and at another rate while the
        same requests come, so that all probes leave the same ones out.
    """

    def __init__(
        self,
        scenario: "Scenario",
        seed: int,
        *,
        engine: str,
        screening: Screening | None = None,
        on_progress: Callable[[str], None] | None = None,
    ) -> None:
        self.scenario, self.seed, self.engine = scenario, seed, engine
        self.on_progress = on_progress or (lambda _: None)
        self.targets = [line for line in targets_of(scenario) if line.metric != UPTIME]
        self.keepable = (True,) * len(self.targets)
        self.screening = screening
        self.near_per_s: float | None = None
        self.seen: dict[tuple[float, Stretch], Probe] = {}

    @cached_property
    def whole(self) -> "Schedule":
        """The scenario's own schedule."""
        planned = schedule(self.scenario, self.seed)
        if planned.user is not None:
            raise UsageError("capacity needs arrivals of an open loop, not kind=closed: its users set the rate")
        return planned

    @cached_property
    def own_per_s(self) -> float:
        """The scenario's own mean arrival rate."""
        return len(self.whole) / (self.whole.duration_ms / 1000)

    @property
    def is_steady(self) -> bool:
        """Whether arrivals look the same at any time, so that there is a steady state."""
        return self.scenario.workload.arrivals.kind in STEADY

    @cached_property
    def timers(self) -> Timers:
        """What a probe of the steady state wakes in turn."""
        return timers_of(self.scenario)

    @property
    def ladder(self) -> Stretch:
        """What a probe of the ladder plays."""
        return Stretch(max(LADDER_START_S, self.scenario.workload.warm_up_s), LADDER_S)

    @property
    def longer(self) -> Stretch:
        """What a probe near the answer plays: twice as much."""
        return Stretch(2 * self.ladder.cut_s, 2 * self.ladder.judged_s)

    def probe(self, rate_per_s: float, stretch: Stretch) -> Probe:
        """Play the scenario at one rate, once."""
        key = (rate_per_s, stretch)
        if key not in self.seen:
            result, cut_ms = self._play(rate_per_s, stretch)
            self.seen[key] = probe_of(result, start_ms=cut_ms, targets=self.targets, rate_per_s=rate_per_s)
        return self.seen[key]

    def gap(self, rate_per_s: float, stretch: Stretch) -> float:
        """Return how far the worst keepable target, or station, is beyond its line: a logarithm, negative within."""
        result, cut_ms = self._play(rate_per_s, stretch)
        return self._gap(result, cut_ms)

    def gap_of(self, probe: Probe) -> float:
        """Return the same of a probe that was played."""
        values = [None if found is None else found.value for found in probe.judged]
        return self._worst(values, probe.offered_ratio)

    def pilot(self, rate_per_s: float, length_s: float, *, sections: int) -> Pilot:
        """Play one long run; return the share of slow requests in each of its sections, and its second half."""
        stretch = Stretch(0.0, length_s).within(REQUESTS_MAX[self.engine], rate_per_s)
        result, _ = self._play(rate_per_s, stretch, at_work=True)
        length_ms = stretch.length_s * 1000
        return Pilot(slow_share(result.frame, length_ms, bins=sections), self._long_run(result, length_ms / 2))

    def long_run(self, rate_per_s: float, stretch: Stretch, *, start_s: float) -> LongRun:
        """Play one long run; keep what it says of the targets after its cut, and in its first *start_s*."""
        result, cut_ms = self._play(rate_per_s, stretch)
        start_ms = start_s * cut_ms / stretch.cut_s
        start_log_ratio = None if self.timers.by_route else self._gap(result, 0.0, start_ms)
        return self._long_run(result, cut_ms, start_log_ratio=start_log_ratio)

    def _long_run(self, result: "Result", cut_ms: float, *, start_log_ratio: float | None = None) -> LongRun:
        samples = tuple(
            part_of(sample, line.statistic) if len(sample) else None
            for line, sample in zip(self.targets, self._samples(result, cut_ms), strict=True)
        )
        return LongRun(samples, max(result.offered_ratio.values(), default=0.0), start_log_ratio)

    def gap_of_runs(self, runs: Sequence[LongRun]) -> float:
        """Return how far the worst keepable target, or station, is beyond its line in all *runs* together.

        What the long run does is the percentile of all requests, not the mean of the runs' percentiles, nor that of
        their logarithms: a run of some busy spells more or fewer is further from its mean than they are likely.
        """
        values: list[float | None] = []
        for line, of_runs in zip(self.targets, zip(*(run.samples for run in runs), strict=True), strict=True):
            parts = [part for part in of_runs if part is not None]
            values.append(pooled(parts, line.statistic) if parts else None)
        return self._worst(values, float(np.mean([run.offered_ratio for run in runs])))

    def climb(self) -> list[Probe]:
        """Turn up to the bound until a station is overloaded, or so much slower that no target can be kept."""
        rate_per_s, step_ratio = self.own_per_s * LADDER_START, 2.0
        if isfinite(self.bound_per_s):
            rate_per_s = min(rate_per_s, self.bound_per_s / LADDER_SPAN)
            step_ratio = max(2.0, (self.bound_per_s / rate_per_s) ** (1 / LADDER_STEPS_TO_BOUND))
        ladder: list[Probe] = []
        for step in range(LADDER_STEPS_MAX):
            ladder.append(self.probe(min(rate_per_s * step_ratio**step, BEYOND * self.bound_per_s), self.ladder))
            beyond = [self.verdict(place, ladder[-1]) != Verdict.PASS for place in range(len(self.targets))]
            topped = ladder[-1].rate_per_s >= BEYOND * self.bound_per_s
            if topped or ladder[-1].overloaded or (step > 1 and all(beyond)):
                break
        return ladder

    def kept_by_any(self, ladder: Sequence[Probe]) -> tuple[bool, ...]:
        """Return which targets some rate keeps, with its whole interval."""
        return tuple(
            any(self.verdict(place, probe) == Verdict.PASS for probe in ladder) for place in range(len(self.targets))
        )

    def first_to_break(self, probe: Probe) -> list[int]:
        """Return the places of the keepable targets that *probe* misses, or nearly; none when it is overloaded."""
        gaps = {
            place: _beyond(found.value, line)
            for place, (found, line) in enumerate(zip(probe.judged, self.targets, strict=True))
            if found is not None and self.keepable[place]
        }
        worst = self.gap_of(probe)
        return [place for place, gap in gaps.items() if gap > 0 or gap == worst]

    def verdict(self, place: int, probe: Probe) -> Verdict:
        """Return the verdict of one target; PASS where no request has its metric."""
        found = probe.judged[place]
        return Verdict.PASS if found is None else decide(found.low, found.high, line=self.targets[place])

    def _gap(self, result: "Result", cut_ms: float, end_ms: float = inf) -> float:
        values = [
            statistic_of(sample, line.statistic) if len(sample) else None
            for line, sample in zip(self.targets, self._samples(result, cut_ms, end_ms), strict=True)
        ]
        return self._worst(values, max(result.offered_ratio.values(), default=0.0))

    def _samples(self, result: "Result", cut_ms: float, end_ms: float = inf) -> list[NDArray[np.float64]]:
        """Return the values of each target between two moments of arrival; none of one that is not kept."""
        first, last = np.searchsorted(result.frame["arrival_ms"].to_numpy(), [cut_ms, end_ms])
        frame = result.frame.iloc[int(first) : int(last)]
        return [
            metric_values(line.select(frame), line.metric, scenario=self.scenario) if can else np.zeros(0)
            for line, can in zip(self.targets, self.keepable, strict=True)
        ]

    def _worst(self, values: Sequence[float | None], offered_ratio: float) -> float:
        beyond = [OFFERED_WEIGHT * _bounded(offered_ratio)]
        for line, value, can in zip(self.targets, values, self.keepable, strict=True):
            if can and value is not None:
                beyond.append(_beyond(value, line))
        return max(beyond)

    def _play(self, rate_per_s: float, stretch: Stretch, *, at_work: bool = False) -> "tuple[Result, float]":
        """Play one probe; return the result, and the time up to which it is cut."""
        self.on_progress(f"seed {self.seed} at {rate_per_s:.3g} requests/s")
        if not self.is_steady:
            planned = busiest(self.whole, BUSIEST_REQUESTS_MAX).scaled(self.own_per_s / rate_per_s)
            cut_ms = planned.warm_up_ms or WARM_UP_SHARE * planned.duration_ms
            return self._offered(play_whole(self.scenario, planned, on=self.engine, seed=self.seed), planned), cut_ms
        shortened = self._long_enough(rate_per_s, stretch)
        length = {"workload.duration_s": shortened.length_s, "workload.requests": None, "workload.warm_up_s": 0.0}
        planned = schedule(self.scenario.at_rate(rate_per_s).with_(**length), self.seed)
        played = self._awake(planned, rate_per_s) if at_work or stretch.cut_s else planned
        result = play_whole(self.scenario, played, on=self.engine, seed=self.seed)
        # What was left out while objects woke is not to make a station look less busy than it is.
        left_out = self.timers.left_out(planned, played) if played is not planned else {}
        offered_ratio = {name: left_out.get(name, 1.0) * ratio for name, ratio in result.offered_ratio.items()}
        return self._offered(replace(result, offered_ratio=offered_ratio), planned), shortened.cut_s * 1000

    def _offered(self, result: "Result", planned: "Schedule") -> "Result":
        """Say of objects whose turns are shared how near they are to their bound: they are never free long before."""
        if not self._bounds_of_turns:
            return result
        rate_per_s = len(planned) / (planned.duration_ms / 1000)
        shared = {name: rate_per_s / bound_per_s for name, bound_per_s in self._bounds_of_turns.items()}
        return replace(result, offered_ratio={**result.offered_ratio, **shared})

    @cached_property
    def _bounds_of_turns(self) -> dict[str, float]:
        """The rate that saturates each station whose turns are shared."""
        instances = self.scenario.system.instances
        shared = {name for name, one in instances.items() if getattr(one.table, "coalesced_ms", None) is not None}
        return {row.station: row.rate_per_s_max for row in self._screened.rows if row.station in shared}

    def _awake(self, planned: "Schedule", rate_per_s: float) -> "Schedule":
        """Wake the objects one after another."""
        if not self.timers.by_route:
            return planned
        most = WAKING_SHARE * planned.duration_ms / self.timers.window_ms
        stretched = min((self.near_per_s or rate_per_s) / rate_per_s, most)
        return self.timers.woken_in_turn(planned, seed=self.seed, stretched=stretched)

    def _long_enough(self, rate_per_s: float, stretch: Stretch) -> Stretch:
        """Give slow arrivals the time that they take to be enough, and fast ones no more than is allowed."""
        if stretch.cut_s:
            stretch = Stretch(stretch.cut_s, max(stretch.judged_s, REQUESTS_MIN / rate_per_s))
        return stretch.within(REQUESTS_MAX[self.engine], rate_per_s)

    @property
    def bound_per_s(self) -> float:
        """The rate that no load can exceed for long, by arithmetic."""
        return self._screened.rate_per_s_max

    @cached_property
    def _screened(self) -> Screening:
        """The screening of runs as long as a probe at the bound: a growing log sustains less the longer it grows."""
        seen = self.screening or screen(self.scenario)
        if not self.is_steady or not isfinite(seen.rate_per_s_max):
            return seen
        length_s = self._long_enough(seen.rate_per_s_max, self.ladder).length_s
        changes = {"workload.duration_s": length_s, "workload.requests": None, "workload.warm_up_s": 0.0}
        return screen(self.scenario.with_(**changes))


def _beyond(value: float, line: Target) -> float:
    """Return how far *value* is on the bad side of *line*, as a logarithm within :data:`GAP_MAX`."""
    if line.direction == "below":
        return _bounded(value / line.target)
    return _bounded(line.target / value if value > 0 else np.inf)


def _bounded(ratio: float) -> float:
    if not ratio > 0:
        return -GAP_MAX
    return min(max(log(ratio), -GAP_MAX), GAP_MAX) if isfinite(ratio) else GAP_MAX


def busiest(planned: "Schedule", requests: int) -> "Schedule":
    """Return the shortest stretch of *planned* with this many requests; all of it if it holds no more."""
    spare = len(planned) - requests
    if spare <= 0:
        return planned
    span_ms = planned.arrival_ms[requests:] - planned.arrival_ms[:spare]
    first = int(np.argmin(span_ms))
    return planned.window(float(planned.arrival_ms[first]), float(planned.arrival_ms[first + requests]))
