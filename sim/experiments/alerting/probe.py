"""A health check every few minutes, as the brief has it, against the same incidents.

A probe is one request: it fails with the share of requests that an incident hits, and only while the incident lasts. So
it detects a full outage after half its interval on average, misses one shorter than its interval with probability
1 - length / interval, and hardly sees a partial one (hazard H12). A cron trigger runs on the platform that it checks:
what keeps requests from the Worker keeps the check from running as well (hazard H52).
"""

from dataclasses import dataclass

import numpy as np

from sim.experiments.alerting.incidents import SimulatedIncident
from sim.foundation.errors import UsageError


@dataclass(frozen=True)
class Probe:
    """A periodic check that alerts after its first failure, or after several in a row.

    Attributes
    ----------
    name : str
    interval_s : float
    outside : bool
        Whether it runs elsewhere than on the platform.
    failures : int
        In a row, until it alerts.
    """

    name: str
    interval_s: float
    outside: bool
    failures: int = 1

    def __post_init__(self) -> None:
        if not self.interval_s > 0:
            raise UsageError(f"interval_s={self.interval_s} must be > 0")
        if self.failures < 1:
            raise UsageError(f"failures={self.failures} must be >= 1")

    def delay_minutes(self, incident: SimulatedIncident, *, rng: np.random.Generator) -> float:
        """Return the minutes from the start of an incident to the probe that alerts; infinite if none does."""
        interval_minutes = self.interval_s / 60
        first = rng.uniform(0, interval_minutes)
        probes = max(0, int(np.ceil((incident.minutes - first) / interval_minutes)))
        failing = self._failing(incident.hit_share, probes, rng)
        # A slow answer is an answer; a check that did not run says nothing.
        blind = incident.slow or not (incident.counted or self.outside)
        return float("inf") if blind or failing > probes else first + (failing - 1) * interval_minutes

    def _failing(self, share: float, probes: int, rng: np.random.Generator) -> int:
        """Return the number of the probe that alerts; more than *probes* if none of them does."""
        if not share > 0:
            return probes + 1
        if self.failures == 1:
            return int(rng.geometric(share))
        failed = rng.uniform(size=probes) < share
        in_a_row = np.convolve(failed, np.ones(self.failures), mode="valid") if probes >= self.failures else np.zeros(0)
        ends = np.flatnonzero(in_a_row > self.failures - 0.5)
        return int(ends[0]) + self.failures if ends.size else probes + 1


PROBES = (Probe("cron trigger, 5 min", 300.0, outside=False), Probe("from outside, 5 min", 300.0, outside=True))
"""What the brief has, and the same from elsewhere."""

OFTEN = Probe("from outside, 10 s, 2 in a row", 10.0, outside=True, failures=2)
"""What ``headroom size SCENARIO probe_interval`` answers for a full outage."""
