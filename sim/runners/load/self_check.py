"""Self-check of the load generator: was it on time, did it have spare CPU, did it send the planned load.

A generator that is late or saturated measures its own limit instead of the server's. A run that fails this check is
INVALID: no verdict may rest on it.

Sources
-------
Tene, "How not to measure latency" (coordinated omission, intended send times).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from sim.runners.load.tape import Tape

SEND_LAG_SHARE_MAX = 0.10
"""Latency counts from the intended send, so lateness is a part of it: of each quantile that is judged, the lag's own
quantile may be a tenth, the smallest tolerance of a comparison. In ms it says nothing: 1.2 ms matter to a latency of
2 ms and not to one of 40 ms."""

SKIPPED_FRACTION_MAX = 0.001
"""A tenth of the 1 % beyond a P99: skipped requests would have been slow ones, so more would distort the tail."""

ACCOUNTED_NOTHING = 0.999
"""From this share on an answer accounts for nothing: a deployment without server timings, of which nothing is said."""

THROTTLED_FRACTION_MAX = SKIPPED_FRACTION_MAX
"""During the pause that an answer asks for nothing is sent, so throttled requests thin the load as skipped ones do."""

OVERHEAD_SHARE_MAX = 0.25
"""A deployment of ours says where the time of an answer went. Where a quarter of the median is in none of its
components, the machine was too busy to keep them: what was measured is the machine. Nothing follows from that of a
deployment elsewhere, whose way there and own code are in no component, nor from times in whole ms."""

CPU_RATIO_MAX = 0.90
"""Above this an M/D/1 queue in front of the driver's one core is longer than four requests."""

SHORTFALL_FRACTION_MAX = 0.02
"""Two percent is the standard deviation of a Poisson count of 2,500; more is a generator that cannot keep up."""


@dataclass(frozen=True)
class SelfCheck:
    """Measurements of the load generator itself.

    Attributes
    ----------
    planned_requests, sent_requests, skipped_requests, aborted_requests : int
    retries : int
        Attempts beyond each request's first.
    offered_per_s, achieved_per_s : float
        Rate of the intended sends that were reached, and of the actual ones.
    send_lag_ms_p50, send_lag_ms_p99, send_lag_ms_max : float
    latency_ms_p50, latency_ms_p99 : float
        Latency of the requests that were sent, to which the lag is compared.
    overhead_ms_p50, overhead_ms_p99 : float
        Latency not attributed to any component.
    floor_ms_p50 : float
        Median of unpaced, sequential ``/health`` requests before the run: driver, wire and HTTP server alone.
    cpu_ratio : float
        CPU time of this process over wall time.
    in_flight_requests : int
        Largest number of concurrent requests; an upper bound of it where several processes sent.
    throttled_requests : int
        Answers 429 or 503 that asked for a pause.
    retry_after_s_max : float
        The longest pause asked for.
    accounts_in_whole_ms : bool
        Whether the times of the components are rounded, so that short ones are not in them.
    """

    planned_requests: int
    sent_requests: int
    skipped_requests: int
    aborted_requests: int
    retries: int
    offered_per_s: float
    achieved_per_s: float
    send_lag_ms_p50: float
    send_lag_ms_p99: float
    send_lag_ms_max: float
    latency_ms_p50: float
    latency_ms_p99: float
    overhead_ms_p50: float
    overhead_ms_p99: float
    floor_ms_p50: float
    cpu_ratio: float
    in_flight_requests: int
    throttled_requests: int = 0
    retry_after_s_max: float = 0.0
    accounts_in_whole_ms: bool = False

    @classmethod
    def from_dict(cls, generator: Mapping[str, Any]) -> "SelfCheck":
        """Return the self-check that ``Result.generator`` holds, among other facts."""
        return cls(**{field.name: generator[field.name] for field in fields(cls) if field.name in generator})

    @property
    def own_limit(self) -> bool:
        """Whether the generator itself was the limit: late, saturated, or slower than planned."""
        return any(value > bound for _, value, bound in self._own_rules())

    @property
    def own_rate_limit(self) -> bool:
        """Whether the generator could not send at the planned rate, whatever the latency."""
        return self.cpu_ratio > CPU_RATIO_MAX or self.shortfall_fraction > SHORTFALL_FRACTION_MAX

    def _own_rules(self) -> tuple[tuple[str, float, float], ...]:
        return (
            ("lateness of sending, as a share of the P50 of latency,", self.lag_share("p50"), SEND_LAG_SHARE_MAX),
            ("lateness of sending, as a share of the P99 of latency,", self.lag_share("p99"), SEND_LAG_SHARE_MAX),
            ("the generator's fraction of a core", self.cpu_ratio, CPU_RATIO_MAX),
            ("fraction of the load not sent", self.shortfall_fraction, SHORTFALL_FRACTION_MAX),
        )

    def _starved(self) -> tuple[str, ...]:
        """Whether answers took much longer than all that their components account for, where they account for any."""
        share = self.overhead_ms_p50 / self.latency_ms_p50 if self.latency_ms_p50 > 0 else 0.0
        if self.accounts_in_whole_ms or not OVERHEAD_SHARE_MAX < share < ACCOUNTED_NOTHING:
            return ()
        said = f"{100 * share:.0f} % of the P50 is in no component, more than {100 * OVERHEAD_SHARE_MAX:.0f} %"
        return (f"INVALID: {said}: the machine was too busy (less load, or a quieter machine)",)

    def reasons(self, *, is_here: bool = True) -> tuple[str, ...]:
        """Why this run is INVALID, one sentence per violated rule; empty when it is valid.

        Parameters
        ----------
        is_here : bool
            Whether the deployment runs on this machine, and so can be starved by it.
        """
        reached = self.sent_requests + self.skipped_requests
        skipped = ("fraction of requests skipped", self.skipped_requests / max(reached, 1), SKIPPED_FRACTION_MAX)
        own = tuple(
            f"INVALID: {what} {value:.4g} must be <= {bound:.4g} (less load, or a quieter machine)"
            for what, value, bound in (*self._own_rules(), skipped)
            if value > bound
        )
        own += self._starved() if is_here else ()
        if self.throttled_requests <= THROTTLED_FRACTION_MAX * reached:
            return own
        throttled = f"{self.throttled_requests} of {reached} requests, Retry-After up to {self.retry_after_s_max:g} s"
        return (f"INVALID: the deployment throttled {throttled} (less load, or ask its owner for a higher limit)", *own)

    def lag_share(self, statistic: str) -> float:
        """Return the lag's part of a quantile of latency: how far lateness could change what is said of it."""
        lag_ms, latency_ms = (getattr(self, f"{name}_ms_{statistic}") for name in ("send_lag", "latency"))
        return lag_ms / latency_ms if latency_ms > 0 and lag_ms > 0 else 0.0

    @property
    def shortfall_fraction(self) -> float:
        """The share by which the achieved rate falls short of the offered one."""
        return 0.0 if self.offered_per_s == 0 else 1 - self.achieved_per_s / self.offered_per_s

    def summary(self) -> str:
        """Return one sentence on how far the run got."""
        reached = self.sent_requests + self.skipped_requests
        return f"{reached} of {self.planned_requests} requests reached, {self.aborted_requests} of them given up"

    def as_dict(self) -> dict[str, Any]:
        """Return the measurements as a dict, for ``Result.generator``."""
        return asdict(self)


