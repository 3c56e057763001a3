"""Simulation and capacity planning for edge deployments, validated against a working reference.

The names below are the whole public interface; notebooks, README and documentation use nothing else, and the modules
behind it may move. Each is imported on first use, so that ``import sim`` and ``headroom --help`` stay fast.

>>> from sim import run
>>> run("launch", on="simpy", rng=1, requests=2000)  # doctest: +ELLIPSIS
<Result launch on simpy: 2000 requests in ... s, ... ok, P50 ... ms, P99 ... ms, seed 1>
"""

from importlib import import_module
from inspect import isfunction
from typing import TYPE_CHECKING, Any

from sim.foundation.version import __version__
from sim.foundation.views import VIEWS

if TYPE_CHECKING:
    from sim import flow as flow
    from sim import models as models
    from sim import theory as theory
    from sim.experiments.alerting.alerts import Alerts as Alerts
    from sim.experiments.alerting.alerts import alerts as alerts
    from sim.experiments.alerting.files import write_alerts as write_alerts
    from sim.experiments.calibration.calibrate import Calibration as Calibration
    from sim.experiments.calibration.calibrate import calibrate as calibrate
    from sim.experiments.capacity import Capacity as Capacity
    from sim.experiments.capacity import capacity as capacity
    from sim.experiments.hysteresis import hysteresis as hysteresis
    from sim.experiments.load import LoadPlan as LoadPlan
    from sim.experiments.load import export_load as export_load
    from sim.experiments.load import load as load
    from sim.experiments.load import load_plan as load_plan
    from sim.experiments.lost_updates import lost_updates as lost_updates
    from sim.experiments.measured_capacity import MeasuredCapacity as MeasuredCapacity
    from sim.experiments.measured_capacity import load_capacity as load_capacity
    from sim.experiments.plan import Plan as Plan
    from sim.experiments.plan import plan as plan
    from sim.experiments.queries.measuring import d1 as d1
    from sim.experiments.queries.report import D1Report as D1Report
    from sim.experiments.sensitivity import sensitivity as sensitivity
    from sim.experiments.sizing.choices import Sizing as Sizing
    from sim.experiments.sizing.one_down import OneDown as OneDown
    from sim.experiments.sizing.one_down import one_down as one_down
    from sim.experiments.sizing.servers import Servers as Servers
    from sim.experiments.sizing.servers import servers as servers
    from sim.experiments.sizing.size import size as size
    from sim.experiments.stale_reads import stale_reads as stale_reads
    from sim.experiments.stopping import run_until as run_until
    from sim.experiments.sweep import sweep as sweep
    from sim.experiments.uncertainty import uncertainty as uncertainty
    from sim.foundation.errors import SimError as SimError
    from sim.judgement.availability import availability as availability
    from sim.judgement.comparison import compare as compare
    from sim.judgement.cost import cost as cost
    from sim.judgement.judge import judge as judge
    from sim.judgement.pairing import Pairing as Pairing
    from sim.judgement.pairing import pair as pair
    from sim.models.registry import register as register
    from sim.report import plots as plots
    from sim.results.breakdown import by_route as by_route
    from sim.results.breakdown import waterfall as waterfall
    from sim.results.exposition import exposition as exposition
    from sim.results.phases import phases as phases
    from sim.results.result import Result as Result
    from sim.results.storage import load_run as load_run
    from sim.results.storage import save_run as save_run
    from sim.runners.load.abort import AbortRule as AbortRule
    from sim.runners.load.guard import Caps as Caps
    from sim.runners.load.headers import Headers as Headers
    from sim.runners.load.options import LoadOptions as LoadOptions
    from sim.runners.play import play as play
    from sim.runners.play import run as run
    from sim.scaffold.drafting import init as init
    from sim.scaffold.lint.linting import lint as lint
    from sim.scenario.generation import schedule as schedule
    from sim.scenario.recorded import read_trace as read_trace
    from sim.scenario.scenario import Scenario as Scenario
    from sim.scenario.scenario import load_scenario as load_scenario
    from sim.scenario.schedule import Schedule as Schedule
    from sim.scenario.schema_page import json_schema as json_schema
    from sim.screening import screen as screen

