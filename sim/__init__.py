"""An edge deployment under load: simulated, played on a reference, compared and judged.

The names below are the whole of the public interface for a notebook; each lives in the module of its own
noun and is imported on first use, so that ``headroom --help`` stays fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from sim.play import run as run
    from sim.result import Result as Result
    from sim.scenario import Scenario as Scenario
    from sim.scenario import load_scenario as load_scenario
    from sim.workload import Schedule as Schedule

_HOME = {
    "Result": "sim.result",
    "Scenario": "sim.scenario",
    "Schedule": "sim.workload",
    "load_scenario": "sim.scenario",
    "run": "sim.play",
}

__all__ = ["Result", "Scenario", "Schedule", "__version__", "load_scenario", "run"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (SPEC 1: lazy loading)."""
    if name not in _HOME:
        raise AttributeError(f"module 'sim' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
