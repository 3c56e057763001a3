"""Views of results in notebooks and terminals, rendered by a higher layer.

A Result belongs to a lower layer than the code that renders it. So its class only declares that it has views, and the
public face (:mod:`sim`) registers the functions that render them; they are imported at the first use.
"""

from importlib import import_module
from typing import Any

VIEWS: dict[str, str] = {}
"""The function that renders each view: ``module:function`` by class and kind, as in ``Plan.html``."""


class Shown:
    """Base class of objects with an HTML view in notebooks."""

    def _repr_html_(self) -> str:
        return view(self, "html")


def view(shown: Any, kind: str) -> str:
    """Return the *kind* of view (``html`` or ``text``) of an object."""
    module, _, function = VIEWS[f"{type(shown).__name__}.{kind}"].partition(":")
    made: str = getattr(import_module(module), function)(shown)
    return made
