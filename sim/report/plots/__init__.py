"""Pictures of a plan or of a run; each function returns Axes, draws on ``ax=`` when given, and titles with its finding.

>>> from sim import plots
>>> plots.ccdf(plan)  # doctest: +SKIP
"""

from sim.report.plots.agreement import errors, qq
from sim.report.plots.alerts import alert_timeline, detection_repair, detections
from sim.report.plots.alternatives import alternatives, alternatives_over
from sim.report.plots.bill import cost, cost_against_volume, volume_forecast
from sim.report.plots.calibration import calibration
from sim.report.plots.collapse import hysteresis
from sim.report.plots.demand import arrivals
from sim.report.plots.latency import ccdf, over_time
from sim.report.plots.load import latency_against_load
from sim.report.plots.pairing import pairing
from sim.report.plots.parts import waterfall
from sim.report.plots.prediction import prediction
from sim.report.plots.sensitivity import tornado
from sim.report.plots.sizing import servers, sizing
from sim.report.plots.uncertainty import assumptions
from sim.report.plots.uptime import met_by_hit_share, months
from sim.report.plots.utilization import stations, utilization_against_load

__all__ = [
    "alert_timeline",
    "alternatives",
    "alternatives_over",
    "arrivals",
    "assumptions",
    "calibration",
    "ccdf",
    "cost",
    "cost_against_volume",
    "detection_repair",
    "detections",
    "errors",
    "hysteresis",
    "latency_against_load",
    "met_by_hit_share",
    "months",
    "over_time",
    "pairing",
    "prediction",
    "qq",
    "servers",
    "sizing",
    "stations",
    "tornado",
    "utilization_against_load",
    "volume_forecast",
    "waterfall",
]
