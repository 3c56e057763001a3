"""Queues with a known answer, each a Flow that a user could write.

From one memoryless server to networks and closed loops, with means and percentiles by a closed form of ``sim.theory``;
and a few without a closed form, for which a recursion knows the wait of every request. :mod:`tests.evidence.gate` plays
them.

Sources
-------
Those of ``sim.theory``, one by one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sim.flow import Chance, Flow, Repeat, Serve, Station
from sim.randomness.distributions import (
    AnyDistribution,
    Constant,
    Erlang,
    Exponential,
    Hyperexponential,
    Lognormal,
    Weibull,
)
from sim.theory import (
    MD1,
    MG1,
    JacksonNetwork,
    MachineRepair,
    MMc,
    MMcK,
    erlang_b,
    mean_value_analysis,
    tandem_quantile_ms,
    wait_quantile_ms,
)

SERVICE_MS = 10.0
"""Mean service of every case, so that rows are comparable."""


@dataclass(frozen=True)
class Case:
    """A queue whose answer is known.

    Parameters
    ----------
    name : str
    flow : tuple of steps
    rate_per_s : float
        Poisson arrivals; 0 for a closed loop of *users*.
    exact : dict
        Closed forms, by ``"measure statistic"``: ``"wait_ms p99"``, ``"sojourn_ms mean"``, ``"lost_share mean"``.
    users : int
        Of a closed loop.
    think_ms : float
        Their mean time between an answer and the next request.
    """

    name: str
    flow: Flow
    rate_per_s: float
    exact: dict[str, float]
    users: int = 0
    think_ms: float = 0.0


def queue(distribution: AnyDistribution, *, servers: int = 1, room: int | None = None, shared: bool = False) -> Flow:
    """One station named ``queue``."""
    station = Station("queue", servers=servers, queue_limit=room, discipline="ps" if shared else "fcfs")
    return (Serve(station, distribution, "queue.work"),)


def cases() -> Iterator[Case]:
    """All cases, from one memoryless server to networks and closed loops."""
    yield from _memoryless()
    yield from _lost()
    yield from _general()
    yield from _networks()


def _memoryless() -> Iterator[Case]:
    exponential = Exponential(mean=SERVICE_MS)
    for servers, load in ((1, 0.5), (1, 0.8), (4, 0.8)):
        rate = servers * load / SERVICE_MS * 1000
        exact = MMc(rate, SERVICE_MS, servers)
        yield Case(
            f"M/M/{servers} at {load:g}",
            queue(exponential, servers=servers),
            rate,
            {
                "waited_share mean": exact.wait_probability,
                "wait_ms mean": exact.wait_mean_ms,
                "wait_ms p99": exact.wait_quantile_ms(0.99),
                "sojourn_ms mean": exact.sojourn_mean_ms,
                "sojourn_ms p50": exact.sojourn_quantile_ms(0.5),
                "sojourn_ms p99": exact.sojourn_quantile_ms(0.99),
            },
        )


def _lost() -> Iterator[Case]:
    room = MMcK(240.0, SERVICE_MS, 2, 6)
    yield Case(
        "M/M/2/6 at 1.2",
        queue(Exponential(mean=SERVICE_MS), servers=2, room=4),
        240.0,
        {
            "lost_share mean": room.blocking_probability,
            "wait_ms mean": room.wait_mean_ms,
            "wait_ms p99": room.wait_quantile_ms(0.99),
        },
    )
    uneven = Lognormal(median=6.0, p99=50.0)
    yield Case(
        "M/G/10/10, lognormal (Erlang B)",
        queue(uneven, servers=10, room=0),
        8 / uneven.expected() * 1000,
        {"lost_share mean": erlang_b(8.0, 10)},
    )


def _general() -> Iterator[Case]:
    fixed = MD1(80.0, SERVICE_MS)
    yield Case(
        "M/D/1 at 0.8",
        queue(Constant(value=SERVICE_MS)),
        80.0,
        {
            "wait_ms mean": fixed.wait_mean_ms,
            "wait_ms p50": fixed.wait_quantile_ms(0.5),
            "wait_ms p99": fixed.wait_quantile_ms(0.99),
        },
    )
    for name, distribution in (
        ("M/E4/1 at 0.8", Erlang(mean=SERVICE_MS, stages=4)),
        ("M/H2/1, cv² 4, at 0.6", Hyperexponential(mean=SERVICE_MS, cv2=4)),
    ):
        rate = 60.0 if isinstance(distribution, Hyperexponential) else 80.0
        yield Case(
            name,
            queue(distribution),
            rate,
            {
                "wait_ms mean": MG1.of(rate, distribution).wait_mean_ms,
                "wait_ms p99": wait_quantile_ms(rate, distribution, probability=0.99),
            },
        )
    uneven = Lognormal(median=6.0, p99=50.0)
    yield Case("M/G/1, lognormal, at 60/s", queue(uneven), 60.0, {"wait_ms mean": MG1.of(60.0, uneven).wait_mean_ms})
    for name, shared_law in (("exponential", Exponential(mean=SERVICE_MS)), ("fixed", Constant(value=SERVICE_MS))):
        exact = MG1.of(70.0, shared_law).shared_sojourn_mean_ms
        yield Case(
            f"M/G/1 processor sharing, {name}, at 0.7", queue(shared_law, shared=True), 70.0, {"sojourn_ms mean": exact}
        )


def _networks() -> Iterator[Case]:
    means = (10.0, 8.0, 5.0)
    stations = tuple(Serve(Station(f"s{k}"), Exponential(mean=mean), f"s{k}.work") for k, mean in enumerate(means))
    yield Case(
        "tandem of three M/M/1",
        stations,
        70.0,
        {
            "sojourn_ms mean": JacksonNetwork.tandem(70.0, means).sojourn_mean_ms,
            "sojourn_ms p99": tandem_quantile_ms(70.0, means, probability=0.99),
        },
    )
    station, distribution = Station("queue", servers=2), Exponential(mean=SERVICE_MS)
    back = (Serve(station, distribution, "queue.work_again"),)
    yield Case(
        "M/M/2, 40 % come back",
        (
            Serve(station, distribution, "queue.work"),
            Repeat(Chance(0.4, "queue.again"), back, "queue.turn", limit=1000),
        ),
        90.0,
        {"sojourn_ms mean": JacksonNetwork((90.0,), ((0.4,),), (SERVICE_MS,), (2,)).sojourn_mean_ms},
    )
    for users in (3, 30):
        exact = mean_value_analysis(users, means, think_ms=100.0)
        yield Case(
            f"closed loop, {users} users", stations, 0.0, {"sojourn_ms mean": exact.response_ms}, users, think_ms=100.0
        )
    workshop = MachineRepair(8, up_ms=40.0, repair_ms=SERVICE_MS, repairers=2)
    yield Case(
        "machine repair, 8 machines, 2 repairers",
        queue(Exponential(mean=SERVICE_MS), servers=2),
        0.0,
        {"sojourn_ms mean": workshop.response_ms},
        workshop.machines,
        think_ms=workshop.up_ms,
    )


PATHS: tuple[tuple[str, AnyDistribution, AnyDistribution, int], ...] = (
    ("G/G/1: Erlang gaps, lognormal service", Erlang(mean=12.0, stages=4), Lognormal(median=6.0, p99=50.0), 1),
    ("G/G/1, overloaded: uneven gaps, fixed service", Hyperexponential(mean=9.0, cv2=9), Constant(value=SERVICE_MS), 1),
    ("G/G/4: uneven gaps, Weibull service", Hyperexponential(mean=3.0, cv2=4), Weibull(mean=SERVICE_MS, shape=0.6), 4),
)
"""Queues without a closed form: gaps, service, servers."""
