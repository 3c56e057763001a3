"""Search, with one seed, for the highest rate that meets the targets: up in large steps, then by bisection.

All probes of one seed share their random numbers, so a higher rate is the same requests arriving faster.

Sources
-------
Law, "Simulation Modeling and Analysis", 5th ed., 2015, chapter 11 (common random numbers).
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
"""Arrival processes with stationary increments: a probe may be as short as its rate allows."""


REQUESTS_MIN = 20_000
"""A P99 then has 200 requests beyond it: a relative error of about 5 % for the distributions in use (hazard H60)."""


REQUESTS_MAX = 200_000


PROBE_S = 30.0
"""Simulated seconds after the warm-up: three flush intervals."""


WARM_UP_SHARE = 0.2
"""Share cut from a probe of a scenario that names no warm-up. The initial transient is long: objects that start empty
flush at the same moments until their alarms have drifted apart."""


LADDER_START, LADDER_SPAN = 0.25, 16
"""The ladder starts at the lower of the scenario's rate times LADDER_START and the bound divided by LADDER_SPAN."""


LADDER_STEPS_TO_BOUND, LADDER_STEPS_MAX = 11, 16
"""Each step at least doubles the rate; more, where the bound would otherwise take more steps than this."""


class Search:
    """The search of one seed, with a record of every rate that it probed."""

    def __init__(
        self,
        scenario: "Scenario",
        seed: int,
        *,
        engine: str,
        tolerance_ratio: float,
        screening: Screening | None = None,
        on_progress: Callable[[str], None] | None = None,
    ) -> None:
        self.scenario, self.seed, self.engine, self.tolerance_ratio = scenario, seed, engine, tolerance_ratio
        self.on_progress = on_progress or (lambda _: None)
        self.targets = [line for line in targets_of(scenario) if line.metric != UPTIME]
        self.whole = schedule(scenario, seed)
        if self.whole.user is not None:
            raise UsageError("capacity needs arrivals of an open loop, not kind=closed: its users set the rate")
        self.own_per_s = len(self.whole) / (self.whole.duration_ms / 1000)
        self.screening = screening
        self.seen: dict[float, Probe] = {}

    def probe(self, rate_per_s: float) -> Probe:
        """Simulate the scenario at one rate; a rate probed before is not simulated again."""
        if rate_per_s not in self.seen:
            self.on_progress(f"seed {self.seed} at {rate_per_s:.3g} requests/s")
            self.seen[rate_per_s] = self._probe(rate_per_s)
        return self.seen[rate_per_s]

    def climb(self) -> list[Probe]:
        """Raise the rate step by step until a station is overloaded or every target is missed."""
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
        """Return which targets some probe meets with its whole interval."""
        return tuple(
            any(self._verdict(place, probe) == Verdict.PASS for probe in ladder) for place in range(len(self.targets))
        )

    def bracket(self, ladder: Sequence[Probe], keepable: tuple[bool, ...]) -> tuple[float, float]:
        """Return the highest rate of the ladder that meets the achievable targets, and the next, which does not."""
        good = [place for place, probe in enumerate(ladder) if not self.breaks(probe, keepable)]
        low = ladder[good[-1]].rate_per_s if good else ladder[0].rate_per_s / 2
        high = ladder[good[-1] + 1].rate_per_s if good and good[-1] + 1 < len(ladder) else 2 * low
        return low, high

    def close_in(self, low: float, high: float, *, keepable: tuple[bool, ...]) -> tuple[float, Probe]:
        """Bisect the bracket in log rate; return the midpoint of the final bracket and the lowest probe that breaks."""
        while high / low > 1 + self.tolerance_ratio:
            middle = sqrt(low * high)
            low, high = (low, middle) if self.breaks(self.probe(middle), keepable) else (middle, high)
        return sqrt(low * high), self.probe(high)

    def breaks(self, probe: Probe, keepable: tuple[bool, ...]) -> bool:
        """Whether this rate overloads a station or, by its point estimate, misses an achievable target."""
        return probe.overloaded or any(self.missed(place, probe) for place in np.flatnonzero(keepable).tolist())

    def _verdict(self, place: int, probe: Probe) -> Verdict:
        found = probe.judged[place]
        return Verdict.PASS if found is None else decide(found.low, found.high, line=self.targets[place])

    def missed(self, place: int, probe: Probe) -> bool:
        """Whether the target at *place* is missed, by the probe's point estimate."""
        found = probe.judged[place]
        return found is not None and decide(found.value, found.value, line=self.targets[place]) != Verdict.PASS

    def _probe(self, rate_per_s: float) -> Probe:
        planned = self._planned(rate_per_s)
        result = play_whole(self.scenario, planned, on=self.engine, seed=self.seed)
        start_ms = planned.warm_up_ms or WARM_UP_SHARE * planned.duration_ms
        return probe_of(result, start_ms=start_ms, targets=self.targets, rate_per_s=rate_per_s)

    @cached_property
    def bound_per_s(self) -> float:
        """The upper bound for runs as long as a probe there: a log that grows carries less the longer it runs."""
        bound_per_s = (self.screening or screen(self.scenario)).rate_per_s_max
        if self.scenario.workload.arrivals.kind in STEADY and isfinite(bound_per_s):
            bound_per_s = screen(self.scenario.with_(**self._as_long_as(bound_per_s))).rate_per_s_max
        return bound_per_s

    def _as_long_as(self, rate_per_s: float) -> dict[str, float | None]:
        """Return the changes that give a scenario with stationary arrivals the length of a probe at this rate."""
        judged_s = min(max(PROBE_S, REQUESTS_MIN / rate_per_s), REQUESTS_MAX / rate_per_s)
        return {"workload.duration_s": self.scenario.workload.warm_up_s + judged_s, "workload.requests": None}

    def _planned(self, rate_per_s: float) -> "Schedule":
        """Return a schedule at *rate_per_s*: new arrivals if they are stationary, else the planned ones compressed."""
        if self.scenario.workload.arrivals.kind in STEADY:
            return schedule(self.scenario.at_rate(rate_per_s).with_(**self._as_long_as(rate_per_s)), self.seed)
        return busiest(self.whole, REQUESTS_MAX).scaled(self.own_per_s / rate_per_s)


def busiest(planned: "Schedule", requests: int) -> "Schedule":
    """Return the shortest window of *planned* with this many *requests*; all of it when it holds no more."""
    spare = len(planned) - requests
    if spare <= 0:
        return planned
    span_ms = planned.arrival_ms[requests:] - planned.arrival_ms[:spare]
    first = int(np.argmin(span_ms))
    return planned.window(float(planned.arrival_ms[first]), float(planned.arrival_ms[first + requests]))
