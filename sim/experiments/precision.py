"""The precision required of an estimate: ``"p99 ± 2 %"``, ``"d1_query_ms p50 +- 1 ms"``."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Self

from numpy.typing import NDArray

from sim.foundation.errors import UsageError
from sim.results.metrics import estimate_of, probability, unit_of
from sim.statistics.intervals import Estimate

METRIC = "api_latency_ms"
"""The default metric."""

WORDING = re.compile(
    r"(?:(?P<metric>\w+)\s+)?(?P<statistic>mean|p\d+)\s*(?:±|\+-|\+/-)\s*"
    r"(?P<number>\d+(?:\.\d*)?|\.\d+)\s*(?P<unit>%|[A-Za-z/]+)"
)


@dataclass(frozen=True)
class Precision:
    """The largest distance allowed between an estimate and either bound of its interval.

    Attributes
    ----------
    statistic : str
        ``mean``, or ``p`` and digits: ``p50``, ``p99``, ``p999``.
    limit : float
        Largest distance of either bound from the value; a share of the value if *relative*, else in the metric's unit.
    relative : bool
    metric : str
        See :func:`sim.results.metrics.metric_values`.
    """

    statistic: str
    limit: float
    relative: bool
    metric: str = METRIC

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``"p99 ± 2 %"``, ``"mean +- 0.5 ms"``, ``"worker_cpu_ms p99 +/- 1 ms"``.

        Raises
        ------
        UsageError
            The text does not have this form.
        """
        found = WORDING.fullmatch(text.strip())
        if not found or float(found["number"]) <= 0:
            example = '"p99 ± 2 %" or "d1_query_ms mean +- 0.5 ms"'
            raise UsageError(f"until={text!r} must read like {example}: [METRIC] STATISTIC ± a number above 0")
        metric, number, unit = found["metric"] or METRIC, float(found["number"]), found["unit"]
        if metric == "uptime_ratio":
            raise UsageError(f"until={text!r} cannot be uptime, which is no statistic of requests (see headroom plan)")
        if found["statistic"] != "mean":
            probability(found["statistic"])
        own = unit_of(metric)
        if unit != "%" and unit.lower() != own.lower():
            raise UsageError(f"until={text!r} must be in % or {own or 'the unit of the metric'}, not in {unit}")
        relative = unit == "%"
        return cls(found["statistic"], number / 100 if relative else number, relative, metric)

    def __str__(self) -> str:
        return f"{self.metric} {self.statistic} ± {self.limit_text}"

    @property
    def limit_text(self) -> str:
        """The limit with its unit: ``2 %``."""
        return f"{100 * self.limit:.4g} %" if self.relative else f"{self.limit:.4g} {unit_of(self.metric)}"

    def estimate(self, runs: Sequence[NDArray]) -> Estimate | None:  # type: ignore[type-arg]  # of any number
        """Estimate the statistic from independent replications; None where fewer than two have any value."""
        return estimate_of(runs, statistic=self.statistic) if sum(len(run) > 0 for run in runs) > 1 else None

    def excess(self, estimate: Estimate | None) -> float:
        """Return how many times too wide an interval is: at most 1 when precise enough, infinite when unbounded."""
        if estimate is None:
            return inf
        reach = max(estimate.value - estimate.low, estimate.high - estimate.value)
        return reach / (self.limit * abs(estimate.value) if self.relative else self.limit) if reach else 0.0
