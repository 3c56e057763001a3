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
    from sim.experiments.capacity import Capacity as Capacity
    from sim.experiments.capacity import capacity as capacity
    from sim.experiments.hysteresis import hysteresis as hysteresis
    from sim.experiments.plan import Plan as Plan
    from sim.experiments.plan import plan as plan
    from sim.experiments.sensitivity import sensitivity as sensitivity
    from sim.experiments.stopping import run_until as run_until
    from sim.experiments.sweep import sweep as sweep
    from sim.foundation.errors import SimError as SimError
    from sim.judgement.availability import availability as availability
    from sim.judgement.comparison import compare as compare
    from sim.judgement.cost import cost as cost
    from sim.judgement.judge import judge as judge
    from sim.models.registry import register as register
    from sim.report import plots as plots
    from sim.results.breakdown import by_route as by_route
    from sim.results.breakdown import waterfall as waterfall
    from sim.results.phases import phases as phases
    from sim.results.result import Result as Result
    from sim.results.storage import load_run as load_run
    from sim.results.storage import save_run as save_run
    from sim.runners.play import play as play
    from sim.runners.play import run as run
    from sim.scaffold.drafting import init as init
    from sim.scenario.generation import schedule as schedule
    from sim.scenario.recorded import read_trace as read_trace
    from sim.scenario.scenario import Scenario as Scenario
    from sim.scenario.scenario import load_scenario as load_scenario
    from sim.scenario.schedule import Schedule as Schedule
    from sim.scenario.schema_page import json_schema as json_schema
    from sim.screening import screen as screen

_HOME = {
    "Capacity": "sim.experiments.capacity",
    "Plan": "sim.experiments.plan",
    "Result": "sim.results.result",
    "Scenario": "sim.scenario.scenario",
    "Schedule": "sim.scenario.schedule",
    "SimError": "sim.foundation.errors",
    "availability": "sim.judgement.availability",
    "by_route": "sim.results.breakdown",
    "capacity": "sim.experiments.capacity",
    "compare": "sim.judgement.comparison",
    "cost": "sim.judgement.cost",
    "flow": "sim",
    "hysteresis": "sim.experiments.hysteresis",
    "init": "sim.scaffold.drafting",
    "json_schema": "sim.scenario.schema_page",
    "judge": "sim.judgement.judge",
    "load_run": "sim.results.storage",
    "load_scenario": "sim.scenario.scenario",
    "models": "sim",
    "plan": "sim.experiments.plan",
    "phases": "sim.results.phases",
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
    "sweep": "sim.experiments.sweep",
    "theory": "sim",
    "waterfall": "sim.results.breakdown",
}
"""Module of each name."""

_MODULES = frozenset({"flow", "models", "plots", "theory"})
"""Names that are modules themselves."""

_VIEWED = ("Availability", "Capacity", "Comparison", "Cost", "Scenario", "Screening", "Sweep")
VIEWS.update(
    {
        "Plan.html": "sim.report.html:plan_html",
        "Plan.text": "sim.report.sentences:summary",
        "Result.html": "sim.report.html:result_html",
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
