"""What a fault did: the requests before, during and after each of its windows, and the time until all is well again.

A window's *before* is the time since the last window ended (or the warm-up), its *after* the time until the next one
starts (or the run ends). Requests belong to the phase in which they arrived. Over replications each statistic has an
interval; random windows differ from run to run, so they are listed as one row for all of them.

*Well* means that the failed requests, and those slower than the latency target, are together at most what its
percentile allows, and chance may add in one interval (binomial, one in a thousand); recovery is the start of the first
interval from which this holds until the next window.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from sim.flow import settled
from sim.results.metrics import LATENCY, ended, estimate_of, judged, metric_values, probability
from sim.statistics.intervals import Estimate, mean_interval

if TYPE_CHECKING:
    import pandas as pd

    from sim.results.result import Result
    from sim.scenario.scenario import Scenario

PHASES = ("before", "during", "after")

REQUESTS_PER_BIN = 100
"""Requests in one interval of the search for the recovery: enough for a P99."""

CHANCE = 1e-3
"""Probability with which an interval in which all is well is taken for one in which it is not."""

BIN_S_MIN = 1.0
"""Shortest interval: recovery is not known more precisely."""


@dataclass(frozen=True)
class Span:
    """One window of one fault in one run."""

    number: int
    name: str
    start_ms: float
    end_ms: float


@dataclass(frozen=True)
class Phase:
    """The requests of one phase of one fault.

    Attributes
    ----------
    fault : str
        ``d1 outage``.
    phase : {"before", "during", "after"}
    requests : int
        Of all replications.
    error_share : Estimate or None
    p99_ms : Estimate or None
        Latency, failures as infinitely slow.
    """

    fault: str
    phase: str
    requests: int
    error_share: Estimate | None
    p99_ms: Estimate | None


@dataclass(frozen=True)
class Recovery:
    """The time from the end of a fault until the targets hold again.

    Attributes
    ----------
    fault : str
    time_s : Estimate or None
        Mean over the windows in which they did hold again before the next window or the end; None if in none.
    windows, recovered_windows : int
        Of all replications; a window that another fault follows at once, or outlasts, is not counted.
    line : str
        What has to hold: ``P99 <= 200 ms``.
    missed_before : bool
        Whether it did not hold before the fault either: then there is nothing to recover to.
    """

    fault: str
    time_s: Estimate | None
    windows: int
    recovered_windows: int
    line: str
    missed_before: bool = False


def spans_of(result: "Result") -> list[Span]:
    """Return the windows of all faults in a run, by their start; random ones as the run's seed has drawn them."""
    found = []
    for number, one in enumerate(result.scenario.injected):
        windows = settled(one.windows, result.seed)
        found += [Span(number, f"{one.name} {one.fault.kind}", *span) for span in windows.spans]
    return sorted(found, key=lambda span: (span.start_ms, span.number))


def phases(results: "Sequence[Result]") -> tuple[Phase, ...]:
    """Return the requests before, during and after each fault.

    Parameters
    ----------
    results : sequence of Result
        A run or replications of it.

    Returns
    -------
    tuple of Phase
        Three for each fault, one for each of its phases that has a request; empty for a scenario without faults.
    """
    found = []
    cut = [_cut(result) for result in results]
    for number, name in _faults(results[0].scenario):
        for phase in PHASES:
            frames = [parts[number, phase] for parts in cut if len(parts.get((number, phase), ()))]
            if frames:
                found.append(_phase(name, phase, frames, results[0].scenario))
    return tuple(found)


def recoveries(results: "Sequence[Result]", *, statistic: str, limit_ms: float) -> tuple[Recovery, ...]:
    """Return how long each fault's effects last after it has ended.

    Parameters
    ----------
    results : sequence of Result
    statistic : str
        Percentile of the latency that has to hold again: ``p99``.
    limit_ms : float
        Its target.
    """
    all_s: dict[int, list[list[float]]] = {}
    allowed = 1.0 - probability(statistic)
    missed = _missed_before(results, allowed=allowed, limit_ms=limit_ms)
    for result in results:
        mine = _recovery_s(result, allowed=allowed, limit_ms=limit_ms)
        for number, _ in _faults(result.scenario):
            all_s.setdefault(number, []).append(mine.get(number, []))
    found = []
    for number, name in _faults(results[0].scenario):
        runs = all_s[number]
        if not any(runs):
            continue
        times = [[time for time in run if time < inf] for run in runs]
        held = [run for run in times if run]
        found.append(
            Recovery(
                name,
                mean_interval([float(np.mean(run)) for run in held], method="independent") if held else None,
                windows=sum(map(len, runs)),
                recovered_windows=sum(map(len, times)),
                line=f"{statistic.upper()} <= {limit_ms:g} ms",
                missed_before=number in missed,
            )
        )
    return tuple(found)