def self_check(
    tape: Tape,
    *,
    floor_ms_p50: float,
    cpu_ratio: float,
    in_flight_requests: int,
    throttled_requests: int = 0,
    retry_after_s_max: float = 0.0,
) -> SelfCheck:
    """Return the self-check of the run on *tape*."""
    sent = tape.sent
    lag_ms = tape.send_lag_ms[sent]
    lag_p50, lag_p99, lag_max = _quantiles(lag_ms, 0.5, 0.99, 1.0)
    answered = sent & (tape.times_ms.sum(axis=0) > 0)
    overhead_p50, overhead_p99 = _quantiles(tape.overhead_ms[answered], 0.5, 0.99)
    offered_per_s, achieved_per_s = _rates(tape)
    latency_p50, latency_p99 = _quantiles(tape.latency_ms[sent], 0.5, 0.99)
    return SelfCheck(
        planned_requests=len(tape.outcome),
        sent_requests=int(sent.sum()),
        skipped_requests=tape.count("skipped"),
        aborted_requests=tape.count("aborted"),
        retries=int(np.maximum(tape.attempts - 1, 0).sum()),
        offered_per_s=offered_per_s,
        achieved_per_s=achieved_per_s,
        send_lag_ms_p50=lag_p50,
        send_lag_ms_p99=lag_p99,
        send_lag_ms_max=lag_max,
        latency_ms_p50=latency_p50,
        latency_ms_p99=latency_p99,
        overhead_ms_p50=overhead_p50,
        overhead_ms_p99=overhead_p99,
        floor_ms_p50=floor_ms_p50,
        cpu_ratio=cpu_ratio,
        in_flight_requests=in_flight_requests,
        throttled_requests=throttled_requests,
        retry_after_s_max=retry_after_s_max,
        accounts_in_whole_ms=bool(answered.any() and np.all(tape.times_ms[:, answered] % 1 == 0)),
    )


def _quantiles(values: Any, *shares: float) -> list[float]:
    """Return quantiles of *values*; NaN where there are none."""
    return np.quantile(values, shares).tolist() if len(values) else [float("nan")] * len(shares)


def _rates(tape: Tape) -> tuple[float, float]:
    """Return the offered and the achieved rate per second, from the first to the last send that was reached."""
    reached = tape.sent | (tape.outcome >= 0)
    intended_ms = tape.arrival_ms[reached]
    actual_ms = (tape.arrival_ms + tape.send_lag_ms)[tape.sent]
    return _rate_per_s(intended_ms), _rate_per_s(actual_ms)


def _rate_per_s(at_ms: Any) -> float:
    if len(at_ms) < 2 or np.ptp(at_ms) == 0:
        return 0.0
    return float((len(at_ms) - 1) / np.ptp(at_ms) * 1000)
