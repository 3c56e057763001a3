"""A probe of the capacity search: a scenario simulated at one rate, summarised."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sim.judgement.targets import Target
from sim.models.registry import queues
from sim.results.breakdown import parts_of
from sim.results.metrics import LATENCY, estimate
from sim.statistics.intervals import Estimate

if TYPE_CHECKING:
    from sim.results.result import Result

OVERLOAD = ("overload",)
"""The limit reported when a station is overloaded before any target is missed."""


@dataclass(frozen=True)
class Probe:
    """The summary of a run at one arrival rate.

    Attributes
    ----------
    rate_per_s : float
        Mean arrival rate.
    seed, requests : int
    latency_ms_mean : float
        Mean latency of answered requests.
    p50, p99 : Estimate
        Percentiles of latency in ms, over every request that was sent.
    judged : tuple of Estimate or None
        One per target that a model can estimate, in their order; None when no request has its metric.
    utilization : dict of str to float
        Utilization of each station's busiest instance, without elastic stations; 1 is saturation.
    tail_queue_ms : dict of str to float
        Mean wait at each station, over the slowest 1 % of requests.
    offered_ratio : float
        Offered load of the most loaded station, as a share of its capacity.
    part_ms : dict of str to float
        Mean time of a request in each part, by column; the parts add up to its latency.
    """

    rate_per_s: float
    seed: int
    requests: int
    latency_ms_mean: float
    p50: Estimate
    p99: Estimate
    judged: tuple[Estimate | None, ...]
    utilization: dict[str, float]
    tail_queue_ms: dict[str, float]
    offered_ratio: float = 0.0
    part_ms: dict[str, float] = field(default_factory=dict)

    @property
    def overloaded(self) -> bool:
        """Whether the offered load of some station exceeds its capacity: its queue would grow without bound."""
        return self.offered_ratio >= 1.0

    @property
    def bottleneck(self) -> str:
        """The station where the slowest requests wait longest; the busiest one when none waits."""
        if max(self.tail_queue_ms.values(), default=0.0) > 0:
            return max(self.tail_queue_ms, key=lambda name: self.tail_queue_ms[name])
        return self.busiest

    @property
    def busiest(self) -> str:
        """The station with the highest utilization of an instance."""
        return max(self.utilization, key=lambda name: self.utilization[name], default="none")


def probe_of(result: "Result", *, start_ms: float, targets: Sequence[Target], rate_per_s: float) -> Probe:
    """Summarise a run at *rate_per_s* from *start_ms* on."""
    scenario, busy = result.scenario, result.stations.set_index("station")["utilization_busiest"].dropna()
    frame = result.frame[result.frame["arrival_ms"] >= start_ms]
    p50, p99 = (estimate([frame], LATENCY, statistic=name, scenario=scenario) for name in ("p50", "p99"))
    assert p50 is not None
    assert p99 is not None
    tail = frame[frame["latency_ms"] >= np.quantile(frame["latency_ms"], 0.99)]
    return Probe(
        rate_per_s=rate_per_s,
        seed=result.seed,
        requests=len(frame),
        latency_ms_mean=float(frame["latency_ms"].mean()),
        p50=p50,
        p99=p99,
        judged=tuple(
            estimate([line.select(frame)], line.metric, statistic=line.statistic, scenario=scenario) for line in targets
        ),
        utilization={str(name): float(share) for name, share in busy.items()},
        tail_queue_ms={name: float(tail[f"{name}_queue_ms"].mean()) for name in queues(scenario.met)},
        offered_ratio=max(result.offered_ratio.values(), default=0.0),
        part_ms={str(name): float(ms) for name, ms in frame[parts_of(scenario)].mean().items()},
    )
