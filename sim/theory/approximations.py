"""Conservation laws, bounds and heavy-traffic approximations, each with the case in which it is exact.

Little's law and the utilization law hold for anything that is stable. Bounds hold for every closed system. The wait
formulas are approximations: exact in the memoryless case, better the busier the station.

Sources
-------
Little, "A proof for the queuing formula L = λW", Oper. Res. 9, 1961. Denning and Buzen, "The operational analysis of
queueing network models", ACM Comput. Surv. 10, 1978 (utilization law, asymptotic bounds).
Kingman, "The single server queue in heavy traffic", Proc. Camb. Phil. Soc. 57, 1961. Allen, "Probability, Statistics
and Queueing Theory", 2nd ed., 1990 (Allen and Cunneen). Sakasegawa, "An approximation formula Lq ≈ αρ^β/(1-ρ)", Ann.
Inst. Stat. Math. 29, 1977.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from sim.foundation.errors import UsageError
from sim.theory.memoryless_queues import erlang_c
from sim.theory.parameters import MS_PER_S, not_negative, positive, stable, whole


def little(rate_per_s: float, time_ms: float) -> float:
    """Mean number inside of anything that *rate_per_s* requests cross, each staying *time_ms* on the average."""
    not_negative(rate_per_s=rate_per_s, time_ms=time_ms)
    return rate_per_s * time_ms / MS_PER_S


def utilization(rate_per_s: float, service_ms: float, *, servers: int = 1) -> float:
    """Share of the time that each of *servers* is busy; above 1 the work cannot be done."""
    whole(servers=servers)
    return little(rate_per_s, service_ms) / servers


@dataclass(frozen=True)
class Station:
    """A G/G/c station, given by means and squared variations only.

    Parameters
    ----------
    rate_per_s : float
        Arrivals a second.
    service_ms : float
        Mean service time.
    servers : int
    arrival_cv2, service_cv2 : float
        Squared coefficients of variation of the gaps between arrivals and of the service times; 1 is memoryless.

    Raises
    ------
    UsageError
        A number outside its rule, or utilization >= 1.
    """

    rate_per_s: float
    service_ms: float
    servers: int = 1
    arrival_cv2: float = 1.0
    service_cv2: float = 1.0

    def __post_init__(self) -> None:
        positive(rate_per_s=self.rate_per_s, service_ms=self.service_ms)
        not_negative(arrival_cv2=self.arrival_cv2, service_cv2=self.service_cv2)
        stable(self.utilization)

    @property
    def utilization(self) -> float:
        """Share of the time that a server is busy."""
        return utilization(self.rate_per_s, self.service_ms, servers=self.servers)

    @property
    def _variability(self) -> float:
        return (self.arrival_cv2 + self.service_cv2) / 2

    @property
    def wait_mean_ms(self) -> float:
        """Allen and Cunneen's mean wait, exact for M/M/c and M/G/1; with one server it is Kingman's."""
        busy = self.utilization
        waits = erlang_c(busy * self.servers, self.servers)
        return waits * self.service_ms / (self.servers * (1 - busy)) * self._variability

    @property
    def wait_mean_sakasegawa_ms(self) -> float:
        """Mean wait by Sakasegawa's power law."""
        busy = self.utilization
        crowd: float = busy ** (sqrt(2 * (self.servers + 1)) - 1) / (self.servers * (1 - busy))
        return crowd * self.service_ms * self._variability


def closed_throughput_bound_per_s(users: int, demand_ms: Sequence[float], *, think_ms: float = 0.0) -> float:
    """Upper bound of the throughput of *users*: no one waits, or the busiest station is never idle.

    Parameters
    ----------
    users : int
    demand_ms : sequence of float, length stations
        Mean service asked of each station, over its servers.
    think_ms : float
    """
    whole(users=users)
    not_negative(think_ms=think_ms)
    if not len(demand_ms):
        raise UsageError("demand_ms=[] must name at least one station")
    positive(**{f"demand_ms[{k}]": demand for k, demand in enumerate(demand_ms)})
    return min(users / (sum(demand_ms) + think_ms), 1 / max(demand_ms)) * MS_PER_S
