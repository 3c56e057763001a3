"""Collapse and recovery: the load at which a system collapses by itself, and the lower one at which it recovers.

Retries make load out of failures. So a system can have two stable states at one load: it works, until something pushes
it over (the scenario's faults), and then stays collapsed although that is long over. The loads between the two
thresholds are *metastable*: without the fault nothing is wrong, after it nothing is well again.

Sources
-------
Bronson et al., "Metastable failures in distributed systems", HotOS 2021. With every attempt failing, a client that
retries r times offers (1 + r) times its load, so a station of mu requests/s recovers below mu / (1 + r).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from sim.experiments.capacity import over_seeds
from sim.experiments.replications import spawned_seeds
from sim.foundation.errors import UsageError
from sim.results.metrics import ended, judged
from sim.results.phases import spans_of
from sim.runners.play import play_whole
from sim.scenario.arrivals import Closed
from sim.scenario.generation import schedule

if TYPE_CHECKING:
    from sim.results.result import Result
    from sim.scenario.scenario import Scenario
    from sim.statistics.intervals import Estimate

SEEDS = 5
STEPS = 7
"""Bisections of the range of loads: a range of 1 to 8 is then known to 1.7 %."""

TAIL = 0.25
"""Last part of a run in which it is judged: what holds there is taken to last."""

COLLAPSED = 0.5
"""Share of failed requests beyond which a system has collapsed: in between there is hardly any state."""


@dataclass(frozen=True)
class Trial:
    """One run: its load, whether its faults occurred, and the share of requests that failed in its last part."""

    rate_per_s: float
    seed: int
    faults: bool
    error_share: float


@dataclass(frozen=True)
class Hysteresis:
    """The two thresholds, with intervals over seeds.

    Attributes
    ----------
    scenario : Scenario
    collapse_per_s : Estimate
        On the way up: load from which it fails without any fault.
    recovery_per_s : Estimate
        On the way down: load up to which it recovers after its faults.
    trials : tuple of Trial
        Every run, by load.
    """

    scenario: "Scenario"
    collapse_per_s: "Estimate"
    recovery_per_s: "Estimate"
    trials: tuple[Trial, ...]

    @property
    def metastable(self) -> bool:
        """Whether there are loads at which the system works but does not recover: the intervals are apart."""
        return self.recovery_per_s.high < self.collapse_per_s.low

    def __repr__(self) -> str:
        up, down = self.collapse_per_s.value, self.recovery_per_s.value
        return f"<Hysteresis {self.scenario.name}: collapses at {up:.4g}/s, recovers at {down:.4g}/s>"


def hysteresis(
    scenario: "Scenario", *, low_per_s: float, high_per_s: float, rng: int | None = None, seeds: int = SEEDS
) -> Hysteresis:
    """Search the load at which *scenario* collapses, and the one up to which it recovers from its faults.

    Parameters
    ----------
    scenario : Scenario
        With faults that end before the last quarter of the run.
    low_per_s, high_per_s : float
        It must recover at the one and collapse at the other.
    rng : int or None
        Seed; None takes the scenario's own.
    seeds : int
        Independent searches.

    Raises
    ------
    UsageError
        No faults, or they last too long; a closed loop; a range that does not hold a threshold.
    """
    if not scenario.faults:
        raise UsageError("faults=[] must hold one that pushes the system over, for example a slow database for 10 s")
    if isinstance(scenario.workload.arrivals, Closed):
        raise UsageError("a closed loop has no rate to vary (workload.arrivals.users)")
    if not 0 < low_per_s < high_per_s < float("inf"):
        raise UsageError(f"low_per_s={low_per_s:g} must be > 0 and < high_per_s={high_per_s:g}")
    if seeds < 2:  # an interval needs two
        raise UsageError(f"seeds={seeds} must be >= 2, for an interval")
    trials: list[Trial] = []
    found: dict[bool, list[float]] = {False: [], True: []}
    for seed in spawned_seeds(scenario.seed if rng is None else rng, seeds):
        for faults, thresholds in found.items():
            thresholds.append(_threshold(scenario, (low_per_s, high_per_s), seed=seed, faults=faults, trials=trials))
    ordered = tuple(sorted(trials, key=lambda trial: (trial.faults, trial.rate_per_s)))
    step = (high_per_s / low_per_s) ** (0.5 ** (STEPS + 1))
    up, down = (_widened(over_seeds(found[faults]), step) for faults in (False, True))
    return Hysteresis(scenario, up, down, ordered)


def _widened(found: "Estimate", step: float) -> "Estimate":
    """Add the error of the bisection, a factor of *step* each way, to an interval over seeds."""
    return replace(found, low=found.low / step, high=found.high * step)


def _threshold(
    scenario: "Scenario", ends: tuple[float, float], *, seed: int, faults: bool, trials: list[Trial]
) -> float:
    """Bisect, on the logarithm of the load, for where the system no longer works at the end of a run."""
    for rate, expected in zip(ends, (False, True), strict=True):
        if _collapsed(scenario, rate, seed=seed, faults=faults, trials=trials) != expected:
            bound = "high_per_s" if expected else "low_per_s"
            state = "still works" if expected else "has collapsed"
            raise UsageError(f"{bound}={rate:g}: the system {state} at the end of the run; move this bound")
    low, high = ends
    for _ in range(STEPS):
        middle = sqrt(low * high)
        if _collapsed(scenario, middle, seed=seed, faults=faults, trials=trials):
            high = middle
        else:
            low = middle
    return sqrt(low * high)


def _collapsed(scenario: "Scenario", rate: float, *, seed: int, faults: bool, trials: list[Trial]) -> bool:
    asked = scenario.at_rate(rate) if faults else scenario.vary("faults", []).at_rate(rate)
    share = _failing(play_whole(asked, schedule(asked, seed), on="compiled", seed=seed))
    trials.append(Trial(rate, seed, faults, share))
    return share > COLLAPSED


def _failing(result: "Result") -> float:
    """Return the share of failed requests among those that arrive in the last part of the run."""
    frame = judged(result.frame)
    arrival_ms = frame["arrival_ms"].to_numpy()
    first_ms = (1.0 - TAIL) * arrival_ms[-1]
    over_ms = max((span.end_ms for span in spans_of(result)), default=0.0)
    if over_ms > first_ms:
        end = f"{over_ms / 1000:.4g} s, after {first_ms / 1000:.4g} s"
        raise UsageError(f"faults end at {end}: they must end before the last quarter of the run")
    return float(np.mean(~ended(frame, "ok")[arrival_ms >= first_ms]))


def curve(trials: Sequence[Trial], *, faults: bool) -> tuple[list[float], list[float]]:
    """Return loads and mean shares of failed requests of the runs with, or without, faults; for a figure."""
    mine: dict[float, list[float]] = {}
    for trial in trials:
        if trial.faults == faults:
            mine.setdefault(trial.rate_per_s, []).append(trial.error_share)
    rates = sorted(mine)
    return rates, [float(np.mean(mine[rate])) for rate in rates]
