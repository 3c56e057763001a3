"""An edge deployment under load: simulated, played on a reference, compared and judged.

The names below are the whole of the public interface for a notebook; each lives in the module of its own
noun and is imported on first use, so that ``headroom --help`` stays fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from sim.results.result import Result as Result
    from sim.runners.play import run as run
    from sim.scenario.scenario import Scenario as Scenario
    from sim.scenario.scenario import load_scenario as load_scenario
    from sim.scenario.schedule import Schedule as Schedule

_HOME = {
    "Result": "sim.results.result",
    "Scenario": "sim.scenario.scenario",
    "Schedule": "sim.scenario.workload",
    "load_scenario": "sim.scenario.scenario",
    "run": "sim.runners.play",
}

__all__ = ["Result", "Scenario", "Schedule", "__version__", "load_scenario", "run"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (SPEC 1: lazy loading)."""
    if name not in _HOME:
        raise AttributeError(f"module 'sim' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
