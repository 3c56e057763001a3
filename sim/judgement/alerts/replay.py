"""What Prometheus would do with samples of the deployment's counters: rates over ranges, rules, alerts that fire.

A replay of our own, so that a backtest of hundreds of incidents takes seconds and a notebook needs no other program.
``promtool test rules`` runs files written from the same samples, and a test compares the firing times: all are equal.

``rate`` takes the first and the last sample of a range (both ends belong to it), adds what counters lost by resets, and
extrapolates to the ends of the range, if a sample is near; not below zero, and by half a mean interval otherwise. A
range with fewer than two samples has no rate, and an alert without a value does not fire. An alert fires once its
condition has held for its ``for``.

Sources
-------
Prometheus, "Query functions" (rate) and "Alerting rules" (states of an alert), version 2.42.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.foundation.errors import UsageError
from sim.judgement.alerts.objectives import Objective
from sim.judgement.alerts.rules import Alert, Rules, SilenceAlert

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

EXTRAPOLATION = 1.1
"""A range is extrapolated to its end if the next sample would be missing by this many mean intervals or less."""


@dataclass(frozen=True)
class Counter:
    """Samples of a counter.

    Attributes
    ----------
    at_s : array, shape (samples,)
        Times, increasing; a failed scrape has none.
    values : array, shape (samples,)
        A value below the one before it is a restart from zero.
    """

    at_s: Array
    values: Array

    def rate(self, until_s: Array, *, range_s: float) -> Array:
        """Return the rate per second over the ranges that end at *until_s*, shape (until_s.size,); NaN without one."""
        first = np.searchsorted(self.at_s, until_s - range_s, side="left")
        last = np.searchsorted(self.at_s, until_s, side="right") - 1
        enough = last > first
        found = np.full(until_s.shape, np.nan)
        found[enough] = self._rate(first[enough], last[enough], until_s[enough], range_s)
        return found

    def _rate(self, first: NDArray[np.int64], last: NDArray[np.int64], until_s: Array, range_s: float) -> Array:
        drops = np.where(np.diff(self.values) < 0, self.values[:-1], 0.0)
        lost = np.concatenate([[0.0], np.cumsum(drops)])
        increase = self.values[last] - self.values[first] + lost[last] - lost[first]
        sampled_s = self.at_s[last] - self.at_s[first]
        interval_s = sampled_s / (last - first)
        before_s, after_s = self.at_s[first] - (until_s - range_s), until_s - self.at_s[last]
        with np.errstate(divide="ignore", invalid="ignore"):
            to_zero_s = np.where(increase > 0, sampled_s * (self.values[first] / increase), np.inf)
        before_s = np.minimum(before_s, to_zero_s)
        near_s = interval_s * EXTRAPOLATION
        whole_s = sampled_s + np.where(before_s < near_s, before_s, interval_s / 2)
        whole_s += np.where(after_s < near_s, after_s, interval_s / 2)
        found: Array = increase * (whole_s / sampled_s / range_s)
        return found


@dataclass(frozen=True)
class Samples:
    """What was scraped of a deployment: all requests, and the good ones of each objective, by its name."""

    total: Counter
    good: Mapping[str, Counter]


@dataclass(frozen=True)
class Firing:
    """When an alert fired.

    Attributes
    ----------
    at_s : array, shape (evaluations,)
    firing : mapping of str to array, shape (evaluations,) each
        By the alert's name, whether it was firing at each evaluation.
    """

    at_s: Array
    firing: Mapping[str, Flags]

    def starts_s(self, name: str) -> Array:
        """Return the times at which an alert began to fire, shape (episodes,)."""
        flags = self.firing[name]
        found: Array = self.at_s[flags & ~np.concatenate([[False], flags[:-1]])]
        return found

    def first_s(self, name: str, *, since_s: float, until_s: float) -> float:
        """Return the first evaluation in [since_s, until_s] at which an alert was firing; infinite if none."""
        found = self.at_s[self.firing[name] & (self.at_s >= since_s) & (self.at_s <= until_s)]
        return float(found[0]) if found.size else np.inf


def replay(rules: Rules, samples: Samples, *, at_s: Array, interval_s: float) -> Firing:
    """Evaluate all rules at *at_s*, which are *interval_s* apart.

    Raises
    ------
    UsageError
        An objective has no samples.
    """
    lacking = [objective.name for objective in rules.objectives if objective.name not in samples.good]
    if lacking:
        raise UsageError(f"samples.good lacks {', '.join(lacking)}; it must hold a counter for every objective")
    requests = {window: samples.total.rate(at_s, range_s=window * 60) for window in rules.request_windows}
    shares = {
        (objective.name, window): _bad_share(objective, window, samples, requests, at_s)
        for objective in rules.objectives
        for window in rules.windows_of(objective)
    }
    held = {alert.name: _condition(alert, requests, shares) for alert in rules.alerts}
    firing = {one.name: _firing(held[one.name], round(one.for_minutes * 60 / interval_s)) for one in rules.alerts}
    return Firing(at_s, firing)


def _bad_share(
    objective: Objective, window: int, samples: Samples, requests: Mapping[int, Array], at_s: Array
) -> Array:
    good = samples.good[objective.name].rate(at_s, range_s=window * 60)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Array = 1 - good / requests[window]
    return found


def _condition(alert: Alert, requests: Mapping[int, Array], shares: Mapping[tuple[str, int], Array]) -> Flags:
    """Return where the condition holds: a comparison with NaN, which is a missing value here, never does."""
    found: Flags
    if isinstance(alert, SilenceAlert):
        found = ~(requests[alert.window_minutes] > 0)
        return found
    windows = alert.windows
    long = shares[alert.objective.name, windows.long_minutes]
    short = shares[alert.objective.name, windows.short_minutes]
    counted = long * requests[windows.long_minutes] * (windows.long_minutes * 60)
    found = (long > alert.threshold) & (short > alert.threshold) & (counted > alert.at_least - 0.5)
    return found


def _firing(held: Flags, patience: int) -> Flags:
    """Return where an alert fires whose condition must have held for *patience* intervals."""
    if not patience:
        return held
    since = np.maximum.accumulate(np.where(held, 0, np.arange(1, held.size + 1)))
    found: Flags = held & (np.arange(held.size) - since >= patience)
    return found
