"""What is scraped of a deployment, minute by minute: counters of all and of good requests, quiet or during an incident.

Requests arrive by Poisson with a daily wave. While nothing is wrong, each objective spends a share of its budget on
requests that are bad by chance, independently of each other: an assumption, and the best case for an alert, since bad
requests that come in bursts look like incidents.

Sources
-------
The wave: :class:`sim.scenario.arrivals.Diurnal` (von Mises). Budget in quiet: ``rules.QUIET_SHARE``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.experiments.alerting.incidents import SimulatedIncident
from sim.judgement.alerts.objectives import Objective
from sim.judgement.alerts.replay import Counter, Samples
from sim.judgement.alerts.rule_file import INTERVAL_S
from sim.judgement.alerts.rules import QUIET_SHARE
from sim.results.metrics import UPTIME
from sim.scenario.arrivals import Diurnal

Array = NDArray[np.float64]

BEFORE_MINUTES = 4_320
"""Quiet before an incident: the longest window is full."""

AFTER_MINUTES = 60
"""Watched after its end."""

COUNTED_BEFORE = 1_000_000
"""What every counter holds at first: the deployment did not start just now."""


@dataclass(frozen=True)
class Wave:
    """A day of traffic."""

    mean_per_s: float
    peak_factor: float

    def requests(self, minutes: Array, *, phase_share: float = 0.0) -> Array:
        """Return the expected requests of each minute, shape (minutes.size,); the peak is *phase_share* of a day on."""
        wave = Diurnal(mean_rate_per_s=self.mean_per_s, peak_factor=self.peak_factor)
        angles = 2 * np.pi * (minutes / 1_440 - phase_share)
        found: Array = self.mean_per_s * self.peak_factor * 60 * np.exp(wave.concentration * (np.cos(angles) - 1))
        return found

    def fewest(self, window_minutes: int) -> float:
        """Return the expected requests of a window when it has the fewest."""
        whole, rest = divmod(window_minutes, 1_440)
        day = self.requests(np.arange(2 * 1_440.0))
        sums = np.concatenate([[0.0], np.cumsum(day)])
        return float(whole * sums[1_440] + (sums[rest : rest + 1_440] - sums[:1_440]).min())


@dataclass(frozen=True)
class Scraped:
    """Samples of a stretch of time, and when its incident began and ended (infinite without one)."""

    samples: Samples
    at_s: Array
    begin_s: float = np.inf
    end_s: float = np.inf


def quiet(objectives: tuple[Objective, ...], wave: Wave, *, minutes: int, rng: np.random.Generator) -> Scraped:
    """Return *minutes* in which nothing is wrong, after as many as the longest window needs."""
    clock = np.arange(1.0, BEFORE_MINUTES + minutes + 1)
    arrivals = rng.poisson(wave.requests(clock, phase_share=rng.uniform()))
    bad = {one.name: np.full(clock.size, QUIET_SHARE * float(one.budget)) for one in objectives}
    return _scraped(clock, arrivals, bad, kept=np.ones(clock.size + 1, dtype=np.bool_), rng=rng)


def during(
    incident: SimulatedIncident,
    objectives: tuple[Objective, ...],
    *,
    wave: Wave,
    rng: np.random.Generator,
    before_minutes: int = BEFORE_MINUTES,
) -> Scraped:
    """Return an incident with the quiet before it and an hour after it.

    Where requests do not reach the Worker, they are not counted, and scrapes, which come the same way, fail as often.
    """
    begin_s = before_minutes * 60 + incident.offset_s
    end_s = begin_s + incident.minutes * 60
    clock = np.arange(1.0, np.ceil(end_s / 60) + AFTER_MINUTES + 1)
    inside = np.clip(np.minimum(clock * 60, end_s) - np.maximum(clock * 60 - 60, begin_s), 0, 60) / 60
    hit = incident.hit_share * inside
    # The wave is shifted so that the incident starts at its time of day.
    expected = wave.requests(clock, phase_share=before_minutes / 1_440 - incident.phase_share)
    arrivals = rng.poisson(expected if incident.counted else expected * (1 - hit))
    bad = {}
    for one in objectives:
        hurt = incident.counted and incident.slow == (one.target.metric != UPTIME)
        usual = QUIET_SHARE * float(one.budget)
        bad[one.name] = usual + (1 - usual) * hit if hurt else np.full(clock.size, usual)
    lost = np.zeros(clock.size) if incident.counted else hit
    kept = np.concatenate([[True], rng.uniform(size=clock.size) >= lost])
    made = _scraped(clock, arrivals, bad, kept=kept, rng=rng)
    return Scraped(made.samples, made.at_s, begin_s, end_s)


def _scraped(
    clock: Array,
    arrivals: NDArray[np.int64],
    bad: dict[str, Array],
    *,
    kept: NDArray[np.bool_],
    rng: np.random.Generator,
) -> Scraped:
    at_s = np.concatenate([[0.0], clock]) * INTERVAL_S
    good = {name: arrivals - rng.binomial(arrivals, shares) for name, shares in bad.items()}

    def counter(numbers: NDArray[np.int64]) -> Counter:
        values = COUNTED_BEFORE + np.concatenate([[0], np.cumsum(numbers)])
        return Counter(at_s[kept], values[kept].astype(np.float64))

    return Scraped(Samples(counter(arrivals), {name: counter(numbers) for name, numbers in good.items()}), at_s)
