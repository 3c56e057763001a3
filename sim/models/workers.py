"""An isolate that runs the Worker's code: rarely it must be started first, then it computes for some milliseconds.

CPU time holds one of the deployment's isolates; waiting for a Durable Object, D1 or R2 does not, since an isolate
serves other requests meanwhile. A start delays the request but occupies nobody else.

Sources
-------
Workers limits page (mean CPU over all Workers); the share of cold requests is Cloudflare's own figure for
enterprise traffic; cold start time and number of isolates are assumptions (``[system.workers]``).
"""

from sim.flow import Branch, Chance, Delay, Flow, Serve, Station
from sim.scenario.system import Workers


def station(workers: Workers) -> Station:
    """The isolates, as servers of one queue."""
    return Station("workers", servers=workers.isolates)


def flow(workers: Workers) -> Flow:
    """Perhaps start, then compute."""
    start = Delay(workers.cold_start_ms, "workers.cold_start")
    return (
        Branch(Chance(workers.cold_fraction, "workers.is_cold"), (start,)),
        Serve(station(workers), workers.cpu_ms, "workers.cpu", category="worker_cpu"),
    )
