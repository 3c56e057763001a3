"""The search of one seed for the highest rate that keeps the targets: up in large steps, then closing in.

All probes of one seed share their random numbers, so a higher rate is the same requests coming faster.

Sources
-------
Distribution and Kelton, "Simulation Modeling and Analysis", 2015, chapter 11 (common random numbers).
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from math import isfinite, sqrt
from typing import TYPE_CHECKING

import numpy as np

from sim.errors import UsageError
from sim.experiments.probe import Probe, probe_of
from sim.judgement.targets import Verdict, decide, targets_of
from sim.results.metrics import UPTIME
from sim.runners.play import play_whole
from sim.scenario.generation import schedule
from sim.screening import Screening, screen

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario
    from sim.scenario.schedule import Schedule

STEADY = ("poisson", "constant", "bursty")
"""Kinds of arrivals that look the same at any time, so that a probe may be as short as its rate allows."""


REQUESTS_MIN = 20_000
"""A P99 then rests on 200 requests beyond it: about 5 % of relative error for the distributions in use (hazard H60)."""


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


class Search:
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
        self.scenario, self.seed, self.engine, self.tolerance_ratio = scenario, seed, engine, tolerance_ratio
        self.tell = tell or (lambda _: None)
        self.targets = [line for line in targets_of(scenario) if line.metric != UPTIME]
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
            beyond = [self._verdict(place, ladder[-1]) != Verdict.PASS for place in range(len(self.targets))]
            if ladder[-1].overloaded or (step > 1 and all(beyond)):
                break
        return ladder

    def keepable(self, ladder: Sequence[Probe]) -> tuple[bool, ...]:
        """Which targets some rate keeps, with its whole interval."""
        return tuple(
            any(self._verdict(place, probe) == Verdict.PASS for probe in ladder) for place in range(len(self.targets))
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
        return probe.overloaded or any(self.missed(place, probe) for place in np.flatnonzero(keepable).tolist())

    def _verdict(self, place: int, probe: Probe) -> Verdict:
        found = probe.judged[place]
        return Verdict.PASS if found is None else decide(found.low, found.high, line=self.targets[place])

    def missed(self, place: int, probe: Probe) -> bool:
        """Whether the target at *place* is missed, by the probe's estimate."""
        found = probe.judged[place]
        return found is not None and decide(found.value, found.value, line=self.targets[place]) != Verdict.PASS

    def _probe(self, rate_per_s: float) -> Probe:
        planned = self._planned(rate_per_s)
        result = play_whole(self.scenario, planned, on=self.engine, seed=self.seed)
        start_ms = planned.warm_up_ms or WARM_UP_SHARE * planned.duration_ms
        return probe_of(result, start_ms=start_ms, targets=self.targets, rate_per_s=rate_per_s)

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
        if self.scenario.workload.arrivals.kind in STEADY:
            return schedule(self.scenario.at_rate(rate_per_s).with_(**self._as_long_as(rate_per_s)), self.seed)
        return busiest(self.whole, REQUESTS_MAX).scaled(self.own_per_s / rate_per_s)


def busiest(planned: "Schedule", requests: int) -> "Schedule":
    """The stretch of *planned* in which so many requests come fastest; all of it when it holds no more."""
    spare = len(planned) - requests
    if spare <= 0:
        return planned
    span_ms = planned.arrival_ms[requests:] - planned.arrival_ms[:spare]
    first = int(np.argmin(span_ms))
    return planned.window(float(planned.arrival_ms[first]), float(planned.arrival_ms[first + requests]))