def _faults(scenario: "Scenario") -> Iterator[tuple[int, str]]:
    return ((number, f"{one.name} {one.fault.kind}") for number, one in enumerate(scenario.injected))


def _neighbours(result: "Result") -> Iterator[tuple[Span, float, float]]:
    """Yield each window with the end of the fault before it and the start of the one after it, in ms."""
    spans, last_ms = spans_of(result), result.frame["arrival_ms"].max() + 1.0
    for span in spans:
        others = [other for other in spans if other is not span]
        before = [other.end_ms for other in others if other.end_ms <= span.start_ms]
        after = [other.start_ms for other in others if other.start_ms >= span.end_ms and other.start_ms > span.start_ms]
        yield span, max([result.warm_up_ms, *before]), min([last_ms, *after])


def _cut(result: "Result") -> "dict[tuple[int, str], pd.DataFrame]":
    """Return the requests of one run by fault and phase."""
    frame = judged(result.frame)
    arrival_ms = frame["arrival_ms"].to_numpy()
    masks: dict[tuple[int, str], NDArray[np.bool_]] = {}
    for span, from_ms, until_ms in _neighbours(result):
        edges = (from_ms, span.start_ms, span.end_ms, until_ms)
        for phase, (start_ms, end_ms) in zip(PHASES, pairwise(edges), strict=True):
            inside = (arrival_ms >= max(start_ms, result.warm_up_ms)) & (arrival_ms < end_ms)
            known = masks.get((span.number, phase))
            masks[span.number, phase] = inside if known is None else known | inside
    return {place: frame[mask] for place, mask in masks.items()}


def _phase(name: str, phase: str, frames: "Sequence[pd.DataFrame]", scenario: "Scenario") -> Phase:
    failed = [(~ended(frame, "ok")).astype(np.float64) for frame in frames]
    return Phase(
        name,
        phase,
        requests=sum(map(len, frames)),
        error_share=estimate_of(failed, statistic="mean"),
        p99_ms=estimate_of([metric_values(frame, LATENCY, scenario=scenario) for frame in frames], statistic="p99"),
    )


def _missed_before(results: "Sequence[Result]", *, allowed: float, limit_ms: float) -> set[int]:
    """Return the faults before which more requests fail or are late than the line and chance allow."""
    found: dict[int, tuple[int, int]] = {}
    for result in results:
        for (number, phase), frame in _cut(result).items():
            if phase == PHASES[0]:
                late, sent = found.get(number, (0, 0))
                found[number] = late + int(_bad(frame, limit_ms).sum()), sent + len(frame)
    return {number for number, (late, sent) in found.items() if late > binom.ppf(1.0 - CHANCE, sent, allowed)}


def _bad(frame: "pd.DataFrame", limit_ms: float) -> "NDArray[np.bool_]":
    """Tell which requests fail or are late, shape (n,)."""
    return np.asarray(~(ended(frame, "ok") & (frame["latency_ms"].to_numpy() <= limit_ms)))


def _recovery_s(result: "Result", *, allowed: float, limit_ms: float) -> dict[int, list[float]]:
    """Return by fault, for each of its windows, the time until the line holds again; infinite if it does not."""
    frame = judged(result.frame).sort_values("arrival_ms")
    arrival_ms = frame["arrival_ms"].to_numpy()
    bad = _bad(frame, limit_ms)
    span_s = max((arrival_ms[-1] - arrival_ms[0]) / 1000, 1e-9)
    bin_ms = 1000 * max(BIN_S_MIN, REQUESTS_PER_BIN * span_s / len(frame))
    found: dict[int, list[float]] = {}
    for span, _, until_ms in _neighbours(result):
        if until_ms - span.end_ms < bin_ms or any(s.start_ms < span.end_ms < s.end_ms for s in spans_of(result)):
            continue  # Another fault follows at once, or is active still: nothing can be said of this one.
        edges = np.arange(span.end_ms, until_ms, bin_ms)
        at = np.searchsorted(arrival_ms, [*edges, until_ms])
        late = np.array([bad[left:right].sum() for left, right in pairwise(at.tolist())])
        kept = (late <= binom.ppf(1.0 - CHANCE, np.diff(at), allowed)) | (np.diff(at) == 0)
        broken = np.flatnonzero(~kept)
        first = int(broken[-1]) + 1 if broken.size else 0
        found.setdefault(span.number, []).append(inf if first == len(kept) else first * bin_ms / 1000)
    return found
