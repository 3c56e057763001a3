"""Pictures of a plan or of a run; each function returns Axes, draws on ``ax=`` when given, and titles with its finding.

>>> from sim import plots
>>> plots.ccdf(plan)  # doctest: +SKIP
"""

from sim.plots.agreement import errors, qq
from sim.plots.bill import cost
from sim.plots.demand import arrivals
from sim.plots.doubt import tornado
from sim.plots.latency import ccdf, over_time
from sim.plots.load import latency_against_load
from sim.plots.parts import waterfall
from sim.plots.utilization import stations, utilization_against_load

__all__ = [
    "arrivals",
    "ccdf",
    "cost",
    "errors",
    "latency_against_load",
    "over_time",
    "qq",
    "stations",
    "tornado",
    "utilization_against_load",
    "waterfall",
]
