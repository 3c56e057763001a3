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
    """A periodic check that alerts on its first failure.

    Attributes
    ----------
    name : str
    interval_s : float
    outside : bool
        Whether it runs elsewhere than on the platform.
    """

    name: str
    interval_s: float
    outside: bool

    def __post_init__(self) -> None:
        if not self.interval_s > 0:
            raise UsageError(f"interval_s={self.interval_s} must be > 0")

    def delay_minutes(self, incident: SimulatedIncident, *, rng: np.random.Generator) -> float:
        """Return the minutes from the start of an incident to the first probe that fails; infinite if none does."""
        interval_minutes = self.interval_s / 60
        first = rng.uniform(0, interval_minutes)
        probes = max(0, int(np.ceil((incident.minutes - first) / interval_minutes)))
        failing = int(rng.geometric(incident.hit_share)) if incident.hit_share > 0 else probes + 1
        # A slow answer is an answer; a check that did not run says nothing.
        blind = incident.slow or not (incident.counted or self.outside)
        return float("inf") if blind or failing > probes else first + (failing - 1) * interval_minutes


PROBES = (Probe("cron trigger, 5 min", 300.0, outside=False), Probe("from outside, 5 min", 300.0, outside=True))
"""What the brief has, and the same from elsewhere."""
