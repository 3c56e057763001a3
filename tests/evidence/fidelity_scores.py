"""What predictions of the real runtime are scored by: goals, and predicted beside measured for each load."""

from dataclasses import dataclass, field

import numpy as np

from sim.experiments.calibration.laws import Interval

LOADS = (0.25, 0.5, 0.75, 0.9, 1.25)
"""Of what the runtime could do at first; the first is calibrated on, the last is beyond saturation."""
SATURATING_CONNECTIONS = 64
"""Of the run beyond saturation: with thousands, the runtime would be busy with them instead."""
STATISTICS = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
GOALS = {"throughput": 0.10, "p50": 0.15, "p99": 0.30}
"""Largest errors that were promised before anything was measured: throughput at saturation, latency at GOAL_LOADS."""
GOAL_LOADS = (0.5, 0.75)
COVERAGE_GOAL = 0.9
"""Share of measured values that the predicted intervals, which are to hold nine in ten, should hold."""
QQ = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
"""Quantiles that the page's table has; those that are recorded are more."""
QQ_RECORDED = tuple(sorted({*QQ, *(round(0.01 * number, 2) for number in range(1, 100, 2)), 0.995}))


@dataclass
class Score:
    """Predicted and measured, at one load.

    Attributes
    ----------
    load : float
        Of what the runtime could do at first.
    rate_per_s : float
    predicted : dict of str to Interval
        By statistic: median, 5 % and 95 % of the simulated runs.
    measured : dict of str to list
        By statistic, a value for each run; ``throughput`` and ``utilization`` too.
    driver_ok : list of bool
        Whether the load generator passed its own check, for each run.
    qq_ms : dict of str to list
        Quantiles of latency at QQ_RECORDED, median and ends: ``predicted``, ``predicted_low``, ``predicted_high`` of
        the simulated runs (5 % to 95 %), ``measured``, ``measured_low``, ``measured_high`` of the runs (least to most).
    """

    load: float
    rate_per_s: float
    predicted: dict[str, Interval] = field(default_factory=dict)
    measured: dict[str, list[float]] = field(default_factory=dict)
    driver_ok: list[bool] = field(default_factory=list)
    qq_ms: dict[str, list[float]] = field(default_factory=dict)

    @property
    def late_runs(self) -> int:
        """Runs that did not pass the driver's own check."""
        return self.driver_ok.count(False)

    @property
    def cpu_ms(self) -> float:
        """Processor time of the runtime for a request, median of the runs."""
        used = np.asarray(self.measured["utilization"]) / np.asarray(self.measured["throughput"])
        return 1000 * float(np.median(used))

    def error(self, name: str) -> float:
        """Predicted over the median of what was measured, less 1."""
        return self.predicted[name].value / float(np.median(self.measured[name])) - 1

    def covered(self, name: str) -> list[bool]:
        """Whether each measured value lies in the predicted interval."""
        interval = self.predicted[name]
        return [interval.low <= value <= interval.high for value in self.measured[name]]


@dataclass
class Service:
    """In which order the object serves, from bursts.

    Attributes
    ----------
    newest_first : bool
    requests_max : int or None
        Most requests of a turn.
    intake_ms : float
        Of each further request, before those that wait are served.
    misfit_ms, all_at_once_ms : float
        Mean distance of the bursts' latencies from those measured: with this order, and if a turn served all that wait.
    """

    newest_first: bool
    requests_max: int | None
    intake_ms: float
    misfit_ms: float
    all_at_once_ms: float


@dataclass
class Scores:
    """All loads, with what the model was made of."""

    floor_ms: dict[str, float]
    capacity_per_s: Interval
    lone_ms: Interval
    further_ms: Interval
    delay_ms_p50: float
    delay_slope_ms: Interval
    pause_every_requests: Interval
    pause_ms_p50: float
    pauses_are_regular: bool
    flush_row_us: float
    rate_per_s: float
    saturation_per_s: list[float]
    scores: list[Score]
    service: Service | None = None

    @property
    def held_out(self) -> list[Score]:
        """Loads below saturation that nothing was calibrated on."""
        return [score for score in self.scores if LOADS[0] < score.load < 1]

    @property
    def saturation_error(self) -> float:
        """Predicted throughput at saturation over the median of what was measured, less 1."""
        return self.capacity_per_s.value / float(np.median(self.saturation_per_s)) - 1

    def coverage(self, name: str | None = None) -> tuple[int, int]:
        """Count the measured values of held-out loads that their predicted interval holds, and all of them."""
        names = STATISTICS if name is None else (name,)
        flags = [flag for score in self.held_out for one in names for flag in score.covered(one)]
        return sum(flags), len(flags)
