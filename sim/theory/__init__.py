"""Closed forms: what queueing theory says without a simulation.

They gate both engines (docs/THEORY.md) and bracket searches. Times are in milliseconds, rates per second. The names
below are the public interface.
"""

from sim.theory.approximations import Station, closed_throughput_bound_per_s, little, utilization
from sim.theory.closed_networks import ClosedSolution, MachineRepair, convolution, mean_value_analysis
from sim.theory.fixed_service import MD1
from sim.theory.general_service import MG1, wait_quantile_ms, wait_tail
from sim.theory.memoryless_queues import MMc, MMcK, erlang_b, erlang_c
from sim.theory.moments import squared_variation
from sim.theory.open_networks import JacksonNetwork, tandem_quantile_ms, tandem_tail
from sim.theory.sample_paths import kiefer_wolfowitz, lindley

__all__ = [
    "MD1",
    "MG1",
    "ClosedSolution",
    "JacksonNetwork",
    "MMc",
    "MMcK",
    "MachineRepair",
    "Station",
    "closed_throughput_bound_per_s",
    "convolution",
    "erlang_b",
    "erlang_c",
    "kiefer_wolfowitz",
    "lindley",
    "little",
    "mean_value_analysis",
    "squared_variation",
    "tandem_quantile_ms",
    "tandem_tail",
    "utilization",
    "wait_quantile_ms",
    "wait_tail",
]
