"""Detection and repair apart: what incidents cost before anybody knows of them, and after.

Until an incident is detected nobody can act; from then on its length is a matter of repair. Here the provider repairs,
so that detection shortens nothing by itself: it bounds what another way round the incident could save.

Sources
-------
Trivedi and Bobbio, "Reliability and Availability Engineering", 2017, chapter 9 (availability by the mean times between
failures, to detect and to repair). Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13
(percentile intervals of a ratio of sums).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.experiments.alerting.backtest import Backtest, Trial
from sim.experiments.alerting.probe import OFTEN, PROBES
from sim.statistics.intervals import Estimate

if TYPE_CHECKING:
    from sim.judgement.alerts.rules import Rules

Array = NDArray[np.float64]

RESAMPLES = 2_000


@dataclass(frozen=True)
class DetectionCost:
    """What incidents cost before and after one means detects them.

    Attributes
    ----------
    means : str
        Who detects.
    detections : int
        Incidents that it detected, of *incidents*.
    incidents : int
    mttd_s, mttr_s : float
        Mean time until detection, and from then to the end, over all incidents; undetected ones to their end.
    before : Estimate
        Share of the lost requests that are lost before detection, with a 95 % interval.
    """

    means: str
    detections: int
    incidents: int
    mttd_s: float
    mttr_s: float
    before: Estimate


def detection_costs(rules: "Rules", tried: Backtest) -> tuple[DetectionCost, ...]:
    """Return what incidents cost with the pages, with each probe, with a frequent one, and with that beside the pages.

    Only incidents in which requests fail count: slow ones spend another budget. The draws of the frequent probe are the
    same in every call.
    """
    failing = [trial for trial in tried.trials if not trial.incident.slow]
    pages = tuple(alert for alert in rules.alerts if alert.severity == "page")
    streams = np.random.default_rng(0).spawn(len(failing))
    often = [OFTEN.delay_minutes(one.incident, rng=rng) for one, rng in zip(failing, streams, strict=True)]
    paged = [trial.first_minutes(pages) for trial in failing]
    return (
        _cost("pages", failing, paged),
        *(_cost(probe.name, failing, [trial.probed_minutes[probe.name] for trial in failing]) for probe in PROBES),
        _cost(OFTEN.name, failing, often),
        _cost(f"pages, and {OFTEN.name}", failing, [min(both) for both in zip(paged, often, strict=True)]),
    )


def _cost(means: str, trials: Sequence[Trial], found_minutes: Sequence[float]) -> DetectionCost:
    lengths = np.array([trial.incident.minutes for trial in trials])
    shares = np.array([trial.incident.hit_share for trial in trials])
    found = np.asarray(found_minutes, dtype=float)
    until = np.minimum(found, lengths)
    lost, before = lengths * shares, until * shares
    return DetectionCost(
        means,
        int(np.isfinite(found).sum()),
        len(trials),
        60 * float(until.mean()),
        60 * float((lengths - until).mean()),
        _ratio(before, lost),
    )


def _ratio(parts: Array, wholes: Array) -> Estimate:
    """Return the ratio of two sums over incidents, with a bootstrap interval; its draws are the same in every call."""
    rng = np.random.default_rng(0)
    places = rng.integers(parts.size, size=(RESAMPLES, parts.size))
    drawn = parts[places].sum(axis=1) / wholes[places].sum(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    value = float(parts.sum() / wholes.sum())
    return Estimate(value, min(float(low), value), max(float(high), value), parts.size, "bootstrap over incidents")