_HOME = {
    "AbortRule": "sim.runners.load.abort",
    "Alerts": "sim.experiments.alerting.alerts",
    "Calibration": "sim.experiments.calibration.calibrate",
    "Capacity": "sim.experiments.capacity",
    "Caps": "sim.runners.load.guard",
    "D1Report": "sim.experiments.queries.report",
    "Headers": "sim.runners.load.headers",
    "LoadOptions": "sim.runners.load.options",
    "LoadPlan": "sim.experiments.load",
    "MeasuredCapacity": "sim.experiments.measured_capacity",
    "Pairing": "sim.judgement.pairing",
    "OneDown": "sim.experiments.sizing.one_down",
    "Plan": "sim.experiments.plan",
    "Result": "sim.results.result",
    "Scenario": "sim.scenario.scenario",
    "Schedule": "sim.scenario.schedule",
    "Servers": "sim.experiments.sizing.servers",
    "SimError": "sim.foundation.errors",
    "Sizing": "sim.experiments.sizing.choices",
    "alerts": "sim.experiments.alerting.alerts",
    "availability": "sim.judgement.availability",
    "by_route": "sim.results.breakdown",
    "calibrate": "sim.experiments.calibration.calibrate",
    "capacity": "sim.experiments.capacity",
    "compare": "sim.judgement.comparison",
    "cost": "sim.judgement.cost",
    "d1": "sim.experiments.queries.measuring",
    "export_load": "sim.experiments.load",
    "exposition": "sim.results.exposition",
    "flow": "sim",
    "hysteresis": "sim.experiments.hysteresis",
    "init": "sim.scaffold.drafting",
    "json_schema": "sim.scenario.schema_page",
    "judge": "sim.judgement.judge",
    "lint": "sim.scaffold.lint.linting",
    "load": "sim.experiments.load",
    "load_capacity": "sim.experiments.measured_capacity",
    "load_plan": "sim.experiments.load",
    "load_run": "sim.results.storage",
    "load_scenario": "sim.scenario.scenario",
    "lost_updates": "sim.experiments.lost_updates",
    "models": "sim",
    "pair": "sim.judgement.pairing",
    "phases": "sim.results.phases",
    "one_down": "sim.experiments.sizing.one_down",
    "plan": "sim.experiments.plan",
    "play": "sim.runners.play",
    "plots": "sim.report",
    "read_trace": "sim.scenario.recorded",
    "register": "sim.models.registry",
    "run": "sim.runners.play",
    "run_until": "sim.experiments.stopping",
    "save_run": "sim.results.storage",
    "schedule": "sim.scenario.generation",
    "screen": "sim.screening",
    "sensitivity": "sim.experiments.sensitivity",
    "servers": "sim.experiments.sizing.servers",
    "size": "sim.experiments.sizing.size",
    "stale_reads": "sim.experiments.stale_reads",
    "sweep": "sim.experiments.sweep",
    "theory": "sim",
    "uncertainty": "sim.experiments.uncertainty",
    "waterfall": "sim.results.breakdown",
    "write_alerts": "sim.experiments.alerting.files",
}
"""Module of each name."""

_MODULES = frozenset({"flow", "models", "plots", "theory"})
"""Names that are modules themselves."""

_VIEWED = (
    "Availability", "Capacity", "Comparison", "Cost", "Linted", "Pairing", "Scenario", "Screening", "Sweep",
    "Uncertainty",
)  # fmt: skip
_SIZED = ("OneDown", "Servers", "Sizing")
VIEWS.update(
    {
        "Calibration.html": "sim.report.calibration_report:calibration_html",
        "Alerts.html": "sim.report.alert_tables:alerts_html",
        "D1Report.html": "sim.report.query_tables:d1report_html",
        "Plan.html": "sim.report.html:plan_html",
        "Plan.text": "sim.report.sentences:summary",
        "Result.html": "sim.report.html:result_html",
        "LoadPlan.html": "sim.report.load_tables:load_plan_html",
        "MeasuredCapacity.html": "sim.report.load_tables:measured_capacity_html",
        **{f"{name}.html": f"sim.report.sizing_tables:{name.lower()}_html" for name in _SIZED},
        **{f"{name}.html": f"sim.report.notebook_views:{name.lower()}_html" for name in _VIEWED},
    }
)

__all__ = ["__version__", *_HOME]  # noqa: PLE0604  # every key is a text


def __getattr__(name: str) -> Any:
    """Import a public name on first use, and cache it."""
    if name not in _HOME:
        raise AttributeError(f"module 'sim' has no attribute {name!r}")
    home = _HOME[name]
    if name in _MODULES:
        found: Any = import_module(f"{home}.{name}")
    else:
        found = getattr(import_module(home), name)
        if isfunction(found):
            from sim.foundation.arguments import checked

            found = checked(found, names=_public)
    globals()[name] = found
    return found


def _public(name: str) -> Any:
    return __getattr__(name) if name in _HOME else Any


def __dir__() -> list[str]:
    """List the public names, for completion, including those not imported yet."""
    return sorted({*__all__, *globals()})
