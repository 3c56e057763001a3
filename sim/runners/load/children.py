"""What child processes of the load driver get from their parent."""

import os
from pathlib import Path


def child_environment() -> dict[str, str]:
    """Return the environment of a child process that finds this package where it is."""
    here = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(part for part in (here, os.environ.get("PYTHONPATH", "")) if part)
    return {**os.environ, "PYTHONPATH": path}
