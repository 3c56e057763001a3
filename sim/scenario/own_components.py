"""Components of a user's own, from a Python file that registers them (``docs/COMPONENTS.md``)."""

import runpy
from pathlib import Path

from sim.foundation.errors import UsageError
from sim.models import registry
from sim.models.component import Component


def load_components(file: Path) -> tuple[Component, ...]:
    """Execute *file*, and return all components that are registered afterwards.

    Raises
    ------
    UsageError
        The file is missing, raises, or registers nothing.
    """
    before = registry.components()
    try:
        runpy.run_path(str(file), run_name=file.stem)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"component={str(file)!r} cannot be loaded: {type(error).__name__}: {error}") from error
    after = registry.components()
    if all(one in before for one in after):
        raise UsageError(f"component={str(file)!r} registers no component (docs/COMPONENTS.md)")
    return after
