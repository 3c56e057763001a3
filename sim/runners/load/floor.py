"""The load driver's own floor: the same schedule sent to a server on loopback that answers at once.

What is then slow or late is the driver, or this machine, and nothing else.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sim.runners.load.abort import AbortRule
from sim.runners.load.driver import Client, Driver
from sim.runners.load.http_sender import HttpSender
from sim.runners.load.loop_thread import run_in_thread
from sim.runners.load.messages import HEALTH, upload_block
from sim.runners.load.options import LoadOptions
from sim.runners.load.self_check import SelfCheck, self_check
from sim.runners.load.trivial_server import trivial_server

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario
    from sim.scenario.schedule import Schedule

NEVER = AbortRule(failed_fraction=1.0, late_fraction=1.0)
TIMEOUT_MS = 10_000.0


@dataclass(frozen=True)
class Floor:
    """What the driver measures of a server that takes no time.

    Attributes
    ----------
    rate_per_s : float
        At which it sent.
    latency_ms_p50, latency_ms_p99 : float
        From the intended send.
    service_ms_p50, service_ms_p99 : float
        From the actual send, as tools with coordinated omission count.
    check : SelfCheck
        Its lateness and its fraction of a core.
    """

    rate_per_s: float
    latency_ms_p50: float
    latency_ms_p99: float
    service_ms_p50: float
    service_ms_p99: float
    check: SelfCheck

    @property
    def too_slow(self) -> bool:
        """Whether the driver cannot send at this rate, whatever it loads."""
        return self.check.own_rate_limit


def floor_of(
    scenario: "Scenario", schedule: "Schedule", *, connections: int = 0, url: str = "", keep_alive: bool = True
) -> Floor:
    """Send ``GET /health`` at the times of *schedule* and return what was measured.

    Parameters
    ----------
    scenario, schedule
        An open loop; only its times matter.
    connections : int
        At most; 0 is the driver's default.
    url : str
        A server on this machine; by default one is started for it.
    keep_alive : bool
        Whether a connection serves several requests.
    """
    if not url:
        with trivial_server() as started:
            return floor_of(scenario, schedule, connections=connections, url=started, keep_alive=keep_alive)
    options = LoadOptions(connections=connections, keep_alive=keep_alive)

    async def main(interrupted: "asyncio.Future[None]") -> Floor:
        http = HttpSender(
            url, connections_max=options.connections_max, block=upload_block(0), headers={}, keep_alive=keep_alive
        )
        try:
            await http.open(warm_connections=min(16, options.connections_max))
            ready = dict.fromkeys(range(len(schedule)), HEALTH)
            driver = Driver(
                scenario, schedule, messages=ready, senders={"http": http}, client=Client(TIMEOUT_MS),
                caps=options.caps, abort=NEVER,
            )  # fmt: skip
            interrupted.add_done_callback(lambda _: driver.stop("Ctrl-C"))
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            await driver.play()
            cpu_ratio = (time.process_time() - cpu_s) / max(time.perf_counter() - wall_s, 1e-9)
        finally:
            await http.close()
        if driver.stopped_because is not None:
            raise KeyboardInterrupt
        return _floor(driver, cpu_ratio)

    return run_in_thread(main)


def _floor(driver: Driver, cpu_ratio: float) -> Floor:
    tape = driver.tape
    check = self_check(tape, floor_ms_p50=float("nan"), cpu_ratio=cpu_ratio, in_flight_requests=driver.in_flight_peak)
    p50, p99 = np.nanquantile(tape.latency_ms[tape.sent], (0.5, 0.99)).tolist()
    raw_p50, raw_p99 = np.nanquantile(tape.service_latency_ms[tape.sent], (0.5, 0.99)).tolist()
    return Floor(check.achieved_per_s, p50, p99, raw_p50, raw_p99, check)
